"""The curves of a training, read from the pixels of curves.png."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from util.charts import COLOURS, CURVES_NAME, draw_curves


def write_metrics(folder: Path, *entries: dict) -> None:
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    (folder / "metrics.jsonl").write_text(lines)


def training_entries(count: int) -> list[dict]:
    """Lines of a training, of which the second has no finite loss."""
    return [
        {
            "iteration": iteration,
            "loss": float("nan") if iteration == 2 else 2.0 / iteration,
            "iou": 0.5,
            "learning_rate": 1e-5,
        }
        for iteration in range(1, count + 1)
    ]


def validation_entry(iteration: int) -> dict:
    scores = {"validation/j_and_f": 0.6, "validation/j": 0.5, "validation/f": 0.7}
    return {"iteration": iteration, **scores}


def draw(folder: Path, title: str = "toy") -> np.ndarray:
    """The picture, uint8 RGB [H, W, 3]."""
    draw_curves(folder, title)
    with Image.open(folder / CURVES_NAME) as image:
        return np.asarray(image.convert("RGB"))


def mask_of(picture: np.ndarray, colour: str) -> np.ndarray:
    """Where the picture has this colour: bool [H, W]."""
    return (picture == tuple(bytes.fromhex(colour[1:]))).all(axis=2)


def panels(picture: np.ndarray) -> int:
    """The number of the horizontal axes, as long dark lines."""
    starts = [edge for edge in (0, picture.shape[1] // 2) if picture.shape[1] > 1000 or edge == 0]
    dark = (picture.max(axis=2) < 60).astype(int)
    return sum(
        int(np.count_nonzero(np.diff((dark[:, start : start + 760].sum(1) > 500).astype(int)) > 0))
        for start in starts
    )


@pytest.mark.parametrize("count", [0, 1, 2, 300])
@pytest.mark.parametrize("validated", [False, True])
def test_curves_are_drawn_of_whatever_was_recorded(tmp_path, count, validated):
    validations = [validation_entry(count)] if validated else []
    write_metrics(tmp_path, *training_entries(count), *validations)
    picture = draw(tmp_path)
    assert mask_of(picture, COLOURS[0]).any() == (count > 0 or validated)
    assert mask_of(picture, COLOURS[2]).any() == validated
    assert panels(picture) == 3 * (count > 0) + validated  # loss, IoU, learning rate; scores
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_falling_loss_is_drawn_falling(tmp_path):
    losses = ({"iteration": number, "loss": 2.0 / number} for number in range(1, 50))
    write_metrics(tmp_path, *losses)
    rows, columns = np.nonzero(mask_of(draw(tmp_path), COLOURS[0]))
    heights = [rows[columns == column].mean() for column in np.unique(columns)]
    assert len(heights) > 100
    assert all(after >= before - 1 for before, after in itertools.pairwise(heights))
    assert heights[-1] > heights[0] + 200


def test_a_run_without_metrics_has_a_picture_too(tmp_path):
    assert mask_of(draw(tmp_path), COLOURS[0]).sum() == 0


def test_a_title_is_shown_unchanged_whatever_it_looks_like(tmp_path):
    assert not np.array_equal(draw(tmp_path, "runs/$a_1$"), draw(tmp_path, "runs/a_1"))
    draw(tmp_path, "$\\unknown$")
