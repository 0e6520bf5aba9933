"""The training benchmark measures training, and the memory it computes is what torch takes. Timings
themselves are not tested."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from repository import ROOT
from torch.profiler import ProfilerActivity, profile

from dataset.training.sources import TrainingRoots
from model import build_network
from model.training.stages import STAGES, TrainingConfig
from scripts.benchmarks import training_speed
from scripts.benchmarks.step_memory import StepMemory, computed_memory
from scripts.benchmarks.synthetic import write_synthetic_stills, write_synthetic_videos
from scripts.benchmarks.training_memory import MARGIN_GB, Plan, Recipe, choose_recipe

try:
    from torch.distributed._tools import mem_tracker
except ImportError:  # torch 2.4
    mem_tracker = None

needs_mem_tracker = pytest.mark.skipif(
    mem_tracker is None, reason="this version of torch has no MemTracker"
)


def tiny(stage: str = "3", **changes: object) -> TrainingConfig:
    values = {"network": "tiny", "batch_size": 2, "crop_size": 64, "amp": "off"} | changes
    return dataclasses.replace(STAGES[stage], **values)


@pytest.mark.parametrize(("stage", "workers"), [("0", 0), ("3", 1)])
def test_training_on_synthetic_files_is_measured(tmp_path, stage, workers):
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
        repeats=2,
    )
    result = training_speed.training(workload)
    assert len(result["turns"]) == 2
    for turn in (*result["turns"], result["median"]):
        assert turn["steps_per_second"] > 0 and turn["first_step_seconds"] > 0
        assert 0 <= turn["waiting_share"] <= 1
        assert turn["peak_memory_mb"] > 100  # of the whole process
    speeds = [turn["steps_per_second"] for turn in result["turns"]]
    assert result["median"]["steps_per_second"] == pytest.approx(sum(speeds) / 2)


@needs_mem_tracker
@pytest.mark.parametrize(
    "changes",
    [{}, {"amp": "fp16", "average_decay": 0.9}, {"accumulate": 2, "checkpoint_activations": True}],
)
def test_memory_computed_on_fake_tensors_is_that_of_real_ones(changes):
    assert computed_memory(tiny(**changes)) == computed_memory(tiny(**changes), fake=False)


@needs_mem_tracker
def test_computed_memory_is_what_torch_allocates():
    config = tiny()
    computed_memory(config, fake=False)  # allocates what a process allocates once only
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step = computed_memory(config, fake=False)
    live = peak = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    assert step.peak == pytest.approx(peak, rel=0.05)


def on_real_tensors(several_processes: bool = False, **changes: object) -> StepMemory:
    return computed_memory(tiny(**changes), fake=False, several_processes=several_processes)


@needs_mem_tracker
def test_resting_memory_is_weights_and_two_states_of_adam():
    parameters = sum(parameter.numel() for parameter in build_network("tiny").parameters()) * 4
    assert on_real_tensors().resting == pytest.approx(3 * parameters, rel=0.02)
    assert on_real_tensors(average_decay=0.9).resting == pytest.approx(4 * parameters, rel=0.02)
    # With several processes, gradients are kept in buckets.
    several = on_real_tensors(several_processes=True)
    assert several.resting == pytest.approx(4 * parameters, rel=0.02)


@needs_mem_tracker
def test_parts_checkpoints_and_half_precision_take_less():
    whole = on_real_tensors(batch_size=4).peak
    assert on_real_tensors(batch_size=4, accumulate=2).peak < 0.7 * whole
    assert on_real_tensors(batch_size=4, checkpoint_activations=True).peak < 0.8 * whole
    assert on_real_tensors(batch_size=4, amp="fp16").peak < 0.9 * whole


@pytest.mark.parametrize(
    ("gb_per_sample", "accumulate", "checkpointed", "fits"),
    [(0.5, 1, False, True), (2.0, 2, False, True), (7.0, 4, True, True), (20.0, 4, True, False)],
)
def test_recipe_has_the_fewest_parts_that_fit_and_recomputes_only_if_needed(
    gb_per_sample, accumulate, checkpointed, fits
):
    def memory_of(plan: Plan) -> StepMemory:
        gb = plan.samples_per_part * gb_per_sample * (0.5 if plan.checkpoint_activations else 1)
        return StepMemory(resting=0, peak=round(gb * 1e9))

    plan = Plan(stage="3", network="tiny", crop_size=64, amp="off", batch=8, gpus=2)
    recipe = choose_recipe(plan, 8, memory_of)
    chosen = recipe.plan
    assert (chosen.accumulate, chosen.checkpoint_activations) == (accumulate, checkpointed)
    assert recipe.fits == fits
    assert chosen.samples_per_part * chosen.accumulate * chosen.gpus == chosen.batch


def test_recipe_leaves_a_margin_on_the_card():
    plan = Plan(stage="3", network="tiny", crop_size=64, amp="off", batch=8, gpus=2)
    full = round((8 - MARGIN_GB) * 1e9)
    assert Recipe(plan=plan, card_gb=8, memory=StepMemory(resting=0, peak=full)).fits
    assert not Recipe(
        plan=plan, card_gb=8, memory=StepMemory(resting=0, peak=full + 1_000_000)
    ).fits


def benchmark(folder: Path, command: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run a command on a tiny network. Returns: the process, and the file of its figures."""
    figures = folder / "figures.json"
    flags = f"{command} --network tiny --threads 1 --device cpu --json {figures}".split()
    program = [sys.executable, str(ROOT / "scripts/benchmark.py")]
    process = subprocess.run(
        [*program, *flags], capture_output=True, text=True, cwd=folder, check=False
    )
    return process, figures


def test_training_command_prints_its_table_and_writes_its_figures(tmp_path):
    result, figures = benchmark(
        tmp_path,
        "training --height 48 --width 64 --crop_size 32 --batch 1 --made_up 12 --workers 0 "
        "--iterations 1 --repeats 1",
    )
    assert result.returncode == 0, result.stderr
    assert "| steps/s | waiting for data | first step, s | peak memory, MB |" in result.stdout
    content = json.loads(figures.read_text())["figures"]
    assert content["batch"] == 1 and content["median"] == content["turns"][0]


@needs_mem_tracker
def test_memory_command_says_that_it_computed(tmp_path):
    result, figures = benchmark(
        tmp_path, "training_memory --crop_size 64 --batch 8 --gpus 2 --accumulate 2"
    )
    assert result.returncode == 0, result.stderr
    assert "computed peak, GB" in result.stdout
    assert "Computed, not measured: without cuDNN workspaces" in result.stdout
    (row,) = json.loads(figures.read_text())["figures"]
    assert row["how"] == "computed" and row["memory"]["peak"] > row["memory"]["resting"] > 0
