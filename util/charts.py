"""Curves of a training."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from util.canvas import COLOURS, FAINT, GRID, INK, Canvas, Points, Scale
from util.files import atomic_write
from util.run_record import METRICS_NAME, read_metrics
from util.text import counted

CURVES_NAME = "curves.png"
_WIDTH, _HEIGHT, _TOP = 760, 400, 64  # of one panel in pixels; above all of them
_LEFT_MARGIN, _RIGHT_MARGIN, _UPPER_MARGIN, _LOWER_MARGIN = 76, 36, 56, 44
_WINDOWS = 40  # a smoothed curve is the mean over this part of its points


@dataclasses.dataclass(frozen=True)
class _Panel:
    """One chart. names: entries of metrics.jsonl and what each is called. factor: from the entry to what is shown."""

    title: str
    names: Mapping[str, str]
    factor: float = 1.0
    from_zero: bool = False
    logarithmic: bool = False  # where the values span enough
    smoothed: bool = False  # the entries themselves stay behind it, pale
    few: bool = False  # each point is marked, and the best of the first curve is told


_PANELS = (
    _Panel("loss", {"loss": "loss"}, logarithmic=True, smoothed=True),
    _Panel(
        "IoU in training, last frame of each sample, %", {"iou": "IoU"}, factor=100, smoothed=True
    ),
    _Panel("learning rate", {"learning_rate": "learning rate"}, from_zero=True),
    _Panel(
        "validation, %",
        {"validation/j_and_f": "J&F", "validation/j": "J", "validation/f": "F"},
        factor=100,
        few=True,
    ),
)


def draw_curves(folder: Path, title: str) -> None:
    """FOLDER/curves.png from FOLDER/metrics.jsonl, whole or not at all: over the iterations, each of loss, IoU, learning rate and validation scores that is there."""
    entries = read_metrics(folder / METRICS_NAME)
    last = max((entry["iteration"] for entry in entries), default=0)
    panels = [(panel, _curves(entries, panel)) for panel in _PANELS]
    panels = [(panel, curves) for panel, curves in panels if curves]
    columns = min(max(len(panels), 1), 2)
    canvas = Canvas(columns * _WIDTH, _TOP + math.ceil(len(panels) / columns) * _HEIGHT)
    canvas.text(_LEFT_MARGIN, 22, title, INK, 24)
    canvas.text(
        columns * _WIDTH - _RIGHT_MARGIN,
        28,
        counted(last, "iteration") if entries else "nothing recorded yet",
        FAINT,
        16,
        anchor="ra",
    )
    for number, (panel, curves) in enumerate(panels):
        _draw_panel(
            canvas,
            number % columns * _WIDTH,
            _TOP + number // columns * _HEIGHT,
            panel,
            curves,
            last,
        )
    with atomic_write(folder / CURVES_NAME) as file:
        canvas.picture().save(file, format="PNG")


def _curves(entries: Sequence[Mapping[str, Any]], panel: _Panel) -> dict[str, Points]:
    """The panel's curves by what they are called, those that have points."""
    curves = {}
    for name, called in panel.names.items():
        found = ((entry["iteration"], entry.get(name)) for entry in entries)
        points = [
            (iteration, value * panel.factor)
            for iteration, value in found
            if isinstance(value, (int, float)) and math.isfinite(value)
        ]
        if points:
            curves[called] = points
    return curves


def _draw_panel(
    canvas: Canvas, left: int, top: int, panel: _Panel, curves: Mapping[str, Points], last: int
) -> None:
    axis, right, upper, base = (
        left + _LEFT_MARGIN,
        left + _WIDTH - _RIGHT_MARGIN,
        top + _UPPER_MARGIN,
        top + _HEIGHT - _LOWER_MARGIN,
    )
    across = Scale.of_iterations(last, (axis, right))
    values = [value for points in curves.values() for _, value in points]
    up = Scale.of_values(
        values, (base, upper), from_zero=panel.from_zero, logarithmic=panel.logarithmic
    )
    canvas.text(axis, top + 14, panel.title, INK, 18)
    if panel.few:
        called, points = next(iter(curves.items()))
        iteration, best = max(points, key=lambda point: point[1])
        canvas.text(
            axis + canvas.length(panel.title, 18) + 24,
            top + 16,
            f"best {called} {best:.1f} at {iteration:,}",
            FAINT,
            16,
        )
    for value in up.ticks:
        canvas.line([(axis, up.pixel(value)), (right, up.pixel(value))], GRID, 1)
        canvas.text(axis - 10, up.pixel(value), f"{value:.4g}", FAINT, 14, anchor="rm")
    canvas.line([(axis, base), (right, base)], INK, 1.5)
    for value in across.ticks:
        canvas.line([(across.pixel(value), base), (across.pixel(value), base + 5)], INK, 1.5)
        canvas.text(
            across.pixel(value),
            base + 11,
            f"{value / 1000:g}k" if value >= 1000 else f"{value:g}",
            FAINT,
            14,
            anchor="ma",
        )
    colours = dict(zip(curves, COLOURS[1:], strict=False))
    for called in reversed(curves):  # the first one on top
        _draw_curve(
            canvas,
            [(across.pixel(x), up.pixel(y)) for x, y in curves[called]],
            colours[called],
            panel,
        )
    if panel.few:
        _draw_legend(canvas, right, top + 14, colours)


def _draw_curve(
    canvas: Canvas, points: Points, colour: tuple[int, int, int], panel: _Panel
) -> None:
    window = len(points) // _WINDOWS
    if panel.smoothed and window >= 2:
        canvas.line(points, tuple(round(255 - 0.35 * (255 - channel)) for channel in colour), 1)
        points = _smoothed(points, window)
    canvas.line(points, colour, 2)
    if panel.few or len(points) == 1:
        for x, y in points:
            canvas.dot(x, y, 3.5, colour)


def _smoothed(points: Points, window: int) -> Points:
    """The mean over `window` points to each side, fewer at the ends."""
    sums = list(itertools.accumulate((y for _, y in points), initial=0.0))
    spans = (
        (max(number - window, 0), min(number + window + 1, len(points)))
        for number in range(len(points))
    )
    return [
        (x, (sums[end] - sums[start]) / (end - start))
        for (x, _), (start, end) in zip(points, spans, strict=True)
    ]


def _draw_legend(
    canvas: Canvas, right: float, y: float, colours: Mapping[str, tuple[int, int, int]]
) -> None:
    for called in reversed(colours):
        right -= canvas.length(called, 16)
        canvas.text(right, y + 1, called, INK, 16)
        canvas.line([(right - 26, y + 11), (right - 8, y + 11)], colours[called], 4)
        right -= 46
