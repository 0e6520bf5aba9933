"""How evenly networks spread their affinity over the memory.

Legend: N memory elements (positions at stride 16), M query positions, C^k key channels.

Keys depend on the frames alone, so nothing is segmented: the keys of every k-th frame are the
memory, and each frame reads the keys before it with the full softmax, not the top-k. Of each
element, the largest weight that it reaches is kept. Source: STCN, section 4.3 and Figure 4.
"""

import argparse
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset import Frame, Layout, VideoDataset, prefetch
from inference import VideoSegmenter
from model.config import Similarity
from model.matching import similarity
from scripts.analysis.command import (
    add_command,
    load_segmenter,
    open_videos,
    percent,
    working_resolution,
)
from scripts.analysis.grid import Grid
from scripts.common.charts import Line, LinePanel, line_chart
from scripts.common.tables import markdown_table
from util.errors import InputError
from util.flags import Commands, at_least
from util.text import counted

THRESHOLDS = (0.01, 0.1)
_CHUNK_ELEMENTS = 8 * 1024 * 1024  # weights held at a time
_CURVE_POINTS = 100


def largest_weights(
    keys: Iterable[Tensor], write_every_frames: int, kind: Similarity
) -> np.ndarray:
    """The largest softmax weight that each memory element reaches, float32 [N], in order of time.

    keys: of each frame of a video, [M, C^k]. The first frame and every `write_every_frames`-th
    after it are memorised, and read from the next frame to the end. The last frame is never
    memorised. The weights of each query position over all elements sum to 1.
    """
    memory: list[Tensor] = []
    largest: list[Tensor] = []
    pending = None  # memorised as soon as a next frame reads it
    for index, key in enumerate(keys):
        if pending is not None:
            memory.append(pending)
            largest.append(pending.new_zeros(len(pending)))
        if memory:
            elements = torch.cat(memory)
            chunks = key.split(max(_CHUNK_ELEMENTS // len(elements), 1))
            reached = torch.stack([_reached(elements, chunk, kind) for chunk in chunks]).amax(0)
            parts = reached.split([len(part) for part in memory])
            largest = [torch.maximum(*pair) for pair in zip(largest, parts, strict=True)]
        pending = key if index % write_every_frames == 0 else None
    return torch.cat(largest).cpu().numpy() if largest else np.zeros(0, np.float32)


def _reached(memory_key: Tensor, query_key: Tensor, kind: Similarity) -> Tensor:
    """The largest weight [N] that each element reaches among query positions [M, C^k]."""
    with torch.no_grad():
        return similarity(memory_key, query_key, kind=kind).softmax(-1).amax(0)


def gini(values: np.ndarray) -> float:
    """The Gini coefficient of values [N] ≥ 0.

    It is 0 if all are equal and approaches 1 if one has everything. Raises ValueError if there are
    no values or they sum to zero.
    """
    total = values.sum(dtype=np.float64)
    if not len(values) or total <= 0:
        raise ValueError("the Gini coefficient needs values with a sum above zero")
    ranks = np.arange(1, len(values) + 1)
    return float(
        2 * (ranks * np.sort(values)).sum(dtype=np.float64) / (len(values) * total)
        - (len(values) + 1) / len(values)
    )


def lorenz_curve(values: np.ndarray) -> list[tuple[float, float]]:
    """Points (share of the elements, smallest first; their share of the sum), both in 0..1."""
    shares = np.concatenate([[0.0], np.cumsum(np.sort(values), dtype=np.float64)])
    shares /= shares[-1]
    counts = np.unique(np.linspace(0, len(values), _CURVE_POINTS + 1).round().astype(int))
    return [(count / len(values), float(shares[count])) for count in counts]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
    """The largest weights of one network.

    largest: of the elements of all videos, [N]. by_sequence: of each video.
    """

    similarity: str
    largest: np.ndarray
    by_sequence: Mapping[str, np.ndarray]

    def share_above(self, weight: float) -> float:
        """The share of all elements that ever exceed a weight."""
        return float((self.largest > weight).mean())

    def figures(self) -> dict[str, Any]:
        """Plain values: elements, shares above the thresholds and Gini, also of each video; the
        Lorenz curve."""
        return {
            "similarity": self.similarity,
            **_summary(self.largest),
            "sequences": {name: _summary(values) for name, values in self.by_sequence.items()},
            "lorenz": [list(point) for point in lorenz_curve(self.largest)],
        }


def _summary(largest: np.ndarray) -> dict[str, Any]:
    above = {
        f"above_{threshold:g}": float((largest > threshold).mean()) for threshold in THRESHOLDS
    }
    return {
        "elements": len(largest),
        "gini": gini(largest),
        **above,
        "mean": float(largest.mean(dtype=np.float64)),
    }


def measure_spread(
    segmenter: VideoSegmenter,
    videos: VideoDataset,
    *,
    resolution: int,
    write_every_frames: int,
    max_frames: int | None = None,
) -> Spread:
    """Measure one network on all videos, each from its first mask on.

    max_frames: of each video; None: all. Raises InputError for a video of a single frame.
    """
    kind = segmenter.network.config.similarity
    by_sequence = {}
    for video in videos:
        frames = itertools.islice(prefetch(video.frames()), max_frames)
        largest = largest_weights(_keys(segmenter, frames, resolution), write_every_frames, kind)
        if not len(largest):
            raise InputError(
                f"{video.name}: a single frame; the memory is read by the frames after it"
            )
        by_sequence[video.name] = largest
    largest = np.concatenate(list(by_sequence.values()))
    return Spread(similarity=kind, largest=largest, by_sequence=by_sequence)


def _keys(segmenter: VideoSegmenter, frames: Iterable[Frame], resolution: int) -> Iterator[Tensor]:
    grid = None
    for frame in frames:
        grid = grid or Grid(frame.image.shape[:2], resolution)
        yield grid.keys(segmenter, frame.image)


def panels(spreads: Mapping[str, Spread]) -> Sequence[LinePanel]:
    """Two charts: the Lorenz curves, and how many elements ever exceed a weight."""
    weights = np.linspace(0, 1, _CURVE_POINTS + 1)
    lorenz, exceeding = [], []
    for name, spread in spreads.items():
        label = f"{name} ({spread.similarity}), Gini {100 * gini(spread.largest):.1f}"
        curve = [(100 * x, 100 * y) for x, y in lorenz_curve(spread.largest)]
        lorenz.append(Line(label, curve, markers=False))
        curve = [(100 * weight, 100 * spread.share_above(weight)) for weight in weights]
        exceeding.append(Line(label, curve, markers=False))
    lorenz.append(Line("all equal", [(0.0, 0.0), (100.0, 100.0)], markers=False))
    return [
        LinePanel(
            "share of the largest weights",
            "% of the elements, least used first",
            "% of the sum",
            lorenz,
            from_zero=True,
        ),
        LinePanel(
            "elements that ever exceed a weight",
            "weight, %",
            "% of the elements",
            exceeding,
            from_zero=True,
        ),
    ]


def run_affinity(flags: argparse.Namespace, folder: Path) -> tuple[str, dict[str, Any]]:
    """How evenly networks use the memory: the largest weight (full softmax) of each element."""
    layout = Layout.of(flags.data_path)
    videos, resolution = open_videos(flags, layout), working_resolution(flags, layout)
    spreads = {
        name: measure_spread(
            segmenter,
            videos,
            resolution=resolution,
            write_every_frames=flags.mem_every,
            max_frames=flags.max_frames,
        )
        for name, segmenter in _load_segmenters(flags).items()
    }
    subtitle = (
        f"{counted(len(videos), 'video')}, a frame in {flags.mem_every} memorised; full softmax, "
        "the largest weight of every element over its lifetime"
    )
    line_chart(folder / "affinity.png", "How evenly the memory is used", subtitle, panels(spreads))
    figures = {name: spread.figures() for name, spread in spreads.items()}
    return f"### Affinity: {subtitle}\n\n{_table(spreads)}", figures


def _load_segmenters(flags: argparse.Namespace) -> dict[str, VideoSegmenter]:
    """Load all networks, by name, before the first is measured."""
    similarities = _parse_named(flags.similarity, "--similarity")
    models = _parse_named(flags.model, "--model") or {"shipped": None}
    if unknown := sorted(set(similarities) - set(models)):
        names = " ".join(models)
        raise InputError(f"--similarity {unknown[0]}: no --model of this name; there are: {names}")
    return {
        name: load_segmenter(flags, path, similarities.get(name)) for name, path in models.items()
    }


def _table(spreads: Mapping[str, Spread]) -> str:
    above = [f"ever above {threshold:.0%}, %" for threshold in THRESHOLDS]
    rows = []
    for name, spread in spreads.items():
        shares = [percent(spread.share_above(threshold)) for threshold in THRESHOLDS]
        elements = f"{len(spread.largest):,}"
        rows.append((name, spread.similarity, elements, *shares, percent(gini(spread.largest))))
    header = ("network", "similarity", "memory elements", *above, "Gini, %")
    return markdown_table(header, rows)


def _parse_named(texts: Sequence[str] | None, flag: str) -> dict[str, str]:
    """The values of NAME=VALUE texts. Raises InputError for others, and for repeated names."""
    values = {}
    for text in texts or ():
        name, separator, value = text.partition("=")
        if not (name and separator and value):
            raise InputError(f"{flag} {text}: NAME=VALUE is expected")
        if name in values:
            raise InputError(f"{flag} {text}: {name} is given twice")
        values[name] = value
    return values


def add(commands: Commands) -> None:
    """Add the command and its flags."""
    parser = add_command(commands, "affinity", run_affinity)
    parser.add_argument(
        "--model",
        nargs="+",
        metavar="NAME=FILE",
        help="networks to compare (default: the shipped one)",
    )
    parser.add_argument(
        "--similarity",
        nargs="+",
        metavar="NAME=KIND",
        help="l2, dot or cosine, for networks whose files do not record it",
    )
    parser.add_argument(
        "--mem_every",
        type=at_least(1),
        default=5,
        metavar="N",
        help="memorise every N-th frame (default: %(default)s)",
    )
