"""The data a study runs on, and how the eval scripts are asked to run on it."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataset import Layout
from inference.cli import require_truth
from util.errors import InputError
from util.text import counted

from .playing import write_played

_REPOSITORY = Path(__file__).resolve().parent.parent.parent
_FEWEST_FRAMES = 3  # of a video: neither protocol scores the first and the last


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyData:
    """Some videos of a data set, with the truth of every frame."""

    name: str  # of the data set
    layout: Layout
    names: tuple[str, ...]
    frame_count: int  # of all of them
    played: str = "×1"
    first_frames: int | None = None  # of each video, where it was cut to these

    @staticmethod
    def of(
        root: Path,
        *,
        split: str | None = None,
        sequences: Sequence[str] | None = None,
        played: str = "×1",
    ) -> "StudyData":
        """split: of DAVIS, by default the first of val and 2016val whose list is there. Raises InputError where videos or their truth are missing."""
        layout = Layout.of(root, split)
        names = layout.open(sequences).names
        counts = {name: len(layout.frame_files(name)) for name in names}
        if short := next((name for name, count in counts.items() if count < _FEWEST_FRAMES), None):
            raise InputError(
                f"{short}: {counted(counts[short], 'frame')}; a study needs {_FEWEST_FRAMES} of each video, for the first and the last are not scored: "
                "choose videos with --sequences, or more frames"
            )
        require_truth(
            layout.truth_folder,
            names,
            "a study",
            "give a data set that has it, or choose videos with --sequences",
        )
        return StudyData(
            name=root.resolve().name,
            layout=layout,
            names=tuple(names),
            frame_count=sum(counts.values()),
            played=played,
        )

    @property
    def description(self) -> str:
        """In words: which data, how much of it."""
        kind = f", split {self.layout.split}" if self.layout.is_davis else ""
        return f"{self.name}{kind}, {counted(len(self.names), 'sequence')}, {counted(self.frame_count, 'frame')}"

    def command(self) -> list[str]:
        """The eval script and its flags, without those of a variant."""
        root, truth = str(self.layout.root.resolve()), str(self.layout.truth_folder.resolve())
        if self.layout.split is None:
            return [
                sys.executable,
                str(_REPOSITORY / "eval_generic.py"),
                "--data_path",
                root,
                "--sequences",
                *self.names,
                "--truth",
                truth,
            ]
        return [
            sys.executable,
            str(_REPOSITORY / "eval_davis.py"),
            "--davis_path",
            root,
            "--split",
            self.layout.split,
            "--sequences",
            *self.names,
            "--score",
        ]

    def lengthened(
        self, out: Path, *, frames: int | None = None, times: float | None = None
    ) -> "StudyData":
        """The same videos played back and forth, to `frames` frames or to `times` their length, as links in `out`."""
        played = f"×{times:g}" if frames is None else f"to {frames} frames"
        return self._at(
            write_played(self.layout.root, out, frames=frames, times=times, sequences=self.names),
            played=played,
        )

    def cut(self, out: Path, frames: int) -> "StudyData":
        """The first `frames` frames of each video, as links in `out`."""
        return self._at(
            write_played(
                self.layout.root, out, frames=frames, sequences=self.names, lengthen=False
            ),
            first_frames=frames,
        )

    def _at(self, root: Path, **changes: Any) -> "StudyData":
        found = StudyData.of(root, split=self.layout.split, sequences=self.names)
        return dataclasses.replace(
            self, layout=found.layout, frame_count=found.frame_count, **changes
        )
