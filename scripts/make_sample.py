"""Write the sample clip of the repository, a synthetic video that is free of others' rights.

python scripts/make_sample.py [--output scripts/sample] [--seed 9]
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

from pathlib import Path

from dataset.training.synthetic import make_clip
from scripts.data_tools.clip_files import write_clip
from util.errors import run_command
from util.flags import FlagParser

NAME = "sample"
FRAMES, HEIGHT_PIXELS, WIDTH_PIXELS, OBJECTS = 50, 240, 432, 3
SEED = 9  # its objects pass behind a bar and behind each other
_JPEG_QUALITY = 85


def write_sample(root: Path, seed: int = SEED) -> None:
    """Write JPEGImages/sample, the first mask in Annotations/sample, and all in Truth/sample.

    The same seed gives the same pixels.
    """
    rendered = zip(*make_clip(seed, FRAMES, HEIGHT_PIXELS, WIDTH_PIXELS, OBJECTS), strict=True)
    write_clip(root, NAME, rendered, jpeg_quality=_JPEG_QUALITY)


def main() -> None:
    """Write the clip that the flags describe."""
    parser = FlagParser(
        prog="make_sample.py",
        description="Write the sample clip: frames, the first mask, and the truth of every frame.",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).resolve().parent / "sample",
        help="the folder (default: scripts/sample)",
    )
    parser.add_argument(
        "--seed", type=int, default=SEED, help=f"of the random scene (default: {SEED})"
    )
    flags = parser.parse_args()
    write_sample(flags.output, flags.seed)
    print(f"{flags.output}: {FRAMES} frames, {OBJECTS} objects")


if __name__ == "__main__":
    run_command(main)
