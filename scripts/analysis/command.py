"""An analysis as a command: the flags that all share, what they stand for, its run, its report."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import torch

from dataset import Layout, VideoDataset
from inference import VideoSegmenter
from inference.config import check_resolution
from model.config import Similarity
from scripts.common.circumstances import circumstances, circumstances_line
from util.device import select_device
from util.errors import EXIT_OK, InputError
from util.files import atomic_files
from util.flags import Commands, at_least
from util.process import exit_on_sigterm
from util.run_record import write_json

Analysis = Callable[
    [argparse.Namespace, Path], tuple[str, Any]
]  # flags, folder for the pictures → the report in Markdown, and its figures


def add_command(commands: Commands, name: str, run: Analysis) -> argparse.ArgumentParser:
    """A command that analyses and reports, with the flags that all of them share; the caller adds its own."""
    added = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
    added.set_defaults(do=_report, run=run)
    added.add_argument(
        "--data_path",
        type=Path,
        required=True,
        metavar="ROOT",
        help="laid out like DAVIS, or as JPEGImages/VIDEO and Annotations/VIDEO",
    )
    added.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help=f"{name}.json and pictures go here, replacing those of an earlier run",
    )
    added.add_argument("--sequences", nargs="+", metavar="NAME", help="these alone")
    added.add_argument(
        "--max_frames", type=at_least(2), metavar="N", help="of each video, from its first mask on"
    )
    added.add_argument(
        "--resolution",
        type=int,
        metavar="N",
        help="shorter side to work at; -1: as stored (default: as stored for DAVIS, 480 elsewhere)",
    )
    added.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
    added.add_argument(
        "--threads",
        type=at_least(1),
        default=torch.get_num_threads(),
        help="CPU threads of torch (default: %(default)s)",
    )
    return added


def add_model(added: argparse.ArgumentParser) -> None:
    """The flags of commands that look into one network."""
    added.add_argument(
        "--model", type=Path, metavar="FILE", help="weights (default: the shipped small network)"
    )
    added.add_argument(
        "--similarity", metavar="KIND", help="l2, dot or cosine, where the weights do not tell"
    )


def videos_of(flags: argparse.Namespace, layout: Layout) -> tuple[VideoDataset, int]:
    """All videos there are, or those asked for, and the resolution to work at."""
    if flags.resolution is not None:
        check_resolution(flags.resolution)
    return layout.open(
        flags.sequences or layout.names()
    ), layout.resolution if flags.resolution is None else flags.resolution


def segmenter_of(
    flags: argparse.Namespace, path: Path | None, kind: str | None, **settings: Any
) -> VideoSegmenter:
    """The network of a file, None: the shipped one. Raises InputError for a similarity that is none."""
    if kind is not None and kind not in get_args(Similarity):
        raise InputError(
            f"--similarity {kind}: not known; choose one of {', '.join(get_args(Similarity))}"
        )
    return VideoSegmenter.from_checkpoint(
        path, settings.pop("system", "stcn"), similarity=kind, device=flags.device, **settings
    )


def percent(share: float) -> str:
    """A share as a cell of a table."""
    return f"{100 * float(share):.1f}"


def _report(flags: argparse.Namespace) -> int:
    """Analyse, write the figures and pictures, print the table; the exit code."""
    torch.set_num_threads(flags.threads)
    where = circumstances(flags.threads, select_device(flags.device))
    with exit_on_sigterm(), atomic_files(flags.output) as folder:
        text, figures = flags.run(flags, folder)
        write_json(
            folder / f"{flags.command}.json",
            {"analysis": flags.command, **where, "figures": figures},
        )
    print(f"{text}\n\n{circumstances_line(where)}")
    return EXIT_OK
