"""Runs over a data set: what is written, what a failure leaves, what several processes share."""

import dataclasses
import functools
import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_trees import (
    HEIGHT,
    WIDTH,
    file_names,
    toy_frames,
    write_davis,
    write_generic,
    write_png,
    write_youtube,
)

from dataset import (
    DavisDataset,
    Frame,
    GenericDataset,
    SingleVideoDataset,
    TruncatedVideoError,
    Video,
    YoutubeDataset,
)
from inference import SegmentationSession, VideoSegmenter
from inference.measurements import Totals
from inference.output.run_folder import RunFolder
from inference.runner import FailedVideosError, run, share_out
from model import build_network
from util.errors import InputError
from util.palette import DAVIS_PALETTE
from util.progress import Progress


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    return VideoSegmenter(build_network("tiny"), device="cpu")


@pytest.fixture
def out(tmp_path):
    return RunFolder(tmp_path / "out", {"top_k": 20})


def damage(path: Path) -> bytes:
    """Cut a file short; returns what it was."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return content


@dataclasses.dataclass
class ToyVideo(Video):
    """Six frames from memory, which may end early or come slowly."""

    name: str = "live"
    frame_count: int | None = 6
    first_index: int = 0
    ends_before: int | None = None
    seconds_per_frame: float = 0.0
    palette = DAVIS_PALETTE
    object_ids = (1, 2)
    ignored_masks = 0

    def frames(self):
        images, labels = toy_frames(6, 0)
        for index, image in enumerate(images):
            if index == self.ends_before:
                raise TruncatedVideoError(f"{self.name}.mp4: ends after {index} of 6 frames")
            time.sleep(self.seconds_per_frame)
            yield Frame(
                index=index,
                name=f"{index:05d}",
                image=image,
                labels=labels[0] if index == 0 else None,
                required=True,
            )

    def validate(self):
        pass


def dataset_of(video: Video) -> SingleVideoDataset:
    return SingleVideoDataset(video, "memory")


def test_results_begin_at_the_first_mask_with_its_ids_size_and_palette(segmenter, out, tmp_path):
    palette = bytes(range(256)) * 3
    root = write_generic(tmp_path / "data", "clip", {2: (7, 200)}, palette=palette)
    totals = run(GenericDataset(root), segmenter, out)
    assert totals.frames == 4
    assert file_names(out.results / "clip") == ["00002.png", "00003.png", "00004.png", "00005.png"]
    with Image.open(out.results / "clip/00002.png") as image:
        assert (image.mode, image.size) == ("P", (WIDTH, HEIGHT))
        assert bytes(image.getpalette()) == palette
        given = np.asarray(Image.open(root / "Annotations/clip/00002.png"))
        assert np.array_equal(np.asarray(image), given)


def test_lookahead_and_streaming_write_what_a_session_gives(segmenter, out, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 7})
    expected = {}
    session = segmenter.session()
    for frame in DavisDataset(root)[0].frames():
        expected[f"{frame.name}.png"] = session.step(frame.image, frame.labels).labels
    for lookahead in (1, 5):
        folder = RunFolder(tmp_path / f"out{lookahead}", {})
        run(DavisDataset(root), segmenter, folder, lookahead=lookahead)
        written = {
            path.name: np.asarray(Image.open(path)) for path in (folder.results / "bear").iterdir()
        }
        assert written.keys() == expected.keys()
        agreement = np.mean([written[name] == expected[name] for name in expected])
        assert agreement == 1 if lookahead == 1 else agreement > 0.999


def test_only_the_frames_asked_for_are_written(segmenter, out, tmp_path):
    totals = run(YoutubeDataset(write_youtube(tmp_path / "data")), segmenter, out)
    assert (totals.frames, totals.frames_skipped) == (3, 8)
    assert file_names(out.results / "aa11") == ["00000.png", "00005.png", "00010.png"]
    assert 3 in np.asarray(Image.open(out.results / "aa11/00005.png"))


def test_ignored_later_masks_are_counted(segmenter, out, tmp_path, capsys):
    root = write_generic(tmp_path / "data", "clip", {0: (1, 2), 3: (1, 2), 4: (1,)})
    run(GenericDataset(root), segmenter, out)
    assert "clip: 3 later masks ignored; --corrections uses them" in capsys.readouterr().err


def test_the_other_videos_are_segmented_if_a_mask_is_wrong(segmenter, out, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 3, "camel": 3, "dog": 3})
    write_png(root / "Annotations/480p/bear/00000.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    (root / "Annotations/480p/camel/00000.png").unlink()
    with pytest.raises(FailedVideosError) as failed:
        run(DavisDataset(root), segmenter, out)
    bear, camel = failed.value.failures
    assert "bear/00000.png: no object in the video's first mask" in bear
    assert "camel/00000.png: no such mask" in camel
    assert failed.value.totals.frames == 3
    assert file_names(out.results) == ["config.json", "dog"]


def test_nothing_is_written_if_every_video_is_wrong(segmenter, out, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 3, "camel": 3})
    for name in ("bear", "camel"):
        write_png(root / f"Annotations/480p/{name}/00000.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(
        FailedVideosError, match=r"bear/00000\.png: no object.*; camel/00000\.png: no object"
    ):
        run(DavisDataset(root), segmenter, out)
    assert not out.root.exists()
    with pytest.raises(InputError, match=r"^bear/00000\.png: no object") as alone:
        run(DavisDataset(root, sequences=["bear"]), segmenter, out)
    assert not isinstance(alone.value, FailedVideosError) and not out.root.exists()


def test_a_video_with_a_damaged_frame_is_absent_and_a_later_run_adds_it(segmenter, out, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 4, "camel": 4, "dog": 4})
    frame = root / "JPEGImages/480p/camel/00002.jpg"
    whole = damage(frame)
    with pytest.raises(InputError, match=r"camel/00002\.jpg"):
        run(DavisDataset(root), segmenter, out)
    assert file_names(out.results) == ["bear", "config.json", "dog"]
    first_result = (out.results / "bear/00000.png").stat()
    frame.write_bytes(whole)
    assert run(DavisDataset(root), segmenter, out).frames == 4
    assert (out.results / "bear/00000.png").stat().st_mtime_ns == first_result.st_mtime_ns
    assert file_names(out.results) == ["bear", "camel", "config.json", "dog"]
    assert run(DavisDataset(root), segmenter, out).frames == 0


def test_the_frames_of_a_video_that_ends_early_are_kept_and_not_taken_for_whole(segmenter, out):
    with pytest.raises(TruncatedVideoError, match="ends after 4 of 6"):
        run(dataset_of(ToyVideo(ends_before=4)), segmenter, out, lookahead=5)
    kept = [f"{index:05d}.png" for index in range(4)]
    assert file_names(out.results / "live") == [*kept, "incomplete.txt"]
    assert "ends after 4 of 6" in (out.results / "live/incomplete.txt").read_text()
    assert run(dataset_of(ToyVideo()), segmenter, out).frames == 6
    assert file_names(out.results / "live") == [f"{index:05d}.png" for index in range(6)]


def test_a_full_disk_leaves_no_part_of_a_video(segmenter, out, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        run(dataset_of(ToyVideo()), segmenter, out)
    assert file_names(out.results) == ["config.json"]


def test_errors_of_the_engine_name_the_video(segmenter, out):
    class Uneven(ToyVideo):
        def frames(self):
            for frame in super().frames():
                image = frame.image if frame.index < 2 else frame.image[:20]
                yield dataclasses.replace(frame, image=image)

    with pytest.raises(InputError, match="live: frame 2"):
        run(dataset_of(Uneven()), segmenter, out)
    assert not (out.results / "live").exists()


def test_seconds_do_not_count_waiting_for_frames(segmenter, out):
    start = time.perf_counter()
    totals = run(dataset_of(ToyVideo(seconds_per_frame=0.2)), segmenter, out)
    elapsed_seconds = time.perf_counter() - start
    assert elapsed_seconds > 1.2
    # little of the waiting can hide behind the work of a tiny network
    assert 0 < totals.seconds < elapsed_seconds - 0.8


def test_a_missing_overlay_is_made_again_with_its_video(segmenter, out, tmp_path):
    dataset = DavisDataset(write_davis(tmp_path / "data", {"bear": 3, "camel": 3}))
    run(dataset, segmenter, out, overlays=True)
    assert file_names(out.overlays) == ["bear.mp4", "bear.png", "camel.mp4", "camel.png"]
    (out.overlays / "camel.mp4").unlink()
    assert run(dataset, segmenter, out, overlays=True).frames == 3
    assert file_names(out.overlays) == ["bear.mp4", "bear.png", "camel.mp4", "camel.png"]


def test_videos_are_shared_out_evenly_each_once():
    frame_counts = {"a": 10, "b": 90, "c": 40, "d": 30, "e": 25, "f": 5}
    shares = share_out(frame_counts, 2)
    assert sorted(name for share in shares for name in share) == sorted(frame_counts)
    assert [sum(frame_counts[name] for name in share) for share in shares] == [100, 100]
    assert shares == share_out(dict(reversed(frame_counts.items())), 2)


def test_totals_add_frames_and_take_the_busiest_process():
    one = Totals(
        frames=30,
        frames_skipped=5,
        seconds=2.0,
        peak_memory_mb=100.0,
        memory_elements=48,
        memory_mb=0.5,
    )
    other = Totals(frames=10, seconds=1.0, peak_memory_mb=300.0, memory_elements=36, memory_mb=0.7)
    expected = {
        "frames": 40,
        "seconds": 2.0,
        "fps": 20.0,
        "peak_memory_mb": 300.0,
        "memory_elements": 48,
        "memory_mb": 0.7,
        "frames_skipped": 5,
    }
    assert json.loads(Totals.of_processes([one, other]).as_json()) == expected


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_run_shows_what_its_memory_holds_and_totals_the_maximum(
    segmenter, out, monkeypatch, tmp_path
):
    terminal = Terminal()
    monkeypatch.setattr(
        "inference.video_loop.Progress", functools.partial(Progress, stream=terminal)
    )
    totals = run(
        DavisDataset(write_davis(tmp_path / "data", {"bear": 8, "camel": 3})), segmenter, out
    )
    assert totals.memory_elements == 2 * 12  # frames 0 and 5 of the longer one, at 3 × 4 positions
    assert totals.memory_mb >= 24 * 4 * (segmenter.network.config.key_channels + 1) / 1e6
    assert "frames/s, memory 12 elements" in terminal.getvalue()


def test_an_object_that_the_memory_has_lost_is_named_once(segmenter, out, monkeypatch, capsys):
    monkeypatch.setattr(
        SegmentationSession,
        "lost_object_ids",
        property(lambda session: (2,) if session.frames_given > 3 else ()),
    )
    run(dataset_of(ToyVideo()), segmenter, out)
    assert (
        capsys.readouterr().err.count(
            "live: object 2 is lost by frame 00003: nothing of it is left in the memory"
        )
        == 1
    )


def forget_from(index: int, back_at: int | None = None):
    """A step of a session whose results hold no object from a frame on, until another."""
    step = SegmentationSession.step

    def forgetting(session, *arguments, **keywords):
        result = step(session, *arguments, **keywords)
        gone = result is not None and index <= result.frame_index < (back_at or 10**6)
        return dataclasses.replace(result, labels=np.zeros_like(result.labels)) if gone else result

    return forgetting


def test_the_frame_from_which_no_object_is_left_is_named(
    segmenter, out, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(SegmentationSession, "step", forget_from(3))
    run(dataset_of(ToyVideo()), segmenter, out)
    assert capsys.readouterr().err.splitlines().count("live: no object left from 00003 on") == 1
    monkeypatch.undo()
    monkeypatch.setattr(SegmentationSession, "step", forget_from(2, back_at=4))
    run(dataset_of(ToyVideo()), segmenter, RunFolder(tmp_path / "again", {}))
    assert "no object left" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "remedy"), [({}, "use another checkpoint"), ({"amp": True}, "leave out --amp")]
)
@pytest.mark.parametrize("system", ["stcn", "pcvos"])
def test_probabilities_that_are_not_finite_end_a_video_in_one_line(out, system, settings, remedy):
    network = build_network("tiny_pcvos")
    with torch.no_grad():
        network.decoder.pred.weight.view(-1)[0] = float("nan")
    segmenter = VideoSegmenter(network, system, device="cpu", **settings)
    words = rf"^live: frame 1: the probabilities are not finite; .*{remedy}$"
    with pytest.raises(InputError, match=words):
        run(dataset_of(ToyVideo()), segmenter, out)
    assert not (out.results / "live").exists()
