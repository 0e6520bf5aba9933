"""Finds still images and their masks, in the layouts that public data sets have.

Only file names are read here, no pixels. A layout is a row of LAYOUTS: how the path of a mask
follows from the path of its image. A data set is a row of KNOWN_SETS: the name of its folder, and
how often it counts.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dataset.folders import MASK_SUFFIXES, require_folder
from util.errors import InputError

PHOTOGRAPH_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, kw_only=True)
class StaticLayout:
    """How images and masks are named, as paths below the root without their suffixes.

    image: matches the image's path. mask: the mask's path, as a template of the match's groups.
    description: the same for people.
    """

    name: str
    image: re.Pattern[str]
    mask: str
    description: str


_NAME = r"(?P<folder>(?:.*/)?){}(?P<name>[^/]+)$"

LAYOUTS = (
    StaticLayout(
        name="DUTS",
        image=re.compile(_NAME.format(r"(?P<set>[^/]+)-Image/")),
        mask=r"\g<folder>\g<set>-Mask/\g<name>",
        description="DUTS-TR-Image/NAME.jpg and DUTS-TR-Mask/NAME.png (also DUTS-TE)",
    ),
    StaticLayout(
        name="ECSSD",
        image=re.compile(_NAME.format("images/")),
        mask=r"\g<folder>ground_truth_mask/\g<name>",
        description="images/NAME.jpg and ground_truth_mask/NAME.png",
    ),
    StaticLayout(
        name="two folders",
        image=re.compile(_NAME.format("images/")),
        mask=r"\g<folder>masks/\g<name>",
        description="images/NAME.jpg and masks/NAME.png",
    ),
    StaticLayout(
        name="HRSOD",
        image=re.compile(_NAME.format(r"(?P<set>[^/]+)/")),
        mask=r"\g<folder>\g<set>_mask/\g<name>",
        description="HRSOD_train/NAME.jpg and HRSOD_train_mask/NAME.png",
    ),
    StaticLayout(
        name="BIG",
        image=re.compile(r"(?P<start>.*)_im$"),
        mask=r"\g<start>_gt",
        description="NAME_im.jpg beside NAME_gt.png",
    ),
    StaticLayout(
        name="side by side",
        image=re.compile(r"(?P<path>.*)$"),
        mask=r"\g<path>",
        description="NAME.jpg beside NAME.png (FSS-1000's class folders, STCN's release, your own)",
    ),
)
"""The first layout that leads to a mask counts."""

EXPECTED_LAYOUTS = "; ".join(layout.description for layout in LAYOUTS)
_EXPECTATION = f"expected, in the folder or in folders below it: {EXPECTED_LAYOUTS}"


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """A data set that is recognised by the name of a folder above its images.

    repeats: how often it counts in training.
    """

    name: str
    folder: re.Pattern[str]
    published_pairs: int
    repeats: int = 1


KNOWN_SETS = (
    KnownSet(
        name="FSS-1000",
        folder=re.compile(r"\b(fss|fewshot_data)(?![a-z])", re.IGNORECASE),
        published_pairs=10_000,
    ),
    KnownSet(name="DUTS-TR", folder=re.compile("DUTS-TR", re.IGNORECASE), published_pairs=10_553),
    KnownSet(name="DUTS-TE", folder=re.compile("DUTS-TE", re.IGNORECASE), published_pairs=5_019),
    KnownSet(name="ECSSD", folder=re.compile("ECSSD", re.IGNORECASE), published_pairs=1_000),
    # not the word "big" in the name of a class or an owner
    KnownSet(name="BIG", folder=re.compile("BIG|^big(_small)?$"), published_pairs=150, repeats=5),
    KnownSet(
        name="HRSOD", folder=re.compile("HRSOD", re.IGNORECASE), published_pairs=2_010, repeats=5
    ),
)


@dataclass(frozen=True, order=True)
class ImagePair:
    """An image and its mask.

    group: the name of the KnownSet, or of the folder below the root. repeats: how often the pair
    counts in training.
    """

    image: Path
    mask: Path
    group: str
    repeats: int = 1


@dataclass(frozen=True, kw_only=True)
class StaticFolder:
    """The pairs under a root, in the order of their paths, and images that belong to no pair."""

    pairs: list[ImagePair]
    unpaired: list[Path]


def scan_static_root(root: Path) -> StaticFolder:
    """Find every image with a mask under `root`.

    Raises: InputError, with the expected layouts, if `root` is not a folder or holds no pair.
    """
    require_folder(root, _EXPECTATION)
    files = {
        str(PurePosixPath(path).with_suffix("")) + PurePosixPath(path).suffix.lower(): path
        for path in _image_paths(root)
    }
    paired: set[str] = set()
    pairs = []
    for key, path in sorted(files.items()):
        mask = _find_mask(key, files)
        if mask is not None:
            paired |= {path, mask}
            pairs.append(_make_pair(root, path, mask))
    if not pairs:
        raise InputError(f"{root}: no image with its mask; {_EXPECTATION}")
    return StaticFolder(
        pairs=sorted(pairs),
        unpaired=sorted(root / path for path in files.values() if path not in paired),
    )


def _image_paths(root: Path) -> Iterator[str]:
    """The paths of all image files below `root`, as text relative to it.

    Links are followed, each folder is entered once, and hidden files and folders are ignored.
    """
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        below = PurePosixPath(Path(folder).relative_to(root).as_posix())
        yield from (
            str(below / name)
            for name in names
            if name.lower().endswith(PHOTOGRAPH_SUFFIXES) and not name.startswith(".")
        )


def _find_mask(image: str, files: dict[str, str]) -> str | None:
    """The path of an image's mask, by the first layout that leads to one.

    image, and the keys of files: paths with suffixes in lower case. Values: the paths as stored.
    """
    stem = str(PurePosixPath(image).with_suffix(""))
    for layout in LAYOUTS:
        match = layout.image.match(stem)
        for suffix in MASK_SUFFIXES if match else ():
            mask = match.expand(layout.mask) + suffix
            if mask != image and mask in files:
                return files[mask]
    return None


def _make_pair(root: Path, image: str, mask: str) -> ImagePair:
    folders = (root.name, *PurePosixPath(image).parts[:-1])
    known = next(
        (known for folder in folders for known in KNOWN_SETS if known.folder.search(folder)), None
    )
    if known is not None:
        return ImagePair(root / image, root / mask, known.name, known.repeats)
    return ImagePair(root / image, root / mask, group=folders[min(1, len(folders) - 1)])
