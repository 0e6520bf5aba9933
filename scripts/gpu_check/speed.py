"""How fast is the device, and how much memory does a run take? Legend: K objects."""

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
from scripts.benchmarks.reading import reading
from scripts.benchmarks.reference import ReferenceNetwork
from scripts.benchmarks.synthetic import (
    synthetic_network,
    write_synthetic_stills,
    write_synthetic_videos,
)
from scripts.benchmarks.timing import SIDES, Clip, Workload, wait_for
from scripts.benchmarks.training_speed import TrainingWorkload, training
from scripts.common.tables import markdown_table
from scripts.gpu_check.report import Check, Finding
from util.device import peak_memory_mb, reset_peak_memory

OBJECTS = (1, 3)
_KINDS: dict[str, dict[str, Any]] = {
    "float32": {},
    "TF32": {"tf32": True},
    "fp16": {"amp": True, "amp_dtype": "fp16"},
}
_STAGES = ("0", "3")


def run_systems(check: Check) -> Finding:
    """Frames a second and peak memory of every system, and of the reference mode, with 1 and 3 objects."""
    size = (
        {"height": 64, "width": 96, "frames": 12}
        if check.dry_run
        else {"height": 480, "width": 854, "frames": 41}
    )
    workload = Workload(network="tiny" if check.dry_run else "stcn", **size)
    rows, figures = [], []
    made_up = functools.cache(synthetic_network)
    for objects in OBJECTS:
        clip = Clip.of(workload, objects, workload.frames)
        for side in ("reference", *SYSTEMS):
            network = made_up(_network_name(side, check.dry_run)).to(check.device)
            for kind, exactness in _KINDS.items():
                # the reference computes in the others' float32 and fp16; a CPU has no TF32, and is slow in fp16
                if kind != "float32" and (
                    check.device.type != "cuda" or (side == "reference" and kind == "TF32")
                ):
                    continue
                play = _player(side, network, exactness, clip, check.device)
                measured = _measure(play, workload.frames, check.device)
                figures.append({"objects": objects, "side": side, "precision": kind, **measured})
                rows.append(
                    (
                        objects,
                        side,
                        kind,
                        f"{measured['fps']:.1f}",
                        f"{measured['peak_memory_mb']:,.0f}",
                    )
                )
    table = markdown_table(
        ("objects", "system", "precision", "frames a second", "peak memory, MB"), rows
    )
    text = f"{workload.width}×{workload.height}, {workload.frames} frames from RGB arrays to label maps; the reference is stcn computed as published."
    return Finding(f"{text}\n\n{table}", figures)


def _network_name(side: str, tiny: bool) -> str:
    """The published preset, or the tiny one, that has the parts a system uses."""
    slots = SYSTEMS[side].slots if side in SYSTEMS else {}
    names = [
        name for name in PRESETS if name.startswith("tiny") == tiny and not name.endswith("_small")
    ]
    fitting = [
        name for name in names if all(getattr(PRESETS[name], slot) is not None for slot in slots)
    ]
    return min(
        fitting,
        key=lambda name: sum(
            getattr(PRESETS[name], slot) is not None for slot in ("refiner", "enhancer", "reducer")
        ),
    )


def _player(
    side: str, network: VOSNetwork, exactness: dict[str, Any], clip: Clip, device: torch.device
) -> Callable[[int], None]:
    """A function that segments the clip's first frames, so many of them."""
    if side == "reference":
        reference = ReferenceNetwork(network, amp=exactness.get("amp", False))
        return lambda count: Clip(clip.frames[:count], clip.labels).reference(reference).run()
    segmenter = VideoSegmenter(network, side, device=device, **exactness)

    def play(count: int) -> None:
        for _ in segmenter.segment(clip.frames[:count], clip.labels):
            pass

    return play


def _measure(play: Callable[[int], None], frames: int, device: torch.device) -> dict[str, float]:
    play(min(frames, 20))
    wait_for(device)
    reset_peak_memory(device)
    start = time.perf_counter()
    play(frames)
    wait_for(device)
    return {"fps": frames / (time.perf_counter() - start), "peak_memory_mb": peak_memory_mb(device)}


def run_reading(check: Check) -> Finding:
    """One frame's reading of small and large memories, beside the reference's."""
    name, height, width = ("tiny", 64, 96) if check.dry_run else ("stcn", 480, 854)
    rows, figures, failures = [], [], []
    for memory_frames in (4,) if check.dry_run else (5, 20, 100):
        result = reading(
            name, height, width, memory_frames, 3, 20, 3 if check.dry_run else 10, check.device
        )
        figures.append({"memory_frames": memory_frames, **result})
        cells = (f"{1000 * result['seconds_per_read'][side]:.2f}" for side in SIDES)
        rows.append(
            (
                memory_frames,
                *cells,
                f"{result['speedup']:.2f}",
                f"{result['largest_readout_difference']:.1e}",
            )
        )
        if result["largest_readout_difference"] > 1e-3:
            failures.append(
                f"{memory_frames} frames: readouts differ by {result['largest_readout_difference']:.1e}"
            )
    table = markdown_table(
        ("memory frames", "reference, ms", "ours, ms", "times faster", "readouts within"), rows
    )
    return Finding(
        f"3 objects, {width}×{height}, top 20, float32.\n\n{table}", figures, tuple(failures)
    )


def run_training(check: Check) -> Finding:
    """Steps a second and peak memory beside a plain loop with the published batch of one of two GPUs; host waits in a step."""
    rows, figures, waits = [], {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for stage in _STAGES:
            if check.seconds_left < 20:
                rows.append((stage, "no time left", "", "", ""))
                continue
            workload = _training_workload(check, stage, Path(folder))
            result = figures[stage] = training(workload)
            for side in SIDES:
                turn = result["median"][side]
                peak = "" if turn["peak_memory_mb"] is None else f"{turn['peak_memory_mb']:,.0f}"
                rows.append(
                    (
                        stage,
                        side,
                        f"{turn['steps_per_second']:.2f}",
                        f"{turn['waiting_share']:.0%}",
                        peak,
                    )
                )
            waits[stage] = (
                host_waits(workload.config, check.device) if check.device.type == "cuda" else []
            )
    table = markdown_table(
        ("stage", "side", "steps a second", "waiting for data", "peak memory, MB"), rows
    )
    config = workload.config
    text = f"{config.network}, batches of {STAGES['0'].batch_size // 2} and {STAGES['3'].batch_size // 2}, crops of {config.crop_size}, amp {config.amp}, {check.workers} workers."
    found = [f"stage {stage}: {one}" for stage, those in waits.items() for one in those]
    waiting = f"Host waits inside a step: {len(found)}." + "".join(f"\n- {one}" for one in found)
    return Finding(f"{text}\n\n{table}\n\n{waiting}", {"speed": figures, "host_waits": waits})


def _training_workload(check: Check, stage: str, folder: Path) -> TrainingWorkload:
    recipe = STAGES[stage]
    changes: dict[str, Any] = {
        "batch_size": recipe.batch_size // 2,
        "amp": "fp16" if check.device.type == "cuda" else "off",
    }
    if check.dry_run:
        changes |= {"network": "tiny", "crop_size": 64, "batch_size": 2}
    sizes = (12, 96, 128) if check.dry_run else (48, 480, 854)
    if stage == "0":
        roots = TrainingRoots(static=[str(write_synthetic_stills(folder / "stills", *sizes))])
    else:
        roots = TrainingRoots(
            davis=[str(write_synthetic_videos(folder / "videos", 4, -(-sizes[0] // 4), *sizes[1:]))]
        )
    return TrainingWorkload(
        config=dataclasses.replace(recipe, **changes),
        roots=roots,
        device=check.device,
        workers=0 if check.dry_run else check.workers,
        cache_megabytes=1500,
        iterations=2 if check.dry_run else 20,
        warm_up=1 if check.dry_run else 5,
        repeats=1,
    )


def host_waits(config: TrainingConfig, device: torch.device) -> list[str]:
    """Where the host waits for a CUDA device inside one training step: torch's own warnings, each place once."""
    trainer = Trainer(build_network(config.network), config, device)
    side = config.crop_size
    frames = torch.randint(
        0, 256, (config.batch_size, config.frames, 3, side, side), dtype=torch.uint8
    ).pin_memory()
    labels = torch.randint(
        0, config.max_objects + 1, (config.batch_size, config.frames, side, side), dtype=torch.uint8
    ).pin_memory()
    batch = {
        "frames": frames,
        "labels": labels,
        "num_objects": torch.full((config.batch_size,), config.max_objects),
    }
    step = functools.partial(_step, trainer, batch)
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
    places = {
        f"{Path(one.filename).name}:{one.lineno}"
        for one in caught
        if "synchroniz" in str(one.message)
    }
    return sorted(places)


def _step(trainer: Trainer, batch: dict[str, torch.Tensor]) -> None:
    trainer.backward(trainer.forward(batch).loss)
    trainer.step()
