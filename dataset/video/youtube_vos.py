"""YouTube-VOS 2018 and 2019, as published: objects that join late, and results wanted for some frames only."""

from collections.abc import Collection, Sequence
from pathlib import Path

from dataset.folders import IMAGE_SUFFIXES, list_folders
from dataset.video.base import Video, VideoDataset, select_names
from dataset.video.frame_source import FolderSource
from dataset.video.masked_video import MaskedVideo, masks_of_folder
from util.errors import InputError
from util.files import check_plain_name, read_json
from util.text import counted

_SPLITS = ("valid", "test")
_DEEPEST_ALL_FRAMES = 4  # folders below the root
_MOST_FOLDERS = 50  # a folder with more holds videos, not parts of the data set


class YoutubeDataset(VideoDataset):
    """A split of YouTube-VOS: frames and masks from ROOT/SPLIT (JPEGImages, Annotations, meta.json).

    All frames are read from where the archives unpack to, ROOT/all_frames/SPLIT_all_frames/JPEGImages or one of the places near it (see `_all_frames_folder`), where a
    video is there, otherwise every fifth from ROOT/SPLIT. Wanted are those that meta.json lists for any object of the video, or, with output_all, every one. An
    id's mask counts where it first appears. frames_read: which frames the videos have, for a record; the same and where from is a note.

    required_frames_only: read the frames that are wanted, and those with masks, alone, as the published evaluation of PCVOS can. A fifth of the work; results
    differ, since what lies between is not seen. Raises InputError where the layout, meta.json or a sequence is missing or malformed.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "valid",
        output_all: bool = False,
        *,
        required_frames_only: bool = False,
        sequences: Sequence[str] | None = None,
        corrections: bool = False,
        colours: bytes | None = None,
    ):
        if split not in _SPLITS:
            raise InputError(f"no split '{split}' of YouTube-VOS; there are: {' '.join(_SPLITS)}")
        if output_all and required_frames_only:
            raise InputError(
                "output_all wants every frame, and required_frames_only reads those alone that meta.json asks for; leave one of them out"
            )
        self.root = Path(root)
        self._corrections = corrections
        self._colours = colours
        self._output_all = output_all
        self._required_frames_only = required_frames_only
        self._folder = self.root / split
        for needed in ("JPEGImages", "Annotations", "meta.json"):
            if not (self._folder / needed).exists():
                raise InputError(
                    f"{self._folder / needed}: missing; --yv_path is the folder that holds {split}/ with JPEGImages, Annotations and meta.json"
                )
        self._required = _read_meta(self._folder / "meta.json")
        self.names = select_names(
            sorted(self._required), sequences, str(self._folder / "meta.json")
        )
        self._all_frames = _all_frames_folder(self.root, split, self._required)
        self.frames_read, note = self._describe_frames()
        self.notes = (note,)

    def _frames_folder(self, name: str) -> Path:
        complete = None if self._all_frames is None else self._all_frames / name
        return (
            complete
            if complete is not None and complete.is_dir()
            else self._folder / "JPEGImages" / name
        )

    def _describe_frames(self) -> tuple[str, str]:
        """Of all videos of the split: those of a run that takes some of them first, and the rest later, are the same."""
        spacings = {name: _spacing(self._frames_folder(name)) for name in self._required}
        sparse = [name for name, spacing in spacings.items() if spacing > 1]
        where = self._folder / "JPEGImages" if self._all_frames is None else self._all_frames
        if not sparse:
            return "all", f"frames: all, from {where}"
        every = "every fifth" if {spacings[name] for name in sparse} == {5} else "some"
        remedy = f"results are lower; unpack the archive of all frames to {self.root / 'all_frames'} (README, YouTube-VOS)"
        if len(sparse) == len(spacings):
            return (
                every,
                f"frames {every}: no all_frames/{self._folder.name}_all_frames/JPEGImages or the like in {self.root} ({remedy})",
            )
        missing = counted(len(sparse), "video")
        return (
            f"all, but {every} of {missing}",
            f"frames {every} of {missing}, such as {min(sparse)}: not in {self._all_frames} ({remedy})",
        )

    def open(self, name: str) -> Video:
        # frames of this data set are a selection, so holes in their numbering mean nothing; meta.json says which must be there
        source = FolderSource.of_folder(self._frames_folder(name), complete=False)
        lost = sorted(stem for stem in self._required[name] if stem not in source)
        if lost:
            raise InputError(
                f"{name}: meta.json asks for frame {lost[0]} ({len(lost)} such), which has no image; the copy of the data is incomplete"
            )
        masks = masks_of_folder(self._folder / "Annotations" / name, source)
        if self._required_frames_only:
            source = source.only(self._required[name] | {source.name_of(index) for index in masks})
            masks = {source.index_of(path): path for path in masks.values()}
        required = None if self._output_all else self._required[name]
        # a copy of every fifth frame is numbered as all frames are
        numbered = all(
            (stem := source.name_of(index)).isascii() and stem.isdigit()
            for index in range(source.count)
        )
        return MaskedVideo(
            name,
            source,
            masks,
            corrections=self._corrections,
            required=required,
            numbered=numbered,
            colours=self._colours,
        )


def _all_frames_folder(root: Path, split: str, names: Collection[str]) -> Path | None:
    """The folder of VIDEO/FRAME.jpg of all frames that holds most of the videos, the first of equals; None where none does.

    It lies a few folders below the root, below one whose name says all_frames and none that names another split: all_frames/valid_all_frames/JPEGImages,
    valid_all_frames/JPEGImages, valid_all_frames/valid_all_frames/JPEGImages, valid/valid_all_frames/JPEGImages, all_frames/JPEGImages, …
    """
    foreign = {"train", *_SPLITS} - {split}
    expected = root / "all_frames" / f"{split}_all_frames" / "JPEGImages"
    candidates, level = [expected] if expected.is_dir() else [], [root]
    for _ in range(_DEEPEST_ALL_FRAMES):
        below = [
            path
            for folder in level
            for path in _folders(folder)
            if not any(path.name.lower().startswith(other) for other in foreign)
        ]
        candidates += [
            path
            for path in below
            if any("all_frames" in part.lower() for part in path.relative_to(root).parts)
        ]
        level = [
            path for path in below if path.name not in names and path != root / split / "JPEGImages"
        ]
    held = {path: sum((path / name).is_dir() for name in names) for path in candidates}
    best = max(held, key=held.__getitem__, default=None)
    return best if best is not None and held[best] else None


def _folders(folder: Path) -> list[Path]:
    names = list_folders(folder)
    return [] if len(names) > _MOST_FOLDERS else [folder / name for name in names]


def _spacing(folder: Path) -> int:
    """How far the numbers in the names of a video's first frames are apart; 1 where they say nothing."""
    stems = (
        [path.stem for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
        if folder.is_dir()
        else []
    )
    numbers = sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())
    return numbers[1] - numbers[0] if len(numbers) > 1 else 1


def _read_meta(path: Path) -> dict[str, frozenset[str]]:
    """Video → the stems of the frames asked for: those of any of its objects."""
    try:
        videos = read_json(path)["videos"]
        required = {
            str(name): frozenset(
                str(stem) for item in video["objects"].values() for stem in item["frames"]
            )
            for name, video in videos.items()
        }
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not YouTube-VOS's meta.json of videos, objects and frames ({type(error).__name__}: {error})"
        ) from error
    for name in sorted(frozenset().union(*required.values())):
        check_plain_name(name, f"{path}, frames")
    return required
