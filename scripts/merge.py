"""Merge what several runs of an eval script wrote with --soft: average, then arg-max.

python scripts/merge.py OUT_A OUT_B … --output OUT
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

from pathlib import Path

from inference.output.merging import merge
from util.errors import run_command
from util.flags import FlagParser
from util.text import counted


def main() -> None:
    """Merge the runs that the flags name."""
    parser = _parser()
    flags = parser.parse_args()
    if len(flags.runs) < 2:
        parser.error("give the output folders of two runs at least")
    frames = merge(flags.runs, flags.output)
    print(f"{flags.output}: {counted(frames, 'frame')} merged from {len(flags.runs)} runs")


def _parser() -> FlagParser:
    parser = FlagParser(
        prog="merge.py",
        description="Average the probabilities that several runs wrote with --soft, and write the"
        " label maps of the mean. The runs must have the same videos, frames and objects.",
    )
    runs = "output folders of runs of an eval script with --soft, at least two"
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help=runs)
    output = "folder for the merged results, which does not exist yet"
    parser.add_argument("--output", type=Path, required=True, metavar="OUT", help=output)
    return parser


if __name__ == "__main__":
    run_command(main)
