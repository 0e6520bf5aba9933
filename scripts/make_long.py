"""Make videos longer: a data set whose videos are those of another, played back and forth, by symbolic links; every command then takes it as any other.

python scripts/make_long.py ROOT OUT --frames N       every video N frames long (one of more is cut)
python scripts/make_long.py ROOT OUT --times K        every video K times its length

ROOT is laid out like DAVIS (JPEGImages/480p, Annotations/480p, ImageSets), or as JPEGImages/VIDEO, Annotations/VIDEO and, where there is one, Truth/VIDEO. Masks follow the
frames. Keep ROOT where it is: OUT holds links to it.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

from argparse import RawDescriptionHelpFormatter
from pathlib import Path

from dataset import Layout
from scripts.studies.playing import write_played
from util.errors import run_command
from util.flags import FlagParser
from util.text import counted


def main() -> None:
    """Flags, links, a line that says what is there."""
    parser = FlagParser(
        prog="make_long.py", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, metavar="ROOT", help="the data set")
    parser.add_argument("out", type=Path, metavar="OUT", help="a folder that is not there yet")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--frames", type=int, metavar="N", help="of every video")
    length.add_argument("--times", type=float, metavar="K", help="so many times its length")
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="these alone")
    flags = parser.parse_args()
    layout = Layout.of(
        write_played(
            flags.root, flags.out, frames=flags.frames, times=flags.times, sequences=flags.sequences
        )
    )
    counts = [len(layout.frame_files(name)) for name in layout.names()]
    print(f"{flags.out}: {counted(len(counts), 'video')}, {counted(sum(counts), 'frame')}")


if __name__ == "__main__":
    run_command(main)
