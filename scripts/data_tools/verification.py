"""Checks training data before a long run.

Looks for missing pairs and folders, sizes that differ, damage, masks without objects, and counts
that differ from the published ones. A root becomes plans, one for each data set.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset.folders import MASK_SUFFIXES, list_files, list_folders
from dataset.image_file import size_text
from dataset.training.still_layouts import KNOWN_SETS, StaticFolder, scan_static_root
from dataset.training.video_layouts import TrainingLayout, find_layout, find_masks_not_png
from scripts.data_tools.pair_checks import PairCheck, check_pair
from scripts.data_tools.reports import Finding, SetPlan, TaskResult
from util.errors import InputError
from util.files import read_json

FRAMES_OF_A_SAMPLE = 3
PAIRS_OF_A_TASK = 100


@dataclass(frozen=True, kw_only=True)
class VideoKind:
    """A data set of videos.

    published: the number of its training videos. used: how many of them published training used.
    every_frame: whether each frame has a mask.
    """

    name: str
    published: int | None = None
    used: int | None = None
    every_frame: bool = False


DAVIS = VideoKind(name="DAVIS-2017", published=60, every_frame=True)
YOUTUBE = VideoKind(name="YouTube-VOS", published=3_471, used=3_464)
BL30K = VideoKind(name="BL30K", published=29_989, every_frame=True)


def plan_static(root: Path, fast: bool) -> list[SetPlan]:
    """Plan the check of each data set of still images under `root`.

    fast: read the headers of files only. The findings of the whole root are in the first plan.
    """
    try:
        folder = scan_static_root(root)
    except InputError as error:
        findings = [Finding(text=str(error))]
        return [SetPlan(name="static", root=root, unit="pairs", found=0, findings=findings)]
    pairs_by_set: dict[str, list[tuple[Path, Path]]] = {}
    for pair in sorted(folder.pairs, key=lambda pair: pair.group):
        pairs_by_set.setdefault(pair.group, []).append((pair.image, pair.mask))
    published = {known.name: known.published_pairs for known in KNOWN_SETS}
    plans = [
        SetPlan(
            name=name,
            root=root,
            unit="pairs",
            found=len(pairs),
            published=published.get(name),
            tasks=[
                StillsTask(pairs=tuple(pairs[first : first + PAIRS_OF_A_TASK]), fast=fast)
                for first in range(0, len(pairs), PAIRS_OF_A_TASK)
            ],
        )
        for name, pairs in pairs_by_set.items()
    ]
    plans[0].findings.extend(_find_in_static_folder(root, folder))
    return plans


def _find_in_static_folder(root: Path, folder: StaticFolder) -> list[Finding]:
    """Unpaired images, and published data sets that are missing beside others."""
    findings = []
    for path in folder.unpaired:
        missing = "no image" if path.suffix.lower() in MASK_SUFFIXES else "no mask"
        findings.append(Finding(text=f"{path}: {missing} that belongs to it"))
    groups = {pair.group for pair in folder.pairs}
    absent = [known.name for known in KNOWN_SETS if known.name not in groups]
    if absent and len(absent) < len(KNOWN_SETS):
        text = f"{root}: the published stage 0 also uses {', '.join(absent)}"
        findings.append(Finding(text=text, is_problem=False))
    return findings


def plan_videos(kind: VideoKind, root: Path, fast: bool) -> SetPlan:
    """Plan the check of the training videos under `root`. fast: read the headers of files only."""
    plan = {"name": kind.name, "root": root, "unit": "videos", "published": kind.published}
    try:
        layout = find_layout(root)
    except InputError as error:
        return SetPlan(**plan, found=0, findings=[Finding(text=str(error))])
    findings = _find_missing_folders(layout)
    if kind.used is not None:
        text = f"published training used {kind.used} of the {kind.published} videos"
        text = f"{root}: {text} (a list for --subset)"
        findings.append(Finding(text=text, is_problem=False))
    tasks = [
        VideoTask(images=images, labels=labels, every_frame=kind.every_frame, fast=fast)
        for images, labels in (
            (layout.folders.frames / name, layout.folders.masks / name) for name in layout.names
        )
        if images.is_dir() and labels.is_dir()
    ]
    return SetPlan(**plan, found=len(tasks), findings=findings, tasks=tasks)


def _find_missing_folders(layout: TrainingLayout) -> list[Finding]:
    """Folders of videos that the list, meta.json or the other folder names but that are missing."""
    frames, masks = layout.folders.frames, layout.folders.masks
    source_of_name = dict.fromkeys(layout.names, layout.list_file or masks)
    if layout.list_file is None:
        meta = masks.parent / "meta.json"
        for name in _names_in_meta(meta):
            source_of_name.setdefault(name, meta)
        for name in list_folders(frames) if frames.is_dir() else ():
            source_of_name.setdefault(name, frames)
    return [
        Finding(text=f"{folder / name}: no such folder, but {source} names this video")
        for name, source in source_of_name.items()
        for folder in (frames, masks)
        if not (folder / name).is_dir()
    ]


def _names_in_meta(meta: Path) -> list[str]:
    """The videos in a meta.json. If it is missing or broken, none: training does not use it."""
    try:
        return [str(name) for name in read_json(meta)["videos"]] if meta.is_file() else []
    except (ValueError, KeyError, TypeError):
        return []


@dataclass(frozen=True, kw_only=True)
class StillsTask:
    """Checks some pairs of still images. fast: read their headers only."""

    pairs: tuple[tuple[Path, Path], ...]
    fast: bool

    def __call__(self) -> TaskResult:
        findings, empty = [], []
        for image, mask in self.pairs:
            check = check_pair(image, mask, self.fast)
            findings += check.findings
            if check.has_objects is False:
                empty.append(Finding(text=f"{mask}: mask without objects"))
        return TaskResult(files=2 * len(self.pairs), findings=findings + empty)


@dataclass(frozen=True, kw_only=True)
class VideoTask:
    """Checks the frames and masks of one video. fast: read their headers only."""

    images: Path
    labels: Path
    every_frame: bool
    fast: bool

    def __call__(self) -> TaskResult:
        try:
            images, labels = list_files(self.images), list_files(self.labels, MASK_SUFFIXES)
        except InputError as error:
            return TaskResult(files=0, findings=[Finding(text=str(error))])
        by_stem = {path.stem: path for path in images}
        pairs = [(by_stem[path.stem], path) for path in labels if path.stem in by_stem]
        checks = [check_pair(image, mask, self.fast) for image, mask in pairs]
        findings = self._find_in_names(images, labels)
        for check in checks:
            findings += check.findings
        findings += self._find_odd_sizes(pairs, checks) + self._find_empty_masks(checks)
        return TaskResult(files=2 * len(pairs), findings=findings)

    def _find_in_names(self, images: Sequence[Path], labels: Sequence[Path]) -> list[Finding]:
        """Frames and masks without each other, masks that are not read, and too few masks."""
        stems, annotated = {path.stem for path in images}, {path.stem for path in labels}
        texts = [
            f"{path}: no frame of this name in {self.images}"
            for path in labels
            if path.stem not in stems
        ]
        texts += [
            f"{path}: no mask of this name in {self.labels}"
            for path in self._frames_without_mask(images, annotated)
        ]
        texts += [
            f"{path}: a mask that is no PNG, so training does not read it"
            for path in find_masks_not_png(self.labels, labels, stems)
        ]
        findings = [Finding(text=text) for text in texts]
        if len(labels) < FRAMES_OF_A_SAMPLE:
            text = (
                f"{self.labels}: {len(labels)} annotated frames, but a sample needs "
                f"{FRAMES_OF_A_SAMPLE}; the video is left out"
            )
            findings.append(Finding(text=text, is_problem=False))
        return findings

    def _frames_without_mask(self, images: Sequence[Path], annotated: set[str]) -> list[Path]:
        """Frames whose mask is missing.

        If not every frame should have a mask, those are the holes in the regular steps between the
        first and the last mask.
        """
        if self.every_frame:
            return [path for path in images if path.stem not in annotated]
        positions = [position for position, path in enumerate(images) if path.stem in annotated]
        if not positions:
            return []
        gaps = Counter(later - earlier for earlier, later in itertools.pairwise(positions))
        step = gaps.most_common(1)[0][0] if gaps else 1
        expected = range(positions[0], positions[-1], step)
        return [images[position] for position in expected if position not in set(positions)]

    def _find_odd_sizes(
        self, pairs: Sequence[tuple[Path, Path]], checks: Sequence[PairCheck]
    ) -> list[Finding]:
        """Images of another size than most of the video."""
        sizes = Counter(check.size for check in checks if check.size is not None)
        usual = sizes.most_common(1)[0][0] if sizes else None
        return [
            Finding(
                text=f"{image}: {size_text(check.size)} in a video of {size_text(usual)}",
                is_damage=True,
            )
            for (image, _), check in zip(pairs, checks, strict=True)
            if check.size not in (None, usual)
        ]

    def _find_empty_masks(self, checks: Sequence[PairCheck]) -> list[Finding]:
        """A note if some masks have no objects, which is usual in videos; a problem if all do."""
        known = [check.has_objects for check in checks if check.has_objects is not None]
        empty = known.count(False)
        if not empty:
            return []
        text = f"{self.labels}: {empty} of {len(known)} masks without objects"
        return [Finding(text=text, is_problem=empty == len(known))]
