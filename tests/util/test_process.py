"""Programs whose standard streams are closed, full or unread, and that are asked to stop."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from redirection import run_redirected
from repository import ROOT
from toy_trees import file_names, write_davis, write_tiny_weights

from util.errors import run_command
from util.process import StopSignals, exit_on_sigterm, tolerate_broken_streams
from util.progress import Progress

PROGRAM = """
import logging, sys
from util.errors import run_command
from util.progress import Progress

def main():
    with Progress(3) as progress:
        for number in range(3):
            print(f"line {number}")
            print(f"message {number}", file=sys.stderr)
            logging.getLogger("model").info("logged")
            progress.say("progress")
            progress.advance()
    print("x" * 100_000)
    open(sys.argv[1], "w").write("done")

run_command(main)
"""


@pytest.mark.parametrize(
    "redirection",
    [
        "2>&-",
        "2>/dev/full",
        ">&-",
        ">&- 2>&-",
        "<&- >&- 2>&-",
        "| head -1",
        "| head -c 0",
        "2>&1 | head -1",
        "> >(exit 0)",
    ],
)
def test_a_program_finishes_whatever_happens_to_its_streams(tmp_path, redirection):
    ended = run_redirected(redirection, tmp_path / "result", program=("-c", PROGRAM))
    assert ended.returncode == 0 and (tmp_path / "result").read_text() == "done"
    all_messages = "".join(f"message {n}\nnote: logged\nprogress\n" for n in range(3))
    assert ended.stderr in ("", all_messages)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    ended = run_redirected("> /dev/full", tmp_path / "result", program=("-c", PROGRAM))
    last_line = ended.stderr.splitlines()[-1]
    assert ended.returncode == 2
    assert last_line == "error: [Errno 28] No space left on device: 'standard output'"


def test_an_evaluation_without_standard_error_writes_its_results(tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 3})
    weights = write_tiny_weights(tmp_path / "tiny.pth")
    flags = ["--davis_path", root, "--model", weights, "--output", tmp_path / "out"]
    ended = run_redirected("2>&- | head -c 1", *flags, "--device", "cpu", program=["eval_davis.py"])
    assert (ended.returncode, ended.stdout) == (0, "{")
    assert len(file_names(tmp_path / "out/bear")) == 3


def test_names_that_the_encoding_cannot_express_can_be_printed(tmp_path):
    with (
        (tmp_path / "out").open("w", encoding="utf-8") as stream,
        contextlib.redirect_stdout(stream),
        tolerate_broken_streams(),
    ):
        print("a\udcff")
    assert (tmp_path / "out").read_text() == "a\\udcff\n"


def test_progress_without_a_stream_shows_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with Progress(2) as progress:
        progress.say("nobody hears")
        progress.advance(2)


def test_a_command_restores_the_streams(capsys):
    before = sys.stdout, sys.stderr
    with pytest.raises(SystemExit) as end:
        run_command(lambda: print("done"))
    assert end.value.code == 0 and (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out == "done\n"


EXIT_WITHOUT_CLEANUP = """
import atexit
from util.errors import InputError, exit_without_cleanup, run_command
atexit.register(print, "cleaned up")
def main():
    exit_without_cleanup()
    print("done")
    {end}
run_command(main)
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [("raise InputError('wrong')", 2), ("raise SystemExit(143)", 143), ("return 0", 0)],
)
def test_a_program_that_ends_without_cleanup_keeps_its_code_and_messages(end, code):
    ended = subprocess.run(
        [sys.executable, "-c", EXIT_WITHOUT_CLEANUP.format(end=end)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (ended.returncode, ended.stdout) == (code, "done\n")
    assert ended.stderr == ("error: wrong\n" if code == 2 else "")


def test_the_first_stop_signal_is_noted_and_a_second_ctrl_c_interrupts(capfd):
    calls = []
    with StopSignals("stopping", lambda: calls.append("signal")) as signals:
        assert signals.received is None
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == signal.SIGINT and calls == ["signal"]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with StopSignals("stopping") as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM


def test_sigterm_undoes_what_is_half_done_and_the_handler_is_restored():
    before = signal.getsignal(signal.SIGTERM)
    undone = []
    with pytest.raises(SystemExit) as end, exit_on_sigterm():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            undone.append(True)
    assert end.value.code == 143 and undone and signal.getsignal(signal.SIGTERM) == before
