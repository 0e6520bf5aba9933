"""Which objects of a video are scored, and on which frames: all that the protocols differ in.

Legend: T annotated frames of a video. Positions count the truth's frames from 0, in natural order.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from util.errors import InputError
from util.files import natural_key, read_json

VOID = 255
_OFFICIAL_INDEX_LIMIT = 256  # frames; from here on the official toolkit's 8-bit indices overflow


@dataclass(frozen=True, kw_only=True)
class TruthVideo:
    """A video of the truth: its frames in order, and the ids (never 0) that each one shows.

    VOID is left out of frame_ids unless it is the only id of the video.
    """

    name: str
    frame_names: Sequence[str]
    frame_ids: Sequence[frozenset[int]]
    has_void: bool

    @property
    def object_ids(self) -> list[int]:
        return sorted(frozenset().union(*self.frame_ids))

    def positions_showing(self, object_id: int) -> list[int]:
        """Positions of the frames that show the object."""
        return [position for position, ids in enumerate(self.frame_ids) if object_id in ids]


@dataclass(frozen=True, kw_only=True)
class ScoredObject:
    """An object and the positions of the frames on which it is scored, possibly none.

    seen: whether its category was in the training set; None if unknown or irrelevant.
    """

    object_id: int
    frames: range
    seen: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is scored in one video.

    known_ids: ids that results may hold, scored or not. notes: for the reader, what was left out.
    """

    objects: Sequence[ScoredObject]
    known_ids: frozenset[int]
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Categories:
    """What scoring needs from the meta.json of YouTube-VOS.

    objects: (video, object id) -> category, and the last frame listed for it (None: no list).
    seen: the categories of the training set; None if unknown.
    """

    objects: Mapping[tuple[str, int], tuple[str, str | None]]
    seen: frozenset[str] | None


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """ignore_void: pixels of value 255 in the truth are ignored; otherwise they are background.

    needs_categories: the objects' categories are needed, from meta.json.
    """

    name: str
    title: str
    ignore_void: bool
    needs_categories: bool = False
    select: Callable[[TruthVideo, Categories | None], Selection] = field(repr=False)


def _select_davis(video: TruthVideo, _: Categories | None) -> Selection:
    """The objects of the first frame, on all frames but the first and the last.

    If an id is missing from 1..max, the official toolkit adds an object that is perfect in every
    frame; here it is left out.
    """
    first_ids = sorted(video.frame_ids[0])
    frames = range(1, len(video.frame_ids) - 1)
    return Selection(
        objects=[ScoredObject(object_id=object_id, frames=frames) for object_id in first_ids],
        known_ids=frozenset(video.object_ids),
        notes=_differences_from_official(video, first_ids, len(frames)),
    )


def _differences_from_official(
    video: TruthVideo, first_ids: Sequence[int], frame_count: int
) -> list[str]:
    """Notes on where the protocol davis leaves objects out, or differs from the toolkit."""
    notes = []
    if late := [object_id for object_id in video.object_ids if object_id not in first_ids]:
        notes.append(
            f"{video.name}: not scored because they join after the first frame (the protocol "
            f"strict scores them): {_object_list(late)}"
        )
    only_void = first_ids == [VOID]
    missing = set(range(1, max(first_ids, default=0))) - set(first_ids)
    if missing and not only_void:
        notes.append(
            f"{video.name}: the official toolkit would count as perfect the missing "
            f"{_object_list(sorted(missing))}"
        )
    if frame_count >= _OFFICIAL_INDEX_LIMIT:
        notes.append(
            f"{video.name}: {frame_count} frames; the decay is correct here, the official "
            f"toolkit's is wrong from {_OFFICIAL_INDEX_LIMIT} frames on"
        )
    if video.has_void:
        notes.append(
            f"{video.name}: void ({VOID}) counts as background, as in the official toolkit "
            "(the protocol strict ignores it)"
        )
    return notes


def _select_strict(video: TruthVideo, _: Categories | None) -> Selection:
    """Every object of the truth, from the frame after its first mask to the last but one."""
    end = len(video.frame_ids) - 1
    objects = [
        ScoredObject(
            object_id=object_id, frames=range(video.positions_showing(object_id)[0] + 1, end)
        )
        for object_id in video.object_ids
    ]
    return Selection(objects=objects, known_ids=frozenset(video.object_ids))


def _select_youtube(video: TruthVideo, categories: Categories | None) -> Selection:
    """Every object, from the frame after its first mask to its last annotated frame.

    That is the last frame that meta.json lists for it, or the last that shows it if meta.json
    lists none.
    """
    assert categories is not None, "ScoringRules.resolve reads them"
    objects = []
    for object_id in video.object_ids:
        if (video.name, object_id) not in categories.objects:
            raise InputError(
                f"{video.name}: object {object_id} of the truth is not in meta.json; give the "
                "meta.json of this truth with --meta"
            )
        category, last_name = categories.objects[video.name, object_id]
        shown = video.positions_showing(object_id)
        last = shown[-1] if last_name is None else _last_position(video, last_name)
        seen = None if categories.seen is None else category in categories.seen
        objects.append(
            ScoredObject(object_id=object_id, frames=range(shown[0] + 1, last + 1), seen=seen)
        )
    listed = {object_id for name, object_id in categories.objects if name == video.name}
    return Selection(objects=objects, known_ids=frozenset(listed.union(video.object_ids)))


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="davis",
            title="objects of the first frame; first and last frame left out",
            ignore_void=False,
            select=_select_davis,
        ),
        Protocol(
            name="strict",
            title="every object from its second frame; last frame left out; void (255) ignored",
            ignore_void=True,
            select=_select_strict,
        ),
        Protocol(
            name="youtube",
            title="unofficial: the server's truth is not public; every object from the frame after "
            "its first mask to its last annotated frame",
            ignore_void=True,
            needs_categories=True,
            select=_select_youtube,
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class ScoringRules:
    """How videos are scored.

    categories: of the objects, for a protocol that needs them. single_object: all ids of truth and
    results are one object. workers: number of threads.
    """

    protocol: Protocol
    categories: Categories | None
    single_object: bool
    workers: int

    @staticmethod
    def resolve(
        protocol: str,
        *,
        meta: Path | str | None = None,
        train_meta: Path | str | None = None,
        single_object: bool = False,
        workers: int | None = None,
    ) -> "ScoringRules":
        """The rules that a request asks for; see score_folder for the arguments.

        Raises InputError for an unknown protocol, no workers, and categories that are missing,
        unreadable or of no use to the protocol.
        """
        if protocol not in PROTOCOLS:
            raise InputError(
                f"--protocol {protocol}: no such protocol; choose one of {' '.join(PROTOCOLS)}"
            )
        if workers is not None and workers < 1:
            raise InputError(f"--workers {workers}: at least one is needed")
        return ScoringRules(
            protocol=PROTOCOLS[protocol],
            categories=_resolve_categories(PROTOCOLS[protocol], meta, train_meta),
            single_object=single_object,
            workers=workers or _core_count(),
        )


def _resolve_categories(
    protocol: Protocol, meta: Path | str | None, train_meta: Path | str | None
) -> Categories | None:
    if protocol.needs_categories and meta is None:
        raise InputError(
            f"--protocol {protocol.name}: it needs the objects' categories; give the meta.json of "
            "YouTube-VOS with --meta"
        )
    if not protocol.needs_categories and (meta is not None or train_meta is not None):
        raise InputError(
            f"--meta: of no use to the protocol {protocol.name}; leave it out, or choose "
            "--protocol youtube"
        )
    if meta is None:
        return None
    return read_categories(Path(meta), None if train_meta is None else Path(train_meta))


def _core_count() -> int:
    """The cores that this process may use; in a container these are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_categories(meta: Path, train_meta: Path | None = None) -> Categories:
    """The categories in the meta.json of YouTube-VOS, and which of them the training set has.

    train_meta: the training set's meta.json; by default train/meta.json beside the folder of meta.
    Raises InputError if a file has another form.
    """
    if train_meta is None:
        beside = (folder / "train" / "meta.json" for folder in meta.absolute().parents[1:3])
        train_meta = next((path for path in beside if path.is_file()), None)
    seen = None
    if train_meta is not None:
        seen = frozenset(category for category, _ in _read_meta(train_meta).values())
    return Categories(objects=_read_meta(meta), seen=seen)


def _read_meta(path: Path) -> dict[tuple[str, int], tuple[str, str | None]]:
    try:
        videos = read_json(path)["videos"]
        return {
            (name, int(object_id)): (
                entry["category"],
                max(entry.get("frames", ()), key=natural_key, default=None),
            )
            for name, video in videos.items()
            for object_id, entry in video["objects"].items()
        }
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the meta.json of YouTube-VOS") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a meta.json of YouTube-VOS ({type(error).__name__}: {error}); expected "
            "videos/NAME/objects/ID/category"
        ) from None


def _last_position(video: TruthVideo, name: str) -> int:
    """Position of the frame of that name, or of the last one before it; -1 if there is none.

    The truth may hold fewer frames than meta.json lists.
    """
    return sum(natural_key(frame) <= natural_key(name) for frame in video.frame_names) - 1


def _object_list(ids: Sequence[int]) -> str:
    return ("object " if len(ids) == 1 else "objects ") + ", ".join(map(str, ids))
