"""Which objects of a video are scored, and on which frames: all that the protocols differ in.

Legend: T annotated frames of a video. Positions count the truth's frames from 0, in natural order.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from inference.scoring.metadata import LVOS, YOUTUBE, Metadata, MetadataSource
from inference.scoring.metrics import instability, last_quarter_similarity
from util.errors import InputError
from util.files import natural_key

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
class Protocol:
    """ignore_void: pixels of value 255 in the truth are ignored; otherwise they are background.

    metadata: the file that is needed beside the truth; None: none.
    extras: measures beside J and F, by name: each takes an object's J and F, float [frames, 2].
    """

    name: str
    title: str
    ignore_void: bool
    metadata: MetadataSource | None = None
    extras: Mapping[str, Callable[[np.ndarray], float]] = field(default_factory=dict, repr=False)
    select: Callable[[TruthVideo, Metadata], Selection] = field(repr=False)


def _select_davis(video: TruthVideo, _: Metadata) -> Selection:
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
    return notes + _notes_on_void(video)


def _notes_on_void(video: TruthVideo) -> list[str]:
    if not video.has_void:
        return []
    return [
        f"{video.name}: void ({VOID}) counts as background, as in the official toolkit "
        "(the protocol strict ignores it)"
    ]


def select_all_objects(video: TruthVideo, end: int) -> Selection:
    """Every object of the truth, from the frame after its first mask to before position `end`."""
    objects = [
        ScoredObject(
            object_id=object_id, frames=range(video.positions_showing(object_id)[0] + 1, end)
        )
        for object_id in video.object_ids
    ]
    return Selection(objects=objects, known_ids=frozenset(video.object_ids))


def _select_strict(video: TruthVideo, _: Metadata) -> Selection:
    """Every object of the truth, from the frame after its first mask to the last but one."""
    return select_all_objects(video, len(video.frame_ids) - 1)


def _select_youtube(video: TruthVideo, metadata: Metadata) -> Selection:
    """Every object, from the frame after its first mask to its last annotated frame.

    That is the last frame that meta.json lists for it, or the last that shows it if meta.json
    lists none.
    """
    objects = []
    for object_id in video.object_ids:
        if (video.name, object_id) not in metadata:
            raise InputError(
                f"{video.name}: object {object_id} of the truth is not in meta.json; give the "
                "meta.json of this truth with --meta"
            )
        record = metadata[video.name, object_id]
        shown = video.positions_showing(object_id)
        last = shown[-1] if record.last is None else _last_position(video, record.last)
        objects.append(
            ScoredObject(
                object_id=object_id, frames=range(shown[0] + 1, last + 1), seen=record.seen
            )
        )
    return Selection(objects=objects, known_ids=_known_ids(video, metadata))


def _select_lvos(video: TruthVideo, metadata: Metadata) -> Selection:
    """Every object of meta.json, on the truth's frames of its span but the first and the last.

    Frames from which an object is absent count, however many: there J and F are 1 if the results
    do not show it either, and 0 if they do. Source: the evaluation toolkit of LVOS.
    """
    records = {key[1]: record for key, record in metadata.items() if key[0] == video.name}
    if not records:
        raise InputError(
            f"{video.name}: not in meta.json; give the meta.json of this truth with --meta"
        )
    if not all(name.isdecimal() for name in video.frame_names):
        raise InputError(f"{video.name}: a frame without a number; LVOS names frames 00000001, …")
    numbers = [int(name) for name in video.frame_names]
    objects, notes = [], _notes_on_void(video)
    for object_id, record in sorted(records.items()):
        span = record.span
        within = [p for p, number in enumerate(numbers) if span.start <= number < span.end]
        if span.count not in (len(within), len(within) + 1):  # end may name the last frame
            notes.append(
                f"{video.name}: object {object_id} has {span.count} frames in meta.json and "
                f"{len(within)} in the truth"
            )
        first, end = (within[0], within[-1] + 1) if within else (0, 0)
        frames = range(first + 1, min(first + span.count - 1, end))
        objects.append(ScoredObject(object_id=object_id, frames=frames, seen=record.seen))
    if unseen := sorted(set(records) - set(video.object_ids)):
        notes.append(f"{video.name}: in meta.json and nowhere in the truth: {_object_list(unseen)}")
    if others := sorted(set(video.object_ids) - set(records)):
        notes.append(f"{video.name}: not scored because not in meta.json: {_object_list(others)}")
    return Selection(objects=objects, known_ids=_known_ids(video, metadata), notes=notes)


def _known_ids(video: TruthVideo, metadata: Metadata) -> frozenset[int]:
    """The ids of the truth, and those that meta.json lists."""
    return frozenset(object_id for name, object_id in metadata if name == video.name).union(
        video.object_ids
    )


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
            metadata=YOUTUBE,
            select=_select_youtube,
        ),
        Protocol(
            name="lvos",
            title="LVOS: every object on its frames in meta.json but the first and the last, also "
            "where it is absent; V is the deviation of J&F over time",
            ignore_void=False,
            metadata=LVOS,
            extras={"V": instability},
            select=_select_lvos,
        ),
        Protocol(
            name="vost",
            title="VOST: objects of the first frame; first and last frame left out; J mean, and "
            "J_tr over the last quarter",
            ignore_void=False,
            extras={"J_tr": last_quarter_similarity},
            select=_select_davis,
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class ScoringRules:
    """How videos are scored.

    metadata: of the objects; empty for a protocol that needs none. single_object: all ids of truth
    and results are one object. workers: number of threads.
    """

    protocol: Protocol
    metadata: Metadata
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

        Raises InputError for an unknown protocol, no workers, and metadata that are missing,
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
            metadata=_resolve_metadata(PROTOCOLS[protocol], meta, train_meta),
            single_object=single_object,
            workers=workers or _core_count(),
        )


def _resolve_metadata(
    protocol: Protocol, meta: Path | str | None, train_meta: Path | str | None
) -> Metadata:
    source = protocol.metadata
    if train_meta is not None and not (source is not None and source.takes_train_meta):
        raise _useless_file("--train_meta", protocol, lambda other: other.takes_train_meta)
    if source is None:
        if meta is not None:
            raise _useless_file("--meta", protocol, lambda other: True)
        return {}
    if meta is None:
        raise InputError(
            f"--protocol {protocol.name}: it needs {source.purpose}; give the {source.title} with "
            "--meta"
        )
    return source.read(Path(meta), None if train_meta is None else Path(train_meta))


def _useless_file(
    flag: str, protocol: Protocol, takes: Callable[[MetadataSource], bool]
) -> InputError:
    """takes: whether a protocol of this source takes the flag."""
    choices = [row.name for row in PROTOCOLS.values() if row.metadata and takes(row.metadata)]
    return InputError(
        f"{flag}: of no use to the protocol {protocol.name}; leave it out, or choose --protocol "
        f"{' or '.join(choices)}"
    )


def _core_count() -> int:
    """The cores that this process may use; in a container these are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _last_position(video: TruthVideo, name: str) -> int:
    """Position of the frame of that name, or of the last one before it; -1 if there is none.

    The truth may hold fewer frames than meta.json lists.
    """
    return sum(natural_key(frame) <= natural_key(name) for frame in video.frame_names) - 1


def _object_list(ids: Sequence[int]) -> str:
    return ("object " if len(ids) == 1 else "objects ") + ", ".join(map(str, ids))
