"""Write the sample clip of the repository, a synthetic video that is free of others' rights.

python scripts/make_sample.py [--output scripts/sample] [--seed 9]
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataset.training.synthetic import make_clip
from util.errors import run_command
from util.files import atomic_write
from util.flags import FlagParser
from util.palette import DAVIS_PALETTE

NAME = "sample"
FRAMES, HEIGHT_PIXELS, WIDTH_PIXELS, OBJECTS = 50, 240, 432, 3
SEED = 9  # its objects pass behind a bar and behind each other
_JPEG_QUALITY = 85


def write_sample(root: Path, seed: int = SEED) -> None:
    """Write JPEGImages/sample, the first mask in Annotations/sample, and all in Truth/sample.

    The same seed gives the same pixels.
    """
    images, labels = make_clip(seed, FRAMES, HEIGHT_PIXELS, WIDTH_PIXELS, OBJECTS)
    for index, (image, mask) in enumerate(zip(images, labels, strict=True)):
        frame_path = root / "JPEGImages" / NAME / f"{index:05d}.jpg"
        _save(Image.fromarray(image), frame_path, "JPEG", quality=_JPEG_QUALITY)
        for folder in ("Truth", "Annotations") if index == 0 else ("Truth",):
            mask_path = root / folder / NAME / f"{index:05d}.png"
            _save(_indexed(mask), mask_path, "PNG", optimize=True)


def _indexed(labels: np.ndarray) -> Image.Image:
    """Ids uint8 [H, W] as an 8-bit indexed image in the colours of DAVIS."""
    image = Image.fromarray(labels)
    image.putpalette(DAVIS_PALETTE)
    return image


def _save(image: Image.Image, path: Path, format_name: str, **options: Any) -> None:
    with atomic_write(path) as file:
        image.save(file, format_name, **options)


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
