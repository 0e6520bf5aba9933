"""How each stage trains: one table of values, which the trainer and the rollout carry out."""

import dataclasses
from typing import Any, Literal

from model.training.affinity_regularisers import AffinityConfig
from model.training.losses import BootstrapConfig
from util.errors import InputError
from util.ranges import INTEGER_LIMIT, bounded, check_ranges


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlotRates:
    """Learning rates of parts of a network (model.network.PART_MODULES), as multiples of the base.

    A slot that starts from scratch beside trained weights has further to go, so that a rate above
    1 suits it. A pretrained encoder has less far to go: a rate below 1.
    """

    refiner: float = bounded(1.0, above=0)
    enhancer: float = bounded(1.0, above=0)
    reducer: float = bounded(1.0, above=0)
    key_encoder: float = bounded(1.0, above=0)
    value_encoder: float = bounded(1.0, above=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run.

    The defaults are what STCN's stages share (STCN, section 4); STAGES holds what differs.
    """

    stage: str
    network: str = "stcn"
    system: str = "stcn"  # how validation runs the network
    # kinds of samples and their shares: static, video, synthetic
    mix: tuple[tuple[str, float], ...]
    batch_size: int = bounded(at_least=1)  # over all processes and accumulated parts
    # each process computes its share of a batch in so many parts, one after the other
    accumulate: int = bounded(1, at_least=1)
    iterations: int = bounded(at_least=1)
    learning_rate: float = bounded(1e-5, above=0)
    slot_rates: SlotRates = dataclasses.field(default_factory=SlotRates)
    steps: tuple[int, ...] = ()  # iterations at which the learning rate is multiplied by gamma
    gamma: float = bounded(0.1, above=0, at_most=1)
    schedule: Literal["steps", "cosine"] = "steps"
    warmup_iterations: int = bounded(0, at_least=0)
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = bounded(1e-7, at_least=0)
    clip_gradient_norm: float | None = bounded(None, above=0)
    # a network that starts from scratch needs this; published: statistics frozen
    learn_batch_norms: bool = False
    # modules whose batch norms keep their statistics even so, such as a pretrained key_encoder
    frozen_norms: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()  # modules that are not trained at all, such as key_encoder.res2
    # of the exponential moving average of the weights; None: no average
    average_decay: float | None = bounded(None, above=0, below=1)
    bootstrap: BootstrapConfig = dataclasses.field(default_factory=BootstrapConfig)
    # of the Dice loss of whole clips; 0: cross entropy alone
    dice_weight: float = bounded(0.0, at_least=0)
    # redundancy reduction acts once the memory holds so many frames beside the first one;
    # None: the network has no redundancy reduction
    reduce_frames: int | None = None
    reduction_weight: float = bounded(1.0, at_least=0)  # of the loss of the redundancy reduction
    affinity: AffinityConfig = dataclasses.field(default_factory=AffinityConfig)  # regularisers
    # pixels; the largest crop has as many as a frame of 8K UHD
    crop_size: int = bounded(384, at_least=16, at_most=5792, multiple_of=16)
    frames: int = bounded(3, at_least=2)
    # frames predicted together; after its first frame, a sample consists of whole clips
    clip_frames: int = bounded(1, at_least=1)
    max_objects: int = bounded(2, at_least=1)
    crop_area: tuple[float, float] = (0.36, 1.0)  # share of a video's frame that a crop covers
    # frames that may be skipped between neighbours; None: the published curriculum
    max_skip: int | None = bounded(None, at_least=0)
    # share of the training, at its end, in which the curriculum is back at its first gap
    skip_final_share: float = bounded(0.1, at_least=0, below=1)
    skip_tiny_objects: bool = False  # leave out objects of a few pixels, as for BL30K
    # crops cover a small part of the frame: objects must fill enough of them, and surroundings
    # are shown
    close_up: bool = False
    # what makes synthetic clips harder: shares of their objects (looking like another one, hidden
    # and back, of another size at once), and of the clips (with motion blur, of low contrast)
    twin_share: float = bounded(0.0, at_least=0, at_most=1)
    hiding_share: float = bounded(0.0, at_least=0, at_most=1)
    jump_share: float = bounded(0.0, at_least=0, at_most=1)
    motion_blur_share: float = bounded(0.0, at_least=0, at_most=1)
    low_contrast_share: float = bounded(0.0, at_least=0, at_most=1)
    amp: Literal["off", "fp16", "bf16"] = "fp16"
    tf32: bool = False  # float32 convolutions and products in TF32 on CUDA
    # compute activations again in the backward pass instead of keeping them
    checkpoint_activations: bool = False
    compile: bool = False  # the network's parts through torch.compile
    # what the encoders start from if no weights are loaded: none, imagenet, or files
    backbone_weights: tuple[str, ...] = ("none",)
    seed: int = bounded(0, at_least=0)

    def as_dict(self) -> dict[str, Any]:
        """Plain values only."""
        return dataclasses.asdict(self)

    @staticmethod
    def defaults() -> dict[str, Any]:
        """Plain values of all settings with a default: what a record without a setting means."""
        plain = {
            field.name: field.default
            for field in dataclasses.fields(TrainingConfig)
            if field.default is not dataclasses.MISSING
        }
        made = {
            field.name: field.default_factory()
            for field in dataclasses.fields(TrainingConfig)
            if field.default_factory is not dataclasses.MISSING
        }
        return plain | {name: dataclasses.asdict(value) for name, value in made.items()}

    def check(self) -> None:
        """Raise InputError that names the first value that is out of its range."""
        check_ranges(self, integers_below=INTEGER_LIMIT)
        least, most = self.crop_area
        if not 0 < least <= most <= 1:
            raise InputError(
                f"crop_area is {least} to {most}; give two shares of the frame, "
                "above 0 and at most 1, the smaller one first"
            )


STAGES: dict[str, TrainingConfig] = {
    config.stage: config
    for config in (
        TrainingConfig(
            stage="0",
            mix=(("static", 1.0),),
            batch_size=16,
            iterations=300_000,
            steps=(150_000,),
            max_objects=1,
            backbone_weights=("imagenet",),
        ),
        TrainingConfig(
            stage="1",
            mix=(("video", 1.0),),
            batch_size=8,
            iterations=500_000,
            steps=(400_000,),
            crop_area=(0.25, 1.0),
            skip_final_share=0.2,
            skip_tiny_objects=True,
            backbone_weights=("imagenet",),
        ),
        TrainingConfig(
            stage="2",
            mix=(("video", 1.0),),
            batch_size=8,
            iterations=300_000,
            steps=(250_000,),
            backbone_weights=("imagenet",),
        ),
        TrainingConfig(
            stage="3",
            mix=(("video", 1.0),),
            batch_size=8,
            iterations=150_000,
            steps=(125_000,),
            backbone_weights=("imagenet",),
        ),
        # per-clip training from weights of stage 0 or 3 (PCVOS): samples and losses are published,
        # the other values are stage 3's
        TrainingConfig(
            stage="clip",
            network="pcvos",
            system="pcvos",
            mix=(("video", 1.0),),
            batch_size=8,
            iterations=150_000,
            steps=(125_000,),
            frames=7,
            clip_frames=3,
            dice_weight=1.0,
        ),
        # REMN's modules from weights of stage 0 or 3. Ours: neighbours are at most 5 frames apart;
        # the memory is reduced when it holds 4 frames, and two further frames read it
        TrainingConfig(
            stage="remn",
            network="remn",
            system="remn",
            mix=(("video", 1.0),),
            batch_size=8,
            iterations=150_000,
            steps=(125_000,),
            frames=7,
            max_skip=4,
            reduce_frames=4,
        ),
        # from scratch, without any data: ours, after the small network's recipe
        TrainingConfig(
            stage="synthetic",
            network="stcn_small",
            mix=(("synthetic", 1.0),),
            batch_size=4,
            iterations=8_000,
            learning_rate=6e-4,
            schedule="cosine",
            warmup_iterations=200,
            optimizer="adamw",
            weight_decay=0.01,
            clip_gradient_norm=5.0,
            learn_batch_norms=True,
            average_decay=0.998,
            bootstrap=BootstrapConfig(start_iteration=0, end_iteration=1_000, final_fraction=0.2),
            crop_size=192,
            crop_area=(0.08, 0.45),
            max_skip=10,
            close_up=True,
        ),
    )
}
