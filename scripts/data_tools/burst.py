"""BURST's annotations as plain folders, and results as BURST's JSON.

The form of the file is its authors': github.com/Ali2500/BURST-benchmark, ANNOTATION_FORMAT.md.
Legend: H W height and width of a frame.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset.formats.mask_video import LARGEST_ID
from dataset.formats.run_lengths import coco_counts, coco_mask_of
from dataset.image_file import size_text
from dataset.label_map import indexed_image
from inference.scoring import read_labels
from util.errors import InputError
from util.files import atomic_folder, check_plain_name, read_json, write_json
from util.text import counted, short_repr


@dataclass(frozen=True, kw_only=True)
class BurstVideo:
    """One video of an annotation file.

    data_set, sequence: its names there, and the folders of its frames. frames, annotated: names of
    image files, in order. masks: for each annotated frame, track → mask as a text.
    """

    data_set: str
    sequence: str
    frames: Sequence[str]
    annotated: Sequence[str]
    masks: Sequence[Mapping[int, str]]
    height: int
    width: int

    @property
    def name(self) -> str:
        """The video's name in plain folders."""
        return f"{self.data_set}-{self.sequence}"

    @property
    def ids(self) -> dict[int, int]:
        """Track → id in label maps: its own number, unless a track's is not 1 to 254.

        Raises InputError if there are more than 254 tracks.
        """
        tracks = sorted({track for masks in self.masks for track in masks})
        if len(tracks) > LARGEST_ID:
            raise InputError(f"{self.name}: {len(tracks)} tracks; a label map holds {LARGEST_ID}")
        if tracks and not 1 <= tracks[0] <= tracks[-1] <= LARGEST_ID:
            return {track: number for number, track in enumerate(tracks, 1)}
        return {track: track for track in tracks}

    def labels(self, position: int) -> np.ndarray:
        """The masks of an annotated frame, uint8 [H, W]; where tracks overlap, the last counts.

        Raises InputError if a mask is damaged.
        """
        labels, ids = np.zeros((self.height, self.width), np.uint8), self.ids
        for track, text in sorted(self.masks[position].items()):
            where = f"{self.name}: the mask of track {track} in {self.annotated[position]}"
            labels[coco_mask_of(text, labels.shape, where)] = ids[track]
        return labels


def read_annotations(path: Path) -> list[BurstVideo]:
    """The videos of an annotation file. Raises InputError if it has another form."""
    return [_video_of(entry, path) for entry in _read(path)["sequences"]]


def write_masks(videos: Sequence[BurstVideo], frames: Path, output: Path, every: int) -> str:
    """Write OUTPUT/Annotations/VIDEO/FRAME.png, and link OUTPUT/JPEGImages/VIDEO/FRAME.jpg.

    frames: holds DATA_SET/SEQUENCE/FRAME.jpg. output: must not exist; appears whole or not at all.
    every: link every N-th frame and the annotated ones.
    Returns a line for the user. Raises InputError if a frame is missing or a mask damaged.
    """
    shown = [video for video in videos if any(video.masks)]
    repeated = [name for name, count in Counter(video.name for video in shown).items() if count > 1]
    if repeated:
        raise InputError(f"{repeated[0]}: is in the annotations twice; leave one out")
    with atomic_folder(output) as temporary:
        for video in shown:
            check_plain_name(video.name, "annotations")
            _link_frames(video, frames, temporary / "JPEGImages" / video.name, every)
            folder = temporary / "Annotations" / video.name
            folder.mkdir(parents=True)
            for position, masks in enumerate(video.masks):
                if masks:
                    image = indexed_image(video.labels(position))
                    image.save(folder / f"{Path(video.annotated[position]).stem}.png")
    left_out = len(videos) - len(shown)
    more = f"; {counted(left_out, 'video')} without masks left out" if left_out else ""
    return f"{output}: {counted(len(shown), 'video')}{more}"


def write_results(annotations: Path, results: Path, output: Path) -> str:
    """Write results VIDEO/FRAME.png as a file of the annotations' form.

    The masks of annotated frames are replaced; those that are empty are left out, as BURST wants.
    Returns a line for the user. Raises InputError if a result is missing or of another size.
    """
    content = _read(annotations)
    count = 0
    for entry in content["sequences"]:
        video = _video_of(entry, annotations)
        entry["segmentations"] = _results_of(video, results / video.name)
        count += sum(map(len, entry["segmentations"]))
    write_json(output, content)
    return f"{output}: {counted(count, 'mask')} of {counted(len(content['sequences']), 'video')}"


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give an annotation file of BURST")
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("sequences"), list):
        raise InputError(f"{path}: not an annotation file of BURST, which holds 'sequences'")
    return content


def _video_of(entry: Any, path: Path) -> BurstVideo:
    try:
        video = BurstVideo(
            data_set=_text(entry["dataset"]),
            sequence=_text(entry["seq_name"]),
            frames=[str(name) for name in entry["all_image_paths"]],
            annotated=[str(name) for name in entry["annotated_image_paths"]],
            masks=[
                {int(track): _text(mask["rle"]) for track, mask in masks.items()}
                for masks in entry["segmentations"]
            ],
            height=_length(entry["height"]),
            width=_length(entry["width"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path}: a sequence of another form than BURST's ({type(error).__name__}: {error})"
        ) from error
    if len(video.masks) != len(video.annotated):
        raise InputError(
            f"{path}: {video.name}: masks of {len(video.masks)} frames, and "
            f"{len(video.annotated)} annotated ones; download it again"
        )
    for name in (video.data_set, video.sequence, *video.frames, *video.annotated):
        check_plain_name(name, str(path))
    return video


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{short_repr(value)} is no text")
    return value


def _length(value: Any) -> int:
    length = int(value)
    if length < 1:
        raise ValueError(f"a side of {length} pixels")
    return length


def _link_frames(video: BurstVideo, frames: Path, folder: Path, every: int) -> None:
    folder.mkdir(parents=True)
    wanted = {*video.frames[::every], *video.annotated}
    for name in sorted(wanted):
        frame = (frames / video.data_set / video.sequence / name).resolve()
        if not frame.is_file():
            raise InputError(f"{frame}: no such frame; give the folder of DATA_SET/SEQUENCE/*.jpg")
        (folder / name).symlink_to(frame)


def _results_of(video: BurstVideo, folder: Path) -> list[dict[str, dict[str, str]]]:
    """The masks of a video's results, frame by frame; none before its first mask."""
    tracks = {object_id: track for track, object_id in video.ids.items()}
    first = next((position for position, masks in enumerate(video.masks) if masks), None)
    found: list[dict[str, dict[str, str]]] = []
    for position, name in enumerate(video.annotated):
        if first is None or position < first:
            found.append({})
            continue
        path = folder / f"{Path(name).stem}.png"
        labels = read_labels(path)
        if labels.shape != (video.height, video.width):
            raise InputError(
                f"{path}: {size_text(labels.shape)} pixels, the annotations "
                f"{size_text((video.height, video.width))}; segment the frames of these annotations"
            )
        shown = {int(object_id) for object_id in np.unique(labels)} - {0}
        if unknown := shown - set(tracks):
            raise InputError(f"{path}: id {min(unknown)} is no track of the annotations")
        found.append(
            {
                str(tracks[number]): {"rle": coco_counts(labels == number)}
                for number in sorted(shown)
            }
        )
    return found
