"""Runs of variants, each through the eval program in a process of its own.

So their numbers are those of that command, and each peak of memory is of one variant alone.
"""

import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from inference.output.paths import CONFIG_NAME, SCORES_NAMES
from inference.output.trace import read_trace
from scripts.studies.data import StudyData
from scripts.studies.variants import Variant
from util.errors import InputError

TRACE_NAME = "trace.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """The results of a variant. Megabytes are 10^6 bytes.

    j_and_f, j, f: in 0..1.
    frames, seconds, peak_memory_mb: of the frames in the trace; seconds inside the session.
    frames_memorised: how many of them were written to memory.
    memory_elements, memory_mb: the most that the bank held in any video.
    untimed: videos whose results existed already, but not in the trace.
    """

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
    untimed: tuple[str, ...]

    @property
    def fps(self) -> float:
        """Frames per second inside the session."""
        return self.frames / self.seconds if self.seconds else 0.0


class FailedRunError(Exception):
    """A variant's eval program ended with an error; the message is its last line."""


def run_variant(
    variant: Variant, data: StudyData, folder: Path, common_flags: Sequence[str] = ()
) -> Run:
    """Run a variant into `folder`, or resume an interrupted run there.

    The videos of a finished run are kept and scored again. Raises FailedRunError.
    """
    trace_path = folder / TRACE_NAME
    output = ["--output", str(folder), "--trace", str(trace_path)]
    run_to_end([*data.command(), *variant.flags(), *common_flags, *output])
    overall = json.loads((folder / SCORES_NAMES[0]).read_text())["overall"]
    device = json.loads((folder / CONFIG_NAME).read_text())["run"]["device"]
    recorded = read_trace(trace_path)
    videos = [recorded[name] for name in data.names if name in recorded]
    frames = [frame for video in videos for frame in video]
    return Run(
        folder=folder,
        device=device,
        j_and_f=overall["jf_mean"],
        j=overall["j_mean"],
        f=overall["f_mean"],
        frames=len(frames),
        seconds=sum(video[-1].seconds for video in videos),
        peak_memory_mb=max((frame.peak_memory_mb for frame in frames), default=0.0),
        frames_memorised=sum(video[-1].frames_memorised for video in videos),
        memory_elements=max((frame.memory_elements for frame in frames), default=0),
        memory_mb=max((frame.memory_mb for frame in frames), default=0.0),
        untimed=tuple(name for name in data.names if name not in recorded),
    )


def run_to_end(command: Sequence[str]) -> str:
    """Run a command and show its standard error.

    Returns what it printed on standard output. Raises FailedRunError if it fails.
    """
    last = ""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        with terminate_on_exit(process):
            for line in process.stderr:
                print(f"  {line}", end="", file=sys.stderr, flush=True)
                last = line.strip() or last
            code = process.wait()
        output.seek(0)
        printed = output.read().decode(errors="replace")
    if code:
        raise FailedRunError(last.removeprefix("error: ") or f"ended with exit code {code}")
    return printed


@contextlib.contextmanager
def terminate_on_exit(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
    """Terminate the process if it still runs when the block ends, by an error or a signal."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.stderr.close()
        process.wait()


def run_folder(out: Path, variant: Variant, data: StudyData) -> Path:
    """The folder of a run: OUT/runs/NAME, followed by -first-8 if the videos were cut, and by -x3
    if they are played longer.

    Raises InputError if the variant's name is not the name of a file.
    """
    cut = "" if data.first_frames is None else f"-first-{data.first_frames}"
    played = "" if data.played == "×1" else "-" + data.played.replace("×", "x").replace(" ", "-")
    name = variant.name + cut + played
    if Path(name).name != name:
        raise InputError(f"{name!r}: a variant's name must be the name of a folder")
    return out / "runs" / name
