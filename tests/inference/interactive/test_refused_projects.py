"""Wrong requests to projects, and the words that refuse each; nothing is lost by them."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from toy_trees import write_jpg

from inference.interactive import InteractiveProject
from inference.interactive.project_video import VideoRecord
from inference.interactive.requests import checked_frame
from util.errors import InputError

FRAMES = 4


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "project"


@pytest.fixture
def video(tmp_path, made_clip):
    for index in range(FRAMES):
        write_jpg(tmp_path / f"video/{index:05d}.jpg", made_clip.frames[index])
    return tmp_path / "video"


@pytest.fixture
def project(folder, video, make_segmenter, made_clip):
    """A project of a folder of frames, with one annotation."""
    with InteractiveProject.open(folder, video, make_segmenter()) as project:
        project.annotate(1, made_clip.labels[1])
        yield project


def everything_in(folder) -> dict[str, bytes]:
    files = [path for path in folder.rglob("[!.]*") if path.is_file()]
    return {str(path): path.read_bytes() for path in files}


MASK = np.ones((48, 64), np.uint8)
REQUESTS = [
    (lambda p: p.annotate(4, MASK), "frame 4 does not exist; the video has 4 frames, from 0"),
    (lambda p: p.annotate(-1, MASK), "frame -1 does not exist"),
    (lambda p: p.annotate(0, MASK[1:]), r"frame 0: mask of shape \[47, 64\], frame of \[48, 64\]"),
    (lambda p: p.annotate(0, MASK / 2), "frame 0: mask of type .*; whole numbers are expected"),
    (lambda p: p.annotate(0, MASK.astype(int) * 300), "mask with id 300; .* ids up to 255"),
    (lambda p: p.annotate(0, MASK, objects=[2]), r"shows objects \[1\], which are not among"),
    (lambda p: p.annotate(0, MASK * 0, objects=[]), "frame 0: mask without an object"),
    (lambda p: p.annotation_labels(0), "frame 0 has no annotation; annotated frames: 1"),
    (lambda p: p.remove_annotation(3), "frame 3 has no annotation; annotated frames: 1"),
    (lambda p: p.remove_object(7), "object 7 is not in the project; present: 1, 2"),
    (lambda p: p.redo(), "there is nothing to redo"),
    (lambda p: (p.undo(), p.undo()), "there is nothing to undo"),
    (lambda p: p.propagate(frames=[9]), "frame 9 does not exist"),
    (lambda p: (p.undo(), p.propagate()), "no frame is annotated; annotate one first"),
    (lambda p: p.frame(4), "frame 4 does not exist"),
    (lambda p: p.set_mask(4, 1, MASK > 0), "frame 4 does not exist"),
    (lambda p: p.set_mask(0, 0, MASK > 0), "frame 0: object 0; ids are 1 to 255"),
    (lambda p: p.set_mask(0, 1, MASK), "type uint8; bool .* is needed"),
    (lambda p: p.set_mask(0, 1, MASK[1:] > 0), r"mask of shape \(47, 64\)"),
    (lambda p: p.set_mask(0, 7, MASK > 1), "no pixel of object 7 results; draw inside it"),
]


@pytest.mark.parametrize("request_it, words", REQUESTS)
def test_wrong_requests_are_refused(project, request_it, words):
    with pytest.raises(InputError, match=words):
        request_it(project)


def test_a_second_propagation_and_a_second_process_are_refused(project, video, make_segmenter):
    first = project.propagate()
    next(first)
    with pytest.raises(InputError, match="is being propagated already"):
        next(project.propagate())
    first.close()
    assert len(list(project.propagate())) == FRAMES
    with pytest.raises(InputError, match=f"another run .process {os.getpid()} on .*close the proj"):
        InteractiveProject.open(project.folder, video, make_segmenter())
    project.close()
    with pytest.raises(InputError, match="the project is closed"):
        project.undo()


def another_video(folder, video):
    shutil.move(video / "00002.jpg", video / "00009.jpg")


def changed_video(folder, video):
    write_jpg(video / "00002.jpg", np.zeros((48, 64, 3), np.uint8))


def missing_video(folder, video):
    shutil.rmtree(video)


def newer_version(folder, video):
    content = json.loads((folder / "history.json").read_text())
    (folder / "history.json").write_text(json.dumps({**content, "format": 2}))


def damaged_history(folder, video):
    (folder / "history.json").write_text("{")


def other_file(folder, video):
    shutil.move(folder / "project.json", folder / "notes.txt")


def missing_annotation(folder, video):
    next((folder / "annotations").iterdir()).unlink()


def test_an_annotation_that_another_program_changed_is_not_taken(project, folder):
    path = next((folder / "annotations").iterdir())
    Image.fromarray(MASK).save(path)
    for read in (lambda: project.annotation_labels(1), lambda: list(project.propagate())):
        with pytest.raises(InputError, match="not the labels that frame 1 was annotated with"):
            read()


OTHER_CONTENT = {
    "a TIFF": (lambda path: Image.fromarray(MASK).save(path, "TIFF"), "not labels that a project"),
    "colours": (
        lambda path: Image.new("RGB", MASK.shape[::-1]).save(path, "PNG"),
        "not labels that a project wrote",
    ),
    "EPS": (lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "not an image"),
    "half a PNG": (lambda path: path.write_bytes(path.read_bytes()[:60]), "damaged or unreadable"),
}


@pytest.mark.parametrize("content", OTHER_CONTENT)
def test_other_content_under_the_name_of_labels_is_one_line(project, folder, content):
    replace, words = OTHER_CONTENT[content]
    list(project.propagate())
    replace(next((folder / "annotations").iterdir()))
    replace(next((folder / "results").rglob("00003.png")))
    for read in (lambda: project.annotation_labels(1), lambda: project.results[3]):
        with pytest.raises(InputError, match=words):
            read()


CHANGES = [
    (another_video, {}, "is another video, or it has changed .names of frames changed"),
    (changed_video, {}, "is another video, or it has changed .frames changed"),
    (missing_video, {}, "video"),
    (newer_version, {}, "history.json: format 2, which a newer version wrote"),
    (damaged_history, {}, "history.json: no project wrote this"),
    (other_file, {}, "holds other files .* and no project"),
    (missing_annotation, {}, "the labels of frame 1 are missing; put the file back"),
    (None, {"top_k": 7}, r"was begun with top_k 20 \(now 7\); open it with these settings"),
    (None, {"permanent_memory": True}, r"begun with memory.permanent False \(now True\)"),
    (None, {"system": "lfu"}, "was begun with system stcn"),
]


@pytest.mark.parametrize("change, settings, words", CHANGES)
def test_a_project_that_does_not_fit_is_refused_and_unchanged(
    project, folder, video, make_segmenter, change, settings, words
):
    project.close()
    if change is not None:
        change(folder, video)
    before = everything_in(folder)
    with pytest.raises(InputError, match=words) as refusal:
        InteractiveProject.open(folder, video, make_segmenter(**settings))
    assert "\n" not in str(refusal.value)
    assert everything_in(folder) == before


def test_other_weights_are_refused(project, video, make_segmenter):
    project.close()
    segmenter = make_segmenter()
    segmenter._weights_sha256 = "0" * 64
    with pytest.raises(InputError, match="was begun with weights_sha256"):
        InteractiveProject.open(project.folder, video, segmenter)


@pytest.mark.parametrize("source", ["0", "rtsp://host/path"])
def test_live_sources_are_refused(folder, make_segmenter, source):
    with pytest.raises(InputError, match="a live source, whose frames cannot be read again"):
        InteractiveProject.open(folder, source, make_segmenter())
    assert not folder.exists()


def test_a_video_that_changes_while_the_project_is_open_is_refused(project, video):
    changed_video(None, video)
    with pytest.raises(InputError, match="has changed since the project was opened"):
        next(project.propagate())
    assert project.annotations.keys() == {1}


def test_frames_that_cannot_be_decoded_take_no_annotation():
    record = VideoRecord(
        source="film.mp4", frame_count=4, missing=(2,), size=(48, 64), inputs={"sha256": "0"}
    )
    assert checked_frame(np.int64(3), record) == 3
    with pytest.raises(InputError, match="frame 2 is damaged and cannot be decoded; take another"):
        checked_frame(2, record)


def test_a_folder_that_cannot_hold_a_project_is_refused(tmp_path, video, make_segmenter):
    (tmp_path / "file").touch()
    for folder, words in ((tmp_path / "file", "a file; choose another"), (video, "other files")):
        with pytest.raises(InputError, match=words):
            InteractiveProject.open(folder, video, make_segmenter())
    assert len(list(video.iterdir())) == FRAMES


def test_frames_that_can_be_read_only_once_are_refused(folder, made_clip, make_segmenter):
    for frames, words in ((iter(made_clip.frames), "can be read only once"), ([], "no frame")):
        with pytest.raises(InputError, match=words):
            InteractiveProject.open(folder, frames, make_segmenter())
    assert not folder.exists()
