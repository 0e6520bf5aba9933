"""Which frames of a video make up a training clip: the gaps between them and their curriculum.

Legend: T frames of a clip. A gap is the distance from one frame to the next (1: neighbours); a skip
is the number of frames between them, that is, the gap less 1.
"""

import numpy as np

MAX_GAP_IN_PREDICTED_CLIP = 5
"""Largest gap between frames that are predicted together (PCVOS, per-clip training)."""


def max_skip_at(progress: float, final_share: float = 0.1, largest: int = 25) -> int:
    """The largest skip at a point of the training, by the curriculum of STCN.

    progress: the part of the training that is done, in 0..1. final_share: the last part of the
    training, in which the largest skip is 5 again (published: 0.1; stage 1: 0.2).
    Returns 5, and 5 more from each of 10 %, 20 %, 30 % and 40 % on, at most `largest`.
    """
    if progress >= 1 - final_share:
        return 5
    return min(5 + 5 * int(progress * 10 + 1e-9), largest)


def max_skip_between_clips_at(progress: float, final_share: float = 0.1) -> int:
    """The largest skip from one clip to the next if frames are predicted in clips.

    The largest gap is 5, then 10, then 15, and 5 again at the end. Source: PCVOS, per-clip
    training, which does not give the times of the steps; they are those of max_skip_at.
    """
    return max_skip_at(progress, final_share, largest=15) - 1


def draw_frame_indices(
    rng: np.random.Generator,
    length: int,
    frames: int,
    max_skip: int,
    *,
    clip_frames: int = 1,
    annotation_step: int = 1,
) -> list[int]:
    """Draw the indices of a clip's frames among the `length` annotated frames of a video.

    max_skip: largest skip in video frames; smaller if the video is too short for it.
    clip_frames: frames after the first are predicted together in clips of this length; gaps inside
    such a clip are limited by MAX_GAP_IN_PREDICTED_CLIP. annotation_step: video frames from one
    annotated frame to the next.
    Returns `frames` indices in 0..length - 1, ascending or, half the time, descending.
    """
    in_clip = (MAX_GAP_IN_PREDICTED_CLIP - 1) // annotation_step + 1
    fitting = largest_fitting_gap(length, frames, clip_frames=clip_frames, largest_in_clip=in_clip)
    largest = min(max_skip // annotation_step + 1, fitting)
    gaps = draw_gaps(rng, frames, largest, clip_frames=clip_frames, largest_in_clip=in_clip)
    offsets = offsets_of(gaps)
    first = rng.integers(length - offsets[-1])
    # a reversed clip keeps the order of its gaps, so that they still lie inside or between clips
    steps = offsets[-1] - offsets if rng.random() < 0.5 else offsets
    return [int(first + step) for step in steps]


def draw_gaps(
    rng: np.random.Generator,
    frames: int,
    largest: int,
    *,
    clip_frames: int = 1,
    largest_in_clip: int = MAX_GAP_IN_PREDICTED_CLIP,
) -> np.ndarray:
    """Draw the gaps between `frames` frames, int [T - 1].

    Each is in 1..largest, and at most `largest_in_clip` if both of its frames belong to the same
    clip of `clip_frames`. The first frame belongs to none.
    """
    inside = _are_inside_clips(frames, clip_frames)
    return rng.integers(1, np.where(inside, min(largest, largest_in_clip), largest) + 1)


def offsets_of(gaps: np.ndarray) -> np.ndarray:
    """The positions of frames relative to the first, [T], from the gaps between them, [T - 1]."""
    return np.concatenate(([0], np.cumsum(gaps)))


def largest_fitting_gap(
    length: int,
    frames: int,
    *,
    clip_frames: int = 1,
    largest_in_clip: int = MAX_GAP_IN_PREDICTED_CLIP,
) -> int:
    """The largest gap for which every draw of draw_gaps fits into a video of `length` frames.

    Gaps inside clips take at most `largest_in_clip`, and gaps between clips share what remains.
    Returns at least 1, even if neighbouring frames do not fit.
    """
    inside = _are_inside_clips(frames, clip_frames)
    even_gap = (length - 1) // max(len(inside), 1)
    if even_gap < largest_in_clip:
        return max(even_gap, 1)
    between = len(inside) - inside.sum()  # at least one, the first gap
    return int((length - 1 - inside.sum() * largest_in_clip) // max(between, 1))


def _are_inside_clips(frames: int, clip_frames: int) -> np.ndarray:
    """For each gap, whether both of its frames belong to the same clip: bool [T - 1]."""
    return np.arange(frames - 1) % clip_frames > 0
