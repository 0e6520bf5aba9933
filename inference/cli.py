"""The command line of the eval scripts: common flags, and from them a segmenter, an output folder, a run and its scores."""

import argparse
import datetime
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from dataset import VideoDataset, read_palette
from inference import runner
from inference.config import SHORT_NAMES, SYSTEMS, system_config
from inference.measurements import Totals
from inference.memory import POLICIES, SAMPLINGS
from inference.output.run_folder import RunFolder
from inference.runner import FailedVideosError
from inference.scoring import score_videos, videos_below
from inference.segmenter import DEFAULT_LOOKAHEAD, VideoSegmenter, shipped_weights
from model import PRESETS
from model.config import Similarity
from model.network import SLOTS
from util.distributed import (
    exit_together_on_error,
    gather_objects,
    is_main,
    process_group,
    world_size,
)
from util.errors import EXIT_INPUT_ERROR, InputError, run_command
from util.files import file_sha256
from util.flags import FlagParser
from util.run_record import git_commit
from util.settings import parse_settings
from util.text import without_secrets

# flags that are settings by their short names
_SETTING_FLAGS: dict[str, dict[str, Any]] = {
    "mem_every": {
        "type": int,
        "metavar": "N",
        "help": "memorise every N-th frame (default: the system's; of a clip system, the clip length)",
    },
    "top_k": {
        "type": int,
        "metavar": "K",
        "help": "memory elements a query reads (default: the system's, 20 for stcn)",
    },
    "include_last": {
        "action": "store_const",
        "const": True,
        "help": "also read the previous frame",
    },
    "memory": {"choices": tuple(POLICIES), "help": "what is remembered (default: the system's)"},
    "sampling": {
        "choices": tuple(SAMPLINGS),
        "help": "when a frame is memorised: at a distance in frames, or when its masks have changed (default: the system's)",
    },
    "memory_frames": {
        "type": int,
        "metavar": "N",
        "help": "frames' worth of memory held at most, of a bounded memory (lfu and its rivals, redundancy)",
    },
    "max_memory_mb": {
        "type": float,
        "metavar": "M",
        "help": "megabytes held at most, instead of --memory_frames; the frames they hold are printed",
    },
    "clip_length": {
        "type": int,
        "metavar": "L",
        "help": "frames predicted together; the memory is updated once a clip (default: the system's)",
    },
    "amp": {
        "action": "store_const",
        "const": True,
        "help": "mixed precision (fp16 on CUDA, bf16 elsewhere; --set amp_dtype=… chooses): faster on GPUs, results differ a little",
    },
    "tf32": {
        "action": "store_const",
        "const": True,
        "help": "float32 in TF32 on CUDA: faster on Ampere and later, results differ a little",
    },
    "resolution": {
        "type": int,
        "metavar": "N",
        "help": "shorter side frames are resized to, in pixels; -1: as stored",
    },
}

_PATIENCE = datetime.timedelta(
    days=7
)  # a process that is done waits for the others' videos, however long these are


class _SharedFlagParser(FlagParser):
    """Its errors are said once, whatever the number of processes."""

    def parse_args(self, *arguments: Any, **keywords: Any) -> argparse.Namespace:
        with exit_together_on_error():
            return super().parse_args(*arguments, **keywords)


def evaluation_parser(program: str, description: str) -> argparse.ArgumentParser:
    """A parser with the flags that all eval scripts share."""
    parser = _SharedFlagParser(prog=program, description=description)
    parser.set_defaults(script=program)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="results go here; a run that was stopped goes on where it stopped",
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="CHECKPOINT",
        help="weights (default: the system's small network, which is shipped)",
    )
    parser.add_argument(
        "--network",
        choices=tuple(PRESETS),
        metavar="PRESET",
        help="the checkpoint's network, where the file does not tell: %(choices)s",
    )
    parser.add_argument(
        "--similarity",
        choices=get_args(Similarity),
        help="what the weights were trained with, where that is not l2 and the file does not tell",
    )
    window = "frames, rows and columns of the refinement's windows, where they are not the network's own and the file does not tell"
    parser.add_argument("--window", type=int, nargs=3, metavar=("T", "H", "W"), help=window)
    parser.add_argument("--system", choices=tuple(SYSTEMS), default="stcn", help="default: stcn")
    for name, keywords in _SETTING_FLAGS.items():
        parser.add_argument(f"--{name}", **keywords)
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="any setting by its full name, such as memory.policy=every-k",
    )
    parser.add_argument(
        "--lookahead",
        type=int,
        default=DEFAULT_LOOKAHEAD,
        metavar="N",
        help="frames computed as one batch, at most (default: %(default)s)",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
    parser.add_argument(
        "--corrections",
        action="store_true",
        help="also use masks given again for a known object; without it only the first mask of an id is used",
    )
    palette = "colours of ids 0, 1, 2, … for RGB masks: of an indexed PNG or a .txt of lines 'red green blue', of DAVIS, or auto (numbered by size)"
    parser.add_argument("--palette", metavar="FILE|davis|auto", help=palette)
    parser.add_argument(
        "--overlay",
        action="store_true",
        help="also draw the masks over each video: OUT/overlays/VIDEO.mp4 and a sheet of frames, VIDEO.png",
    )
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="append a JSON line for each frame: seconds, elements in memory, megabytes",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace results of these videos, whatever their settings",
    )
    return parser


def start(main: Callable[[], None]) -> None:
    """Run an eval script's main as one of the processes of torchrun, or alone, and exit with its code."""

    def joined() -> None:
        with process_group(
            torch.device("cpu"), _PATIENCE
        ):  # what processes tell each other are a few numbers, also where the videos are on GPUs
            main()

    run_command(joined)


def palette_of(flags: argparse.Namespace) -> bytes | Literal["auto"] | None:
    """The colours of --palette. Raises InputError where the file is none."""
    return None if flags.palette is None else read_palette(flags.palette)


def overrides_of(flags: argparse.Namespace, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What flags and --set change of the system's settings, by full name, checked. defaults: values by short name for what these leave open; of them,
    mem_every is passed over where writes follow clips or masks.

    Raises InputError for settings that are unknown, given twice, out of range, or do not go together.
    """
    overrides: dict[str, Any] = {}
    for name in _SETTING_FLAGS:
        value = getattr(flags, name)
        if value is not None:
            overrides[SHORT_NAMES[name]] = value
    for name, value in parse_settings(flags.set):
        key = SHORT_NAMES.get(name, name)
        if key in overrides:
            raise InputError(f"--set {name}={value}: {key} is given twice; leave one out")
        overrides[key] = value
    writes_by_count = system_config(flags.system, **overrides).writes_by_count
    for name, value in defaults.items():
        if writes_by_count or name != "mem_every":
            overrides.setdefault(SHORT_NAMES[name], value)
    system_config(flags.system, **overrides)
    return overrides


class Evaluation:
    """A run of the eval scripts: flags and a data set to results, scores and the line of totals.

    data: what describes the data beside its root, as plain values recorded in config.json. defaults: this data set's settings, by short name, where no flag
    gives them. subfolder: of --output, for the results. Raises InputError for flags, a checkpoint or a device that are not right; nothing is written yet.
    """

    def __init__(
        self,
        flags: argparse.Namespace,
        dataset: VideoDataset,
        *,
        data: Mapping[str, Any],
        defaults: Mapping[str, Any],
        subfolder: str = ".",
    ):
        if flags.lookahead < 1:
            raise InputError(f"--lookahead {flags.lookahead}: at least 1 is needed")
        self._flags = flags
        self._dataset = dataset
        overrides = overrides_of(flags, defaults)
        weights = shipped_weights(flags.system) if flags.model is None else flags.model
        kind = {
            name: getattr(flags, name) for name in ("network", "similarity", "window", "device")
        }
        self._segmenter = VideoSegmenter.from_checkpoint(weights, flags.system, **kind, **overrides)
        settings = {
            "script": flags.script,
            "system": flags.system,
            **{
                name: value
                for name, value in self._segmenter.config.as_dict().items()
                if name != "name"
            },
            "network": self._segmenter.network.config.name,
            "similarity": self._segmenter.network.config.similarity,
            **({} if flags.window is None else {"window": flags.window}),
            "weights_sha256": file_sha256(weights),
            "data_root": str(dataset.root.resolve()),
            **data,
            "corrections": flags.corrections,
            "palette": None if flags.palette is None else fingerprint(flags.palette),
        }
        run = {
            "weights": str(weights.resolve()),
            "device": str(self._segmenter.device),
            "processes": world_size(),
            "lookahead": flags.lookahead,
            "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "torch": torch.__version__,
            "git_commit": git_commit(),
        }
        self._folder = RunFolder(
            flags.output, settings, run=run, subfolder=subfolder, overwrite=flags.overwrite
        )

    def run(self) -> Totals:
        """Segment what is not finished yet. Where some of several videos are at fault, ends the program once the others are done, with a line for each and exit code 2."""
        try:
            totals = runner.run(
                self._dataset,
                self._segmenter,
                self._folder,
                lookahead=self._flags.lookahead,
                overlays=self._flags.overlay,
                trace=self._flags.trace,
            )
        except FailedVideosError as error:
            if is_main():
                for failure in error.failures:
                    print(f"error: {without_secrets(failure)}", file=sys.stderr, flush=True)
                if error.totals.frames:
                    finish(error.totals)
            gather_objects(
                None
            )  # no process ends before that is said: the launcher ends all with the first
            raise SystemExit(EXIT_INPUT_ERROR) from None
        if is_main():
            for line in _unused_slots(self._segmenter):
                print(line, file=sys.stderr)
        return totals

    def score(self, truth: Path, protocol: str = "davis", *, single_object: bool = False) -> None:
        """Score the results against VIDEO/FRAME.png below truth, by a row of inference.scoring.PROTOCOLS: a table on stdout, OUT/scores.json and OUT/scores.csv.

        single_object: all ids are one object, as DAVIS-2016 has it.
        By the main process alone; the others wait.
        """
        with exit_together_on_error():
            if not is_main():
                return
            with self._folder.hold():
                report = score_videos(
                    videos_below(truth, self._folder.results, self._dataset.names),
                    protocol=protocol,
                    single_object=single_object,
                    with_provenance=True,
                )
                print(report.as_table(), flush=True)
                json_path, csv_path = self._folder.paths.scores
                report.write_json(json_path)
                report.write_csv(csv_path)


def _unused_slots(segmenter: VideoSegmenter) -> list[str]:
    """A note for each part of the network that the system leaves out; what was left out by settings was so on purpose."""
    wanted = {*segmenter.config.slots, *SYSTEMS[segmenter.config.name].slots}
    unused = [
        slot
        for slot in SLOTS
        if getattr(segmenter.network.config, slot) is not None and slot not in wanted
    ]
    users = {
        slot: " or ".join(name for name, system in SYSTEMS.items() if slot in system.slots)
        for slot in unused
    }
    return [
        f"note: the checkpoint's {SLOTS[slot].title} was not used; --system {users[slot]} uses it"
        for slot in unused
    ]


def finish(totals: Totals) -> None:
    """Print the line of totals, the last on stdout; by the main process alone."""
    if is_main():
        print(totals.as_json(), flush=True)


def require_truth(truth: Path, names: Sequence[str], flag: str, remedy: str | None = None) -> None:
    """Raise InputError, before any work, where a video's truth is missing or is its first mask alone. remedy: by default, to leave the flag out."""
    for name in names:
        if len(list((truth / name).glob("[!.]*.png"))) < 2:
            raise InputError(
                f"{truth / name}: {flag} needs the truth of every frame, which is not here; {remedy or f'leave {flag} out'}"
            )


def fingerprint(path: str | Path) -> str:
    """A file by its path and content, a folder by its path, anything else as it is written: what config.json compares."""
    path = Path(path)
    if path.is_file():
        return f"{path.resolve()} sha256 {file_sha256(path)}"
    return str(path.resolve()) if path.is_dir() else str(path)
