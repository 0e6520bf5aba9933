"""Files: names that data may give, and writing that appears whole or not at all."""

import os
import sys
from pathlib import Path

import pytest
from redirection import run_redirected
from toy_trees import file_names, write_davis

from scripts import score
from util.errors import InputError
from util.files import atomic_files, atomic_folder, atomic_write, check_plain_name, natural_key


def test_numbers_in_names_sort_by_value():
    names = ["frame_10", "frame_9", "10", "2", "01"]
    assert sorted(names, key=natural_key) == ["01", "2", "10", "frame_9", "frame_10"]


@pytest.mark.parametrize(
    "name",
    [
        "bear",
        "00000",
        "a b",
        "é",
        "日本",
        "x" * 200,
        "a.b-c_d",
        "a..b",
        "clip.",
        "a:b",
        "-x",
        "a\udcff",
    ],
)
def test_plain_names_are_accepted(name):
    check_plain_name(name, "meta.json")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"),
        (" ", "is empty"),
        (".", "leads to another folder"),
        ("..", "leads to another folder"),
        ("/", "leads to another folder"),
        ("../x", "leads to another folder"),
        ("a/b", "leads to another folder"),
        ("a\\b", "leads to another folder"),
        ("a\0b", "control character"),
        ("\x1b[2J", "control character"),
        ("a\nb", "control character"),
        (".bear", "begins with a dot"),
        ("x" * 201, "longer than 200 bytes"),
        ("\ud800", "no character"),
    ],
)
def test_names_that_could_lead_elsewhere_are_refused_with_their_source(name, problem):
    with pytest.raises(InputError, match=rf"^meta\.json: the name .*{problem}"):
        check_plain_name(name, "meta.json")


@pytest.mark.parametrize("write", [atomic_folder, atomic_files])
def test_a_new_folder_appears_when_all_is_written(tmp_path, write):
    with write(tmp_path / "a/b/out") as folder:
        (folder / "one.txt").write_text("1")
        assert not (tmp_path / "a/b/out").exists()
    assert (tmp_path / "a/b/out/one.txt").read_text() == "1"
    assert file_names(tmp_path / "a/b") == ["out"]
    (tmp_path / "made").mkdir()
    assert (tmp_path / "a/b/out").stat().st_mode == (tmp_path / "made").stat().st_mode


@pytest.mark.parametrize("write", [atomic_folder, atomic_files])
def test_after_a_failure_neither_the_folder_nor_its_new_parents_exist(tmp_path, write):
    (tmp_path / "a").mkdir()
    with pytest.raises(KeyError), write(tmp_path / "a/b/c/out") as folder:
        (folder / "one.txt").write_text("1")
        raise KeyError
    assert file_names(tmp_path) == ["a"] and file_names(tmp_path / "a") == []


def test_files_replace_those_of_the_same_names_in_an_existing_folder(tmp_path):
    (tmp_path / "one.txt").write_text("old")
    (tmp_path / "other.txt").write_text("other")
    with atomic_files(tmp_path) as folder:
        (folder / "one.txt").write_text("new")
        (folder / "two.txt").write_text("2")
        assert (tmp_path / "one.txt").read_text() == "old"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "one.txt": "new",
        "other.txt": "other",
        "two.txt": "2",
    }


def test_a_failure_leaves_an_existing_folder_unchanged(tmp_path):
    (tmp_path / "one.txt").write_text("old")
    with pytest.raises(KeyError), atomic_files(tmp_path) as folder:
        (folder / "one.txt").write_text("new")
        raise KeyError
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"one.txt": "old"}


def test_a_file_in_place_of_the_folder_is_refused_and_kept(tmp_path):
    (tmp_path / "out").write_text("mine")
    with (
        pytest.raises(OSError, match="out: a file; a folder is needed"),
        atomic_files(tmp_path / "out"),
    ):
        pass
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_in_place_of_a_file_is_refused_before_any_file_is_replaced(tmp_path):
    (tmp_path / "one.txt").write_text("old")
    (tmp_path / "two.txt").mkdir()
    with (
        pytest.raises(OSError, match=r"two\.txt: a folder, where a file is to be written"),
        atomic_files(tmp_path) as folder,
    ):
        (folder / "one.txt").write_text("new")
        (folder / "two.txt").write_text("2")
    assert (tmp_path / "one.txt").read_text() == "old"
    assert file_names(tmp_path) == ["one.txt", "two.txt"]


def test_content_is_synchronised_before_the_renaming(tmp_path, monkeypatch):
    """Otherwise, after a power cut, the name may stand for pages of zeros."""
    named_when_synchronised = []
    fsync = os.fsync

    def watched(descriptor):
        named_when_synchronised.append((tmp_path / "file").exists())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    with atomic_write(tmp_path / "file") as file:
        file.write(b"whole")
    assert named_when_synchronised == [False] and (tmp_path / "file").read_bytes() == b"whole"


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
def test_standard_output_and_devices_are_written_to_and_not_replaced(tmp_path):
    program = ["-c", TABLE_AND_FILE]
    for redirection in ("", "| cat", f"> {tmp_path / 'file'}", f">> {tmp_path / 'appended'}"):
        assert run_redirected(redirection, "/dev/null", program=program).returncode == 0
        ended = run_redirected(redirection, "/dev/stdout", program=program)
        written = ended.stdout or Path(redirection.split()[-1]).read_text()
        assert ended.returncode == 0 and written.endswith("table\nscores\nend\n"), ended.stderr
    assert not Path("/dev/null").is_file() and Path("/dev/stdout").is_symlink()


def test_errors_name_the_file_and_not_a_temporary_one(tmp_path):
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


def test_the_record_of_a_run_is_not_overwritten(tmp_path, monkeypatch):
    root = write_davis(tmp_path / "data", {"bear": 4})
    results = root / "Annotations/480p"
    flags = ["--truth", root, "--results", results, "--json", results / "config.json"]
    monkeypatch.setattr(sys, "argv", ["score.py", *map(str, flags)])
    with pytest.raises(InputError, match="says what the results were made with"):
        score.main()


def test_pipes_and_links_are_written_through(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with atomic_write(tmp_path / "pipe") as file:
        file.write(b"whole")
    assert os.read(reader, 100) == b"whole"
    os.close(reader)
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "dangling").symlink_to("later")
    for name in ("link", "dangling"):
        with atomic_write(tmp_path / name) as file:
            file.write(b"new")
    assert (tmp_path / "target").read_text() == (tmp_path / "later").read_text() == "new"
    assert file_names(tmp_path) == ["dangling", "later", "link", "pipe", "target"]
    assert (tmp_path / "link").is_symlink()
