"""Make a data set of longer videos: those of another one, played back and forth or repeated.

python scripts/make_long.py ROOT OUT --frames N       every video becomes N frames long
python scripts/make_long.py ROOT OUT --times K        every video becomes K times as long

ROOT has the layout of DAVIS (JPEGImages/480p, Annotations/480p, ImageSets), or JPEGImages/VIDEO,
Annotations/VIDEO and, optionally, Truth/VIDEO. Masks follow the frames. OUT consists of symbolic
links into ROOT, so keep ROOT in its location. Every command accepts OUT like any other data set.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

from argparse import RawDescriptionHelpFormatter
from pathlib import Path

from dataset import Layout
from scripts.studies.playing import BACK_AND_FORTH, ORDERS, write_played
from util.errors import run_command
from util.flags import FlagParser
from util.text import counted


def main() -> None:
    """Write the data set that the flags describe."""
    parser = FlagParser(
        prog="make_long.py", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, metavar="ROOT", help="the data set")
    parser.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--frames", type=int, metavar="N", help="length of every video")
    length.add_argument("--times", type=float, metavar="K", help="factor of every video's length")
    play = "play videos back and forth (default), or repeat them from start to end"
    parser.add_argument("--play", choices=tuple(ORDERS), default=BACK_AND_FORTH, help=play)
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="only these videos")
    flags = parser.parse_args()
    out = write_played(
        flags.root,
        flags.out,
        frames=flags.frames,
        times=flags.times,
        sequences=flags.sequences,
        order=flags.play,
    )
    layout = Layout.of(out)
    counts = [len(layout.frame_files(name)) for name in layout.names()]
    print(f"{flags.out}: {counted(len(counts), 'video')}, {counted(sum(counts), 'frame')}")


if __name__ == "__main__":
    run_command(main)
