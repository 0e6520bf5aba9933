"""The optimiser, the learning-rate schedule and the averaged weights of a training.

Adam and AdamW here apply weight decay only to elements that have a gradient.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model.network import PART_MODULES
from model.training.stages import TrainingConfig


class _DecayWithGradient:
    """Applies weight decay to the elements whose gradient is not exactly zero, before torch's step.

    Weight decay should not move what has no part in a batch: the value encoder's channel of the
    other objects if samples have one object, or a reduction of the memory that was not chosen.
    Adam adds the decay to the gradient and divides the sum by its own size, so that decay alone
    would move a weight by the whole learning rate in each step, however small it is.

    Nothing waits for the device. In half precision, GradScaler.unscale_ must be called first.
    """

    decoupled = False  # from the gradient, as in AdamW

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        decays = [group["weight_decay"] for group in self.param_groups]
        try:
            for group in self.param_groups:
                self._decay(group)
                group["weight_decay"] = 0.0  # torch would decay every element
            return super().step(closure)
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay

    def _decay(self, group: dict[str, Any]) -> None:
        learned = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not learned or not group["weight_decay"]:
            return
        gradients = [parameter.grad for parameter in learned]
        used = [torch.ne(gradient, 0, out=torch.empty_like(gradient)) for gradient in gradients]
        if not self.decoupled:
            torch._foreach_addcmul_(gradients, learned, used, value=group["weight_decay"])
            return
        overflown = getattr(self, "found_inf", None)  # from GradScaler: this step is skipped
        if overflown is not None:
            torch._foreach_mul_(used, 1 - overflown.reshape(()))
        torch._foreach_addcmul_(learned, learned, used, value=-group["lr"] * group["weight_decay"])


class Adam(_DecayWithGradient, torch.optim.Adam):
    """torch.optim.Adam, fused; the decay is added to the gradient."""


class AdamW(_DecayWithGradient, torch.optim.AdamW):
    """torch.optim.AdamW, fused; the decay is separate from the gradient."""

    decoupled = True


def build_optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam or AdamW (betas 0.9, 0.999) over all parameters that are trained.

    Parameters with the same learning rate form a group, which one kernel updates.
    """
    kind = {"adam": Adam, "adamw": AdamW}[config.optimizer]
    factors = {
        module: getattr(config.slot_rates, part)
        for part, modules in PART_MODULES.items()
        for module in modules
    }
    groups: dict[float, list[nn.Parameter]] = {1.0: []}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(factors.get(name.partition(".")[0], 1.0), []).append(parameter)
    parameters = [
        {"params": of_one_rate, "lr": factor * config.learning_rate}
        for factor, of_one_rate in groups.items()
    ]
    return kind(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def build_scheduler(optimizer: torch.optim.Optimizer, config: TrainingConfig) -> LambdaLR:
    """Linear warm-up of the learning rate, then steps, or a cosine to a hundredth."""

    def factor(iteration: int) -> float:
        warmup = 1.0
        if config.warmup_iterations:
            warmup = min((iteration + 1) / config.warmup_iterations, 1.0)
        if config.schedule == "steps":
            return warmup * config.gamma ** sum(iteration >= step for step in config.steps)
        progress = min(iteration / config.iterations, 1.0)
        return warmup * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

    return LambdaLR(optimizer, factor)


def build_average(network: nn.Module, config: TrainingConfig) -> AveragedModel | None:
    """Exponential moving average of weights and batch-norm statistics; None if not configured.

    Tensors that are not floating-point, such as indices and counters, are copied instead.
    """
    if config.average_decay is None:
        return None
    average_numbers = get_ema_multi_avg_fn(config.average_decay)

    def average(averaged: list[Tensor], current: list[Tensor], count: Any) -> None:
        if averaged[0].is_floating_point():  # torch passes tensors grouped by type
            average_numbers(averaged, current, count)
        else:
            torch._foreach_copy_(averaged, current)

    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)
