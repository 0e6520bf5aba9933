"""The formats that masks are written in: a row each.

A new format is a function that writes it, and a row here.
"""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Literal

from dataset.formats import ImportFormat, MaskVideo, VideoFrames, read_masks
from inference.output.formats.coco import write_coco, write_youtube_vis
from inference.output.formats.cutouts import (
    write_overlays,
    write_png_sequence,
    write_prores,
    write_webm,
)
from inference.output.formats.label_maps import write_davis, write_plain, write_youtube_vos
from inference.output.formats.mattes import write_mattes
from inference.output.formats.options import ExportOptions
from inference.output.merging import SoftRun
from inference.output.paths import CONFIG_NAME, OVERLAYS_NAME, SOFT_NAME
from util.errors import InputError
from util.files import atomic_folder

_FILE_SUFFIX = ".json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """name: as --to takes it. title: what it is. is_file: OUT is one file, not a folder.

    needs_frames: images are needed beside the masks. write: writes OUT, a file or the content of an
    empty folder; raises InputError if the masks do not fit the format, OSError if the disk is full.
    """

    name: str
    title: str
    write: Callable[[Sequence[MaskVideo], Path, ExportOptions], None]
    is_file: bool = False
    needs_frames: bool = False


EXPORTS = {
    row.name: row
    for row in (
        ExportFormat(name="png", title="indexed PNGs, VIDEO/FRAME.png", write=write_plain),
        ExportFormat(
            name="davis",
            title="indexed PNGs as DAVIS lays them out, with a list of the videos",
            write=write_davis,
        ),
        ExportFormat(
            name="youtube-vos",
            title="indexed PNGs as YouTube-VOS lays them out, with meta.json",
            write=write_youtube_vos,
        ),
        ExportFormat(
            name="coco",
            title="COCO's JSON of images with run-length codes",
            write=write_coco,
            is_file=True,
        ),
        ExportFormat(
            name="ytvis",
            title="YouTube-VIS's JSON of videos with run-length codes",
            write=write_youtube_vis,
            is_file=True,
        ),
        ExportFormat(
            name="mattes",
            title="a grey PNG for each object and frame, VIDEO/ID/FRAME.png",
            write=write_mattes,
        ),
        ExportFormat(
            name="cutout-webm",
            title="the objects on a clear background: VP9 with alpha in WebM",
            write=write_webm,
            needs_frames=True,
        ),
        ExportFormat(
            name="cutout-prores",
            title="the same as ProRes 4444 in QuickTime",
            write=write_prores,
            needs_frames=True,
        ),
        ExportFormat(
            name="cutout-png",
            title="the same as RGBA PNGs, VIDEO/FRAME.png",
            write=write_png_sequence,
            needs_frames=True,
        ),
        ExportFormat(
            name="overlay",
            title="the masks drawn over the frames: H.264 in MP4, and a sheet of frames",
            write=write_overlays,
            needs_frames=True,
        ),
    )
}
"""By name."""


def export_masks(
    videos: Sequence[MaskVideo],
    out: str | Path,
    format_name: str,
    *,
    frames: VideoFrames | None = None,
    soft: SoftRun | None = None,
) -> None:
    """Write the masks of videos. OUT must not exist, and appears once it is complete.

    Args:
        videos: with names that differ, at least one.
        out: a .json file or a folder, as the format has it.
        format_name: one of EXPORTS.
        frames: the images that the masks belong to.
        soft: the run whose probabilities are used for mattes and cut-outs.

    Raises:
        InputError: OUT is there, the format needs what is not given, or the masks do not fit it.
        OSError: OUT cannot be written.
        ValueError: there is no format of this name.
    """
    if format_name not in EXPORTS:
        raise ValueError(f"format {format_name!r}: one of {', '.join(EXPORTS)} is needed")
    row, out = EXPORTS[format_name], Path(out)
    check_export(row, out, frames)
    options = ExportOptions(frames=frames, soft=soft)
    if row.is_file:
        row.write(videos, out, options)
        return
    with atomic_folder(out) as folder:
        row.write(videos, folder, options)


def check_export(row: ExportFormat, out: Path, frames: VideoFrames | None) -> None:
    """Raise InputError if OUT cannot be what the format writes, or frames are missing."""
    if out.exists():
        raise InputError(f"{out}: is there already; choose another name")
    if row.is_file != (out.suffix.lower() == _FILE_SUFFIX):
        needed = f"a file named OUT{_FILE_SUFFIX}" if row.is_file else "a folder"
        raise InputError(f"{out}: --to {row.name} writes {needed}")
    if row.needs_frames and frames is None:
        raise InputError(f"--to {row.name} needs the frames; add --frames with a folder or a video")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion:
    """read: the format that was recognised. videos: what was converted, with its notes. soft:
    whether mattes are probabilities."""

    read: ImportFormat
    videos: list[MaskVideo]
    soft: bool


def convert_masks(
    source: Path,
    out: Path,
    to: str,
    *,
    format_name: str | None = None,
    frames: VideoFrames | None = None,
    colours: bytes | Literal["auto"] | None = None,
    object_ids: Collection[int] | None = None,
) -> Conversion:
    """Read masks and write them in another format.

    Args:
        source: masks in any of IMPORTS, or the output folder of a run; its probabilities, if it
            has some, become mattes.
        out, to: see export_masks. format_name, frames, colours: see read_masks.
        object_ids: convert these alone; None for all.

    Raises:
        InputError: as read_masks and export_masks; nothing is left of OUT.
    """
    check_export(EXPORTS[to], out, frames)
    is_run = (source / CONFIG_NAME).is_file()
    imported = read_masks(
        source,
        format_name,
        frames=frames,
        colours=colours,
        ignored_folders=(OVERLAYS_NAME, SOFT_NAME) if is_run else (),
    )
    videos = imported.videos
    if object_ids is not None:
        videos = [video.only(object_ids) for video in videos]
    soft = SoftRun.open(source) if is_run and (source / SOFT_NAME).is_dir() else None
    export_masks(videos, out, to, frames=frames, soft=soft)
    return Conversion(read=imported.format, videos=videos, soft=soft is not None)
