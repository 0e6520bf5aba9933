"""Checks of training data before a long run."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from repository import ROOT
from toy_trees import (
    HEIGHT,
    WIDTH,
    toy_frames,
    write_davis,
    write_generic,
    write_jpg,
    write_png,
)

from scripts.data_tools.reports import build_report, format_reports
from scripts.data_tools.verification import (
    BL30K,
    DAVIS,
    YOUTUBE,
    VideoKind,
    plan_static,
    plan_videos,
)

EMPTY_MASK = np.zeros((HEIGHT, WIDTH), np.uint8)


def run_plan(plan):
    return build_report(plan, [task() for task in plan.tasks])


def check_static(root, fast=False):
    return [run_plan(plan) for plan in plan_static(root, fast)]


def check_videos(root, kind=DAVIS, fast=False):
    return run_plan(plan_videos(kind, root, fast))


@pytest.fixture
def davis_root(tmp_path):
    return write_davis(tmp_path / "davis", {"bear": 5, "boat": 4}, "2017/train.txt")


@pytest.fixture
def static_root(tmp_path):
    root = tmp_path / "static"
    images, labels = toy_frames(6, seed=0)
    for index in range(6):
        folder = "ECSSD" if index < 4 else "mine"
        write_jpg(root / folder / f"{index}.jpg", images[index])
        write_png(root / folder / f"{index}.png", labels[index])
    return root


def truncate(path):
    path.write_bytes(path.read_bytes()[:-30])


def remove(path):
    path.unlink()


def write_16_bit(path):
    Image.fromarray(np.full((HEIGHT, WIDTH), 300, np.uint16)).save(path)


def write_small_mask(path):
    write_png(path, np.ones((10, 10), np.uint8))


@pytest.mark.parametrize("fast", [False, True])
def test_intact_roots_have_no_problems_and_their_counts_stand_beside_the_published(
    davis_root, static_root, fast
):
    davis, (ecssd, mine) = check_videos(davis_root, fast=fast), check_static(static_root, fast)
    assert davis.problems == ecssd.problems == mine.problems == []
    assert (davis.found, davis.published, davis.files) == (2, 60, 18)
    assert any("2 videos of DAVIS-2017; published: 60" in note for note in davis.notes)
    assert (ecssd.name, ecssd.found, ecssd.published, ecssd.files) == ("ECSSD", 4, 1000, 8)
    assert any("also uses FSS-1000, DUTS-TR" in note for note in ecssd.notes)
    assert (mine.name, mine.found, mine.published, mine.notes) == ("mine", 2, None, [])
    assert "published" in format_reports([davis, ecssd]).splitlines()[0]


STILL_DEFECTS = [
    ("ECSSD/1.jpg", truncate, "ECSSD/1.jpg: damaged or unreadable", False),
    ("ECSSD/1.png", truncate, "ECSSD/1.png: damaged or unreadable", False),
    ("ECSSD/1.jpg", lambda path: path.write_bytes(b""), "ECSSD/1.jpg: not an image", True),
    ("ECSSD/1.png", remove, "ECSSD/1.jpg: no mask", True),
    ("ECSSD/1.jpg", remove, "ECSSD/1.png: no image", True),
    ("ECSSD/1.png", write_small_mask, "mask of 10x10 for an image of 64x48", True),
    ("ECSSD/1.png", lambda path: write_png(path, EMPTY_MASK), "1.png: mask without objects", False),
    ("ECSSD/1.png", write_16_bit, "more than 8 bits", True),
]


@pytest.mark.parametrize(("name", "damage", "finding", "is_in_header"), STILL_DEFECTS)
def test_each_defect_of_a_still_is_named_also_by_fast_if_it_is_in_the_header(
    static_root, name, damage, finding, is_in_header
):
    damage(static_root / name)
    problems, problems_by_headers = (
        [problem for report in check_static(static_root, fast) for problem in report.problems]
        for fast in (False, True)
    )
    (named,) = (problem for problem in problems if "training stops" not in problem)
    assert finding in named
    assert any(finding in problem for problem in problems_by_headers) == is_in_header


VIDEO_DEFECTS = [
    ("JPEGImages/480p/bear/00002.jpg", truncate, "bear/00002.jpg: damaged or unreadable"),
    ("JPEGImages/480p/bear/00002.jpg", remove, "bear/00002.png: no frame of this name"),
    ("Annotations/480p/bear/00002.png", remove, "bear/00002.jpg: no mask of this name"),
    ("Annotations/480p/bear/00004.png", remove, "bear/00004.jpg: no mask of this name"),
    ("Annotations/480p/bear", shutil.rmtree, "Annotations/480p/bear: no such folder, but"),
    ("JPEGImages/480p/bear", shutil.rmtree, "JPEGImages/480p/bear: no such folder, but"),
    (
        "ImageSets/2017/train.txt",
        lambda path: path.write_text("bear\nboat\ncow\n"),
        "Annotations/480p/cow: no such folder, but",
    ),
    ("ImageSets/2017/train.txt", remove, "no 2017/train.txt"),
    ("Annotations", shutil.rmtree, "expected ROOT/JPEGImages/480p/VIDEO/NAME.jpg"),
]


@pytest.mark.parametrize(("name", "damage", "finding"), VIDEO_DEFECTS)
def test_each_defect_of_a_video_root_is_named(davis_root, name, damage, finding):
    damage(davis_root / name)
    assert any(finding in problem for problem in check_videos(davis_root).problems)


def test_frames_of_another_size_than_most_of_their_video_are_named(davis_root):
    write_jpg(davis_root / "JPEGImages/480p/bear/00002.jpg", np.zeros((24, 32, 3), np.uint8))
    write_png(davis_root / "Annotations/480p/bear/00002.png", np.ones((24, 32), np.uint8))
    first = check_videos(davis_root).problems[0]
    assert first.endswith("bear/00002.jpg: 32x24 in a video of 64x48")


def test_some_masks_without_objects_are_a_note_in_a_video_and_all_are_a_problem(davis_root):
    write_png(davis_root / "Annotations/480p/bear/00000.png", EMPTY_MASK)
    for index in range(4):
        write_png(davis_root / f"Annotations/480p/boat/{index:05d}.png", EMPTY_MASK)
    report = check_videos(davis_root)
    assert any("bear: 1 of 5 masks without objects" in note for note in report.notes)
    (problem,) = report.problems
    assert problem.endswith("boat: 4 of 4 masks without objects")


def test_id_255_beside_others_is_noted_as_void_and_alone_is_an_object(davis_root):
    mask = EMPTY_MASK.copy()
    mask[:20, :20] = 255
    write_png(davis_root / "Annotations/480p/boat/00000.png", mask)
    mask[30:, 30:] = 1
    write_png(davis_root / "Annotations/480p/bear/00000.png", mask)
    (note,) = (note for note in check_videos(davis_root).notes if "void" in note)
    assert note.startswith(f"{davis_root}/Annotations/480p/bear/00000.png: id 255")


def test_a_missing_mask_in_regular_steps_is_a_problem_if_not_every_frame_needs_one(tmp_path):
    root = write_generic(tmp_path, "clip", dict.fromkeys(range(0, 21, 5), (1,)), count=23)
    assert check_videos(root, YOUTUBE).problems == []
    assert check_videos(root, VideoKind(name="mine")).problems == []
    (root / "Annotations/clip/00010.png").unlink()
    (problem,) = check_videos(root, YOUTUBE).problems
    assert problem.startswith(f"{root}/JPEGImages/clip/00010.jpg: ")
    assert len(check_videos(root, BL30K).problems) == 23 - 4


def test_videos_that_meta_json_names_or_that_have_only_frames_are_missed(tmp_path):
    root = write_generic(tmp_path / "train", "clip", dict.fromkeys(range(6), (1,)))
    (root / "meta.json").write_text(json.dumps({"videos": {"clip": {}, "gone": {}}}))
    (root / "JPEGImages/unmasked").mkdir()
    problems = check_videos(tmp_path, YOUTUBE).problems
    assert [problem.split(": ")[0].removeprefix(f"{root}/") for problem in problems] == [
        "JPEGImages/gone",
        "Annotations/gone",
        "Annotations/unmasked",
    ]


def test_damage_beyond_one_percent_stops_training(static_root):
    truncate(static_root / "mine/5.jpg")
    problems = check_static(static_root)[1].problems
    assert any("1 of 4 files are damaged; training stops" in problem for problem in problems)


def test_a_missing_root_is_a_problem_with_the_expected_layouts(tmp_path):
    assert "expected" in check_videos(tmp_path / "nowhere", BL30K).problems[0]
    assert "expected" in check_static(tmp_path / "nowhere")[0].problems[0]


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts/verify_data.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_script_exits_with_zero_for_intact_roots_and_two_with_the_problem_named(
    davis_root, static_root, tmp_path
):
    roots = ("--davis_root", davis_root, "--static_root", static_root)
    intact = run(*roots, "--video_root", f"mine={davis_root}", "--workers", 1)
    assert intact.returncode == 0 and "no problems" in intact.stdout and "ECSSD" in intact.stdout
    truncate(davis_root / "JPEGImages/480p/bear/00002.jpg")
    report = tmp_path / "report.json"
    broken = run("--davis_root", davis_root, "--workers", 2, "--json", report)
    assert broken.returncode == 2 and "bear/00002.jpg: damaged" in broken.stdout
    content = json.loads(report.read_text())
    assert content["problems"] == 2 and content["sets"][0]["found"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no root given"),
        (("--video_root", "x"), "write NAME=DIR"),
        (("--davis_root", "nowhere", "--workers", "0"), "at least 1"),
    ],
)
def test_a_wrong_request_is_one_line(arguments, words):
    done = run(*arguments)
    assert done.returncode == 2 and words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
