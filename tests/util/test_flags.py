"""Command-line flags: help, errors without passwords, files that are written."""

from pathlib import Path

import pytest

from util.errors import InputError, run_command
from util.flags import DefaultsFormatter, FlagParser, at_least, output_text_path


@pytest.fixture
def parser() -> FlagParser:
    flags = FlagParser(prog="program")
    flags.add_argument("--video")
    flags.add_argument("--count", type=int)
    flags.add_argument("-b", type=int)
    flags.add_argument("--size", type=at_least(16, multiple_of=16))
    return flags


def test_help_names_each_default_once():
    parser = FlagParser(prog="p", formatter_class=DefaultsFormatter)
    parser.add_argument("--none", help="first")
    parser.add_argument("--no", action="store_true", help="second")
    parser.add_argument("--empty", nargs="+", default=[], help="third")
    parser.add_argument("--zero", type=int, default=0, help="fourth")
    parser.add_argument("--said", default="auto", help="auto (default) or cpu")
    text = parser.format_help()
    assert text.count("default") == 2
    assert "fourth (default: 0)" in text and "auto (default) or cpu\n" in text


@pytest.mark.parametrize(
    "words",
    [["--vido", "rtsp://bob:pw@host/x"], ["--vido=rtsp://bob:pw@host/x"], ["-v", "bob:pw@host"]],
)
def test_an_unknown_flag_is_named_without_its_value(parser, words):
    flag = words[0].partition("=")[0]
    with pytest.raises(InputError, match=rf"^program: {flag}: not known; the flags are") as error:
        parser.parse_args(words)
    assert "pw" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--count", "rtsp://bob:pw@host/x"], "invalid int value: 'rtsp://host/x'"),
        (["stray"], "^program: stray: not known"),
        (["--size", "8"], "8: at least 16"),
        (["--size", "24"], "24: a multiple of 16"),
        (["--cou", "1"], "--cou: not known"),
    ],
)
def test_wrong_words_are_one_line_without_passwords(parser, words, message):
    with pytest.raises(InputError, match=message):
        parser.parse_args(words)


def test_error_lines_of_programs_have_no_password(capsys):
    def fail():
        raise InputError("rtsp:/bob:pw@host/x: no such video")

    with pytest.raises(SystemExit):
        run_command(fail)
    assert capsys.readouterr().err == "error: rtsp:/host/x: no such video\n"


def test_a_file_whose_name_begins_with_a_hyphen_is_a_value(parser, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="expected one argument"):
        parser.parse_args(["--video", "-x.avi"])
    (tmp_path / "-x.avi").touch()
    (tmp_path / "-b").touch()
    flags = parser.parse_args(["--video", "-x.avi", "-b", "4"])
    assert (flags.video, flags.b) == ("-x.avi", 4)


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


def test_a_text_does_not_overwrite_a_mask_or_weights(tmp_path):
    parser = FlagParser(prog="program")
    parser.add_argument("--json", type=output_text_path)
    (tmp_path / "mask.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    with pytest.raises(InputError, match=r"mask\.png: is there already, and holds no text"):
        parser.parse_args(["--json", str(tmp_path / "mask.png")])
    (tmp_path / "former.json").write_text('{"overall": 1}')
    assert parser.parse_args(["--json", str(tmp_path / "former.json")]).json.is_file()
