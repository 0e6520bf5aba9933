"""Programs whose standard streams are closed, full, or read by nobody; two files of one name; and the commit, which is a note."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from repository import ROOT
from toy_trees import file_names, write_davis, write_tiny_weights

from util import run_record
from util.errors import InputError, run_command
from util.files import atomic_write
from util.flags import FlagParser, output_text_path
from util.process import tolerate_broken_streams
from util.progress import Progress

PROGRAM = """
import sys
from util.errors import run_command
from util.progress import Progress

def main():
    with Progress(3) as progress:
        for number in range(3):
            print(f"line {number}")
            print(f"note {number}", file=sys.stderr)
            progress.say("said")
            progress.advance()
    print("x" * 100_000)
    open(sys.argv[1], "w").write("done")

run_command(main)
"""


def started(
    redirection: str, *arguments: object, program: Sequence[str] = ("-c", PROGRAM)
) -> subprocess.CompletedProcess:
    """Through a shell, which closes and redirects."""
    quoted = " ".join(f"'{argument}'" for argument in (sys.executable, *program, *arguments))
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{quoted} {redirection}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


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
def test_a_program_comes_to_its_end_whatever_becomes_of_its_streams(tmp_path, redirection):
    ended = started(redirection, tmp_path / "result")
    assert ended.returncode == 0 and (tmp_path / "result").read_text() == "done"
    assert ended.stderr in ("", "note 0\nsaid\nnote 1\nsaid\nnote 2\nsaid\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    ended = started("> /dev/full", tmp_path / "result")
    assert ended.returncode == 2
    assert (
        ended.stderr.splitlines()[-1]
        == "error: [Errno 28] No space left on device: 'standard output'"
    )


def test_an_evaluation_without_standard_error_writes_its_results(tmp_path):
    root, weights = (
        write_davis(tmp_path / "data", {"bear": 3}),
        write_tiny_weights(tmp_path / "tiny.pth"),
    )
    flags = (
        "--davis_path",
        root,
        "--model",
        weights,
        "--output",
        tmp_path / "out",
        "--device",
        "cpu",
    )
    ended = started("2>&- | head -c 1", *flags, program=["eval_davis.py"])
    assert (
        ended.returncode == 0
        and ended.stdout == "{"
        and len(file_names(tmp_path / "out/bear")) == 3
    )


def test_names_that_are_no_text_can_be_printed(tmp_path):
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


def test_streams_are_as_they_were_after_a_command(capsys):
    before = sys.stdout, sys.stderr
    with pytest.raises(SystemExit) as end:
        run_command(lambda: print("done"))
    assert (
        end.value.code == 0
        and (sys.stdout, sys.stderr) == before
        and capsys.readouterr().out == "done\n"
    )


# Files that are written


@pytest.mark.parametrize("other", ["x.json", "./x.json", "link.json", "hard.json"])
def test_one_file_for_two_outputs_is_refused(tmp_path, monkeypatch, other):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.json").symlink_to("x.json")
    if other == "hard.json":
        (tmp_path / "x.json").write_text("")
        (tmp_path / "hard.json").hardlink_to(tmp_path / "x.json")
    parser = FlagParser(prog="program")
    for flag in ("--json", "--csv"):
        parser.add_argument(flag, type=output_text_path)
    parser.add_argument("--meta", type=Path)
    with pytest.raises(InputError, match="--json and --csv both name"):
        parser.parse_args(["--json", "x.json", "--csv", other])
    with pytest.raises(InputError, match="--json and --meta both name"):
        parser.parse_args(["--json", other, "--meta", "x.json"])
    assert parser.parse_args(["--json", "/dev/null", "--csv", "/dev/null"]).csv == Path("/dev/null")
    assert parser.parse_args(["--json", "x.json", "--csv", "y.json"]).csv == Path("y.json")


def test_a_text_is_not_written_over_a_mask_or_weights(tmp_path):
    parser = FlagParser(prog="program")
    parser.add_argument("--json", type=output_text_path)
    (tmp_path / "mask.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    with pytest.raises(
        InputError, match=r"mask\.png: is there already, and holds no text; name another file"
    ):
        parser.parse_args(["--json", str(tmp_path / "mask.png")])
    (tmp_path / "former.json").write_text('{"overall": 1}')
    assert parser.parse_args(["--json", str(tmp_path / "former.json")]).json.is_file()


TABLE_AND_FILE = """
import sys
from util.errors import run_command
from util.files import atomic_write

def main():
    print("table")
    with atomic_write(sys.argv[1]) as file:
        file.write(b"scores\\n")
    print("end")

run_command(main)
"""


@pytest.mark.skipif(not Path("/dev/stdout").is_symlink(), reason="needs /dev/stdout")
def test_a_file_can_be_standard_output_or_a_device_which_stays_what_it_is(tmp_path):
    for redirection in ("", "| cat", f"> {tmp_path / 'file'}", f">> {tmp_path / 'appended'}"):
        assert started(redirection, "/dev/null", program=["-c", TABLE_AND_FILE]).returncode == 0
        ended = started(redirection, "/dev/stdout", program=["-c", TABLE_AND_FILE])
        written = ended.stdout or Path(redirection.split()[-1]).read_text()
        assert ended.returncode == 0 and written.endswith("table\nscores\nend\n"), ended.stderr
    assert not Path("/dev/null").is_file() and Path("/dev/stdout").is_symlink()


def test_an_error_names_the_file_and_not_a_temporary_one(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r": '.*folder'"), atomic_write(tmp_path / "folder") as file:
        file.write(b"")
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*scores\.json'"),
        atomic_write(tmp_path / "scores.json"),
    ):
        raise OSError(28, "No space left on device")
    with pytest.raises(OSError, match=r"'another'"), atomic_write(tmp_path / "scores.json"):
        raise OSError(28, "No space left on device", "another")
    assert file_names(tmp_path) == ["folder"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_is_named():
    with (
        pytest.raises(OSError, match="No space left on device: '/dev/full'"),
        atomic_write("/dev/full") as file,
    ):
        file.write(b"content")


def test_the_record_of_a_run_is_not_written_over(tmp_path, monkeypatch, capsys):
    from scripts import score

    root = write_davis(tmp_path / "data", {"bear": 4})
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "score.py",
            "--truth",
            str(root),
            "--results",
            str(root / "Annotations/480p"),
            "--json",
            str(root / "Annotations/480p/config.json"),
        ],
    )
    with pytest.raises(InputError, match="says what the results were made with"):
        score.main()


# The commit


class Broken:
    """What gitpython meets in a checkout of another owner: git ends before it has read what it was asked."""

    def __init__(self, *_):
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("trouble", ["absent", "broken pipe", "another owner"])
def test_the_commit_is_a_note_and_never_a_reason_to_fail(monkeypatch, trouble, tmp_path):
    if trouble == "absent":
        monkeypatch.setitem(sys.modules, "git", None)
    elif trouble == "broken pipe":
        monkeypatch.setattr(pytest.importorskip("git"), "Repo", Broken)
    else:
        pytest.importorskip("git")
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
        monkeypatch.setattr(run_record, "__file__", str(tmp_path / "util/run_record.py"))
    assert [run_record.git_commit() for _ in range(3)] == [None] * 3


def test_asking_for_the_commit_leaves_no_process():
    pytest.importorskip("git")
    run_record.git_commit()
    children = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True
    ).stdout
    assert "git " not in children


END_AT_ONCE = """
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
def test_a_program_that_is_to_end_at_once_has_its_code_and_says_all_it_had_to(end, code):
    ended = subprocess.run(
        [sys.executable, "-c", END_AT_ONCE.format(end=end)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (ended.returncode, ended.stdout) == (code, "done\n")
    assert ended.stderr == ("error: wrong\n" if code == 2 else "")
