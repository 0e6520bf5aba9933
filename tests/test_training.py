"""Training from the command line: every stage runs on folders in the public layouts, resumes exactly, and shares batches among processes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from repository import ROOT

import train
from dataset.training.loading import training_batches
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data
from dataset.training.synthetic import make_clip
from dataset.training.video_layouts import find_videos
from model import Rollout, build_network, load_network, save_weights
from model.training.optimizer import build_scheduler
from model.training.stages import STAGES, TrainingConfig
from model.training.trainer import Trainer
from util.errors import InputError
from util.run_record import read_metrics

QUICK = [
    "--network",
    "tiny",
    "--crop_size",
    "64",
    "-b",
    "2",
    "--num_workers",
    "0",
    "--device",
    "cpu",
    "--log_every",
    "1",
]


@pytest.fixture(scope="module")
def davis_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("davis")
    frames, labels = make_clip(3, frames=6, height=96, width=128, objects=2)
    for folder in ("JPEGImages", "Annotations"):
        (root / folder / "480p" / "made-up").mkdir(parents=True)
    for index, (frame, label) in enumerate(zip(frames, labels, strict=True)):
        cv2.imwrite(str(root / "JPEGImages/480p/made-up" / f"{index:05d}.jpg"), frame[..., ::-1])
        cv2.imwrite(str(root / "Annotations/480p/made-up" / f"{index:05d}.png"), label)
    return root


@pytest.fixture(scope="module")
def static_root(davis_root, tmp_path_factory):
    root = tmp_path_factory.mktemp("static")
    for kind, suffix in (("JPEGImages", ".jpg"), ("Annotations", ".png")):
        for path in (davis_root / kind / "480p/made-up").iterdir():
            (root / (path.stem + suffix)).write_bytes(path.read_bytes())
    return root


def run(monkeypatch, folder: Path, *flags: str) -> Path:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["train.py", *flags])
    train.main()
    return folder / "runs"


@pytest.mark.parametrize("stage", ["0", "3", "synthetic"])
def test_every_stage_trains_and_leaves_weights_that_load(
    stage, davis_root, static_root, tmp_path, monkeypatch
):
    roots = {
        "0": ["--static_root", str(static_root)],
        "3": ["--davis_root", str(davis_root)],
        "synthetic": [],
    }[stage]
    runs = run(monkeypatch, tmp_path, "--stage", stage, "--id", "run", "-i", "2", *roots, *QUICK)
    assert load_network(runs / "run/weights.pth").config.name == "tiny"
    assert json.loads((runs / "run/config.json").read_text())["training"]["stage"] == stage
    lines = [json.loads(line) for line in (runs / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2] and all(
        np.isfinite(line["loss"]) for line in lines
    )


def test_stage_remn_trains_its_modules_from_weights_of_stcn_and_validates_with_them(
    davis_root, tmp_path, monkeypatch, capsys
):
    save_weights(tmp_path / "stcn.pth", build_network("tiny"))
    held_out = shutil.copytree(davis_root, tmp_path / "held_out")
    start = ["--davis_root", str(davis_root), "--load_network", str(tmp_path / "stcn.pth")]
    flags = [
        "--stage",
        "remn",
        *start,
        "--frames",
        "6",
        "--lr",
        "1e-3",
        *QUICK,
        "--network",
        "tiny_remn",
        "-b",
        "1",
    ]
    runs = run(
        monkeypatch,
        tmp_path,
        "--id",
        "run",
        "-i",
        "2",
        *flags,
        "--val_root",
        str(held_out),
        "--val_every",
        "2",
    )
    said = capsys.readouterr().out
    assert (
        "the network's enhancer, which is initialised" in said
        and "the network's reducer, which is initialised" in said
    )
    network = load_network(runs / "run/weights.pth")
    assert network.config.name == "tiny_remn"
    assert network.foreground_reinforcing.gain.item() != 0, "it began to learn"
    line = json.loads((runs / "run/metrics.jsonl").read_text().splitlines()[0])
    assert line["loss"] == pytest.approx(line["cross_entropy"] + line["reduction"], rel=1e-5)
    assert (
        json.loads((runs / "run/best.json").read_text())["validation"]["system"]["name"] == "remn"
    )


def test_samples_of_stage_remn_are_as_its_comment_says():
    stage = STAGES["remn"]
    assert (stage.frames, stage.reduce_frames, stage.max_skip, stage.clip_frames, stage.system) == (
        7,
        4,
        4,
        1,
        "remn",
    )


def test_validation_by_a_system_whose_parts_the_network_lacks_is_refused_at_the_start(
    davis_root, tmp_path, monkeypatch
):
    held_out = shutil.copytree(davis_root, tmp_path / "held_out")
    flags = [
        "--stage",
        "remn",
        "--davis_root",
        str(davis_root),
        "--frames",
        "6",
        *QUICK,
        "--network",
        "tiny",
        "--set",
        "reduce_frames=none",
        "-b",
        "1",
    ]
    with pytest.raises(
        InputError,
        match=r"validation of network tiny: no weights of .*; train a network that has them, or without validation",
    ):
        run(monkeypatch, tmp_path, "--id", "run", *flags, "--val_root", str(held_out))
    assert not (tmp_path / "runs/run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--stage", "3", "--network", "tiny_remn"],
            r"tiny_remn: its redundancy reduction is trained by reducing.*reduce_frames is None.*multiple of 4 \(--stage remn has it\)",
        ),
        (
            ["--stage", "remn", "--network", "tiny"],
            "tiny has no redundancy reduction; reduce_frames is 4",
        ),
        (
            ["--stage", "remn", "--network", "tiny_remn", "--frames", "5"],
            r"5 frames a sample \(--frames\), reduce_frames 4: the reduced memory is never read; 6 frames",
        ),
        (
            ["--stage", "3", "--network", "tiny", "--set", "slot_rates.enhancer=5"],
            r"slot_rates\.enhancer is 5, but network tiny has no foreground reinforcing",
        ),
        (
            ["--stage", "3", "--network", "tiny", "--set", "system=best"],
            "system 'best' is not known",
        ),
        (
            ["--stage", "3", "--network", "tiny", "--seed", str(2**64)],
            "seed is 18446744073709551616; it must be at least 0 and below",
        ),
        (
            ["--stage", "3", "--network", "tiny", "--key_channels", "100000000000"],
            "key_channels is 100000000000; it must be at least 1 and at most 4,096",
        ),
        (
            ["--stage", "remn", "--network", "tiny_remn", "--frames", "16", "--clip_frames", "3"],
            "foreground reinforcing goes frame by frame; clip_frames is 3",
        ),
    ],
)
def test_settings_that_a_network_cannot_be_trained_with_are_refused(
    flags, message, davis_root, tmp_path, monkeypatch
):
    with pytest.raises(InputError, match=message):
        run(
            monkeypatch,
            tmp_path,
            "--id",
            "run",
            "--davis_root",
            str(davis_root),
            *QUICK[2:],
            *flags,
        )


def test_too_little_memory_for_a_batch_is_one_line(davis_root, tmp_path, monkeypatch):
    def forward(*_: object) -> None:
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"
        )

    monkeypatch.setattr("model.training.trainer.Trainer.forward", forward)
    with pytest.raises(
        InputError,
        match=r"cpu has too little memory for a batch \(2 samples of 3 frames at 64 pixels on network tiny\); --accumulate N",
    ):
        run(
            monkeypatch,
            tmp_path,
            "--id",
            "run",
            "--stage",
            "3",
            "--davis_root",
            str(davis_root),
            *QUICK,
        )


def test_mixed_training_uses_every_kind_of_sample(davis_root, static_root, tmp_path, monkeypatch):
    flags = [
        "--static_root",
        str(static_root),
        "--davis_root",
        str(davis_root),
        "--mix",
        "video=1",
        "static=1",
        "synthetic=1",
    ]
    runs = run(
        monkeypatch, tmp_path, "--stage", "synthetic", "--id", "mix", "-i", "2", *flags, *QUICK
    )
    assert (runs / "mix/weights.pth").is_file()


def test_resumed_training_gives_the_same_weights_bit_for_bit(tmp_path, monkeypatch):
    flags = ["--stage", "synthetic", "-i", "4", "--save_every", "2", *QUICK]
    runs = run(monkeypatch, tmp_path, "--id", "whole", *flags)
    run(monkeypatch, tmp_path, "--id", "parts", *flags)
    for name in ("checkpoints/000004.pth", "weights.pth"):
        (runs / "parts" / name).unlink()
    run(monkeypatch, tmp_path, "--id", "parts", "--load_model", "auto", *flags)
    whole, parts = (
        torch.load(runs / name / "weights.pth", weights_only=True) for name in ("whole", "parts")
    )
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    whole, parts = (
        torch.load(runs / name / "checkpoints/000004.pth", weights_only=True)
        for name in ("whole", "parts")
    )
    assert all(
        torch.equal(whole["network"][key], parts["network"][key]) for key in whole["network"]
    )


def test_load_model_auto_with_nothing_there_starts_afresh_and_says_so(
    tmp_path, monkeypatch, capsys
):
    run(
        monkeypatch,
        tmp_path,
        "--stage",
        "synthetic",
        "--id",
        "new",
        "-i",
        "1",
        "--load_model",
        "auto",
        *QUICK,
    )
    assert "starting from scratch" in capsys.readouterr().out


def test_an_existing_run_is_not_overwritten(tmp_path, monkeypatch):
    flags = ["--stage", "synthetic", "--id", "run", "-i", "1", *QUICK]
    run(monkeypatch, tmp_path, *flags)
    with pytest.raises(InputError, match="this run exists"):
        run(monkeypatch, tmp_path, *flags)


def test_loaded_network_starts_from_the_weights_given(tmp_path, monkeypatch):
    runs = run(monkeypatch, tmp_path, "--stage", "synthetic", "--id", "first", "-i", "1", *QUICK)
    run(
        monkeypatch,
        tmp_path,
        "--stage",
        "synthetic",
        "--id",
        "second",
        "-i",
        "1",
        "--lr",
        "1e-30",
        "--load_network",
        str(runs / "first/weights.pth"),
        *QUICK,
    )
    first, second = (load_network(runs / name / "weights.pth") for name in ("first", "second"))
    for (name, ours), theirs in zip(first.named_parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--stage", "3"], "--davis_root"),
        (["--stage", "0"], "--static_root"),
        (["--stage", "synthetic", "--mix", "films=1"], "films"),
        (["--stage", "synthetic", "--mix", "video"], "KIND=SHARE"),
        (["--stage", "synthetic", "-b", "0"], "batch_size"),
        (["--stage", "synthetic", "--crop_size", "100"], "multiple of 16"),
        (["--stage", "synthetic", "--crop_size", "100000"], "at most 5,792"),
        (["--stage", "synthetic", "--load_network", "nowhere.pth"], "nowhere.pth"),
        (["--stage", "synthetic", "--save_every", "0"], "save_every"),
        (["--stage", "synthetic", "--num_workers", "-1"], "num_workers"),
        (["--stage", "synthetic", "--mix", "synthetic=-1"], "weights"),
        (["--stage", "synthetic", "--films"], "not known; the flags are"),
    ],
)
def test_a_wrong_request_is_one_clear_line_and_leaves_nothing(
    flags, message, tmp_path, monkeypatch
):
    with pytest.raises(InputError, match=message):
        run(monkeypatch, tmp_path, "--id", "run", *QUICK, *flags)
    assert not (tmp_path / "runs/run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-b", "100"], "4 different samples, fewer than a batch of 100"),
        (["--exclude", "mad-up"], "mad-up: named in --exclude"),
        (["--val_root", "ROOT"], "trained on and validated on.*--exclude made-up"),
        (["--mix", "others=1"], "'others' is not known"),
        (["--video_root", "others"], "NAME=DIR"),
        (["--set", "bootstrap.fraction=1"], "bootstrap.final_fraction"),
        (["--set", "learning_rate=1", "--lr", "1"], "'learning_rate' is not known"),
        (["--accumulate", "3"], "batch size 2 over 1 process in 3 parts"),
        (["--key_channels", "0"], "key_channels is 0"),
        (["--backbone_weights", "imagenet"], "encoders of network tiny"),
    ],
)
def test_a_wrong_request_for_videos_is_one_clear_line_and_leaves_nothing(
    flags, message, davis_root, tmp_path, monkeypatch
):
    flags = [str(davis_root) if flag == "ROOT" else flag for flag in flags]
    with pytest.raises(InputError, match=message):
        run(
            monkeypatch,
            tmp_path,
            "--stage",
            "3",
            "--id",
            "run",
            "--davis_root",
            str(davis_root),
            "-i",
            "1",
            *QUICK,
            *flags,
        )
    assert not (tmp_path / "runs/run").exists()


def test_a_subset_that_is_no_text_is_one_clear_line_and_leaves_nothing(
    davis_root, tmp_path, monkeypatch
):
    (tmp_path / "subset.txt").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(InputError, match=r"subset\.txt: not a text of UTF-8"):
        run(
            monkeypatch,
            tmp_path,
            "--stage",
            "3",
            "--id",
            "run",
            "--davis_root",
            str(davis_root),
            "--subset",
            str(tmp_path / "subset.txt"),
            *QUICK,
        )
    assert not (tmp_path / "runs/run").exists()


def test_validation_scores_the_network_and_keeps_the_best_weights(
    davis_root, tmp_path, monkeypatch
):
    runs = run(
        monkeypatch,
        tmp_path,
        "--stage",
        "synthetic",
        "--id",
        "run",
        "-i",
        "2",
        "--val_root",
        str(davis_root),
        "--val_every",
        "1",
        *QUICK,
    )
    lines = [json.loads(line) for line in (runs / "run/metrics.jsonl").read_text().splitlines()]
    scores = [line["validation/j_and_f"] for line in lines if "validation/j_and_f" in line]
    assert len(scores) == 2 and all(0 <= score <= 1 for score in scores)
    best = json.loads((runs / "run/best.json").read_text())
    assert (
        best["j_and_f"] == max(scores) and load_network(runs / "run/best.pth").config.name == "tiny"
    )


def test_going_on_with_other_settings_is_refused(tmp_path, monkeypatch):
    flags = ["--stage", "synthetic", "--id", "run", "-i", "1", *QUICK]
    run(monkeypatch, tmp_path, *flags)
    with pytest.raises(InputError, match="learning_rate"):
        run(monkeypatch, tmp_path, *flags, "--lr", "0.5", "--load_model", "auto")


def test_a_damaged_image_met_in_a_loading_process_is_one_line(davis_root, tmp_path, monkeypatch):
    root = tmp_path / "davis"
    shutil.copytree(davis_root, root)
    for path in (root / "JPEGImages/480p/made-up").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError) as caught:
        run(
            monkeypatch,
            tmp_path,
            "--stage",
            "3",
            "--id",
            "run",
            "-i",
            "1",
            "--davis_root",
            str(root),
            *QUICK,
            "--num_workers",
            "1",
        )
    assert "made-up/0000" in str(caught.value) and "\n" not in str(caught.value)


def test_validation_sequences_of_davis_2016_are_not_trained_on(davis_root, tmp_path):
    root = tmp_path / "davis"
    shutil.copytree(davis_root, root)
    for kind in ("JPEGImages", "Annotations"):
        shutil.copytree(root / kind / "480p/made-up", root / kind / "480p/held-out")
    (root / "ImageSets/480p").mkdir(parents=True)
    (root / "ImageSets/480p/train.txt").write_text(
        "/JPEGImages/480p/made-up/00000.jpg /Annotations/480p/made-up/00000.png\n"
    )
    assert [video.name for video in find_videos(root)] == ["made-up"]
    (root / "ImageSets/480p/train.txt").unlink()
    with pytest.raises(InputError, match=r"2017/train\.txt"):
        find_videos(root)


def test_two_processes_train_as_one_does(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    flags = [
        str(ROOT / "train.py"),
        "--stage",
        "synthetic",
        "-i",
        "2",
        "--no-learn_batch_norms",
        *QUICK,
    ]
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--master_port=29613",
    ]
    ended = subprocess.run(
        [*launcher, *flags, "--id", "two"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "broadcast_buffers" not in ended.stderr
    subprocess.run(
        [sys.executable, *flags, "--id", "one"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        timeout=120,
    )
    two, one = (load_network(tmp_path / "runs" / name / "weights.pth") for name in ("two", "one"))
    torch.manual_seed(0)
    start = build_network("tiny")
    moved, apart = (
        torch.cat(
            [
                (ours - theirs).flatten()
                for ours, theirs in zip(network.parameters(), one.parameters(), strict=True)
            ]
        ).norm()
        for network in (start, two)
    )
    assert (
        moved > 0 and apart < 0.05 * moved
    )  # what remains is rounding, which Adam enlarges where gradients are tiny


def test_batches_do_not_depend_on_where_training_went_on():
    data = build_training_data(
        TrainingRoots(),
        SampleConfig(crop_size=32, frames=2),
        mix={"synthetic": 1.0},
        samples=8,
        seed=1,
    )
    whole, resumed = (list(training_batches(data, 2, first, workers=0)) for first in (0, 2))
    assert len(whole) == 4 and len(resumed) == 2
    assert all(
        torch.equal(ours.tensors["frames"], theirs.tensors["frames"])
        for ours, theirs in zip(whole[2:], resumed, strict=True)
    )


def test_memory_is_pinned_for_cuda_alone_wherever_cuda_is_there(tmp_path, monkeypatch):
    """Pinning opens a context on the GPU, which a training on the CPU has no part in."""

    class Asked(Exception):
        pass

    def asked(*_, **settings):
        raise Asked(settings["pin_memory"])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "--stage", "synthetic", "--id", "x", *QUICK])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("dataset.training.iterations.training_batches", asked)
    with pytest.raises(Asked, match="False"):
        train.main()
    data = build_training_data(
        TrainingRoots(),
        SampleConfig(crop_size=32, frames=2),
        mix={"synthetic": 1.0},
        samples=8,
        seed=1,
    )
    loader = mock.Mock(return_value=[])
    monkeypatch.setattr("dataset.training.loading.DataLoader", loader)
    assert (
        list(training_batches(data, 2, workers=0)) == []
        and loader.call_args.kwargs["pin_memory"] is False
    )


def test_published_stages_keep_batch_norm_statistics_and_still_learn_their_scale():
    config = TrainingConfig(
        stage="3", mix=(), batch_size=1, iterations=1, learning_rate=1e-3, amp="off"
    )
    trainer = Trainer(build_network("tiny"), config, torch.device("cpu"))
    norm = trainer.network.key_encoder.bn1
    before = norm.running_mean.clone(), norm.weight.detach().clone()
    frames = torch.randint(
        0, 255, (1, 3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    labels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    labels[..., 8:24, 8:24] = 1
    result = trainer.forward({"frames": frames, "labels": labels, "num_objects": torch.tensor([1])})
    trainer.backward(result.loss)
    trainer.step()
    assert torch.equal(norm.running_mean, before[0]) and not torch.equal(norm.weight, before[1])


def test_learning_rate_follows_the_published_steps():
    network = build_network("tiny")
    scheduler = build_scheduler(torch.optim.SGD(network.parameters(), lr=1.0), STAGES["0"])
    factors = [scheduler.lr_lambdas[0](iteration) for iteration in (0, 149_999, 150_000, 299_999)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1])


def test_training_lowers_the_loss_on_a_clip_seen_again_and_again():
    torch.manual_seed(0)
    frames, labels = make_clip(5, frames=3, height=64, width=64, objects=1)
    batch = {
        "frames": torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))[None],
        "labels": torch.from_numpy(labels)[None],
        "num_objects": torch.tensor([1]),
    }
    config = TrainingConfig(
        stage="synthetic",
        mix=(),
        batch_size=1,
        iterations=30,
        learning_rate=3e-3,
        optimizer="adamw",
        learn_batch_norms=True,
        amp="off",
    )
    trainer = Trainer(build_network("tiny"), config, torch.device("cpu"))
    losses = []
    for _ in range(30):
        result = trainer.forward(batch)
        losses.append(float(result.loss.detach()))
        trainer.backward(result.loss)
        trainer.step()
    assert losses[-1] < 0.6 * losses[0]
    assert isinstance(trainer.rollout, Rollout)


def test_a_failing_validation_costs_no_iteration(davis_root, tmp_path, monkeypatch):
    def failing(*_):
        raise InputError("the truth went away")

    with monkeypatch.context() as patch:
        patch.setattr("train.Validator.score", failing)
        with pytest.raises(InputError, match="went away"):
            run(
                monkeypatch,
                tmp_path,
                "--stage",
                "synthetic",
                "--id",
                "run",
                "-i",
                "2",
                "--val_root",
                str(davis_root),
                "--val_every",
                "1",
                "--save_every",
                "1",
                *QUICK,
            )
    assert [path.name for path in (tmp_path / "runs/run/checkpoints").iterdir()] == ["000001.pth"]


def test_the_curves_show_the_latest_validation(davis_root, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "model.training.run.draw_curves",
        lambda folder, _: drawn.append(
            [line for line in read_metrics(folder / "metrics.jsonl") if "validation/j" in line]
        ),
    )
    run(
        monkeypatch,
        tmp_path,
        "--stage",
        "synthetic",
        "--id",
        "run",
        "-i",
        "2",
        "--val_root",
        str(davis_root),
        "--val_every",
        "1",
        *QUICK,
    )
    assert [len(validations) for validations in drawn] == [1, 2]
