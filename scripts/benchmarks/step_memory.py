"""Peak memory of one training step of one process: measured on CUDA, computed elsewhere.

To compute it, one step of model.training.trainer.Trainer runs on fake tensors, which have sizes
and types but no content (torch's FakeTensorMode), while torch's MemTracker counts the storages
that exist. Gradients, activations kept for the backward pass, Adam's states, half-precision copies
of weights and temporary tensors all appear as torch creates them. Mixed precision is the CPU's,
which chooses the same types as CUDA's in these networks. Memory below torch's tensors is not
counted: cuDNN workspaces, fragmentation, the CUDA context.

MemTracker gives the same figures, byte for byte, as counting all storages that operations return.
It came after torch 2.4, the lowest version that this project supports, so computing needs
a newer one.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from model import VOSNetwork, build_network
from model.training.stages import TrainingConfig
from model.training.trainer import Trainer
from util.errors import InputError

CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepMemory:
    """In bytes. resting: between two steps (weights, their average, Adam's states). peak: the
    largest during a step."""

    resting: int
    peak: int


def computed_memory(
    config: TrainingConfig, *, fake: bool = True, several_processes: bool = False
) -> StepMemory:
    """The memory of one process in a step of `config`, whose batch is that process's share.

    fake: use fake tensors; otherwise real ones, to check the computation.
    several_processes: gradients are kept between steps, in buckets.
    Raises: InputError if this version of torch has no MemTracker.
    """
    tracker = _memory_tracker()
    tensors = FakeTensorMode() if fake else torch.random.fork_rng(devices=[])
    with tensors, tracker, _ItemsOfFakeTensors(config.max_objects):
        network = _replace_parameters(build_network(config.network))
        trainer = Trainer(network, config, CPU)
        _prepare(trainer, keep_gradients=several_processes or config.accumulate > 1)
        resting = _tracked_bytes(tracker, "current")
        kept = _step(trainer)
        del kept
    return StepMemory(resting=resting, peak=_tracked_bytes(tracker, "peak"))


def measured_memory(
    config: TrainingConfig, device: torch.device, *, several_processes: bool = False
) -> StepMemory:
    """The same, measured on a CUDA device."""
    before = torch.cuda.memory_allocated(device)
    trainer = Trainer(build_network(config.network), config, device)
    _prepare(trainer, keep_gradients=several_processes or config.accumulate > 1)
    torch.cuda.reset_peak_memory_stats(device)
    resting = torch.cuda.memory_allocated(device)
    _step(trainer)
    torch.cuda.synchronize(device)
    return StepMemory(
        resting=resting - before, peak=torch.cuda.max_memory_allocated(device) - before
    )


def _memory_tracker() -> Any:
    try:
        # Here, since it imports much of torch.distributed, and is missing in torch 2.4.
        from torch.distributed._tools.mem_tracker import MemTracker
    except ImportError as error:
        raise InputError(
            f"torch {torch.__version__} has no MemTracker, which computes the memory; "
            "use a newer torch, or measure it with --device cuda"
        ) from error
    return MemTracker()


def _tracked_bytes(tracker: Any, kind: str) -> int:
    snapshot: Mapping[torch.device, Mapping[str, int]] = tracker.get_tracker_snapshot(kind)
    return snapshot[CPU]["Total"]


class _ItemsOfFakeTensors(TorchDispatchMode):
    """Answers a fake tensor's `item()` by a fixed number. The training step asks for the largest
    number of objects only."""

    def __init__(self, value: int):
        super().__init__()
        self._value = value

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple = (), keywords: Any = None
    ) -> Any:
        asks_for_item = function is torch.ops.aten._local_scalar_dense.default
        if asks_for_item and isinstance(arguments[0], FakeTensor):
            return self._value
        return function(*arguments, **(keywords or {}))


def _replace_parameters(network: VOSNetwork) -> VOSNetwork:
    """Do in advance what Trainer does by `to` and by copying, since fake parameters can be neither
    replaced by `to` nor copied: make the network channels-last, and its copies new networks."""
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            value = parameter.detach()
            if value.dim() == 4:
                value = value.contiguous(memory_format=torch.channels_last)
            setattr(module, name, nn.Parameter(value))
    network.to = lambda *_, **__: network
    network.__deepcopy__ = lambda _: _replace_parameters(build_network(network.config))
    return network


def _prepare(trainer: Trainer, keep_gradients: bool) -> None:
    """Bring the trainer into the state after a first step: the optimiser has its states. The
    hardest pixels are then chosen from nearly all pixels, which takes the most memory."""
    for parameter in trainer.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=not keep_gradients)
    trainer.iteration = trainer.config.bootstrap.start_iteration + 1


def _step(trainer: Trainer) -> list[Tensor]:
    """Run the last part of a batch and the step after it.

    Returns: what a training loop still holds at the step: the logits of this part and of the
    parts before.
    """
    config, device = trainer.config, trainer.device
    part, side = config.batch_size // config.accumulate, config.crop_size
    size = (part, config.frames, 3, side, side)
    earlier = torch.empty(
        config.batch_size - part,
        config.frames - 1,
        config.max_objects + 1,
        side,
        side,
        device=device,
    )
    batch = {
        "frames": torch.zeros(size, dtype=torch.uint8, device=device),
        "labels": torch.zeros(part, config.frames, side, side, dtype=torch.uint8, device=device),
        # An array, since torch 2.4 makes no list of fake tensors.
        "num_objects": np.full(part, config.max_objects),
    }
    result = trainer.forward(batch)
    trainer.backward(result.loss)
    trainer.step()
    return [earlier, result.logits]
