"""Results that appear whole or not at all."""

import os

import pytest
from toy_trees import file_names

from util.files import atomic_files, atomic_folder, atomic_write


@pytest.mark.parametrize("write", [atomic_folder, atomic_files])
def test_a_new_folder_appears_when_all_is_written(tmp_path, write):
    with write(tmp_path / "a/b/out") as folder:
        (folder / "one.txt").write_text("1")
        assert not (tmp_path / "a/b/out").exists()
    assert (tmp_path / "a/b/out/one.txt").read_text() == "1" and file_names(tmp_path / "a/b") == [
        "out"
    ]
    (tmp_path / "made").mkdir()
    assert (tmp_path / "a/b/out").stat().st_mode == (tmp_path / "made").stat().st_mode


@pytest.mark.parametrize("write", [atomic_folder, atomic_files])
def test_a_failure_leaves_neither_the_folder_nor_those_made_for_it(tmp_path, write):
    (tmp_path / "a").mkdir()
    with pytest.raises(KeyError), write(tmp_path / "a/b/c/out") as folder:
        (folder / "one.txt").write_text("1")
        raise KeyError
    assert file_names(tmp_path) == ["a"] and file_names(tmp_path / "a") == []


def test_files_replace_those_of_their_names_in_a_folder_that_is_there(tmp_path):
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


def test_a_failure_leaves_a_folder_that_is_there_as_it_was(tmp_path):
    (tmp_path / "one.txt").write_text("old")
    with pytest.raises(KeyError), atomic_files(tmp_path) as folder:
        (folder / "one.txt").write_text("new")
        raise KeyError
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"one.txt": "old"}


def test_a_file_where_a_folder_is_needed_is_refused_by_its_name(tmp_path):
    (tmp_path / "out").write_text("mine")
    with (
        pytest.raises(OSError, match="out: a file; a folder is needed"),
        atomic_files(tmp_path / "out"),
    ):
        pass
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_where_a_file_belongs_is_refused_before_any_file_is_replaced(tmp_path):
    (tmp_path / "one.txt").write_text("old")
    (tmp_path / "two.txt").mkdir()
    with (
        pytest.raises(OSError, match=r"two\.txt: a folder, where a file is to be written"),
        atomic_files(tmp_path) as folder,
    ):
        (folder / "one.txt").write_text("new")
        (folder / "two.txt").write_text("2")
    assert (tmp_path / "one.txt").read_text() == "old" and file_names(tmp_path) == [
        "one.txt",
        "two.txt",
    ]


def test_a_file_is_on_the_disk_before_its_name(tmp_path, monkeypatch):
    """Otherwise a power cut leaves the name with pages of zeros."""
    named_when_synchronised = []
    fsync = os.fsync
    monkeypatch.setattr(
        os,
        "fsync",
        lambda descriptor: (
            named_when_synchronised.append((tmp_path / "file").exists()),
            fsync(descriptor),
        ),
    )
    with atomic_write(tmp_path / "file") as file:
        file.write(b"whole")
    assert named_when_synchronised == [False] and (tmp_path / "file").read_bytes() == b"whole"
