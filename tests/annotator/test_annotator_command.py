"""python -m annotator: what it refuses, and that it serves until it is told to end."""

import importlib.util
import os
import signal
import subprocess
import sys
import urllib.request

import pytest
from repository import ROOT
from toy_trees import toy_frames, write_jpg, write_tiny_weights

from annotator.__main__ import main
from util.errors import InputError


@pytest.fixture
def arguments(tmp_path, monkeypatch) -> list[str]:
    """Of a small video, with a tiny network."""
    monkeypatch.chdir(tmp_path)
    images, _ = toy_frames(2, 0)
    for index, image in enumerate(images):
        write_jpg(tmp_path / f"clip/{index:05d}.jpg", image)
    write_tiny_weights(tmp_path / "tiny.pth", network="tiny")
    return ["clip", "--model", "tiny.pth", "--device", "cpu", "--resolution", "48", "--no_browser"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--port", "70000"], "ports are 1 to 65535"),
        (["--host", "203.0.113.7"], "cannot listen there"),
        (["--project", "clip"], "clip"),
    ],
)
def test_wrong_requests_are_refused_in_one_line(arguments, more, words):
    pytest.importorskip("uvicorn")
    with pytest.raises(InputError, match=words) as refused:
        main([*arguments, *more])
    assert "\n" not in str(refused.value)


def test_a_missing_package_is_named_with_the_command_that_installs_it(arguments, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name)
    )
    with pytest.raises(InputError, match=r"pip install -r requirements-annotator\.txt"):
        main(arguments)


@pytest.mark.parametrize(("host", "warns"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_only_a_server_for_other_machines_warns(arguments, monkeypatch, capsys, host, warns):
    server = pytest.importorskip("annotator.server")
    monkeypatch.setattr(server.PageServer, "serve_until_stopped", lambda self, listener: None)
    assert main([*arguments, "--host", host]) == 0
    assert ("warning: other machines" in capsys.readouterr().err) == warns


def test_the_page_is_served_at_the_printed_address_until_ctrl_c(arguments, tmp_path):
    pytest.importorskip("uvicorn")
    command = [sys.executable, "-m", "annotator", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            name, address = program.stdout.readline().split()
            assert name == "clip:"
            with urllib.request.urlopen(address, timeout=60) as page:
                assert b"<title>Annotator</title>" in page.read()
            program.send_signal(signal.SIGINT)
            rest, errors = program.communicate(timeout=60)
        finally:
            program.kill()
    assert program.returncode == 0 and errors == ""
    assert "everything is saved in clip.project" in rest
    assert (tmp_path / "clip.project/project.json").is_file()
