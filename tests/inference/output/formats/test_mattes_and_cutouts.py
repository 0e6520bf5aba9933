"""Mattes, cut-outs with alpha, and overlays of masks."""

import json
import shutil

import av
import numpy as np
import pytest
import toy_videos
from eval_commands import EvalCommand
from soft_runs import read, save_two_networks
from toy_masks import write_masks
from toy_trees import file_names, toy_frames, write_generic, write_jpg

import eval_generic
from dataset.formats import VideoFrames, read_masks
from inference.output.formats import convert_masks, cutouts, export_masks
from inference.output.formats.cutouts import PRORES_4444, WEBM_ALPHA
from inference.output.video_file import MP4, Encoding
from util.errors import InputError

COUNT = 4
IMAGES, LABELS = toy_frames(COUNT, 0, (1, 200))
SIZE = (45, 61)  # odd
IMAGES, LABELS = IMAGES[:, : SIZE[0], : SIZE[1]], LABELS[:, : SIZE[0], : SIZE[1]]
NAMES = [f"{index:05d}" for index in range(COUNT)]


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    """Masks of one video, of all its frames but the second."""
    labels = {name: LABELS[n] for n, name in enumerate(NAMES) if n != 1}
    return write_masks(tmp_path_factory.mktemp("masks"), {"clip": labels})


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    for name, image in zip(NAMES, IMAGES):
        write_jpg(folder / f"{name}.jpg", image)
    return VideoFrames(folder)


def decoded(path, encoding: Encoding) -> list[np.ndarray]:
    """RGBA frames of a video, by a decoder that reads alpha."""
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        assert stream.codec_context.colorspace == 1
        if encoding is WEBM_ALPHA:
            assert stream.metadata["ALPHA_MODE"] == "1"
            decoder = av.CodecContext.create("libvpx-vp9", "r")
            packets = [packet for packet in container.demux(stream) if packet.size]
            found = [frame for packet in packets for frame in decoder.decode(packet)]
            found += decoder.decode(None)
        else:
            found = list(container.decode(stream))
        return [frame.reformat(format="rgba", src_colorspace=1).to_ndarray() for frame in found]


@pytest.mark.parametrize(
    ("name", "encoding", "file_name"),
    [
        ("cutout-webm", WEBM_ALPHA, "clip.webm"),
        ("cutout-prores", PRORES_4444, "clip.mov"),
    ],
)
def test_a_cut_out_video_has_the_masks_as_alpha(masks, frames, tmp_path, name, encoding, file_name):
    if not encoding.is_available:
        pytest.skip(f"this FFmpeg has no {encoding.encoder}")
    convert_masks(masks, tmp_path / "out", name, frames=frames)
    assert file_names(tmp_path / "out") == [file_name]
    shown = decoded(tmp_path / "out" / file_name, encoding)
    assert len(shown) == COUNT - 1
    for picture, n in zip(shown, (0, 2, 3)):
        inside = LABELS[n] > 0
        assert picture.shape == (*SIZE, 4)
        assert ((picture[..., 3] > 127) == inside).mean() > 0.995
        difference = np.abs(picture[..., :3].astype(int) - IMAGES[n])[inside]
        assert np.median(difference) < 8


def test_a_cut_out_of_pngs_keeps_colours_inside_and_none_outside(masks, frames, tmp_path):
    convert_masks(masks, tmp_path / "out", "cutout-png", frames=frames, object_ids=[200])
    assert file_names(tmp_path / "out/clip") == ["00000.png", "00002.png", "00003.png"]
    pixels = read(tmp_path / "out/clip/00002.png")
    inside = LABELS[2] == 200
    assert (pixels[..., 3] == inside * 255).all()
    assert (pixels[inside][:, :3] == read(frames.root / "00002.jpg")[inside]).all()
    assert not pixels[~inside].any()


def test_frames_may_be_a_video_file_or_a_folder_of_them(masks, tmp_path):
    (tmp_path / "videos").mkdir()
    toy_videos.write(tmp_path / "videos/clip.mp4", [i[:44, :60] for i in IMAGES])
    source = write_masks(
        tmp_path / "small", {"clip": {f"frame_{n:06d}": LABELS[n, :44, :60] for n in (1, 3)}}
    )
    for path in (tmp_path / "videos", tmp_path / "videos/clip.mp4"):
        out = tmp_path / f"out-{path.stem}"
        convert_masks(source, out, "cutout-png", frames=VideoFrames(path))
        assert file_names(out / "clip") == ["00001.png", "00003.png"]


def test_an_overlay_is_a_video_and_a_sheet(masks, frames, tmp_path):
    convert_masks(masks, tmp_path / "out", "overlay", frames=frames)
    names = file_names(tmp_path / "out")
    assert names[1] == "clip.png" or names == ["clip.mp4", "clip.png"]
    with av.open(str(tmp_path / "out" / names[0])) as container:
        assert len(list(container.decode(video=0))) == COUNT - 1


def test_mattes_without_probabilities_are_binary(masks, tmp_path):
    assert not convert_masks(masks, tmp_path / "out", "mattes").soft
    assert file_names(tmp_path / "out/clip") == ["1", "200"]
    assert (read(tmp_path / "out/clip/200/00003.png") == (LABELS[3] == 200) * 255).all()


@pytest.fixture(scope="module")
def soft_run(tmp_path_factory):
    """The output of a run with probabilities, and of the same frames."""
    root = tmp_path_factory.mktemp("soft")
    write_generic(root / "data", "bear", {0: (1,), 2: (3,)}, count=4)
    model = save_two_networks(root)[0]
    with pytest.MonkeyPatch.context() as monkeypatch:
        capture = type("Capture", (), {"readouterr": staticmethod(lambda: ("", ""))})()
        command = EvalCommand(monkeypatch, capture, output=root / "out", model=model)
        request = ["--data_path", root / "data", "--resolution", "-1", "--soft", "--overlay"]
        command.succeed(eval_generic, *request)
    return root


def test_mattes_of_a_run_with_soft_are_its_probabilities(soft_run, tmp_path):
    conversion = convert_masks(soft_run / "out", tmp_path / "out", "mattes")
    assert conversion.soft and [video.name for video in conversion.videos] == ["bear"]
    for object_id, frame in ((1, "00000"), (1, "00003"), (3, "00003")):
        matte = read(tmp_path / f"out/bear/{object_id}/{frame}.png")
        assert (matte == read(soft_run / f"out/probabilities/bear/{object_id}/{frame}.png")).all()
    # an object that is not there yet
    assert not read(tmp_path / "out/bear/3/00000.png").any()


def test_a_cut_out_of_a_run_with_soft_has_soft_edges(soft_run, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(soft_run / "data", data)
    write_jpg(data / "contact.jpg", IMAGES[0])  # beside the folders of a data set
    frames = VideoFrames(data)
    convert_masks(soft_run / "out", tmp_path / "out", "cutout-png", frames=frames)
    alpha = read(tmp_path / "out/bear/00003.png")[..., 3].astype(int)
    background = read(soft_run / "out/probabilities/bear/0/00003.png").astype(int)
    assert np.abs(alpha - (255 - background)).max() <= 2  # rounding of each object


@pytest.mark.parametrize("name", ["cutout-png", "cutout-webm", "overlay"])
def test_nothing_is_left_if_a_frame_does_not_fit(masks, frames, tmp_path, name):
    other = tmp_path / "frames"
    shutil.copytree(frames.root, other)
    write_jpg(other / "00003.jpg", IMAGES[3][:40])
    with pytest.raises(InputError, match="for a frame of 61x40"):
        convert_masks(masks, tmp_path / "out", name, frames=VideoFrames(other))
    assert file_names(tmp_path) == ["frames"]


def test_a_missing_encoder_is_refused_in_one_line(masks, frames, tmp_path, monkeypatch):
    none = Encoding(encoder="none", suffix=MP4, options={})
    monkeypatch.setattr(cutouts, "WEBM_ALPHA", none)
    with pytest.raises(InputError, match="no encoder none"):
        convert_masks(masks, tmp_path / "out", "cutout-webm", frames=frames)
    assert file_names(tmp_path) == []


def test_an_export_of_coco_keeps_the_names_of_the_images(masks, frames, tmp_path):
    videos = read_masks(masks, frames=frames).videos
    export_masks(videos, tmp_path / "out.json", "coco", frames=frames)
    images = json.loads((tmp_path / "out.json").read_text())["images"]
    assert [image["file_name"] for image in images] == [f"clip/{NAMES[n]}.jpg" for n in (0, 2, 3)]
