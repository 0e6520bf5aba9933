"""A network being trained: what TrainingConfig says, done."""

import contextlib
import functools
import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model.checkpoint import TrainingState
from model.network import (
    PART_MODULES,
    VOSNetwork,
    batch_norm_statistics,
    freeze_batch_norms,
    named_parts,
)
from model.training.optimizer import Adam, AdamW
from model.training.rollout import Rollout, RolloutResult
from model.training.stages import TrainingConfig
from util.device import AMP_DTYPES, cuda_arithmetic
from util.distributed import average_over_processes, gather_objects, rank, world_size
from util.errors import InputError
from util.seeds import random_states, restore_random_states
from util.settings import check_plain_values
from util.text import short_repr

_MAY_CHANGE = {"iterations", "amp", "tf32", "compile", "checkpoint_activations", "backbone_weights"}
"""What may differ from the run a checkpoint comes from: how long it goes on, and how, not what, it computes."""


_BUFFERS_SENT = (
    next(  # at each forward: what DistributedDataParallel calls this since torch 2.14, and before
        name
        for name in ("forward_sync_buffers", "broadcast_buffers")
        if name in inspect.signature(DistributedDataParallel.__init__).parameters
    )
)


def build_optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam or AdamW (betas 0.9, 0.999) over all parameters, those of one learning rate moved by one kernel.
    Weight decay acts only where there is a gradient; see model.optimizer."""
    kind = {"adam": Adam, "adamw": AdamW}[config.optimizer]
    factors = {
        module: getattr(config.slot_rates, part)
        for part, modules in PART_MODULES.items()
        for module in modules
    }
    groups: dict[float, list[nn.Parameter]] = {1.0: []}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        groups.setdefault(factors.get(name.partition(".")[0], 1.0), []).append(parameter)
    parameters = [
        {"params": of_one_rate, "lr": factor * config.learning_rate}
        for factor, of_one_rate in groups.items()
    ]
    return kind(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def build_scheduler(
    optimizer: torch.optim.Optimizer, config: TrainingConfig
) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning rate's factor by iteration: linear warm-up, then steps or a cosine to a hundredth."""

    def factor(iteration: int) -> float:
        warmup = (
            min((iteration + 1) / config.warmup_iterations, 1.0)
            if config.warmup_iterations
            else 1.0
        )
        if config.schedule == "steps":
            return warmup * config.gamma ** sum(iteration >= step for step in config.steps)
        progress = min(iteration / config.iterations, 1.0)
        return warmup * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def build_average(network: nn.Module, config: TrainingConfig) -> AveragedModel | None:
    """Exponential moving average of weights and batch-norm statistics, where the configuration asks for one. What is no floating-point number, such as an index or a
    counter, has no average and is the network's own."""
    if config.average_decay is None:
        return None
    of_numbers = get_ema_multi_avg_fn(config.average_decay)

    def average(averaged: list[Tensor], current: list[Tensor], count: Any) -> None:
        if averaged[0].is_floating_point():  # they come by type
            of_numbers(averaged, current, count)
        else:
            torch._foreach_copy_(averaged, current)

    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)


def _plain(value: Any) -> Any:
    """As it comes back from a checkpoint: tuples are lists in some."""
    return (
        [_plain(item) for item in value]
        if isinstance(value, (list, tuple))
        else {k: _plain(v) for k, v in value.items()}
        if isinstance(value, dict)
        else value
    )


class Trainer:
    """The rollout of a network (wrapped for several processes), optimiser, schedule, loss scaler and averaged weights, as `config` asks.

    One iteration is `config.accumulate` times forward and backward, then one step. `state` and `restore` carry all of it through a checkpoint.
    Raises InputError for a configuration that contradicts itself.
    """

    def __init__(self, network: VOSNetwork, config: TrainingConfig, device: torch.device):
        if config.checkpoint_activations and config.learn_batch_norms:
            raise InputError(
                "--checkpoint_activations computes activations twice, which would count them twice in batch norms; give it up, or use --no-learn_batch_norms"
            )
        self.config, self.device = config, device
        self.network = network.to(device, memory_format=torch.channels_last)
        still, fixed_norms = (
            named_parts(network, config.frozen, "frozen"),
            named_parts(network, config.frozen_norms, "frozen_norms"),
        )
        for part in still:
            part.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in network.parameters()):
            raise InputError(
                f"frozen is {', '.join(config.frozen)}: nothing of network {network.config.name} is left to learn; leave a module out"
            )
        self.optimizer = build_optimizer(self.network, config)
        self.scheduler = build_scheduler(self.optimizer, config)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")
        self.average = build_average(self.network, config)
        rollout = Rollout(
            self.network,
            config.bootstrap,
            clip_frames=config.clip_frames,
            dice_weight=config.dice_weight,
            affinity=config.affinity,
            reduce_frames=config.reduce_frames,
            reduction_weight=config.reduction_weight,
            compiled=config.compile,
            checkpoint_activations=config.checkpoint_activations,
        ).train()
        for part in (*still, *fixed_norms) if config.learn_batch_norms else (rollout,):
            freeze_batch_norms(part)
        devices = [device.index] if device.type == "cuda" else None
        # buffers are not sent from the first process at each forward: frozen statistics are alike anyway (published: not sent), learning ones are averaged in each step
        wrap = functools.partial(
            DistributedDataParallel,
            device_ids=devices,
            gradient_as_bucket_view=True,
            **{_BUFFERS_SENT: False},
        )
        self.rollout = wrap(rollout) if world_size() > 1 else rollout
        self.iteration = 0  # steps done
        self._parts = 0  # of the present batch, whose gradients are there

    def forward(self, batch: Mapping[str, Tensor]) -> RolloutResult:
        """The rollout of a batch, or of one of its accumulated parts; see Rollout.forward for its entries."""
        frames, labels = (
            batch[name].to(self.device, non_blocking=True) for name in ("frames", "labels")
        )
        dtype = AMP_DTYPES.get(self.config.amp)
        more_to_come = self._parts + 1 < self.config.accumulate
        with (
            self._computing(),
            torch.autocast(self.device.type, dtype) if dtype else contextlib.nullcontext(),
            self.rollout.no_sync()
            if more_to_come and world_size() > 1
            else contextlib.nullcontext(),
        ):
            return self.rollout(
                frames, labels, batch["num_objects"].tolist(), iteration=self.iteration
            )

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one part's loss; after the last part they are the batch's, averaged over processes."""
        with self._computing():
            self.scaler.scale(loss / self.config.accumulate).backward()
        self._parts += 1

    def step(self) -> None:
        """Move the weights, their average and the schedule on. The gradients' norm is bounded first where the configuration says so.

        Statistics of batch norms that learn become the mean of all processes' (ours: published ones
        are frozen), so that every process validates and keeps the same network.
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

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        """The precision asked for; cuDNN times its algorithms, since crops are of one size.

        What torch.compile fails at becomes one line: its compiler is missing, or was ended by the
        signal that asks to stop.
        """
        try:
            with cuda_arithmetic(
                self.device, tf32=self.config.tf32, amp=self.config.amp != "off", benchmark=True
            ):
                yield
        except RuntimeError as error:
            if not self.config.compile or not isinstance(error, _compile_errors()):
                raise
            first = next(
                (line.strip() for line in str(error).splitlines() if line.strip()),
                type(error).__name__,
            )
            remedy = "on the CPU it needs a C++ compiler (CXX), on CUDA Triton; mend that, or train without --compile"
            raise InputError(
                f"--compile: torch.compile failed ({first[:200]}); {remedy}"
            ) from error

    @property
    def final_network(self) -> VOSNetwork:
        """The weights to keep: their average where there is one."""
        return self.network if self.average is None else self.average.module

    def state(
        self, record: Mapping[str, Any], files: dict[str, list[list[str]]] | None = None
    ) -> TrainingState:
        """All that changes, for a checkpoint, with what a run says of itself and of the files it draws from. Every process must ask, since each has random states of its own."""
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
        """Go on where a checkpoint stopped. Raises InputError where it is of another stage, network, number of processes or other settings that would
        change the result; the number of iterations and what only changes speed may differ."""
        check_plain_values(
            {
                "training_config": state.training_config,
                "network_config": state.network_config,
                "scheduler": state.scheduler,
                "scaler": state.scaler,
            }
        )
        with _damage_named():
            old = {
                **_completed(state.training_config, TrainingConfig.defaults()),
                "network_config": state.network_config,
                "processes": len(state.random_states),
            }
        new = {
            **self.config.as_dict(),
            "network_config": self.network.config.as_dict(),
            "processes": world_size(),
        }
        changed = [
            name
            for name in new
            if name not in _MAY_CHANGE and _plain(old.get(name)) != _plain(new[name])
        ]
        if changed:
            differences = ", ".join(
                f"{name} {_shown(old.get(name), new[name])}" for name in changed[:3]
            )
            raise InputError(
                f"the checkpoint was made with {differences}; go on with the same settings, or start anew with --load_network"
            )
        if type(state.iteration) is not int or not 0 <= state.iteration <= self.config.iterations:
            place = f"the checkpoint is of iteration {short_repr(state.iteration)}, the training ends at {self.config.iterations}"
            raise InputError(f"{place}: raise --iterations, or take an earlier checkpoint")
        with _damage_named():
            self._load(state)

    def _load(self, state: TrainingState) -> None:
        optimizer = _like_ours(state.optimizer, self.optimizer)
        schedule = _known(
            state.scheduler, self.scheduler.state_dict(), "last_epoch", "_step_count", "_last_lr"
        )
        if schedule["last_epoch"] != state.iteration:
            raise ValueError(
                f"the schedule is at iteration {schedule['last_epoch']}, the training at {state.iteration}"
            )
        self.network.load_state_dict(state.network)
        if self.average is not None:
            self.average.load_state_dict(state.average)
        self.optimizer.load_state_dict(optimizer)
        self.scheduler.load_state_dict(schedule)
        if state.scaler and self.scaler.is_enabled():  # empty where training was not in fp16
            _number(state.scaler["scale"], "the scale of gradients")
            self.scaler.load_state_dict(
                _known(state.scaler, self.scaler.state_dict(), "scale", "_growth_tracker")
            )
        restore_random_states(state.random_states[rank()])
        self.iteration = state.iteration


@contextlib.contextmanager
def _damage_named() -> Iterator[None]:
    """A checkpoint whose content is not what it should be is refused in one line, however the parts of torch say so."""
    try:
        yield
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"the checkpoint is damaged inside ({first}); go on with an earlier one, or start anew with --load_network"
        ) from error


def _like_ours(stored: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A stored state of Adam for `optimizer`: its learning rates and moments, all else as ours is configured.

    Each moment gets its parameter's memory format: torch's fused step takes both for arrays of the same order, and does not look. Raises ValueError for moments that do
    not fit the parameters, since the step would read and write beyond their memory.
    """
    ours = optimizer.state_dict()
    groups = stored["param_groups"]
    if not isinstance(groups, list) or [len(group["params"]) for group in groups] != [
        len(group["params"]) for group in ours["param_groups"]
    ]:
        raise ValueError("the optimiser's groups of parameters are others")
    if not isinstance(stored["state"], dict):
        raise ValueError("the optimiser's state is none")
    for group, own in zip(groups, ours["param_groups"], strict=True):
        own["lr"] = _number(group["lr"], "the learning rate")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    names = [name for group in groups for name in group["params"]]
    if (
        not all(type(name) is int for name in names)
        or len(set(names)) < len(names)
        or not set(stored["state"]) <= set(names)
    ):
        raise ValueError("the optimiser's parameters are not numbered")
    ours["state"] = {
        number: _moments(stored["state"][name], parameter, number)
        for number, (name, parameter) in enumerate(zip(names, parameters, strict=True))
        if name in stored["state"]
    }
    return ours


def _moments(stored: Mapping[str, Any], parameter: Tensor, number: int) -> dict[str, Tensor]:
    """Adam's count of steps and its two moments of one parameter."""
    if not isinstance(stored, dict) or set(stored) != {"step", "exp_avg", "exp_avg_sq"}:
        raise ValueError(f"the optimiser's state of parameter {number} is not Adam's")
    moments = {}
    for name in ("exp_avg", "exp_avg_sq"):
        value = stored[name]
        if (
            not isinstance(value, Tensor)
            or value.shape != parameter.shape
            or not value.is_floating_point()
            or value.is_meta
            or value.layout != torch.strided
        ):
            found = (
                f"{list(value.shape)} of {value.dtype}"
                if isinstance(value, Tensor)
                else short_repr(value)
            )
            raise ValueError(
                f"the optimiser's {name} of parameter {number} is {found}, the parameter {list(parameter.shape)} of {parameter.dtype}"
            )
        if not value.isfinite().all() or (name == "exp_avg_sq" and (value < 0).any()):
            raise ValueError(
                f"the optimiser's {name} of parameter {number} is not finite, or below zero where it is a square"
            )
        moments[name] = torch.empty_like(
            parameter, requires_grad=False, memory_format=torch.preserve_format
        ).copy_(value)
    step = _number(stored["step"], f"the optimiser's count of steps of parameter {number}")
    return {"step": torch.tensor(step, dtype=torch.float32), **moments}


def _number(value: Any, what: str) -> float:
    """A finite number of at least 0, also in a tensor of one."""
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta:
        value = value.item()
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise ValueError(f"{what} is {short_repr(value)}")
    return float(value)


def _known(stored: Mapping[str, Any], own: dict[str, Any], *names: str) -> dict[str, Any]:
    """Our values, with those of `names` as stored: the rest is as configured, or differs by the version of torch."""
    for name in names:
        if type(stored[name]) is not type(own[name]):
            raise ValueError(f"{name} is {short_repr(stored[name])}")
    return {**own, **{name: stored[name] for name in names}}


def _completed(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What is given, with the defaults of what is not, also within settings that have settings."""
    inner = {
        name: _completed(given[name], value)
        for name, value in defaults.items()
        if isinstance(value, dict) and isinstance(given.get(name), dict)
    }
    return {**defaults, **given, **inner}


def _compile_errors() -> type[Exception]:
    from torch._dynamo.exc import (
        TorchDynamoException,  # here, since it is slow to import; torch.compile has no public name for what it raises
    )

    return TorchDynamoException


def _shown(old: Any, new: Any) -> str:
    """Of two configurations, only where they differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        name = next(name for name in new if _plain(old.get(name)) != _plain(new[name]))
        return f"{name} {_shown(old.get(name), new[name])}"
    return f"{old:.200} (now {new})" if isinstance(old, str) else f"{old} (now {new})"
