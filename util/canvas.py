"""What charts are drawn with, on Pillow so that no plotting library is needed: colours, a canvas, scales."""

import dataclasses
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]]

COLOURS: tuple[Colour, ...] = (
    (176, 184, 196),
    (38, 107, 191),
    (230, 145, 56),
    (84, 153, 84),
)  # of series, in order
INK, FAINT, GRID = (32, 36, 42), (105, 112, 122), (228, 231, 235)

_DETAIL = 2  # drawn so many times larger, since Pillow's lines have hard edges
_LOGARITHMIC_FROM = 5.0  # largest over smallest value
_ABSENT = str.maketrans({"×": "x", "–": "-", "−": "-", "…": "..."})  # not in Pillow's own font


def tick_step(span: float, ticks: int = 5) -> float:
    """A round distance between grid lines, giving about so many of them."""
    rough = max(span, 1e-12) / ticks
    power = 10 ** math.floor(math.log10(rough))
    return next(
        factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9)
    )


class Canvas:
    """A drawing in coordinates of the finished picture."""

    def __init__(self, width: int, height: int):
        self._size = width, height
        self._image = Image.new("RGB", (width * _DETAIL, height * _DETAIL), "white")
        self._draw = ImageDraw.Draw(self._image)

    def text(
        self, x: float, y: float, text: str, colour: Colour, size: int, anchor: str = "la"
    ) -> None:
        """anchor: which point of the text x, y is, as Pillow names it."""
        self._draw.text(
            (x * _DETAIL, y * _DETAIL),
            text.translate(_ABSENT),
            colour,
            ImageFont.load_default(size * _DETAIL),
            anchor=anchor,
        )

    def length(self, text: str, size: int) -> float:
        """The width that a text will take."""
        return (
            self._draw.textlength(text.translate(_ABSENT), ImageFont.load_default(size * _DETAIL))
            / _DETAIL
        )

    def line(self, points: Points, colour: Colour, width: float) -> None:
        self._draw.line(
            [(x * _DETAIL, y * _DETAIL) for x, y in points],
            colour,
            round(width * _DETAIL),
            joint="curve",
        )

    def dot(self, x: float, y: float, radius: float, colour: Colour) -> None:
        self._draw.ellipse(
            [
                (x - radius) * _DETAIL,
                (y - radius) * _DETAIL,
                (x + radius) * _DETAIL,
                (y + radius) * _DETAIL,
            ],
            colour,
        )

    def polygon(self, points: Points, colour: Colour) -> None:
        self._draw.polygon([(x * _DETAIL, y * _DETAIL) for x, y in points], colour)

    def picture(self) -> Image.Image:
        return self._image.resize(self._size, Image.Resampling.BOX)


@dataclasses.dataclass(frozen=True)
class Scale:
    """Values to pixels along one axis: its ends in values and in pixels, and where its grid lines are."""

    ends: tuple[float, float]
    pixels: tuple[float, float]
    ticks: Sequence[float]
    logarithmic: bool = False

    @staticmethod
    def of_iterations(last: int, pixels: tuple[float, float]) -> "Scale":
        last = max(last, 1)
        step = max(tick_step(last), 1)
        return Scale((0, last), pixels, [number * step for number in range(int(last / step) + 1)])

    @staticmethod
    def of_values(
        values: Sequence[float],
        pixels: tuple[float, float],
        *,
        from_zero: bool = False,
        logarithmic: bool = False,
    ) -> "Scale":
        """Around all values, of which there is at least one; a linear scale ends at grid lines. logarithmic: where they span enough for it."""
        lowest, highest = min(values), max(values)
        if logarithmic and 0 < lowest * _LOGARITHMIC_FROM < highest:
            return Scale(
                (lowest / 1.1, highest * 1.1),
                pixels,
                [value for value in _round_values(lowest, highest) if lowest <= value <= highest],
                True,
            )
        lowest = min(lowest, 0.0) if from_zero else lowest
        step = tick_step(highest - lowest or abs(highest) or 1.0)
        first, end = math.floor(lowest / step + 1e-9), math.ceil(highest / step - 1e-9)
        end += end == first
        return Scale(
            (first * step, end * step), pixels, [number * step for number in range(first, end + 1)]
        )

    def pixel(self, value: float) -> float:
        value, first, last = (math.log10(v) if self.logarithmic else v for v in (value, *self.ends))
        return self.pixels[0] + (value - first) / (last - first) * (self.pixels[1] - self.pixels[0])


def _round_values(lowest: float, highest: float) -> list[float]:
    """Powers of ten and, where these are few, round values between them."""
    powers = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)
    between = (1, 2, 3, 5, 7) if len(powers) <= 3 else (1, 2, 5) if len(powers) == 4 else (1,)
    return [factor * 10.0**power for power in powers for factor in between]
