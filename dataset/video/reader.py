"""Frames from video files and network streams, by PyAV, which is FFmpeg. Legend: H W height and width in pixels, as shown.

Frames are counted as FFmpeg and players count them: those that are decoded, in the order in which they are shown. A damaged frame that cannot be decoded keeps its
number, so that the numbers after it are those of the whole file; which ones these are is told by the times of the packets that the decoder was given.
"""

import contextlib
import heapq
import itertools
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from dataset.frame_range import FrameRange
from dataset.image_file import size_text
from dataset.video.base import TruncatedVideoError
from dataset.video.container_end import end_of_media, filler_at_end, is_cut_off
from dataset.video.pyav import DECODING_ERRORS, Nameless, av, require_av
from util.errors import InputError
from util.text import counted

_LENIENT = (
    {"metadata_errors": "replace"} if av and int(av.__version__.split(".")[0]) < 19 else {}
)  # of titles that are no UTF-8; PyAV 19 always is
_BUFFER_BYTES = 1 << 18
_TEXT_FORMATS = ("tty", "bin", "xbin", "adf", "idf")  # demuxers that make pictures of texts
_UNORDERED_FORMATS = ("avi",)  # whose times are those of decoding, not of showing
_CONTIGUOUS_FORMATS = (
    "matroska,webm",
    "flv",
)  # whose packets follow one another but for their headers
_OVERHEAD_BYTES, _TRAILER_BYTES = 96, 512  # what lies between packets at most, and behind the last
_PADDING_BYTES = 4096  # to whole sectors and pages
_DEMUXING_ATTEMPTS = 20
_REORDERED_FRAMES = (
    16  # how far a lost packet's frame may be shown after that of the packet behind it
)
_LONGEST_GAP_FRAMES = 250
_FRAMES_OF_A_SHORT_FILE = 512
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # ITU-T H.273, table 3
_DEEP_BITS = 16
_NUMBERS_SHOWN = 5
_MOST_PIXELS = 1 << 28
_UNIT = 1 << 16  # of a display matrix's first two columns (ISO 14496-12, 6.2.2)
_SCALE = "flags=bicubic+accurate_rnd+full_chroma_int"  # what the ffmpeg program converts with


class DecodedFrame(NamedTuple):
    """index: the frame's number. seconds: when it is shown, from an origin of the file's own; None where the file does not say. image: RGB, uint8 [H, W, 3]."""

    index: int
    seconds: float | None
    image: np.ndarray


class VideoReader:
    """One pass over a video file, or over a stream. To be closed; used from one thread.

    name: for messages. notes: lines on how the frames are read, which grow as these come. stated_count: what the header says, a hint only. frames_per_second: the
    average, None where unknown. is_deep: the frames are of 16 bits, which frame_range maps to 8.
    """

    def __init__(self, container: Any, name: str):
        self.name = name
        self.notes: list[str] = []
        self.frame_range: FrameRange | None = None
        self._container = container
        self._file: BinaryIO | None = None
        self._stream = _chosen_stream(container, name, self.notes)
        # Threads of one frame each report an error beside another packet than the one that is damaged, and lose frames with it
        self._stream.thread_type = "SLICE"
        self.stated_count = self._stream.frames or None
        self.frames_per_second = _plausible_rate(self._stream)
        self.is_deep = _is_deep(self._stream.codec_context.format)
        if (
            self._stream.codec_context.name == "libdav1d"
        ):  # it would report damage some packets late, and lose what it holds
            self._stream.codec_context.flags |= av.codec.context.Flags.low_delay
        self.notes += _colour_notes(self._stream, name)
        self._numbering = _Numbering()
        self._read = 0
        self._damaged_in_part = 0
        self._lost_noted = 0
        self._read_to: int | None = None
        self._last_packet_is_whole = True
        self._failure = ""

    @classmethod
    def of_file(cls, path: Path) -> "VideoReader":
        """Raises InputError where the file is missing or is no video, or PyAV is not installed."""
        require_av(f"{path}: a video file, and reading one")
        if not path.is_file():
            raise InputError(f"{path}: no such video; give a video file or a folder of frames")
        file = path.open("rb")
        try:
            # No protocol, so that what a playlist or a description of sessions names is not opened
            container = av.open(
                Nameless(file),
                container_options={"protocol_whitelist": "none"},
                **_LENIENT,
                buffer_size=_BUFFER_BYTES,
            )
        except (*DECODING_ERRORS, ValueError) as error:
            file.close()
            raise _not_a_video(path, error) from None
        try:
            if container.format.name in _TEXT_FORMATS:
                raise _not_a_video(path, "it is a text")
            reader = cls(container, str(path))
        except BaseException:
            container.close()
            file.close()
            raise
        reader._file = file
        return reader

    @classmethod
    def of_stream(
        cls, url: str, name: str, timeout_seconds: float, protocols: str
    ) -> "VideoReader":
        """A network stream. protocols: those that it may use, comma-separated. Raises InputError where it cannot be opened in time."""
        require_av(f"{name}: a stream, and reading one")
        options = {"protocol_whitelist": protocols, "rtsp_transport": "tcp"}
        try:
            container = av.open(url, container_options=options, **_LENIENT, timeout=timeout_seconds)
        except (*DECODING_ERRORS, ValueError):
            raise InputError(
                f"{name}: cannot be opened; check that it is there, and that no other program uses it"
            ) from None
        return cls(container, name)

    def close(self) -> None:
        """Give the file or connection free."""
        self._container.close()
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def frames(self, start: int = 0) -> Iterator[DecodedFrame]:
        """From number `start` on, of one size, in the order they are shown.

        Raises TruncatedVideoError, after the last frame that could be decoded, where the frames' size changes or frames at the end are damaged.
        """
        conversion = _Conversion(self.notes, self.name)
        size = None
        for number, frame in self._numbered():
            if (
                frame is not None and number < start - 1
            ):  # the one before may be needed to deinterlace
                continue
            for index, seconds, matrix, converted in conversion.converted(number, frame):
                if index < start:
                    continue
                image = self._array(converted, matrix)
                if size is None:
                    size = image.shape[:2]
                if image.shape[:2] != size:
                    found = f"frames of {size_text(image.shape[:2])} after {size_text(size)}"
                    raise TruncatedVideoError(
                        f"{self.name}: {found} at frame {index}; results are for the frames before: cut or convert the video, so that it has one size"
                    )
                yield DecodedFrame(index, seconds, image)

    def check_end(self, path: Path) -> None:
        """After the last frame: raises TruncatedVideoError where the file `path` has an end that is not its own."""
        lost_at_end = self._numbering.lost_at_end()
        if self._failure:
            found = f"ends after {counted(self._read, 'frame')}, since the rest cannot be read ({self._failure})"
        elif self._last_packet_is_whole and not is_cut_off(path):
            if not lost_at_end and not self._left_unread(path) and not self._ends_in_filler(path):
                return
            found = f"ends after {counted(self._read, 'frame')}, since the rest is damaged"
        else:
            stated = self.stated_count or 0
            found = (
                f"ends after {self._read} of {stated} frames"
                if stated > self._read
                else f"is cut off after {counted(self._read, 'frame')}"
            )
        raise TruncatedVideoError(
            f"{self.name}: {found}; results are for the frames read: copy or convert the video again"
        )

    def _left_unread(self, path: Path) -> bool:
        """Whether packets must follow those that the demuxer found."""
        if self._container.format.name not in _CONTIGUOUS_FORMATS or self._read_to is None:
            return False
        return end_of_media(path) - self._read_to > _TRAILER_BYTES

    def _ends_in_filler(self, path: Path) -> bool:
        """Whether filler stands where packets must be, by what the header says of their number.

        Where it says nothing, the filler may as well be a recorder's reserve, and is a note.
        """
        if self._read_to is None:
            return False
        count = filler_at_end(path, self._read_to)
        if count <= _PADDING_BYTES:
            return False
        if (self.about_how_many() or 0) > self._numbering.next + 1:
            return True
        share = f"the last {100 * count / path.stat().st_size:.0f} % of the file are empty"
        self._note(
            f"{self.name}: {share}, behind {counted(self._read, 'frame')}; if more are expected, its download is incomplete"
        )
        return False

    def about_how_many(self) -> int | None:
        """How many frames the header states, or its duration and rate make; None where it says neither."""
        if self.stated_count is not None:
            return self.stated_count
        duration = self._container.duration
        if duration is None or self.frames_per_second is None:
            return None
        return max(1, round(duration / 1_000_000 * self.frames_per_second))

    def why_nothing(self) -> str:
        """The reason for which no frame was decoded."""
        codec = self._stream.codec_context.name
        return (
            f"its {codec} packets cannot be decoded ({self._numbering.last_error})"
            if self._numbering.last_error
            else f"no {codec} packet gives a frame"
        )

    def packet_count(self) -> int:
        """How many frames there are at most, counted without decoding. Reads to the end."""
        return sum(1 for packet in self._packets() if packet.size and not packet.is_discard)

    def sampled(self, count: int) -> Iterator[np.ndarray]:
        """All frames of a short file, or about `count` from all over a long one, uint16 [H, W, 3] where it is deep. For looking at values, not for counting."""
        conversion = _Conversion([], self.name)
        duration, expected = self._container.duration, self.about_how_many()
        if not duration or expected is None or expected <= _FRAMES_OF_A_SHORT_FILE:
            for number, frame in itertools.islice(self._numbered(), _FRAMES_OF_A_SHORT_FILE):
                yield from (pixels for *_, pixels in conversion.converted(number, frame))
            return
        for number in range(count):
            with contextlib.suppress(*DECODING_ERRORS):
                self._container.seek(duration * number // count + (self._container.start_time or 0))
                frame = next((frame for _, frame in self._numbered() if frame is not None), None)
                if frame is not None:
                    yield from (
                        pixels
                        for *_, pixels in (
                            *conversion.converted(0, frame),
                            *conversion.converted(0, None),
                        )
                    )

    def _array(self, pixels: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
        if pixels.dtype != np.uint8:
            pixels = (self.frame_range or FrameRange(0, 0xFFFF)).to_8_bits(pixels)
        return pixels if matrix is None else self._turned(pixels, matrix)

    def _turned(self, pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        turned = as_shown(pixels, matrix)
        if turned is None:
            self._note(
                f"{self.name}: its display matrix turns frames by no multiple of 90 degrees; they are read as stored"
            )
            return pixels
        return turned

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)

    def _packets(self) -> Iterator[Any]:
        """All of the stream, then an empty one. Where the container is damaged, the demuxer goes on behind it if it can."""
        failures = 0
        contiguous = self._container.format.name in _CONTIGUOUS_FORMATS
        while True:
            try:
                for packet in (
                    self._container.demux() if contiguous else self._container.demux(self._stream)
                ):
                    failures = 0
                    if packet.size and packet.pos is not None and packet.pos >= 0:
                        if (
                            contiguous
                            and self._read_to is not None
                            and packet.pos - self._read_to > _OVERHEAD_BYTES
                        ):
                            self._numbering.suspect()
                        self._read_to = max(self._read_to or 0, packet.pos + packet.size)
                    if packet.stream.index == self._stream.index:
                        yield packet
                return
            except DECODING_ERRORS as error:
                failures += 1
                self._numbering.suspect()
                if failures == _DEMUXING_ATTEMPTS or not isinstance(
                    error, av.InvalidDataError
                ):  # a connection is lost, or stalls
                    self._failure = error.strerror or str(error)
                    return

    def _numbered(self) -> Iterator[tuple[int, Any]]:
        """Frames as decoded, with their numbers; (number, None) at the end."""
        context = self._stream.codec_context
        numbering = self._numbering
        ordered = self._container.format.name not in _UNORDERED_FORMATS
        for packet in self._packets():
            time = packet.pts if ordered else None
            if packet.size and not packet.is_discard:
                numbering.sent(time, packet.is_keyframe, _is_hidden(packet, context.name))
                self._last_packet_is_whole = not packet.is_corrupt
                if packet.is_corrupt:
                    numbering.suspect()
            try:
                frames = packet.decode()
            except EOFError:  # a decoder that has been emptied already
                continue
            except DECODING_ERRORS as error:
                numbering.failed(time, error)
                continue
            for frame in frames:
                number = numbering.number_of(frame.pts if ordered else None)
                if self._read == 0:
                    # a damaged frame is not to take those with it that were predicted from it; before the first whole one there is nothing to keep
                    context.flags |= av.codec.context.Flags.output_corrupt
                self._read += 1
                self._damaged_in_part += frame.is_corrupt
                self._note_lost()
                yield number, frame
        if self._damaged_in_part:
            self._note(
                f"{self.name}: {counted(self._damaged_in_part, 'frame')} damaged in part; what is missing there was made up by the decoder"
            )
        yield numbering.next, None

    def _note_lost(self) -> None:
        numbering = self._numbering
        if self._read == 1 and numbering.passed_at_start:
            self._note(
                f"{self.name}: starts between key frames; frame 0 is the first that can be decoded"
            )
        if len(numbering.lost) > self._lost_noted:
            new = numbering.lost[self._lost_noted :]
            self._lost_noted = len(numbering.lost)
            self._note(
                f"{self.name}: {counted(len(new), 'damaged frame')} passed over ({_ranges(new)}): no result there, and the others keep their numbers"
            )
        if numbering.gap is not None:
            before, missing = numbering.gap
            self._note(
                f"{self.name}: a gap as long as {counted(missing, 'frame')} after frame {before}; if frames were lost there, the numbers after it are too small"
            )


def _ranges(numbers: list[int]) -> str:
    """'3', '3 to 7' where they follow one another, or '3, 5, 9, …'."""
    if numbers[-1] - numbers[0] == len(numbers) - 1 > 0:
        return f"number {numbers[0]} to {numbers[-1]}"
    return (
        "number "
        + ", ".join(map(str, numbers[:_NUMBERS_SHOWN]))
        + (", …" if len(numbers) > _NUMBERS_SHOWN else "")
    )


def _not_a_video(path: Path, why: Exception | str) -> InputError:
    finding = getattr(why, "strerror", None) or str(why)
    return InputError(
        f"{path}: cannot be opened as a video ({finding}); it is damaged, cut short, or of a kind that FFmpeg does not read"
    )


def _chosen_stream(container: Any, name: str, notes: list[str]) -> Any:
    """The video stream that players show: the default one, not a cover picture. Raises InputError where there is none that can be decoded."""
    flags = av.stream.Disposition
    pictures = flags.attached_pic | flags.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & pictures]
    if not streams:
        found = (
            "only a cover picture"
            if container.streams.video
            else "sound or other data alone"
            if len(container.streams)
            else "nothing"
        )
        raise InputError(
            f"{name}: holds no video ({found}); give a video file or a folder of frames"
        )
    chosen = next((stream for stream in streams if stream.disposition & flags.default), streams[0])
    context = chosen.codec_context
    if context is None:
        raise InputError(
            f"{name}: is coded in a way that this FFmpeg cannot decode; convert it: ffmpeg -i IN -c:v libx264 OUT.mp4"
        )
    if context.width * context.height > _MOST_PIXELS:
        raise InputError(
            f"{name}: frames of {size_text((context.height, context.width))}, more than {_MOST_PIXELS >> 20} megapixels; reduce the video's size"
        )
    if len(streams) > 1:
        notes.append(
            f"{name}: holds {len(streams)} video streams; stream {chosen.index} is read, of {size_text((context.height, context.width))}"
        )
    return chosen


def _colour_notes(stream: Any, name: str) -> list[str]:
    """What of the colours is not read as a player shows it."""
    notes = []
    pixel_format = stream.codec_context.format
    clear = pixel_format is not None and any(
        component.is_alpha for component in pixel_format.components
    )
    if (
        clear or stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1"
    ):  # WebM keeps it beside the frames
        notes.append(
            f"{name}: has an alpha channel, which is left out: clear pixels show the colour stored there"
        )
    if (transfer := _HDR_TRANSFERS.get(int(stream.codec_context.color_trc or 0))) is not None:
        notes.append(
            f"{name}: HDR ({transfer}); read without tone mapping, so that colours look paler than on a screen for it"
        )
    return notes


def _plausible_rate(stream: Any) -> float | None:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate is not None and 1 <= rate <= 1000:
            return float(rate)
    return None


def _is_deep(pixel_format: Any) -> bool:
    """Whether the values are 16-bit numbers of the camera's or the program's own, not a colour signal of defined black and white."""
    if pixel_format is None or pixel_format.name.startswith(("yuv", "p0", "p2", "p4", "y2", "xyz")):
        return False
    return max(component.bits for component in pixel_format.components) == _DEEP_BITS


def _is_hidden(packet: Any, codec: str) -> bool:
    """Whether a packet holds no frame that is shown: VP8's reference frames say so in their first byte (RFC 6386, 9.1)."""
    return codec in ("vp8", "libvpx") and not bytes(packet)[0] & 0x10


class _Numbering:
    """Numbers for decoded frames, where some of the packets gave none.

    A packet whose time passes before its frame comes was lost where there was damage, or where frames come at a constant rate and its place is empty. Without damage it
    is none at other times: the second field of a frame, or a frame before the first key frame. Where the damage took packets too, the constant rate tells how many.
    """

    def __init__(self):
        self.next = 0
        self.lost: list[int] = []
        self.last_error = ""
        self.gap: tuple[int, int] | None = (
            None  # the number before a gap in a constant rate that no damage explains, and how many frames would fill it
        )
        self._waited_for: list[int] = []
        self._latest: int | None = None
        self._latest_sent: int | None = None
        self._first_key: int | None = None
        self._intervals: tuple[int, int, int] | None = None  # the shortest, the longest, how many
        self._suspected_until: int | None = None
        self._suspected_frames = 0
        self._lost_in_order = 0
        self.starts_with_key: bool | None = None
        self.passed_at_start = 0

    def sent(self, time: int | None, is_key: bool, is_hidden: bool) -> None:
        """A packet is given to the decoder. time: None where the container's times are not those of showing."""
        if self.starts_with_key is None:
            self.starts_with_key = is_key
            self._first_key = time if is_key else None
        if time is not None and not is_hidden:
            heapq.heappush(self._waited_for, time)
            self._latest_sent = time if self._latest_sent is None else max(time, self._latest_sent)

    def suspect(self) -> None:
        """There is damage at the packet sent last."""
        self._suspected_until, self._suspected_frames = self._latest_sent, _REORDERED_FRAMES

    def failed(self, time: int | None, error: Exception) -> None:
        """The packet could not be decoded."""
        self.last_error = getattr(error, "strerror", None) or str(error)
        self.suspect()
        if time is None and (self.next > 0 or self.starts_with_key):
            self._lost_in_order += 1

    def number_of(self, time: int | None) -> int:
        """The number of a decoded frame that is shown at `time`."""
        lost, self._lost_in_order = self._lost_in_order, 0
        if time is not None:
            passed = []
            while self._waited_for and self._waited_for[0] <= time:
                earlier = heapq.heappop(self._waited_for)
                passed += [earlier] * (earlier < time)
            lost += self._lost_before(time, passed)
            self._latest = time
            if self._suspected_until is not None and time > self._suspected_until:
                self._suspected_frames -= 1
        self.lost += range(self.next, self.next + lost)
        self.next += lost + 1
        return self.next - 1

    def lost_at_end(self) -> int:
        """How many frames at the end were not decoded, for damage."""
        missing = [time for time in self._waited_for if self._latest is None or time > self._latest]
        if self._is_constant():
            missing = [time for time in missing if time - self._latest > 0.75 * self._intervals[0]]
        elif not self._is_suspected():
            missing = []
        return self._lost_in_order + len(missing)

    def _lost_before(self, time: int, passed: list[int]) -> int:
        if (
            self._latest is None
        ):  # a file that starts between key frames begins with the first frame that can be decoded
            lost = (
                []
                if self._first_key is None
                else [earlier for earlier in passed if earlier >= self._first_key]
            )
            self.passed_at_start = len(passed) - len(lost)
            return len(lost)
        interval = time - self._latest
        if interval <= 0:
            return 0
        if not self._is_constant():
            lost = len(passed) if self._is_suspected() else 0
        else:
            missing = min(round(interval / self._intervals[0]) - 1, _LONGEST_GAP_FRAMES)
            lost = missing if self._is_suspected() else min(missing, len(passed))
            if missing > lost and self._intervals[2] >= _LONGEST_GAP_FRAMES // 25:
                self.gap = self.gap or (self.next - 1, missing)
        if lost == 0:
            shortest, longest, count = self._intervals or (interval, interval, 0)
            self._intervals = min(shortest, interval), max(longest, interval), count + 1
        return lost

    def _is_constant(self) -> bool:
        if self._intervals is None:
            return False
        shortest, longest, count = self._intervals
        return count >= 2 and longest - shortest <= max(2, shortest // 20)

    def _is_suspected(self) -> bool:
        return self._suspected_frames > 0


class _Conversion:
    """Decoded frames to RGB arrays, deinterlaced where they say that they are interlaced, by FFmpeg's filters.

    Interlaced frames come one later than they go in, since yadif looks at both neighbours.
    """

    def __init__(self, notes: list[str], name: str):
        self._notes = notes
        self._name = name
        self._graph: Any = None
        self._properties: tuple | None = None
        self._interlaced = False
        self._under_way: deque[tuple[int, float | None, np.ndarray | None]] = deque()
        self._before: Any = None

    def converted(
        self, number: int, frame: Any
    ) -> Iterator[tuple[int, float | None, np.ndarray | None, np.ndarray]]:
        """What is ready after this frame, or (None) at the end: number, seconds, display matrix, and the pixels as stored, uint8 or uint16 [H, W, 3]."""
        if frame is None:
            yield from self._rest()
            return
        properties = (frame.width, frame.height, frame.format.name)
        if (
            self._graph is None
            or properties != self._properties
            or (frame.interlaced_frame and not self._interlaced)
        ):
            yield from self._rest()
            self._begin(frame, properties)
        self._graph.push(frame)
        self._under_way.append((number, frame.time, _display_matrix(frame)))
        self._before = frame
        yield from self._ready()

    def _begin(self, frame: Any, properties: tuple) -> None:
        interlaced = self._interlaced or bool(frame.interlaced_frame)
        if interlaced and not self._interlaced:
            self._notes.append(
                f"{self._name}: interlaced; deinterlaced (yadif), one frame for each"
            )
        same_kind = properties == self._properties
        self._properties, self._interlaced = properties, interlaced
        graph = av.filter.Graph()
        width, height, pixel_format = properties
        stages = [
            graph.add_buffer(
                width=width, height=height, format=pixel_format, time_base=frame.time_base
            )
        ]
        if interlaced:
            stages.append(graph.add("yadif", "mode=send_frame:parity=auto:deint=interlaced"))
        stages.append(graph.add("scale", _SCALE))
        stages.append(
            graph.add("format", f"pix_fmts={'rgb48le' if _is_deep(frame.format) else 'rgb24'}")
        )
        stages.append(graph.add("buffersink"))
        for stage, following in itertools.pairwise(stages):
            stage.link_to(following)
        graph.configure()
        self._graph = graph
        if (
            interlaced and same_kind and self._before is not None
        ):  # the first interlaced frame's neighbour, which was given out already
            graph.push(self._before)
            self._under_way.append((-1, None, None))

    def _ready(self) -> Iterator[tuple[int, float | None, np.ndarray | None, np.ndarray]]:
        while True:
            try:
                converted = self._graph.pull()
            except (BlockingIOError, EOFError):
                return
            if (
                not self._under_way
            ):  # yadif repeats the last frame where the times of two frames are the same
                return
            number, seconds, matrix = self._under_way.popleft()
            if number >= 0:
                yield number, seconds, matrix, converted.to_ndarray()

    def _rest(self) -> Iterator[tuple[int, float | None, np.ndarray | None, np.ndarray]]:
        if self._graph is not None:
            self._graph.push(None)
            yield from self._ready()
            self._graph = None
            self._under_way.clear()


def _display_matrix(frame: Any) -> np.ndarray | None:
    data = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else np.frombuffer(bytes(data), np.int32).reshape(3, 3)


def as_shown(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray | None:
    """Pixels as stored, [H, W, …], turned and mirrored as a display matrix asks; None where it asks for something else. matrix: [3, 3] as FFmpeg's side data.

    A point (x, y) is shown at (a x + c y, b x + d y), for the matrix's a b in the first row and c d in the second, in units of 2^-16 (ISO 14496-12, 6.2.2).
    """
    (a, b), (c, d) = matrix[:2, :2].astype(np.int64).tolist()
    straight, crossed = max(abs(a), abs(d)), max(abs(b), abs(c))
    slack = max(straight, crossed) // 100
    if straight > 0 and crossed <= slack and min(abs(a), abs(d)) > 0:
        x, y = a, d
    elif crossed > 0 and straight <= slack and min(abs(b), abs(c)) > 0:
        pixels, x, y = pixels.swapaxes(0, 1), c, b
    else:
        return pixels if straight == crossed == 0 else None
    return np.ascontiguousarray(pixels[:: -1 if y < 0 else 1, :: -1 if x < 0 else 1])
