"""Convert masks between the formats of annotation tools, data sets and video editors.

python scripts/convert_masks.py IN OUT --to FORMAT [--from FORMAT] [--frames FOLDER_OR_VIDEO]
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

from pathlib import Path

from dataset import read_palette
from dataset.formats import IMPORTS, VideoFrames
from inference.output.formats import EXPORTS, convert_masks
from util.errors import run_command
from util.flags import FlagParser
from util.text import counted


def main() -> None:
    """Convert the masks that the flags name, and say what they were read as."""
    flags = _parser().parse_args()
    conversion = convert_masks(
        flags.masks,
        flags.out,
        flags.to,
        format_name=flags.from_format,
        frames=None if flags.frames is None else VideoFrames(flags.frames),
        colours=None if flags.palette is None else read_palette(flags.palette),
        object_ids=flags.objects,
    )
    videos = conversion.videos
    for note in (note for video in videos for note in video.notes):
        print(note)
    objects = sum(len(video.objects) for video in videos)
    frames = sum(len(video.frames) for video in videos)
    found = f"{counted(len(videos), 'video')}, {counted(objects, 'object')}"
    print(
        f"{flags.masks}: read as {conversion.read.name} ({conversion.read.title}): {found}, masks "
        f"of {counted(frames, 'frame')}"
    )
    alpha = " (mattes from the run's probabilities)" if conversion.soft else ""
    print(f"{flags.out}: written as {flags.to} ({EXPORTS[flags.to].title}){alpha}")


def _parser() -> FlagParser:
    parser = FlagParser(
        prog="convert_masks.py",
        description="Convert masks between formats. docs/mask-formats.md describes each.",
    )
    add = parser.add_argument
    add("masks", type=Path, metavar="IN", help="masks: a file or a folder, or results of a run")
    add("out", type=Path, metavar="OUT", help="a new folder; for coco and ytvis a new .json file")
    written = "; ".join(f"{row.name}: {row.title}" for row in EXPORTS.values())
    add("--to", choices=EXPORTS, required=True, help=written)
    read = "; ".join(f"{row.name}: {row.title}" for row in IMPORTS.values())
    add("--from", choices=IMPORTS, dest="from_format", help=f"{read} (default: by the content)")
    frames = (
        "the frames that the masks belong to: a video or a folder of frames; of several videos, a "
        "folder of VIDEO/ or VIDEO.mp4 for each"
    )
    add("--frames", type=Path, metavar="PATH", help=frames)
    add("--objects", type=int, nargs="+", metavar="ID", help="convert these alone (default: all)")
    palette = "of RGB masks: an indexed PNG, a .txt of lines 'red green blue', davis, or auto"
    add("--palette", metavar="FILE", help=palette)
    return parser


if __name__ == "__main__":
    run_command(main)
