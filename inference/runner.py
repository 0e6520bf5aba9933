"""The loop over videos: read ahead, segment, write behind, on one process or several. Legend: H W height and width in pixels."""

import contextlib
import dataclasses
import errno
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dataset import Frame, LiveVideo, TruncatedVideoError, Video, VideoDataset, prefetch
from inference.memory import POLICIES
from inference.output.overlay import OverlayWriter, require_encoder
from inference.output.run_folder import RunFolder, check_inputs_unchanged
from inference.output.trace import FrameTrace, Trace
from inference.output.writer import ResultWriter
from inference.segmenter import VideoSegmenter
from inference.session import FrameResult, SegmentationSession
from util.device import peak_memory_mb
from util.distributed import exit_together_on_error, gather_objects, is_main, rank, world_size
from util.errors import EXIT_INPUT_ERROR, InputError, explain_out_of_memory
from util.process import StopSignals
from util.progress import Progress
from util.text import counted

_FRAMES_AHEAD = 4
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Totals:
    """What a run took. Where several processes shared it: frames are those of all, seconds those of the busiest, memory that of the largest.

    frames: those segmented; frames_skipped: those besides that were neither asked for nor memorised, and changed nothing.
    seconds: inside the engine alone, without loading the network, waiting for frames, or writing. peak_memory_mb: 10^6 bytes, allocated by torch on CUDA,
    resident of the process elsewhere. memory_elements, memory_mb: the largest memory bank of any video, its elements and its tables in 10^6 bytes.
    """

    frames: int = 0
    frames_skipped: int = 0
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    memory_elements: int = 0
    memory_mb: float = 0.0

    @staticmethod
    def of_processes(totals: Sequence["Totals"]) -> "Totals":
        return Totals(
            frames=sum(part.frames for part in totals),
            frames_skipped=sum(part.frames_skipped for part in totals),
            seconds=max(part.seconds for part in totals),
            peak_memory_mb=max(part.peak_memory_mb for part in totals),
            memory_elements=max(part.memory_elements for part in totals),
            memory_mb=max(part.memory_mb for part in totals),
        )

    def as_json(self) -> str:
        """One line: frames, seconds, fps, peak_memory_mb, memory_elements, memory_mb, and frames_skipped where there are any."""
        values = {
            "frames": self.frames,
            "seconds": round(self.seconds, 4),
            "fps": round(self.frames / self.seconds if self.seconds else 0.0, 3),
            "peak_memory_mb": round(self.peak_memory_mb, 1),
            "memory_elements": self.memory_elements,
            "memory_mb": round(self.memory_mb, 3),
            **({"frames_skipped": self.frames_skipped} if self.frames_skipped else {}),
        }
        return json.dumps(values)


class FailedVideosError(InputError):
    """Some of several videos could not be segmented; the others were. failures: a line for each. totals: of those that were."""

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
    overlays: bool = False,
    trace: Path | None = None,
) -> Totals:
    """Segment the videos of a data set that `folder` lacks, shared out among the processes of the group, and return the totals in each of them.

    overlays: also draw pictures of the results (see OverlayWriter). trace: a file to which what each frame took is appended (see Trace).
    Every video is looked at before the first is begun. One that is at fault is absent and costs the others nothing: they are finished, then FailedVideosError tells what was
    wrong (of a data set of one video, its own error is raised); of a video file that ends early, and of a live source that fails, the frames read are written.
    Raises InputError and OSError for what is wrong with the request or the folder; finished videos stay. A live source is segmented until it ends, or SIGINT (Ctrl-C)
    or SIGTERM comes, which is its proper end.
    """
    with contextlib.ExitStack() as stack:
        with exit_together_on_error():
            if overlays:
                require_encoder()
            videos, failures = _opened(dataset)
            inputs = {name: video.inputs for name, video in videos.items()}
            folder.check_request(inputs, data_root=dataset.root, trace=trace)
            if is_main():
                stack.enter_context(folder.hold())
            folder.check(inputs)
            refused = _refused(list(videos.values())[rank() :: world_size()])
        failures |= _gathered(refused)
        videos = {name: video for name, video in videos.items() if name not in failures}
        if not videos:
            _raise(failures, dataset.names, Totals())
        with exit_together_on_error():
            frame_trace = stack.enter_context(Trace(trace))
            writer = stack.enter_context(ResultWriter(folder.results))
            unfinished = (
                folder.prepare({name: inputs[name] for name in videos}, with_overlays=overlays)
                if is_main()
                else []
            )
        if is_main():
            for note in dataset.notes:
                print(note, file=sys.stderr)
        unfinished = gather_objects(unfinished)[
            0
        ]  # as the main process found it, before any video was finished
        if is_main() and len(unfinished) < len(videos):
            print(
                f"{len(videos) - len(unfinished)} of {len(dataset)} videos are finished already and left as they are",
                file=sys.stderr,
            )
        share = share_out({name: _frames_ahead(videos[name]) for name in unfinished}, world_size())[
            rank()
        ]
        loop = _Loop(segmenter, folder, writer, lookahead, overlays, frame_trace)
        loop.run([videos[name] for name in unfinished if name in share])
        try:
            totals = Totals.of_processes(gather_objects(loop.totals))
            failures |= _gathered(loop.failures)
        except RuntimeError as error:  # the connection is gone
            print("stopped, since another process of this run was", file=sys.stderr)
            raise SystemExit(EXIT_INPUT_ERROR) from error
        _raise(failures, dataset.names, totals)
        return totals


def _opened(dataset: VideoDataset) -> tuple[dict[str, Video], dict[str, Exception]]:
    """The videos by name, and what is wrong with those that cannot be opened."""
    videos, failures = {}, {}
    for name in dataset.names:
        try:
            videos[name] = dataset.open(name)
        except (InputError, OSError) as error:
            failures[name] = error
    return videos, failures


def _refused(videos: Iterable[Video]) -> dict[str, Exception]:
    """What is wrong with masks and first frames, by the videos' names."""
    failures: dict[str, Exception] = {}
    for video in videos:
        try:
            video.validate()
        except (InputError, OSError) as error:
            failures[video.name] = error
    return failures


def _gathered(failures: dict[str, Exception]) -> dict[str, Exception]:
    """Those of all processes."""
    return {name: error for part in gather_objects(failures) for name, error in part.items()}


def _raise(failures: Mapping[str, Exception], names: Sequence[str], totals: Totals) -> None:
    """In every process, raise what is wrong with a data set's only video, or with all of them alike, as a setting is; or FailedVideosError; nothing where nothing is wrong."""
    if (
        failures.keys() == set(names)
        and len({_line(name, error).removeprefix(f"{name}: ") for name, error in failures.items()})
        == 1
    ):
        with exit_together_on_error():
            raise failures[names[0]]
    if failures:
        raise FailedVideosError(
            [_line(name, failures[name]) for name in names if name in failures], totals
        )


def _line(name: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if name in text else f"{name}: {text}"


def share_out(frame_counts: Mapping[str, int], processes: int) -> list[list[str]]:
    """Names for each process: the longest video first, each to the process with the fewest frames so far. The same in every process."""
    shares: list[list[str]] = [[] for _ in range(processes)]
    frames = [0] * processes
    for name in sorted(frame_counts, key=lambda name: (-frame_counts[name], name)):
        process = frames.index(min(frames))
        shares[process].append(name)
        frames[process] += frame_counts[name]
    return shares


def _drops_frames(video: Video) -> bool:
    """Whether frames of a live source that come while another is segmented are dropped."""
    return isinstance(video, LiveVideo) and video.newest_only


def _frames_ahead(video: Video) -> int:
    return max((video.frame_count or 0) - video.first_index, 1)


class _Loop:
    """One process's videos, one after another."""

    def __init__(
        self,
        segmenter: VideoSegmenter,
        folder: RunFolder,
        writer: ResultWriter,
        lookahead: int,
        overlays: bool,
        trace: Trace,
    ):
        self._segmenter = segmenter
        self._folder = folder
        self._writer = writer
        self._lookahead = lookahead
        self._overlays = overlays
        self._trace = trace
        self._frames, self._frames_skipped = 0, 0
        self._memory_elements, self._memory_mb = 0, 0.0  # the largest so far
        self._clock = _Clock(segmenter.device)
        self.failures: dict[str, Exception] = {}  # by the names of the videos at fault

    def run(self, videos: Sequence[Video]) -> None:
        if self._segmenter.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._segmenter.device)
        known = all(video.frame_count is not None for video in videos)
        with Progress(sum(map(_frames_ahead, videos)) if known else None) as progress:
            for video in videos:
                try:
                    with explain_out_of_memory(
                        f"{video.name}: {self._segmenter.device}", self._memory_remedy()
                    ):
                        self._segment(video, progress)
                except (InputError, OSError) as error:
                    if (
                        isinstance(error, OSError) and error.errno in _DISK_ERRORS
                    ):  # no other video can be written either
                        raise
                    self.failures[video.name] = error

    @property
    def totals(self) -> Totals:
        return Totals(
            frames=self._frames,
            frames_skipped=self._frames_skipped,
            seconds=self._clock.seconds,
            peak_memory_mb=peak_memory_mb(self._segmenter.device),
            memory_elements=self._memory_elements,
            memory_mb=self._memory_mb,
        )

    def _segment(self, video: Video, progress: Progress) -> None:
        """One video from its first annotated frame on; its results appear once they are whole."""
        seconds_before, results_count = self._clock.seconds, 0
        loss, lost, said = None, (), 0
        empty_from: str | None = None  # since which frame no result has held an object
        files = video.inputs
        inputs = self._folder.begin(
            video.name, files, video.frame_range, read=not isinstance(video, LiveVideo)
        )
        if isinstance(video, LiveVideo) and self._memory_grows():
            progress.say(
                f"{video.name}: memory {self._segmenter.config.memory.policy} grows as long as the source runs; another --memory does not"
            )
        with contextlib.ExitStack() as outputs:
            if isinstance(video, LiveVideo):
                outputs.enter_context(
                    StopSignals("stopping; the results so far are finished and kept", video.stop)
                )
            # the results are there before the overlay: without it, a later run makes both again
            overlay = outputs.enter_context(self._overlay(video)) if self._overlays else None
            writer = outputs.enter_context(self._writer.video(video.name, video.palette))
            session = self._session(video)
            results = outputs.enter_context(
                contextlib.closing(self._results(video, session, progress))
            )
            try:
                for frame, result in results:
                    writer.write(frame.name, result.labels)
                    if overlay is not None:
                        overlay.add(frame.name, frame.image, result.labels, frame.seconds)
                    self._record(
                        video, session, frame, results_count, self._clock.seconds - seconds_before
                    )
                    results_count += 1
                    lost = self._say_lost(video, session, frame, lost, progress)
                    said = self._say_notes(video, said, progress)
                    empty_from = None if result.labels.any() else empty_from or frame.name
                    del result  # large frames with many objects: the next one needs the room
            except (
                InputError
            ) as error:  # of a video that ended early it comes after the last result
                if not isinstance(error, TruncatedVideoError) and not (
                    isinstance(video, LiveVideo) and results_count
                ):
                    raise
                loss = error
                writer.mark_incomplete(str(loss))
            finally:
                self._frames += session.frames_given - session.frames_skipped
                self._frames_skipped += session.frames_skipped
            check_inputs_unchanged(video.name, files, inputs)
        self._say_notes(video, said, progress)
        self._report(video, session, self._clock.seconds - seconds_before, progress)
        if empty_from is not None:
            progress.say(f"{video.name}: no object left from {empty_from} on")
        if loss is not None:
            raise loss

    def _report(
        self, video: Video, session: SegmentationSession, seconds: float, progress: Progress
    ) -> None:
        frames = session.frames_given - session.frames_skipped
        skipped = (
            f", {session.frames_skipped} skipped (neither asked for nor memorised)"
            if session.frames_skipped
            else ""
        )
        progress.say(
            f"{video.name}: {counted(frames, 'frame')}, {frames / max(seconds, 1e-9):.2f} frames/s{skipped}"
        )
        if video.ignored_masks:
            progress.say(
                f"{video.name}: {counted(video.ignored_masks, 'later mask')} ignored; --corrections uses them"
            )
        if _drops_frames(video):
            progress.say(
                f"{video.name}: {counted(video.dropped_frames, 'frame')} dropped to keep up"
            )

    def _session(self, video: Video) -> SegmentationSession:
        if _drops_frames(video):  # frames that wait to be looked ahead at are not the newest
            return self._segmenter.session()
        return self._segmenter.session(
            lookahead=self._lookahead,
            frame_count=None if video.frame_count is None else _frames_ahead(video),
        )

    def _results(
        self, video: Video, session: SegmentationSession, progress: Progress
    ) -> Iterator[tuple[Frame, FrameResult]]:
        """Frames that are asked for with their results, in order; then the error that ended the video early, if one did."""
        waiting: dict[int, Frame] = {}  # by their own index, until their result is due
        loss = None
        # a live source reads ahead by itself, or does not, if only the newest frame counts
        with contextlib.closing(
            video.frames()
            if isinstance(video, LiveVideo)
            else prefetch(video.frames(), _FRAMES_AHEAD)
        ) as frames:
            try:
                for frame in frames:
                    if frame.required:
                        waiting[frame.schedule_index] = frame
                    result = self._timed(
                        video,
                        lambda frame=frame: session.step(
                            frame.image,
                            frame.labels,
                            index=frame.schedule_index,
                            wanted=frame.required,
                        ),
                    )
                    self._note_memory(session)
                    progress.advance(status=self._status(video, session))
                    if result is not None:
                        yield waiting.pop(result.frame_index), result
                        del result
            except TruncatedVideoError as error:
                loss = error
        remaining = session.drain()
        while (result := self._timed(video, lambda: next(remaining, None))) is not None:
            self._note_memory(session)
            yield waiting.pop(result.frame_index), result
            del result
        if loss is not None:
            raise loss

    def _memory_grows(self) -> bool:
        config = self._segmenter.config.memory
        return (
            config.max_megabytes is None
            and POLICIES[config.policy](config).frames_held(None) is None
        )

    def _note_memory(self, session: SegmentationSession) -> None:
        if session.memory is not None:
            self._memory_elements = max(self._memory_elements, session.memory.size)
            self._memory_mb = max(self._memory_mb, session.memory.megabytes)

    def _say_lost(
        self,
        video: Video,
        session: SegmentationSession,
        frame: Frame,
        known: tuple[int, ...],
        progress: Progress,
    ) -> tuple[int, ...]:
        """Name objects lost since the `known` ones were; returns all that are."""
        lost = session.lost_object_ids
        for object_id in set(lost).difference(known):
            progress.say(
                f"{video.name}: object {object_id} is lost by frame {frame.name}: nothing of it is left in the memory; a new mask brings it back (--corrections)"
            )
        return lost

    def _say_notes(self, video: Video, said: int, progress: Progress) -> int:
        """Say how its frames are read, beyond the first `said` lines; returns how many were said in all."""
        for line in video.notes[said:]:
            progress.say(line)
        return len(video.notes)

    def _status(self, video: Video, session: SegmentationSession) -> str:
        """What the memory holds now, and what was dropped."""
        bank = session.memory
        memory = "" if bank is None else f"memory {bank.size:,} elements, {bank.megabytes:.1f} MB"
        dropped = (
            f"{counted(video.dropped_frames, 'frame')} dropped" if _drops_frames(video) else ""
        )
        return ", ".join(filter(None, (memory, dropped)))

    def _record(
        self,
        video: Video,
        session: SegmentationSession,
        frame: Frame,
        position: int,
        seconds: float,
    ) -> None:
        if not self._trace.is_written:
            return
        bank = session.memory
        held = (
            {"memory_elements": 0, "memory_mb": 0.0}
            if bank is None
            else {"memory_elements": bank.size, "memory_mb": round(bank.megabytes, 3)}
        )
        taken = {
            "seconds": round(seconds, 6),
            "frames_memorised": session.frames_memorised,
            "peak_memory_mb": round(peak_memory_mb(self._segmenter.device), 1),
        }
        self._trace.add(
            FrameTrace(video=video.name, frame=frame.name, position=position, **held, **taken)
        )

    def _timed(self, video: Video, work: Callable[[], Any]) -> Any:
        """What `work` returns; the time it took goes on the clock, and its errors name the video."""
        try:
            with self._clock:
                return work()
        except InputError as error:
            raise InputError(f"{video.name}: {error}") from error

    def _memory_remedy(self) -> str:
        config = self._segmenter.config
        batches = config.clip_length > 1 or self._lookahead > 1
        remedies = [
            "lower --resolution (frames far above it also need room themselves: make them smaller, or split objects into several runs)",
            *(
                (["lower --clip_length"] if config.clip_length > 1 else ["give --lookahead 1"])
                if batches
                else []
            ),
            "raise --mem_every",
            "use a --memory that is bounded",
            *([] if self._segmenter.device.type == "cpu" else ["use --device cpu"]),
        ]
        return ", ".join(remedies[:-1]) + f" or {remedies[-1]}"

    def _overlay(self, video: Video) -> OverlayWriter:
        return OverlayWriter(
            self._folder.overlays, video.name, video.palette, video.frames_per_second
        )


class _Clock:
    """Adds up the seconds spent inside its blocks, with the device's work done before and after."""

    def __init__(self, device: torch.device):
        self.seconds = 0.0
        self._device = device

    def __enter__(self) -> None:
        self._synchronise()
        self._start_seconds = time.perf_counter()

    def __exit__(self, kind, error, traceback) -> None:
        if kind is None:
            self._synchronise()
        self.seconds += time.perf_counter() - self._start_seconds

    def _synchronise(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()
