"""Look into the memory: a table, a JSON file and pictures by each command.

python scripts/analyse.py memory         --data_path ROOT --output OUT   what a bounded memory keeps, how often its elements are used, accuracy against capacity
python scripts/analyse.py affinity       --data_path ROOT --output OUT   the largest weight every memory element ever reaches: fractions above thresholds, Gini
python scripts/analyse.py correspondence --data_path ROOT --output OUT   points of a frame, found again in later frames

ROOT is laid out like DAVIS, or as JPEGImages/VIDEO and Annotations/VIDEO.
"""

if not __package__:  # started by path: start again as a module of the repository, where the packages are found
    from _as_module import restart

    restart(__file__)

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from PIL import Image

from dataset import Layout, VideoDataset
from inference import VideoSegmenter
from inference.config import SYSTEMS, check_resolution
from inference.memory import POLICIES
from inference.validation import Validator
from model.config import Similarity
from scripts.analysis import affinity, correspondence, memory_use
from scripts.benchmarks.plot import Line, LinePanel, line_chart
from scripts.benchmarks.report import circumstances, circumstances_line, markdown_table
from util.errors import InputError, run_command
from util.files import atomic_files
from util.flags import FlagParser
from util.progress import Progress
from util.run_record import write_json
from util.wording import counted


def run_affinity(flags: argparse.Namespace, folder: Path) -> tuple[str, dict[str, Any]]:
    """How evenly networks spread their affinity: the largest weight (full softmax) that every memory element ever reaches."""
    videos, resolution = _videos(flags, Layout.of(flags.data_path))
    similarities = _named(flags.similarity, "--similarity")
    models = _named(flags.model, "--model") or {"shipped": None}
    if unknown := sorted(set(similarities) - set(models)):
        raise InputError(f"--similarity {unknown[0]}: no --model of this name; there are: {' '.join(models)}")
    segmenters = {name: _segmenter(flags, path, similarities.get(name)) for name, path in models.items()}
    spreads = {}
    for name, segmenter in segmenters.items():
        spreads[name] = affinity.spread(segmenter, videos, resolution=resolution, write_every_frames=flags.mem_every, max_frames=flags.max_frames)
    rows = [
        (name, each.similarity, f"{len(each.largest):,}", *(_percent(each.above(threshold)) for threshold in affinity.THRESHOLDS), _percent(affinity.gini(each.largest)))
        for name, each in spreads.items()
    ]
    table = markdown_table(("network", "similarity", "memory elements", *(f"ever above {threshold:.0%}, %" for threshold in affinity.THRESHOLDS), "Gini, %"), rows)
    subtitle = f"{counted(len(videos), 'video')}, a frame in {flags.mem_every} memorised; full softmax, the largest weight of every element over its lifetime"
    line_chart(folder / "affinity.png", "How evenly the memory is used", subtitle, affinity.panels(spreads))
    return f"### Affinity: {subtitle}\n\n{table}", {name: each.figures() for name, each in spreads.items()}


def run_correspondence(flags: argparse.Namespace, folder: Path) -> tuple[str, dict[str, Any]]:
    """Points of a frame, found in later frames as the positions whose keys are most similar."""
    layout = Layout.of(flags.data_path)
    videos, resolution = _videos(flags, layout)
    if flags.points and len(videos) > 1:
        raise InputError(f"--points: of one video; name it with --sequences (there are {len(videos)} here)")
    segmenter = _segmenter(flags, flags.model, flags.similarity)
    points = [_point(text) for text in flags.points] if flags.points else None
    figures, rows = {}, []
    for video in videos:
        tracks, picture = correspondence.follow(
            segmenter,
            video,
            resolution=resolution,
            points=points,
            points_per_object=flags.points_per_object,
            source=flags.frame,
            max_frames=flags.max_frames,
            truth=layout.truth_folder / video.name,
            single_object=layout.single_object,
            shown=flags.shown,
        )
        Image.fromarray(picture).save(folder / f"correspondence_{video.name}.png")
        for number, track in enumerate(tracks, 1):
            same = "" if track.same_object is None else f"{100 * track.same_object:.0f}"
            rows.append((video.name, number, f"{track.x:.0f},{track.y:.0f}", track.object_id or "", len(track.matches), f"{track.mean_weight:.3f}", same))
        figures[video.name] = [_track_figures(track) for track in tracks]
    table = markdown_table(("video", "point", "x,y", "object", "frames", "mean weight", "found on its object, %"), rows)
    return f"### Correspondence: points of frame {flags.frame}, each frame's most similar position\n\n{table}", figures


def run_memory(flags: argparse.Namespace, folder: Path) -> tuple[str, dict[str, Any]]:
    """What a bounded memory keeps and how often its elements are used; with --capacities also accuracy against capacity."""
    videos, resolution = _videos(flags, Layout.of(flags.data_path))
    bound = {} if flags.memory_frames is None else {"memory_frames": flags.memory_frames}
    segmenter = _segmenter(flags, flags.model, flags.similarity, system=flags.system, resolution=resolution, **_memory(flags), **bound)
    validator = _validator(flags) if flags.capacities else None
    memory_use.require_counting(segmenter)
    histories = {}
    for video in videos:
        histories[video.name], alive = memory_use.follow_elements(segmenter, video, max_frames=flags.max_frames, shown=flags.shown)
        Image.fromarray(alive).save(folder / f"alive_{video.name}.png")
    held = f"memory {segmenter.config.memory.policy}, {counted(segmenter.config.memory.capacity_frames, 'frame')}"
    line_chart(folder / "use.png", "How a memory is used", f"{held}; {counted(len(videos), 'video')}", memory_use.panels(histories))
    text = f"### Memory use: {held}\n\n" + markdown_table(_USE_HEADER, [_use_row(name, history) for name, history in histories.items()])
    figures: dict[str, Any] = {"memory": held, "videos": {name: history.figures() for name, history in histories.items()}}
    if validator is not None:
        table, figures["capacities"] = _capacities(flags, folder, segmenter, validator)
        text += "\n\n" + table
    return text, figures


_USE_HEADER = ("video", "alive", "alive: oldest frame", "alive: mean age", "alive: uses a frame", "gone", "gone: mean age", "gone: uses a frame", "gone: never used, %")


def _use_row(name: str, history: memory_use.ElementHistory) -> tuple[object, ...]:
    alive, gone = history.alive, ~history.alive
    means = [(f"{history.ages[part].mean():.1f}", f"{history.rates[part].mean():.2f}") if part.any() else ("", "") for part in (alive, gone)]
    never = _percent((history.uses[gone] == 0).mean()) if gone.any() else ""
    return name, f"{alive.sum():,}", history.frames[alive].min(), *means[0], f"{gone.sum():,}", *means[1], never


def _capacities(flags: argparse.Namespace, folder: Path, segmenter: VideoSegmenter, validator: dict[str, Validator]) -> tuple[str, dict[str, Any]]:
    """J and F for each capacity, and of the memories it lies between."""
    scores = {}
    with Progress(len(validator), "memories") as progress:
        for name, each in validator.items():
            scores[name] = each.score(segmenter.network)
            progress.advance(status=f"{name}: J&F {100 * scores[name].j_and_f:.1f}")
    policy = segmenter.config.memory.policy
    bounded = [(float(capacity), 100 * scores[f"{policy} {capacity}"].j_and_f) for capacity in flags.capacities]
    ends = (min(flags.capacities), max(flags.capacities))
    others = [Line(name, [(float(end), 100 * scores[name].j_and_f) for end in ends], markers=False) for name in _REFERENCES]
    lines = [Line(policy, bounded, [f"{value:.1f}" for _, value in bounded]), *others]
    chart = LinePanel("J&F of each memory", "capacity, frames", "J&F, %", lines)
    line_chart(folder / "capacity.png", "Accuracy against capacity", counted(len(next(iter(validator.values())).sequences), "video"), [chart])
    rows = [(name, *(f"{100 * value:.1f}" for value in (each.j_and_f, each.j, each.f)), f"{each.seconds:.0f}") for name, each in scores.items()]
    figures = {name: {"j_and_f": each.j_and_f, "j": each.j, "f": each.f, "per_sequence": dict(each.per_sequence), "seconds": each.seconds} for name, each in scores.items()}
    return markdown_table(("memory", "J&F", "J", "F", "seconds"), rows), figures


_REFERENCES = ("every-k", "first-and-latest")


def _validator(flags: argparse.Namespace) -> dict[str, Validator]:
    """One for each memory that is compared; all of them are looked at before the first is scored."""
    policy = _memory(flags).get("memory") or SYSTEMS[flags.system].memory.policy
    settings = {f"{policy} {capacity}": {"memory": policy, "memory_frames": capacity} for capacity in flags.capacities} | {name: {"memory": name} for name in _REFERENCES}
    every = {} if flags.mem_every is None else {"mem_every": flags.mem_every}
    common = {"resolution": flags.resolution, "max_frames": flags.max_frames, "system": flags.system, **every}
    return {name: Validator(flags.data_path, flags.sequences, **common, **values) for name, values in settings.items()}


def _memory(flags: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in (("memory", flags.memory), ("mem_every", flags.mem_every)) if value is not None}


def _videos(flags: argparse.Namespace, layout: Layout) -> tuple[VideoDataset, int]:
    """All videos there are, or those asked for, and the resolution to work at."""
    if flags.resolution is not None:
        check_resolution(flags.resolution)
    return layout.open(flags.sequences or layout.names()), layout.resolution if flags.resolution is None else flags.resolution


def _segmenter(flags: argparse.Namespace, path: Path | None, kind: str | None, **settings: Any) -> VideoSegmenter:
    if kind is not None and kind not in get_args(Similarity):
        raise InputError(f"--similarity {kind}: not known; choose one of {', '.join(get_args(Similarity))}")
    return VideoSegmenter.from_checkpoint(path, settings.pop("system", "stcn"), similarity=kind, device=flags.device, **settings)


def _named(texts: Sequence[str] | None, flag: str) -> dict[str, str]:
    """NAME=VALUE … Raises InputError for others, and for a name given twice."""
    named = {}
    for text in texts or ():
        name, separator, value = text.partition("=")
        if not (name and separator and value):
            raise InputError(f"{flag} {text}: NAME=VALUE is expected")
        if name in named:
            raise InputError(f"{flag} {text}: {name} is given twice")
        named[name] = value
    return named


def _point(text: str) -> tuple[float, float]:
    if not re.fullmatch(r"\d+(\.\d+)?,\d+(\.\d+)?", text):
        raise InputError(f"--points {text}: x,y in pixels is expected, such as 320,200")
    x, y = text.split(",")
    return float(x), float(y)


def _track_figures(track: correspondence.Track) -> dict[str, Any]:
    matches = [{"frame": match.frame, "x": round(match.x, 1), "y": round(match.y, 1), "weight": round(match.weight, 5), "object_id": match.object_id} for match in track.matches]
    return {"x": track.x, "y": track.y, "object_id": track.object_id, "mean_weight": track.mean_weight, "same_object": track.same_object, "matches": matches}


def _percent(share: float) -> str:
    return f"{100 * float(share):.1f}"


def _at_least(smallest: int):
    def number(text: str) -> int:
        value = int(text)
        if value < smallest:
            raise argparse.ArgumentTypeError(f"{value}: at least {smallest} is needed")
        return value

    return number


def _parser() -> argparse.ArgumentParser:
    parser = FlagParser(prog="analyse.py", description="Look into the memory: a table, a JSON file and pictures.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=FlagParser)

    def command(name: str, run: Any) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        added.set_defaults(run=run)
        added.add_argument("--data_path", type=Path, required=True, metavar="ROOT", help="laid out like DAVIS, or as JPEGImages/VIDEO and Annotations/VIDEO")
        added.add_argument("--output", type=Path, required=True, metavar="OUT", help=f"{name}.json and pictures go here, replacing those of an earlier run")
        added.add_argument("--sequences", nargs="+", metavar="NAME", help="these alone")
        added.add_argument("--max_frames", type=_at_least(2), metavar="N", help="of each video, from its first mask on")
        added.add_argument("--resolution", type=int, metavar="N", help="shorter side to work at; -1: as stored (default: as stored for DAVIS, 480 elsewhere)")
        added.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
        added.add_argument("--threads", type=_at_least(1), default=torch.get_num_threads(), help="CPU threads of torch (default: %(default)s)")
        return added

    added = command("affinity", run_affinity)
    added.add_argument("--model", nargs="+", metavar="NAME=FILE", help="networks to compare (default: the shipped one)")
    added.add_argument("--similarity", nargs="+", metavar="NAME=KIND", help="l2, dot or cosine, for networks whose files do not tell")
    added.add_argument("--mem_every", type=_at_least(1), default=5, metavar="N", help="memorise every N-th frame (default: %(default)s)")
    added = command("correspondence", run_correspondence)
    _add_model(added)
    added.add_argument("--points", nargs="+", metavar="X,Y", help="in pixels from the upper left corner (default: some on each object)")
    added.add_argument("--points_per_object", type=_at_least(1), default=3, metavar="N", help="where --points is not given (default: %(default)s)")
    added.add_argument("--frame", type=_at_least(0), default=0, metavar="N", help="the points' frame, counted from the first mask (default: %(default)s)")
    added.add_argument("--shown", type=_at_least(1), default=11, metavar="N", help="frames in the picture beside the first, at most (default: %(default)s)")
    added = command("memory", run_memory)
    _add_model(added)
    added.add_argument("--system", choices=tuple(SYSTEMS), default="lfu", help="default: %(default)s")
    added.add_argument("--memory", choices=tuple(POLICIES), help="another policy than the system's")
    added.add_argument("--memory_frames", type=_at_least(1), metavar="N", help="its capacity (default: the system's)")
    added.add_argument("--mem_every", type=_at_least(1), metavar="N", help="memorise every N-th frame (default: the system's)")
    added.add_argument("--capacities", type=_at_least(1), nargs="+", metavar="N", help="also score each capacity, and every-k and first-and-latest; needs every frame's truth")
    added.add_argument("--shown", type=_at_least(1), default=12, metavar="N", help="frames in a map, at most (default: %(default)s)")
    return parser


def _add_model(added: argparse.ArgumentParser) -> None:
    added.add_argument("--model", type=Path, metavar="FILE", help="weights (default: the shipped small network)")
    added.add_argument("--similarity", metavar="KIND", help="l2, dot or cosine, where the weights do not tell")


def main() -> None:
    """Flags, analysis, report."""
    flags = _parser().parse_args()
    torch.set_num_threads(flags.threads)
    where = circumstances(shlex.join(["python", "scripts/analyse.py", *sys.argv[1:]]), flags.threads)
    with atomic_files(flags.output) as folder:
        text, figures = flags.run(flags, folder)
        write_json(folder / f"{flags.command}.json", {"analysis": flags.command, **where, "figures": figures})
    print(f"{text}\n\n{circumstances_line(where)}")


if __name__ == "__main__":
    run_command(main)
