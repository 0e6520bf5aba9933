"""Benchmarks of plain folders of frames and masks: MOSE, LVOS, VOST and VIPOSeg.

Each is a row of BENCHMARKS: where its splits, frames, masks and lists are, which masks are given,
and the form in which its server or toolkit takes results. The layouts are those of the authors'
repositories: henghuiding/MOSE-api, LingyiHongfd/LVOS and lvos-evaluation, TRI-ML/VOST,
yoxu515/VIPOSeg-Benchmark.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset.folders import list_folders
from dataset.layout import FRAMES, LISTS, MASKS, read_sequence_list
from dataset.video.base import Video, VideoDataset, select_names
from dataset.video.folder_source import FolderSource
from dataset.video.mask_selection import without_void
from dataset.video.masked_video import MaskedVideo, masks_of_folder
from util.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One benchmark, as its authors lay it out.

    splits: split → the folder that holds it, below the root; the first split is the default.
    frames: folders of VIDEO/FRAME.jpg, the preferred one first; the masks given are in Annotations.
    list_file: the names of a split's videos, one a line; None: the folders of masks.
    first_frame_only: only the mask of the video's first frame is given. Otherwise an id's mask
        counts where the id first appears.
    truth: split → the folder of the masks of all annotated frames, if they are public.
    protocol: by which results are scored.
    meta: the file that the protocol needs, in the split's folder; None: none.
    subfolder: of OUT, in which the server expects VIDEO/FRAME.png.
    """

    title: str
    splits: Mapping[str, str]
    frames: tuple[str, ...] = (FRAMES,)
    list_file: str | None = None
    first_frame_only: bool = False
    truth: Mapping[str, str]
    protocol: str
    meta: str | None = None
    subfolder: str = "."


BENCHMARKS: Mapping[str, Benchmark] = {
    "mose": Benchmark(
        title="MOSE",
        splits={"valid": "valid", "test": "test", "train": "train"},
        truth={"train": MASKS},
        protocol="davis",
    ),
    "lvos": Benchmark(
        title="LVOS",
        splits={"val": "val", "test": "test", "train": "train"},
        truth={"val": MASKS, "train": MASKS},
        protocol="lvos",
        meta="{split}_meta.json",
        subfolder=MASKS,
    ),
    "vost": Benchmark(
        title="VOST",
        splits={"val": ".", "test": ".", "train": "."},
        frames=(f"{FRAMES}_10fps", FRAMES),
        list_file=f"{LISTS}/{{split}}.txt",
        first_frame_only=True,
        truth={"val": MASKS, "train": MASKS},
        protocol="vost",
    ),
    "viposeg": Benchmark(
        title="VIPOSeg",
        splits={"valid": "valid", "train": "train"},
        truth={"valid": f"{MASKS}_gt", "train": MASKS},
        protocol="strict",
        subfolder=MASKS,
    ),
}


class BenchmarkDataset(VideoDataset):
    """A split of a benchmark.

    Masks that benchmarks give for every frame leak nothing: see Benchmark.first_frame_only. The
    value 255 in a mask is void.

    Args:
        root: holds the split's folder, or is that folder.
        name: a row of BENCHMARKS.
        split: by default the benchmark's first.
        sequences: read only these videos.
        colours: the palette for RGB masks (see read_palette).

    benchmark, split: as resolved. folder: holds the split. frames_read: the folder of the frames.

    Raises:
        InputError: the split, its folders, its list or a sequence is missing.
    """

    def __init__(
        self,
        root: str | Path,
        name: str,
        split: str | None = None,
        sequences: Sequence[str] | None = None,
        *,
        colours: bytes | None = None,
    ):
        self.root = Path(root)
        self.benchmark = BENCHMARKS[name]
        splits = self.benchmark.splits
        self.split = split or next(iter(splits))
        if self.split not in splits:
            raise InputError(
                f"no split '{self.split}' of {self.benchmark.title}; there are: {' '.join(splits)}"
            )
        self._colours = colours
        self.folder = self._find_folder()
        self._masks = self.folder / MASKS
        available, source = self._listed_names()
        self.frames_read = self._find_frames(available)
        self.names = select_names(available, sequences, str(source))
        self.notes = (f"{self.benchmark.title} {self.split}: frames of {self._frames}",)

    def open(self, name: str) -> Video:
        # a benchmark's frames are a selection, so gaps in their numbers mean nothing
        source = FolderSource.of_folder(self._frames / name, complete=False)
        if self.benchmark.first_frame_only:
            masks = {0: self._masks / name / f"{source.name_of(0)}.png"}
            if not masks[0].is_file():
                raise InputError(
                    f"{masks[0]}: no such mask; {self.benchmark.title} gives the first frame's"
                )
        else:
            masks = masks_of_folder(self._masks / name, source)
        return MaskedVideo(name, source, masks, colours=self._colours, relabel=without_void)

    def truth_folder(self) -> Path:
        """The folder of VIDEO/FRAME.png. Raises InputError if this split's truth is not public."""
        truth = self.benchmark.truth
        if self.split not in truth:
            raise InputError(
                f"the truth of {self.benchmark.title} {self.split} is not public; submit the "
                f"results, or score --split {' or '.join(truth)}"
            )
        return self.folder / truth[self.split]

    def meta_file(self) -> Path | None:
        """The file that the protocol needs; None: none. Raises InputError if it is missing."""
        if self.benchmark.meta is None:
            return None
        path = self.folder / self.benchmark.meta.format(split=self.split)
        if not path.is_file():
            raise InputError(
                f"{path}: no such file, which scores need; the authors publish it beside the frames"
            )
        return path

    @property
    def _frames(self) -> Path:
        return self.folder / self.frames_read

    def _find_folder(self) -> Path:
        part = self.benchmark.splits[self.split]
        folder = next(
            (base for base in (self.root / part, self.root) if (base / MASKS).is_dir()), None
        )
        if folder is None:
            raise InputError(
                f"{self.root / part}: no {MASKS} in it; --data_path is the folder of "
                f"{self.benchmark.title} (docs/evaluation.md)"
            )
        return folder

    def _listed_names(self) -> tuple[list[str], Path]:
        """The names of the split's videos, and where they are from."""
        if self.benchmark.list_file is None:
            path, names = self._masks, list_folders(self._masks)
        else:
            path = self.folder / self.benchmark.list_file.format(split=self.split)
            if not path.is_file():
                raise InputError(
                    f"{path}: no such list of videos; {self.benchmark.title} has one for each split"
                )
            names = read_sequence_list(path)
        if not names:
            raise InputError(f"{path}: no video in it")
        return names, path

    def _find_frames(self, names: Sequence[str]) -> str:
        """The first of the benchmark's folders of frames that holds all of these videos.

        It must not depend on the sequences asked for: runs of parts of a split are one run.
        """
        lacking = {
            frames: next((n for n in names if not (self.folder / frames / n).is_dir()), None)
            for frames in self.benchmark.frames
        }
        for frames, missing in lacking.items():
            if missing is None:
                return frames
        frames, missing = list(lacking.items())[-1]
        raise InputError(
            f"{self.folder / frames / missing}: no such folder; the copy of "
            f"{self.benchmark.title} {self.split} is incomplete"
        )
