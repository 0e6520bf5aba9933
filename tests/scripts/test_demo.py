"""The demo: one command from a fresh clone to masks, pictures and a score."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from repository import ROOT

from dataset import read_label_map
from dataset.training.synthetic import make_clip
from inference.scoring.metrics import region_similarity
from model import build_network, save_weights
from scripts import make_sample

SAMPLE = ROOT / "scripts" / "sample"
FRAMES, SIZE = make_sample.FRAMES, (make_sample.HEIGHT_PIXELS, make_sample.WIDTH_PIXELS)

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="the demo is a bash script")


def demo(*arguments, folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(
        [str(ROOT / "scripts" / "demo.sh"), *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )


def masks_in(folder: Path) -> list[np.ndarray]:
    return [read_label_map(path).labels for path in sorted(folder.glob("*.png"))]


@pytest.fixture(scope="module")
def sample_run(tmp_path_factory):
    """The demo of the sample clip: its output folder and its process."""
    folder = tmp_path_factory.mktemp("sample run")
    return folder / "out", demo("--output", "out", folder=folder)


@pytest.fixture(scope="module")
def tiny_weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    save_weights(path, build_network("tiny"))
    return path


def test_demo_segments_the_sample_clip_and_prints_where_the_results_are(sample_run):
    output, run = sample_run
    assert run.returncode == 0, run.stderr
    masks = masks_in(output / "sample")
    assert len(masks) == FRAMES
    assert all(mask.shape == SIZE and set(np.unique(mask)) <= {0, 1, 2, 3} for mask in masks)
    assert (masks[0] == read_label_map(SAMPLE / "Annotations/sample/00000.png").labels).all()
    paths = [
        line.split(": ", 1)[1].strip()
        for line in run.stdout.splitlines()
        if line.startswith(("masks:", "sheet:", "scores:"))
    ]
    assert len(paths) == 3 and all((output.parent / path).exists() for path in paths)


def test_demo_prints_the_score_it_writes(sample_run):
    output, run = sample_run
    scores = json.loads((output / "scores.json").read_text())
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("overall")]
    assert line.split()[3] == f"{100 * scores['overall']['jf_mean']:.1f}"


def test_demo_beats_copying_the_first_mask(sample_run):
    output, _ = sample_run
    truth = masks_in(SAMPLE / "Truth/sample")
    copied = np.mean(
        [region_similarity(mask == i, truth[0] == i) for mask in truth[1:-1] for i in (1, 2, 3)]
    )
    assert json.loads((output / "scores.json").read_text())["overall"]["j_mean"] > copied + 0.1


def test_demo_draws_an_overlay_video_and_a_sheet(sample_run):
    output, _ = sample_run
    capture = cv2.VideoCapture(str(output / "overlays/sample.mp4"))
    shown, picture = capture.read()
    assert (
        shown
        and picture.shape[:2] == SIZE
        and int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) >= FRAMES - 1
    )
    assert Image.open(output / "overlays/sample.png").width > 2 * SIZE[1]


def test_demo_takes_a_video_and_mask_relative_to_the_callers_folder(tmp_path, tiny_weights):
    frames, labels = make_clip(0, frames=4, height=48, width=64, objects=1)
    video = cv2.VideoWriter(
        str(tmp_path / "my clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48)
    )
    for frame in frames:
        video.write(frame[..., ::-1].copy())
    video.release()
    Image.fromarray(labels[0]).save(tmp_path / "mask.png")
    for _ in range(2):  # the second run replaces the results of the first
        run = demo(
            "my clip.avi",
            "mask.png",
            "--output=out put",
            "--model",
            tiny_weights,
            "--resolution",
            "48",
            folder=tmp_path,
        )
        assert run.returncode == 0, run.stderr
    assert len(masks_in(tmp_path / "out put" / "my clip")) == 4
    assert (tmp_path / "out put/overlays/my clip.mp4").exists()
    assert "scores:" not in run.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["clip.mp4"], "its mask is missing"),
        (["clip.mp4", "--device", "cpu"], "its mask is missing"),
        (["none.mp4", "mask.png"], "no such video"),
        (["clip.mp4", "none.png"], "no such mask"),
        (["clip.mp4", "mask.png"], "cannot be opened as a video"),
        (["--output"], "name a folder"),
        (["--colour"], "--colour: not known"),
    ],
)
def test_demo_refuses_bad_input_in_one_line(tmp_path, tiny_weights, arguments, words):
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    Image.fromarray(np.eye(32, dtype=np.uint8)).save(tmp_path / "mask.png")
    model = [] if arguments == ["--output"] else ["--model", tiny_weights]
    run = demo(*arguments, *model, folder=tmp_path)
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert line.startswith("error: ") and words in line


def test_sample_clip_is_what_its_script_makes(tmp_path):
    """Up to differences between versions of OpenCV."""
    make_sample.write_sample(tmp_path)
    for folder in ("JPEGImages", "Annotations", "Truth"):
        assert sorted(path.name for path in (tmp_path / folder / "sample").iterdir()) == sorted(
            path.name for path in (SAMPLE / folder / "sample").iterdir()
        )
    for name in ("00000", f"{FRAMES - 1:05d}"):
        made, shipped = (
            read_label_map(root / f"Truth/sample/{name}.png").labels for root in (tmp_path, SAMPLE)
        )
        assert (made == shipped).mean() > 0.99
        made, shipped = (
            np.asarray(Image.open(root / f"JPEGImages/sample/{name}.jpg"), np.float32)
            for root in (tmp_path, SAMPLE)
        )
        assert np.abs(made - shipped).mean() < 4


def test_sample_clip_occludes_every_object_in_part_but_none_permanently():
    areas = np.array(
        [[(mask == i).sum() for i in (1, 2, 3)] for mask in masks_in(SAMPLE / "Truth/sample")]
    )
    assert (areas.min(0) > 0).all() and (areas.min(0) < 0.7 * areas.max(0)).all()
