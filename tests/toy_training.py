"""Trainers and rollouts of tiny networks, and batches for them, for tests.

Legend: B batch, T frames, H W image size.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model import Rollout, RolloutConfig, VOSNetwork
from model.network import freeze_batch_norms
from model.training.stages import TrainingConfig
from model.training.trainer import Trainer

CPU = torch.device("cpu")


def training_config(**changed: Any) -> TrainingConfig:
    """Frozen batch norms, no mixed precision, and what is `changed`."""
    settings = {
        "stage": "3",
        "network": "tiny",
        "mix": (),
        "batch_size": 4,
        "iterations": 10,
        "learning_rate": 1e-3,
        "amp": "off",
    }
    return TrainingConfig(**settings | changed)


def trainer_of(network: VOSNetwork, **changed: Any) -> Trainer:
    """A trainer of a copy of the network, with training_config(**changed)."""
    return Trainer(copy.deepcopy(network), training_config(**changed), CPU)


def toy_batch(frames: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Four samples of 1, 2, 3 and 1 objects, in blocks of 8 × 8 pixels.

    Returns: frames uint8 [4, T, 3, 32, 48], labels uint8 [4, T, 32, 48], num_objects [4].
    """
    random = np.random.default_rng(seed)
    counts = [1, 2, 3, 1]
    blocks = [random.integers(0, count + 1, (frames, 4, 6)) for count in counts]
    labels = np.stack([np.kron(block, np.ones((8, 8), int)) for block in blocks])
    images = random.integers(0, 256, (4, frames, 3, 32, 48))
    return {
        "frames": torch.from_numpy(images.astype(np.uint8)),
        "labels": torch.from_numpy(labels.astype(np.uint8)),
        "num_objects": torch.tensor(counts),
    }


def compute_gradients(trainer: Trainer, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The gradients of a batch by parameter, computed in as many parts as configured."""
    size = len(batch["frames"]) // trainer.config.accumulate
    for first in range(0, trainer.config.accumulate * size, size):
        part = {name: values[first : first + size] for name, values in batch.items()}
        trainer.backward(trainer.forward(part).loss)
    return {
        name: parameter.grad.detach().clone()
        for name, parameter in trainer.network.named_parameters()
    }


def take_steps(trainer: Trainer, batch: dict[str, Tensor], count: int) -> None:
    """Iterations with the same batch."""
    for _ in range(count):
        compute_gradients(trainer, batch)
        trainer.step()


def step_with_gradients(trainer: Trainer, seed: int | None = None) -> None:
    """A step with gradients of 1, or random ones that are the same in any memory format."""
    random = torch.Generator().manual_seed(seed or 0)
    for parameter in trainer.network.parameters():
        parameter.grad = torch.ones_like(parameter)
        if seed is not None:
            parameter.grad.copy_(torch.randn(parameter.shape, generator=random))
    trainer.step()


def rollout_of(network: VOSNetwork, **options: Any) -> Rollout:
    """A rollout of the network, with RolloutConfig(**options)."""
    return Rollout(network, RolloutConfig(**options))


def double_rollout(network: VOSNetwork, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Rollout:
    """A rollout that computes in double throughout, with frozen batch norms."""
    # what the code converts to single precision stays double
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    network = copy.deepcopy(network).double().train()
    freeze_batch_norms(network)
    return rollout_of(network, **options)


def rollout_gradients(
    rollout: Rollout, batch: Sequence[Tensor], samples: slice, iteration: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of some of the samples, and the gradients by parameter."""
    rollout.zero_grad()
    result = rollout(*(part[samples] for part in batch), iteration=iteration)
    result.loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in rollout.named_parameters()}
    return result.loss.detach(), gradients
