"""What a bounded memory keeps, and what its elements are used for. Legend: N memory elements (pixels at stride 16), H W frame size.

An element is told by its frame and its position there. It is followed from the frame after it was written until it leaves, or the video ends.
"""

import argparse
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataset import Layout, Video, prefetch
from inference import VideoSegmenter
from inference.config import SYSTEMS
from inference.memory import POLICIES, MemoryBank
from inference.output.contact_sheet import ContactSheet
from scripts.common.charts import Line, LinePanel, line_chart
from scripts.common.tables import markdown_table
from util.errors import InputError
from util.flags import Commands, at_least
from util.text import counted

from .capacities import memory_settings, score_capacities, validators_of
from .command import add_command, add_model, percent, segmenter_of, videos_of
from .grid import Grid

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_DARKENED = 0.2  # what is left of a pixel's brightness where its element is gone
_CURVE_POINTS = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class ElementHistory:
    """All elements a memory held over a video, in order of time, each [N]. frames: positions among the frames segmented, from 0.

    uses: what the policy counts of the reads (how often an element was among the top-k, or the sum of its weights). ages: frames read while it was held, at least 1.
    alive: whether it was held when the video ended.
    """

    frames: np.ndarray
    positions: np.ndarray
    uses: np.ndarray
    ages: np.ndarray
    alive: np.ndarray

    @property
    def rates(self) -> np.ndarray:
        """Uses a frame."""
        return self.uses / self.ages

    def figures(self) -> dict[str, Any]:
        """Plain values: for those alive and those gone their number, the share never used, quantiles of uses a frame and of age; for each frame how much of it is alive."""
        parts = {"alive": self.alive, "gone": ~self.alive}
        return {
            **{
                name: _summary(self.rates[chosen], self.ages[chosen])
                for name, chosen in parts.items()
            },
            "frames": [
                {
                    "frame": int(frame),
                    "elements": int(of.sum()),
                    "alive": int((of & self.alive).sum()),
                    "uses_a_frame": float(self.rates[of].mean()),
                }
                for frame, of in ((frame, self.frames == frame) for frame in np.unique(self.frames))
            ],
        }


def _summary(rates: np.ndarray, ages: np.ndarray) -> dict[str, Any]:
    if not len(rates):
        return {"elements": 0}
    return {
        "elements": len(rates),
        "never_used": float((rates == 0).mean()),
        "uses_a_frame": {
            "mean": float(rates.mean()),
            **{f"{quantile:g}": float(np.quantile(rates, quantile)) for quantile in QUANTILES},
        },
        "age": {
            "mean": float(ages.mean()),
            **{f"{quantile:g}": float(np.quantile(ages, quantile)) for quantile in QUANTILES},
        },
    }


class _Recorder:
    """Follows the elements of a bank through its reads."""

    def __init__(self):
        self._held: dict[str, np.ndarray] = {
            "frames": np.zeros(0, np.int64),
            "positions": np.zeros(0, np.int64),
            "uses": np.zeros(0),
            "ages": np.zeros(0, np.int64),
        }
        self._gone: list[dict[str, np.ndarray]] = []

    def look(self, bank: MemoryBank, latest: int) -> None:
        """After frame `latest` has read the bank. Nothing is counted twice: it may be looked at again before the next has."""
        now = {
            name: getattr(bank, name).cpu().numpy().copy()
            for name in ("frames", "positions", "uses")
        }
        left = ~np.isin(_identities(self._held), _identities(now))
        if left.any():
            self._gone.append({name: values[left] for name, values in self._held.items()})
        self._held = {**now, "ages": latest - now["frames"]}

    def history(self) -> ElementHistory:
        parts = [*self._gone, self._held]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in self._held}
        alive = np.concatenate([np.full(len(part["frames"]), part is self._held) for part in parts])
        order = np.argsort(_identities(joined), kind="stable")
        return ElementHistory(
            **{name: values[order] for name, values in joined.items()}, alive=alive[order]
        )


def _identities(elements: Mapping[str, np.ndarray]) -> np.ndarray:
    return (elements["frames"] << 32) + elements["positions"]


def require_counting(segmenter: VideoSegmenter) -> None:
    """Raise InputError where the segmenter's memory counts no uses."""
    policy = segmenter.config.memory.policy
    if POLICIES[policy].usage is None:
        raise InputError(
            f"memory {policy} counts no uses; choose one that does, such as lfu, with --memory_frames as high as the video is long to drop nothing"
        )


def follow_elements(
    segmenter: VideoSegmenter, video: Video, *, max_frames: int | None = None, shown: int = 12
) -> tuple[ElementHistory, np.ndarray]:
    """Segment a video and follow the elements of its memory. Returns their history and a map of what is alive at the end: the frames that still hold elements,
    evenly chosen, bright where an element is alive; RGB uint8.

    Raises InputError where the memory's policy counts no uses, or the video has a single frame.
    """
    require_counting(segmenter)
    session, recorder, names = segmenter.session(), _Recorder(), []
    size = None
    for frame in itertools.islice(prefetch(video.frames()), max_frames):
        session.step(frame.image, frame.labels)
        names.append(frame.name)
        size = frame.image.shape[:2]
        if session.memory is not None:
            recorder.look(session.memory, session.frames_processed - 1)
    session.flush()  # of a clip system the last frames wait for the rest of their clip
    if session.memory is None:
        raise InputError(f"{video.name}: a single frame; the memory is read by the frames after it")
    recorder.look(session.memory, session.frames_processed - 1)
    history = recorder.history()
    return history, _alive_map(
        video, Grid(size, segmenter.config.resolution), history, names, shown
    )


def _alive_map(
    video: Video, grid: Grid, history: ElementHistory, names: Sequence[str], shown: int
) -> np.ndarray:
    """Frames that hold elements at the end, read again."""
    frames = np.unique(history.frames[history.alive])
    chosen = set(
        frames[
            np.unique(np.linspace(0, len(frames) - 1, min(shown, len(frames))).round().astype(int))
        ].tolist()
    )
    sheet = ContactSheet(shown)
    for index, frame in enumerate(itertools.islice(prefetch(video.frames()), max(chosen) + 1)):
        if index in chosen:
            cells = np.zeros(grid.shape[0] * grid.shape[1], bool)
            cells[history.positions[history.alive & (history.frames == index)]] = True
            sheet.add(
                f"{names[index]}: {cells.mean():.0%}",
                highlight(frame.image, grid.to_pixels(cells.astype(np.uint8)) > 0),
            )
    return sheet.picture()


def highlight(image: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """image uint8 RGB [H, W, 3] as it is where alive [H, W] is true, and dark grey elsewhere."""
    grey = image.mean(axis=2, keepdims=True) * _DARKENED
    return np.where(alive[..., None], image, grey).astype(np.uint8)


def panels(histories: Mapping[str, ElementHistory]) -> list[LinePanel]:
    """Two charts: how often elements are used, alive and gone; and how much of each frame is alive, over the part of the video that has passed since."""
    uses = []
    for name, chosen in (("alive at the end", True), ("gone", False)):
        rates = np.concatenate(
            [history.rates[history.alive == chosen] for history in histories.values()]
        )
        if len(rates):
            shares = np.linspace(0, 1, _CURVE_POINTS + 1)
            uses.append(
                Line(
                    name,
                    [(100 * share, float(np.quantile(rates, share))) for share in shares],
                    markers=False,
                )
            )
    alive = [
        Line(name, _alive_by_frame(history), markers=False) for name, history in histories.items()
    ]
    return [
        LinePanel(
            "how often elements are used",
            "% of the elements, least used first",
            "uses a frame",
            uses,
            from_zero=True,
        ),
        LinePanel(
            "what is left of each frame at the end",
            "frame",
            "% of its elements alive",
            alive,
            from_zero=True,
        ),
    ]


def _alive_by_frame(history: ElementHistory) -> list[tuple[float, float]]:
    return [
        (float(frame), 100 * float(history.alive[history.frames == frame].mean()))
        for frame in np.unique(history.frames)
    ]


def run_memory(flags: argparse.Namespace, folder: Path) -> tuple[str, dict[str, Any]]:
    """What a bounded memory keeps and how often its elements are used; with --capacities also accuracy against capacity."""
    videos, resolution = videos_of(flags, Layout.of(flags.data_path))
    bound = {} if flags.memory_frames is None else {"memory_frames": flags.memory_frames}
    segmenter = segmenter_of(
        flags,
        flags.model,
        flags.similarity,
        system=flags.system,
        resolution=resolution,
        **memory_settings(flags),
        **bound,
    )
    validators = validators_of(flags) if flags.capacities else None
    require_counting(segmenter)
    histories = {}
    for video in videos:
        histories[video.name], alive = follow_elements(
            segmenter, video, max_frames=flags.max_frames, shown=flags.shown
        )
        Image.fromarray(alive).save(folder / f"alive_{video.name}.png")
    held = f"memory {segmenter.config.memory.policy}, {counted(segmenter.config.memory.capacity_frames, 'frame')}"
    line_chart(
        folder / "use.png",
        "How a memory is used",
        f"{held}; {counted(len(videos), 'video')}",
        panels(histories),
    )
    text = f"### Memory use: {held}\n\n" + markdown_table(
        _USE_HEADER, [_use_row(name, history) for name, history in histories.items()]
    )
    figures: dict[str, Any] = {
        "memory": held,
        "videos": {name: history.figures() for name, history in histories.items()},
    }
    if validators is not None:
        table, figures["capacities"] = score_capacities(flags, folder, segmenter, validators)
        text += "\n\n" + table
    return text, figures


_USE_HEADER = (
    "video",
    "alive",
    "alive: oldest frame",
    "alive: mean age",
    "alive: uses a frame",
    "gone",
    "gone: mean age",
    "gone: uses a frame",
    "gone: never used, %",
)


def _use_row(name: str, history: ElementHistory) -> tuple[object, ...]:
    alive, gone = history.alive, ~history.alive
    means = [
        (f"{history.ages[part].mean():.1f}", f"{history.rates[part].mean():.2f}")
        if part.any()
        else ("", "")
        for part in (alive, gone)
    ]
    never = percent((history.uses[gone] == 0).mean()) if gone.any() else ""
    return (
        name,
        f"{alive.sum():,}",
        history.frames[alive].min(),
        *means[0],
        f"{gone.sum():,}",
        *means[1],
        never,
    )


def add(commands: Commands) -> None:
    """The command and its flags."""
    added = add_command(commands, "memory", run_memory)
    add_model(added)
    added.add_argument(
        "--system", choices=tuple(SYSTEMS), default="lfu", help="default: %(default)s"
    )
    added.add_argument("--memory", choices=tuple(POLICIES), help="another policy than the system's")
    added.add_argument(
        "--memory_frames",
        type=at_least(1),
        metavar="N",
        help="its capacity (default: the system's)",
    )
    added.add_argument(
        "--mem_every",
        type=at_least(1),
        metavar="N",
        help="memorise every N-th frame (default: the system's)",
    )
    added.add_argument(
        "--capacities",
        type=at_least(1),
        nargs="+",
        metavar="N",
        help="also score each capacity, and every-k and first-and-latest; needs every frame's truth",
    )
    added.add_argument(
        "--shown",
        type=at_least(1),
        default=12,
        metavar="N",
        help="frames in a map, at most (default: %(default)s)",
    )
