"""A benchmark as a command: the shared flags, the measurement, the report."""

import argparse
from collections.abc import Callable
from typing import Any

import torch

from model import PRESETS
from model.config import preset
from model.training.rollout import check_frames, check_slots
from model.training.stages import STAGES, TrainingConfig
from scripts.common.circumstances import circumstances, circumstances_line
from util.device import select_device
from util.errors import EXIT_OK
from util.files import write_json
from util.flags import Commands, DefaultsFormatter, at_least, output_image_path, output_text_path

# Takes the flags. Returns a report in Markdown, and its figures as plain values.
Measurement = Callable[[argparse.Namespace], tuple[str, Any]]


def add_command(
    commands: Commands, name: str, run: Measurement, network: str, frame_size: bool = True
) -> argparse.ArgumentParser:
    """Add a command with the flags that all benchmarks share; the caller adds its own.

    run: the measurement; its docstring is the command's help.
    network: the default preset.
    frame_size: whether the command has --height and --width.
    """
    parser = commands.add_parser(
        name, help=run.__doc__, description=run.__doc__, formatter_class=DefaultsFormatter
    )
    parser.set_defaults(do=_report, run=run)
    parser.add_argument("--network", choices=PRESETS, default=network, help="preset")
    if frame_size:
        parser.add_argument("--height", type=at_least(16), default=480, help="of frames, in pixels")
        parser.add_argument("--width", type=at_least(16), default=854, help="of frames, in pixels")
    parser.add_argument("--threads", type=at_least(1), default=2, help="CPU threads of torch")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1")
    parser.add_argument(
        "--json", type=output_text_path, metavar="FILE", help="also write all figures to this file"
    )
    return parser


def add_object_counts(parser: argparse.ArgumentParser) -> None:
    """Add the flag of commands that run with several numbers of objects."""
    parser.add_argument(
        "--objects",
        type=at_least(1),
        nargs="+",
        default=[1, 3],
        help="numbers of objects to run with",
    )


def add_object_count(parser: argparse.ArgumentParser, default: int = 1) -> None:
    """Add the flag of commands that run with one number of objects."""
    parser.add_argument("--objects", type=at_least(1), default=default, help="number of objects")


def add_plot(parser: argparse.ArgumentParser) -> None:
    """Add the flag of commands that can draw their table."""
    parser.add_argument(
        "--plot", type=output_image_path, metavar="FILE", help="draw the table as a PNG"
    )


def add_training_step(parser: argparse.ArgumentParser) -> None:
    """Add the flags of commands about a training step."""
    parser.add_argument(
        "--stage",
        choices=[stage for stage in STAGES if stage.isdecimal()],
        default="3",
        help="training stage",
    )
    parser.add_argument(
        "--crop_size",
        type=at_least(16, multiple_of=16),
        default=384,
        help="side of the training crop in pixels, a multiple of 16",
    )


def check_training(network: str, config: TrainingConfig) -> None:
    """Raise InputError if the stage cannot train a network of this preset."""
    check_slots(preset(network), config.clip_frames, config.reduce_frames)
    check_frames(config.frames, config.clip_frames, config.reduce_frames)


def _report(flags: argparse.Namespace) -> int:
    """Measure, print the report, write the figures. Returns the exit code."""
    # Folders that cannot be made are refused now, not after minutes of measuring.
    for path in filter(None, (flags.json, getattr(flags, "plot", None))):
        path.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(flags.threads)
    measured = circumstances(flags.threads, select_device(flags.device))
    text, figures = flags.run(flags)
    print(f"{text}\n\n{circumstances_line(measured)}")
    if flags.json:
        write_json(flags.json, {"benchmark": flags.command, **measured, "figures": figures})
    return EXIT_OK
