"""The curves of a training, drawn by matplotlib from its metrics.

The figure is made as an object, without pyplot: no display is needed and nothing is registered
globally.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from util.files import atomic_write
from util.run_record import METRICS_NAME, read_metrics
from util.text import counted

CURVES_NAME = "curves.png"
COLOURS = ("#266bbf", "#e69138", "#549954")  # of a panel's curves, in order
_INK, _FAINT, _GRID = "#20242a", "#69707a", "#e4e7eb"
_PANEL_INCHES, _HEADER_INCHES, _DOTS_PER_INCH = (7.6, 4.0), 0.6, 100
# around the axes of a panel: left, right, above (title), below
_MARGINS_INCHES = (0.8, 0.2, 0.45, 0.4)
_SMOOTHED_SHARE = 1 / 40  # of a curve's points, to each side of the mean
_LOGARITHMIC_FROM = 5.0  # largest over smallest value


@dataclasses.dataclass(frozen=True)
class _Panel:
    """One chart. curves: name of an entry of metrics.jsonl → its name in the legend."""

    title: str
    curves: Mapping[str, str]
    factor: float = 1.0  # from the entry to the value shown
    from_zero: bool = False
    logarithmic: bool = False  # if the values span enough
    smoothed: bool = False  # over the entries themselves, which are pale
    sparse: bool = False  # each point is marked, and the best of the first curve is named


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
        sparse=True,
    ),
)


def draw_curves(folder: Path, title: str) -> None:
    """Write FOLDER/curves.png from FOLDER/metrics.jsonl, atomically.

    It shows loss, IoU, learning rate and validation scores over the iterations, each if there are
    entries of it. Raises OSError if the file cannot be written.
    """
    entries = read_metrics(folder / METRICS_NAME)
    last = max((entry["iteration"] for entry in entries), default=0)
    panels = [(panel, _read_curves(entries, panel)) for panel in _PANELS]
    panels = [(panel, curves) for panel, curves in panels if curves]
    columns = min(max(len(panels), 1), 2)
    rows = math.ceil(len(panels) / columns)
    width, height = columns * _PANEL_INCHES[0], rows * _PANEL_INCHES[1] + _HEADER_INCHES
    figure = Figure((width, height), dpi=_DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    left, right, *_ = _MARGINS_INCHES
    style = {"y": 1 - _HEADER_INCHES / 2 / height, "va": "center", "parse_math": False}
    figure.text(left / width, s=title, ha="left", fontsize=16, color=_INK, **style)
    length = counted(last, "iteration") if entries else "nothing recorded yet"
    figure.text(1 - right / width, s=length, ha="right", fontsize=11, color=_FAINT, **style)
    for number, (panel, curves) in enumerate(panels):
        row, column = divmod(number, columns)
        _draw_panel(_add_axes(figure, row, column), panel, curves, last)
    with atomic_write(folder / CURVES_NAME) as file:
        figure.savefig(file, format="png")


def _read_curves(
    entries: Sequence[Mapping[str, Any]], panel: _Panel
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Iterations and values of each curve that has points, by its name in the legend."""
    curves = {}
    for name, label in panel.curves.items():
        points = [
            (entry["iteration"], value * panel.factor)
            for entry in entries
            if isinstance(value := entry.get(name), (int, float)) and math.isfinite(value)
        ]
        if points:
            iterations, values = np.array(points, dtype=float).T
            curves[label] = iterations, values
    return curves


def _add_axes(figure: Figure, row: int, column: int) -> Axes:
    """The axes of the panel in this row and column of the grid below the header."""
    width, height = figure.get_size_inches()
    left, right, above, below = _MARGINS_INCHES
    bottom = height - _HEADER_INCHES - (row + 1) * _PANEL_INCHES[1] + below
    bounds = (
        (column * _PANEL_INCHES[0] + left) / width,
        bottom / height,
        (_PANEL_INCHES[0] - left - right) / width,
        (_PANEL_INCHES[1] - above - below) / height,
    )
    return figure.add_axes(bounds)


def _draw_panel(
    axes: Axes, panel: _Panel, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], last: int
) -> None:
    for order, ((label, (iterations, values)), colour) in enumerate(
        zip(curves.items(), COLOURS, strict=False)
    ):
        half_window = int(len(values) * _SMOOTHED_SHARE)
        if panel.smoothed and half_window >= 2:
            axes.plot(iterations, values, color=colour, alpha=0.35, linewidth=0.8)
            values = _smooth(values, half_window)
        style = {"color": colour, "linewidth": 1.8, "markersize": 5}
        if panel.sparse or len(values) == 1:
            style["marker"] = "o"
        axes.plot(iterations, values, label=label, zorder=3 - 0.1 * order, **style)
    axes.set_title(_panel_title(panel, curves), loc="left", fontsize=12, color=_INK)
    axes.grid(axis="y", color=_GRID)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, labelcolor=_FAINT, color=_FAINT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlim(0, max(last, 1) * 1.01)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: _short_count(value))
    _scale_values(axes, panel, np.concatenate([values for _, values in curves.values()]))
    if panel.sparse:
        axes.legend(loc="lower right", fontsize=10, frameon=False)


def _panel_title(panel: _Panel, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    if not panel.sparse:
        return panel.title
    label, (iterations, values) = next(iter(curves.items()))
    best = int(values.argmax())
    return f"{panel.title}   best {label} {values[best]:.1f} at {int(iterations[best]):,}"


def _scale_values(axes: Axes, panel: _Panel, values: np.ndarray) -> None:
    if panel.logarithmic and 0 < values.min() * _LOGARITHMIC_FROM < values.max():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    elif panel.from_zero:
        axes.set_ylim(bottom=min(values.min(), 0.0))
    axes.yaxis.set_major_formatter("{x:.4g}")


def _short_count(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _smooth(values: np.ndarray, half_window: int) -> np.ndarray:
    """The mean over `half_window` values to each side, fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    positions = np.arange(len(values))
    starts = np.maximum(positions - half_window, 0)
    ends = np.minimum(positions + half_window + 1, len(values))
    return (sums[ends] - sums[starts]) / (ends - starts)
