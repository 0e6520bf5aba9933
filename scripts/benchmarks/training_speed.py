"""`training`: steps per second of training, the share of time spent waiting for data, and peak
memory; medians over turns that each build network and loader again."""

import argparse
import dataclasses
import gc
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from dataset.training.loading import TrainingBatch, training_batches
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data
from model import build_network
from model.training.loss_monitor import LossMonitor
from model.training.stages import STAGES, TrainingConfig
from model.training.trainer import Trainer
from scripts.benchmarks.command import add_command, add_training_step, check_training
from scripts.benchmarks.synthetic import write_synthetic_stills, write_synthetic_videos
from scripts.benchmarks.timing import wait_for
from scripts.common.progress import print_progress
from scripts.common.tables import markdown_table
from util.device import AMP_DTYPES, peak_memory_mb, reset_peak_memory, select_device
from util.flags import Commands, at_least
from util.settings import select_fields
from util.text import counted

_SYNTHETIC_VIDEOS = 4
_HEADER = (
    "steps/s",
    "waiting for data",
    "first step, s",
    "peak memory, MB",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingWorkload:
    """What is trained, and on which files: in each turn `warm_up` steps, then `iterations` timed
    ones.

    workers: loading processes.
    cache_megabytes: decoded images that each loading process may hold.
    """

    config: TrainingConfig
    roots: TrainingRoots
    device: torch.device
    workers: int
    cache_megabytes: int
    iterations: int
    warm_up: int = 3
    repeats: int = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSpeed:
    """What was measured in one turn."""

    steps_per_second: float
    waiting_share: float
    first_step_seconds: float  # includes the start of the loading processes, and compiling
    peak_memory_mb: float  # see util.device.peak_memory_mb


class _Loop:
    """The iterations of train.py."""

    def __init__(self, workload: TrainingWorkload):
        config = workload.config
        self._trainer = Trainer(build_network(config.network), config, workload.device)
        self._monitor = LossMonitor()
        self._batches: Iterator[TrainingBatch] = iter(_loader(workload))

    def step(self) -> float:
        """Run one iteration. Returns: the seconds it waited for data."""
        waited_seconds, losses = 0.0, []
        for _ in range(self._trainer.config.accumulate):
            start = time.perf_counter()
            batch = next(self._batches)
            waited_seconds += time.perf_counter() - start
            result = self._trainer.forward(batch.tensors)
            self._trainer.backward(result.loss)
            losses.append(result.loss)
        self._monitor.add(self._trainer.iteration, losses)
        self._trainer.step()
        return waited_seconds


def _loader(workload: TrainingWorkload) -> Iterable[TrainingBatch]:
    config = workload.config
    data = build_training_data(
        workload.roots,
        select_fields(SampleConfig, config),
        mix=dict(config.mix),
        samples=(workload.warm_up + workload.iterations) * config.batch_size,
        seed=config.seed,
        cache_megabytes=workload.cache_megabytes,
    )
    return training_batches(
        data,
        config.batch_size,
        workers=workload.workers,
        accumulate=config.accumulate,
        pin_memory=workload.device.type == "cuda",
    )


def training(workload: TrainingWorkload) -> dict[str, Any]:
    """Returns: the figures of all turns, and the median of each."""
    turns = []
    for number in range(workload.repeats):
        turns.append(run_turn(workload))
        print_progress(
            f"turn {number + 1} of {workload.repeats}: {turns[-1].steps_per_second:.3f} steps/s"
        )
    names = [field.name for field in dataclasses.fields(TrainingSpeed)]
    return {
        "median": {
            name: statistics.median(getattr(turn, name) for turn in turns) for name in names
        },
        "turns": [dataclasses.asdict(turn) for turn in turns],
    }


def run_turn(workload: TrainingWorkload) -> TrainingSpeed:
    """Build network and loader, warm up, and time the iterations."""
    device = workload.device
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    reset_peak_memory(device)
    loop = _Loop(workload)
    start = time.perf_counter()
    loop.step()
    first_step_seconds = time.perf_counter() - start
    for _ in range(workload.warm_up - 1):
        loop.step()
    wait_for(device)
    start = time.perf_counter()
    waited_seconds = sum(loop.step() for _ in range(workload.iterations))
    wait_for(device)
    seconds = time.perf_counter() - start
    return TrainingSpeed(
        steps_per_second=workload.iterations / seconds,
        waiting_share=waited_seconds / seconds,
        first_step_seconds=first_step_seconds,
        peak_memory_mb=peak_memory_mb(device),
    )


def run_training(flags: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Training steps per second, the share of time spent waiting for data, and peak memory."""
    device = select_device(flags.device)
    amp = flags.amp or ("fp16" if device.type == "cuda" else "off")
    stage = STAGES[flags.stage]
    check_training(flags.network, stage)
    batch = flags.batch or stage.batch_size // 2
    config = dataclasses.replace(
        stage,
        network=flags.network,
        batch_size=batch,
        crop_size=flags.crop_size,
        amp=amp,
        compile=flags.compile,
    )
    with tempfile.TemporaryDirectory() as folder:
        names = ("workers", "cache_megabytes", "iterations", "repeats")
        workload = TrainingWorkload(
            config=config,
            roots=_training_roots(flags, Path(folder)),
            device=device,
            **{name: getattr(flags, name) for name in names},
        )
        result = training(workload)
    device_name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    step = f"batch {batch} of {flags.crop_size}×{flags.crop_size}, {device_name}, amp {amp}"
    title = f"Training: stage {flags.stage}, {flags.network}, {step}"
    table = markdown_table(_HEADER, [_table_row(result["median"])])
    figures = {"amp": amp, "batch": batch, "device": device_name, **result}
    return f"### {title}\n\n{table}\n\n{_notes(flags, device)}", figures


def _notes(flags: argparse.Namespace, device: torch.device) -> str:
    peak = "allocated by torch" if device.type == "cuda" else "of the whole process"
    return (
        f"{counted(flags.iterations, 'step')} per turn, "
        f"{counted(flags.workers, 'loading process', 'es')}, cache {flags.cache_megabytes} MB, "
        f"median of {flags.repeats}{', compiled' if flags.compile else ''}. Peak memory: {peak}."
    )


def _table_row(speed: dict[str, float]) -> tuple[str, ...]:
    return (
        f"{speed['steps_per_second']:.3f}",
        f"{speed['waiting_share']:.1%}",
        f"{speed['first_step_seconds']:.1f}",
        f"{speed['peak_memory_mb']:.0f}",
    )


def _training_roots(flags: argparse.Namespace, folder: Path) -> TrainingRoots:
    """The roots given, or synthetic files that the stage can be trained on."""
    size = (flags.height, flags.width)
    if dict(STAGES[flags.stage].mix).keys() == {"static"}:
        if flags.static_root:
            return TrainingRoots(static=flags.static_root)
        print_progress("writing synthetic stills")
        return TrainingRoots(static=[str(write_synthetic_stills(folder, flags.made_up, *size))])
    if flags.davis_root:
        return TrainingRoots(davis=flags.davis_root)
    print_progress("writing synthetic videos")
    frames = -(-flags.made_up // _SYNTHETIC_VIDEOS)
    root = write_synthetic_videos(folder, _SYNTHETIC_VIDEOS, frames, *size)
    return TrainingRoots(davis=[str(root)])


def add(commands: Commands) -> None:
    """Add the command and its flags."""
    parser = add_command(commands, "training", run_training, "stcn")
    add_training_step(parser)
    parser.add_argument(
        "--static_root",
        nargs="+",
        help="stills of stage 0; default: synthetic ones of --height and --width",
    )
    parser.add_argument(
        "--davis_root", nargs="+", help="videos of the other stages; default: synthetic ones"
    )
    parser.add_argument(
        "--made_up", type=at_least(12), default=48, help="number of synthetic frames"
    )
    parser.add_argument(
        "--batch",
        type=at_least(1),
        help="samples per step; default: half the stage's, what each of two GPUs trains",
    )
    parser.add_argument(
        "--amp",
        choices=["off", *AMP_DTYPES],
        help="mixed precision; default: fp16 on CUDA, off elsewhere",
    )
    parser.add_argument("--compile", action="store_true", help="use torch.compile")
    parser.add_argument("--workers", type=at_least(0), default=1, help="loading processes")
    parser.add_argument(
        "--cache_megabytes",
        type=at_least(0),
        default=0,
        help="decoded images that each loading process may hold; synthetic files would all fit",
    )
    parser.add_argument("--iterations", type=at_least(1), default=20, help="timed steps per turn")
    parser.add_argument("--repeats", type=at_least(1), default=3, help="number of turns")
