"""How each stage trains: one table of values, and the optimiser, schedule and averaged weights made from it."""

import dataclasses
import math
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model.losses import BootstrapConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run. The defaults are what STCN's stages share (STCN, section 4); STAGES holds what differs."""

    stage: str
    network: str = "stcn"
    mix: tuple[tuple[str, float], ...]  # kinds of samples and their shares: static, video, synthetic
    batch_size: int  # over all processes
    iterations: int
    learning_rate: float = 1e-5
    steps: tuple[int, ...] = ()  # iterations at which the learning rate is multiplied by gamma
    gamma: float = 0.1
    schedule: Literal["steps", "cosine"] = "steps"
    warmup_iterations: int = 0
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 1e-7
    clip_gradient_norm: float | None = None
    learn_batch_norms: bool = False  # from scratch they must; published: statistics frozen
    average_decay: float | None = None  # exponential moving average of the weights; None: none
    bootstrap: BootstrapConfig = BootstrapConfig()
    crop_size: int = 384
    frames: int = 3
    max_objects: int = 2
    crop_area: tuple[float, float] = (0.36, 1.0)  # share of the frame that a crop of a training video covers
    max_skip: int | None = None  # frames that may be skipped between neighbours; None: the published curriculum
    close_up: bool = False  # crops cover a small part of the frame: objects must fill enough of them, and surroundings are shown
    amp: Literal["off", "fp16", "bf16"] = "fp16"
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values only."""
        return dataclasses.asdict(self)


STAGES: dict[str, TrainingConfig] = {
    config.stage: config
    for config in (
        TrainingConfig(stage="0", mix=(("static", 1.0),), batch_size=16, iterations=300_000, steps=(150_000,), max_objects=1),
        TrainingConfig(stage="3", mix=(("video", 1.0),), batch_size=8, iterations=150_000, steps=(125_000,)),
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


def build_optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam or AdamW (betas 0.9, 0.999) over all parameters."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)


def build_scheduler(optimizer: torch.optim.Optimizer, config: TrainingConfig) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning rate's factor by iteration: linear warm-up, then steps or a cosine to a hundredth."""

    def factor(iteration: int) -> float:
        warmup = min((iteration + 1) / config.warmup_iterations, 1.0) if config.warmup_iterations else 1.0
        if config.schedule == "steps":
            return warmup * config.gamma ** sum(iteration >= step for step in config.steps)
        progress = min(iteration / config.iterations, 1.0)
        return warmup * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def build_average(network: nn.Module, config: TrainingConfig) -> AveragedModel | None:
    """Exponential moving average of weights and batch-norm statistics, where the configuration asks for one."""
    if config.average_decay is None:
        return None
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.average_decay), use_buffers=True)


AUTOCAST_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
