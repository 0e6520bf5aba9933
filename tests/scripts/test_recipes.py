"""The shell recipes chain the published stages, each from the weights of the one before; the same
command resumes them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT
from toy_trees import write_davis

from model import build_network, load_network, save_weights

QUICK = [
    "--network",
    "tiny",
    "-i",
    "1",
    "-b",
    "2",
    "--crop_size",
    "32",
    "--num_workers",
    "0",
    "--device",
    "cpu",
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of the code, because a recipe writes into the repository that it lies in."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("model", "dataset", "inference", "util", "scripts"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "sample")
        )
    shutil.copy(ROOT / "train.py", folder)
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    return write_davis(tmp_path_factory.mktemp("data") / "davis", {"bear": 8}, "2017/train.txt")


@pytest.fixture(scope="module")
def stills(videos) -> Path:
    root = videos.parent / "static"
    shutil.copytree(videos / "JPEGImages/480p/bear", root)
    shutil.copytree(videos / "Annotations/480p/bear", root, dirs_exist_ok=True)
    return root


def run(copy: Path, script: str, *arguments: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHON": sys.executable, "PROCESSES": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [str(copy / "scripts" / script), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_stages_follow_one_another_and_are_not_trained_twice(copy, videos, stills):
    done = run(copy, "train_s03.sh", "chain", stills, videos, videos, *QUICK)
    assert done.returncode == 0, done.stderr
    assert load_network(copy / "runs/chain_s03/weights.pth").config.name == "tiny"
    record = json.loads((copy / "runs/chain_s03/config.json").read_text())
    assert (
        record["training"]["stage"] == "3"
        and record["flags"]["load_network"] == "runs/chain_s0/weights.pth"
    )
    again = run(copy, "train_s03.sh", "chain", stills, videos, videos, *QUICK)
    assert again.returncode == 0 and again.stdout.splitlines() == [
        "runs/chain_s0 is finished",
        "runs/chain_s03 is finished",
    ]


@pytest.mark.parametrize("system", ["pcvos", "remn"])
def test_networks_of_other_systems_start_from_the_weights_of_stcn(copy, videos, stills, system):
    network = f"tiny_{system}"
    save_weights(copy / "tiny.pth", build_network("tiny"))
    flags = [system, "tiny.pth", *QUICK, "--network", network, "--mix", "static=1"]
    done = run(copy, "train_lite0_system.sh", videos, stills, network, *flags)
    assert done.returncode == 0, done.stderr
    assert "initialised from scratch" in done.stdout
    assert load_network(copy / f"runs/{network}/weights.pth").config.name == network
    record = json.loads((copy / f"runs/{network}/config.json").read_text())
    assert record["training"]["system"] == system
    assert record["training"]["frozen"] == ["key_encoder"]


def test_an_unknown_system_is_refused(copy, videos, stills):
    done = run(copy, "train_lite0_system.sh", videos, stills, "never", "sam", "start.pth")
    assert (done.returncode, done.stdout) == (2, "") and "sam: no such system" in done.stderr


def test_the_small_network_is_trained_in_three_parts_the_last_clip_by_clip(copy, videos, stills):
    done = run(
        copy,
        "train_small.sh",
        videos,
        stills,
        "small",
        *QUICK,
        "--network",
        "tiny",
        "--mix",
        "static=1",
    )
    assert done.returncode == 0, done.stderr
    records = [
        json.loads((copy / f"runs/{name}/config.json").read_text())
        for name in ("small_1", "small_2", "small")
    ]
    assert [record["flags"]["load_network"] for record in records] == [
        None,
        "runs/small_1/weights.pth",
        "runs/small_2/weights.pth",
    ]
    assert [record["training"]["clip_frames"] for record in records] == [1, 1, 3] and records[2][
        "training"
    ]["dice_weight"] == 1


def test_the_shipped_network_starts_from_imagenet_and_ends_clip_by_clip(copy, videos, stills):
    quick = [*QUICK, "--network", "tiny", "--mix", "static=1", "--backbone_weights", "none"]
    done = run(copy, "train_lite0.sh", videos, stills, "lite", *quick)
    assert done.returncode == 0, done.stderr
    records = [
        json.loads((copy / f"runs/{name}/config.json").read_text()) for name in ("lite_1", "lite")
    ]
    assert [record["training"]["clip_frames"] for record in records] == [1, 3]
    assert [record["training"]["slot_rates"]["key_encoder"] for record in records] == [0.25, 0.25]
    assert records[1]["flags"]["load_network"] == "runs/lite_1/weights.pth"


@pytest.mark.parametrize(
    "script",
    [
        "train_s03.sh",
        "train_s012.sh",
        "train_lite0.sh",
        "train_small.sh",
        "train_lite0_system.sh",
    ],
)
def test_without_folders_the_usage_is_shown(copy, script):
    done = run(copy, script, "name")
    assert done.returncode == 2 and script in done.stderr and done.stdout == ""


@pytest.mark.parametrize(
    ("script", "roots"),
    [
        ("train_s03.sh", 3),
        ("train_s012.sh", 4),
        ("train_lite0.sh", 2),
        ("train_small.sh", 2),
        ("train_lite0_system.sh", 2),
    ],
)
def test_a_missing_folder_is_named_before_anything_is_trained(copy, videos, script, roots):
    for missing in range(roots):
        folders = [videos] * roots
        folders[missing] = "gone/away"
        done = run(
            copy,
            script,
            *(("never", *folders) if roots > 2 else (*folders, "never", "stcn", "a.pth")),
        )
        assert (done.returncode, done.stdout, done.stderr) == (
            2,
            "",
            "error: gone/away: no such folder\n",
        )
