"""Pictures of a training: grids of its samples, and its curves."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataset.training.pictures import draw_batch
from util.canvas import COLOURS, tick_step
from util.charts import draw_curves
from util.palette import DAVIS_PALETTE

GAP = 4  # white pixels around each cell


def cell(picture: torch.Tensor, row: int, column: int, height: int, width: int) -> torch.Tensor:
    top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
    return picture[:, top : top + height, left : left + width]


def toy_batch(samples: int, objects: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 255, (samples, 3, 3, 16, 24), dtype=torch.uint8, generator=generator)
    labels = torch.zeros(samples, 3, 16, 24, dtype=torch.uint8)
    predicted = torch.zeros(samples, 2, 16, 24, dtype=torch.int64)
    for number in range(1, objects + 1):
        labels[:, :, 2:6, 6 * number : 6 * number + 4] = number
        predicted[:, :, 8:12, 6 * number : 6 * number + 4] = number
    return frames, labels, predicted


def test_truth_stands_above_prediction_and_frames_beside_each_other():
    frames, labels, predicted = toy_batch(2, objects=2)
    picture = draw_batch(frames, labels, predicted)
    assert picture.dtype == torch.uint8 and picture.shape == (
        3,
        GAP + 4 * (16 + GAP),
        GAP + 3 * (24 + GAP),
    )
    for sample in range(2):
        for column in range(3):
            shown = {
                "truth": labels[sample, column],
                "prediction": labels[sample, 0] if column == 0 else predicted[sample, column - 1],
            }
            for row, ids in enumerate(shown.values()):
                found, frame = (
                    cell(picture, 2 * sample + row, column, 16, 24),
                    frames[sample, column],
                )
                assert torch.equal(found[:, ids == 0], frame[:, ids == 0])
                for object_id in (1, 2):
                    colour = torch.tensor(list(DAVIS_PALETTE[3 * object_id : 3 * object_id + 3]))[
                        :, None
                    ]
                    mixed = frame[:, ids == object_id].float() / 2 + colour / 2
                    assert (found[:, ids == object_id].float() - mixed).abs().max() <= 1


def test_four_samples_are_shown_of_a_larger_batch():
    assert draw_batch(*toy_batch(6)).shape == draw_batch(*toy_batch(4)).shape


def test_large_frames_are_reduced_and_small_ones_left():
    picture = draw_batch(*toy_batch(1), cell_pixels=12)
    assert picture.shape == (3, GAP + 2 * (8 + GAP), GAP + 3 * (12 + GAP))


def test_a_sample_without_objects_shows_its_frames():
    frames, labels, predicted = toy_batch(1, objects=0)
    assert torch.equal(cell(draw_batch(frames, labels, predicted), 1, 2, 16, 24), frames[0, 2])


def write_metrics(folder: Path, lines: int, validation: bool) -> None:
    with (folder / "metrics.jsonl").open("w") as file:
        for iteration in range(1, lines + 1):
            loss = float("nan") if iteration == 2 else 2.0 / iteration
            file.write(
                json.dumps(
                    {"iteration": iteration, "loss": loss, "iou": 0.5, "learning_rate": 1e-5}
                )
                + "\n"
            )
        if validation:
            file.write(
                json.dumps(
                    {
                        "iteration": lines,
                        "validation/j_and_f": 0.6,
                        "validation/j": 0.5,
                        "validation/f": 0.7,
                    }
                )
                + "\n"
            )


@pytest.mark.parametrize("lines", [0, 1, 2, 300])
@pytest.mark.parametrize("validation", [False, True])
def test_curves_are_drawn_of_whatever_there_is(tmp_path, lines, validation):
    write_metrics(tmp_path, lines, validation)
    draw_curves(tmp_path, "runs/toy")
    with Image.open(tmp_path / "curves.png") as image:
        picture = np.asarray(image.convert("RGB"))
    coloured = (picture == COLOURS[1]).all(axis=2).any()
    assert coloured == (lines > 0 or validation)
    assert (picture == COLOURS[3]).all(axis=2).any() == validation
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_falling_loss_is_drawn_falling(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps({"iteration": i, "loss": 2.0 / i}) + "\n" for i in range(1, 50))
    )
    draw_curves(tmp_path, "")
    with Image.open(tmp_path / "curves.png") as image:
        rows, columns = np.nonzero((np.asarray(image.convert("RGB")) == COLOURS[1]).all(axis=2))
    heights = [rows[columns == column].mean() for column in np.unique(columns)]
    assert len(heights) > 100 and all(
        after >= before - 1 for before, after in itertools.pairwise(heights)
    )
    assert heights[-1] > heights[0] + 200


def test_curves_of_a_run_without_metrics_say_so_in_a_picture(tmp_path):
    draw_curves(tmp_path, "runs/toy")
    assert (tmp_path / "curves.png").is_file()


@pytest.mark.parametrize(
    ("span", "step"), [(100, 20), (1, 0.2), (7, 2), (0.0125, 0.0025), (300, 100), (150_000, 50_000)]
)
def test_grid_lines_stand_at_round_values(span, step):
    assert tick_step(span) == pytest.approx(step)
