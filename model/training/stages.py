"""How each stage trains: one table of values. `model/training/trainer.py` does what they say."""

import dataclasses
import math
import operator
from collections.abc import Callable
from typing import Any, Literal

from model.training.affinity_regularisers import AffinityConfig
from model.training.losses import BootstrapConfig
from util.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlotRates:
    """Learning rates of parts of a network (model.network.PART_MODULES), in multiples of the rest's.

    What starts fresh beside trained weights has further to go: the slots of a system. What is pretrained has less far to go: an encoder.
    """

    refiner: float = 1.0
    enhancer: float = 1.0
    reducer: float = 1.0
    key_encoder: float = 1.0
    value_encoder: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run. The defaults are what STCN's stages share (STCN, section 4); STAGES holds what differs."""

    stage: str
    network: str = "stcn"
    system: str = "stcn"  # how validation runs the network
    mix: tuple[
        tuple[str, float], ...
    ]  # kinds of samples and their shares: static, video, synthetic
    batch_size: int  # over all processes and accumulated parts
    accumulate: int = 1  # parts each process's share of a batch is computed in, one after the other
    iterations: int
    learning_rate: float = 1e-5
    slot_rates: SlotRates = dataclasses.field(default_factory=SlotRates)
    steps: tuple[int, ...] = ()  # iterations at which the learning rate is multiplied by gamma
    gamma: float = 0.1
    schedule: Literal["steps", "cosine"] = "steps"
    warmup_iterations: int = 0
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 1e-7
    clip_gradient_norm: float | None = None
    learn_batch_norms: bool = False  # from scratch they must; published: statistics frozen
    frozen_norms: tuple[
        str, ...
    ] = ()  # modules whose batch norms keep their statistics even so, such as a pretrained key_encoder
    frozen: tuple[str, ...] = ()  # modules that do not learn at all, such as key_encoder.res2
    average_decay: float | None = None  # exponential moving average of the weights; None: none
    bootstrap: BootstrapConfig = dataclasses.field(default_factory=BootstrapConfig)
    dice_weight: float = 0.0  # of the Dice loss of whole clips; 0: cross entropy alone
    reduce_frames: int | None = (
        None  # redundancy reduction acts when the memory holds so many frames beside the first; None: the network has none
    )
    reduction_weight: float = 1.0  # of its loss
    affinity: AffinityConfig = dataclasses.field(default_factory=AffinityConfig)  # regularisers
    crop_size: int = 384
    frames: int = 3
    clip_frames: int = 1  # frames predicted together; after its first frame a sample is whole clips
    max_objects: int = 2
    crop_area: tuple[float, float] = (
        0.36,
        1.0,
    )  # share of the frame that a crop of a training video covers
    max_skip: int | None = (
        None  # frames that may be skipped between neighbours; None: the published curriculum
    )
    skip_final_share: float = (
        0.1  # of the training, at its end, in which the curriculum is back at its first gap
    )
    skip_tiny_objects: bool = False  # leave out objects of a few pixels, as for BL30K
    close_up: bool = False  # crops cover a small part of the frame: objects must fill enough of them, and surroundings are shown
    amp: Literal["off", "fp16", "bf16"] = "fp16"
    tf32: bool = False  # float32 convolutions and products in TF32 on CUDA
    checkpoint_activations: bool = (
        False  # compute activations again in the backward pass instead of keeping them
    )
    compile: bool = False  # the network's parts through torch.compile
    backbone_weights: tuple[str, ...] = (
        "none",
    )  # what the encoders start from where no weights are loaded: none, imagenet, or files
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values only."""
        return dataclasses.asdict(self)

    @staticmethod
    def defaults() -> dict[str, Any]:
        """Plain values of all settings that have a default: what a record means that is older than a setting."""
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
        """Raise InputError naming the first value that is out of its range."""
        for (wanted, is_in_range), names in _RANGES.items():
            for name in names:
                value = operator.attrgetter(name)(self)
                if value is not None and not is_in_range(value):
                    raise InputError(f"{name} is {value}; it must be {wanted}")
        least, most = self.crop_area
        if not 0 < least <= most <= 1:
            raise InputError(
                f"crop_area is {least} to {most}; these are shares of the frame, above 0, at most 1, the lesser first"
            )


_RANGES: dict[
    tuple[str, Callable[[float], bool]], tuple[str, ...]
] = {  # None, where a value may be that, is in range
    ("above 0", lambda value: 0 < value < math.inf): (
        "learning_rate",
        "slot_rates.refiner",
        "slot_rates.enhancer",
        "slot_rates.reducer",
        "slot_rates.key_encoder",
        "slot_rates.value_encoder",
        "clip_gradient_norm",
    ),
    ("at least 0", lambda value: 0 <= value < math.inf): (
        "weight_decay",
        "warmup_iterations",
        "dice_weight",
        "reduction_weight",
        "max_skip",
    ),
    ("above 0 and at most 1", lambda value: 0 < value <= 1): ("gamma", "bootstrap.final_fraction"),
    ("above 0 and below 1", lambda value: 0 < value < 1): ("average_decay",),
    ("a share, at least 0 and below 1", lambda value: 0 <= value < 1): (
        "affinity.dropout",
        "skip_final_share",
    ),
}


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
        TrainingConfig(  # per-clip training from weights of stage 0 or 3 (PCVOS): samples and losses are published, the rest is stage 3's
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
        TrainingConfig(  # REMN's modules from weights of stage 0 or 3. Ours: neighbours at most 5 frames apart, the memory reduced at 4 frames and read by two more
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
        TrainingConfig(  # from scratch, needs no data: ours, after the small network's recipe
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
