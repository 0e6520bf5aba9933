"""Checks what a checkpoint holds before a trainer loads it.

A checkpoint is data from outside: a damaged or foreign one must be refused in one line, not load
half or crash in torch.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from util.errors import InputError
from util.text import short_repr


@contextlib.contextmanager
def reported_damage() -> Iterator[None]:
    """Turn the errors by which torch and our code reject a checkpoint's content into InputError."""
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
            f"the checkpoint is damaged inside ({first}); "
            "resume from an earlier one, or start a new run with --load_network"
        ) from error


def completed(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The given settings, with the defaults of missing ones, also within nested settings."""
    inner = {
        name: completed(given[name], value)
        for name, value in defaults.items()
        if isinstance(value, dict) and isinstance(given.get(name), dict)
    }
    return {**defaults, **given, **inner}


def is_same_setting(old: Any, new: Any) -> bool:
    """Whether two settings are equal; some checkpoints hold lists in place of tuples."""
    return _plain(old) == _plain(new)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def describe_change(old: Any, new: Any) -> str:
    """The first setting in which two configurations differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        name = next(name for name in new if not is_same_setting(old.get(name), new[name]))
        return f"{name} {describe_change(old.get(name), new[name])}"
    return f"{old:.200} (now {new})" if isinstance(old, str) else f"{old} (now {new})"


def optimizer_state(stored: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Our optimiser's state with the learning rates and moments that a checkpoint holds.

    Each moment gets its parameter's memory format: torch's fused step assumes that both have the
    same order of elements, and does not check it. Raises ValueError for moments that do not fit
    the parameters, since the fused step would read and write beyond their memory.
    """
    ours = optimizer.state_dict()
    groups = stored["param_groups"]
    own_sizes = [len(group["params"]) for group in ours["param_groups"]]
    if not isinstance(groups, list) or [len(group["params"]) for group in groups] != own_sizes:
        raise ValueError("the optimiser has other groups of parameters")
    if not isinstance(stored["state"], dict):
        raise ValueError("the optimiser has no state")
    for group, own in zip(groups, ours["param_groups"], strict=True):
        own["lr"] = number_in(group["lr"], "the learning rate")
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
    """Adam's number of steps and its two moments of one parameter."""
    if not isinstance(stored, dict) or set(stored) != {"step", "exp_avg", "exp_avg_sq"}:
        raise ValueError(f"the optimiser's state of parameter {number} is not Adam's")
    moments = {}
    for name in ("exp_avg", "exp_avg_sq"):
        value, where = stored[name], f"the optimiser's {name} of parameter {number}"
        if not _has_form_of(value, parameter):
            found = short_repr(value)
            if isinstance(value, Tensor):
                found = f"{list(value.shape)} of {value.dtype}"
            expected = f"{list(parameter.shape)} of {parameter.dtype}"
            raise ValueError(f"{where} is {found}, the parameter {expected}")
        if not value.isfinite().all() or (name == "exp_avg_sq" and (value < 0).any()):
            raise ValueError(f"{where} is not finite, or is a square below zero")
        moments[name] = torch.empty_like(
            parameter, requires_grad=False, memory_format=torch.preserve_format
        ).copy_(value)
    step = number_in(stored["step"], f"the optimiser's number of steps of parameter {number}")
    return {"step": torch.tensor(step, dtype=torch.float32), **moments}


def _has_form_of(value: Any, parameter: Tensor) -> bool:
    return (
        isinstance(value, Tensor)
        and value.shape == parameter.shape
        and value.is_floating_point()
        and not value.is_meta
        and value.layout == torch.strided
    )


def number_in(value: Any, what: str) -> float:
    """A finite number of at least 0, or a tensor that holds one. Raises ValueError otherwise."""
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta:
        value = value.item()
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise ValueError(f"{what} is {short_repr(value)}")
    return float(value)


def with_stored(own: dict[str, Any], stored: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Our values, except those of `names`, which are taken from the checkpoint.

    The others follow from the configuration, or differ between versions of torch. Raises
    ValueError if a stored value has another type than ours.
    """
    for name in names:
        if type(stored[name]) is not type(own[name]):
            raise ValueError(f"{name} is {short_repr(stored[name])}")
    return {**own, **{name: stored[name] for name in names}}
