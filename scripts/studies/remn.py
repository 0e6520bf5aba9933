"""REMN's ablation as a study: its modules on and off.

FRM foreground reinforcing module, ASM adaptive sampling, RRM redundancy reduction.
Source: REMN (Chen, Zhang, Yang, Wu, 2023), Table IV, which has five of the eight subsets.
"""

import itertools
from collections.abc import Iterable

from inference.config import SYSTEMS
from inference.segmenter import WEIGHTS_FOLDER
from scripts.studies.systems import reason_refused
from scripts.studies.variants import Omission, Study, Variant, Weights

_SYSTEM = "remn"
# the settings that turn each module off; the system's row turns it on
_OFF = {
    "FRM": {"enhance": False},
    "ASM": {"memory.sampling": "every"},
    "RRM": {"memory.policy": "every-k"},
}
_SUBSETS = [
    subset for count in range(len(_OFF) + 1) for subset in itertools.combinations(_OFF, count)
]


def weights_of(given: Iterable[str]) -> Weights:
    """The weights of ROLE=FILE texts; by default the shipped network for role remn.

    remn is the role of all rows; that of a subset, such as FRM+ASM, is of its row alone, for
    modules that were trained separately. Raises InputError for other texts and unknown roles.
    """
    shipped = {_SYSTEM: WEIGHTS_FOLDER / SYSTEMS[_SYSTEM].shipped_weights}
    return Weights(given, [_SYSTEM, *map(_role, _SUBSETS)], shipped)


def study(weights: Weights) -> Study:
    """Table IV, with the subsets that it leaves out."""
    variants: list[Variant] = []
    left_out: list[Omission] = []
    for subset in _SUBSETS:
        row = _row(subset, weights)
        (variants if isinstance(row, Variant) else left_out).append(row)
    return Study(
        name="remn-table-4",
        title="REMN, Table IV: FRM, ASM and RRM on and off",
        variants=variants,
        left_out=left_out,
    )


def _row(subset: tuple[str, ...], weights: Weights) -> Variant | Omission:
    """The row of the modules that are on."""
    line = _role(subset)
    name = f"{_SYSTEM}-{line}"
    role = line if weights.is_given(line) else _SYSTEM
    off = [changes for module, changes in _OFF.items() if module not in subset]
    settings = {name: value for changes in off for name, value in changes.items()}
    file = weights.find(role)
    reason = (
        weights.reason_missing(role) if file is None else reason_refused(file, _SYSTEM, settings)
    )
    if reason is not None:
        return Omission(line, reason, (name,))
    return Variant(
        name=name,
        line=line,
        columns={module: "yes" if module in subset else "no" for module in _OFF},
        weights=file,
        system=_SYSTEM,
        settings=settings,
    )


def _role(subset: tuple[str, ...]) -> str:
    return "+".join(subset) or "none"
