"""YouTube-VOS 2018 and 2019 as published: objects join late, results are wanted for some frames."""

from collections.abc import Collection, Sequence
from pathlib import Path

from dataset.folders import IMAGE_SUFFIXES, list_folders
from dataset.layout import FRAMES, MASKS
from dataset.video.base import Video, VideoDataset, select_names
from dataset.video.folder_source import FolderSource
from dataset.video.mask_names import is_number
from dataset.video.masked_video import MaskedVideo, masks_of_folder
from util.errors import InputError
from util.files import check_plain_name, read_json
from util.text import counted

META = "meta.json"
SPLITS = ("valid", "test")
_DEEPEST_ALL_FRAMES = 4  # folders below the root
_MOST_FOLDERS = 50  # a folder with more holds videos, not parts of the data set
_ANNOTATION_STEP = 5  # frames from one annotated frame to the next


class YoutubeDataset(VideoDataset):
    """A split of YouTube-VOS: frames, masks and meta.json from ROOT/SPLIT.

    All frames of a video are read from ROOT/all_frames/SPLIT_all_frames/JPEGImages, or wherever
    else the archives unpack to (see find_all_frames); if they are missing, every fifth frame from
    ROOT/SPLIT/JPEGImages. An id's mask counts where the id first appears.

    Args:
        output_all: results are wanted for every frame; otherwise for those that meta.json lists
            for any object of the video.
        required_frames_only: read only the frames that are wanted and those with masks, as the
            published evaluation of PCVOS can. A fifth of the work; results differ.
        sequences: read only these videos.
        corrections: masks of known objects count too.
        colours: the palette for RGB masks (see read_palette).

    frames_read: which frames the videos have, for the record; a note adds the folder.

    Raises:
        InputError: the layout, meta.json or a sequence is missing or malformed.
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
        if split not in SPLITS:
            raise InputError(f"no split '{split}' of YouTube-VOS; there are: {' '.join(SPLITS)}")
        if output_all and required_frames_only:
            raise InputError(
                "output_all wants every frame, and required_frames_only reads those alone that "
                f"{META} asks for; leave one of them out"
            )
        self.root = Path(root)
        self._corrections = corrections
        self._colours = colours
        self._output_all = output_all
        self._required_frames_only = required_frames_only
        self._folder = self.root / split
        for needed in (FRAMES, MASKS, META):
            if not (self._folder / needed).exists():
                raise InputError(
                    f"{self._folder / needed}: missing; --yv_path is the folder that holds "
                    f"{split}/ with {FRAMES}, {MASKS} and {META}"
                )
        self._required = _read_meta(self._folder / META)
        self.names = select_names(sorted(self._required), sequences, str(self._folder / META))
        self._all_frames = find_all_frames(self.root, split, self._required)
        self.frames_read, note = self._describe_frames()
        self.notes = (note,)

    def _frames_folder(self, name: str) -> Path:
        if self._all_frames is not None and (self._all_frames / name).is_dir():
            return self._all_frames / name
        return self._folder / FRAMES / name

    def _describe_frames(self) -> tuple[str, str]:
        """frames_read and its note, for all videos of the split.

        They must not depend on the sequences asked for: a run of some videos and a later one of
        all others are the same.
        """
        spacings = {name: _spacing(self._frames_folder(name)) for name in self._required}
        sparse = [name for name, spacing in spacings.items() if spacing > 1]
        if not sparse:
            source = self._folder / FRAMES if self._all_frames is None else self._all_frames
            return "all", f"frames: all, from {source}"
        is_every_fifth = {spacings[name] for name in sparse} == {_ANNOTATION_STEP}
        every = "every fifth" if is_every_fifth else "some"
        remedy = (
            "results are lower; unpack the archive of all frames to "
            f"{self.root / 'all_frames'} (docs/evaluation.md)"
        )
        if len(sparse) == len(spacings):
            expected = f"all_frames/{self._folder.name}_all_frames/{FRAMES}"
            return every, f"frames {every}: no {expected} or the like in {self.root} ({remedy})"
        missing = counted(len(sparse), "video")
        return (
            f"all, but {every} of {missing}",
            f"frames {every} of {missing}, such as {min(sparse)}: not in {self._all_frames} "
            f"({remedy})",
        )

    def open(self, name: str) -> Video:
        # the frames of this data set are a selection, so gaps in their numbers mean nothing;
        # meta.json says which frames must exist
        source = FolderSource.of_folder(self._frames_folder(name), complete=False)
        lost = sorted(stem for stem in self._required[name] if stem not in source)
        if lost:
            raise InputError(
                f"{name}: {META} asks for frame {lost[0]} ({len(lost)} such), which has no image; "
                "the copy of the data is incomplete"
            )
        masks = masks_of_folder(self._folder / MASKS / name, source)
        if self._required_frames_only:
            source = source.only(self._required[name] | {source.name_of(index) for index in masks})
            masks = {source.index_of(path): path for path in masks.values()}
        return MaskedVideo(
            name,
            source,
            masks,
            corrections=self._corrections,
            required=None if self._output_all else self._required[name],
            # a copy of every fifth frame has the numbers of all frames
            numbered=all(is_number(source.name_of(index)) for index in range(source.count)),
            colours=self._colours,
        )


def find_all_frames(root: Path, split: str, names: Collection[str]) -> Path | None:
    """The folder of VIDEO/FRAME.jpg of all frames that holds most of the videos.

    Ties go to the first; None if no folder holds a video. It lies a few folders below the root, at
    or below a folder whose name says all_frames, and below no folder that names another split:
    all_frames/valid_all_frames/JPEGImages, valid_all_frames/JPEGImages,
    valid_all_frames/valid_all_frames/JPEGImages, valid/valid_all_frames/JPEGImages,
    all_frames/JPEGImages, ...
    """
    other_splits = {"train", *SPLITS} - {split}
    expected = root / "all_frames" / f"{split}_all_frames" / FRAMES
    candidates, level = [expected] if expected.is_dir() else [], [root]
    for _ in range(_DEEPEST_ALL_FRAMES):
        below = [
            path
            for folder in level
            for path in _parts(folder)
            if not any(path.name.lower().startswith(other) for other in other_splits)
        ]
        candidates += [
            path
            for path in below
            if any("all_frames" in part.lower() for part in path.relative_to(root).parts)
        ]
        level = [path for path in below if path.name not in names and path != root / split / FRAMES]
    held = {path: sum((path / name).is_dir() for name in names) for path in candidates}
    best = max(held, key=held.__getitem__, default=None)
    return best if best is not None and held[best] else None


def _parts(folder: Path) -> list[Path]:
    """The folders inside a folder, unless they are videos."""
    names = list_folders(folder)
    return [] if len(names) > _MOST_FOLDERS else [folder / name for name in names]


def _spacing(folder: Path) -> int:
    """The distance of the first two frames by their numbers; 1 if unknown."""
    if not folder.is_dir():
        return 1
    stems = [path.stem for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    numbers = sorted(int(stem) for stem in stems if is_number(stem))
    return numbers[1] - numbers[0] if len(numbers) > 1 else 1


def _read_meta(path: Path) -> dict[str, frozenset[str]]:
    """Video → the stems of the frames that are asked for, for any of its objects."""
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
            f"{path}: not YouTube-VOS's {META} of videos, objects and frames "
            f"({type(error).__name__}: {error})"
        ) from error
    for name in sorted(frozenset().union(*required.values())):
        check_plain_name(name, f"{path}, frames")
    return required
