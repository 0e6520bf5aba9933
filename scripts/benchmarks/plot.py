"""Bar charts and line charts drawn with Pillow, so that no plotting library is needed."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from util.canvas import COLOURS, FAINT, GRID, INK, Canvas, Colour, Points, Scale, tick_step
from util.files import atomic_write

_PANEL_WIDTH, _PLOT_HEIGHT, _MARGIN = 820, 420, 60  # a panel is at least so wide
_BAR_WIDTH, _GROUP_SHARE = 40, 0.72  # a bar at least, for its figure; what its bars take of a group
_TITLE_HEIGHT, _LEGEND_HEIGHT, _FOOT_HEIGHT = 92, 60, 64

_LINE_PANEL_WIDTH, _LINE_PANEL_HEIGHT, _LINE_TOP = 760, 520, 84
_LINE_LEFT, _LINE_RIGHT, _LINE_UPPER, _LINE_LOWER = 84, 40, 48, 66  # margins within a panel
_LEGEND_ROW, _LEGEND_GAP = 30, 34
_MARKERS_ON_A_LINE = 4
# apart from one another for most colour-blind readers too: those of Okabe and Ito, less yellow, and brown
_LINE_COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (230, 159, 0),
    (60, 60, 60),
    (134, 92, 52),
)
# sides of the polygon at each point and the turn of its first corner, in parts of a whole: with 8 colours, 40 lines that differ
_MARKERS = ((math.inf, 0.0), (4, 0.75), (3, 0.75), (5, 0.75), (3, 0.25))


@dataclasses.dataclass(frozen=True)
class Panel:
    """One chart: values[series][group]."""

    title: str
    values: Sequence[Sequence[float]]


def bar_chart(
    path: Path,
    title: str,
    subtitle: str,
    groups: Sequence[str],
    series: Sequence[str],
    panels: Sequence[Panel],
) -> None:
    """Write a PNG of panels side by side on one scale, each with a group of bars for each of `groups`, a bar for each of `series`."""
    panel_width = max(
        _PANEL_WIDTH, round(96 + len(groups) * len(series) * _BAR_WIDTH / _GROUP_SHARE)
    )
    width = len(panels) * panel_width + _MARGIN
    height = _TITLE_HEIGHT + _LEGEND_HEIGHT + _PLOT_HEIGHT + _FOOT_HEIGHT + 30
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    draw.text((_MARGIN, 26), title, INK, ImageFont.load_default(28))
    draw.text((_MARGIN, 64), subtitle, FAINT, ImageFont.load_default(18))
    _draw_legend(draw, series, width)
    largest = max(value for panel in panels for row in panel.values for value in row)
    step = tick_step(largest)
    top = step * math.ceil(largest * 1.06 / step)
    for number, panel in enumerate(panels):
        _draw_panel(draw, _MARGIN + number * panel_width, panel_width, panel, groups, top, step)
    with atomic_write(path) as file:
        image.save(file, format="PNG")


def _draw_legend(draw: ImageDraw.ImageDraw, series: Sequence[str], width: int) -> None:
    font = ImageFont.load_default(20)
    right = width - _MARGIN / 2
    for number in reversed(range(len(series))):
        right -= draw.textlength(series[number], font)
        draw.text((right, 30), series[number], INK, font)
        draw.rectangle((right - 28, 34, right - 10, 52), COLOURS[number % len(COLOURS)])
        right -= 56


def _draw_panel(
    draw: ImageDraw.ImageDraw,
    left: int,
    width: int,
    panel: Panel,
    groups: Sequence[str],
    top: float,
    step: float,
) -> None:
    first_line, base = _TITLE_HEIGHT + _LEGEND_HEIGHT, _TITLE_HEIGHT + _LEGEND_HEIGHT + _PLOT_HEIGHT
    axis, right = left + 56, left + width - 40
    draw.text((axis, first_line - 44), panel.title, INK, ImageFont.load_default(22))
    tick_font, value_font, group_font = (ImageFont.load_default(size) for size in (16, 17, 19))
    for number in range(round(top / step) + 1):
        y = base - number * step / top * _PLOT_HEIGHT
        draw.line((axis, y, right, y), INK if number == 0 else GRID, 2 if number == 0 else 1)
        draw.text((axis - 10, y), f"{number * step:g}", FAINT, tick_font, anchor="rm")
    group_width = (right - axis) / len(groups)
    bar_width = group_width * _GROUP_SHARE / len(panel.values)
    for group, name in enumerate(groups):
        centre = axis + (group + 0.5) * group_width
        draw.text((centre, base + 14), name, INK, group_font, anchor="ma")
        for number, row in enumerate(panel.values):
            x = centre + (number - len(panel.values) / 2) * bar_width
            y = base - row[group] / top * _PLOT_HEIGHT
            draw.rectangle(
                (x + 2, min(y, base - 1), x + bar_width - 2, base - 1),
                COLOURS[number % len(COLOURS)],
            )
            draw.text((x + bar_width / 2, y - 6), _short(row[group]), INK, value_font, anchor="ms")


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a line chart. labels: beside the points, none or one each. markers: at every point, otherwise at some, which tell lines of one colour apart.

    A line of a name looks the same in all panels.
    """

    name: str
    points: Points
    labels: Sequence[str] = ()
    markers: bool = True


@dataclasses.dataclass(frozen=True)
class LinePanel:
    """One chart of lines over an axis of numbers. from_zero: both axes begin at 0."""

    title: str
    across: str  # what the axes say
    up: str
    lines: Sequence[Line]
    from_zero: bool = False


@dataclasses.dataclass(frozen=True)
class _Look:
    """Of a line, the same in all panels and in the legend."""

    colour: Colour
    marker: tuple[float, float]

    def draw(self, canvas: Canvas, places: Points, markers_at: Points) -> None:
        if len(places) > 1:
            canvas.line(places, self.colour, 2)
        sides, turn = self.marker
        for x, y in markers_at:
            if math.isinf(sides):
                canvas.dot(x, y, 5, self.colour)
            else:
                angles = (2 * math.pi * (number / sides + turn) for number in range(int(sides)))
                canvas.polygon(
                    [(x + 6.5 * math.cos(angle), y + 6.5 * math.sin(angle)) for angle in angles],
                    self.colour,
                )


def line_chart(
    path: Path, title: str, subtitle: str, panels: Sequence[LinePanel], columns: int = 2
) -> None:
    """Write a PNG of panels, `columns` in a row, each on scales of its own, with one legend for all of them below. Lines without points are left out."""
    lines = [line for panel in panels for line in panel.lines if line.points]
    names = list(dict.fromkeys(line.name for line in lines))
    looks = {
        name: _Look(_LINE_COLOURS[number % len(_LINE_COLOURS)], _MARKERS[number % len(_MARKERS)])
        for number, name in enumerate(names)
    }
    columns = min(max(len(panels), 1), columns)
    width, base = (
        columns * _LINE_PANEL_WIDTH,
        _LINE_TOP + -(-len(panels) // columns) * _LINE_PANEL_HEIGHT,
    )
    rows = _legend_rows(names, width - _LINE_LEFT - _LINE_RIGHT)
    canvas = Canvas(width, base + _LEGEND_ROW * len(rows) + 16)
    canvas.text(_LINE_LEFT, 18, title, INK, 24)
    canvas.text(_LINE_LEFT, 52, subtitle, FAINT, 15)
    for number, panel in enumerate(panels):
        _draw_line_panel(
            canvas,
            number % columns * _LINE_PANEL_WIDTH,
            _LINE_TOP + number // columns * _LINE_PANEL_HEIGHT,
            panel,
            looks,
        )
    for number, row in enumerate(rows):
        y = base + _LEGEND_ROW * number + 12
        for x, name in row:
            left = _LINE_LEFT + x
            looks[name].draw(canvas, [(left, y), (left + 26, y)], [(left + 13, y)])
            canvas.text(left + 36, y, name, INK, 16, anchor="lm")
    with atomic_write(path) as file:
        canvas.picture().save(file, format="PNG")


def _legend_rows(names: Sequence[str], width: float) -> list[list[tuple[float, str]]]:
    """Where each name stands, row by row."""
    measure, rows, x = Canvas(1, 1), [[]], 0.0
    for name in names:
        needed = 36 + measure.length(name, 16)
        if rows[-1] and x + needed > width:
            rows.append([])
            x = 0.0
        rows[-1].append((x, name))
        x += needed + _LEGEND_GAP
    return rows


def _draw_line_panel(
    canvas: Canvas, left: int, top: int, panel: LinePanel, looks: Mapping[str, _Look]
) -> None:
    axis, right, upper, base = (
        left + _LINE_LEFT,
        left + _LINE_PANEL_WIDTH - _LINE_RIGHT,
        top + _LINE_UPPER,
        top + _LINE_PANEL_HEIGHT - _LINE_LOWER,
    )
    lines = [line for line in panel.lines if line.points]
    canvas.text(axis, top + 10, panel.title, INK, 18)
    if not lines:
        canvas.text(axis, upper, "no figures", FAINT, 16)
        return
    values = list(zip(*(point for line in lines for point in line.points), strict=True))
    across = Scale.of_values(values[0], (axis, right), from_zero=panel.from_zero)
    up = Scale.of_values(values[1], (base, upper), from_zero=panel.from_zero)
    for value in up.ticks:
        canvas.line([(axis, up.pixel(value)), (right, up.pixel(value))], GRID, 1)
        canvas.text(axis - 10, up.pixel(value), f"{value:,.6g}", FAINT, 14, anchor="rm")
    for value in across.ticks:
        canvas.line([(across.pixel(value), upper), (across.pixel(value), base)], GRID, 1)
        canvas.text(across.pixel(value), base + 11, f"{value:,.6g}", FAINT, 14, anchor="ma")
    canvas.line([(axis, base), (right, base)], INK, 1.5)
    canvas.text(right, base + 34, panel.across, INK, 16, anchor="ra")
    canvas.text(right, top + 12, panel.up, INK, 16, anchor="ra")
    places = [[(across.pixel(x), up.pixel(y)) for x, y in line.points] for line in lines]
    for line, points in reversed(list(zip(lines, places, strict=True))):  # the first one on top
        apart = 1 if line.markers else max(len(points) // _MARKERS_ON_A_LINE, 1)
        looks[line.name].draw(canvas, points, points[lines.index(line) % apart :: apart])
    taken = [(x - 6, y - 6, x + 6, y + 6) for points in places for x, y in points]
    for line, points in zip(lines, places, strict=True):
        for (x, y), label in zip(points, line.labels):
            _draw_label(canvas, x, y, label, looks[line.name].colour, taken)


def _draw_label(
    canvas: Canvas,
    x: float,
    y: float,
    label: str,
    colour: Colour,
    taken: list[tuple[float, float, float, float]],
) -> None:
    """Beside its point where there is room, otherwise not at all: the table has every figure."""
    half, size = canvas.length(label, 13) / 2, 13
    for centre_x, centre_y in ((x, y - 15), (x, y + 15), (x + half + 11, y), (x - half - 11, y)):
        box = (centre_x - half, centre_y - size / 2, centre_x + half, centre_y + size / 2)
        if not any(
            box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
            for other in taken
        ):
            taken.append(box)
            canvas.text(centre_x, centre_y, label, colour, size, anchor="mm")
            return
