"""What is learned: networks, matching, training rollout, checkpoints."""

from model.checkpoint import load_network, save_weights
from model.config import (
    PRESETS,
    EncoderConfig,
    EnhancerConfig,
    NetworkConfig,
    ReducerConfig,
    RefinerConfig,
)
from model.network import FrameFeatures, VOSNetwork, build_network, parameter_count
from model.training.rollout import Rollout, RolloutConfig, RolloutResult

__all__ = [
    "PRESETS",
    "EncoderConfig",
    "EnhancerConfig",
    "FrameFeatures",
    "NetworkConfig",
    "ReducerConfig",
    "RefinerConfig",
    "Rollout",
    "RolloutConfig",
    "RolloutResult",
    "VOSNetwork",
    "build_network",
    "load_network",
    "parameter_count",
    "save_weights",
]
