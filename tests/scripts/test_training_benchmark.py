"""The training benchmark: its plain loop computes and sees what training does, and the memory it computes is what torch takes. Timings are not tested."""

import dataclasses
import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT
from torch.profiler import ProfilerActivity, profile

from dataset.training.augmentation import ClipAugmentation, StillAugmentation
from dataset.training.sources import TrainingRoots
from dataset.training.video_layouts import find_videos
from model import Rollout, build_network
from model.network import freeze_batch_norms
from model.training.losses import BootstrapConfig
from model.training.stages import STAGES, TrainingConfig
from scripts import benchmark as benchmark_command
from scripts.benchmarks import training_memory, training_speed
from scripts.benchmarks.synthetic import write_synthetic_stills, write_synthetic_videos
from scripts.benchmarks.training_memory import (
    Plan,
    Recipe,
    StepMemory,
    choose_recipe,
    computed_memory,
)
from scripts.benchmarks.training_reference import (
    PlainAugmentation,
    PlainData,
    PlainRollout,
    draw_clip,
    draw_still,
)
from util.errors import InputError
from util.images import normalise_images


def tiny(stage: str = "3", **changes: object) -> TrainingConfig:
    values = {"network": "tiny", "batch_size": 2, "crop_size": 64, "amp": "off"} | changes
    return dataclasses.replace(STAGES[stage], **values)


@pytest.mark.parametrize("iteration", [0, 5])  # all pixels, and the hardest
@pytest.mark.parametrize("similarity", ["l2", "dot", "cosine"])
def test_plain_loop_and_rollout_give_the_same_loss_and_gradients(iteration, similarity):
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 3, 3, 48, 48), generator=generator, dtype=torch.uint8)
    counts = torch.tensor([2, 1])
    labels = (
        torch.randint(0, 3, (2, 3, 48, 48), generator=generator, dtype=torch.uint8)
        .minimum(counts[:, None, None, None])
        .to(torch.uint8)
    )
    config = tiny(bootstrap=BootstrapConfig(start_iteration=2, end_iteration=8, final_fraction=0.2))
    torch.manual_seed(0)
    network = build_network(
        dataclasses.replace(build_network("tiny").config, similarity=similarity)
    ).train()
    freeze_batch_norms(network)

    ours = Rollout(network, config.bootstrap)(frames, labels, counts, iteration).loss
    gradients = torch.autograd.grad(ours, list(network.parameters()))
    plain = PlainRollout(network, config)(normalise_images(frames), labels, counts, iteration)
    expected = torch.autograd.grad(plain, list(network.parameters()))
    assert plain.item() == pytest.approx(ours.item(), rel=1e-5)
    for one, other in zip(gradients, expected, strict=True):
        assert (
            torch.linalg.vector_norm(one - other) <= 1e-3 * torch.linalg.vector_norm(other) + 1e-6
        )


def white_square(side: int = 96) -> tuple[Image.Image, Image.Image]:
    """A white square on black, and its mask."""
    labels = np.zeros((side, side), np.uint8)
    labels[side // 4 : -side // 4, side // 4 : -side // 4] = 1
    mask = Image.fromarray(labels)
    mask.putpalette([0, 0, 0, 255, 255, 255])
    return Image.fromarray(np.repeat(labels[..., None] * 255, 3, axis=2)), mask


@pytest.mark.parametrize("kind", ["clips", "stills"])
def test_plain_samples_show_each_object_where_its_label_is(tmp_path, kind):
    image, mask = white_square()
    for index in range(3):
        for folder, name, picture in (
            ("JPEGImages", f"{index:05d}.png", image),
            ("Annotations", f"{index:05d}.png", mask),
        ):
            (tmp_path / folder / "video").mkdir(parents=True, exist_ok=True)
            picture.save(tmp_path / folder / "video" / name)
    video = find_videos(tmp_path)[0]
    if kind == "clips":
        data = PlainData(
            functools.partial(draw_clip, [video], 3),
            PlainAugmentation.of_clips(ClipAugmentation(crop_size=64)),
            4,
            2,
            seed=0,
        )
    else:
        data = PlainData(
            functools.partial(draw_still, [video.pair(0)], 3),
            PlainAugmentation.of_stills(StillAugmentation(crop_size=64)),
            4,
            1,
            seed=0,
        )
    for index in range(4):
        sample = data[index]
        assert sample["frames"].shape == (3, 3, 64, 64) and sample["frames"].dtype == torch.float32
        assert sample["labels"].shape == (3, 64, 64) and int(sample["num_objects"]) == 1
        white = sample["frames"].mean(1) > 1
        assert (white == (sample["labels"] == 1)).float().mean() > 0.97
        assert white.any((1, 2)).all()
        assert not torch.equal(
            sample["frames"][0], sample["frames"][1]
        )  # each frame moves by itself
        assert torch.equal(sample["frames"], data[index]["frames"])


@pytest.mark.parametrize(("stage", "workers"), [("0", 0), ("3", 1)])
def test_both_loops_train_on_made_up_files(tmp_path, stage, workers):
    if stage == "0":
        roots = TrainingRoots(static=[str(write_synthetic_stills(tmp_path, 2, 48, 64))])
    else:
        roots = TrainingRoots(davis=[str(write_synthetic_videos(tmp_path, 1, 4, 48, 64))])
    workload = training_speed.TrainingWorkload(
        config=tiny(stage, crop_size=32),
        roots=roots,
        device=torch.device("cpu"),
        workers=workers,
        cache_megabytes=1,
        iterations=2,
        warm_up=1,
        repeats=1,
    )
    result = training_speed.training(workload)
    for side in ("reference", "ours"):
        turn = result["median"][side]
        assert (
            turn["steps_per_second"] > 0
            and 0 <= turn["waiting_share"] <= 1
            and turn["peak_memory_mb"] is None
        )
    assert result["speedup"] == pytest.approx(
        result["median"]["ours"]["steps_per_second"]
        / result["median"]["reference"]["steps_per_second"]
    )


@pytest.mark.parametrize(
    "changes",
    [{}, {"amp": "fp16", "average_decay": 0.9}, {"accumulate": 2, "checkpoint_activations": True}],
)
def test_memory_computed_on_fake_tensors_is_that_of_real_ones(changes):
    assert computed_memory(tiny(**changes)) == computed_memory(tiny(**changes), fake=False)


def test_computed_memory_is_what_torch_allocates():
    config = tiny()
    computed_memory(config, fake=False)  # what is allocated once in a process
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step = computed_memory(config, fake=False, block_bytes=1)
    live = peak = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    assert step.peak == pytest.approx(peak, rel=0.05)


def on_real_tensors(several_processes: bool = False, **changes: object) -> StepMemory:
    return computed_memory(
        tiny(**changes), fake=False, block_bytes=1, several_processes=several_processes
    )


def test_resting_memory_is_weights_and_two_states_of_adam():
    parameters = sum(parameter.numel() for parameter in build_network("tiny").parameters()) * 4
    assert on_real_tensors().resting == pytest.approx(3 * parameters, rel=0.02)
    assert on_real_tensors(average_decay=0.9).resting == pytest.approx(4 * parameters, rel=0.02)
    assert on_real_tensors(several_processes=True).resting == pytest.approx(
        4 * parameters, rel=0.02
    )  # gradients stay, in buckets


def test_parts_checkpoints_and_half_precision_take_less():
    whole = on_real_tensors(batch_size=4).peak
    assert on_real_tensors(batch_size=4, accumulate=2).peak < 0.7 * whole
    assert on_real_tensors(batch_size=4, checkpoint_activations=True).peak < 0.8 * whole
    assert on_real_tensors(batch_size=4, amp="fp16").peak < 0.9 * whole


@pytest.mark.parametrize(
    ("gb_a_sample", "accumulate", "checkpointed", "fits"),
    [(0.5, 1, False, True), (2.0, 2, False, True), (7.0, 4, True, True), (20.0, 4, True, False)],
)
def test_recipe_has_the_fewest_parts_that_fit_and_recomputes_only_where_it_must(
    gb_a_sample, accumulate, checkpointed, fits
):
    def memory_of(plan: Plan) -> StepMemory:
        return StepMemory(
            resting=0,
            peak=round(plan.part * gb_a_sample * 1e9 * (0.5 if plan.checkpoint_activations else 1)),
        )

    plan = Plan(stage="3", network="tiny", crop_size=64, amp="off", batch=8, gpus=2)
    recipe = choose_recipe(plan, 8, memory_of)
    assert (recipe.plan.accumulate, recipe.plan.checkpoint_activations, recipe.fits) == (
        accumulate,
        checkpointed,
        fits,
    )
    assert recipe.plan.part * recipe.plan.accumulate * recipe.plan.gpus == recipe.plan.batch


def test_a_recipe_leaves_a_margin_on_the_card():
    plan = Plan(stage="3", network="tiny", crop_size=64, amp="off", batch=8, gpus=2)
    full = round((8 - training_memory.MARGIN_GB) * 1e9)
    assert Recipe(plan=plan, card_gb=8, memory=StepMemory(resting=0, peak=full)).fits
    assert not Recipe(
        plan=plan, card_gb=8, memory=StepMemory(resting=0, peak=full + 1_000_000)
    ).fits


def benchmark(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(ROOT / "scripts" / "benchmark.py"),
        *flags,
        "--network",
        "tiny",
        "--threads",
        "1",
        "--device",
        "cpu",
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_training_command_prints_both_sides_and_writes_its_figures(tmp_path):
    figures = tmp_path / "training.json"
    sizes = [
        "--height",
        "48",
        "--width",
        "64",
        "--crop_size",
        "32",
        "--batch",
        "1",
        "--made_up",
        "12",
        "--workers",
        "0",
        "--iterations",
        "1",
        "--repeats",
        "1",
    ]
    result = benchmark(tmp_path, "training", *sizes, "--json", str(figures))
    assert result.returncode == 0, result.stderr
    assert "| side | steps/s | waiting for data |" in result.stdout
    assert (
        "| reference |" in result.stdout
        and "| ours |" in result.stdout
        and "not applicable" in result.stdout
    )
    assert set(json.loads(figures.read_text())["figures"]["median"]) == {"reference", "ours"}


def test_memory_command_says_that_it_computed(tmp_path):
    figures = tmp_path / "memory.json"
    result = benchmark(
        tmp_path,
        "training_memory",
        "--crop_size",
        "64",
        "--batch",
        "8",
        "--gpus",
        "2",
        "--accumulate",
        "2",
        "--json",
        str(figures),
    )
    assert result.returncode == 0, result.stderr
    assert (
        "computed peak, GB" in result.stdout
        and "Computed, not measured: leaves out cuDNN workspaces" in result.stdout
    )
    row = json.loads(figures.read_text())["figures"][0]
    assert row["how"] == "computed" and row["memory"]["peak"] > row["memory"]["resting"] > 0
    wrong = benchmark(tmp_path, "training_memory", "--batch", "3", "--gpus", "2")
    assert wrong.returncode == 2 and wrong.stderr.splitlines()[-1].startswith(
        "error: --batch 3 over 2 GPUs in 1 part:"
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("training", "--crop_size", "20"), "--crop_size: 20: a multiple of 16 is needed"),
        (("training_memory", "--crop_size", "20"), "--crop_size: 20: a multiple of 16 is needed"),
        (("training", "--workers", "-1"), "--workers: -1: at least 0 is needed"),
        (("training", "--cache_megabytes", "-5"), "--cache_megabytes: -5: at least 0 is needed"),
        (
            ("training", "--network", "tiny_remn"),
            "network tiny_remn: its redundancy reduction is trained by",
        ),
        (
            ("training_memory", "--network", "tiny_remn"),
            "network tiny_remn: its redundancy reduction is trained by",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line_before_anything_is_made_up(
    flags, said, monkeypatch
):
    made = []
    monkeypatch.setattr("sys.argv", ["benchmark.py", *flags])
    monkeypatch.setattr(training_speed, "write_synthetic_videos", lambda *_: made.append(_))
    with pytest.raises(InputError, match=said) as refusal:
        benchmark_command.main()
    assert "\n" not in str(refusal.value) and not made
