"""Frames of video files and network streams, read by PyAV, which is FFmpeg.

Frames are numbered as FFmpeg and players count them: the decoded ones in the order in which they
are shown. A damaged frame that cannot be decoded keeps its number, so that the numbers behind it
are those of the whole file (see FrameNumbering).

Legend: H W height and width in pixels, as shown.
"""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dataset.frame_range import FrameRange
from dataset.image_file import size_text
from dataset.video.base import TruncatedVideoError
from dataset.video.container_end import end_of_media, filler_at_end, is_cut_off
from dataset.video.conversion import ConvertedFrame, FrameConverter, is_deep, turn_as_shown
from dataset.video.demuxing import CONTIGUOUS_FORMATS, Demuxer
from dataset.video.numbering import FrameNumbering
from dataset.video.opening import (
    choose_video_stream,
    colour_notes,
    open_file_container,
    open_stream_container,
    plausible_frame_rate,
)
from dataset.video.pyav import DECODING_ERRORS, av, require_av
from util.errors import InputError
from util.text import counted

_UNORDERED_FORMATS = ("avi",)  # whose times are those of decoding, not of presentation
_MAX_TRAILER_BYTES = 512  # behind the last packet of a file
_MAX_PADDING_BYTES = 4096  # up to whole sectors and pages
_SHORT_FILE_FRAMES = 512
_NUMBERS_NAMED = 5
_FULL_RANGE = FrameRange(0, 0xFFFF)


class DecodedFrame(NamedTuple):
    """A frame of a video.

    index: the frame's number. seconds: when it is shown, from an origin of the file's own; None if
    unknown. image: RGB uint8 [H, W, 3].
    """

    index: int
    seconds: float | None
    image: np.ndarray


class VideoReader:
    """One pass over a video file or a stream, from a single thread. Must be closed.

    notes: lines for the user on how the frames are read; more are added during reading.
    frames_per_second: the average; None if unknown.
    is_deep: whether frames have 16 bits, which are mapped to 8 by the frame range.
    """

    def __init__(self, container: Any, name: str, frame_range: FrameRange | None = None):
        """name: for messages. frame_range: of 16-bit frames; by default 0 to 65535."""
        self._container = container
        self._name = name
        self._resources = contextlib.ExitStack()
        self._frame_range = frame_range or _FULL_RANGE
        self._stream, self.notes = choose_video_stream(container, name)
        self.notes += colour_notes(self._stream, name)
        context = self._stream.codec_context
        # Frame threads report an error beside another packet than the damaged one, and lose frames.
        self._stream.thread_type = "SLICE"
        if context.name == "libdav1d":
            # Otherwise it reports damage some packets late, and loses the frames that it holds.
            context.flags |= av.codec.context.Flags.low_delay
        self.frames_per_second = plausible_frame_rate(self._stream)
        self.is_deep = is_deep(context.format)
        self._stated_count = self._stream.frames or None
        self._numbering = FrameNumbering()
        self._demuxer = Demuxer(container, self._stream, self._numbering.add_damage)
        self._is_last_packet_whole = True
        self._read_count = 0
        self._partly_damaged_count = 0
        self._lost_noted = 0

    @classmethod
    def open_file(cls, path: Path, frame_range: FrameRange | None = None) -> "VideoReader":
        """A video file. Raises InputError if it is missing or not a video, or PyAV is missing."""
        require_av(f"{path}: a video file, and reading one")
        if not path.is_file():
            raise InputError(f"{path}: no such video; give a video file or a folder of frames")
        with contextlib.ExitStack() as resources:
            file = resources.enter_context(path.open("rb"))
            container = open_file_container(path, file)
            resources.callback(container.close)
            reader = cls(container, str(path), frame_range)
            reader._resources = resources.pop_all()
        return reader

    @classmethod
    def open_stream(
        cls, url: str, name: str, timeout_seconds: float, protocols: str
    ) -> "VideoReader":
        """A network stream. Raises InputError as open_stream_container, or if PyAV is missing."""
        require_av(f"{name}: a stream, and reading one")
        with contextlib.ExitStack() as resources:
            container = open_stream_container(url, name, timeout_seconds, protocols)
            resources.callback(container.close)
            reader = cls(container, name)
            reader._resources = resources.pop_all()
        return reader

    def close(self) -> None:
        """Release the file or the connection."""
        self._resources.close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def frames(self, start: int = 0) -> Iterator[DecodedFrame]:
        """The frames from number `start` on, of one size, in the order in which they are shown.

        Raises:
            TruncatedVideoError: after the last frame of that size, if the size changes.
        """
        size = None
        for number, seconds, matrix, pixels in self._converted_frames(start):
            if number < start:
                continue
            image = self._as_shown(pixels, matrix)
            if size is None:
                size = image.shape[:2]
            if image.shape[:2] != size:
                raise TruncatedVideoError(
                    f"{self._name}: frames of {size_text(image.shape[:2])} after {size_text(size)} "
                    f"at frame {number}; results are for the frames before: cut or convert the "
                    "video, so that it has one size"
                )
            yield DecodedFrame(number, seconds, image)

    def sample_frames(self, count: int) -> Iterator[np.ndarray]:
        """Frames whose values represent the video's: all of a short file, about `count` from all
        over a long one.

        Returns: as stored, [H, W, 3], uint16 if the reader is_deep, otherwise uint8.
        """
        duration, expected_count = self._container.duration, self.estimate_frame_count()
        if not duration or expected_count is None or expected_count <= _SHORT_FILE_FRAMES:
            converter = FrameConverter()
            for number, frame in itertools.islice(self._decoded_frames(), _SHORT_FILE_FRAMES):
                yield from (converted.pixels for converted in converter.convert(number, frame))
            yield from (converted.pixels for converted in converter.flush())
            return
        converter = FrameConverter()
        for position in range(count):
            with contextlib.suppress(*DECODING_ERRORS):
                start = self._container.start_time or 0
                self._container.seek(duration * position // count + start)
                _, frame = next(self._decoded_frames(), (0, None))
                if frame is not None:
                    for converted in (*converter.convert(0, frame), *converter.flush()):
                        yield converted.pixels

    def count_packets(self) -> int:
        """The number of frames at most, counted without decoding. Reads to the end."""
        return sum(1 for packet in self._demuxer.packets() if packet.size and not packet.is_discard)

    def estimate_frame_count(self) -> int | None:
        """The number of frames in the header, or by its duration and rate; None if unknown. It may
        be wrong."""
        if self._stated_count is not None:
            return self._stated_count
        duration = self._container.duration
        if duration is None or self.frames_per_second is None:
            return None
        return max(1, round(duration / 1_000_000 * self.frames_per_second))

    def reason_for_no_frame(self) -> str:
        """Why no frame was decoded, for messages."""
        codec = self._stream.codec_context.name
        if self._numbering.last_error:
            return f"its {codec} packets cannot be decoded ({self._numbering.last_error})"
        return f"no {codec} packet gives a frame"

    def check_end(self, path: Path) -> None:
        """After the last frame: raise TruncatedVideoError if the file was cut off there, or the
        frames behind it are damaged. path: the file that is read."""
        frames_read = counted(self._read_count, "frame")
        stated_count = self._stated_count or 0
        if self._demuxer.failure:
            reason = self._demuxer.failure
            found = f"ends after {frames_read}, since the rest cannot be read ({reason})"
        elif not self._is_last_packet_whole or is_cut_off(path):
            if stated_count > self._read_count:
                found = f"ends after {self._read_count} of {stated_count} frames"
            else:
                found = f"is cut off after {frames_read}"
        elif self._is_end_damaged(path):
            found = f"ends after {frames_read}, since the rest is damaged"
        else:
            return
        raise TruncatedVideoError(
            f"{self._name}: {found}; results are for the frames read: copy or convert the video "
            "again"
        )

    def _is_end_damaged(self, path: Path) -> bool:
        return (
            self._numbering.count_lost_at_end() > 0
            or self._has_unread_packets(path)
            or self._ends_in_filler(path)
        )

    def _has_unread_packets(self, path: Path) -> bool:
        """Whether packets must follow the last one that the demuxer found."""
        position = self._demuxer.position
        if self._container.format.name not in CONTIGUOUS_FORMATS or position is None:
            return False
        return end_of_media(path) - position > _MAX_TRAILER_BYTES

    def _ends_in_filler(self, path: Path) -> bool:
        """Whether the file ends in filler although its header counts further frames.

        If the header states no count, the filler may be a recorder's reserve, and is only noted.
        """
        if self._demuxer.position is None:
            return False
        filler_bytes = filler_at_end(path, self._demuxer.position)
        if filler_bytes <= _MAX_PADDING_BYTES:
            return False
        if (self.estimate_frame_count() or 0) > self._numbering.next_number + 1:
            return True
        percentage = 100 * filler_bytes / path.stat().st_size
        self._note(
            f"the last {percentage:.0f} % of the file are empty, behind "
            f"{counted(self._read_count, 'frame')}; if more are expected, its download is "
            "incomplete"
        )
        return False

    def _converted_frames(self, start: int) -> Iterator[ConvertedFrame]:
        """The frames from number `start` on, or from the one before, which deinterlacing may
        need."""
        converter = FrameConverter()
        for number, frame in self._decoded_frames():
            if number >= start - 1:
                yield from converter.convert(number, frame)
                if converter.was_interlaced:
                    self._note("interlaced; deinterlaced (yadif), one frame for each")
        yield from converter.flush()

    def _decoded_frames(self) -> Iterator[tuple[int, Any]]:
        """The decoder's frames with their numbers."""
        context = self._stream.codec_context
        has_times = self._container.format.name not in _UNORDERED_FORMATS
        for packet in self._demuxer.packets():
            time = packet.pts if has_times else None
            if packet.size and not packet.is_discard:
                self._add_packet(packet, time)
            try:
                frames = packet.decode()
            except EOFError:  # a decoder that has been flushed already
                continue
            except DECODING_ERRORS as error:
                self._numbering.add_failure(time, error)
                continue
            for frame in frames:
                number = self._numbering.number_frame(frame.pts if has_times else None)
                if self._read_count == 0:
                    # From now on, a damaged frame must not discard those predicted from it.
                    # Before the first whole frame there is nothing to predict from.
                    context.flags |= av.codec.context.Flags.output_corrupt
                self._read_count += 1
                self._partly_damaged_count += frame.is_corrupt
                self._note_irregularities()
                yield number, frame
        if self._partly_damaged_count:
            self._note(
                f"{counted(self._partly_damaged_count, 'frame')} damaged in part; the decoder "
                "filled in what is missing there"
            )

    def _add_packet(self, packet: Any, time: int | None) -> None:
        is_hidden = _is_hidden(packet, self._stream.codec_context.name)
        self._numbering.add_packet(time, packet.is_keyframe, is_hidden)
        self._is_last_packet_whole = not packet.is_corrupt
        if packet.is_corrupt:
            self._numbering.add_damage()

    def _note_irregularities(self) -> None:
        """Add notes on what the numbering found at the last frame."""
        numbering = self._numbering
        if self._read_count == 1 and numbering.skipped_at_start:
            self._note("starts between key frames; frame 0 is the first that can be decoded")
        if len(numbering.lost) > self._lost_noted:
            new = numbering.lost[self._lost_noted :]
            self._lost_noted = len(numbering.lost)
            self._note(
                f"{counted(len(new), 'damaged frame')} passed over ({_number_list(new)}): they "
                "have no result, and the other frames keep their numbers"
            )
        if numbering.gap is not None:
            missing = counted(numbering.gap.missing_frames, "frame")
            self._note(
                f"a gap as long as {missing} after frame {numbering.gap.number_before}; if frames "
                "were lost there, the numbers after it are too small"
            )

    def _as_shown(self, pixels: np.ndarray, display_matrix: np.ndarray | None) -> np.ndarray:
        if pixels.dtype != np.uint8:
            pixels = self._frame_range.to_8_bits(pixels)
        if display_matrix is None:
            return pixels
        turned = turn_as_shown(pixels, display_matrix)
        if turned is None:
            self._note(
                "its display matrix turns frames by no multiple of 90 degrees; they are read as "
                "stored"
            )
            return pixels
        return turned

    def _note(self, text: str) -> None:
        line = f"{self._name}: {text}"
        if line not in self.notes:
            self.notes.append(line)


def _is_hidden(packet: Any, codec: str) -> bool:
    """Whether a packet's frame is never shown, as the reference frames of VP8 (RFC 6386, 9.1)."""
    return codec in ("vp8", "libvpx") and not bytes(packet)[0] & 0x10


def _number_list(numbers: list[int]) -> str:
    """'number 3', 'number 3 to 7' for consecutive numbers, or 'number 3, 5, 9, …'."""
    if numbers[-1] - numbers[0] == len(numbers) - 1 > 0:
        return f"number {numbers[0]} to {numbers[-1]}"
    more = ", …" if len(numbers) > _NUMBERS_NAMED else ""
    return f"number {', '.join(map(str, numbers[:_NUMBERS_NAMED]))}{more}"
