"""List the public data sets, or lay one out as the readers expect it.

python scripts/fetch_data.py --list
python scripts/fetch_data.py NAME --output DIR [--part PART] [--archive FILE …] [--sha256 HEX]

With --archive, nothing is downloaded. Without it, the archive is downloaded if its authors publish
a direct link to it.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse
from pathlib import Path

from scripts.data_tools.catalogue import DATA_SETS, describe
from scripts.data_tools.fetching import check_place, choose_part, download, place, verify
from util.errors import run_command
from util.flags import FlagParser


def main() -> None:
    """List the data sets, or fetch the part that the flags name."""
    parser = _parser()
    flags = parser.parse_args()
    if flags.list:
        print("\n\n".join(map(describe, DATA_SETS.values())))
        return
    if flags.name is None or flags.output is None:
        parser.error("give --list, or the name of a data set and --output")
    _fetch(flags)


def _fetch(flags: argparse.Namespace) -> None:
    data_set = DATA_SETS[flags.name]
    archive, *extras = flags.archive or [None]
    part = choose_part(data_set, flags.part, archive)
    check_place(part, flags.output)
    if archive is None:
        archive = download(data_set, part, flags.output.resolve().parent)
        print(f"{archive}: the archive; no longer needed once it is unpacked")
    print(verify(archive, flags.sha256 or part.sha256))
    print(place(part, archive, extras, flags.output))
    print(f"read it with {data_set.reader}; licence: {data_set.licence or 'see the authors'}")
    if data_set.hint is not None and not extras:
        print(f"note: {data_set.hint}")


def _parser() -> FlagParser:
    parser = FlagParser(
        prog="fetch_data.py",
        description="List the public data sets (what, how large, licence, where from), or check an "
        "archive of one and lay it out as the readers expect it.",
    )
    add = parser.add_argument
    add("name", nargs="?", choices=tuple(DATA_SETS), metavar="NAME", help="as --list shows it")
    add("--list", action="store_true", help="describe all data sets")
    add("--part", metavar="PART", help="of the data set, if it has several archives")
    archive = (
        "the archive (.zip, .tar, .tar.gz, …), and after it .json and .txt files that belong "
        "beside the frames; without it, the archive is downloaded if there is a direct link"
    )
    add("--archive", type=Path, nargs="+", metavar="FILE", help=archive)
    output = "the data set's root; parts of it may be there already"
    add("--output", type=Path, metavar="DIR", help=output)
    sha256 = "the checksum that the archive must have (default: the published one, if any)"
    add("--sha256", metavar="HEX", help=sha256)
    return parser


if __name__ == "__main__":
    run_command(main)
