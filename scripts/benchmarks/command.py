"""A benchmark as a command: the flags that all share, its measurement, its report."""

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
from util.flags import Commands, DefaultsFormatter, at_least, output_image_path, output_text_path
from util.run_record import write_json

Measurement = Callable[
    [argparse.Namespace], tuple[str, Any]
]  # flags → the report in Markdown, and its figures


def add_command(
    commands: Commands, name: str, run: Measurement, network: str, frame_size: bool = True
) -> argparse.ArgumentParser:
    """A command that measures and reports, with the flags that all of them share; the caller adds its own. network: the default preset."""
    added = commands.add_parser(
        name, help=run.__doc__, description=run.__doc__, formatter_class=DefaultsFormatter
    )
    added.set_defaults(do=_report, run=run)
    added.add_argument("--network", choices=PRESETS, default=network, help="preset")
    if frame_size:
        added.add_argument("--height", type=at_least(16), default=480, help="of a frame, in pixels")
        added.add_argument("--width", type=at_least(16), default=854, help="of a frame, in pixels")
    added.add_argument("--threads", type=at_least(1), default=2, help="CPU threads of torch")
    added.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1")
    added.add_argument(
        "--json", type=output_text_path, metavar="FILE", help="write all figures here too"
    )
    return added


def add_plot(added: argparse.ArgumentParser) -> None:
    """The flag of commands that draw their table."""
    added.add_argument(
        "--plot", type=output_image_path, metavar="FILE", help="draw the table as a PNG"
    )


def add_training_step(added: argparse.ArgumentParser) -> None:
    """The flags of commands about a step of training."""
    added.add_argument(
        "--stage",
        choices=[stage for stage in STAGES if stage.isdecimal()],
        default="3",
        help="recipe",
    )
    added.add_argument(
        "--crop_size",
        type=at_least(16, multiple_of=16),
        default=384,
        help="side of the training crop in pixels, a multiple of 16",
    )


def check_training(network: str, config: TrainingConfig) -> None:
    """Raise InputError where the stage cannot train a network of this preset."""
    check_slots(preset(network), config.clip_frames, config.reduce_frames)
    check_frames(config.frames, config.clip_frames, config.reduce_frames)


def _report(flags: argparse.Namespace) -> int:
    """Measure, print the table, write the figures; the exit code."""
    for path in filter(
        None, (flags.json, getattr(flags, "plot", None))
    ):  # before minutes of measuring, not after
        path.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(flags.threads)
    where = circumstances(flags.threads, select_device(flags.device))
    text, figures = flags.run(flags)
    print(f"{text}\n\n{circumstances_line(where)}")
    if flags.json:
        write_json(flags.json, {"benchmark": flags.command, **where, "figures": figures})
    return EXIT_OK
