"""The data a study runs on, and how the eval scripts are asked to run on it."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataset import DavisDataset, GenericDataset, available_split
from inference.cli import require_truth
from util.errors import InputError
from util.wording import counted

from .playing import Layout, write_played

_REPOSITORY = Path(__file__).resolve().parent.parent.parent
_FEWEST_FRAMES = 3  # of a video: neither protocol scores the first and the last


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyData:
    """Some videos of a data set, with the truth of every frame."""

    name: str  # of the data set
    root: Path
    names: tuple[str, ...]
    frame_count: int  # of all of them
    split: str | None  # of DAVIS; None for other layouts
    truth: Path
    played: str = "×1"
    first_frames: int | None = None  # of each video, where it was cut to these

    @staticmethod
    def of(root: Path, *, split: str | None = None, sequences: Sequence[str] | None = None, played: str = "×1") -> "StudyData":
        """split: of DAVIS, by default the first of val and 2016val whose list is there. Raises InputError where videos or their truth are missing."""
        layout = Layout.of(root)
        if layout.is_davis:
            split = split or available_split(root)
            dataset: DavisDataset | GenericDataset = DavisDataset(root, split, sequences)
            truth = dataset.truth_folder()
        else:
            dataset = GenericDataset(root, sequences)
            split, truth = None, next(layout.folder / folder for folder in ("Truth", "Annotations") if (layout.folder / folder).is_dir())
        counts = {name: layout.frame_count(name) for name in dataset.names}
        if short := next((name for name, count in counts.items() if count < _FEWEST_FRAMES), None):
            raise InputError(
                f"{short}: {counted(counts[short], 'frame')}; a study needs {_FEWEST_FRAMES} of each video, for the first and the last are not scored: "
                "choose videos with --sequences, or more frames"
            )
        require_truth(truth, dataset.names, "a study", "give a data set that has it, or choose videos with --sequences")
        count = sum(counts.values())
        return StudyData(name=root.resolve().name, root=root, names=tuple(dataset.names), frame_count=count, split=split, truth=truth, played=played)

    @property
    def protocol(self) -> str:
        """By which the eval script scores."""
        return "strict" if self.split is None else "davis"

    @property
    def single_object(self) -> bool:
        """Whether all ids are scored as one object, as DAVIS-2016 has it."""
        return self.split == "2016val"

    @property
    def description(self) -> str:
        """In words: which data, how much of it."""
        kind = "" if self.split is None else f", split {self.split}"
        return f"{self.name}{kind}, {counted(len(self.names), 'sequence')}, {counted(self.frame_count, 'frame')}"

    def command(self) -> list[str]:
        """The eval script and its flags, without those of a variant."""
        if self.split is None:
            return [sys.executable, str(_REPOSITORY / "eval_generic.py"), "--data_path", str(self.root.resolve()), "--sequences", *self.names, "--truth", str(self.truth.resolve())]
        return [sys.executable, str(_REPOSITORY / "eval_davis.py"), "--davis_path", str(self.root.resolve()), "--split", self.split, "--sequences", *self.names, "--score"]

    def lengthened(self, out: Path, *, frames: int | None = None, times: float | None = None) -> "StudyData":
        """The same videos played back and forth, to `frames` frames or to `times` their length, as links in `out`."""
        played = f"×{times:g}" if frames is None else f"to {frames} frames"
        return self._at(write_played(self.root, out, frames=frames, times=times, sequences=self.names), played=played)

    def cut(self, out: Path, frames: int) -> "StudyData":
        """The first `frames` frames of each video, as links in `out`."""
        return self._at(write_played(self.root, out, frames=frames, sequences=self.names, lengthen=False), first_frames=frames)

    def _at(self, root: Path, **changes: Any) -> "StudyData":
        found = StudyData.of(root, split=self.split, sequences=self.names)
        return dataclasses.replace(self, root=found.root, frame_count=found.frame_count, truth=found.truth, **changes)
