"""A run over the videos of a data set, on one process or several."""

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dataset import Video, VideoDataset
from inference.measurements import Totals
from inference.output.overlay import require_encoder
from inference.output.run_folder import RunFolder
from inference.output.soft import SoftWriter
from inference.output.trace import Trace
from inference.output.writer import ResultWriter
from inference.propagation import Direction
from inference.segmenter import VideoSegmenter
from inference.video_loop import VideoLoop, expected_frames
from util.distributed import exit_together_on_error, gather_objects, is_main, rank, world_size
from util.errors import EXIT_INPUT_ERROR, InputError

_log = logging.getLogger(__name__)


class FailedVideosError(InputError):
    """Some of several videos could not be segmented; the others were.

    failures: a line for each of them. totals: of the videos that were segmented.
    """

    def __init__(self, failures: Sequence[str], totals: Totals):
        super().__init__("; ".join(failures))
        self.failures = tuple(failures)
        self.totals = totals


def run(
    dataset: VideoDataset,
    segmenter: VideoSegmenter,
    folder: RunFolder,
    *,
    lookahead: int = 1,
    direction: Direction = "forward",
    overlays: bool = False,
    soft: bool = False,
    trace: Path | None = None,
) -> Totals:
    """Segment the videos of a data set whose results `folder` lacks.

    The processes of the group share the videos; each gets the same totals.
    lookahead: see VideoSegmenter.session. direction: of the propagation of masks; see
    VideoSegmenter.segment. Forward, results begin at the first annotated frame, backward they end
    at the last one, and both, there is one for each frame.
    overlays: also draw the results (see OverlayWriter). soft: also write probabilities (see
    SoftWriter). trace: a file to which what each frame took is appended (see Trace).

    Every video is checked before the first is begun. One that is wrong is left out, and the others
    are finished before FailedVideosError names it; for a data set of one video, its own error is
    raised. If a video file ends early or a live source fails, the results of the frames read so far
    are written. A live source is segmented until it ends, or until SIGINT (Ctrl-C) or SIGTERM.
    Raises InputError and OSError for a wrong request or folder; finished videos are kept.
    """
    with contextlib.ExitStack() as stack:
        with exit_together_on_error():
            if overlays:
                require_encoder()
            videos, failures = _open_all(dataset)
            inputs = {name: video.inputs for name, video in videos.items()}
            folder.check_request(inputs, data_root=dataset.root, trace=trace)
            if is_main():
                stack.enter_context(folder.hold())
            folder.check(inputs)
            invalid = _validate(list(videos.values())[rank() :: world_size()])
        failures |= _merge_processes(invalid)
        inputs = {name: files for name, files in inputs.items() if name not in failures}
        if not inputs:
            _raise_failures(failures, dataset.names, Totals())
        with exit_together_on_error():
            frame_trace = stack.enter_context(Trace(trace))
            writer = stack.enter_context(ResultWriter(folder.results))
            soft_writer = stack.enter_context(SoftWriter(folder.soft)) if soft else None
            unfinished = []
            if is_main():
                unfinished = folder.prepare(inputs, with_overlays=overlays, with_soft=soft)
        # as the main process saw it, before any video was finished
        unfinished = gather_objects(unfinished)[0]
        if is_main():
            _log_start(dataset, finished=len(inputs) - len(unfinished))
        loop = VideoLoop(
            segmenter,
            folder,
            writer,
            frame_trace,
            lookahead=lookahead,
            direction=direction,
            overlays=overlays,
            soft_writer=soft_writer,
        )
        frame_counts = {name: expected_frames(videos[name], direction) for name in unfinished}
        shares = share_out(frame_counts)
        loop.run([videos[name] for name in unfinished if name in shares[rank()]])
        totals, late_failures = _gather(loop)
        _raise_failures(failures | late_failures, dataset.names, totals)
        return totals


def share_out(frame_counts: Mapping[str, int], processes: int | None = None) -> list[list[str]]:
    """The names of the videos for each process, the same in every process.

    The longest video comes first, each to the process with the fewest frames so far.
    frame_counts: by name. processes: by default, those of the group.
    """
    processes = processes or world_size()
    shares: list[list[str]] = [[] for _ in range(processes)]
    frames = [0] * processes
    for name in sorted(frame_counts, key=lambda name: (-frame_counts[name], name)):
        process = frames.index(min(frames))
        shares[process].append(name)
        frames[process] += frame_counts[name]
    return shares


def _open_all(dataset: VideoDataset) -> tuple[dict[str, Video], dict[str, Exception]]:
    """The videos by name, and the errors of those that cannot be opened."""
    videos, failures = {}, {}
    for name in dataset.names:
        try:
            videos[name] = dataset.open(name)
        except (InputError, OSError) as error:
            failures[name] = error
    return videos, failures


def _validate(videos: Iterable[Video]) -> dict[str, Exception]:
    """The errors of masks and first frames, by the videos' names."""
    failures: dict[str, Exception] = {}
    for video in videos:
        try:
            video.validate()
        except (InputError, OSError) as error:
            failures[video.name] = error
    return failures


def _log_start(dataset: VideoDataset, finished: int) -> None:
    for note in dataset.notes:
        _log.info("%s", note)
    if finished:
        _log.info("%d of %d videos are finished already and are kept", finished, len(dataset))


def _merge_processes(failures: Mapping[str, Exception]) -> dict[str, Exception]:
    """The failures of all processes."""
    return {name: error for part in gather_objects(failures) for name, error in part.items()}


def _gather(loop: VideoLoop) -> tuple[Totals, dict[str, Exception]]:
    """Totals and failures of all processes. Ends the program if another process is gone."""
    try:
        totals = Totals.of_processes(gather_objects(loop.measurements.totals))
        return totals, _merge_processes(loop.failures)
    except RuntimeError as error:
        _log.warning("stopped, because another process of this run has stopped")
        raise SystemExit(EXIT_INPUT_ERROR) from error


def _raise_failures(
    failures: Mapping[str, Exception], names: Sequence[str], totals: Totals
) -> None:
    """Raise what is wrong, in every process; nothing if there are no failures.

    That is the error itself if it is the same for all videos of the data set, as for a setting or
    for the only video; otherwise FailedVideosError.
    """
    reasons = {
        _failure_line(name, error).removeprefix(f"{name}: ") for name, error in failures.items()
    }
    if failures.keys() == set(names) and len(reasons) == 1:
        with exit_together_on_error():
            raise failures[names[0]]
    if failures:
        lines = [_failure_line(name, failures[name]) for name in names if name in failures]
        raise FailedVideosError(lines, totals)


def _failure_line(name: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if name in text else f"{name}: {text}"
