"""A network in training: carries out what a TrainingConfig says."""

import contextlib
import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.network import VOSNetwork, batch_norm_statistics, freeze_batch_norms, named_parts
from model.training.checkpoints import TrainingState
from model.training.optimizer import build_average, build_optimizer, build_scheduler
from model.training.restoring import (
    completed,
    describe_change,
    is_same_setting,
    number_in,
    optimizer_state,
    reported_damage,
    with_stored,
)
from model.training.rollout import Rollout, RolloutConfig, RolloutResult
from model.training.stages import TrainingConfig
from util.device import AMP_DTYPES, cuda_arithmetic
from util.distributed import average_over_processes, gather_objects, rank, world_size
from util.errors import InputError
from util.seeds import random_states, restore_random_states
from util.settings import check_plain_values, select_fields
from util.text import short_repr

_MAY_CHANGE = {"iterations", "amp", "tf32", "compile", "checkpoint_activations", "backbone_weights"}
"""Fields that may change on resume: run length, precision and speed options, and the initial
weights, which a resumed training no longer reads."""

# DistributedDataParallel's flag for sending buffers at each forward, by its name since torch 2.14
# or the one before
_BUFFERS_SENT = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel.__init__).parameters
)


class Trainer:
    """A network's rollout, optimiser, schedule, loss scaler and averaged weights.

    One iteration is forward() and backward() for each accumulated part, then step(). For several
    processes, the rollout is wrapped in DistributedDataParallel.
    """

    def __init__(self, network: VOSNetwork, config: TrainingConfig, device: torch.device):
        """Moves the network to the device; `config` is trusted (TrainingConfig.check).

        Raises InputError if the network's parts cannot be trained with these settings.
        """
        if config.learn_batch_norms and config.checkpoint_activations:
            raise InputError(
                "--checkpoint_activations computes activations again, which would count them "
                "twice in batch norms; leave it out, or use --no-learn_batch_norms"
            )
        self.config, self.device = config, device
        self.network = network.to(device, memory_format=torch.channels_last)
        frozen = named_parts(network, config.frozen, "frozen")
        fixed_norms = named_parts(network, config.frozen_norms, "frozen_norms")
        for part in frozen:
            part.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in network.parameters()):
            raise InputError(
                f"frozen is {', '.join(config.frozen)}: no part of network {network.config.name} "
                "is left to train; leave a module out"
            )
        self.optimizer = build_optimizer(self.network, config)
        self.scheduler = build_scheduler(self.optimizer, config)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")
        self.average = build_average(self.network, config)
        rollout = Rollout(self.network, select_fields(RolloutConfig, config)).train()
        for part in (*frozen, *fixed_norms) if config.learn_batch_norms else (rollout,):
            freeze_batch_norms(part)
        self.rollout = _distributed(rollout, device) if world_size() > 1 else rollout
        self.iteration = 0  # steps done
        self._parts = 0  # of the current batch, whose gradients have been added

    def forward(self, batch: Mapping[str, Tensor]) -> RolloutResult:
        """The rollout of a batch, or of one of its accumulated parts.

        batch: `frames`, `labels` and `num_objects`, as in Rollout.forward.
        """
        frames, labels = (
            batch[name].to(self.device, non_blocking=True) for name in ("frames", "labels")
        )
        dtype = AMP_DTYPES.get(self.config.amp)
        is_last_part = self._parts + 1 >= self.config.accumulate
        with (
            self._computing(),
            torch.autocast(self.device.type, dtype) if dtype else contextlib.nullcontext(),
            contextlib.nullcontext() if is_last_part or world_size() == 1 else self._no_sync(),
        ):
            return self.rollout(
                frames, labels, batch["num_objects"].tolist(), iteration=self.iteration
            )

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one part's loss.

        After the last part they are those of the batch, averaged over processes.
        """
        with self._computing():
            self.scaler.scale(loss / self.config.accumulate).backward()
        self._parts += 1

    def step(self) -> None:
        """Update the weights, their average and the learning rate.

        The gradients' norm is clipped first if configured. Statistics of batch norms that are
        trained become the mean over all processes (ours: published ones are frozen), so that
        every process validates and keeps the same network.
        """
        self.scaler.unscale_(self.optimizer)
        if self.config.clip_gradient_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_gradient_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        if self.config.learn_batch_norms:
            average_over_processes(batch_norm_statistics(self.network))
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.iteration += 1
        self._parts = 0

    def _no_sync(self) -> contextlib.AbstractContextManager[None]:
        """Keep gradients in this process; the last part of a batch exchanges their sum."""
        return self.rollout.no_sync()

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        """Set the configured precision; cuDNN times its algorithms, since crops have one size.

        A failure of torch.compile becomes an InputError: its compiler is missing, or was ended by
        a signal that stops the training.
        """
        try:
            with cuda_arithmetic(
                self.device, tf32=self.config.tf32, amp=self.config.amp != "off", benchmark=True
            ):
                yield
        except RuntimeError as error:
            if not self.config.compile or not isinstance(error, _compile_errors()):
                raise
            lines = (line.strip() for line in str(error).splitlines())
            first = next((line for line in lines if line), type(error).__name__)
            raise InputError(
                f"--compile: torch.compile failed ({first[:200]}); on the CPU it needs a C++ "
                "compiler (CXX), on CUDA Triton; install it, or train without --compile"
            ) from error

    @property
    def final_network(self) -> VOSNetwork:
        """The network to keep: the averaged weights if there are any."""
        return self.network if self.average is None else self.average.module

    def state(
        self, record: Mapping[str, Any], files: dict[str, list[list[str]]] | None = None
    ) -> TrainingState:
        """Everything needed to resume, for a checkpoint.

        Every process must call this, since each has random states of its own. record: what the
        run says about itself. files: what the training data are drawn from, by kind of samples.
        """
        return TrainingState(
            network=self.network.state_dict(),
            average=None if self.average is None else self.average.state_dict(),
            optimizer=self.optimizer.state_dict(),
            scheduler=self.scheduler.state_dict(),
            scaler=self.scaler.state_dict(),
            iteration=self.iteration,
            random_states=gather_objects(random_states()),
            network_config=self.network.config.as_dict(),
            training_config=self.config.as_dict(),
            record=dict(record),
            files=files,
        )

    def restore(self, state: TrainingState) -> None:
        """Resume from a checkpoint.

        Raises InputError if the checkpoint is damaged, or comes from another stage, network,
        number of processes or other settings that would change the result. The number of
        iterations and settings that only change speed may differ.
        """
        check_plain_values(
            {
                "training_config": state.training_config,
                "network_config": state.network_config,
                "scheduler": state.scheduler,
                "scaler": state.scaler,
            }
        )
        self._check_settings(state)
        end = self.config.iterations
        if type(state.iteration) is not int or not 0 <= state.iteration <= end:
            raise InputError(
                f"the checkpoint is of iteration {short_repr(state.iteration)}, the training ends "
                f"at {end}: raise --iterations, or take an earlier checkpoint"
            )
        with reported_damage():
            self._load(state)

    def _check_settings(self, state: TrainingState) -> None:
        with reported_damage():
            old = {
                **completed(state.training_config, TrainingConfig.defaults()),
                "network_config": state.network_config,
                "processes": len(state.random_states),
            }
        new = {
            **self.config.as_dict(),
            "network_config": self.network.config.as_dict(),
            "processes": world_size(),
        }
        changed = [
            f"{name} {describe_change(old.get(name), new[name])}"
            for name in new
            if name not in _MAY_CHANGE and not is_same_setting(old.get(name), new[name])
        ]
        if changed:
            raise InputError(
                f"the checkpoint was made with {', '.join(changed[:3])}; resume with the same "
                "settings, or start a new run with --load_network"
            )

    def _load(self, state: TrainingState) -> None:
        optimizer = optimizer_state(state.optimizer, self.optimizer)
        schedule = with_stored(
            self.scheduler.state_dict(), state.scheduler, "last_epoch", "_step_count", "_last_lr"
        )
        if schedule["last_epoch"] != state.iteration:
            raise ValueError(
                f"the schedule is at iteration {schedule['last_epoch']}, "
                f"the training at {state.iteration}"
            )
        self.network.load_state_dict(state.network)
        if self.average is not None:
            self.average.load_state_dict(state.average)
        self.optimizer.load_state_dict(optimizer)
        self.scheduler.load_state_dict(schedule)
        if state.scaler and self.scaler.is_enabled():  # empty unless it was trained in fp16
            number_in(state.scaler["scale"], "the scale of gradients")
            self.scaler.load_state_dict(
                with_stored(self.scaler.state_dict(), state.scaler, "scale", "_growth_tracker")
            )
        restore_random_states(state.random_states[rank()])
        self.iteration = state.iteration


def _distributed(rollout: Rollout, device: torch.device) -> DistributedDataParallel:
    """The rollout for several processes.

    The first process does not send its buffers at each forward: frozen statistics are the same in
    all processes (published: not sent), and trained ones are averaged in each step.
    """
    return DistributedDataParallel(
        rollout,
        device_ids=[device.index] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        **{_BUFFERS_SENT: False},
    )


@functools.cache
def _compile_errors() -> type[Exception]:
    # imported here because it is slow; torch.compile has no public name for what it raises
    from torch._dynamo.exc import TorchDynamoException

    return TorchDynamoException
