"""The formats that masks are read from: a row each.

A new format is a function that recognises a document, one that reads it, and a row here.
"""

import dataclasses
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal

from dataset.formats.coco import is_coco, is_youtube_vis, read_coco, read_youtube_vis
from dataset.formats.cvat_json import is_cvat_json, read_cvat_json
from dataset.formats.cvat_xml import is_cvat_xml, read_cvat_xml
from dataset.formats.documents import Document
from dataset.formats.frames import VideoFrames, aligned
from dataset.formats.images import holds_masks, read_mask_images
from dataset.formats.labelme import is_labelme, read_labelme
from dataset.formats.mask_video import MaskVideo
from dataset.formats.options import ImportOptions
from util.errors import InputError
from util.files import check_plain_name


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportFormat:
    """name: as --from takes it. title: what it is. recognises: whether a document is of it.

    read: raises InputError for what is malformed, or of another format.
    """

    name: str
    title: str
    recognises: Callable[[Document], bool]
    read: Callable[[Document, ImportOptions], list[MaskVideo]]


IMPORTS = {
    row.name: row
    for row in (
        ImportFormat(
            name="labelme",
            title="LabelMe's JSON, a file for each frame",
            recognises=is_labelme,
            read=read_labelme,
        ),
        ImportFormat(
            name="png",
            title="mask files: VIDEO/FRAME.png, FRAME.png, or the folder of DAVIS or YouTube-VOS",
            recognises=holds_masks,
            read=read_mask_images,
        ),
        ImportFormat(
            name="coco",
            title="COCO's JSON of images, with run-length codes or polygons",
            recognises=is_coco,
            read=read_coco,
        ),
        ImportFormat(
            name="ytvis",
            title="YouTube-VIS's JSON of videos",
            recognises=is_youtube_vis,
            read=read_youtube_vis,
        ),
        ImportFormat(
            name="cvat",
            title="CVAT's XML, for images or for video",
            recognises=is_cvat_xml,
            read=read_cvat_xml,
        ),
        ImportFormat(
            name="cvat-json",
            title="CVAT's JSON, of a backup or of its server",
            recognises=is_cvat_json,
            read=read_cvat_json,
        ),
    )
}
"""By name, in the order in which they are tried: images often lie beside LabelMe's files."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportedMasks:
    """format: what was read. videos: at least one, with masks at least of one frame each."""

    format: ImportFormat
    videos: list[MaskVideo]


def read_masks(
    path: str | Path,
    format_name: str | None = None,
    *,
    frames: VideoFrames | None = None,
    colours: bytes | Literal["auto"] | None = None,
    ignored_folders: Collection[str] = (),
) -> ImportedMasks:
    """The masks of a file or folder. Of JSON and XML, masks are decoded when they are used.

    Args:
        format_name: one of IMPORTS; by default it is recognised by the content.
        frames: those that the masks belong to. Each mask must have a frame, and takes its name.
        colours: the palette of RGB masks, or 'auto' (see read_palette).
        ignored_folders: names of folders beside those of videos.

    Raises:
        InputError: nothing is there, it is of no known format, or it is malformed.
        ValueError: there is no format of this name.
    """
    if format_name not in (None, *IMPORTS):
        raise ValueError(f"format {format_name!r}: one of {', '.join(IMPORTS)} is needed")
    document = Document(Path(path)).narrowed()
    row = _recognised(document) if format_name is None else IMPORTS[format_name]
    options = ImportOptions(frames=frames, colours=colours, ignored_folders=ignored_folders)
    videos = [video for video in row.read(document, options) if video.frames]
    if not videos:
        raise InputError(f"{document.path}: no frames with masks; export masks again")
    if frames is not None and frames.is_one_video and len(videos) > 1:
        raise InputError(
            f"{frames.root}: frames of one video, but masks of {len(videos)} ({videos[0].name}, "
            f"{videos[1].name}, …); give a folder that holds VIDEO/ for each"
        )
    for video in videos:
        check_plain_name(video.name, str(document.path))
    if frames is not None:
        videos = [aligned(video, frames) for video in videos]
    return ImportedMasks(format=row, videos=videos)


def _recognised(document: Document) -> ImportFormat:
    for row in IMPORTS.values():
        if row.recognises(document):
            return row
    if document.path.suffix.lower() == ".zip":
        remedy = "unpack the archive first"
    elif isinstance(document.json, list):
        remedy = "a list of results does not say how large frames are; give it as COCO's whole file"
    else:
        remedy = f"give one of {', '.join(row.title for row in IMPORTS.values())}"
    raise InputError(f"{document.path}: of no format that is read; {remedy}")
