"""The data of a study, and the eval command that runs on it."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataset import Layout
from inference.cli import require_truth
from scripts.studies.playing import BACK_AND_FORTH, write_played
from util.errors import InputError
from util.text import counted

_REPOSITORY = Path(__file__).resolve().parent.parent.parent
_MIN_FRAMES = 3  # of a video: neither protocol scores the first and the last


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyData:
    """Some videos of a data set that has the truth of every frame.

    name: of the data set. names, frame_count: of the videos, and of all their frames.
    played: how long the videos are played. first_frames: to how many frames each was cut, if so.
    """

    name: str
    layout: Layout
    names: tuple[str, ...]
    frame_count: int
    played: str = "×1"
    first_frames: int | None = None

    @staticmethod
    def of(
        root: Path,
        *,
        split: str | None = None,
        sequences: Sequence[str] | None = None,
        played: str = "×1",
    ) -> "StudyData":
        """The videos in a folder.

        split: of DAVIS; by default the first of val and 2016val whose list exists. sequences: the
        videos; None: all. Raises InputError if videos, frames or the truth are missing.
        """
        layout = Layout.of(root, split)
        names = layout.open(sequences).names
        counts = {name: len(layout.frame_files(name)) for name in names}
        for name, count in counts.items():
            if count < _MIN_FRAMES:
                raise InputError(
                    f"{name}: {counted(count, 'frame')}; a study needs {_MIN_FRAMES} of each "
                    "video, since the first and the last are not scored: choose videos with "
                    "--sequences, or more frames"
                )
        remedy = "give a data set that has it, or choose videos with --sequences"
        require_truth(layout.truth_folder, names, "a study", remedy)
        return StudyData(
            name=root.resolve().name,
            layout=layout,
            names=tuple(names),
            frame_count=sum(counts.values()),
            played=played,
        )

    @property
    def description(self) -> str:
        """Which data, and how much of it."""
        split = f", split {self.layout.split}" if self.layout.is_davis else ""
        videos, frames = counted(len(self.names), "sequence"), counted(self.frame_count, "frame")
        return f"{self.name}{split}, {videos}, {frames}"

    def command(self) -> list[str]:
        """The eval program with its flags, except those of a variant."""
        root, truth = str(self.layout.root.resolve()), str(self.layout.truth_folder.resolve())
        if self.layout.split is None:
            program = str(_REPOSITORY / "eval_generic.py")
            flags = ["--data_path", root, "--sequences", *self.names, "--truth", truth]
        else:
            program = str(_REPOSITORY / "eval_davis.py")
            flags = ["--davis_path", root, "--split", self.layout.split]
            flags += ["--sequences", *self.names, "--score"]
        return [sys.executable, program, *flags]

    def lengthened(
        self,
        out: Path,
        *,
        frames: int | None = None,
        times: float | None = None,
        order: str = BACK_AND_FORTH,
    ) -> "StudyData":
        """The same videos played longer, to `frames` frames or to `times` their length.

        They are written to `out` as links. order: see write_played. Raises InputError, as it does.
        """
        root = write_played(
            self.layout.root, out, frames=frames, times=times, sequences=self.names, order=order
        )
        played = f"×{times:g}" if frames is None else f"to {frames} frames"
        played += "" if order == BACK_AND_FORTH else f" {order}"
        return self._read_from(root, played=played)

    def cut(self, out: Path, frames: int) -> "StudyData":
        """The first `frames` frames of each video, as links in `out`."""
        root = write_played(
            self.layout.root, out, frames=frames, sequences=self.names, lengthen=False
        )
        return self._read_from(root, first_frames=frames)

    def _read_from(self, root: Path, **changes: Any) -> "StudyData":
        """The same videos in another folder."""
        other = StudyData.of(root, split=self.layout.split, sequences=self.names)
        return dataclasses.replace(
            self, layout=other.layout, frame_count=other.frame_count, **changes
        )
