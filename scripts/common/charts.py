"""Bar charts and line charts, drawn by matplotlib and written as PNG files.

Figures are made as objects, without pyplot: nothing is registered globally and no display is
needed.
"""

import dataclasses
import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from util.files import atomic_write

_INK, _FAINT, _GRID = "#1f2328", "#6e7781", "#e6e8eb"
_BAR_COLOURS = ("#b0b8c4", "#266bbf", "#d97b29", "#3f9a5f", "#8a5fb0", "#c2526b")
# Okabe and Ito's palette without yellow, and brown: readers with most kinds of colour blindness
# can tell them apart. With five markers and eight colours, 40 lines differ.
_LINE_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#3c3c3c",
    "#865c34",
)
_MARKERS = ("o", "D", "^", "p", "v")
_MARKERS_ON_A_LINE = 4
_HEADER_INCHES = 0.9  # a title, and a subtitle of up to two lines
_LEGEND_ROW_INCHES = 0.24
_CHARACTER_INCHES = 0.085  # of a legend's text, on average
# of a label from its point, in points: above, below, right, left
_LABEL_OFFSETS = ((0, 10, "center"), (0, -10, "center"), (8, 0, "left"), (-8, 0, "right"))


@dataclasses.dataclass(frozen=True)
class BarPanel:
    """One chart of bars: values[series][group], not negative."""

    title: str
    values: Sequence[Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a line chart; lines of one name look the same in all panels.

    labels: one text for each point, or none. markers: mark every point, otherwise a few, which
    tell lines of one colour apart.
    """

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()
    markers: bool = True


@dataclasses.dataclass(frozen=True)
class LinePanel:
    """One chart of lines. from_zero: both axes begin at 0."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    from_zero: bool = False


@dataclasses.dataclass(frozen=True)
class _Style:
    colour: str
    marker: str


def bar_chart(
    path: Path,
    title: str,
    subtitle: str,
    groups: Sequence[str],
    series: Sequence[str],
    panels: Sequence[BarPanel],
) -> None:
    """Write a PNG of panels side by side on one scale.

    Each panel has a group of bars for each of `groups`, with one bar for each of `series`.
    """
    width = max(7.0, 0.42 * len(groups) * (len(series) + 1))  # room for the figure above each bar
    figure = _figure(title, subtitle, series, width * len(panels), 5.4)
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    share = 0.75 / len(series)  # of a group's width, for one bar
    for axes, panel in zip(all_axes, panels, strict=True):
        _prepare_axes(axes, panel.title)
        for number, values in enumerate(panel.values):
            lefts = [group + (number - len(series) / 2) * share for group in range(len(groups))]
            colour = _BAR_COLOURS[number % len(_BAR_COLOURS)]
            bars = axes.bar(lefts, values, 0.9 * share, align="edge", color=colour)
            texts = [f"{value:.0f}" if value >= 100 else f"{value:.3g}" for value in values]
            axes.bar_label(bars, texts, padding=2, color=_INK, fontsize=9)
        axes.set_xticks(range(len(groups)), [_plain(group) for group in groups], color=_INK)
        axes.margins(y=0.08)
        handles = axes.containers
    _add_legend(figure, handles, series)
    _save(figure, path)


def line_chart(
    path: Path, title: str, subtitle: str, panels: Sequence[LinePanel], columns: int = 2
) -> None:
    """Write a PNG of panels, `columns` in a row, each on its own scales, above one legend.

    Lines without points are left out.
    """
    drawn = [line for panel in panels for line in panel.lines if line.points]
    names = list(dict.fromkeys(line.name for line in drawn))
    styles = {
        name: _Style(_LINE_COLOURS[number % len(_LINE_COLOURS)], _MARKERS[number % len(_MARKERS)])
        for number, name in enumerate(names)
    }
    columns = min(max(len(panels), 1), columns)
    rows = max(math.ceil(len(panels) / columns), 1)
    figure = _figure(title, subtitle, names, 7.0 * columns, 4.8 * rows)
    handles = {}
    for number, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, number)
        _prepare_axes(axes, panel.title)
        handles |= _draw_lines(axes, panel, styles)
    _add_legend(figure, list(handles.values()), list(handles))
    _add_labels(figure, panels, styles)
    _save(figure, path)


def _figure(title: str, subtitle: str, names: Sequence[str], width: float, height: float) -> Figure:
    """A figure of this size in inches, with a header above it and room for a legend below it."""
    height += _HEADER_INCHES
    if names:
        height += _LEGEND_ROW_INCHES * math.ceil(len(names) / _legend_columns(names, width))
    figure = Figure((width, height), dpi=100, facecolor="white", layout="constrained")
    header = _HEADER_INCHES / height
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - header), w_pad=0.1, h_pad=0.1)
    for text, inches_below, size, colour in (
        (title, 0.15, 16, _INK),
        (subtitle, 0.5, 10, _FAINT),
    ):
        y = 1 - inches_below / height
        figure.text(0.2 / width, y, _plain(text), va="top", fontsize=size, color=colour, wrap=True)
    return figure


def _legend_columns(names: Sequence[str], width: float) -> int:
    column_inches = 0.7 + _CHARACTER_INCHES * max(len(name) for name in names)
    return min(max(int(width / column_inches), 1), len(names))


def _prepare_axes(axes: Axes, title: str) -> None:
    axes.set_title(_plain(title), loc="left", fontsize=12, color=_INK)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=_GRID)
    axes.tick_params(length=0, labelcolor=_FAINT)
    axes.spines[["left", "right", "top"]].set_visible(False)


def _draw_lines(axes: Axes, panel: LinePanel, styles: dict[str, _Style]) -> dict[str, object]:
    """Draw a panel. Returns the drawn lines by name."""
    lines = [line for line in panel.lines if line.points]
    if not lines:
        axes.text(0.5, 0.5, "no figures", color=_FAINT, ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return {}
    axes.grid(axis="x", color=_GRID)
    axes.ticklabel_format(style="plain", useOffset=False)
    axes.set_xlabel(_plain(panel.x_label), color=_INK)
    axes.set_ylabel(_plain(panel.y_label), color=_INK)
    handles = {}
    for number, line in enumerate(lines):
        step = 1 if line.markers else max(len(line.points) // _MARKERS_ON_A_LINE, 1)
        style = styles[line.name]
        (handles[line.name],) = axes.plot(
            *zip(*line.points, strict=True),
            color=style.colour,
            marker=style.marker,
            markevery=(number % step, step),
            markersize=6,
            linewidth=1.6,
            zorder=3 + len(lines) - number,  # the first line on top
        )
    if panel.from_zero:
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
    return handles


def _add_legend(figure: Figure, handles: Iterable[object], names: Sequence[str]) -> None:
    """One legend for all panels, below them."""
    if not names:
        return
    legend = figure.legend(
        handles,
        [str(number) for number in range(len(names))],
        loc="outside lower left",
        ncols=_legend_columns(names, figure.get_size_inches()[0]),
        frameon=False,
        labelcolor=_INK,
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(_plain(name))  # given directly, names that begin with "_" would be hidden


def _add_labels(figure: Figure, panels: Sequence[LinePanel], styles: dict[str, _Style]) -> None:
    """Label the points wherever a label covers no other one and no point.

    A label without room is left out: the report's table has every figure.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()  # fixes where the axes lie
    for axes, panel in zip(figure.axes, panels, strict=True):
        lines = [line for line in panel.lines if line.points]
        points = [axes.transData.transform(point) for line in lines for point in line.points]
        taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in points]
        for line in lines:
            for point, label in zip(line.points, line.labels):
                for offset in _LABEL_OFFSETS:
                    text = _annotate(axes, label, point, offset, styles[line.name].colour)
                    box = text.get_window_extent(renderer)
                    if not any(box.overlaps(other) for other in taken):
                        taken.append(box)
                        break
                    text.remove()


def _annotate(
    axes: Axes, label: str, point: tuple[float, float], offset: tuple[int, int, str], colour: str
) -> Annotation:
    *shift, alignment = offset
    annotation = axes.annotate(
        _plain(label),
        point,
        shift,
        textcoords="offset points",
        ha=alignment,
        va="center",
        fontsize=9,
        color=colour,
        zorder=20,
    )
    annotation.set_in_layout(False)
    return annotation


def _plain(text: str) -> str:
    """Text that matplotlib shows unchanged: a dollar sign does not begin a formula."""
    return text.replace("$", r"\$")


def _save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings(), atomic_write(path) as file:
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # in names; drawn as a box
        figure.savefig(file, format="png")
