"""Look into the memory: a table, a JSON file and pictures by each command.

python scripts/analyse.py memory         --data_path ROOT --output OUT   what a bounded memory keeps, how often its elements are used, accuracy against capacity
python scripts/analyse.py affinity       --data_path ROOT --output OUT   the largest weight every memory element ever reaches: fractions above thresholds, Gini
python scripts/analyse.py correspondence --data_path ROOT --output OUT   points of a frame, found again in later frames

ROOT is laid out like DAVIS, or as JPEGImages/VIDEO and Annotations/VIDEO.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse

from scripts.analysis import affinity, correspondence, memory_use
from util.errors import run_command
from util.flags import FlagParser


def _parser() -> argparse.ArgumentParser:
    parser = FlagParser(
        prog="analyse.py", description="Look into the memory: a table, a JSON file and pictures."
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=FlagParser
    )
    for each in (affinity, correspondence, memory_use):
        each.add(commands)
    return parser


def main() -> int:
    """Flags, then what the command does; the exit code."""
    flags = _parser().parse_args()
    return flags.do(flags)


if __name__ == "__main__":
    run_command(main)
