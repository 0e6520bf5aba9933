"""Running variants: each through the eval script in a process of its own, so that its numbers are what that command gives, and its peak memory is its own."""

import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from inference.output.paths import CONFIG_NAME, SCORES_NAMES
from inference.output.trace import FrameTrace, read_trace
from util.errors import InputError

from .data import StudyData
from .variants import Variant

TRACE_NAME = "trace.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What came of a variant. Scores in 0..1. Time and memory are of the `frames` on record, of which `frames_memorised` were written to memory; memory_elements is the
    most the bank held in any video."""

    folder: Path
    device: str
    j_and_f: float
    j: float
    f: float
    frames: int
    seconds: float
    peak_memory_mb: float
    frames_memorised: int
    memory_elements: int
    memory_mb: float
    untimed: tuple[
        str, ...
    ]  # videos whose results were there already without a record of their time

    @property
    def fps(self) -> float:
        """Frames a second inside the sessions."""
        return self.frames / self.seconds if self.seconds else 0.0


class FailedRunError(Exception):
    """A variant's eval script ended with an error; the message is its last line."""


def run_variant(
    variant: Variant, data: StudyData, folder: Path, common_flags: Sequence[str] = ()
) -> Run:
    """Run a variant into `folder`, or finish it; a finished one is looked at, scored anew and left as it is. Raises FailedRunError."""
    trace = folder / TRACE_NAME
    command = [
        *data.command(),
        *variant.flags(),
        *common_flags,
        "--output",
        str(folder),
        "--trace",
        str(trace),
    ]
    _call(command)
    overall = json.loads((folder / SCORES_NAMES[0]).read_text())["overall"]
    device = json.loads((folder / CONFIG_NAME).read_text())["run"]["device"]
    videos = read_trace(trace)
    return Run(
        folder=folder,
        device=device,
        j_and_f=overall["jf_mean"],
        j=overall["j_mean"],
        f=overall["f_mean"],
        **_taken([videos[name] for name in data.names if name in videos]),
        untimed=tuple(name for name in data.names if name not in videos),
    )


def _taken(videos: Sequence[Sequence[FrameTrace]]) -> dict[str, float]:
    frames = [frame for video in videos for frame in video]
    return {
        "frames": len(frames),
        "seconds": sum(video[-1].seconds for video in videos),
        "peak_memory_mb": max((frame.peak_memory_mb for frame in frames), default=0.0),
        "frames_memorised": sum(video[-1].frames_memorised for video in videos),
        "memory_elements": max((frame.memory_elements for frame in frames), default=0),
        "memory_mb": max((frame.memory_mb for frame in frames), default=0.0),
    }


def _call(command: Sequence[str]) -> None:
    """Run to the end, its stderr shown as it comes. Whatever ends this process before, but for a kill, ends that one too."""
    last = ""
    with (
        tempfile.TemporaryFile() as output,
        _ended_with_us(
            subprocess.Popen(
                command, stdout=output, stderr=subprocess.PIPE, text=True, errors="replace"
            )
        ) as process,
    ):
        for line in process.stderr:
            print(f"  {line}", end="", file=sys.stderr, flush=True)
            last = line.strip() or last
        code = process.wait()
    if code:
        raise FailedRunError(last.removeprefix("error: ") or f"ended with exit code {code}")


@contextlib.contextmanager
def _ended_with_us(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.stderr.close()
        process.wait()


def folder_of(out: Path, variant: Variant, data: StudyData) -> Path:
    """OUT/runs/NAME, of videos that were cut OUT/runs/NAME-first-8, played longer OUT/runs/NAME-x3 or NAME-first-8-x3. Raises InputError for a name that is no file name."""
    cut = "" if data.first_frames is None else f"-first-{data.first_frames}"
    played = "" if data.played == "×1" else "-" + data.played.replace("×", "x").replace(" ", "-")
    name = variant.name + cut + played
    if Path(name).name != name:
        raise InputError(f"{name!r}: not a folder's name")
    return out / "runs" / name
