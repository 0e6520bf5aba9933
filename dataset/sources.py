"""From folders and shares to a training's samples. Legend: T frames, S side of the crop in pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dataset.augmentation import ClipAugmentation, StaticAugmentation
from dataset.cutouts import CutoutBank
from dataset.image_cache import ImageCache
from dataset.static import StaticDataset
from dataset.synthetic import SyntheticClips, SyntheticConfig
from dataset.training import ClipSource, MixedTrainingData
from dataset.video_clips import VideoClipDataset, max_skip_at
from util.errors import InputError

DAVIS_REPEATS = 5  # published: DAVIS five times beside YouTube-VOS
_MIN_OBJECT_SHARE = 0.02  # of a small crop, that an object covers to be drawn


@dataclass(frozen=True, kw_only=True)
class TrainingRoots:
    """Folders samples come from; any may be empty."""

    static: Sequence[str] = field(default_factory=list)
    davis: Sequence[str] = field(default_factory=list)
    youtube: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """What a sample is like. close_up: crops cover a small part of the frame, so objects must fill enough of them and surroundings are shown."""

    frames: int = 3
    crop_size: int = 384
    max_objects: int = 2
    crop_area: tuple[float, float] = (0.36, 1.0)
    max_skip: int | None = None  # None: the published curriculum
    close_up: bool = False


def build_training_data(
    roots: TrainingRoots, config: SampleConfig, *, mix: Mapping[str, float], samples: int, seed: int, exclude: Sequence[str] = (), cache_megabytes: int = 1500
) -> MixedTrainingData:
    """Samples of the kinds in `mix` (static, video, synthetic → share). Made-up clips use real cut-outs and backgrounds where roots are given.

    Raises InputError for an unknown kind, and for a kind whose roots are missing.
    """
    unknown = sorted(set(mix) - {"static", "video", "synthetic"})
    if unknown:
        raise InputError(f"kind of samples {unknown[0]!r} is not known; the kinds are static, video, synthetic")
    cache = ImageCache(cache_megabytes * 1_000_000)
    stills = _stills(roots, config, cache) if roots.static else None
    clips = _clips(roots, config, exclude, cache) if roots.davis or roots.youtube else None
    needed = {"static": (stills, "--static_root"), "video": (clips, "--davis_root or --yv_root")}
    for kind in mix:
        if kind in needed and needed[kind][0] is None:
            raise InputError(f"samples of kind {kind!r} need folders; give {needed[kind][1]}")
    sources: dict[str, ClipSource | None] = {"static": stills, "video": clips, "synthetic": _made_up(config, stills, clips) if "synthetic" in mix else None}
    files = {path for pair in (stills.pairs if stills else ()) for path in pair} | {path for video in (clips.videos if clips else ()) for path in video.images + video.labels}
    return MixedTrainingData([(sources[kind], share) for kind, share in mix.items()], samples, seed, len(files))


def _stills(roots: TrainingRoots, config: SampleConfig, cache: ImageCache) -> StaticDataset:
    augmentation = StaticAugmentation(crop_size=config.crop_size, keep_surroundings=config.close_up)
    return StaticDataset(roots.static, frames=config.frames, max_objects=config.max_objects, augmentation=augmentation, cache=cache)


def _clips(roots: TrainingRoots, config: SampleConfig, exclude: Sequence[str], cache: ImageCache) -> VideoClipDataset:
    augmentation = ClipAugmentation(crop_size=config.crop_size, crop_area=config.crop_area, keep_surroundings=config.close_up)
    repeated = [root for root in roots.davis for _ in range(DAVIS_REPEATS if roots.youtube else 1)]
    return VideoClipDataset(
        [*repeated, *roots.youtube],
        frames=config.frames,
        max_objects=config.max_objects,
        augmentation=augmentation,
        max_skip=max_skip_at if config.max_skip is None else config.max_skip,
        exclude=exclude,
        min_object_pixels=round(_MIN_OBJECT_SHARE * config.crop_size**2) if config.close_up else 1,
        cache=cache,
    )


def _made_up(config: SampleConfig, stills: StaticDataset | None, clips: VideoClipDataset | None) -> SyntheticClips:
    settings = SyntheticConfig(crop_size=config.crop_size, frames=config.frames, max_objects=config.max_objects)
    bank = CutoutBank(stills, clips) if stills or clips else None
    return SyntheticClips(settings, bank=bank, clips=clips)
