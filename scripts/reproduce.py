"""Make a table of the documentation again, and say which figures have changed since.

python scripts/reproduce.py --list
python scripts/reproduce.py --what shipped --davis_path DAVIS        the shipped networks
python scripts/reproduce.py --what authors --davis_path DAVIS --weights FOLDER
    stcn.pth, stcn_s0.pth and pcvos.pth, as their authors publish them, on DAVIS 2017 val

Each row of a table is a command; its figures are compared with those of the documentation, or with
the published ones. Rows always run from scratch, on the files that are there now. OUT/NAME.json
records the figures, commit, versions, hardware, date, settings and seeds, and what identifies the
data. Exit code 1: a figure changed by more than its noise, or a command failed.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse
import fnmatch
from collections.abc import Sequence
from pathlib import Path

import torch

from scripts.common.circumstances import circumstances
from scripts.common.progress import print_progress
from scripts.reproduction.figures import Row
from scripts.reproduction.outcomes import REPOSITORY, missing_file, reproduce
from scripts.reproduction.record import Record
from scripts.reproduction.tables import TABLES
from util.device import select_device
from util.errors import EXIT_OK, InputError, run_command
from util.flags import FlagParser
from util.process import exit_on_sigterm

_EXIT_CHANGED = 1


def list_tables() -> None:
    """Print every table, its rows and their commands."""
    for name, table in TABLES.items():
        print(f"{name}: {table.title} ({table.page})")
        for row in table.rows:
            print(f"    {row.name}: python {row.command}")


def chosen_rows(rows: Sequence[Row], patterns: Sequence[str] | None) -> list[Row]:
    """The rows whose names match one of the patterns; None: all."""
    for pattern in patterns or ():
        if not any(fnmatch.fnmatchcase(row.name, pattern) for row in rows):
            names = ", ".join(row.name for row in rows)
            raise InputError(f"--rows {pattern}: matches no row; there are {names}")
    return [
        row
        for row in rows
        if patterns is None or any(fnmatch.fnmatchcase(row.name, one) for one in patterns)
    ]


def folders_of(flags: argparse.Namespace, rows: Sequence[Row]) -> dict[str, Path]:
    """What the placeholders of the commands stand for.

    Raises InputError if a folder is missing, or the files of all rows are.
    """
    if flags.davis_path is None and any("{davis}" in row.command for row in rows):
        raise InputError(f"--davis_path: --what {flags.what} needs DAVIS; name its folder")
    davis = flags.davis_path or Path()
    if not davis.is_dir():
        raise InputError(f"--davis_path {davis}: no such folder; name the folder of DAVIS")
    folders = {
        "davis": davis.resolve(),
        "weights": flags.weights.resolve(),
        "repository": REPOSITORY,
    }
    missing = [missing_file(row, folders) for row in rows]
    if None not in missing:
        raise InputError(f"--what {flags.what}: no row can be run: {missing[0]}")
    return folders


def _parser() -> FlagParser:
    parser = FlagParser(
        prog="reproduce.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--what", choices=tuple(TABLES), metavar="NAME", help="%(choices)s")
    what.add_argument("--list", action="store_true", help="list the tables and their commands")
    add("--davis_path", type=Path, metavar="ROOT", help="DAVIS, as eval_davis.py takes it")
    weights = "the folder of the authors' files (default: %(default)s)"
    add("--weights", type=Path, default=Path("saves"), metavar="FOLDER", help=weights)
    add("--rows", nargs="+", metavar="PATTERN", help="only rows whose names match")
    output = "the folder of the records (default: %(default)s)"
    add("--output", type=Path, default=Path("results/reproduce"), metavar="OUT", help=output)
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
    return parser


def main() -> int:
    """Make the table that the flags name again. Returns the exit code."""
    flags = _parser().parse_args()
    if flags.list:
        list_tables()
        return EXIT_OK
    table = TABLES[flags.what]
    rows = chosen_rows(table.rows, flags.rows)
    folders = folders_of(flags, rows)
    measured = circumstances(torch.get_num_threads(), select_device(flags.device))
    flags.output.mkdir(parents=True, exist_ok=True)
    outcomes = []
    with exit_on_sigterm():
        for number, row in enumerate(rows, start=1):
            print_progress(f"{row.name} ({number} of {len(rows)})")
            outcomes.append(reproduce(row, folders, flags.output, flags.device))
            record = Record(name=flags.what, table=table, outcomes=outcomes, circumstances=measured)
            record.write(flags.output / f"{flags.what}.json")
    print(record.as_markdown())
    return _EXIT_CHANGED if record.changed or record.failed else EXIT_OK


if __name__ == "__main__":
    run_command(main)
