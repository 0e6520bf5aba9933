"""What a benchmark's meta.json says of the objects: the frames that count, and what is unseen.

One reader per benchmark. A protocol names the one that it needs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from util.errors import InputError
from util.files import natural_key, read_json, read_text

UNSEEN_LIST = "unseen_videos.txt"
_LARGEST_ID = 255  # of an 8-bit mask

Key = tuple[str, int]
"""Of an object: its video and its id."""


@dataclass(frozen=True, kw_only=True)
class FrameSpan:
    """The frames of one object in LVOS.

    start, end: numbers of frames, as in the names of their files; end is not included.
    count: how many annotated frames there are.
    """

    start: int
    end: int
    count: int


@dataclass(frozen=True, kw_only=True)
class ObjectRecord:
    """What a meta.json says of one object.

    last: the name of the last frame listed (YouTube-VOS); None: no list. span: LVOS only.
    seen: whether the training set has its kind; None if unknown.
    """

    last: str | None = None
    span: FrameSpan | None = None
    seen: bool | None = None


Metadata = Mapping[Key, ObjectRecord]


@dataclass(frozen=True, kw_only=True)
class MetadataSource:
    """Where a protocol's metadata come from.

    title: of the file, and purpose: what it tells, for messages. remedy: what tells the kinds seen
    in training, if they are unknown. takes_train_meta: whether the training set's meta.json does.
    read: reads the file and, if it is not None, the training set's. Raises InputError.
    """

    title: str
    purpose: str
    remedy: str
    takes_train_meta: bool
    read: Callable[[Path, Path | None], Metadata]


def read_youtube_metadata(meta: Path, train_meta: Path | None = None) -> Metadata:
    """The objects of YouTube-VOS: a category is seen if the training set's meta.json has it.

    train_meta: by default train/meta.json beside the folder of meta; seen is None without it.
    Raises InputError if a file has another form.
    """
    if train_meta is None:
        beside = (folder / "train" / "meta.json" for folder in meta.absolute().parents[1:3])
        train_meta = next((path for path in beside if path.is_file()), None)
    known = None
    if train_meta is not None:
        known = frozenset(category for category, _ in _read_youtube(train_meta).values())
    return {
        key: ObjectRecord(last=last, seen=None if known is None else category in known)
        for key, (category, last) in _read_youtube(meta).items()
    }


def _read_youtube(path: Path) -> dict[Key, tuple[str, str | None]]:
    """Category and last listed frame of each object."""

    def parse(entry: Any) -> tuple[str, str | None]:
        frames = entry.get("frames", ())
        return entry["category"], max(frames, key=natural_key, default=None)

    return _read_objects(path, parse, YOUTUBE.title, "category")


def read_lvos_metadata(meta: Path, _: Path | None = None) -> Metadata:
    """The objects of LVOS: all of a video are unseen if the toolkit's list names the video.

    meta: val_meta.json. The list, a name a line, is unseen_videos.txt beside it; seen is None
    without it.
    Raises InputError if a file has another form, or the list names no video of meta.
    """
    spans = _read_objects(meta, _parse_span, LVOS.title, "frame_range")
    unseen_list = meta.with_name(UNSEEN_LIST)
    if not unseen_list.is_file():
        return {key: ObjectRecord(span=span) for key, span in spans.items()}
    unseen = set(read_text(unseen_list, "a name a line").split())
    if not unseen & {video for video, _ in spans}:
        raise InputError(
            f"{unseen_list}: names no video of {meta}; LVOS v1 and v2 have lists of their own"
        )
    return {key: ObjectRecord(span=span, seen=key[0] not in unseen) for key, span in spans.items()}


def _parse_span(entry: Any) -> FrameSpan:
    given = entry["frame_range"]
    span = FrameSpan(
        start=int(given["start"]), end=int(given["end"]), count=int(given["frame_nums"])
    )
    if span.count < 1 or span.end < span.start:
        raise ValueError(f"{span.count} frames from {span.start} to {span.end}")
    return span


def _parse_id(text: str) -> int:
    object_id = int(text)
    if not 1 <= object_id <= _LARGEST_ID:
        raise ValueError(f"object {object_id}; ids are 1 to {_LARGEST_ID}")
    return object_id


def _read_objects(
    path: Path, parse: Callable[[Any], Any], title: str, expected: str
) -> dict[Key, Any]:
    """parse(entry) of each object of videos/NAME/objects/ID. expected: what an entry holds."""
    try:
        return {
            (name, _parse_id(object_id)): parse(entry)
            for name, video in read_json(path)["videos"].items()
            for object_id, entry in video["objects"].items()
        }
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the {title}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a {title} ({type(error).__name__}: {error}); expected "
            f"videos/NAME/objects/ID/{expected}"
        ) from None


YOUTUBE = MetadataSource(
    title="meta.json of YouTube-VOS",
    purpose="the objects' categories",
    remedy="name the training set's meta.json with --train_meta",
    takes_train_meta=True,
    read=read_youtube_metadata,
)
LVOS = MetadataSource(
    title="val_meta.json of LVOS",
    purpose="the frames of each object",
    remedy=f"put the {UNSEEN_LIST} of LVOS's toolkit beside --meta",
    takes_train_meta=False,
    read=read_lvos_metadata,
)
