"""Speed and memory beside a reference that computes as the published STCN code does, with the same weights and results.

python scripts/benchmark.py speed             seconds a frame of whole videos, 1 and 3 objects
python scripts/benchmark.py reading           one frame's reading from 100 memory frames
python scripts/benchmark.py components        key encoding, value encoding, reading, decoding (--plot FILE.png)
python scripts/benchmark.py clips             frames a second of a clip system by the length of its clips, and where the time goes (--plot FILE.png)
python scripts/benchmark.py memory            peak memory over 500 frames
python scripts/benchmark.py stream            peak memory of 200 and of 2,000 frames with a bounded memory
python scripts/benchmark.py endurance         time a frame and memory at the end of a long video beside its start, several policies by turns
python scripts/benchmark.py policies          LFU with 2 frames beside first-and-latest and a grown every-5, and what the components' times predict
python scripts/benchmark.py long ROOT         real videos once, and played back and forth to three times their length: accuracy, speed, memory of stcn, lfu, remn
python scripts/benchmark.py training          steps a second of training, and the share of time spent waiting for data
python scripts/benchmark.py training_memory   peak memory of a training step (--recipes: what fits which cards)

Needs neither data nor weights, but for `long` (the shipped ones, or yours): both are made up, the same in every run. Leave the machine idle meanwhile.
"""

if not __package__:  # started by path: start again as a module of the repository, where the packages are found
    from _as_module import restart

    restart(__file__)

import argparse
import dataclasses
import functools
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dataset.sources import TrainingRoots
from model import PRESETS
from model.learner import AUTOCAST_DTYPES
from model.training import STAGES
from scripts.benchmarks import clips, endurance, peak_memory, policies, timing, training_memory, training_speed
from scripts.benchmarks.material import write_training_stills, write_training_videos
from scripts.benchmarks.plot import Panel, bar_chart
from scripts.benchmarks.report import circumstances, circumstances_line, markdown_table
from scripts.studies import systems
from scripts.studies.study import add_study_flags, run_study
from util.distributed import select_device
from util.errors import EXIT_OK, InputError, run_command
from util.run_record import write_json
from util.wording import counted

# seconds a frame of the published code over its first seven frames, 480×854, two cores: what the reference's ratio is to be held against
PUBLISHED_SECONDS = {1: 2.1, 3: 4.4}


def run_speed(flags: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """Both sides over whole videos."""
    rows = timing.speed(_workload(flags), flags.objects)
    table = markdown_table(
        ("objects", "reference, s/frame", "ours, s/frame", "times faster"),
        ((row["objects"], *(f"{row['seconds_per_frame'][side]:.3f}" for side in timing.SIDES), f"{row['speedup']:.2f}") for row in rows),
    )
    first = {row["objects"]: row["reference_seconds_per_first_frame"] for row in rows}
    lines = [table, "", f"Reference over its first {rows[0]['reference_first_frames']} frames: " + _counts(first) + "."]
    if flags.network == "stcn" and (flags.height, flags.width) == (480, 854) and first.keys() >= PUBLISHED_SECONDS.keys():
        ratio, published = first[3] / first[1], PUBLISHED_SECONDS[3] / PUBLISHED_SECONDS[1]
        lines[-1] += f" Ratio {ratio:.2f}; the published code's is {published:.2f} ({_counts(PUBLISHED_SECONDS)}; {ratio / published - 1:+.0%})."
    lines += [f"{counted(row['objects'], 'object').capitalize()}, first {timing.CHECK_FRAMES} frames: {row['agreement_sentence']}" for row in rows]
    title = f"Speed: {flags.network}, {flags.width}×{flags.height}, {flags.frames} frames, from RGB frames to label maps, median of {flags.repeats}"
    return f"### {title}\n\n" + "\n".join(lines), rows


def run_reading(flags: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Both sides' reading alone."""
    result = timing.reading(flags.network, flags.height, flags.width, flags.memory_frames, flags.objects, flags.top_k, flags.repeats)
    table = markdown_table(
        ("memory frames", "objects", "reference, s", "ours, s", "times faster"),
        [(flags.memory_frames, flags.objects, *(f"{result['seconds_per_read'][side]:.3f}" for side in timing.SIDES), f"{result['speedup']:.2f}")],
    )
    sizes = f"{result['memory_elements']:,} memory elements, {result['query_positions']:,} query positions, top {flags.top_k}"
    title = f"Reading one frame: {flags.network}, {flags.width}×{flags.height}, {sizes}, median of {flags.repeats}"
    return f"### {title}\n\n{table}\n\nReadouts agree within {result['largest_readout_difference']:.1e}.", result


def run_components(flags: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """Where the time goes."""
    rows = timing.components(_workload(flags), flags.objects)
    lines = [
        (row["objects"], side, *(f"{row['milliseconds'][side][component]:.4g}" for component in timing.COMPONENTS)) for row in rows for side in timing.SIDES
    ]
    units = ("key encoding, ms/frame", "value encoding, ms/memorised frame", "reading, ms/predicted frame", "decoding, ms/predicted frame")
    table = markdown_table(("objects", "side", *units), lines)
    video = f"{flags.network}, {flags.width}×{flags.height}, {flags.frames} frames, up to {rows[0]['memorised_frames']} in memory"
    title = f"Components: {video}, median of {flags.repeats}"
    if flags.plot:
        panels = [
            Panel(counted(row["objects"], "object"), [[row["milliseconds"][side][part] for part in timing.COMPONENTS] for side in timing.SIDES])
            for row in rows
        ]
        subtitle = f"{video}, CPU, {counted(flags.threads, 'thread')}; value encoding a memorised frame".replace("×", "x")  # not in Pillow's own font
        bar_chart(flags.plot, "Milliseconds a frame", subtitle, timing.COMPONENTS, timing.SIDES, panels)
    return f"### {title}\n\n{table}", rows


def run_clips(flags: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """Speed by the length of clips, same weights, by turns."""
    fields = ("network", "system", "height", "width", "objects", "frames", "repeats")
    workload = clips.ClipWorkload(**{name: getattr(flags, name) for name in fields}, device=select_device(flags.device))
    rows = clips.clip_speed(workload, flags.clip_lengths)
    parts = (*clips.COMPONENTS, clips.REST)
    lines = [(row["clip_length"], f"{row['fps']:.2f}", *(f"{row['milliseconds'][part]:.4g} ({row['share'][part]:.0%})" for part in parts)) for row in rows]
    table = markdown_table(("L", "FPS", *(f"{part}, ms/frame" for part in parts)), lines)
    video = f"{flags.system} on {flags.network}, {flags.width}×{flags.height}, {flags.frames} frames, {counted(flags.objects, 'object')}"
    refinement = ", ".join(f"{row['milliseconds']['refinement']:.4g} at L = {row['clip_length']}" for row in rows)
    if flags.plot:
        panels = [Panel(video.replace("×", "x"), [[row["milliseconds"][part] for part in parts] for row in rows])]
        bar_chart(flags.plot, "Milliseconds a frame", f"median of {flags.repeats}, {workload.device}", parts, [f"L = {row['clip_length']}" for row in rows], panels)
    title = f"Clips: {video}, median of {flags.repeats}, {workload.device}"
    return f"### {title}\n\n{table}\n\nOf all frames, in brackets the share of the whole. The refinement costs {refinement} ms a frame.", rows


def run_memory(flags: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Ours streaming against the reference holding the video, every fifth frame memorised by both."""
    peaks = {}
    for side in ("ours", "reference"):
        timing.note(f"{side}: {flags.frames} frames")
        peaks[side] = peak_memory.measure(_probe(flags, side, flags.frames))
    ratio = peaks["ours"].growth_mb / peaks["reference"].growth_mb
    table = markdown_table(_PEAK_HEADER, [_peak_row(side, peak) for side, peak in peaks.items()])
    title = f"Peak memory: {flags.network}, {flags.width}×{flags.height}, {flags.frames} frames, {counted(flags.objects, 'object')}"
    text = f"### {title}\n\n{table}\n\nOurs takes {ratio:.3f} of the reference's memory for the video (1/{1 / ratio:.1f})."
    return text, {"growth_ratio": ratio, "peaks": {side: _peak_values(peak) for side, peak in peaks.items()}}


def run_stream(flags: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """A bounded memory's peak does not depend on the video's length."""
    if len(flags.frames) != 2:
        raise InputError(f"--frames {' '.join(map(str, flags.frames))}: two lengths are compared; give two numbers")
    peaks = []
    for frames in flags.frames:
        timing.note(f"{frames} frames")
        peaks.append(peak_memory.measure(_probe(flags, "ours", frames, flags.memory)))
    short, long = peaks
    ratio, growth_ratio = long.peak_mb / short.peak_mb, long.growth_mb / short.growth_mb
    table = markdown_table(_PEAK_HEADER, [_peak_row(f"{frames:,} frames", peak) for frames, peak in zip(flags.frames, peaks, strict=True)])
    title = f"Streaming: {flags.network}, {flags.width}×{flags.height}, {counted(flags.objects, 'object')}, memory {flags.memory}"
    text = f"### {title}\n\n{table}\n\nThe longer video's peak is {ratio:.4f} of the shorter one's; of the growth alone, {growth_ratio:.4f}."
    return text, {"peak_ratio": ratio, "growth_ratio": growth_ratio, "frames": flags.frames, "peaks": [_peak_values(peak) for peak in peaks]}


# the rows of `endurance`: settings of VideoSegmenter
_ENDURANCE_POLICIES = {
    "every-k": {"memory": "every-k"},
    "first-and-latest": {"memory": "first-and-latest"},
    **{f"{policy}:{frames}": {"memory": policy, "memory_frames": frames} for policy in ("lfu", "lfu-weight", "fifo", "random") for frames in (1, 2, 4, 8)},
}


def run_endurance(flags: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """Does a frame of a long video take as long, and the process as much memory, at its end as at its start?"""
    sizes = {name: getattr(flags, name) for name in ("network", "height", "width", "frames", "warm_up_frames", "objects", "threads")}
    rows = endurance.endurance(endurance.Run(**sizes), {name: _ENDURANCE_POLICIES[name] for name in flags.policies})
    header = ("memory", "first tenth, ms/frame", "last tenth, ms/frame", "last / first", "bank, MB", "process peak, MB", "last / first")
    table = markdown_table(header, (_endurance_row(row) for row in rows))
    title = f"Endurance: {flags.network}, {flags.width}×{flags.height}, {counted(flags.objects, 'object')}, {flags.frames:,} frames after {flags.warm_up_frames}"
    return f"### {title}\n\n{table}\n\nBank and peak: after the first tenth and at the end. Medians over blocks of {endurance.BLOCK_FRAMES} frames.", rows


def _endurance_row(row: dict[str, Any]) -> tuple[str, ...]:
    seconds, bank, peak = row["seconds_per_frame"], row["memory_mb"], row["process_peak_mb"]
    times = (f"{1000 * seconds['first']:.2f}", f"{1000 * seconds['last']:.2f}", f"{row['time_ratio']:.3f}")
    return (row["policy"], *times, f"{bank['first']:.2f}, {bank['last']:.2f}", f"{peak['first']:.0f}, {peak['last']:.0f}", f"{peak['last'] / peak['first']:.3f}")


def run_policies(flags: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """LFU with 2 frames beside first-and-latest and every-5 with a grown memory: seconds a frame, and what the components' times predict."""
    workload = timing.Workload(network=flags.network, height=flags.height, width=flags.width, frames=policies.TURN_FRAMES, repeats=flags.repeats)
    rows = policies.compare_policies(workload, flags.objects, policies.contestants(flags.memory_frames))
    header = ("objects", "beside", "s/frame", "LFU(2), s/frame", "times faster", "predicted", "measured / predicted")
    table = markdown_table(header, (_policies_row(row) for row in rows))
    components = markdown_table(
        ("objects", "memory", *(f"{name}, ms" for name in timing.COMPONENTS)),
        ((row["objects"], name, *(f"{row['milliseconds'][name][part]:.1f}" for part in timing.COMPONENTS)) for row in rows for name in (row["than"], row["faster"])),
    )
    title = f"Memory policies: {flags.network}, {flags.width}×{flags.height}, frame by frame, median of {flags.repeats} turns of {policies.TURN_FRAMES} frames"
    return f"### {title}\n\n{table}\n\n{components}", rows


def _policies_row(row: dict[str, Any]) -> tuple[str, ...]:
    seconds, gain, predicted = row["seconds_per_frame"], row["speedup"], row["predicted_speedup"]
    return (str(row["objects"]), row["than"], f"{seconds[row['than']]:.3f}", f"{seconds[row['faster']]:.3f}", f"{gain:.2f}", f"{predicted:.2f}", f"{gain / predicted:.3f}")


def run_training(flags: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Our training loop against a plain one, by turns, on the same files."""
    device = select_device(flags.device)
    amp = flags.amp or ("fp16" if device.type == "cuda" else "off")
    stage = STAGES[flags.stage]
    batch = flags.batch or stage.batch_size // 2
    changes = {"network": flags.network, "batch_size": batch, "crop_size": flags.crop_size, "amp": amp, "compile": flags.compile}
    with tempfile.TemporaryDirectory() as made_up:
        workload = training_speed.TrainingWorkload(
            config=dataclasses.replace(stage, **changes),
            roots=_training_roots(flags, Path(made_up)),
            device=device,
            workers=flags.workers,
            cache_megabytes=flags.cache_megabytes,
            iterations=flags.iterations,
            repeats=flags.repeats,
        )
        result = training_speed.training(workload)
    header = ("side", "steps/s", "waiting for data", "first step, s", "peak GPU memory, MB")
    table = markdown_table(header, (_training_row(side, result["median"][side]) for side in timing.SIDES))
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    title = f"Training: stage {flags.stage}, {flags.network}, batch {batch} of {flags.crop_size}×{flags.crop_size}, {where}, amp {amp}"
    details = f"Ours {result['speedup']:.2f} times the plain loop. {counted(flags.iterations, 'step')} a turn, {counted(flags.workers, 'loading process', 'es')} each, "
    details += f"cache {flags.cache_megabytes} MB, median of {flags.repeats}." + (" Ours compiled." if flags.compile else "")
    return f"### {title}\n\n{table}\n\n{details}", {"amp": amp, "batch": batch, "device": where, **result}


def _training_roots(flags: argparse.Namespace, made_up: Path) -> TrainingRoots:
    """The roots given, or made-up files of that kind."""
    if dict(STAGES[flags.stage].mix).keys() == {"static"}:
        if not flags.static_root:
            timing.note("writing made-up stills")
        return TrainingRoots(static=flags.static_root or [str(write_training_stills(made_up, flags.made_up, flags.height, flags.width))])
    if not flags.davis_root:
        timing.note("writing made-up videos")
    return TrainingRoots(davis=flags.davis_root or [str(write_training_videos(made_up, 4, -(-flags.made_up // 4), flags.height, flags.width))])


def _training_row(side: str, turn: dict[str, float | None]) -> tuple[str, ...]:
    peak = turn["peak_memory_mb"]
    shown = "not applicable" if peak is None else f"{peak:.0f}"
    return (side, f"{turn['steps_per_second']:.3f}", f"{turn['waiting_share']:.1%}", f"{turn['first_step_seconds']:.1f}", shown)


def run_training_memory(flags: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """Peak memory of a training step in one process: measured on CUDA, computed elsewhere."""
    device = select_device(flags.device)
    how = "measured" if device.type == "cuda" else "computed"

    def memory_of(plan: training_memory.Plan) -> training_memory.StepMemory:
        timing.note(f"stage {plan.stage}, {counted(plan.part, 'sample')}{', activations computed again' if plan.checkpoint_activations else ''}")
        run = functools.partial(training_memory.measured_memory, device=device) if how == "measured" else training_memory.computed_memory
        return run(plan.process_config(), several_processes=plan.gpus > 1)

    recipes = _fitting_recipes(flags, functools.cache(memory_of)) if flags.recipes else [_recipe_asked_for(flags, memory_of)]
    cards = ("card, GB", "GPUs") if flags.recipes else ("GPUs",)
    header = ("stage", *cards, "batch", "samples a part", "`--accumulate`", "`--checkpoint_activations`", "between steps, GB", f"{how} peak, GB", "fits")
    table = markdown_table(header[: None if flags.recipes else -1], (_recipe_row(recipe) for recipe in recipes))
    title = f"Memory of a training step in each process: {flags.network}, {flags.crop_size}×{flags.crop_size}, amp {flags.amp}"
    return f"### {title}\n\n{table}\n\n{training_memory.METHOD[how]}", [{**dataclasses.asdict(recipe), "fits": recipe.fits, "how": how} for recipe in recipes]


def _plan(flags: argparse.Namespace, stage: str, **fields: Any) -> training_memory.Plan:
    return training_memory.Plan(stage=stage, network=flags.network, crop_size=flags.crop_size, amp=flags.amp, **fields)


def _recipe_asked_for(flags: argparse.Namespace, memory_of: Callable[[training_memory.Plan], training_memory.StepMemory]) -> training_memory.Recipe:
    batch = flags.batch or STAGES[flags.stage].batch_size
    if batch % (flags.gpus * flags.accumulate):
        shares = f"over {counted(flags.gpus, 'GPU')} in {counted(flags.accumulate, 'part')}"
        raise InputError(f"--batch {batch} {shares}: each part needs the same whole number of samples; change one of them")
    fields = {name: getattr(flags, name) for name in ("gpus", "accumulate", "checkpoint_activations")}
    plan = _plan(flags, flags.stage, batch=batch, **fields)
    return training_memory.Recipe(plan=plan, memory=memory_of(plan))


def _fitting_recipes(flags: argparse.Namespace, memory_of: Callable[[training_memory.Plan], training_memory.StepMemory]) -> list[training_memory.Recipe]:
    """Stages 0 and 3 with their published batches on all cards and numbers of GPUs."""
    return [
        training_memory.choose_recipe(_plan(flags, stage, batch=STAGES[stage].batch_size, gpus=gpus), card, memory_of)
        for stage in ("0", "3")
        for card in training_memory.CARDS_GB
        for gpus in training_memory.GPU_COUNTS
    ]


def _recipe_row(recipe: training_memory.Recipe) -> tuple[object, ...]:
    plan, memory = recipe.plan, recipe.memory
    how = (plan.batch, plan.part, plan.accumulate, "yes" if plan.checkpoint_activations else "no", f"{memory.resting / 1e9:.2f}", f"{memory.peak / 1e9:.2f}")
    if recipe.card_gb is None:
        return (plan.stage, plan.gpus, *how)
    return (plan.stage, recipe.card_gb, plan.gpus, *how, "yes" if recipe.fits else "no")


_PEAK_HEADER = ("", "network built, MB", "peak, MB", "growth, MB", "time, s")


def _peak_row(name: str, peak: peak_memory.Peak) -> tuple[str, ...]:
    return (name, f"{peak.baseline_mb:.0f}", f"{peak.peak_mb:.0f}", f"{peak.growth_mb:.1f}", f"{peak.seconds:.1f}")


def _peak_values(peak: peak_memory.Peak) -> dict[str, float]:
    return {**dataclasses.asdict(peak), "growth_mb": peak.growth_mb}


def _probe(flags: argparse.Namespace, side: str, frames: int, memory: str = "every-k") -> peak_memory.Probe:
    return peak_memory.Probe(
        side=side, network=flags.network, height=flags.height, width=flags.width, frames=frames, objects=flags.objects, threads=flags.threads, memory=memory
    )


def _workload(flags: argparse.Namespace) -> timing.Workload:
    return timing.Workload(network=flags.network, height=flags.height, width=flags.width, frames=flags.frames, repeats=flags.repeats)


def _counts(seconds: dict[int, float]) -> str:
    return ", ".join(f"{value:.2f} s/frame with {counted(objects, 'object')}" for objects, value in seconds.items())


def _at_least(minimum: int) -> Any:
    def parse(text: str) -> int:
        if int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text} is too small; at least {minimum}")
        return int(text)

    parse.__name__ = "number"  # argparse names the type in its message
    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmark.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, network: str, frame_size: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=run.__doc__, description=run.__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        added.set_defaults(do=_measure, run=run)
        added.add_argument("--network", choices=PRESETS, default=network, help="preset")
        if frame_size:
            added.add_argument("--height", type=_at_least(16), default=480, help="of a frame, in pixels")
            added.add_argument("--width", type=_at_least(16), default=854, help="of a frame, in pixels")
        added.add_argument("--threads", type=_at_least(1), default=2, help="CPU threads of torch")
        added.add_argument("--json", type=Path, metavar="FILE", help="write all figures here too")
        return added

    for name, run in (("speed", run_speed), ("components", run_components)):
        added = command(name, run, "stcn")
        added.add_argument("--frames", type=_at_least(2), default=20, help="of the video")
        added.add_argument("--objects", type=_at_least(1), nargs="+", default=[1, 3], help="numbers of objects to run with")
        added.add_argument("--repeats", type=_at_least(1), default=3, help="runs of each side, by turns")
    added.add_argument("--plot", type=Path, metavar="FILE", help="draw the table as a PNG")
    added = command("reading", run_reading, "stcn")
    added.add_argument("--memory_frames", type=_at_least(1), default=100, help="frames in memory")
    added.add_argument("--objects", type=_at_least(1), default=3, help="number of objects")
    added.add_argument("--top_k", type=_at_least(1), default=20, help="elements each query position reads")
    added.add_argument("--repeats", type=_at_least(1), default=5, help="reads of each side, by turns")
    added = command("clips", run_clips, "pcvos")
    added.add_argument("--system", default="pcvos", help="one that predicts clips")
    added.add_argument("--clip_lengths", type=_at_least(1), nargs="+", default=[5, 10, 15, 25], help="frames predicted together")
    added.add_argument("--frames", type=_at_least(2), default=51, help="of the video: the first with its mask, then clips")
    added.add_argument("--objects", type=_at_least(1), default=1, help="number of objects")
    added.add_argument("--repeats", type=_at_least(1), default=3, help="runs of each length, by turns")
    added.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    added.add_argument("--plot", type=Path, metavar="FILE", help="draw the table as a PNG")
    added = command("memory", run_memory, "tiny")
    added.add_argument("--frames", type=_at_least(2), default=500, help="of the video")
    added.add_argument("--objects", type=_at_least(1), default=1, help="number of objects")
    added = command("stream", run_stream, "tiny")
    added.add_argument("--frames", type=_at_least(2), nargs="+", default=[200, 2000], help="lengths of the two videos")
    added.add_argument("--objects", type=_at_least(1), default=1, help="number of objects")
    added.add_argument("--memory", default="first-and-latest", help="the memory's policy")
    added = command("endurance", run_endurance, "tiny")
    added.set_defaults(height=240, width=427, threads=1)
    added.add_argument("--frames", type=_at_least(50), default=5000, help="of the video, after the first ones; a multiple of 50")
    added.add_argument("--warm_up_frames", type=_at_least(5), default=100, help="first ones, in which memories fill")
    added.add_argument("--objects", type=_at_least(1), default=1, help="number of objects")
    added.add_argument("--policies", nargs="+", choices=_ENDURANCE_POLICIES, default=["every-k", "first-and-latest", "lfu:2", "lfu:4"], metavar="MEMORY", help="%(choices)s")
    added = command("policies", run_policies, "stcn")
    added.add_argument("--objects", type=_at_least(1), nargs="+", default=[1, 3], help="numbers of objects to run with")
    added.add_argument("--memory_frames", type=_at_least(8), default=100, help="frames in memory of every-5")
    added.add_argument("--repeats", type=_at_least(1), default=9, help="turns of each side")
    added = commands.add_parser("long", help=run_long.__doc__, description=run_long.__doc__)
    added.set_defaults(do=run_long)
    add_study_flags(added, "results/long")
    added.set_defaults(rows=["stcn", "lfu", "remn"])
    added.add_argument("--times", type=float, nargs="+", default=[1, 3], metavar="K", help="lengths, in multiples of a video's (default: 1 3)")
    _add_training(command("training", run_training, "stcn"))
    _add_training_memory(command("training_memory", run_training_memory, "stcn", frame_size=False))
    return parser


def _add_training_step(added: argparse.ArgumentParser) -> None:
    added.add_argument("--stage", choices=[stage for stage in STAGES if stage.isdecimal()], default="3", help="recipe")
    added.add_argument("--crop_size", type=_at_least(16), default=384, help="side of the training crop in pixels, a multiple of 16")
    added.add_argument("--device", default="auto")


def _add_training(added: argparse.ArgumentParser) -> None:
    _add_training_step(added)
    added.add_argument("--static_root", nargs="+", help="stills of stage 0; default: made-up ones of --height and --width")
    added.add_argument("--davis_root", nargs="+", help="videos of the other stages; default: made-up ones")
    added.add_argument("--made_up", type=_at_least(12), default=48, help="number of made-up frames")
    added.add_argument("--batch", type=_at_least(1), help="samples a step; default: half the stage's, the published batch of one of two GPUs")
    added.add_argument("--amp", choices=["off", *AUTOCAST_DTYPES], help="mixed precision of both sides; default: fp16 on CUDA, off elsewhere")
    added.add_argument("--compile", action="store_true", help="ours through torch.compile")
    added.add_argument("--workers", type=int, default=1, help="loading processes of either side")
    added.add_argument("--cache_megabytes", type=int, default=0, help="decoded images each of our loading processes may hold; a few made-up files would all fit")
    added.add_argument("--iterations", type=_at_least(1), default=20, help="timed steps of a turn")
    added.add_argument("--repeats", type=_at_least(1), default=3, help="turns of either side")


def _add_training_memory(added: argparse.ArgumentParser) -> None:
    _add_training_step(added)
    added.add_argument("--batch", type=_at_least(1), help="samples a step over all GPUs; default: the stage's")
    added.add_argument("--gpus", type=_at_least(1), default=1, help="processes that share the batch")
    added.add_argument("--accumulate", type=_at_least(1), default=1, help="parts each computes its share in")
    added.add_argument("--checkpoint_activations", action="store_true", help="compute activations again in the backward pass")
    added.add_argument("--amp", choices=["off", *AUTOCAST_DTYPES], default="fp16", help="mixed precision")
    added.add_argument("--recipes", action="store_true", help="what fits which cards, at the published batches of stages 0 and 3")


def run_long(flags: argparse.Namespace) -> int:
    """Long videos: each of a data set once, and played back and forth to several times its length, through the eval scripts (REMN, Table III)."""
    study = dataclasses.replace(systems.study(systems.weights_of(flags.weights)), name="long", title="Long videos")
    return run_study(study, flags, times=flags.times, with_time=True)


def main() -> int:
    """Flags, then what the command does; the exit code."""
    flags = _parser().parse_args()
    return flags.do(flags)


def _measure(flags: argparse.Namespace) -> int:
    """Measurement, report."""
    for path in filter(None, (flags.json, getattr(flags, "plot", None))):  # before minutes of measuring, not after
        path.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(flags.threads)
    where = circumstances(shlex.join(["python", "scripts/benchmark.py", *sys.argv[1:]]), flags.threads)
    text, figures = flags.run(flags)
    print(f"{text}\n\n{circumstances_line(where)}")
    if flags.json:
        write_json(flags.json, {"benchmark": flags.command, **where, "figures": figures})
    return EXIT_OK


if __name__ == "__main__":
    run_command(main)
