"""Charts: what is drawn lies where its values are. Read from the pixels of the written files."""

import numpy as np
import pytest
from PIL import Image

from scripts.common.charts import BarPanel, Line, LinePanel, bar_chart, line_chart

FIRST_BARS, SECOND_BARS = (176, 184, 196), (38, 107, 191)
FIRST_LINE, SECOND_LINE = (0, 114, 178), (213, 94, 0)


def mask_of(path, colour: tuple[int, int, int]) -> np.ndarray:
    """Where the picture has this colour: bool [H, W]."""
    with Image.open(path) as picture:
        return (np.array(picture.convert("RGB")) == colour).all(-1)


def column_heights(mask: np.ndarray) -> list[int]:
    """Pixels of each bar's middle column, from left to right."""
    counts = mask.sum(0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], counts > 0, [0]]).astype(int)))
    return [int(counts[(left + right) // 2]) for left, right in edges.reshape(-1, 2)]


def test_bars_are_as_high_as_their_values_and_start_at_zero(tmp_path):
    path = tmp_path / "new" / "chart.png"
    panels = [
        BarPanel("one", [[100.0, 50.0], [25.0, 0.0]]),
        BarPanel("two", [[20.0, 0.0], [10.0, 0.0]]),
    ]
    bar_chart(path, "title", "subtitle", ("a", "b"), ("first", "second"), panels)
    legend = mask_of(path, FIRST_BARS).shape[0] - 40
    heights = column_heights(mask_of(path, FIRST_BARS)[:legend])
    assert heights[1] == pytest.approx(heights[0] / 2, abs=2)
    assert heights[2] == pytest.approx(heights[0] / 5, abs=2)  # the panels share one scale
    others = column_heights(mask_of(path, SECOND_BARS)[:legend])
    assert others[0] == pytest.approx(heights[0] / 4, abs=2)


def test_points_of_a_line_lie_where_their_values_are(tmp_path):
    path = tmp_path / "chart.png"
    points = [(0.0, 0.0), (2.5, 25.0), (10.0, 100.0)]
    panel = LinePanel("panel", "x", "y", [Line("rising", points), Line("absent", [])])
    line_chart(path, "title", "subtitle", [panel, LinePanel("empty", "x", "y", [])])
    drawn = mask_of(path, FIRST_LINE)
    rows, columns = np.nonzero(drawn[:-40])  # without the legend
    assert columns.max() < drawn.shape[1] / 2 < columns.max() + 60  # across the first panel
    quarter = columns.min() + (columns.max() - columns.min()) / 4
    height = rows[np.abs(columns - quarter) < 2].mean()
    assert rows.max() - height == pytest.approx((rows.max() - rows.min()) / 4, abs=4)
    assert not mask_of(path, SECOND_LINE).any()  # a line without points takes no colour


def test_names_are_shown_unchanged_whatever_they_look_like(tmp_path):
    path, plain = tmp_path / "chart.png", tmp_path / "plain.png"
    for file, name in ((path, "_a$x_1$"), (plain, "")):
        line = Line(name, [(0.0, 1.0), (1.0, 2.0)], [f"{name}1", f"{name}2"])
        panel = LinePanel(name, name, name, [line])
        line_chart(file, name, name, [panel])
    shown, hidden = (np.array(Image.open(file).convert("L")) for file in (path, plain))
    assert (shown[-40:] < 128).sum() > (hidden[-40:] < 128).sum() + 50  # the legend has its text


def test_charts_without_figures_are_written_too(tmp_path):
    line_chart(tmp_path / "none.png", "title", "subtitle", [])
    line_chart(tmp_path / "empty.png", "title", "subtitle", [LinePanel("panel", "x", "y", [])])
    for name in ("none.png", "empty.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 100
