"""Training from the command line: what every stage trains, validates and writes."""

import functools
import json
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_trees import toy_frames, write_davis, write_jpg, write_png
from training_processes import QUICK, TRAIN, Program, launcher, read, train_here

from model import build_network, load_network, save_weights
from model.checkpoint import recognise_preset
from model.config import PRESETS, with_window
from model.training.stages import STAGES
from util.errors import InputError
from util.run_record import read_metrics

Run = Callable[..., Path]
SYNTHETIC = "--stage synthetic"


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    """run(*flags) trains the tiny network as runs/run, and returns that folder."""
    return functools.partial(train_here, monkeypatch, tmp_path)


@pytest.fixture
def davis(tmp_path) -> Path:
    """A training video."""
    return write_davis(tmp_path / "davis", {"bear": 8}, "2017/train.txt")


@pytest.fixture
def held_out(tmp_path) -> Path:
    """A video for validation."""
    return write_davis(tmp_path / "held_out", {"cow": 7}, "2017/val.txt")


@pytest.fixture
def stills(tmp_path) -> Path:
    """Images with masks beside them."""
    for index, (image, labels) in enumerate(zip(*toy_frames(6, 0), strict=True)):
        (tmp_path / "stills").mkdir(exist_ok=True)
        write_jpg(tmp_path / f"stills/{index:05d}.jpg", image)
        write_png(tmp_path / f"stills/{index:05d}.png", labels)
    return tmp_path / "stills"


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


# Stages


@pytest.mark.parametrize("stage", ["0", "3", "synthetic"])
def test_every_stage_trains_and_writes_weights_that_load(run, davis, stills, stage):
    roots = {"0": f"--static_root {stills}", "3": f"--davis_root {davis}", "synthetic": ""}[stage]
    folder = run(f"--stage {stage} -i 2 --image_every 1", roots)
    assert load_network(folder / "weights.pth").config.name == "tiny"
    assert read_json(folder / "config.json")["training"]["stage"] == stage
    entries = read_metrics(folder / "metrics.jsonl")
    assert [entry["iteration"] for entry in entries] == [1, 2]
    assert all(np.isfinite(entry["loss"]) for entry in entries)


def test_stage_remn_trains_its_modules_from_weights_of_stcn_and_validates_with_them(
    run, davis, held_out, tmp_path, capsys
):
    save_weights(tmp_path / "stcn.pth", build_network("tiny"))
    folder = run(
        "--stage remn --davis_root davis --load_network stcn.pth --frames 6 --lr 1e-3 -i 2",
        "--network tiny_remn -b 1 --val_root held_out --val_every 2",
    )
    printed = capsys.readouterr().out
    for slot in ("enhancer", "reducer"):
        assert f"the network's {slot}, which is initialised from scratch" in printed
    network = load_network(folder / "weights.pth")
    assert network.config.name == "tiny_remn"
    assert network.foreground_reinforcing.gain.item() != 0, "it began to learn"
    entry = read_metrics(folder / "metrics.jsonl")[0]
    assert entry["loss"] == pytest.approx(entry["cross_entropy"] + entry["reduction"], rel=1e-5)
    assert read_json(folder / "best.json")["validation"]["system"]["name"] == "remn"


def test_samples_of_stage_remn_are_as_its_comment_says():
    stage = STAGES["remn"]
    assert (stage.frames, stage.reduce_frames, stage.max_skip) == (7, 4, 4)
    assert (stage.clip_frames, stage.system) == (1, "remn")


def test_stage_clip_trains_from_weights_of_stcn_and_validates_as_pcvos(
    run, davis, held_out, tmp_path, capsys
):
    save_weights(tmp_path / "stcn.pth", build_network("tiny"))
    folder = run(
        "--stage clip --network tiny_pcvos --load_network stcn.pth -i 1 --crop_size 32",
        "--davis_root davis --val_root held_out --val_every 1",
    )
    found = "stcn.pth: has no weights of the network's refiner, which is initialised from scratch"
    assert found in capsys.readouterr().out
    entry, scores = read_metrics(folder / "metrics.jsonl")
    assert entry["loss"] == pytest.approx(entry["cross_entropy"] + entry["dice"])
    assert entry["dice"] > 0 and scores["validation/j_and_f"] >= 0
    validated = read_json(folder / "best.json")["validation"]["system"]
    assert (validated["name"], validated["clip_length"], validated["refine"]) == ("pcvos", 5, True)
    assert recognise_preset(read(folder / "weights.pth")).name == "tiny_pcvos"


def test_samples_of_several_kinds_are_mixed(run, davis, stills):
    roots = "--static_root stills --davis_root davis"
    folder = run(SYNTHETIC, roots, "-i 2 --mix video=1 static=1 synthetic=1")
    assert (folder / "weights.pth").is_file()
    assert set(read_json(folder / "config.json")["data"]) == {"static", "video"}


def test_two_processes_train_as_one_does(tmp_path):
    flags = (*TRAIN, "--stage", "synthetic", "-i", "2", "--no-learn_batch_norms", *QUICK)
    two = Program(tmp_path, (*launcher(2), *flags, "--id", "two")).end()
    one = Program(tmp_path, (*flags, "--id", "one")).end()
    assert (two.code, one.code) == (0, 0), (two, one)
    assert "broadcast_buffers" not in two.errors
    torch.manual_seed(0)
    start = build_network("tiny")
    two, one = (load_network(tmp_path / f"runs/{name}/weights.pth") for name in ("two", "one"))

    def distance(network: torch.nn.Module) -> float:
        differences = (
            (ours - theirs).detach().flatten()
            for ours, theirs in zip(network.parameters(), one.parameters(), strict=True)
        )
        return float(torch.cat(list(differences)).norm())

    # the difference is rounding, which Adam enlarges where gradients are tiny
    assert distance(start) > 0 and distance(two) < 0.05 * distance(start)


def test_memory_is_pinned_only_for_cuda(run, monkeypatch):
    """Pinning opens a context on the GPU, which a training on the CPU does not use."""

    class Asked(Exception):
        pass

    def asked(*_, **settings):
        raise Asked(settings["pin_memory"])

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("dataset.training.iterations.training_batches", asked)
    with pytest.raises(Asked, match="False"):
        run(SYNTHETIC)


# Where a network starts, and what is stored with its weights


def test_a_training_starts_from_the_weights_of_load_network(run, tmp_path):
    run(SYNTHETIC, "--id first -i 1")
    run(SYNTHETIC, "--id second -i 1 --lr 1e-30 --load_network runs/first/weights.pth")
    first, second = (
        load_network(tmp_path / f"runs/{name}/weights.pth") for name in ("first", "second")
    )
    for (name, ours), theirs in zip(first.named_parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_ablations_of_the_network_are_stored_with_its_weights(run):
    folder = run(SYNTHETIC, "-i 1 --key_channels 32 --similarity dot")
    config = recognise_preset(read(folder / "weights.pth"))
    assert (config.name, config.key_channels) == ("tiny", 32)
    assert load_network(folder / "weights.pth").config.key_channels == 32
    stored = load_network(folder / "checkpoints/000001.pth").config
    assert (stored.key_channels, stored.similarity) == (32, "dot")
    assert PRESETS["tiny"].similarity != "dot"


def test_the_similarity_is_stored_with_the_weights_and_kept_in_a_training_from_them(
    run, held_out, tmp_path, capsys
):
    folder = run(SYNTHETIC, "-i 1 --similarity dot --val_root held_out --val_every 1")
    for file in ("weights.pth", "best.pth", "checkpoints/000001.pth"):
        assert load_network(folder / file).config.similarity == "dot", file
    for flags, similarity in (("", "dot"), ("--similarity cosine", "cosine")):
        name = f"from_{similarity}"
        run(SYNTHETIC, f"--id {name} -i 1 --load_network runs/run/weights.pth", flags)
        weights = tmp_path / "runs" / name / "weights.pth"
        assert load_network(weights).config.similarity == similarity
        change = f"with similarity dot; this training continues with {similarity}"
        assert f"runs/run/weights.pth: was trained {change}" in capsys.readouterr().out


def test_windows_of_the_refinement_are_stored_with_the_weights(run):
    folder = run(SYNTHETIC, "-i 1 --network tiny_pcvos --window 1 3 3")
    for file in ("checkpoints/000001.pth", "weights.pth"):
        assert load_network(folder / file).config.refiner.window == (1, 3, 3)
        assert load_network(folder / file, window=(1, 3, 3)).config.refiner.window == (1, 3, 3)
        with pytest.raises(InputError, match="windows of 1×3×3, not 2×2×3 as asked for"):
            load_network(folder / file, window=(2, 2, 3))
    torch.save(read(folder / "weights.pth"), folder / "others.pth")
    assert load_network(folder / "others.pth", window=(1, 3, 3)).config.refiner.window == (1, 3, 3)
    with pytest.raises(InputError, match="fits no network"):
        load_network(folder / "others.pth")
    with pytest.raises(InputError, match="window 0 3 3"):
        load_network(folder / "others.pth", window=(0, 3, 3))


def test_windows_of_the_weights_are_kept_in_a_training_from_them(run, tmp_path, capsys):
    network = build_network(with_window(PRESETS["tiny_pcvos"], (3, 2, 2)))
    save_weights(tmp_path / "start.pth", network)
    folder = run(SYNTHETIC, "-i 1 --network tiny_pcvos --load_network start.pth")
    assert load_network(folder / "weights.pth").config.refiner.window == (3, 2, 2)
    change = "with windows of 3×2×2; this training continues with 3×2×2"
    assert f"start.pth: was trained {change}" in capsys.readouterr().out


# The record of a run


def test_a_run_records_what_made_it(run):
    folder = run(SYNTHETIC, "-i 2 --lr 0.002")
    written = read_json(folder / "config.json")
    kept = read(folder / "checkpoints/000002.pth")["record"]
    for record in (written, kept):
        training = record["training"]
        assert training["learning_rate"] == record["flags"]["learning_rate"] == 0.002
        assert training["seed"] == 0 and training["iterations"] == 2
        assert record["network"]["name"] == "tiny" and record["processes"] == 1
        assert record["versions"]["torch"] == version("torch")
        commit = record["git_commit"]
        assert commit is None or re.fullmatch(r"[0-9a-f]{40}(\+changes)?", commit)
    assert json.loads(json.dumps(kept)) == written


def test_an_existing_run_is_not_overwritten(run):
    run(SYNTHETIC, "-i 1")
    with pytest.raises(InputError, match="this run exists"):
        run(SYNTHETIC, "-i 1")


def test_validation_scores_the_network_and_keeps_the_best_weights(run, held_out):
    folder = run(SYNTHETIC, "-i 2 --val_root held_out --val_every 1")
    entries = read_metrics(folder / "metrics.jsonl")
    scores = [entry["validation/j_and_f"] for entry in entries if "validation/j_and_f" in entry]
    assert len(scores) == 2 and all(0 <= score <= 1 for score in scores)
    assert read_json(folder / "best.json")["j_and_f"] == max(scores)
    assert load_network(folder / "best.pth").config.name == "tiny"


def test_a_failing_validation_loses_no_iteration(run, held_out, tmp_path, monkeypatch):
    def failing(*_):
        raise InputError("the truth is gone")

    monkeypatch.setattr("inference.validation.Validator.score", failing)
    with pytest.raises(InputError, match="the truth is gone"):
        run(SYNTHETIC, "-i 2 --val_root held_out --val_every 1 --save_every 1")
    assert [path.name for path in (tmp_path / "runs/run/checkpoints").iterdir()] == ["000001.pth"]


def test_the_curves_show_the_latest_validation(run, held_out, monkeypatch):
    drawn = []

    def draw(folder: Path, _: str) -> None:
        entries = read_metrics(folder / "metrics.jsonl")
        drawn.append(sum("validation/j" in entry for entry in entries))

    monkeypatch.setattr("model.training.run.draw_curves", draw)
    run(SYNTHETIC, "-i 2 --val_root held_out --val_every 1")
    assert drawn == [1, 2]


def test_curves_are_drawn_at_every_checkpoint(run):
    folder = run(SYNTHETIC, "-i 1")
    assert (folder / "curves.png").is_file()
