"""Adaptive memory's ablations as studies: regularisers of the affinity, and capacities.

Source: adaptive memory management (Pourganjalikhan, MSc thesis, Concordia 2022): Tables 5 and 6,
which compare networks trained with affinity dropout and reallocation, and Figure 11, accuracy
against capacity.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from inference.config import SYSTEMS
from inference.segmenter import WEIGHTS_FOLDER
from model.training.affinity_regularisers import AffinityConfig
from scripts.studies.variants import Omission, Study, Variant, Weights

CAPACITIES = (1, 2, 4, 8)  # frames
_PUBLISHED_CAPACITY = 2
_PLAIN = "stcn"
# how the network of each role was trained
ROLES = {
    _PLAIN: AffinityConfig(),
    "dropout": AffinityConfig(dropout=0.5),
    "reallocate": AffinityConfig(reallocate=True),
    "dropout+reallocate": AffinityConfig(dropout=0.5, reallocate=True),
}
_UNBOUNDED: Mapping[str, Mapping[str, Any]] = {
    "every-k": {"memory": "every-k"},
    "first-and-latest": {"memory": "first-and-latest"},
}


def weights_of(given: Iterable[str]) -> Weights:
    """The weights of ROLE=FILE texts; by default the shipped network for role stcn.

    Raises InputError for other texts and unknown roles.
    """
    shipped = {_PLAIN: WEIGHTS_FOLDER / SYSTEMS[_PLAIN].shipped_weights}
    return Weights(given, ROLES, shipped)


def recipe(role: str) -> list[str]:
    """The flags of train.py that train the network of a role."""
    chosen, usual = dataclasses.asdict(ROLES[role]), dataclasses.asdict(AffinityConfig())
    changed = [
        f"affinity.{name}={str(value).lower()}"
        for name, value in chosen.items()
        if value != usual[name]
    ]
    return ["--stage", "3", *(["--set", *changed] if changed else [])]


def study(table: str, weights: Weights, capacities: Sequence[int] | None = None) -> Study:
    """A table as a study. table: one of TABLES. capacities: in frames, at least 1; None: the
    defaults of the table."""
    return TABLES[table](weights, capacities)


def _regularisers(weights: Weights, capacities: Sequence[int] | None) -> Study:
    """Tables 5 and 6: every role with each memory."""
    variants, left_out = [], []
    memories = {**_UNBOUNDED, **_bounded(capacities or (_PUBLISHED_CAPACITY,))}
    for role, trained in ROLES.items():
        if weights.find(role) is None:
            left_out.append(_omission(role, weights, memories))
            continue
        columns = {
            "dropout": f"{trained.dropout:g}" if trained.dropout else "no",
            "reallocation": "yes" if trained.reallocate else "no",
        }
        variants += [
            _variant(role, memory, settings, columns, weights)
            for memory, settings in memories.items()
        ]
    return Study(
        name="lfu-regularisers",
        title="LFU, Tables 5 and 6: regularisers of the affinity in training",
        variants=variants,
        left_out=left_out,
        labels="memory",
    )


def _capacity(weights: Weights, capacities: Sequence[int] | None) -> Study:
    """Figure 11: one network with LFU memories of several capacities."""
    memories = {**_UNBOUNDED, **_bounded(capacities or CAPACITIES)}
    if weights.find(_PLAIN) is None:
        variants, left_out = [], [_omission(_PLAIN, weights, memories)]
    else:
        rows = memories.items()
        variants = [_variant(_PLAIN, memory, settings, {}, weights) for memory, settings in rows]
        left_out = []
    return Study(
        name="lfu-capacity",
        title="LFU, Figure 11: accuracy against capacity",
        variants=variants,
        left_out=left_out,
        labels="memory",
    )


TABLES: Mapping[str, Callable[[Weights, Sequence[int] | None], Study]] = {
    "regularisers": _regularisers,
    "capacity": _capacity,
}


def _bounded(capacities: Sequence[int]) -> dict[str, dict[str, Any]]:
    return {
        f"lfu-{frames}": {"memory": "lfu", "memory_frames": frames}
        for frames in dict.fromkeys(capacities)
    }


def _variant(
    role: str,
    memory: str,
    settings: Mapping[str, Any],
    columns: Mapping[str, str],
    weights: Weights,
) -> Variant:
    return Variant(
        name=_run_name(role, memory),
        line=role,
        label=memory,
        columns={**columns, "memory": memory},
        weights=weights.find(role),
        settings=settings,
    )


def _omission(role: str, weights: Weights, memories: Iterable[str]) -> Omission:
    reason = weights.reason_missing(role)
    if not weights.is_given(role):
        reason += f" (train it with train.py {' '.join(recipe(role))} …)"
    return Omission(role, reason, tuple(_run_name(role, memory) for memory in memories))


def _run_name(role: str, memory: str) -> str:
    return f"{role}-{memory}"
