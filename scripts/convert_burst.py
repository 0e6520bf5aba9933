"""BURST: its annotations as plain folders, and results as its JSON.

python scripts/convert_burst.py masks ANNOTATIONS.json --frames DIR --output ROOT [--every N]
python scripts/convert_burst.py results OUT --annotations ANNOTATIONS.json --output FILE.json

Between the two, `eval_generic.py --data_path ROOT --output OUT` segments the videos.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse
from pathlib import Path

from scripts.data_tools.burst import read_annotations, write_masks, write_results
from util.errors import InputError, run_command
from util.flags import FlagParser, at_least, output_text_path


def main() -> None:
    """Parse the flags and run the command."""
    flags = _parser().parse_args()
    print(flags.do(flags))


def _masks(flags: argparse.Namespace) -> str:
    if flags.output.exists():
        raise InputError(f"{flags.output}: is there already; choose another --output")
    videos = read_annotations(flags.annotations)
    return write_masks(videos, flags.frames, flags.output, flags.every)


def _results(flags: argparse.Namespace) -> str:
    return write_results(flags.annotations, flags.results, flags.output)


def _parser() -> FlagParser:
    parser = FlagParser(
        prog="convert_burst.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=FlagParser
    )
    masks = commands.add_parser("masks", help="annotations as ROOT/JPEGImages and ROOT/Annotations")
    annotations = "such as val/first_frame_annotations.json"
    masks.add_argument("annotations", type=Path, metavar="ANNOTATIONS.json", help=annotations)
    frames = "the split's frames: DATA_SET/SEQUENCE/*.jpg"
    masks.add_argument("--frames", type=Path, required=True, metavar="DIR", help=frames)
    root = "folder to write, which does not exist yet; frames are linked, not copied"
    masks.add_argument("--output", type=Path, required=True, metavar="ROOT", help=root)
    every = "take every N-th frame, and all annotated ones (default: %(default)s)"
    masks.add_argument("--every", type=at_least(1), default=1, metavar="N", help=every)
    masks.set_defaults(do=_masks)
    results = commands.add_parser("results", help="results as a file of BURST's evaluation")
    results.add_argument("results", type=Path, metavar="OUT", help="holds VIDEO/FRAME.png")
    annotations = "the file that the masks were made of"
    results.add_argument(
        "--annotations", type=Path, required=True, metavar="FILE", help=annotations
    )
    file = "the file to write"
    results.add_argument(
        "--output", type=output_text_path, required=True, metavar="FILE.json", help=file
    )
    results.set_defaults(do=_results)
    return parser


if __name__ == "__main__":
    run_command(main)
