"""Notes and warnings of library modules, as programs show them."""

import logging
import subprocess
import sys

import pytest
from repository import ROOT

from util.logging import PACKAGES, configure_logging, note_once

PROGRAM = """
import logging
from util.errors import run_command

def main():
    logger = logging.getLogger("dataset.video")
    logger.debug("unseen")
    logger.info("read with %d bits", 16)
    logger.warning("damaged")
    logging.getLogger("elsewhere").info("unseen")
    print("done")

run_command(main)
"""


@pytest.fixture
def configured():
    loggers = [logging.getLogger(name) for name in PACKAGES]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield configure_logging
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def test_a_program_shows_notes_and_warnings_on_standard_error():
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (0, "done\n")
    assert ended.stderr == "note: read with 16 bits\nwarning: damaged\n"


def test_configuring_twice_shows_each_line_once(configured, capsys):
    configured()
    configured()
    logging.getLogger("inference.runner").warning("once")
    assert capsys.readouterr().err == "warning: once\n"


@pytest.mark.parametrize("closed", [True, False])
def test_a_missing_or_closed_standard_error_is_no_error(configured, monkeypatch, tmp_path, closed):
    stream = None
    if closed:
        stream = (tmp_path / "log").open("w")
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    configured()
    logging.getLogger("model").warning("nobody hears")


def test_a_note_is_logged_once_however_often_it_applies(caplog):
    caplog.set_level("INFO")
    logger = logging.getLogger("inference.memory")
    for _ in range(3):
        note_once(logger, "a note of this test")
    assert caplog.messages == ["a note of this test"]
