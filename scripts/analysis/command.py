"""An analysis as a command: the shared flags and what they select, the run, the report."""

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
from util.files import atomic_files, write_json
from util.flags import Commands, at_least
from util.process import exit_on_sigterm

# Takes the flags, and the folder for pictures. Returns a report in Markdown, and its figures as
# plain values.
Analysis = Callable[[argparse.Namespace, Path], tuple[str, Any]]


def add_command(commands: Commands, name: str, run: Analysis) -> argparse.ArgumentParser:
    """Add a command with the flags that all analyses share; the caller adds its own.

    run: the analysis; its docstring is the command's help.
    """
    parser = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
    parser.set_defaults(do=_report, run=run)
    parser.add_argument(
        "--data_path",
        type=Path,
        required=True,
        metavar="ROOT",
        help="laid out like DAVIS, or as JPEGImages/VIDEO and Annotations/VIDEO",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help=f"the folder of {name}.json and pictures, replacing those of an earlier run",
    )
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="only these videos")
    parser.add_argument(
        "--max_frames", type=at_least(2), metavar="N", help="of each video, from its first mask on"
    )
    parser.add_argument(
        "--resolution",
        type=int,
        metavar="N",
        help="shorter side that frames are resized to; -1: as stored (default: as stored for "
        "DAVIS, otherwise 480)",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
    parser.add_argument(
        "--threads",
        type=at_least(1),
        default=torch.get_num_threads(),
        help="CPU threads of torch (default: %(default)s)",
    )
    return parser


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the flags of commands that analyse one network."""
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="weights (default: the shipped small network)"
    )
    parser.add_argument(
        "--similarity", metavar="KIND", help="l2, dot or cosine, if the weights do not record it"
    )


def open_videos(flags: argparse.Namespace, layout: Layout) -> VideoDataset:
    """The videos of --sequences, by default all."""
    return layout.open(flags.sequences or layout.names())


def working_resolution(flags: argparse.Namespace, layout: Layout) -> int:
    """The value of --resolution, by default that of the layout. Raises InputError if it is out of
    range."""
    if flags.resolution is None:
        return layout.resolution
    check_resolution(flags.resolution)
    return flags.resolution


def load_segmenter(
    flags: argparse.Namespace,
    path: Path | None,
    similarity: str | None,
    system: str = "stcn",
    **settings: Any,
) -> VideoSegmenter:
    """The segmenter of a weights file; None: of the shipped network.

    Raises InputError for an unknown similarity, and for weights that do not fit.
    """
    known = get_args(Similarity)
    if similarity is not None and similarity not in known:
        raise InputError(f"--similarity {similarity}: not known; choose one of {', '.join(known)}")
    return VideoSegmenter.from_checkpoint(
        path, system, similarity=similarity, device=flags.device, **settings
    )


def percent(share: float) -> str:
    """A share as a table cell."""
    return f"{100 * float(share):.1f}"


def _report(flags: argparse.Namespace) -> int:
    """Analyse, write the figures and pictures, print the report. Returns the exit code."""
    torch.set_num_threads(flags.threads)
    measured = circumstances(flags.threads, select_device(flags.device))
    with exit_on_sigterm(), atomic_files(flags.output) as folder:
        text, figures = flags.run(flags, folder)
        content = {"analysis": flags.command, **measured, "figures": figures}
        write_json(folder / f"{flags.command}.json", content)
    print(f"{text}\n\n{circumstances_line(measured)}")
    return EXIT_OK
