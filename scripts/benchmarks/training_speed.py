"""Steps per second of training, a plain loop and ours by turns in one process, on the same network, batch size and files; medians over the turns."""

import argparse
import dataclasses
import functools
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dataset.training.loading import TrainingBatch, training_batches
from dataset.training.samples import MixedTrainingData
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data
from dataset.training.stills import StillClips
from model import build_network
from model.training.loss_monitor import LossMonitor
from model.training.stages import STAGES, TrainingConfig
from model.training.trainer import Trainer
from scripts.benchmarks.command import add_command, add_training_step, check_training
from scripts.benchmarks.synthetic import write_synthetic_stills, write_synthetic_videos
from scripts.benchmarks.timing import SIDES, note, wait_for
from scripts.benchmarks.training_reference import (
    PlainAugmentation,
    PlainData,
    PlainTrainer,
    draw_clip,
    draw_still,
    plain_batches,
)
from scripts.common.tables import markdown_table
from util.device import AMP_DTYPES, reset_peak_memory, select_device
from util.flags import Commands, at_least
from util.text import counted


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingWorkload:
    """What both sides do in a turn: `warm_up` steps, then `iterations` timed ones. cache_megabytes: decoded images each of our loading processes may hold."""

    config: TrainingConfig
    roots: TrainingRoots
    device: torch.device
    workers: int
    cache_megabytes: int
    iterations: int
    warm_up: int = 3
    repeats: int = 3

    @property
    def samples(self) -> int:
        return (self.warm_up + self.iterations) * self.config.batch_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turn:
    """What was measured of one side in one turn. peak_memory_mb: None where it cannot be told from the other side's."""

    steps_per_second: float
    waiting_share: float
    first_step_seconds: (
        float  # with the start of the loading processes, and compiling where asked for
    )
    peak_memory_mb: float | None


class OurLoop:
    """What train.py does."""

    def __init__(self, workload: TrainingWorkload):
        config = workload.config
        self.trainer, self.monitor = (
            Trainer(build_network(config.network), config, workload.device),
            LossMonitor(),
        )
        self.loader: Iterable[TrainingBatch] = training_batches(
            our_data(workload),
            config.batch_size,
            workers=workload.workers,
            accumulate=config.accumulate,
            pin_memory=workload.device.type == "cuda",
        )

    def step(self, batches: Iterator[TrainingBatch]) -> float:
        """One iteration. Returns the seconds it waited for data."""
        waited, results = 0.0, []
        for _ in range(self.trainer.config.accumulate):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            results.append(self.trainer.forward(batch.tensors))
            self.trainer.backward(results[-1].loss)
        self.monitor.add(self.trainer.iteration, [result.loss for result in results])
        self.trainer.step()
        return waited


class PlainLoop:
    """The reference."""

    def __init__(self, workload: TrainingWorkload):
        config = workload.config
        self.trainer = PlainTrainer(build_network(config.network), config, workload.device)
        self.loader: DataLoader = plain_batches(
            plain_data(workload),
            config.batch_size,
            workload.workers,
            pin_memory=workload.device.type == "cuda",
        )

    def step(self, batches: Iterator[Mapping[str, Tensor]]) -> float:
        """One iteration. Returns the seconds it waited for data."""
        asked = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - asked
        self.trainer.step(batch)
        return waited


LOOPS: dict[str, Callable[[TrainingWorkload], OurLoop | PlainLoop]] = dict(
    zip(SIDES, (PlainLoop, OurLoop), strict=True)
)


def our_data(workload: TrainingWorkload) -> MixedTrainingData:
    """The samples of train.py."""
    config = workload.config
    sample = SampleConfig(
        **{field.name: getattr(config, field.name) for field in dataclasses.fields(SampleConfig)}
    )
    return build_training_data(
        workload.roots,
        sample,
        mix=dict(config.mix),
        samples=workload.samples,
        seed=config.seed,
        cache_megabytes=workload.cache_megabytes,
    )


def plain_data(workload: TrainingWorkload) -> PlainData:
    """The same files, objects and augmentation, by the plain loop's means."""
    config = workload.config
    source = our_data(workload).sources[0]
    if isinstance(source, StillClips):
        draw, augmentation = (
            functools.partial(draw_still, source.pairs),
            PlainAugmentation.of_stills(source.augmentation),
        )
    else:
        draw, augmentation = (
            functools.partial(draw_clip, source.videos),
            PlainAugmentation.of_clips(source.augmentation),
        )
    return PlainData(
        functools.partial(draw, config.frames),
        augmentation,
        workload.samples,
        config.max_objects,
        config.seed,
    )


def training(workload: TrainingWorkload) -> dict[str, Any]:
    """Both sides by turns. Every turn builds its side anew, so that neither's memory is counted for the other."""
    turns: dict[str, list[Turn]] = {side: [] for side in SIDES}
    for number in range(workload.repeats):
        for side, build in LOOPS.items():
            turns[side].append(run_turn(build, workload))
            note(
                f"turn {number + 1} of {workload.repeats}, {side}: {turns[side][-1].steps_per_second:.3f} steps/s"
            )
    median = {
        side: {
            name: _median([getattr(turn, name) for turn in of_side])
            for name in (field.name for field in dataclasses.fields(Turn))
        }
        for side, of_side in turns.items()
    }
    speedup = median["ours"]["steps_per_second"] / median["reference"]["steps_per_second"]
    return {
        "median": median,
        "speedup": speedup,
        "turns": {
            side: [dataclasses.asdict(turn) for turn in of_side] for side, of_side in turns.items()
        },
    }


def run_turn(
    build: Callable[[TrainingWorkload], OurLoop | PlainLoop], workload: TrainingWorkload
) -> Turn:
    """Build one side, warm it up, and time it."""
    gc.collect()
    device = workload.device
    on_cuda = device.type == "cuda"
    if on_cuda:
        torch.cuda.empty_cache()
        reset_peak_memory(device)
    before = torch.cuda.memory_allocated(device) if on_cuda else 0
    loop = build(workload)
    start = time.perf_counter()
    batches = iter(loop.loader)
    loop.step(batches)
    first = time.perf_counter() - start
    for _ in range(workload.warm_up - 1):
        loop.step(batches)
    wait_for(device)
    start = time.perf_counter()
    waited = sum(loop.step(batches) for _ in range(workload.iterations))
    wait_for(device)
    seconds = time.perf_counter() - start
    return Turn(
        steps_per_second=workload.iterations / seconds,
        waiting_share=waited / seconds,
        first_step_seconds=first,
        peak_memory_mb=(torch.cuda.max_memory_allocated(device) - before) / 1e6
        if on_cuda
        else None,
    )


def _median(values: list[float | None]) -> float | None:
    return None if None in values else statistics.median(values)


def run_training(flags: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Our training loop against a plain one, by turns, on the same files."""
    device = select_device(flags.device)
    amp = flags.amp or ("fp16" if device.type == "cuda" else "off")
    stage = STAGES[flags.stage]
    check_training(flags.network, stage)
    batch = flags.batch or stage.batch_size // 2
    changes = {
        "network": flags.network,
        "batch_size": batch,
        "crop_size": flags.crop_size,
        "amp": amp,
        "compile": flags.compile,
    }
    with tempfile.TemporaryDirectory() as made_up:
        workload = TrainingWorkload(
            config=dataclasses.replace(stage, **changes),
            roots=_training_roots(flags, Path(made_up)),
            device=device,
            workers=flags.workers,
            cache_megabytes=flags.cache_megabytes,
            iterations=flags.iterations,
            repeats=flags.repeats,
        )
        result = training(workload)
    header = ("side", "steps/s", "waiting for data", "first step, s", "peak GPU memory, MB")
    table = markdown_table(header, (_table_row(side, result["median"][side]) for side in SIDES))
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    title = f"Training: stage {flags.stage}, {flags.network}, batch {batch} of {flags.crop_size}×{flags.crop_size}, {where}, amp {amp}"
    details = f"Ours {result['speedup']:.2f} times the plain loop. {counted(flags.iterations, 'step')} a turn, {counted(flags.workers, 'loading process', 'es')} each, "
    details += f"cache {flags.cache_megabytes} MB, median of {flags.repeats}." + (
        " Ours compiled." if flags.compile else ""
    )
    return f"### {title}\n\n{table}\n\n{details}", {
        "amp": amp,
        "batch": batch,
        "device": where,
        **result,
    }


def _training_roots(flags: argparse.Namespace, made_up: Path) -> TrainingRoots:
    """The roots given, or made-up files of that kind."""
    if dict(STAGES[flags.stage].mix).keys() == {"static"}:
        if not flags.static_root:
            note("writing made-up stills")
        return TrainingRoots(
            static=flags.static_root
            or [str(write_synthetic_stills(made_up, flags.made_up, flags.height, flags.width))]
        )
    if not flags.davis_root:
        note("writing made-up videos")
    return TrainingRoots(
        davis=flags.davis_root
        or [
            str(
                write_synthetic_videos(
                    made_up, 4, -(-flags.made_up // 4), flags.height, flags.width
                )
            )
        ]
    )


def _table_row(side: str, turn: dict[str, float | None]) -> tuple[str, ...]:
    peak = turn["peak_memory_mb"]
    shown = "not applicable" if peak is None else f"{peak:.0f}"
    return (
        side,
        f"{turn['steps_per_second']:.3f}",
        f"{turn['waiting_share']:.1%}",
        f"{turn['first_step_seconds']:.1f}",
        shown,
    )


def add(commands: Commands) -> None:
    """The command and its flags."""
    added = add_command(commands, "training", run_training, "stcn")
    add_training_step(added)
    added.add_argument(
        "--static_root",
        nargs="+",
        help="stills of stage 0; default: made-up ones of --height and --width",
    )
    added.add_argument(
        "--davis_root", nargs="+", help="videos of the other stages; default: made-up ones"
    )
    added.add_argument("--made_up", type=at_least(12), default=48, help="number of made-up frames")
    added.add_argument(
        "--batch",
        type=at_least(1),
        help="samples a step; default: half the stage's, the published batch of one of two GPUs",
    )
    added.add_argument(
        "--amp",
        choices=["off", *AMP_DTYPES],
        help="mixed precision of both sides; default: fp16 on CUDA, off elsewhere",
    )
    added.add_argument("--compile", action="store_true", help="ours through torch.compile")
    added.add_argument(
        "--workers", type=at_least(0), default=1, help="loading processes of either side"
    )
    added.add_argument(
        "--cache_megabytes",
        type=at_least(0),
        default=0,
        help="decoded images each of our loading processes may hold; a few made-up files would all fit",
    )
    added.add_argument("--iterations", type=at_least(1), default=20, help="timed steps of a turn")
    added.add_argument("--repeats", type=at_least(1), default=3, help="turns of either side")
