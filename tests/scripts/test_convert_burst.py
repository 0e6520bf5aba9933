"""BURST's masks as plain folders, and results in BURST's form."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from eval_commands import EvalCommand
from PIL import Image
from toy_benchmarks import write_burst
from toy_trees import HEIGHT, WIDTH, file_names, toy_frames, write_png, write_tiny_weights

import eval_generic
from dataset.formats.run_lengths import coco_counts, coco_mask_of
from scripts import convert_burst
from util.errors import run_command

VIDEO = "HACS-scene_0_967-2279"
ANNOTATED = [0, 3, 6]


def rectangle() -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[10:30, 5:50] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "text"),
    [  # by pycocotools 2.0.11
        (np.eye(5, 7, dtype=bool), "01500000005"),
        (rectangle(), f"b6d0d0{'0' * 87}V<"),
        # by hand: 40 is 8 with more to come, then 1
        (np.zeros((8, 5), bool), "X1"),
        (np.ones((2, 2), bool), "04"),
    ],
)
def test_masks_have_the_texts_of_cocos_tools(mask, text):
    assert coco_counts(mask) == text
    np.testing.assert_array_equal(coco_mask_of(text, mask.shape, "here"), mask)


def test_any_mask_is_read_as_it_was_written():
    generator = np.random.default_rng(0)
    for density in (0.02, 0.5, 0.98):
        mask = generator.random((31, 47)) < density
        np.testing.assert_array_equal(coco_mask_of(coco_counts(mask), mask.shape, "here"), mask)


def masks_of(labels: np.ndarray, *tracks: int, first: int = 1) -> dict[str, dict[str, str]]:
    """An entry of segmentations. first: the id of the first track in labels."""
    return {
        str(track): {"rle": coco_counts(labels == object_id), "bbox": [0, 0, 1, 1], "point": [0, 0]}
        for object_id, track in enumerate(tracks, first)
    }


@pytest.fixture
def labels() -> np.ndarray:
    return toy_frames(7, 0)[1]


@pytest.fixture
def convert(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """convert(*arguments): exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["convert_burst.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            run_command(convert_burst.main)
        return end.value.code, *capsys.readouterr()

    return run


def masks_flags(root: Path) -> list[object]:
    annotations, frames = root / "annotations.json", root / "frames"
    return ["masks", annotations, "--frames", frames, "--output", root / "BURST"]


def test_a_run_on_burst_ends_in_a_file_of_bursts_form(
    convert, labels, tmp_path, monkeypatch, capsys
):
    """Track 1 begins in the first annotated frame, track 7 in the second."""
    seen = [masks_of(labels[0], 1), masks_of(labels[3], 7, first=2), {}]
    root = write_burst(tmp_path / "data", {"segmentations": seen})
    code, out, _ = convert(*masks_flags(root), "--every", "2")
    assert (code, out) == (0, f"{root / 'BURST'}: 1 video\n")
    assert file_names(root / f"BURST/Annotations/{VIDEO}") == ["frame0000.png", "frame0003.png"]
    frames = [f"frame{index:04d}.jpg" for index in (0, 2, 3, 4, 6)]
    assert file_names(root / f"BURST/JPEGImages/{VIDEO}") == frames
    weights = write_tiny_weights(tmp_path / "tiny.pth")
    command = EvalCommand(monkeypatch, capsys, output=tmp_path / "out", model=weights)
    command.succeed(eval_generic, "--data_path", root / "BURST", "--resolution", "48")

    target = tmp_path / "predictions.json"
    flags = ["--annotations", root / "annotations.json", "--output", target]
    assert convert("results", tmp_path / "out", *flags)[0] == 0
    given = json.loads((root / "annotations.json").read_text())
    written = json.loads(target.read_text())
    (entry,) = written["sequences"]
    assert {**entry, "segmentations": seen} == given["sequences"][0]
    for index, masks in zip(ANNOTATED, entry["segmentations"], strict=True):
        result = np.asarray(Image.open(tmp_path / f"out/{VIDEO}/frame{index:04d}.png"))
        assert set(masks) == {str(number) for number in np.unique(result)} - {"0"}
        for track, mask in masks.items():
            pixels = coco_mask_of(mask["rle"], result.shape, "here")
            assert pixels.any()  # an empty mask is left out
            np.testing.assert_array_equal(pixels, result == int(track))


@pytest.mark.parametrize("tracks", [(300, 4000), (0, 1)])
def test_tracks_outside_1_to_254_are_numbered_and_keep_their_names_in_the_results(
    convert, labels, tmp_path, tracks
):
    seen = [masks_of(labels[0], *tracks), {}, {}]
    root = write_burst(tmp_path, {"segmentations": seen})
    convert(*masks_flags(root))
    given = np.asarray(Image.open(root / f"BURST/Annotations/{VIDEO}/frame0000.png"))
    np.testing.assert_array_equal(given, labels[0])
    for index in ANNOTATED:
        write_png(tmp_path / f"out/{VIDEO}/frame{index:04d}.png", labels[index])
    flags = ["--annotations", root / "annotations.json", "--output", tmp_path / "predictions.json"]
    assert convert("results", tmp_path / "out", *flags)[0] == 0
    content = json.loads((tmp_path / "predictions.json").read_text())
    assert [set(masks) for masks in content["sequences"][0]["segmentations"]] == [
        {str(track) for track in tracks}
    ] * 3


def test_a_video_without_masks_is_left_out_and_empty_in_the_results(convert, tmp_path):
    root = write_burst(tmp_path, {})
    assert convert(*masks_flags(root))[1].endswith(
        "BURST: 0 videos; 1 video without masks left out\n"
    )
    flags = ["--annotations", root / "annotations.json", "--output", tmp_path / "predictions.json"]
    assert convert("results", tmp_path / "out", *flags)[0] == 0
    content = json.loads((tmp_path / "predictions.json").read_text())
    assert content["sequences"][0]["segmentations"] == [{}, {}, {}]


SQUARE = np.pad(np.ones((4, 4), bool), ((0, HEIGHT - 4), (0, WIDTH - 4)))
ANNOTATIONS = {
    "a mask of another size": (
        {"segmentations": [{"1": {"rle": coco_counts(SQUARE[:9])}}, {}, {}]},
        f"mask of track 1 in frame0000.jpg: runs of .* in all for {WIDTH}x{HEIGHT}",
    ),
    "a mask that is cut off": (
        {"segmentations": [{"1": {"rle": "X"}}, {}, {}]},
        "frame0000.jpg: a compressed run-length code that is cut off",
    ),
    "a mask of other characters": (
        {"segmentations": [{"1": {"rle": "1!"}}, {}, {}]},
        "'!' in a compressed run-length code",
    ),
    "a mask that is no text": (
        {"segmentations": [{"1": {"rle": [0, 16]}}, {}, {}]},
        r"another form than BURST's \(TypeError: \[0, 16\] is no text",
    ),
    "a side without pixels": ({"height": -48}, "ValueError: a side of -48 pixels"),
    "fewer masks than frames": ({"segmentations": [{}]}, "masks of 1 frames, and 3 annotated"),
    "no masks at all": ({"segmentations": None}, r"another form than BURST's \(TypeError"),
    "a name that leads outside": ({"seq_name": "../x"}, "'../x' leads to another folder"),
    "a frame that is missing": (
        {
            "segmentations": [{"1": {"rle": coco_counts(SQUARE)}}, {}, {}],
            "all_image_paths": ["frame0099.jpg"],
        },
        r"frame0099\.jpg: no such frame; give the folder of DATA_SET/SEQUENCE",
    ),
}


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_wrong_annotations_are_refused_and_nothing_is_written(convert, tmp_path, name):
    sequence, words = ANNOTATIONS[name]
    root = write_burst(tmp_path, sequence)
    code, _, err = convert(*masks_flags(root))
    assert code == 2 and err.count("\n") == 1 and re.search(words, err), err
    assert file_names(tmp_path) == ["annotations.json", "frames"]


def test_a_video_that_is_listed_twice_is_refused(convert, labels, tmp_path):
    root = write_burst(tmp_path, {"segmentations": [masks_of(labels[0], 1), {}, {}]})
    content = json.loads((root / "annotations.json").read_text())
    (root / "annotations.json").write_text(json.dumps({"sequences": content["sequences"] * 2}))
    code, _, err = convert(*masks_flags(root))
    assert code == 2 and f"{VIDEO}: is in the annotations twice" in err


RESULTS = {
    "no result of a frame": (lambda folder: (folder / "frame0003.png").unlink(), "no such label"),
    "another size": (
        lambda folder: write_png(folder / "frame0003.png", np.zeros((9, 9), np.uint8)),
        r"frame0003\.png: 9x9 pixels, the annotations 64x48",
    ),
    "an unknown id": (
        lambda folder: write_png(folder / "frame0003.png", np.full((HEIGHT, WIDTH), 9, np.uint8)),
        r"frame0003\.png: id 9 is no track of the annotations",
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_wrong_results_are_refused_and_nothing_is_written(convert, labels, tmp_path, name):
    damage, words = RESULTS[name]
    root = write_burst(tmp_path, {"segmentations": [masks_of(labels[0], 1, 2), {}, {}]})
    for index in ANNOTATED:
        write_png(tmp_path / f"out/{VIDEO}/frame{index:04d}.png", labels[index])
    damage(tmp_path / "out" / VIDEO)
    flags = ["--annotations", root / "annotations.json", "--output", tmp_path / "predictions.json"]
    code, _, err = convert("results", tmp_path / "out", *flags)
    assert code == 2 and err.count("\n") == 1 and re.search(words, err), err
    assert not (tmp_path / "predictions.json").exists()


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ("", "required: COMMAND"),
        ("masks nowhere.json --frames f --output o", "nowhere.json: no such file; give an anno"),
        ("masks list.json --frames f --output o", "list.json: not an annotation file of BURST"),
        ("masks list.json --frames f --output there", "there: is there already"),
        ("masks list.json --frames f --output o --every 0", "--every: 0: at least 1 is needed"),
    ],
)
def test_wrong_requests_are_one_line(convert, tmp_path, monkeypatch, request_, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "list.json").write_text("[]")
    code, _, err = convert(*request_.split())
    assert code == 2 and err.count("\n") == 1 and words in err, err
