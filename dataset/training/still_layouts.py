"""Still images with masks, found in the layouts that public data sets come in. No pixels are read here.

A layout is a row of LAYOUTS: how the mask's path follows from the image's. A data set is a row of KNOWN_SETS: a folder's name, and how often it counts.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dataset.folders import MASK_SUFFIXES
from util.errors import InputError

PHOTOGRAPH_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, kw_only=True)
class StaticLayout:
    """image: matches an image's path below the root without its ending; mask: the mask's, by the groups of that match. shown: the same for people."""

    name: str
    image: re.Pattern[str]
    mask: str
    shown: str


_NAME = r"(?P<folder>(?:.*/)?){}(?P<name>[^/]+)$"

LAYOUTS = (
    StaticLayout(
        name="DUTS",
        image=re.compile(_NAME.format(r"(?P<set>[^/]+)-Image/")),
        mask=r"\g<folder>\g<set>-Mask/\g<name>",
        shown="DUTS-TR-Image/NAME.jpg and DUTS-TR-Mask/NAME.png (also DUTS-TE)",
    ),
    StaticLayout(
        name="ECSSD",
        image=re.compile(_NAME.format("images/")),
        mask=r"\g<folder>ground_truth_mask/\g<name>",
        shown="images/NAME.jpg and ground_truth_mask/NAME.png",
    ),
    StaticLayout(
        name="two folders",
        image=re.compile(_NAME.format("images/")),
        mask=r"\g<folder>masks/\g<name>",
        shown="images/NAME.jpg and masks/NAME.png",
    ),
    StaticLayout(
        name="HRSOD",
        image=re.compile(_NAME.format(r"(?P<set>[^/]+)/")),
        mask=r"\g<folder>\g<set>_mask/\g<name>",
        shown="HRSOD_train/NAME.jpg and HRSOD_train_mask/NAME.png",
    ),
    StaticLayout(
        name="BIG",
        image=re.compile(r"(?P<start>.*)_im$"),
        mask=r"\g<start>_gt",
        shown="NAME_im.jpg beside NAME_gt.png",
    ),
    StaticLayout(
        name="side by side",
        image=re.compile(r"(?P<path>.*)$"),
        mask=r"\g<path>",
        shown="NAME.jpg beside NAME.png (FSS-1000's class folders, STCN's release, your own)",
    ),
)
"""The first row that leads to a mask counts."""

EXPECTED = "; ".join(layout.shown for layout in LAYOUTS)


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """A data set known by the name of a folder above its images. repeats: how often it counts in training; published_pairs: its size."""

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
    KnownSet(
        name="BIG", folder=re.compile("BIG|^big(_small)?$"), published_pairs=150, repeats=5
    ),  # and not the word big in a class's or an owner's name
    KnownSet(
        name="HRSOD", folder=re.compile("HRSOD", re.IGNORECASE), published_pairs=2_010, repeats=5
    ),
)


@dataclass(frozen=True, order=True)
class ImagePair:
    """An image and its mask. group: the KnownSet's name, or the folder below the root; repeats: how often the pair counts in training."""

    image: Path
    mask: Path
    group: str
    repeats: int = 1


@dataclass(frozen=True, kw_only=True)
class StaticFolder:
    """What lies under a root: pairs in the order of their paths, and images that belong to none."""

    pairs: list[ImagePair]
    alone: list[Path]


def scan_static_root(root: Path) -> StaticFolder:
    """Every image with a mask under `root`, by LAYOUTS. Raises InputError, with the trees expected, where `root` is no folder or holds no pair."""
    files = {
        str(PurePosixPath(path).with_suffix("")) + PurePosixPath(path).suffix.lower(): path
        for path in _image_paths(root)
    }
    used: set[str] = set()
    pairs = []
    for key, path in sorted(files.items()):
        mask = _mask_of(key, files)
        if mask is not None:
            used |= {path, mask}
            pairs.append(_pair(root, path, mask))
    if not pairs:
        finding = (
            "no image with its mask"
            if root.is_dir()
            else "not a folder"
            if root.exists()
            else "no such folder"
        )
        raise InputError(
            f"{root}: {finding}; expected, in the folder or in folders below it: {EXPECTED}"
        )
    return StaticFolder(
        pairs=sorted(pairs),
        alone=sorted(root / path for path in files.values() if path not in used),
    )


def _image_paths(root: Path) -> Iterator[str]:
    """Paths below `root` of all image files, links followed (once each), hidden files and folders passed over."""
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


def _mask_of(image: str, files: dict[str, str]) -> str | None:
    """The path of an image's mask, by the first layout that leads to one."""
    stem = str(PurePosixPath(image).with_suffix(""))
    for layout in LAYOUTS:
        match = layout.image.match(stem)
        for suffix in MASK_SUFFIXES if match else ():
            mask = match.expand(layout.mask) + suffix
            if mask != image and mask in files:
                return files[mask]
    return None


def _pair(root: Path, image: str, mask: str) -> ImagePair:
    folders = (root.name, *PurePosixPath(image).parts[:-1])
    known = next(
        (known for folder in folders for known in KNOWN_SETS if known.folder.search(folder)), None
    )
    group = known.name if known else folders[min(1, len(folders) - 1)]
    return ImagePair(root / image, root / mask, group, known.repeats if known else 1)
