"""Analyse the memory; each command writes a table, a JSON file and pictures.

python scripts/analyse.py memory --data_path ROOT --output OUT
    which elements a bounded memory keeps, how often they are used, accuracy against capacity
python scripts/analyse.py affinity --data_path ROOT --output OUT
    the largest weight that each memory element reaches: shares above thresholds, Gini coefficient
python scripts/analyse.py correspondence --data_path ROOT --output OUT
    points of a frame, matched in later frames
python scripts/analyse.py sampling --data_path ROOT --output OUT
    which frames adaptive sampling memorises, and why

ROOT is laid out like DAVIS, or as JPEGImages/VIDEO and Annotations/VIDEO.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

from scripts.analysis import affinity, correspondence, memory_use, sampling
from util.errors import run_command
from util.flags import FlagParser


def main() -> int:
    """Run the command that the flags name. Returns the exit code."""
    parser = FlagParser(
        prog="analyse.py", description="Analyse the memory: a table, a JSON file and pictures."
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=FlagParser
    )
    for analysis in (affinity, correspondence, memory_use, sampling):
        analysis.add(commands)
    flags = parser.parse_args()
    return flags.do(flags)


if __name__ == "__main__":
    run_command(main)
