"""Is a root whole? What training would meet, looked at before a long run: missing pairs and folders, sizes, damage, masks without objects, counts.

A root becomes plans, one a data set: what its folders show at once, and tasks that read the files (for a pool of processes).
Legend: H W height and width in pixels.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dataset.folders import MASK_SUFFIXES, list_files, short_path
from dataset.image_file import image_sizes, load_image, open_image, read_image, size_text
from dataset.label_map import BINARY_ID, present_ids
from dataset.training.masks import decode_mask
from dataset.training.skipped_files import MAX_DAMAGED_SHARE
from dataset.training.still_layouts import KNOWN_SETS, scan_static_root
from dataset.training.video_layouts import TrainingLayout, find_layout, find_masks_not_png
from util.errors import InputError
from util.files import read_json

FRAMES_NEEDED = 3
PAIRS_A_TASK = 100


@dataclass(frozen=True, kw_only=True)
class Finding:
    """text: where, what. problem: it wants mending; otherwise good to know. damaged: training would skip and count the file."""

    text: str
    problem: bool = True
    damaged: bool = False


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """files: how many were looked at."""

    files: int
    findings: list[Finding]


@dataclass(frozen=True, kw_only=True)
class SetPlan:
    """One data set of one root. found: how many `unit`s (pairs or videos) there are; published: how many there should be, where that is known."""

    name: str
    root: Path
    unit: str
    found: int
    published: int | None = None
    findings: list[Finding] = field(default_factory=list)
    tasks: list[Callable[[], TaskResult]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SetReport:
    """What was found in one data set."""

    name: str
    root: str
    unit: str
    found: int
    published: int | None
    files: int
    problems: list[str]
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class VideoKind:
    """A data set of videos. published: its training videos; used: how many of them the published training used; every_frame: each has a mask."""

    name: str
    published: int | None = None
    used: int | None = None
    every_frame: bool = False


DAVIS = VideoKind(name="DAVIS-2017", published=60, every_frame=True)
YOUTUBE = VideoKind(name="YouTube-VOS", published=3_471, used=3_464)
BL30K = VideoKind(name="BL30K", published=29_989, every_frame=True)


def plan_static(root: Path, fast: bool) -> list[SetPlan]:
    """A plan for each data set of still images under `root`."""
    try:
        folder = scan_static_root(root)
    except InputError as error:
        return [
            SetPlan(
                name="static", root=root, unit="pairs", found=0, findings=[Finding(text=str(error))]
            )
        ]
    alone = [
        Finding(
            text=f"{path}: {'no image' if path.suffix.lower() in MASK_SUFFIXES else 'no mask'} that belongs to it"
        )
        for path in folder.unpaired
    ]
    sizes = {known.name: known.published_pairs for known in KNOWN_SETS}
    groups = {
        name: [pair for pair in folder.pairs if pair.group == name]
        for name in sorted({pair.group for pair in folder.pairs})
    }
    absent = [name for name in sizes if name not in groups]
    if absent and len(absent) < len(sizes):
        alone.append(
            Finding(
                text=f"{root}: the published stage 0 also uses {', '.join(absent)}", problem=False
            )
        )
    plans = []
    for name, pairs in groups.items():
        paths = [(pair.image, pair.mask) for pair in pairs]
        tasks = [
            StillsTask(pairs=tuple(paths[first : first + PAIRS_A_TASK]), fast=fast)
            for first in range(0, len(paths), PAIRS_A_TASK)
        ]
        plan = SetPlan(
            name=name,
            root=root,
            unit="pairs",
            found=len(pairs),
            published=sizes.get(name),
            findings=alone,
            tasks=tasks,
        )
        plans.append(plan)
        alone = []  # told once, with the first
    return plans


def plan_videos(kind: VideoKind, root: Path, fast: bool) -> SetPlan:
    """A plan for the training videos under `root`."""
    try:
        layout = find_layout(root)
    except InputError as error:
        return SetPlan(
            name=kind.name,
            root=root,
            unit="videos",
            found=0,
            published=kind.published,
            findings=[Finding(text=str(error))],
        )
    missing = _missing_folders(layout)
    names = [
        name
        for name in layout.names
        if (layout.folders.frames / name).is_dir() and (layout.folders.masks / name).is_dir()
    ]
    if kind.used is not None:
        missing.append(
            Finding(
                text=f"{root}: published training used {kind.used} of the {kind.published} videos (a list for --subset)",
                problem=False,
            )
        )
    tasks = [
        VideoTask(
            images=layout.folders.frames / name,
            labels=layout.folders.masks / name,
            every_frame=kind.every_frame,
            fast=fast,
        )
        for name in names
    ]
    return SetPlan(
        name=kind.name,
        root=root,
        unit="videos",
        found=len(names),
        published=kind.published,
        findings=missing,
        tasks=tasks,
    )


def _missing_folders(layout: TrainingLayout) -> list[Finding]:
    """Videos that the list, meta.json or the other folder names and that are not there."""
    named = dict.fromkeys(layout.names, layout.list_file or layout.folders.masks)
    meta = layout.folders.masks.parent / "meta.json"
    if layout.list_file is None:
        named |= {name: meta for name in _meta_names(meta) if name not in named}
        if layout.folders.frames.is_dir():
            named |= {
                path.name: layout.folders.frames
                for path in sorted(layout.folders.frames.iterdir())
                if path.is_dir() and not path.name.startswith(".") and path.name not in named
            }
    return [
        Finding(text=f"{folder / name}: no such folder, but {source} names this video")
        for name, source in named.items()
        for folder in (layout.folders.frames, layout.folders.masks)
        if not (folder / name).is_dir()
    ]


def _meta_names(meta: Path) -> list[str]:
    try:
        return [str(name) for name in read_json(meta)["videos"]] if meta.is_file() else []
    except (ValueError, KeyError, TypeError):
        return []  # training does not read it


@dataclass(frozen=True, kw_only=True)
class StillsTask:
    """Some pairs of still images. fast: their headers alone."""

    pairs: tuple[tuple[Path, Path], ...]
    fast: bool

    def __call__(self) -> TaskResult:
        checks = [check_pair(image, mask, self.fast) for image, mask in self.pairs]
        empty = [
            Finding(text=f"{mask}: mask without objects")
            for (_, mask), check in zip(self.pairs, checks, strict=True)
            if check.objects is False
        ]
        return TaskResult(
            files=2 * len(checks),
            findings=[finding for check in checks for finding in check.findings] + empty,
        )


@dataclass(frozen=True, kw_only=True)
class VideoTask:
    """One video's frames and masks."""

    images: Path
    labels: Path
    every_frame: bool
    fast: bool

    def __call__(self) -> TaskResult:
        try:
            images, labels = list_files(self.images), list_files(self.labels, MASK_SUFFIXES)
        except InputError as error:
            return TaskResult(files=0, findings=[Finding(text=str(error))])
        by_stem, annotated = {path.stem: path for path in images}, {path.stem for path in labels}
        findings = [
            Finding(text=f"{path}: no frame of this name in {self.images}")
            for path in labels
            if path.stem not in by_stem
        ]
        findings += [
            Finding(text=f"{path}: no mask of this name in {self.labels}")
            for path in self._unmasked(images, annotated)
        ]
        findings += [
            Finding(text=f"{path}: a mask that is no PNG, which training does not read")
            for path in find_masks_not_png(self.labels, labels, by_stem)
        ]
        if len(labels) < FRAMES_NEEDED:
            findings.append(
                Finding(
                    text=f"{self.labels}: {len(labels)} annotated frames, of which a sample needs {FRAMES_NEEDED}; the video is left out",
                    problem=False,
                )
            )
        pairs = [(by_stem[path.stem], path) for path in labels if path.stem in by_stem]
        checks = [check_pair(image, mask, self.fast) for image, mask in pairs]
        findings += [finding for check in checks for finding in check.findings]
        return TaskResult(
            files=2 * len(pairs),
            findings=findings + self._odd_sizes(pairs, checks) + self._empty_masks(checks),
        )

    def _unmasked(self, images: Sequence[Path], annotated: set[str]) -> list[Path]:
        """Frames whose mask is missing: all without one where every frame should have one, else holes in the regular steps between the first and last."""
        if self.every_frame:
            return [path for path in images if path.stem not in annotated]
        positions = [position for position, path in enumerate(images) if path.stem in annotated]
        gaps = Counter(later - earlier for earlier, later in itertools.pairwise(positions))
        step = gaps.most_common(1)[0][0] if gaps else 1
        return (
            [
                images[position]
                for position in range(positions[0], positions[-1], step)
                if position not in set(positions)
            ]
            if positions
            else []
        )

    def _odd_sizes(
        self, pairs: Sequence[tuple[Path, Path]], checks: Sequence["PairCheck"]
    ) -> list[Finding]:
        sizes = Counter(check.size for check in checks if check.size is not None)
        usual = sizes.most_common(1)[0][0] if sizes else None
        return [
            Finding(
                text=f"{image}: {size_text(check.size)} in a video of {size_text(usual)}",
                damaged=True,
            )
            for (image, _), check in zip(pairs, checks, strict=True)
            if check.size not in (None, usual)
        ]

    def _empty_masks(self, checks: Sequence["PairCheck"]) -> list[Finding]:
        """In a video objects come and go: masks without any are worth a note, unless there is no other."""
        known = [check.objects for check in checks if check.objects is not None]
        empty = known.count(False)
        return (
            [
                Finding(
                    text=f"{self.labels}: {empty} of {len(known)} masks without objects",
                    problem=empty == len(known),
                )
            ]
            if empty
            else []
        )


@dataclass(frozen=True, kw_only=True)
class PairCheck:
    """size (H, W) of the image, where it could be read; objects: whether the mask holds any, None where that was not looked at."""

    findings: list[Finding]
    size: tuple[int, int] | None = None
    objects: bool | None = None


def check_pair(image: Path, mask: Path, fast: bool) -> PairCheck:
    """An image and its mask, decoded, or by their headers alone where `fast`."""
    findings: list[Finding] = []
    size = _attempt(
        image, findings, lambda: image_sizes(image)[1] if fast else read_image(image).shape[:2]
    )
    found = _attempt(
        mask, findings, lambda: _mask_header(mask) if fast else _mask_content(mask, findings)
    )
    if size is not None and found is not None and found[0] != size:
        findings.append(
            Finding(
                text=f"{mask}: mask of {size_text(found[0])} for an image of {size_text(size)}",
                damaged=True,
            )
        )
    return PairCheck(findings=findings, size=size, objects=None if found is None else found[1])


def _attempt(path: Path, findings: list[Finding], read: Callable[[], tuple]) -> tuple | None:
    try:
        return read()
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ").removeprefix(f"{short_path(path)}: ")
        findings.append(Finding(text=f"{path}: {reason}", damaged=True))
        return None


def _mask_header(path: Path) -> tuple[tuple[int, int], None]:
    with open_image(path) as image:
        if image.mode.startswith(("I", "F")):
            raise InputError(
                f"{path}: mask of more than 8 bits; save it as an 8-bit indexed PNG of ids 1..254"
            )
        return (image.height, image.width), None


def _mask_content(path: Path, findings: list[Finding]) -> tuple[tuple[int, int], bool]:
    image = load_image(path)
    labels = decode_mask(image, path)
    stored_ids = present_ids(np.asarray(image)) if image.mode == "P" else ()
    if BINARY_ID in stored_ids and len(stored_ids) > 1:
        findings.append(
            Finding(text=f"{path}: id {BINARY_ID} beside others counts as void", problem=False)
        )
    return labels.shape, bool(labels.any())


def report(plan: SetPlan, results: Iterable[TaskResult]) -> SetReport:
    """A plan and what its tasks gave."""
    files, findings = 0, list(plan.findings)
    for result in results:
        files += result.files
        findings += result.findings
    if plan.published is not None and plan.found != plan.published:
        findings.append(
            Finding(
                text=f"{plan.root}: {plan.found} {plan.unit} of {plan.name}; published: {plan.published}",
                problem=False,
            )
        )
    damaged = sum(finding.damaged for finding in findings)
    if damaged > MAX_DAMAGED_SHARE * files:
        findings.append(
            Finding(
                text=f"{plan.root}: {damaged} of {files} files are damaged; training stops at more than {MAX_DAMAGED_SHARE:.0%}"
            )
        )
    return SetReport(
        name=plan.name,
        root=str(plan.root),
        unit=plan.unit,
        found=plan.found,
        published=plan.published,
        files=files,
        problems=[finding.text for finding in findings if finding.problem],
        notes=[finding.text for finding in findings if not finding.problem],
    )


def as_table(reports: Sequence[SetReport]) -> str:
    """Aligned text, a line per data set."""
    header = ("data set", "found", "", "published", "files read", "problems", "notes", "root")
    rows = [
        (
            r.name,
            str(r.found),
            r.unit,
            str(r.published or "-"),
            str(r.files),
            str(len(r.problems)),
            str(len(r.notes)),
            r.root,
        )
        for r in reports
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    )
