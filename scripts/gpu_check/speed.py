"""Sections that measure the speed of the device, and the memory that a run takes.

Legend: K objects.
"""

import dataclasses
import functools
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dataset.training.sources import TrainingRoots
from inference import SYSTEMS, VideoSegmenter
from model import VOSNetwork, build_network
from model.config import PRESETS
from model.training.stages import STAGES, TrainingConfig
from model.training.trainer import Trainer
from scripts.benchmarks.reading import Read, reading
from scripts.benchmarks.reference import ReferenceNetwork
from scripts.benchmarks.synthetic import (
    synthetic_network,
    write_synthetic_stills,
    write_synthetic_videos,
)
from scripts.benchmarks.timing import wait_for
from scripts.benchmarks.training_speed import TrainingWorkload, training
from scripts.benchmarks.workload import SIDES, Clip, Workload
from scripts.common.tables import markdown_table
from scripts.gpu_check.report import Check, Finding
from util.device import peak_memory_mb, reset_peak_memory

OBJECTS = (1, 3)
READOUT_TOLERANCE = 1e-3
_PRECISIONS: dict[str, dict[str, Any]] = {
    "float32": {},
    "TF32": {"tf32": True},
    "fp16": {"amp": True, "amp_dtype": "fp16"},
}
_SLOTS = ("refiner", "enhancer", "reducer")
_STAGES = ("0", "3")
_WARM_UP_FRAMES = 20
_SECONDS_PER_STAGE = 20
_FULL_SIZE = {"network": "stcn", "height": 480, "width": 854}
_DRY_SIZE = {"network": "tiny", "height": 64, "width": 96}


def run_systems(check: Check) -> Finding:
    """Frames per second and peak memory of every system and of the reference, with 1 and 3
    objects."""
    workload = (
        Workload(**_DRY_SIZE, frames=12) if check.dry_run else Workload(**_FULL_SIZE, frames=41)
    )
    network_of = functools.cache(synthetic_network)
    rows, figures = [], []
    for objects in OBJECTS:
        clip = Clip.of(workload, objects)
        for side in ("reference", *SYSTEMS):
            network = network_of(_network_name(side, check.dry_run)).to(check.device)
            for precision, settings in _precisions(side, check.device).items():
                play = _player(side, network, settings, clip, check.device)
                measured = _measure(play, workload.frames, check.device)
                figures.append(
                    {"objects": objects, "side": side, "precision": precision, **measured}
                )
                fps, peak = f"{measured['fps']:.1f}", f"{measured['peak_memory_mb']:,.0f}"
                rows.append((objects, side, precision, fps, peak))
    header = ("objects", "system", "precision", "frames per second", "peak memory, MB")
    text = (
        f"{workload.width}×{workload.height}, {workload.frames} frames from RGB arrays to label "
        "maps; the reference is stcn computed as published."
    )
    return Finding(f"{text}\n\n{markdown_table(header, rows)}", figures)


def _precisions(side: str, device: torch.device) -> dict[str, dict[str, Any]]:
    """The settings to measure. A CPU has no TF32, and is slow in fp16; the reference does not
    offer TF32."""
    if device.type != "cuda":
        names = ["float32"]
    else:
        names = [name for name in _PRECISIONS if name != "TF32" or side != "reference"]
    return {name: _PRECISIONS[name] for name in names}


def _network_name(side: str, tiny: bool) -> str:
    """The published preset, or the tiny one, with no more than the slots that a system uses."""
    slots = SYSTEMS[side].slots if side in SYSTEMS else {}
    fitting = [
        name
        for name, config in PRESETS.items()
        if name.startswith("tiny") == tiny
        and not name.endswith("_small")
        and all(getattr(config, slot) is not None for slot in slots)
    ]
    return min(
        fitting,
        key=lambda name: sum(getattr(PRESETS[name], slot) is not None for slot in _SLOTS),
    )


def _player(
    side: str, network: VOSNetwork, settings: dict[str, Any], clip: Clip, device: torch.device
) -> Callable[[int], None]:
    """A function that segments the given number of the clip's first frames."""
    if side == "reference":
        reference = ReferenceNetwork(network, amp=settings.get("amp", False))
        return lambda count: clip.first(count).reference(reference).run()
    segmenter = VideoSegmenter(network, side, device=device, **settings)

    def play(count: int) -> None:
        for _ in segmenter.segment(clip.frames[:count], clip.labels):
            pass

    return play


def _measure(play: Callable[[int], None], frames: int, device: torch.device) -> dict[str, float]:
    play(min(frames, _WARM_UP_FRAMES))
    wait_for(device)
    reset_peak_memory(device)
    start = time.perf_counter()
    play(frames)
    wait_for(device)
    return {"fps": frames / (time.perf_counter() - start), "peak_memory_mb": peak_memory_mb(device)}


def run_reading(check: Check) -> Finding:
    """One read of small and large memories, compared with the reference's."""
    read = Read(**(_DRY_SIZE if check.dry_run else _FULL_SIZE), repeats=3 if check.dry_run else 10)
    rows, figures, failures = [], [], []
    for memory_frames in (4,) if check.dry_run else (5, 20, 100):
        result = reading(dataclasses.replace(read, memory_frames=memory_frames), check.device)
        figures.append({"memory_frames": memory_frames, **result})
        difference = result["largest_readout_difference"]
        seconds = (f"{1000 * result['seconds_per_read'][side]:.2f}" for side in SIDES)
        rows.append((memory_frames, *seconds, f"{result['speedup']:.2f}", f"{difference:.1e}"))
        if difference > READOUT_TOLERANCE:
            failures.append(f"{memory_frames} frames: readouts differ by {difference:.1e}")
    header = ("memory frames", "reference, ms", "ours, ms", "times faster", "readouts within")
    text = f"{read.objects} objects, {read.width}×{read.height}, top {read.top_k}, float32."
    return Finding(f"{text}\n\n{markdown_table(header, rows)}", figures, tuple(failures))


def run_training(check: Check) -> Finding:
    """Training steps per second and peak memory with the published batch of one of two GPUs, and
    the places in a step at which the host waits for the device."""
    rows, figures, waits = [], {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for stage in _STAGES:
            if check.seconds_left < _SECONDS_PER_STAGE:
                rows.append((stage, "no time left", "", ""))
                continue
            workload = _training_workload(check, stage, Path(folder))
            result = figures[stage] = training(workload)
            rows.append((stage, *_training_cells(result["median"])))
            on_gpu = check.device.type == "cuda"
            waits[stage] = host_waits(workload.config, check.device) if on_gpu else []
    header = ("stage", "steps per second", "waiting for data", "peak memory, MB")
    config = _training_config(check, _STAGES[-1])
    batches = " and ".join(str(_training_config(check, stage).batch_size) for stage in _STAGES)
    text = (
        f"{config.network}, batches of {batches}, crops of {config.crop_size}, amp {config.amp}, "
        f"{check.workers} workers."
    )
    places = [f"stage {stage}: {place}" for stage, found in waits.items() for place in found]
    waiting = f"Host waits inside a step: {len(places)}." + "".join(f"\n- {p}" for p in places)
    return Finding(
        f"{text}\n\n{markdown_table(header, rows)}\n\n{waiting}",
        {"speed": figures, "host_waits": waits},
    )


def _training_cells(speed: dict[str, float]) -> tuple[str, str, str]:
    return (
        f"{speed['steps_per_second']:.2f}",
        f"{speed['waiting_share']:.0%}",
        f"{speed['peak_memory_mb']:,.0f}",
    )


def _training_config(check: Check, stage: str) -> TrainingConfig:
    recipe = STAGES[stage]
    changes: dict[str, Any] = {
        "batch_size": recipe.batch_size // 2,
        "amp": "fp16" if check.device.type == "cuda" else "off",
    }
    if check.dry_run:
        changes |= {"network": "tiny", "crop_size": 64, "batch_size": 2}
    return dataclasses.replace(recipe, **changes)


def _training_workload(check: Check, stage: str, folder: Path) -> TrainingWorkload:
    """A workload on synthetic files, which are written into the folder."""
    frames, *size = (12, 96, 128) if check.dry_run else (48, 480, 854)
    if stage == "0":
        roots = TrainingRoots(
            static=[str(write_synthetic_stills(folder / "stills", frames, *size))]
        )
    else:
        root = write_synthetic_videos(folder / "videos", 4, -(-frames // 4), *size)
        roots = TrainingRoots(davis=[str(root)])
    return TrainingWorkload(
        config=_training_config(check, stage),
        roots=roots,
        device=check.device,
        workers=0 if check.dry_run else check.workers,
        cache_megabytes=1500,
        iterations=2 if check.dry_run else 20,
        warm_up=1 if check.dry_run else 5,
        repeats=1,
    )


def host_waits(config: TrainingConfig, device: torch.device) -> list[str]:
    """The places (FILE:LINE) at which the host waits for a CUDA device in a training step, as
    torch's own warnings tell."""
    trainer = Trainer(build_network(config.network), config, device)
    size = (config.batch_size, config.frames, config.crop_size, config.crop_size)
    frames = torch.randint(0, 256, (*size[:2], 3, *size[2:]), dtype=torch.uint8)
    labels = torch.randint(0, config.max_objects + 1, size, dtype=torch.uint8)
    batch = {
        "frames": frames.pin_memory(),
        "labels": labels.pin_memory(),
        "num_objects": torch.full((config.batch_size,), config.max_objects),
    }

    def step() -> None:
        trainer.backward(trainer.forward(batch).loss)
        trainer.step()

    for _ in range(3):
        step()
    torch.cuda.synchronize(device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sorted(
        {
            f"{Path(warning.filename).name}:{warning.lineno}"
            for warning in caught
            if "synchroniz" in str(warning.message)
        }
    )
