"""Progress: a bar on a terminal, lines elsewhere."""

import io
import re
import time

import pytest

from util.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("total", [40, None])
def test_a_bar_is_drawn_on_a_terminal_and_only_lines_are_written_elsewhere(total):
    terminal, log = Terminal(), io.StringIO()
    for stream in (terminal, log):
        with Progress(total, stream=stream) as progress:
            for _ in range(40):
                progress.advance()
            progress.say("bear: 40 frames")
    assert log.getvalue() == "bear: 40 frames\n"
    assert "frames/s" in terminal.getvalue() and "bear: 40 frames\n" in terminal.getvalue()
    assert ("100%" in terminal.getvalue()) == (total is not None)


def test_a_line_is_written_now_and_then_without_a_terminal():
    log = io.StringIO()
    with Progress(40, stream=log, line_seconds=0.05) as progress:
        for _ in range(40):
            time.sleep(0.005)
            progress.advance(status="memory 12 elements, 0.1 MB")
    lines = log.getvalue().splitlines()
    assert 1 < len(lines) < 8
    assert all(
        re.fullmatch(r"\d+ frames of 40, \d+\.\d frames/s, memory 12 elements, 0\.1 MB", line)
        for line in lines
    )
