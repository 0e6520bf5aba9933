"""Workspaces of the annotator on the toy clip. A test file takes them as a plugin of pytest."""

import pytest

from annotator.workspace import Workspace
from inference import VideoSegmenter
from inference.interactive import InteractiveProject

FRAME_COUNT = 5


@pytest.fixture
def workspace(tmp_path, made_clip, make_segmenter):
    """On the first frames of the toy clip; its results are exported to tmp_path/"masks"."""
    frames = made_clip.frames[:FRAME_COUNT]
    with InteractiveProject.open(tmp_path / "project", frames, make_segmenter()) as project:
        workspace = Workspace(project, tmp_path / "masks")
        yield workspace
        workspace.close()


@pytest.fixture(scope="module")
def idle_workspace(tmp_path_factory, made_clip, network):
    """Without an annotation, for tests that change nothing."""
    folder = tmp_path_factory.mktemp("idle")
    segmenter = VideoSegmenter(network, device="cpu")
    with InteractiveProject.open(folder / "project", made_clip.frames[:2], segmenter) as project:
        yield Workspace(project, folder / "masks")
