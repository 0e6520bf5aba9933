"""The network: learned weights, without any state of a video.

Legend: B batch, L frames of a clip, K objects, C channels, H W image size (multiples of 16),
h w = H / 16, W / 16.
"""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.config import NetworkConfig, preset
from model.decoder import Decoder
from model.encoders import KeyEncoder, KeyProjection, ValueEncoder
from model.foreground_reinforcing import ForegroundReinforcing, foreground_at_stride_16
from model.intra_clip_refinement import IntraClipRefinement
from model.redundancy_reduction import ReducedMemory, RedundancyReduction
from util.errors import InputError

STRIDE = 16


@dataclasses.dataclass(frozen=True)
class Slot:
    """A part that only some systems have. Its name is the field of NetworkConfig that fills it."""

    title: str
    modules: tuple[str, ...]  # attributes of VOSNetwork, which it has only if the slot is filled


SLOTS: dict[str, Slot] = {
    "refiner": Slot("intra-clip refinement", ("input_proj", "refine_transformer")),
    "enhancer": Slot("foreground reinforcing", ("foreground_reinforcing",)),
    "reducer": Slot("redundancy reduction", ("redundancy_reduction",)),
}
PART_MODULES: dict[str, tuple[str, ...]] = {  # parts that may have learning rates of their own
    **{name: slot.modules for name, slot in SLOTS.items()},
    "key_encoder": ("key_encoder",),
    "value_encoder": ("value_encoder",),
}


@dataclasses.dataclass(frozen=True)
class FrameFeatures:
    """What is computed once per frame, for any number of objects.

    key queries the memory (see enhance_query) and becomes the frame's memory key. appearance is the
    decoder's view of the frame itself (`key_comp` in the public checkpoints).
    """

    key: Tensor  # [B, C^k, h, w]
    appearance: Tensor  # [B, C^v, h, w]
    feature_s16: Tensor  # [B, C, h, w]
    feature_s8: Tensor  # [B, C, 2h, 2w]
    feature_s4: Tensor  # [B, C, 4h, 4w]

    def __getitem__(self, index: slice) -> "FrameFeatures":
        """The features of some of the frames."""
        return FrameFeatures(
            *(getattr(self, field.name)[index] for field in dataclasses.fields(self))
        )


class VOSNetwork(nn.Module):
    """STCN's key encoder, value encoder and decoder, with slots for the parts of other systems.

    One class for training and inference and for any number of objects. An empty slot passes its
    input through. Module names are those of the public checkpoints. Source: STCN (Cheng, Tai, Tang,
    NeurIPS 2021), section 3.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        channels_s4, channels_s8, channels_s16 = config.key_encoder.channels
        self.key_encoder = KeyEncoder(config.key_encoder)
        self.value_encoder = ValueEncoder(
            config.value_encoder,
            channels_s16,
            config.value_channels,
            config.attention_reduction if config.fuser_attention else None,
        )
        self.key_proj = KeyProjection(channels_s16, config.key_channels)
        self.key_comp = nn.Conv2d(channels_s16, config.value_channels, 3, padding=1)
        self.decoder = Decoder(
            config.value_channels, (channels_s4, channels_s8), config.decoder_channels
        )
        if config.refiner is not None:
            local_key_channels = config.refiner.key_channels
            self.input_proj = KeyProjection(channels_s16, local_key_channels)
            self.refine_transformer = IntraClipRefinement(config.refiner, config.value_channels)
        if config.enhancer is not None:
            self.foreground_reinforcing = ForegroundReinforcing(
                config.enhancer, config.key_channels
            )
        if config.reducer is not None:
            self.redundancy_reduction = RedundancyReduction(
                config.reducer, config.key_channels, config.value_channels
            )

    def encode_key(self, images: Tensor) -> FrameFeatures:
        """Features of images [B, 3, H, W], normalised by util.images.normalise_images."""
        feature_s4, feature_s8, feature_s16 = self.key_encoder(images)
        key, appearance = self.key_proj(feature_s16), self.key_comp(feature_s16)
        return FrameFeatures(key, appearance, feature_s16, feature_s8, feature_s4)

    def encode_value(
        self, images: Tensor, feature_s16: Tensor, masks: Tensor, others: Tensor | None = None
    ) -> Tensor:
        """Values [B, K, C^v, h, w] of K objects.

        images [B, 3, H, W] as given to encode_key, feature_s16 [B, C, h, w] of the same frames,
        masks [B, K, H, W] in 0..1. others [B, K, H, W]: the sum of the other objects' masks, for
        each object; None: computed from `masks`, which then hold all objects.
        """
        if others is None:
            others = masks.sum(1, keepdim=True) - masks
        return self.value_encoder(images, feature_s16, masks, others)

    def enhance_query(self, key: Tensor, previous_masks: Tensor | None) -> Tensor:
        """The keys that query the memory: enhanced by the previous frame's masks (REMN).

        key [B, C^k, h, w] → the same shape. previous_masks [B, K, H, W] in 0..1, aggregated or not
        overlapping. Unchanged if the slot is empty or there is no previous mask (None). Memory keys
        are never enhanced.
        """
        if self.config.enhancer is None or previous_masks is None:
            return key
        return self.foreground_reinforcing(key, foreground_at_stride_16(previous_masks))

    def refine(self, readout: Tensor, feature_s16: Tensor) -> Tensor:
        """Refine the readouts of B clips by attention within each clip; unchanged if the slot is
        empty.

        readout [B, L, K, C^v, h, w], feature_s16 [B, L, C, h, w] of the same frames → as readout.
        Source: PCVOS (Park et al., CVPR 2022), intra-clip refinement.
        """
        if self.config.refiner is None:
            return readout
        local_key = self.input_proj(feature_s16.flatten(0, 1)).unflatten(0, feature_s16.shape[:2])
        return self.refine_transformer(readout, local_key)

    def reduce_memory(self, key: Tensor, value: Tensor) -> ReducedMemory:
        """Reduce a memory by every policy, for training (REMN).

        key [B, T, h · w, C^k], value [B, K, T, h · w, C^v].
        """
        return self.redundancy_reduction(key, value)

    def decode(self, readout: Tensor, features: FrameFeatures) -> Tensor:
        """Logits [B, K, H, W], independent for each object.

        readout [B, K, C^v, h, w]; features of the same B frames.
        """
        return self.decoder(readout, features.appearance, features.feature_s8, features.feature_s4)


def build_network(name_or_config: str | NetworkConfig) -> VOSNetwork:
    """An initialised network of a preset (`stcn`, `pcvos`, `stcn_small`, …; see PRESETS) or
    configuration.

    Raises InputError for an unknown name.
    """
    config = name_or_config if isinstance(name_or_config, NetworkConfig) else preset(name_or_config)
    return VOSNetwork(config)


def parameter_count(network: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def batch_norm_statistics(network: nn.Module) -> list[torch.Tensor]:
    """The running means and variances of all batch norms; they may be changed in place."""
    norms = [
        module
        for module in network.modules()
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
    ]
    return [statistics for norm in norms for statistics in (norm.running_mean, norm.running_var)]


def freeze_batch_norms(network: nn.Module) -> None:
    """Fix the statistics of every batch norm, as STCN trains; scale and shift still learn."""
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()


def named_parts(network: VOSNetwork, names: Sequence[str], setting: str) -> list[nn.Module]:
    """The network's modules of these names, such as `key_encoder` or `key_encoder.res2`.

    setting: where the names come from, for the error. Raises InputError for an unknown name.
    """
    modules = dict(network.named_modules())
    unknown = [name for name in names if name not in modules or not name]
    if unknown:
        children = ", ".join(name for name, _ in network.named_children())
        raise InputError(
            f"{setting} names {unknown[0]!r}, which network {network.config.name} does not have; "
            f"its modules are {children} and those inside them"
        )
    return [modules[name] for name in names]
