"""YouTube-VOS 2018 and 2019, as published: objects that join late, and results wanted for some frames only."""

import json
from collections.abc import Sequence
from pathlib import Path

from dataset.frame_source import FolderSource
from dataset.masked_video import MaskedVideo, masks_of_folder
from dataset.video import Video, VideoDataset, select_names
from util.errors import InputError
from util.names import check_plain_name

_SPLITS = ("valid", "test")


class YoutubeDataset(VideoDataset):
    """A split of YouTube-VOS: frames and masks from ROOT/SPLIT (JPEGImages, Annotations, meta.json).

    All frames are read from ROOT/all_frames/SPLIT_all_frames/JPEGImages where a video is there, otherwise every fifth from ROOT/SPLIT. Wanted are those
    that meta.json lists for any object of the video, or, with output_all, every one. An id's mask counts where it first appears.

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
            raise InputError("output_all wants every frame, and required_frames_only reads those alone that meta.json asks for; leave one of them out")
        self.root = Path(root)
        self._corrections = corrections
        self._colours = colours
        self._output_all = output_all
        self._required_frames_only = required_frames_only
        self._folder = self.root / split
        for needed in ("JPEGImages", "Annotations", "meta.json"):
            if not (self._folder / needed).exists():
                raise InputError(f"{self._folder / needed}: missing; --yv_path is the folder that holds {split}/ with JPEGImages, Annotations and meta.json")
        self._all_frames = self.root / "all_frames" / f"{split}_all_frames" / "JPEGImages"
        self._required = _read_meta(self._folder / "meta.json")
        self.names = select_names(sorted(self._required), sequences, str(self._folder / "meta.json"))

    def open(self, name: str) -> Video:
        complete = self._all_frames / name
        # frames of this data set are a selection, so holes in their numbering mean nothing; meta.json says which must be there
        source = FolderSource.of_folder(complete if complete.is_dir() else self._folder / "JPEGImages" / name, complete=False)
        lost = sorted(stem for stem in self._required[name] if stem not in source)
        if lost:
            raise InputError(f"{name}: meta.json asks for frame {lost[0]} ({len(lost)} such), which has no image; the copy of the data is incomplete")
        masks = masks_of_folder(self._folder / "Annotations" / name, source)
        if self._required_frames_only:
            source = source.only(self._required[name] | {source.name_of(index) for index in masks})
            masks = {source.index_of(path): path for path in masks.values()}
        required = None if self._output_all else self._required[name]
        # a copy of every fifth frame is numbered as all frames are
        numbered = all((stem := source.name_of(index)).isascii() and stem.isdigit() for index in range(source.count))
        return MaskedVideo(name, source, masks, corrections=self._corrections, required=required, numbered=numbered, colours=self._colours)


def _read_meta(path: Path) -> dict[str, frozenset[str]]:
    """Video → the stems of the frames asked for: those of any of its objects."""
    try:
        videos = json.loads(path.read_text())["videos"]
        required = {str(name): frozenset(str(stem) for item in video["objects"].values() for stem in item["frames"]) for name, video in videos.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not YouTube-VOS's meta.json of videos, objects and frames ({type(error).__name__}: {error})") from error
    for name in sorted(frozenset().union(*required.values())):
        check_plain_name(name, f"{path}, frames")
    return required
