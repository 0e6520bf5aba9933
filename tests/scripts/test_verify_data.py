"""A root is checked before a long run: what is broken is named, what is sound is told so. Tiny made-up trees."""

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

from scripts.data_tools.verification import (
    BL30K,
    DAVIS,
    YOUTUBE,
    VideoKind,
    as_table,
    plan_static,
    plan_videos,
    report,
)

NOTHING = np.zeros((HEIGHT, WIDTH), np.uint8)


def check(plans, fast=False):
    return [report(plan, [task() for task in plan.tasks]) for plan in plans]


def check_static(root, fast=False):
    return check(plan_static(root, fast))


def check_video(root, kind=DAVIS, fast=False):
    (only,) = check([plan_videos(kind, root, fast)])
    return only


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


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-30])


def write_16_bit(path):
    Image.fromarray(np.full((HEIGHT, WIDTH), 300, np.uint16)).save(path)


@pytest.mark.parametrize("fast", [False, True])
def test_sound_roots_have_no_problems_and_their_counts_stand_beside_the_published(
    davis_root, static_root, fast
):
    davis, (ecssd, mine) = check_video(davis_root, fast=fast), check_static(static_root, fast)
    assert davis.problems == ecssd.problems == mine.problems == []
    assert (davis.found, davis.published, davis.files) == (2, 60, 18) and any(
        "2 videos of DAVIS-2017; published: 60" in note for note in davis.notes
    )
    assert (ecssd.name, ecssd.found, ecssd.published, ecssd.files) == ("ECSSD", 4, 1000, 8) and any(
        "also uses FSS-1000, DUTS-TR" in note for note in ecssd.notes
    )
    assert (mine.name, mine.found, mine.published, mine.notes) == ("mine", 2, None, [])
    assert "published" in as_table([davis, ecssd]).splitlines()[0]


STILL_DEFECTS = [
    ("ECSSD/1.jpg", cut_short, "ECSSD/1.jpg: damaged or unreadable", False),
    ("ECSSD/1.png", cut_short, "ECSSD/1.png: damaged or unreadable", False),
    ("ECSSD/1.jpg", lambda path: path.write_bytes(b""), "ECSSD/1.jpg: not an image", True),
    ("ECSSD/1.png", lambda path: path.unlink(), "ECSSD/1.jpg: no mask", True),
    ("ECSSD/1.jpg", lambda path: path.unlink(), "ECSSD/1.png: no image", True),
    (
        "ECSSD/1.png",
        lambda path: write_png(path, np.ones((10, 10), np.uint8)),
        "mask of 10x10 for an image of 64x48",
        True,
    ),
    (
        "ECSSD/1.png",
        lambda path: write_png(path, NOTHING),
        "ECSSD/1.png: mask without objects",
        False,
    ),
    ("ECSSD/1.png", write_16_bit, "more than 8 bits", True),
]


@pytest.mark.parametrize(("name", "damage", "found", "seen_by_headers"), STILL_DEFECTS)
def test_each_defect_of_a_still_is_named_and_those_in_the_header_by_fast_too(
    static_root, name, damage, found, seen_by_headers
):
    damage(static_root / name)
    problems, by_headers = (
        [problem for one in check_static(static_root, fast) for problem in one.problems]
        for fast in (False, True)
    )
    assert (
        any(found in problem for problem in problems)
        and len([problem for problem in problems if "damaged; training stops" not in problem]) == 1
    )
    assert any(found in problem for problem in by_headers) == seen_by_headers


VIDEO_DEFECTS = [
    ("JPEGImages/480p/bear/00002.jpg", cut_short, "bear/00002.jpg: damaged or unreadable"),
    (
        "JPEGImages/480p/bear/00002.jpg",
        lambda path: path.unlink(),
        "bear/00002.png: no frame of this name",
    ),
    (
        "Annotations/480p/bear/00002.png",
        lambda path: path.unlink(),
        "bear/00002.jpg: no mask of this name",
    ),
    (
        "Annotations/480p/bear/00004.png",
        lambda path: path.unlink(),
        "bear/00004.jpg: no mask of this name",
    ),
    ("Annotations/480p/bear", shutil.rmtree, "Annotations/480p/bear: no such folder, but"),
    ("JPEGImages/480p/bear", shutil.rmtree, "JPEGImages/480p/bear: no such folder, but"),
    (
        "ImageSets/2017/train.txt",
        lambda path: path.write_text("bear\nboat\ncow\n"),
        "Annotations/480p/cow: no such folder, but",
    ),
    ("ImageSets/2017/train.txt", lambda path: path.unlink(), "no 2017/train.txt"),
    ("Annotations", shutil.rmtree, "expected ROOT/JPEGImages/480p/VIDEO/NAME.jpg"),
]


@pytest.mark.parametrize(("name", "damage", "found"), VIDEO_DEFECTS)
def test_each_defect_of_a_video_root_is_named(davis_root, name, damage, found):
    damage(davis_root / name)
    assert any(found in problem for problem in check_video(davis_root).problems)


def test_frames_of_another_size_than_the_rest_of_their_video_are_named(davis_root):
    write_jpg(davis_root / "JPEGImages/480p/bear/00002.jpg", np.zeros((24, 32, 3), np.uint8))
    write_png(davis_root / "Annotations/480p/bear/00002.png", np.ones((24, 32), np.uint8))
    assert check_video(davis_root).problems[0].endswith("bear/00002.jpg: 32x24 in a video of 64x48")


def test_some_masks_without_objects_are_a_note_in_a_video_and_all_are_a_problem(davis_root):
    write_png(davis_root / "Annotations/480p/bear/00000.png", NOTHING)
    for index in range(4):
        write_png(davis_root / f"Annotations/480p/boat/{index:05d}.png", NOTHING)
    found = check_video(davis_root)
    assert any("bear: 1 of 5 masks without objects" in note for note in found.notes)
    assert [problem.rsplit("/", 1)[1] for problem in found.problems] == [
        "boat: 4 of 4 masks without objects"
    ]


def test_id_255_beside_others_is_noted_as_void_and_alone_is_an_object(davis_root):
    mask = NOTHING.copy()
    mask[:20, :20] = 255
    write_png(davis_root / "Annotations/480p/boat/00000.png", mask)
    mask[30:, 30:] = 1
    write_png(davis_root / "Annotations/480p/bear/00000.png", mask)
    notes = check_video(davis_root).notes
    assert [note for note in notes if "void" in note] == [
        f"{davis_root}/Annotations/480p/bear/00000.png: id 255 beside others counts as void"
    ]


def test_every_fifth_mask_is_whole_where_not_every_frame_needs_one_and_a_hole_is_not(tmp_path):
    root = write_generic(tmp_path, "clip", dict.fromkeys(range(0, 21, 5), (1,)), count=23)
    assert (
        check_video(root, YOUTUBE).problems
        == check_video(root, VideoKind(name="mine")).problems
        == []
    )
    (root / "Annotations/clip/00010.png").unlink()
    assert [problem.split(": ")[0] for problem in check_video(root, YOUTUBE).problems] == [
        str(root / "JPEGImages/clip/00010.jpg")
    ]
    assert len(check_video(root, BL30K).problems) == 23 - 4


def test_videos_that_meta_json_names_or_that_have_frames_alone_are_missed(tmp_path):
    root = write_generic(tmp_path / "train", "clip", dict.fromkeys(range(6), (1,)))
    (root / "meta.json").write_text(json.dumps({"videos": {"clip": {}, "gone": {}}}))
    (root / "JPEGImages/unmasked").mkdir()
    problems = check_video(tmp_path, YOUTUBE).problems
    assert [problem.split(": ")[0].removeprefix(f"{root}/") for problem in problems] == [
        "JPEGImages/gone",
        "Annotations/gone",
        "Annotations/unmasked",
    ]


def test_damage_beyond_one_percent_is_said_to_stop_training(static_root):
    cut_short(static_root / "mine/5.jpg")
    assert any(
        "1 of 4 files are damaged; training stops" in problem
        for problem in check_static(static_root)[1].problems
    )


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts/verify_data.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_script_ends_with_zero_on_sound_roots_and_two_with_the_problem_named(
    davis_root, static_root, tmp_path
):
    sound = run(
        "--davis_root",
        davis_root,
        "--static_root",
        static_root,
        "--video_root",
        f"mine={davis_root}",
        "--workers",
        1,
    )
    assert sound.returncode == 0 and "nothing to mend" in sound.stdout and "ECSSD" in sound.stdout
    cut_short(davis_root / "JPEGImages/480p/bear/00002.jpg")
    broken = run("--davis_root", davis_root, "--workers", 2, "--json", tmp_path / "report.json")
    assert broken.returncode == 2 and "bear/00002.jpg: damaged" in broken.stdout
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["problems"] == 2 and content["sets"][0]["found"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no root given"),
        (("--video_root", "x"), "write NAME=DIR"),
        (("--davis_root", "nowhere", "--workers", "0"), "at least 1"),
    ],
)
def test_a_wrong_request_is_one_line(arguments, message):
    done = run(*arguments)
    assert (
        done.returncode == 2
        and message in done.stderr
        and len(done.stderr.strip().splitlines()) == 1
    )


def test_a_root_that_is_not_there_is_a_problem_with_the_tree_expected(tmp_path):
    assert (
        "expected" in check_video(tmp_path / "nowhere", BL30K).problems[0]
        and "expected" in check_static(tmp_path / "nowhere")[0].problems[0]
    )
