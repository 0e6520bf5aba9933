"""Builds the samples of a training from the user's folders and the shares of each kind of samples.

Legend: S side of the crop in pixels.
"""

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dataset.training.augmentation import ClipAugmentation, StillAugmentation
from dataset.training.cache import ImageCache
from dataset.training.cutouts import CutoutBank
from dataset.training.frame_choice import max_skip_at, max_skip_between_clips_at
from dataset.training.samples import ClipSource, MixedTrainingData
from dataset.training.scenes import SceneConfig
from dataset.training.stills import StillClips
from dataset.training.synthetic import SyntheticClips, SyntheticConfig
from dataset.training.video_clips import VideoClipConfig, VideoClips
from dataset.training.video_layouts import AnnotatedVideo, find_videos_of_roots, select_videos
from util.errors import InputError

DAVIS_REPEATS = 5  # published: DAVIS counts five times beside YouTube-VOS
_MIN_OBJECT_SHARE_OF_CLOSE_UP = 0.02
_MIN_OBJECT_SHARE_OF_STILL = 0.005

_KINDS = ("static", "video", "synthetic")
_FLAGS = {"static": "--static_root", "video": "--davis_root, --yv_root, --bl_root or --video_root"}


@dataclass(frozen=True, kw_only=True)
class TrainingRoots:
    """The folders that samples come from; each list may be empty.

    named: further folders of videos, by a name that can have its own share of the samples.
    """

    static: Sequence[str] = field(default_factory=list)
    davis: Sequence[str] = field(default_factory=list)
    youtube: Sequence[str] = field(default_factory=list)
    bl: Sequence[str] = field(default_factory=list)
    named: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """What a sample is like.

    clip_frames: frames after the first are predicted together in clips of this length. crop_size:
    S. crop_area: range of the share of a video's frame that the crop covers. max_skip: frames that
    may be skipped between neighbours of a sample; None: the published curriculum. skip_final_share:
    the last part of the training, in which the curriculum is back at its first step.
    skip_tiny_objects: see find_tiny_objects. close_up: crops cover a small part of the frame;
    objects must fill enough of them, and rotated frames show what surrounds them. twin_share,
    hiding_share, jump_share, motion_blur_share, low_contrast_share: of synthetic clips, see
    SceneConfig.
    """

    frames: int = 3
    clip_frames: int = 1
    crop_size: int = 384
    max_objects: int = 2
    crop_area: tuple[float, float] = (0.36, 1.0)
    max_skip: int | None = None
    skip_final_share: float = 0.1
    skip_tiny_objects: bool = False
    close_up: bool = False
    twin_share: float = 0.0
    hiding_share: float = 0.0
    jump_share: float = 0.0
    motion_blur_share: float = 0.0
    low_contrast_share: float = 0.0


def build_training_data(
    roots: TrainingRoots,
    config: SampleConfig,
    *,
    mix: Mapping[str, float],
    samples: int,
    seed: int,
    subset: Collection[str] | None = None,
    exclude: Collection[str] = (),
    cache_megabytes: int = 1500,
) -> MixedTrainingData:
    """Build the samples of a training.

    mix: share of each kind of samples: `static`, `video` (all roots of videos), `synthetic`, and
    names of `roots.named`, whose folders then do not belong to `video`. Synthetic clips use objects
    and backgrounds from `static` and `video` if there are such roots. samples: length of the
    training. subset: names of the training videos to use, None for all. exclude: names to leave
    out.
    Raises: InputError for an unknown kind or name, a kind without roots, and roots without data.
    """
    _check_kinds(roots, mix)
    cache = ImageCache(cache_megabytes * 1_000_000)
    stills = _build_stills(roots.static, config, cache) if roots.static else None
    videos = {
        kind: find_videos_of_roots(folders)
        for kind, folders in _video_folders_of_kinds(roots, mix).items()
        if folders
    }
    _check_names(videos.values(), subset, exclude)
    clips = {
        kind: _build_clips(select_videos(found, subset, exclude), config, cache)
        for kind, found in videos.items()
    }
    file_sources = clips if stills is None else {"static": stills, **clips}
    sources: dict[str, ClipSource] = dict(file_sources)
    if "synthetic" in mix:
        sources["synthetic"] = _build_synthetic(config, stills, clips.get("video"))
    for kind in mix:
        if kind not in sources:
            raise InputError(f"samples of kind {kind!r} need folders; give {_FLAGS[kind]}")
    used_kinds = {*mix, "static", "video"} if "synthetic" in mix else set(mix)
    different_videos = {video for source in clips.values() for video in source.videos}
    return MixedTrainingData(
        [(sources[kind], share) for kind, share in mix.items()],
        samples,
        seed,
        total_files=_count_files(different_videos, stills),
        video_folders={video.image_folder for video in different_videos},
        file_sources={kind: source for kind, source in file_sources.items() if kind in used_kinds},
    )


def _check_kinds(roots: TrainingRoots, mix: Mapping[str, float]) -> None:
    for name in roots.named:
        if name in _KINDS:
            raise InputError(
                f"--video_root {name}: this name is a kind of samples already; choose another"
            )
    for kind in mix:
        if kind not in _KINDS and kind not in roots.named:
            known = ", ".join((*_KINDS, *roots.named))
            raise InputError(f"kind of samples {kind!r} is not known; the kinds are {known}")


def _video_folders_of_kinds(roots: TrainingRoots, mix: Mapping[str, float]) -> dict[str, list[str]]:
    """Folders by kind: named roots with a share of their own, all others together as `video`."""
    davis = [root for root in roots.davis for _ in range(DAVIS_REPEATS if roots.youtube else 1)]
    joined = [root for name, folders in roots.named.items() if name not in mix for root in folders]
    own = {name: list(folders) for name, folders in roots.named.items() if name in mix}
    return {"video": [*davis, *roots.youtube, *roots.bl, *joined], **own}


def _check_names(
    videos: Iterable[Sequence[AnnotatedVideo]],
    subset: Collection[str] | None,
    exclude: Collection[str],
) -> None:
    """Refuse names of `subset` and `exclude` that no training video has."""
    names = {video.name for found in videos for video in found}
    for what, given in (("the subset", subset or ()), ("--exclude", exclude)):
        unknown = sorted(set(given) - names)
        if unknown:
            raise InputError(
                f"{unknown[0]}: named in {what} but not among the {len(names)} training videos; "
                "correct the name"
            )


def _build_stills(roots: Sequence[str], config: SampleConfig, cache: ImageCache) -> StillClips:
    return StillClips(
        roots,
        frames=config.frames,
        max_objects=config.max_objects,
        augmentation=StillAugmentation(
            crop_size=config.crop_size, keep_surroundings=config.close_up
        ),
        min_object_area=_MIN_OBJECT_SHARE_OF_STILL if config.close_up else 0.0,
        cache=cache,
    )


def _build_clips(
    videos: Sequence[AnnotatedVideo], config: SampleConfig, cache: ImageCache
) -> VideoClips:
    min_object_pixels = 1
    if config.close_up:
        min_object_pixels = round(_MIN_OBJECT_SHARE_OF_CLOSE_UP * config.crop_size**2)
    max_skip = config.max_skip
    if max_skip is None:
        curriculum = max_skip_at if config.clip_frames == 1 else max_skip_between_clips_at
        max_skip = functools.partial(curriculum, final_share=config.skip_final_share)
    return VideoClips(
        videos,
        VideoClipConfig(
            frames=config.frames,
            clip_frames=config.clip_frames,
            max_objects=config.max_objects,
            max_skip=max_skip,
            min_object_pixels=min_object_pixels,
            skip_tiny_objects=config.skip_tiny_objects,
        ),
        augmentation=ClipAugmentation(
            crop_size=config.crop_size,
            crop_area=config.crop_area,
            keep_surroundings=config.close_up,
        ),
        cache=cache,
    )


def _build_synthetic(
    config: SampleConfig, stills: StillClips | None, clips: VideoClips | None
) -> SyntheticClips:
    settings = SyntheticConfig(
        crop_size=config.crop_size,
        frames=config.frames,
        clip_frames=config.clip_frames,
        max_objects=config.max_objects,
        scene=SceneConfig(
            twin_share=config.twin_share,
            hiding_share=config.hiding_share,
            jump_share=config.jump_share,
            motion_blur_share=config.motion_blur_share,
            low_contrast_share=config.low_contrast_share,
        ),
    )
    bank = CutoutBank(stills, clips) if stills or clips else None
    return SyntheticClips(settings, bank=bank, clips=clips)


def _count_files(videos: Collection[AnnotatedVideo], stills: StillClips | None) -> int:
    """The number of different images and masks."""
    pairs = sum(len(video) for video in videos) + (stills.distinct_samples if stills else 0)
    return 2 * pairs
