"""One process's videos, one after another: read ahead, segment, write in the background."""

import contextlib
import errno
import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from dataset import Frame, LiveVideo, TruncatedVideoError, Video, prefetch
from inference.ensemble import EnsembleSegmenter
from inference.measurements import Measurements
from inference.memory import POLICIES
from inference.output.overlay import OverlayWriter
from inference.output.run_folder import RunFolder, check_inputs_unchanged
from inference.output.soft import SoftWriter
from inference.output.trace import FrameTrace, Trace
from inference.output.video_outputs import VideoOutputs
from inference.output.writer import ResultWriter
from inference.propagated_video import RereadVideo, propagation_of
from inference.propagation import Direction, Propagation
from inference.results import FrameResult
from inference.segmenter import VideoSegmenter
from inference.session import SegmentationSession
from inference.video_messages import VideoMessages, drops_frames
from util.errors import InputError, explain_out_of_memory
from util.process import StopSignals
from util.progress import Progress

_FRAMES_AHEAD = 4
_Work = SegmentationSession | Propagation
_Pair = tuple[Frame, FrameResult]
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class VideoLoop:
    """Segments videos into a folder.

    folder: prepared, and held by the main process. lookahead: see VideoSegmenter.session.
    direction: see runner.run. overlays: also draw the results. soft_writer: also write
    probabilities. `failures` holds the error of each video that could not be segmented, by name.
    """

    def __init__(
        self,
        segmenter: VideoSegmenter,
        folder: RunFolder,
        writer: ResultWriter,
        trace: Trace,
        *,
        lookahead: int,
        direction: Direction = "forward",
        overlays: bool,
        soft_writer: SoftWriter | None = None,
    ):
        self._segmenter = segmenter
        self._folder = folder
        self._writer = writer
        self._trace = trace
        self._lookahead = lookahead
        self._direction = direction
        self._overlays = overlays
        self._soft_writer = soft_writer
        self.measurements = Measurements(segmenter.device)
        self.failures: dict[str, Exception] = {}

    def run(self, videos: Sequence[Video]) -> None:
        """Segment the videos. Raises OSError if the disk takes no more results of any video."""
        known = all(video.frame_count is not None for video in videos)
        frame_counts = (expected_frames(video, self._direction) for video in videos)
        total = sum(frame_counts) if known else None
        with Progress(total) as progress:
            for video in videos:
                location = f"{video.name}: {self._segmenter.device}"
                try:
                    with explain_out_of_memory(location, self._memory_remedy()):
                        self._segment(video, progress)
                except (InputError, OSError) as error:
                    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
                        raise
                    self.failures[video.name] = error

    def _segment(self, video: Video, progress: Progress) -> None:
        """Segment a video from its first annotated frame on; results appear once complete."""
        is_live = isinstance(video, LiveVideo)
        files = video.inputs
        inputs = self._folder.begin(video.name, files, video.frame_range, read=not is_live)
        frames = RereadVideo(video)
        session = self._new_work(video, frames)
        messages = VideoMessages(video, session, progress)
        seconds_before = self.measurements.clock.seconds
        if is_live and self._memory_grows():
            messages.say(
                f"memory {self._segmenter.config.memory.policy} grows as long as the source runs; "
                "another --memory does not"
            )
        with contextlib.ExitStack() as stack:
            if is_live:
                stopping = "stopping; the results so far are finished and kept"
                stack.enter_context(StopSignals(stopping, video.stop))
            outputs = stack.enter_context(self._outputs(video))
            try:
                results = self._results(video, session, messages, frames)
                cause = self._write_results(video, session, messages, results, outputs)
            finally:
                self.measurements.add_frames(session)
            check_inputs_unchanged(video.name, files, inputs)
        messages.end(self.measurements.clock.seconds - seconds_before)
        if cause is not None:
            raise cause

    def _write_results(
        self,
        video: Video,
        session: _Work,
        messages: VideoMessages,
        results: Generator[_Pair, None, None],
        outputs: VideoOutputs,
    ) -> InputError | None:
        """Write what comes out of the session. Returns why it ended early, if its results count.

        They count for a video file that ends early and for a live source that fails.
        """
        seconds_before, count = self.measurements.clock.seconds, 0
        with contextlib.closing(results):
            try:
                for frame, result in results:
                    outputs.write(frame, result)
                    if self._trace.is_written:
                        seconds = self.measurements.clock.seconds - seconds_before
                        self._trace.add(self._traced(video, session, frame, count, seconds))
                    count += 1
                    messages.result(frame, result.labels)
                    del result  # large frames with many objects: the next one needs the memory
            except InputError as error:
                is_partial = isinstance(video, LiveVideo) and count > 0
                if not isinstance(error, TruncatedVideoError) and not is_partial:
                    raise
                outputs.mark_incomplete(str(error))
                return error
        return None

    def _results(
        self, video: Video, session: _Work, messages: VideoMessages, frames: RereadVideo
    ) -> Generator[_Pair, None, None]:
        """Each frame for which a result is wanted, with its result, in order.

        Then raises the error that ended the video early, if one did.
        """
        if not isinstance(session, Propagation):
            yield from self._forward_results(video, session, messages)
            return

        def advance() -> None:
            self.measurements.update_memory(session)
            messages.advance()

        session.observe(functools.partial(self._timed, video), advance)
        yield from session.results()
        if frames.cause is not None:
            raise frames.cause

    def _forward_results(
        self, video: Video, session: SegmentationSession, messages: VideoMessages
    ) -> Iterator[_Pair]:
        """As `_results`."""
        if self._segmenter.config.memory.permanent:
            # if the file ends early, the frames before its end are segmented
            with contextlib.suppress(TruncatedVideoError):
                for frame in video.annotated_frames():
                    self._timed(video, lambda frame=frame: _preload(session, frame))
        waiting: dict[int, Frame] = {}  # by their own index, until their result is due
        cause = None
        with contextlib.closing(_read_ahead(video)) as frames:
            try:
                for frame in frames:
                    if frame.required:
                        waiting[frame.schedule_index] = frame
                    result = self._timed(video, lambda frame=frame: _step(session, frame))
                    self.measurements.update_memory(session)
                    messages.advance()
                    if result is not None:
                        yield waiting.pop(result.frame_index), result
                        del result
            except TruncatedVideoError as error:
                cause = error
        remaining = session.drain()
        while (result := self._timed(video, lambda: next(remaining, None))) is not None:
            self.measurements.update_memory(session)
            yield waiting.pop(result.frame_index), result
            del result
        if cause is not None:
            raise cause

    def _timed(self, video: Video, work: Callable[[], Any]) -> Any:
        """Do some of the session's work on the clock. Its errors name the video."""
        try:
            with self.measurements.clock:
                return work()
        except InputError as error:
            raise InputError(f"{video.name}: {error}") from error

    def _new_work(self, video: Video, frames: RereadVideo) -> _Work:
        if self._direction != "forward":
            return propagation_of(
                video,
                frames,
                self._segmenter,
                direction=self._direction,
                lookahead=self._lookahead,
            )
        if drops_frames(video):  # frames that wait for a batch are not the newest
            return self._segmenter.session()
        return self._segmenter.session(
            lookahead=self._lookahead,
            frame_count=None if video.frame_count is None else expected_frames(video),
        )

    def _outputs(self, video: Video) -> VideoOutputs:
        overlay, soft = None, None
        if self._overlays:
            overlay = OverlayWriter(
                self._folder.overlays, video.name, video.palette, video.frames_per_second
            )
        if self._soft_writer is not None:
            soft = self._soft_writer.video(video.name)
        return VideoOutputs(self._writer.video(video.name, video.palette), soft, overlay)

    def _traced(
        self,
        video: Video,
        session: _Work,
        frame: Frame,
        position: int,
        seconds: float,
    ) -> FrameTrace:
        bank = session.memory
        return FrameTrace(
            video=video.name,
            frame=frame.name,
            position=position,
            seconds=round(seconds, 6),
            memory_elements=0 if bank is None else bank.size,
            memory_mb=0.0 if bank is None else round(bank.megabytes, 3),
            frames_memorised=session.frames_memorised,
            peak_memory_mb=round(self.measurements.peak_memory_mb, 1),
        )

    def _memory_grows(self) -> bool:
        """Whether the memory bank grows with the video."""
        config = self._segmenter.config.memory
        if config.max_megabytes is not None:
            return False
        return POLICIES[config.policy](config).frames_held(None) is None

    def _memory_remedy(self) -> str:
        """What takes less memory with these settings."""
        config = self._segmenter.config
        remedies = [
            "lower --resolution (frames far above it also need memory themselves: make them "
            "smaller, or split objects into several runs)"
        ]
        if config.clip_length > 1:
            remedies.append("lower --clip_length")
        elif self._lookahead > 1:
            remedies.append("give --lookahead 1")
        if isinstance(self._segmenter, EnsembleSegmenter):
            remedies.append("give smaller --scales or fewer members")
        remedies += ["raise --mem_every", "use a --memory that is bounded"]
        if self._segmenter.device.type != "cpu":
            remedies.append("use --device cpu")
        return ", ".join(remedies[:-1]) + f" or {remedies[-1]}"


def expected_frames(video: Video, direction: Direction = "forward") -> int:
    """How many frames a session of a video is given at most; 1 if that is unknown.

    Forward, they are those from its first annotated one on; both, there are two passes.
    """
    count = video.frame_count or 0
    frames = {"forward": count - video.first_index, "backward": count, "both": 2 * count}
    return max(frames[direction], 1)


def _read_ahead(video: Video) -> Iterator[Frame]:
    # a live source reads ahead itself, or does not, if only the newest frame counts
    return (
        video.frames() if isinstance(video, LiveVideo) else prefetch(video.frames(), _FRAMES_AHEAD)
    )


def _preload(session: SegmentationSession, frame: Frame) -> None:
    session.preload(frame.image, frame.labels, index=frame.schedule_index)


def _step(session: SegmentationSession, frame: Frame) -> FrameResult | None:
    return session.step(
        frame.image, frame.labels, index=frame.schedule_index, wanted=frame.required
    )
