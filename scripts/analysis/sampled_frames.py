"""The frames of one video that a memory samples: how each differs from the one memorised last.

Legend: K objects, H W frame size in pixels.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset import Frame, Video, prefetch
from inference import FrameResult, VideoSegmenter
from inference.memory.mask_difference import APPEARED_OR_VANISHED, MEASURES, MaskDifference, Regions
from inference.output.contact_sheet import ContactSheet
from inference.output.overlay import draw_overlay
from inference.scoring.metrics import region_similarity
from scripts.analysis.truth import Truth
from util.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparedFrame:
    """A frame, compared with the frame memorised last before it.

    difference: of the object whose masks differ most. true_difference: the same of the true masks
    of both frames; similarity: J against the true mask, the mean over the objects; None without
    truth.
    """

    name: str
    difference: MaskDifference
    true_difference: MaskDifference | None
    similarity: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampledVideo:
    """The compared frames of a video, those of them that were memorised, and these as a picture,
    RGB uint8 [H', W', 3].

    measure, threshold: of the sampling.
    """

    frames: Sequence[ComparedFrame]
    memorised: Sequence[ComparedFrame]
    measure: str
    threshold: float
    picture: np.ndarray

    def reason(self, frame: ComparedFrame) -> str:
        """Why a frame was memorised."""
        difference = frame.difference
        if not MEASURES[self.measure](difference) > self.threshold:
            return "gap"
        if difference == APPEARED_OR_VANISHED:
            return "vanished"
        return "shape" if difference.shape >= difference.position else "position"

    def mean_similarity(self, frames: Sequence[ComparedFrame]) -> float | None:
        """The mean J of some of the frames; None without frames or truth."""
        known = [frame.similarity for frame in frames if frame.similarity is not None]
        return float(np.mean(known)) if known else None

    def figures(self) -> dict[str, Any]:
        """Plain values: every frame's differences, and why frames were memorised."""
        return {
            "memorised": {frame.name: self.reason(frame) for frame in self.memorised},
            "frames": [dataclasses.asdict(frame) for frame in self.frames],
        }


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What is kept of a frame: its regions, predicted and true (None: unknown), and its picture."""

    name: str
    regions: Regions
    truth: Regions | None
    picture: np.ndarray


def follow_sampling(
    segmenter: VideoSegmenter,
    video: Video,
    truth_folder: Path,
    *,
    single_object: bool = False,
    max_frames: int | None = None,
    shown: int = 12,
) -> SampledVideo:
    """Segment a video, at most its first max_frames, and compare each frame with the one memorised
    last.

    truth_folder: of FRAME.png for any frames. single_object: all ids there are the video's one
    object. shown: how many memorised frames the picture shows.
    Raises InputError for clip systems, whose results come late, for a video of one frame, and for
    truth whose size is not that of the frames.
    """
    session, measure = segmenter.session(), segmenter.config.memory.sampling_measure
    if session.latency_frames:
        raise InputError(
            f"system {segmenter.config.name}: its memory is written once per clip; choose one that"
            " works frame by frame"
        )
    compared, memorised, sheet = [], [], ContactSheet(shown)
    reference: _Seen | None = None  # the frame memorised last
    latest: _Seen | None = None
    for frame in itertools.islice(prefetch(video.frames()), max_frames):
        written = session.frames_memorised
        result = session.step(frame.image, frame.labels)
        # a frame is written when the next one comes to read it
        if session.frames_memorised > written:
            reference = latest
            sheet.add(latest.name, latest.picture)
            if compared:
                memorised.append(compared[-1])
        # the ids of a video are known once its first frame was read
        truth = Truth(truth_folder, video.object_ids[0] if single_object else None)
        latest = _see(frame, result, truth)
        if reference is not None:
            compared.append(_compare(latest, reference, measure))
    if not compared:
        raise InputError(f"{video.name}: a single frame; there is none to compare with it")
    return SampledVideo(
        frames=compared,
        memorised=memorised,
        measure=measure,
        threshold=segmenter.config.memory.sampling_threshold,
        picture=sheet.picture(),
    )


def _see(frame: Frame, result: FrameResult, truth: Truth) -> _Seen:
    ids, true_labels = result.object_ids, truth.labels(frame.name, result.labels.shape)
    true_masks = None
    if true_labels is not None:
        true_masks = torch.from_numpy(np.stack([true_labels == i for i in ids]).astype(np.float32))
    return _Seen(
        frame.name,
        Regions(result.probabilities[1:], ids),
        None if true_masks is None else Regions(true_masks, ids),
        draw_overlay(frame.image, result.labels),
    )


def _compare(now: _Seen, before: _Seen, measure: str) -> ComparedFrame:
    similarity, true_difference = None, None
    if now.truth is not None:
        pairs = zip(now.truth.masks, now.regions.masks, strict=True)
        similarity = float(
            np.mean([region_similarity(*(m.cpu().numpy() for m in pair)) for pair in pairs])
        )
        if before.truth is not None:
            true_difference = _largest(now.truth, before.truth, measure)
    return ComparedFrame(
        name=now.name,
        difference=_largest(now.regions, before.regions, measure),
        true_difference=true_difference,
        similarity=similarity,
    )


def _largest(now: Regions, before: Regions, measure: str) -> MaskDifference:
    """The difference of the object that differs most."""
    differences = [now.object_difference(before, object_id) for object_id in now.number_of]
    return max(differences, key=MEASURES[measure])
