"""The loop over videos: what is written, what is left after a failure, what several processes share."""

import dataclasses
import functools
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT
from toy_trees import (
    HEIGHT,
    WIDTH,
    file_names,
    toy_frames,
    write_davis,
    write_generic,
    write_png,
    write_tiny_weights,
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
class MadeUpVideo(Video):
    """Six frames from memory, ending early or coming slowly if asked."""

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


def test_results_begin_at_the_first_mask_and_keep_ids_size_names_and_palette(
    segmenter, out, tmp_path
):
    palette = bytes(range(256)) * 3
    root = write_generic(tmp_path / "data", "clip", {2: (7, 200)}, palette=palette)
    totals = run(GenericDataset(root), segmenter, out)
    assert totals.frames == 4
    assert file_names(out.results / "clip") == ["00002.png", "00003.png", "00004.png", "00005.png"]
    with Image.open(out.results / "clip/00002.png") as image:
        assert (image.mode, image.size, bytes(image.getpalette())) == (
            "P",
            (WIDTH, HEIGHT),
            palette,
        )
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


def test_later_masks_are_ignored_and_counted_aloud(segmenter, out, tmp_path, capsys):
    root = write_generic(tmp_path / "data", "clip", {0: (1, 2), 3: (1, 2), 4: (1,)})
    run(GenericDataset(root), segmenter, out)
    assert "clip: 3 later masks ignored; --corrections uses them" in capsys.readouterr().err


def test_a_wrong_mask_costs_its_video_alone(segmenter, out, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 3, "camel": 3, "dog": 3})
    write_png(root / "Annotations/480p/bear/00000.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    (root / "Annotations/480p/camel/00000.png").unlink()
    with pytest.raises(FailedVideosError) as failed:
        run(DavisDataset(root), segmenter, out)
    assert [re.sub(r".*/(?=\w+/\w+\.png)", "", line) for line in failed.value.failures] == [
        "bear/00000.png: no object in the video's first mask; draw one, or remove masks that precede the first object",
        "camel/00000.png: no such mask; DAVIS gives the first frame's",
    ]
    assert failed.value.totals.frames == 3
    assert file_names(out.results) == ["config.json", "dog"]


def test_where_every_video_is_wrong_nothing_is_written(segmenter, out, tmp_path):
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


def test_a_damaged_frame_leaves_its_video_absent_and_a_later_run_goes_on_there(
    segmenter, out, tmp_path
):
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


def test_of_a_video_that_ends_early_the_frames_read_are_kept_and_not_taken_for_whole(
    segmenter, out
):
    with pytest.raises(TruncatedVideoError, match="ends after 4 of 6"):
        run(dataset_of(MadeUpVideo(ends_before=4)), segmenter, out, lookahead=5)
    assert file_names(out.results / "live") == [
        "00000.png",
        "00001.png",
        "00002.png",
        "00003.png",
        "incomplete.txt",
    ]
    assert "ends after 4 of 6" in (out.results / "live/incomplete.txt").read_text()
    assert run(dataset_of(MadeUpVideo()), segmenter, out).frames == 6
    assert file_names(out.results / "live") == [f"{index:05d}.png" for index in range(6)]


def test_a_full_disk_leaves_no_part_of_a_video(segmenter, out, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        run(dataset_of(MadeUpVideo()), segmenter, out)
    assert file_names(out.results) == ["config.json"]


def test_errors_of_the_engine_name_the_video(segmenter, out):
    class Uneven(MadeUpVideo):
        def frames(self):
            for frame in super().frames():
                yield (
                    frame if frame.index < 2 else dataclasses.replace(frame, image=frame.image[:20])
                )

    with pytest.raises(InputError, match="live: frame 2"):
        run(dataset_of(Uneven()), segmenter, out)
    assert not (out.results / "live").exists()


def test_seconds_do_not_count_waiting_for_frames(segmenter, out):
    start = time.perf_counter()
    totals = run(dataset_of(MadeUpVideo(seconds_per_frame=0.2)), segmenter, out)
    elapsed_seconds = time.perf_counter() - start
    assert elapsed_seconds > 1.2
    assert (
        0 < totals.seconds < elapsed_seconds - 0.8
    )  # of the waiting, little can hide behind the work of a tiny network


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


@pytest.mark.parametrize("total", [40, None])
def test_progress_draws_a_bar_on_a_terminal_and_only_says_lines_elsewhere(total):
    terminal, log = Terminal(), io.StringIO()
    for stream in (terminal, log):
        with Progress(total, stream=stream) as progress:
            for _ in range(40):
                progress.advance()
            progress.say("bear: 40 frames")
    assert log.getvalue() == "bear: 40 frames\n"
    assert "frames/s" in terminal.getvalue() and "bear: 40 frames\n" in terminal.getvalue()
    assert ("100%" in terminal.getvalue()) == (total is not None)


def test_progress_says_a_line_now_and_then_where_there_is_no_terminal():
    log = io.StringIO()
    with Progress(40, stream=log, line_seconds=0.05) as progress:
        for _ in range(40):
            time.sleep(0.005)
            progress.advance(status="memory 12 elements, 0.1 MB")
    lines = log.getvalue().splitlines()
    assert 1 < len(lines) < 8
    assert all(
        re.fullmatch(r"\d+ frames of 40, \d+\.\d frames/s, memory 12 elements, 0\.1 MB", line)
        for line in lines
    )


def test_a_run_shows_what_its_memory_holds_and_tells_the_most_it_held(
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


def test_an_object_that_the_memory_lost_is_named_once(segmenter, out, monkeypatch, capsys):
    monkeypatch.setattr(
        SegmentationSession,
        "lost_object_ids",
        property(lambda session: (2,) if session.frames_given > 3 else ()),
    )
    run(dataset_of(MadeUpVideo()), segmenter, out)
    assert (
        capsys.readouterr().err.count(
            "live: object 2 is lost by frame 00003: nothing of it is left in the memory"
        )
        == 1
    )


def forget_from(index: int, back_at: int | None = None):
    """A session's step whose results hold no object from a frame on, until another."""
    step = SegmentationSession.step

    def forgetting(session, *arguments, **keywords):
        result = step(session, *arguments, **keywords)
        gone = result is not None and index <= result.frame_index < (back_at or 10**6)
        return dataclasses.replace(result, labels=np.zeros_like(result.labels)) if gone else result

    return forgetting


def test_objects_that_have_all_vanished_are_said(segmenter, out, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(SegmentationSession, "step", forget_from(3))
    run(dataset_of(MadeUpVideo()), segmenter, out)
    assert capsys.readouterr().err.splitlines().count("live: no object left from 00003 on") == 1
    monkeypatch.undo()
    monkeypatch.setattr(SegmentationSession, "step", forget_from(2, back_at=4))
    run(dataset_of(MadeUpVideo()), segmenter, RunFolder(tmp_path / "again", {}))
    assert "no object left" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "remedy"), [({}, "use another checkpoint"), ({"amp": True}, "leave out --amp")]
)
@pytest.mark.parametrize("system", ["stcn", "pcvos"])
def test_probabilities_that_are_not_finite_end_a_video_in_one_line(out, system, settings, remedy):
    network = build_network("tiny_pcvos")
    with torch.no_grad():
        network.decoder.pred.weight.view(-1)[0] = float("nan")
    with pytest.raises(
        InputError, match=rf"^live: frame 1: the probabilities are not finite; .*{remedy}$"
    ):
        run(
            dataset_of(MadeUpVideo()),
            VideoSegmenter(network, system, device="cpu", **settings),
            out,
        )
    assert not (out.results / "live").exists()


def two_processes(*flags: str) -> list[subprocess.CompletedProcess]:
    """eval_davis.py as two processes of one group, without the launcher's own messages and signals."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(ROOT / "eval_davis.py"), "--device", "cpu", *flags]
    environments = [
        {**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)
    ]
    processes = [
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for environment in environments
    ]
    ends = [process.communicate(timeout=120) for process in processes]
    return [
        subprocess.CompletedProcess(command, process.returncode, *end)
        for process, end in zip(processes, ends, strict=True)
    ]


def test_two_processes_write_the_pngs_of_one_and_one_line_of_totals(tmp_path):
    root, weights = (
        write_davis(tmp_path / "data", {"bear": 6, "camel": 7, "dog": 6}),
        write_tiny_weights(tmp_path / "tiny.pth"),
    )
    flags = [
        "--davis_path",
        str(root),
        "--model",
        str(weights),
        "--device",
        "cpu",
        "--score",
        "--output",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    both = subprocess.run(
        [*launcher, str(ROOT / "eval_davis.py"), *flags, str(tmp_path / "two")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert both.returncode == 0, both.stderr
    run(
        DavisDataset(root),
        VideoSegmenter.from_checkpoint(weights, device="cpu"),
        one := RunFolder(tmp_path / "one", {}),
        lookahead=8,
    )
    for path in sorted(one.results.glob("*/*.png")):
        assert (
            path.read_bytes() == (tmp_path / "two" / path.relative_to(one.results)).read_bytes()
        ), path
    lines = both.stdout.strip().splitlines()
    assert json.loads(lines[-1])["frames"] == 19
    assert (
        sum(line.startswith("overall") for line in lines) == 1
        and (tmp_path / "two/scores.json").exists()
    )


def test_what_is_wrong_for_all_processes_is_said_once_and_ends_them_all(tmp_path):
    root, weights = (
        write_davis(tmp_path / "data", {"bear": 3, "camel": 3}),
        write_tiny_weights(tmp_path / "tiny.pth"),
    )
    damage(root / "Annotations/480p/camel/00000.png")
    ends = two_processes(
        "--davis_path", str(root), "--model", str(weights), "--output", str(tmp_path / "out")
    )
    said = "".join(end.stderr for end in ends)
    assert [end.returncode for end in ends] == [2, 2], said
    assert (
        said.count("error:") == 1 and said.count("camel/00000.png") == 1 and "Traceback" not in said
    )
    assert file_names(tmp_path / "out") == ["bear", "config.json"]
    assert json.loads("".join(end.stdout for end in ends))["frames"] == 3


def test_a_process_that_fails_on_its_own_does_not_hang_the_others(tmp_path):
    root, weights = (
        write_davis(tmp_path / "data", {"bear": 4, "camel": 3}),
        write_tiny_weights(tmp_path / "tiny.pth"),
    )
    damage(root / "JPEGImages/480p/camel/00001.jpg")
    ends = two_processes(
        "--davis_path", str(root), "--model", str(weights), "--output", str(tmp_path / "out")
    )
    said = "".join(end.stderr for end in ends)
    assert [end.returncode for end in ends] == [2, 2], said
    assert said.count("error:") == 1 and "camel/00001.jpg" in said and "Traceback" not in said
    assert file_names(tmp_path / "out") == ["bear", "config.json"]
