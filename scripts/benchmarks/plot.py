"""A bar chart drawn with Pillow, so that no plotting library is needed."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from util.curves import COLOURS, FAINT, GRID, INK, tick_step
from util.files import atomic_write

_PANEL_WIDTH, _PLOT_HEIGHT, _MARGIN = 820, 420, 60
_TITLE_HEIGHT, _LEGEND_HEIGHT, _FOOT_HEIGHT = 92, 60, 64


@dataclasses.dataclass(frozen=True)
class Panel:
    """One chart: values[series][group]."""

    title: str
    values: Sequence[Sequence[float]]


def bar_chart(path: Path, title: str, subtitle: str, groups: Sequence[str], series: Sequence[str], panels: Sequence[Panel]) -> None:
    """Write a PNG of panels side by side on one scale, each with a group of bars for each of `groups`, a bar for each of `series`."""
    width = len(panels) * _PANEL_WIDTH + _MARGIN
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
        _draw_panel(draw, _MARGIN + number * _PANEL_WIDTH, panel, groups, top, step)
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


def _draw_panel(draw: ImageDraw.ImageDraw, left: int, panel: Panel, groups: Sequence[str], top: float, step: float) -> None:
    first_line, base = _TITLE_HEIGHT + _LEGEND_HEIGHT, _TITLE_HEIGHT + _LEGEND_HEIGHT + _PLOT_HEIGHT
    axis, right = left + 56, left + _PANEL_WIDTH - 40
    draw.text((axis, first_line - 44), panel.title, INK, ImageFont.load_default(22))
    tick_font, value_font, group_font = (ImageFont.load_default(size) for size in (16, 17, 19))
    for number in range(round(top / step) + 1):
        y = base - number * step / top * _PLOT_HEIGHT
        draw.line((axis, y, right, y), INK if number == 0 else GRID, 2 if number == 0 else 1)
        draw.text((axis - 10, y), f"{number * step:g}", FAINT, tick_font, anchor="rm")
    group_width = (right - axis) / len(groups)
    bar_width = group_width * 0.72 / len(panel.values)
    for group, name in enumerate(groups):
        centre = axis + (group + 0.5) * group_width
        draw.text((centre, base + 14), name, INK, group_font, anchor="ma")
        for number, row in enumerate(panel.values):
            x = centre + (number - len(panel.values) / 2) * bar_width
            y = base - row[group] / top * _PLOT_HEIGHT
            draw.rectangle((x + 2, min(y, base - 1), x + bar_width - 2, base - 1), COLOURS[number % len(COLOURS)])
            draw.text((x + bar_width / 2, y - 6), _short(row[group]), INK, value_font, anchor="ms")


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
