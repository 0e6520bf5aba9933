"""Write the sample clip that comes with the repository: made up by dataset/training/synthetic.py, so it shows nothing of anybody's.

python scripts/make_sample.py [--output scripts/sample] [--seed 9]
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataset.training.synthetic import make_clip
from util.errors import run_command
from util.files import atomic_write
from util.palette import DAVIS_PALETTE

NAME = "sample"
FRAMES, HEIGHT_PIXELS, WIDTH_PIXELS, OBJECTS = 50, 240, 432, 3
SEED = 9  # a scene whose objects pass behind a bar and behind each other
_JPEG_QUALITY = 85


def write_sample(root: Path, seed: int = SEED) -> None:
    """JPEGImages/sample/*.jpg, the first mask as Annotations/sample/00000.png, and every mask in Truth/sample. The same seed gives the same pixels."""
    images, labels = make_clip(seed, FRAMES, HEIGHT_PIXELS, WIDTH_PIXELS, OBJECTS)
    for index, (image, mask) in enumerate(zip(images, labels, strict=True)):
        _save(
            Image.fromarray(image),
            root / "JPEGImages" / NAME / f"{index:05d}.jpg",
            "JPEG",
            quality=_JPEG_QUALITY,
        )
        for folder in ("Truth", "Annotations") if index == 0 else ("Truth",):
            _save(_indexed(mask), root / folder / NAME / f"{index:05d}.png", "PNG", optimize=True)


def _indexed(labels: np.ndarray) -> Image.Image:
    """An 8-bit indexed image of uint8 ids [H, W], in DAVIS's colours."""
    image = Image.fromarray(labels)
    image.putpalette(DAVIS_PALETTE)
    return image


def _save(image: Image.Image, path: Path, kind: str, **options: Any) -> None:
    with atomic_write(path) as file:
        image.save(file, kind, **options)


def main() -> None:
    """Flags, clip, files."""
    parser = argparse.ArgumentParser(
        prog="make_sample.py",
        description="Write the sample clip: frames, the first mask, and the truth of every frame.",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).resolve().parent / "sample",
        help="the folder (default: scripts/sample)",
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"another clip (default: {SEED})")
    flags = parser.parse_args()
    write_sample(flags.output, flags.seed)
    print(f"{flags.output}: {FRAMES} frames, {OBJECTS} objects")


if __name__ == "__main__":
    run_command(main)
