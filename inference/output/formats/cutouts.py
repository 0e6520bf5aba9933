"""Cut-outs: the objects on a transparent background, with straight alpha.

Legend: H W height and width of a frame in pixels.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dataset.formats import MaskVideo
from dataset.video.pyav import require_av
from inference.output.background import BackgroundPool
from inference.output.formats.mattes import MatteLevels
from inference.output.formats.options import ExportOptions
from inference.output.formats.pictures import masked_pictures
from inference.output.overlay import OverlayWriter
from inference.output.video_file import MOV, WEBM, Encoding, VideoFile, playback_rate
from inference.output.writer import FolderWriter
from util.errors import InputError

# Players of WebM take alpha from a second picture beside each frame. FFmpeg's own decoder of VP9
# leaves it out; libvpx-vp9 reads it. Alternate reference frames would have none.
WEBM_ALPHA = Encoding(
    encoder="libvpx-vp9",
    suffix=WEBM,
    options={"deadline": "good", "cpu-used": "4", "crf": "24", "b": "0", "auto-alt-ref": "0"},
    pixel_format="yuva420p",
    metadata={"alpha_mode": "1"},
    is_bt709=True,
)
PRORES_4444 = Encoding(
    encoder="prores_ks",
    suffix=MOV,
    options={"profile": "4444", "vendor": "apl0", "alpha_bits": "16"},
    pixel_format="yuva444p10le",
    is_bt709=True,
)
_MARGIN_PIXELS = 8
_THREADS, _CAPACITY = 2, 4


def write_webm(videos: Sequence[MaskVideo], out: Path, options: ExportOptions) -> None:
    """OUT/VIDEO.webm: VP9 with alpha, which browsers play."""
    _write_videos(videos, out, options, WEBM_ALPHA)


def write_prores(videos: Sequence[MaskVideo], out: Path, options: ExportOptions) -> None:
    """OUT/VIDEO.mov: ProRes 4444, for editing."""
    _write_videos(videos, out, options, PRORES_4444)


def write_png_sequence(videos: Sequence[MaskVideo], out: Path, options: ExportOptions) -> None:
    """OUT/VIDEO/FRAME.png: RGBA, without loss; clear pixels are black."""
    pool = BackgroundPool(_THREADS, _CAPACITY)
    try:
        for video in videos:
            with _CutoutWriter(out / video.name, pool) as writer:
                for cutout in _cutouts(video, options, margin_pixels=0):
                    writer.write(cutout.name, cutout.pixels)
    finally:
        pool.close()


def write_overlays(videos: Sequence[MaskVideo], out: Path, options: ExportOptions) -> None:
    """OUT/VIDEO.mp4, the masks over the frames, and the sheet VIDEO.png (see OverlayWriter)."""
    for video in videos:
        rate = options.frames.source(video.name).frames_per_second
        with OverlayWriter(out, video.name, video.palette, rate) as overlay:
            for picture in masked_pictures(video, options.frames):
                overlay.add(*picture)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Cutout:
    """name: of the frame. pixels: RGBA uint8 [H, W, 4]. seconds: when it is shown."""

    name: str
    pixels: np.ndarray
    seconds: float | None


def _cutouts(video: MaskVideo, options: ExportOptions, *, margin_pixels: int) -> Iterator[_Cutout]:
    """margin_pixels: how far around the objects clear pixels keep their colour. Encoders that share
    colours between neighbouring pixels need it; otherwise edges would darken."""
    levels = MatteLevels(video, options.soft)
    around = np.ones((2 * margin_pixels + 1, 2 * margin_pixels + 1), np.uint8)
    for name, image, labels, seconds in masked_pictures(video, options.frames):
        alpha = levels.of_all(name, labels)
        kept = cv2.dilate(alpha, around) > 0
        pixels = np.dstack((image * kept[..., None], alpha))
        yield _Cutout(name=name, pixels=pixels, seconds=seconds)


def _write_videos(
    videos: Sequence[MaskVideo], out: Path, options: ExportOptions, encoding: Encoding
) -> None:
    require_av("a cut-out as a video")
    if not encoding.is_available:
        raise InputError(
            f"this FFmpeg has no encoder {encoding.encoder}; install PyAV's own wheel (pip install "
            "av), or write a PNG sequence"
        )
    for video in videos:
        height, width = video.size()
        path = out / f"{video.name}{encoding.suffix}"
        with VideoFile(
            path,
            path,
            encoding=encoding,
            rate=playback_rate(options.frames.source(video.name).frames_per_second),
            size=(width, height),
            remedy="choose another folder",
        ) as file:
            for cutout in _cutouts(video, options, margin_pixels=_MARGIN_PIXELS):
                file.write(cutout.pixels, cutout.seconds)


class _CutoutWriter(FolderWriter):
    """The cut-outs of one video: FRAME.png."""

    def write(self, frame_name: str, pixels: np.ndarray) -> None:
        self._submit(lambda: self._write_png(f"{frame_name}.png", Image.fromarray(pixels)))
