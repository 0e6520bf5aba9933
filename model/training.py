"""How each stage trains: one table of values, and the optimiser, schedule and averaged weights made from it."""

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model.checkpoint import TrainingState
from model.losses import BootstrapConfig
from model.network import VOSNetwork, freeze_batch_norms
from model.rollout import Rollout, RolloutResult
from util.distributed import world_size
from util.errors import InputError


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
    bootstrap: BootstrapConfig = dataclasses.field(default_factory=BootstrapConfig)
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


AUTOCAST_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


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


def _plain(value: Any) -> Any:
    """As it comes back from a checkpoint: tuples are lists in some."""
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


class Learner:
    """A network being trained: the rollout (wrapped for several processes), optimiser, schedule, loss scaler and averaged weights, as `config` asks.

    One iteration is forward, backward, step. `state` and `restore` carry all of it through a checkpoint.
    """

    def __init__(self, network: VOSNetwork, config: TrainingConfig, device: torch.device):
        self.config, self.device = config, device
        self.network = network.to(device, memory_format=torch.channels_last)
        self.optimizer = build_optimizer(self.network, config)
        self.scheduler = build_scheduler(self.optimizer, config)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")
        self.average = build_average(self.network, config)
        rollout = Rollout(self.network, config.bootstrap).train()
        if not config.learn_batch_norms:
            freeze_batch_norms(rollout)
        devices = [device.index] if device.type == "cuda" else None
        self.rollout = DistributedDataParallel(rollout, device_ids=devices) if world_size() > 1 else rollout
        self.iteration = 0  # steps done

    def forward(self, batch: Mapping[str, Tensor]) -> RolloutResult:
        """The rollout of a batch; see Rollout.forward for its entries."""
        batch = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        dtype = AUTOCAST_DTYPES.get(self.config.amp)
        with torch.autocast(self.device.type, dtype) if dtype else contextlib.nullcontext():
            return self.rollout(**batch, iteration=self.iteration)

    def backward(self, loss: Tensor) -> None:
        """Gradients of the loss, averaged over processes, with their norm bounded where the configuration says so."""
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.config.clip_gradient_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_gradient_norm)

    def step(self) -> None:
        """Move the weights, their average and the schedule on."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.iteration += 1

    @property
    def final_network(self) -> VOSNetwork:
        """The weights to keep: their average where there is one."""
        return self.network if self.average is None else self.average.module

    def state(self, git_commit: str | None) -> TrainingState:
        """All that changes, for a checkpoint."""
        return TrainingState(
            network=self.network.state_dict(),
            average=None if self.average is None else self.average.state_dict(),
            optimizer=self.optimizer.state_dict(),
            scheduler=self.scheduler.state_dict(),
            scaler=self.scaler.state_dict(),
            iteration=self.iteration,
            torch_random_state=torch.get_rng_state(),
            network_config=self.network.config.as_dict(),
            training_config=self.config.as_dict(),
            git_commit=git_commit,
        )

    def restore(self, state: TrainingState) -> None:
        """Go on where a checkpoint stopped. Raises InputError where it is of another configuration: only the number of iterations and mixed precision may differ."""
        old = {**state.training_config, "network_config": state.network_config}
        new = {**self.config.as_dict(), "network_config": self.network.config.as_dict()}
        free = {"iterations", "amp", "network"}
        changed = [name for name in new if name not in free and _plain(old.get(name)) != _plain(new[name])]
        if changed:
            shown = ", ".join(f"{name} {old.get(name)} (now {new[name]})" for name in changed[:3])
            raise InputError(f"the checkpoint was made with {shown}; go on with the same settings, or start anew with --load_network")
        self.network.load_state_dict(state.network)
        if self.average is not None and state.average is not None:
            self.average.load_state_dict(state.average)
        self.optimizer.load_state_dict(state.optimizer)
        self.scheduler.load_state_dict(state.scheduler)
        if state.scaler:  # empty where training was not in fp16
            self.scaler.load_state_dict(state.scaler)
        torch.set_rng_state(state.torch_random_state)
        self.iteration = state.iteration
