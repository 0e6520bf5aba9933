"""The flags that all eval scripts share, and the settings they stand for."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from dataset import read_palette
from inference.config import SHORT_NAMES, SYSTEMS, SystemConfig, system_config
from inference.memory import POLICIES, SAMPLINGS
from inference.segmenter import DEFAULT_LOOKAHEAD
from model import PRESETS
from model.config import Similarity
from util.distributed import exit_together_on_error
from util.errors import InputError
from util.flags import FlagParser, add_settings_flag, at_least
from util.settings import parse_settings

# flags that are settings by their short names
_SETTING_FLAGS: dict[str, dict[str, Any]] = {
    "mem_every": {
        "type": int,
        "metavar": "N",
        "help": "memorise every N-th frame (default: the system's; for clip systems, the clip "
        "length)",
    },
    "top_k": {
        "type": int,
        "metavar": "K",
        "help": "memory elements retrieved per query (default: the system's, 20 for stcn)",
    },
    "include_last": {
        "action": "store_const",
        "const": True,
        "help": "also hold the previous frame in memory",
    },
    "memory": {"choices": tuple(POLICIES), "help": "the memory policy (default: the system's)"},
    "sampling": {
        "choices": tuple(SAMPLINGS),
        "help": "when a frame is memorised: at a fixed distance in frames, or if its masks have "
        "changed (default: the system's)",
    },
    "memory_frames": {
        "type": int,
        "metavar": "N",
        "help": "capacity of a bounded memory in frames (lfu and its baselines, redundancy)",
    },
    "max_memory_mb": {
        "type": float,
        "metavar": "M",
        "help": "capacity of a bounded memory in megabytes, instead of --memory_frames; the "
        "number of frames is reported",
    },
    "permanent_memory": {
        "action": "store_const",
        "const": True,
        "help": "memorise all annotated frames before the first frame is segmented, and never "
        "evict them",
    },
    "clip_length": {
        "type": int,
        "metavar": "L",
        "help": "frames predicted together; the memory is updated once per clip (default: the "
        "system's)",
    },
    "amp": {
        "action": "store_const",
        "const": True,
        "help": "mixed precision (fp16 on CUDA, bf16 elsewhere; --set amp_dtype=… chooses): faster "
        "on GPUs, results differ slightly",
    },
    "tf32": {
        "action": "store_const",
        "const": True,
        "help": "compute float32 in TF32 on CUDA: faster from Ampere on, results differ slightly",
    },
    "resolution": {
        "type": int,
        "metavar": "N",
        "help": "resize frames to a shorter side of N pixels; -1: as stored (default: as stored "
        "for DAVIS, 480 elsewhere)",
    },
}


class _SharedFlagParser(FlagParser):
    """Reports an error once, whatever the number of processes."""

    def parse_args(self, *arguments: Any, **keywords: Any) -> argparse.Namespace:
        with exit_together_on_error():
            return super().parse_args(*arguments, **keywords)


def evaluation_parser(program: str, description: str) -> FlagParser:
    """A parser with the flags that all eval scripts share."""
    parser = _SharedFlagParser(prog=program, description=description)
    parser.set_defaults(script=program)
    output = "folder for the results; a run that was stopped resumes there"
    parser.add_argument("--output", type=Path, required=True, metavar="OUT", help=output)
    _add_network_flags(parser)
    for name, keywords in _SETTING_FLAGS.items():
        parser.add_argument(f"--{name}", **keywords)
    add_settings_flag(parser, "any setting by its full name, such as memory.policy=every-k")
    _add_run_flags(parser)
    return parser


def _add_network_flags(parser: FlagParser) -> None:
    add = parser.add_argument
    model = (
        "weights (default: the small network shipped for the system); of several checkpoints, the "
        "probabilities are averaged"
    )
    add("--model", type=Path, nargs="+", metavar="CHECKPOINT", help=model)
    scales = (
        "test-time augmentation: segment at each of these multiples of the resolution and average "
        "the probabilities (default: 1)"
    )
    add("--scales", type=float, nargs="+", default=[1.0], metavar="SCALE", help=scales)
    flip = "test-time augmentation: also segment mirrored frames and average the probabilities"
    add("--flip", action="store_true", help=flip)
    network = "preset of the checkpoint's network, if the file does not state it: %(choices)s"
    add("--network", choices=tuple(PRESETS), metavar="PRESET", help=network)
    similarity = (
        "similarity that the weights were trained with, if the file does not state it and it is "
        "not l2"
    )
    add("--similarity", choices=get_args(Similarity), help=similarity)
    window = (
        "frames, rows and columns of the refinement's windows, if the file does not state them "
        "and they are not the network's own"
    )
    add("--window", type=int, nargs=3, metavar=("T", "H", "W"), help=window)
    add("--system", choices=tuple(SYSTEMS), default="stcn", help="default: stcn")


def _add_run_flags(parser: FlagParser) -> None:
    add = parser.add_argument
    lookahead = "frames computed as one batch at most (default: %(default)s)"
    add("--lookahead", type=at_least(1), default=DEFAULT_LOOKAHEAD, metavar="N", help=lookahead)
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
    corrections = (
        "also use masks given again for a known object; by default only the first mask of an id "
        "is used"
    )
    add("--corrections", action="store_true", help=corrections)
    palette = (
        "colours of ids 0, 1, 2, … for RGB masks: those of an indexed PNG, of a .txt with lines "
        "'red green blue', of DAVIS, or auto (ids numbered by size)"
    )
    add("--palette", metavar="FILE|davis|auto", help=palette)
    overlay = (
        "also draw the masks over each video: OUT/overlays/VIDEO.mp4 and a sheet of frames, "
        "VIDEO.png"
    )
    add("--overlay", action="store_true", help=overlay)
    soft = (
        "also write the probabilities, for scripts/merge.py: "
        "OUT/probabilities/VIDEO/ID/FRAME.png, 8 bits, ID 0 for background"
    )
    add("--soft", action="store_true", help=soft)
    trace = "append a JSON line per frame: seconds, elements in memory, megabytes"
    add("--trace", type=Path, metavar="FILE", help=trace)
    overwrite = "replace results of these videos, whatever their settings"
    add("--overwrite", action="store_true", help=overwrite)


def read_palette_flag(flags: argparse.Namespace) -> bytes | Literal["auto"] | None:
    """The colours that --palette names. Raises InputError if the file holds no palette."""
    return None if flags.palette is None else read_palette(flags.palette)


def resolve_settings(flags: argparse.Namespace, defaults: Mapping[str, Any]) -> SystemConfig:
    """The settings of --system, changed by the flags and --set.

    defaults: values by short name, for settings that the flags leave open. mem_every is not used if
    writes to memory follow clips or masks.
    Raises InputError for settings that are unknown, given twice, out of range, or contradictory.
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
    return system_config(flags.system, **overrides)
