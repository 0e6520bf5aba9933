"""From folders and shares to a training's samples. Legend: T frames, S side of the crop in pixels."""

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from dataset.training.augmentation import ClipAugmentation, StaticAugmentation
from dataset.training.cache import ImageCache
from dataset.training.cutouts import CutoutBank
from dataset.training.samples import ClipSource, MixedTrainingData
from dataset.training.stills import StaticDataset
from dataset.training.synthetic import SyntheticClips, SyntheticConfig
from dataset.training.video_clips import (
    AnnotatedVideo,
    VideoClipDataset,
    choose_videos,
    find_all_videos,
    max_skip_at,
    max_skip_between_clips_at,
)
from util.errors import InputError

DAVIS_REPEATS = 5  # published: DAVIS five times beside YouTube-VOS
_MIN_OBJECT_SHARE = 0.02  # of a small crop, that an object covers to be drawn
_MIN_STILL_SHARE = 0.005  # of a still, where crops are small


@dataclass(frozen=True, kw_only=True)
class TrainingRoots:
    """Folders samples come from; any may be empty. named: further folders of videos under names, which may have shares of their own in the mix."""

    static: Sequence[str] = field(default_factory=list)
    davis: Sequence[str] = field(default_factory=list)
    youtube: Sequence[str] = field(default_factory=list)
    bl: Sequence[str] = field(default_factory=list)
    named: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """What a sample is like. clip_frames: frames predicted together, after the first. close_up: crops cover a small part of the frame, so objects must fill
    enough of them and surroundings are shown."""

    frames: int = 3
    clip_frames: int = 1
    crop_size: int = 384
    max_objects: int = 2
    crop_area: tuple[float, float] = (0.36, 1.0)
    max_skip: int | None = None  # None: the published curriculum
    skip_final_share: float = (
        0.1  # of the training, at its end, in which the curriculum is back at its first gap
    )
    skip_tiny_objects: bool = False
    close_up: bool = False


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
    """Samples of the kinds in `mix` (kind → share): static, video (all roots of videos), synthetic, and names of `roots.named`, whose folders are then
    kept out of video. Made-up clips use cut-outs and backgrounds of static and video where there are such roots.

    subset: names of the training videos to use, None for all; exclude: names to leave out.
    Raises InputError for an unknown kind or name, for a kind whose roots are missing, and for roots without data.
    """
    _check_kinds(roots, mix)
    cache = ImageCache(cache_megabytes * 1_000_000)
    stills = _stills(roots, config, cache) if roots.static else None
    found = {
        kind: find_all_videos(folders)
        for kind, folders in _video_roots(roots, mix).items()
        if folders
    }
    names = {video.name for videos in found.values() for video in videos}
    for what, given in (("the subset", subset or ()), ("--exclude", exclude)):
        unknown = sorted(set(given) - names)
        if unknown:
            raise InputError(
                f"{unknown[0]}: named in {what} but not among the {len(names)} training videos; correct the name"
            )
    clips = {
        kind: _clips(choose_videos(videos, subset, exclude), config, cache)
        for kind, videos in found.items()
    }
    sources: dict[str, ClipSource] = dict(clips)
    if stills:
        sources["static"] = stills
    if "synthetic" in mix:
        sources["synthetic"] = _made_up(config, stills, clips.get("video"))
    for kind in mix:
        if kind not in sources:
            raise InputError(f"samples of kind {kind!r} need folders; give {_FLAGS[kind]}")
    videos = {video for source in clips.values() for video in source.videos}
    total_files = 2 * sum(len(video) for video in videos) + 2 * (
        stills.distinct_samples if stills else 0
    )
    drawn_from = (
        {*mix, "static", "video"} if "synthetic" in mix else set(mix)
    )  # made-up clips use cut-outs of both
    kinds = {
        kind: source
        for kind, source in {"static": stills, **clips}.items()
        if source is not None and kind in drawn_from
    }
    folders = {video.image_folder for video in videos}
    return MixedTrainingData(
        [(sources[kind], share) for kind, share in mix.items()],
        samples,
        seed,
        total_files,
        folders,
        kinds,
    )


_FLAGS = {"static": "--static_root", "video": "--davis_root, --yv_root, --bl_root or --video_root"}
_KINDS = ("static", "video", "synthetic")


def _check_kinds(roots: TrainingRoots, mix: Mapping[str, float]) -> None:
    for name in roots.named:
        if name in _KINDS:
            raise InputError(
                f"--video_root {name}: this name is a kind of samples already; choose another"
            )
    for kind in mix:
        if kind not in _KINDS and kind not in roots.named:
            raise InputError(
                f"kind of samples {kind!r} is not known; the kinds are {', '.join((*_KINDS, *roots.named))}"
            )


def _video_roots(roots: TrainingRoots, mix: Mapping[str, float]) -> dict[str, list[str]]:
    """The folders of each kind of video samples: those named in the mix by themselves, all others together."""
    repeated = [root for root in roots.davis for _ in range(DAVIS_REPEATS if roots.youtube else 1)]
    joined = [root for name, folders in roots.named.items() if name not in mix for root in folders]
    return {"video": [*repeated, *roots.youtube, *roots.bl, *joined]} | {
        name: list(folders) for name, folders in roots.named.items() if name in mix
    }


def _stills(roots: TrainingRoots, config: SampleConfig, cache: ImageCache) -> StaticDataset:
    augmentation = StaticAugmentation(crop_size=config.crop_size, keep_surroundings=config.close_up)
    return StaticDataset(
        roots.static,
        frames=config.frames,
        max_objects=config.max_objects,
        augmentation=augmentation,
        min_object_area=_MIN_STILL_SHARE if config.close_up else 0.0,
        cache=cache,
    )


def _clips(
    videos: Sequence[AnnotatedVideo], config: SampleConfig, cache: ImageCache
) -> VideoClipDataset:
    augmentation = ClipAugmentation(
        crop_size=config.crop_size, crop_area=config.crop_area, keep_surroundings=config.close_up
    )
    curriculum = max_skip_at if config.clip_frames == 1 else max_skip_between_clips_at
    return VideoClipDataset(
        videos,
        frames=config.frames,
        clip_frames=config.clip_frames,
        max_objects=config.max_objects,
        augmentation=augmentation,
        max_skip=functools.partial(curriculum, final_share=config.skip_final_share)
        if config.max_skip is None
        else config.max_skip,
        min_object_pixels=round(_MIN_OBJECT_SHARE * config.crop_size**2) if config.close_up else 1,
        skip_tiny_objects=config.skip_tiny_objects,
        cache=cache,
    )


def _made_up(
    config: SampleConfig, stills: StaticDataset | None, clips: VideoClipDataset | None
) -> SyntheticClips:
    settings = SyntheticConfig(
        crop_size=config.crop_size,
        frames=config.frames,
        clip_frames=config.clip_frames,
        max_objects=config.max_objects,
    )
    bank = CutoutBank(stills, clips) if stills or clips else None
    return SyntheticClips(settings, bank=bank, clips=clips)
