"""Opening of video files and streams by PyAV, and the choice of the video stream that is read."""

from pathlib import Path
from typing import Any, BinaryIO

from dataset.image_file import size_text
from dataset.video.pyav import DECODING_ERRORS, Nameless, av
from util.errors import InputError

# Titles that are not UTF-8 are accepted; PyAV 19 and later always do so.
_LENIENT_METADATA = (
    {"metadata_errors": "replace"} if av and int(av.__version__.split(".")[0]) < 19 else {}
)
_BUFFER_BYTES = 1 << 18
_TEXT_FORMATS = ("tty", "bin", "xbin", "adf", "idf")  # demuxers that render texts as pictures
_MAX_FRAME_PIXELS = 1 << 28
_MIN_FRAMES_PER_SECOND, _MAX_FRAMES_PER_SECOND = 1, 1000
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # ITU-T H.273, table 3


def open_file_container(path: Path, file: BinaryIO) -> Any:
    """The container of a video file. Raises InputError if it is not a video.

    No protocol is allowed, so that what a playlist or a session description names is not opened.
    """
    try:
        container = av.open(
            Nameless(file),
            container_options={"protocol_whitelist": "none"},
            buffer_size=_BUFFER_BYTES,
            **_LENIENT_METADATA,
        )
    except (*DECODING_ERRORS, ValueError) as error:
        raise _not_a_video(path, getattr(error, "strerror", None) or str(error)) from None
    if container.format.name in _TEXT_FORMATS:
        container.close()
        raise _not_a_video(path, "it is a text file")
    return container


def _not_a_video(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path}: cannot be opened as a video ({reason}); it is damaged, cut short, or of a kind "
        "that FFmpeg does not read"
    )


def open_stream_container(url: str, name: str, timeout_seconds: float, protocols: str) -> Any:
    """The container of a network stream.

    Args:
        name: of the stream in messages, without passwords.
        protocols: those that may be used, separated by commas.

    Raises:
        InputError: the stream cannot be opened in this time.
    """
    options = {"protocol_whitelist": protocols, "rtsp_transport": "tcp"}
    try:
        return av.open(url, container_options=options, timeout=timeout_seconds, **_LENIENT_METADATA)
    except (*DECODING_ERRORS, ValueError):
        raise InputError(
            f"{name}: cannot be opened; check that it is there, and that no other program uses it"
        ) from None


def choose_video_stream(container: Any, name: str) -> tuple[Any, list[str]]:
    """The video stream that players show: the default one, never a cover picture.

    Returns:
        The stream, and notes for the user on the choice.

    Raises:
        InputError: there is none, FFmpeg cannot decode it, or its frames are too large.
    """
    flags = av.stream.Disposition
    pictures = flags.attached_pic | flags.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & pictures]
    if not streams:
        if container.streams.video:
            found = "only a cover picture"
        else:
            found = "sound or other data alone" if len(container.streams) else "nothing"
        raise InputError(
            f"{name}: holds no video ({found}); give a video file or a folder of frames"
        )
    chosen = next((stream for stream in streams if stream.disposition & flags.default), streams[0])
    context = chosen.codec_context
    if context is None:
        raise InputError(
            f"{name}: is coded in a way that this FFmpeg cannot decode; convert it: "
            "ffmpeg -i IN -c:v libx264 OUT.mp4"
        )
    size = size_text((context.height, context.width))
    if context.width * context.height > _MAX_FRAME_PIXELS:
        raise InputError(
            f"{name}: frames of {size}, more than {_MAX_FRAME_PIXELS >> 20} megapixels; reduce "
            "the video's size"
        )
    if len(streams) == 1:
        return chosen, []
    found = f"holds {len(streams)} video streams; stream {chosen.index} is read, of {size}"
    return chosen, [f"{name}: {found}"]


def colour_notes(stream: Any, name: str) -> list[str]:
    """Notes for the user on colours that are not read as players show them."""
    notes = []
    pixel_format = stream.codec_context.format
    has_alpha = pixel_format is not None and any(
        component.is_alpha for component in pixel_format.components
    )
    # WebM stores alpha beside the frames.
    alpha_mode = stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE"))
    if has_alpha or alpha_mode == "1":
        notes.append(
            f"{name}: has an alpha channel, which is left out: clear pixels show the colour "
            "stored there"
        )
    transfer = _HDR_TRANSFERS.get(int(stream.codec_context.color_trc or 0))
    if transfer is not None:
        notes.append(
            f"{name}: HDR ({transfer}); read without tone mapping, so that colours look paler "
            "than on an HDR screen"
        )
    return notes


def plausible_frame_rate(stream: Any) -> float | None:
    """The average frames per second; None if the stream states no plausible rate."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate is not None and _MIN_FRAMES_PER_SECOND <= rate <= _MAX_FRAMES_PER_SECOND:
            return float(rate)
    return None
