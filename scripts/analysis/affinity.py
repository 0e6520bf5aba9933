"""How evenly networks spread their affinity over the memory. Legend: N memory elements (pixels at stride 16), M query positions, C^k key channels.

Keys depend on the frames alone, so nothing needs to be segmented: every k-th frame's keys are the memory, and each frame reads the keys before it with the
full softmax, not the top-k. What is kept of an element is the largest weight it ever reached. Source: STCN, section 4.3 and Figure 4.
"""

import argparse
import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset import Frame, Layout, VideoDataset, prefetch
from inference import VideoSegmenter
from model.config import Similarity
from model.matching import similarity
from scripts.common.charts import Line, LinePanel, line_chart
from scripts.common.tables import markdown_table
from util.errors import InputError
from util.flags import Commands, at_least
from util.text import counted

from .command import add_command, percent, segmenter_of, videos_of
from .grid import Grid

THRESHOLDS = (0.01, 0.1)
_CHUNK_ELEMENTS = 8 * 1024 * 1024  # weights held at a time
_CURVE_POINTS = 100


def largest_weights(
    keys: Iterable[Tensor], write_every_frames: int, kind: Similarity
) -> np.ndarray:
    """The largest softmax weight of every memory element over its lifetime, float32 [N], in order of time.

    keys: those of each frame of a video, [M, C^k]. The first frame and every `write_every_frames`-th after it are memorised; an element lives from the frame
    after its own to the end, and the last frame is never memorised. Weights are those of each query position over all elements, which sum to 1.
    """
    memory: list[Tensor] = []
    largest: list[Tensor] = []
    waiting = None
    for index, key in enumerate(keys):
        if waiting is not None:  # memorised when a next frame comes to read it
            memory.append(waiting)
            largest.append(waiting.new_zeros(len(waiting)))
        if memory:
            elements = torch.cat(memory)
            reached = torch.stack(
                [
                    _largest_of(elements, part, kind)
                    for part in key.split(max(_CHUNK_ELEMENTS // len(elements), 1))
                ]
            ).amax(0)
            largest = [
                torch.maximum(before, now)
                for before, now in zip(
                    largest, reached.split([len(part) for part in memory]), strict=True
                )
            ]
        waiting = key if index % write_every_frames == 0 else None
    return torch.cat(largest).cpu().numpy() if largest else np.zeros(0, np.float32)


def _largest_of(memory_key: Tensor, query_key: Tensor, kind: Similarity) -> Tensor:
    with torch.no_grad():
        return similarity(memory_key, query_key, kind=kind).softmax(-1).amax(0)


def gini(values: np.ndarray) -> float:
    """The Gini coefficient of values [N] ≥ 0: 0 where all are equal, towards 1 where one has everything. Raises ValueError for none, or a sum of zero."""
    total = values.sum(dtype=np.float64)
    if not len(values) or total <= 0:
        raise ValueError("the Gini coefficient needs values with a sum above zero")
    ranks = np.arange(1, len(values) + 1)
    return float(
        2 * (ranks * np.sort(values)).sum(dtype=np.float64) / (len(values) * total)
        - (len(values) + 1) / len(values)
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
    """What is told of one network. largest: of all sequences' elements, [N]."""

    similarity: str
    largest: np.ndarray
    by_sequence: Mapping[str, np.ndarray]

    def above(self, weight: float) -> float:
        """The fraction of all elements that ever exceed a weight."""
        return float((self.largest > weight).mean())

    def figures(self) -> dict[str, Any]:
        """Plain values: elements, fractions above the thresholds, Gini; of each sequence too; the Lorenz curve."""
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


def spread(
    segmenter: VideoSegmenter,
    videos: VideoDataset,
    *,
    resolution: int,
    write_every_frames: int,
    max_frames: int | None = None,
) -> Spread:
    """Measure one network on all videos, each from its first mask on. max_frames: of each. Raises InputError for a video of a single frame."""
    kind = segmenter.network.config.similarity
    by_sequence = {}
    for video in videos:
        keys = _keys(segmenter, itertools.islice(prefetch(video.frames()), max_frames), resolution)
        by_sequence[video.name] = largest_weights(keys, write_every_frames, kind)
        if not len(by_sequence[video.name]):
            raise InputError(
                f"{video.name}: a single frame; the memory is read by the frames after it"
            )
    return Spread(
        similarity=kind, largest=np.concatenate(list(by_sequence.values())), by_sequence=by_sequence
    )


def _keys(segmenter: VideoSegmenter, frames: Iterable[Frame], resolution: int) -> Iterable[Tensor]:
    grid = None
    for frame in frames:
        grid = grid or Grid(frame.image.shape[:2], resolution)
        yield grid.keys(segmenter, frame.image)


def lorenz_curve(values: np.ndarray) -> list[tuple[float, float]]:
    """(share of the elements, the least first; share of the sum of all values that is theirs), both from 0 to 1."""
    shares = np.concatenate([[0.0], np.cumsum(np.sort(values), dtype=np.float64)])
    shares /= shares[-1]
    places = np.unique(np.linspace(0, len(values), _CURVE_POINTS + 1).round().astype(int))
    return [(place / len(values), float(shares[place])) for place in places]


def panels(spreads: Mapping[str, Spread]) -> Sequence[LinePanel]:
    """Two charts: who has how much of the maxima, and how many elements ever reach a weight."""
    equal = Line("all equal", [(0.0, 0.0), (100.0, 100.0)], markers=False)
    named = {
        f"{name} ({each.similarity}), Gini {100 * gini(each.largest):.1f}": each
        for name, each in spreads.items()
    }
    lorenz = [
        Line(name, [(100 * x, 100 * y) for x, y in lorenz_curve(each.largest)], markers=False)
        for name, each in named.items()
    ]
    weights = np.linspace(0, 1, _CURVE_POINTS + 1)
    reached = [
        Line(name, [(100 * weight, 100 * each.above(weight)) for weight in weights], markers=False)
        for name, each in named.items()
    ]
    return [
        LinePanel(
            "share of the largest weights",
            "% of the elements, least used first",
            "% of the sum",
            [*lorenz, equal],
            from_zero=True,
        ),
        LinePanel(
            "elements that ever exceed a weight",
            "weight, %",
            "% of the elements",
            reached,
            from_zero=True,
        ),
    ]


def run_affinity(flags: argparse.Namespace, folder: Path) -> tuple[str, dict[str, Any]]:
    """How evenly networks spread their affinity: the largest weight (full softmax) that every memory element ever reaches."""
    videos, resolution = videos_of(flags, Layout.of(flags.data_path))
    similarities = _named(flags.similarity, "--similarity")
    models = _named(flags.model, "--model") or {"shipped": None}
    if unknown := sorted(set(similarities) - set(models)):
        raise InputError(
            f"--similarity {unknown[0]}: no --model of this name; there are: {' '.join(models)}"
        )
    segmenters = {
        name: segmenter_of(flags, path, similarities.get(name)) for name, path in models.items()
    }
    spreads = {}
    for name, segmenter in segmenters.items():
        spreads[name] = spread(
            segmenter,
            videos,
            resolution=resolution,
            write_every_frames=flags.mem_every,
            max_frames=flags.max_frames,
        )
    rows = [
        (
            name,
            each.similarity,
            f"{len(each.largest):,}",
            *(percent(each.above(threshold)) for threshold in THRESHOLDS),
            percent(gini(each.largest)),
        )
        for name, each in spreads.items()
    ]
    table = markdown_table(
        (
            "network",
            "similarity",
            "memory elements",
            *(f"ever above {threshold:.0%}, %" for threshold in THRESHOLDS),
            "Gini, %",
        ),
        rows,
    )
    subtitle = f"{counted(len(videos), 'video')}, a frame in {flags.mem_every} memorised; full softmax, the largest weight of every element over its lifetime"
    line_chart(folder / "affinity.png", "How evenly the memory is used", subtitle, panels(spreads))
    return f"### Affinity: {subtitle}\n\n{table}", {
        name: each.figures() for name, each in spreads.items()
    }


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


def add(commands: Commands) -> None:
    """The command and its flags."""
    added = add_command(commands, "affinity", run_affinity)
    added.add_argument(
        "--model",
        nargs="+",
        metavar="NAME=FILE",
        help="networks to compare (default: the shipped one)",
    )
    added.add_argument(
        "--similarity",
        nargs="+",
        metavar="NAME=KIND",
        help="l2, dot or cosine, for networks whose files do not tell",
    )
    added.add_argument(
        "--mem_every",
        type=at_least(1),
        default=5,
        metavar="N",
        help="memorise every N-th frame (default: %(default)s)",
    )
