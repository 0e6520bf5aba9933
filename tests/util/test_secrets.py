"""Passwords stay off the screen, however their URL or its flag is mistyped; odd names are values."""

import sys

import pytest

from util.errors import InputError, run_command
from util.flags import FlagParser
from util.text import without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://bob:pw@host:554/x?token=1#y", "rtsp://host:554/x"),
        ("rtsp:/bob:pw@host/x: no such video", "rtsp:/host/x: no such video"),
        ("rtsp//bob:pw@host/x", "rtsp//host/x"),
        ("rtsp:bob:pw@host/x", "rtsp:host/x"),
        ("rtsp/bob:pw@host/x: no such video", "rtsp/host/x: no such video"),
        ("rtsp/bob:p/w@host/x", "rtsp/host/x"),
        ("bob:pw@host/x", "host/x"),
        ("rtsp://bob@host/x", "rtsp://host/x"),
        ("rtsp://bob:p/w@host/x", "rtsp://host/x"),
        ("rtsp://bob:p@w@host/x", "rtsp://host/x"),
        ("--video=rtsp://bob:pw@host", "--video=rtsp://host"),
        ("value: 'http://host/x?token=pw'", "value: 'http://host/x'"),
        ("http://host/x?token=pw: cannot be opened", "http://host/x: cannot be opened"),
    ],
)
def test_user_password_and_query_are_left_out(text, shown):
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "clips/a@2x.mp4",
        "a:b.avi",
        "12:30:05.mp4: no such video",
        "http://host:80/a@b/x",
        "C:/me@home/a.mp4",
        "out/config.json: made (now 5)",
    ],
)
def test_other_names_stay(text):
    assert without_secrets(text) == text


def parser() -> FlagParser:
    flags = FlagParser(prog="program")
    flags.add_argument("--video")
    flags.add_argument("--count", type=int)
    flags.add_argument("-b", type=int)
    return flags


@pytest.mark.parametrize(
    "words",
    [["--vido", "rtsp://bob:pw@host/x"], ["--vido=rtsp://bob:pw@host/x"], ["-v", "bob:pw@host"]],
)
def test_an_unknown_flag_is_named_without_its_value(words):
    with pytest.raises(
        InputError, match=rf"^program: {words[0].partition('=')[0]}: not known; the flags are"
    ) as error:
        parser().parse_args(words)
    assert "pw" not in str(error.value)


def test_a_wrong_value_is_shown_without_a_password():
    with pytest.raises(InputError, match="invalid int value: 'rtsp://host/x'"):
        parser().parse_args(["--count", "rtsp://bob:pw@host/x"])
    with pytest.raises(InputError, match=r"^program: stray: not known"):
        parser().parse_args(["stray"])


def test_error_lines_have_no_password(capsys):
    def fail():
        raise InputError("rtsp:/bob:pw@host/x: no such video")

    with pytest.raises(SystemExit):
        run_command(fail)
    assert capsys.readouterr().err == "error: rtsp:/host/x: no such video\n"
    assert sys.stderr is not None


def test_a_file_whose_name_begins_with_a_hyphen_is_a_value(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="expected one argument"):
        parser().parse_args(["--video", "-x.avi"])
    (tmp_path / "-x.avi").touch()
    (tmp_path / "-b").touch()
    flags = parser().parse_args(["--video", "-x.avi", "-b", "4"])
    assert (flags.video, flags.b) == ("-x.avi", 4)
