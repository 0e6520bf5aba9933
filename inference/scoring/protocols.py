"""Which objects of a video are scored, and on which of its frames: the only thing in which the protocols differ.

Legend: T annotated frames of a video. Frame positions count the truth's frames from 0, in natural order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from util.errors import InputError
from util.files import natural_key, read_json

VOID = 255
_OFFICIAL_INDEX_LIMIT = 256  # frames, from which its 8-bit bin indices overflow


@dataclass(frozen=True, kw_only=True)
class TruthVideo:
    """A video of the truth: its frames in order and the ids (never 0) seen in each. VOID is left out unless it is the video's only id."""

    name: str
    frame_names: Sequence[str]
    frame_ids: Sequence[frozenset[int]]
    has_void: bool

    @property
    def object_ids(self) -> list[int]:
        return sorted(frozenset().union(*self.frame_ids))

    def shown_in(self, object_id: int) -> list[int]:
        """Positions of the frames that show the object."""
        return [position for position, ids in enumerate(self.frame_ids) if object_id in ids]


@dataclass(frozen=True, kw_only=True)
class ScoredObject:
    """An object and the positions of the frames it is scored on; may be none. seen: its category was trained on (None: unknown, or no matter)."""

    object_id: int
    frames: range
    seen: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is scored in one video. known_ids may stand in the results, scored or not; notes tell the reader what was left out."""

    objects: Sequence[ScoredObject]
    known_ids: frozenset[int]
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Categories:
    """YouTube-VOS's meta.json as scoring needs it.

    objects: (video, object id) -> category and the last frame its list names (None: no list). seen: categories of the training set, None where unknown.
    """

    objects: Mapping[tuple[str, int], tuple[str, str | None]]
    seen: frozenset[str] | None


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """ignore_void: pixels of value 255 in the truth count for nobody; otherwise they are background. needs_categories: of objects, from meta.json."""

    name: str
    title: str
    ignore_void: bool
    needs_categories: bool = False
    select: Callable[[TruthVideo, Categories | None], Selection] = field(repr=False)


def _select_davis(video: TruthVideo, _: Categories | None) -> Selection:
    """The objects of the first frame, on all frames but the first and the last.

    As the official toolkit where that is right: where an id is missing it invents an object, perfect in every frame; here it is left out.
    """
    ids, first_ids = video.object_ids, sorted(video.frame_ids[0])
    frames = range(1, len(video.frame_ids) - 1)
    notes = []
    if late := [object_id for object_id in ids if object_id not in first_ids]:
        notes.append(
            f"{video.name}: not scored, for they join after the first frame (the protocol strict scores them): {_words(late)}"
        )
    if (
        first_ids
        and first_ids != [VOID]
        and (missing := sorted(set(range(1, first_ids[-1])) - set(first_ids)))
    ):
        notes.append(
            f"{video.name}: the official toolkit would count as perfect the missing {_words(missing)}"
        )
    if len(frames) >= _OFFICIAL_INDEX_LIMIT:
        notes.append(
            f"{video.name}: {len(frames)} frames; the decay is right here, the official toolkit's is wrong from {_OFFICIAL_INDEX_LIMIT} on"
        )
    if video.has_void:
        notes.append(
            f"{video.name}: void ({VOID}) counts as background, as in the official toolkit (the protocol strict ignores it)"
        )
    objects = [ScoredObject(object_id=object_id, frames=frames) for object_id in first_ids]
    return Selection(objects=objects, known_ids=frozenset(ids), notes=notes)


def _select_strict(video: TruthVideo, _: Categories | None) -> Selection:
    """Every object of the truth, from the frame after its first mask to the last frame but one."""
    end = len(video.frame_ids) - 1
    objects = [
        ScoredObject(object_id=object_id, frames=range(video.shown_in(object_id)[0] + 1, end))
        for object_id in video.object_ids
    ]
    return Selection(objects=objects, known_ids=frozenset(video.object_ids))


def _select_youtube(video: TruthVideo, categories: Categories | None) -> Selection:
    """Every object, from the frame after its first mask to its last annotated frame.

    That is the last frame which meta.json lists for it, or, where it lists none, the last that shows it.
    """
    assert categories is not None, "score_folder reads them before it selects"
    objects = []
    for object_id in video.object_ids:
        if (video.name, object_id) not in categories.objects:
            raise InputError(
                f"{video.name}: object {object_id} of the truth is not in meta.json; give the meta.json of this truth with --meta"
            )
        category, last_name = categories.objects[video.name, object_id]
        shown = video.shown_in(object_id)
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
            title="unofficial: the server's truth is not public; every object from the frame after its first mask to its last annotated frame",
            ignore_void=True,
            needs_categories=True,
            select=_select_youtube,
        ),
    )
}


def read_categories(meta: Path, train_meta: Path | None = None) -> Categories:
    """The categories of YouTube-VOS's meta.json and which of them the training set has.

    The latter are the categories of train_meta or, where that is not given, of train/meta.json beside the folder of meta. Raises InputError where
    a file is not of this form.
    """
    if train_meta is None:
        beside = (folder / "train" / "meta.json" for folder in meta.absolute().parents[1:3])
        train_meta = next((path for path in beside if path.is_file()), None)
    seen = (
        None
        if train_meta is None
        else frozenset(category for category, _ in _read_meta(train_meta).values())
    )
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
        raise InputError(f"{path}: no such file; give YouTube-VOS's meta.json") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a meta.json of YouTube-VOS ({type(error).__name__}: {error}); expected videos/NAME/objects/ID/category"
        ) from None


def _last_position(video: TruthVideo, name: str) -> int:
    """Position of the frame of that name, or of the last before it: a truth may hold fewer frames than meta.json lists. -1 where there is none."""
    return sum(natural_key(frame) <= natural_key(name) for frame in video.frame_names) - 1


def _words(ids: Sequence[int]) -> str:
    return ("object " if len(ids) == 1 else "objects ") + ", ".join(map(str, ids))
