"""Locks of folders: one program at a time, and nobody is stopped by a lock left behind."""

import signal
import subprocess
import sys

import pytest
from repository import ROOT
from toy_trees import file_names

from util.errors import InputError
from util.folder_lock import LOCK_NAME, folder_lock

HOLD = """
import pathlib, sys, time
from util.folder_lock import folder_lock
with folder_lock(pathlib.Path(sys.argv[1]), "wait"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_run_stops_nobody_and_its_new_folders_are_removed(tmp_path):
    folder = tmp_path / "runs/one"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="another run"), folder_lock(folder, "wait"):
            pass
        holder.send_signal(signal.SIGKILL)
    assert file_names(folder) == [LOCK_NAME]
    with folder_lock(folder, "wait"):
        pass
    assert file_names(folder) == []
    with folder_lock(tmp_path / "new/one", "wait"):
        assert file_names(tmp_path / "new/one") == [LOCK_NAME]
    assert file_names(tmp_path) == ["runs"]


def test_a_file_system_without_locks_is_tolerated(monkeypatch, tmp_path):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("util.folder_lock.fcntl.flock", unsupported)
    with folder_lock(tmp_path / "one", "wait"), folder_lock(tmp_path / "one", "wait"):
        assert file_names(tmp_path / "one") == []
    monkeypatch.setattr("util.folder_lock.fcntl", None)
    with folder_lock(tmp_path / "one", "wait"):
        pass


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "out" / LOCK_NAME).symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic link"), folder_lock(tmp_path / "out", "wait"):
        pass
    assert (tmp_path / "mine").read_text() == "precious"
