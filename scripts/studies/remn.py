"""REMN's ablation, as a study: its modules on and off.

FRM foreground reinforcing, ASM adaptive sampling, RRM redundancy reduction. Source: REMN (Chen, Zhang, Yang, Wu, 2023), Table IV, which has five of the eight subsets.
"""

import itertools
from collections.abc import Iterable

from inference.config import SYSTEMS
from inference.segmenter import WEIGHTS_FOLDER

from .systems import refusal
from .variants import LeftOut, Study, Variant, Weights

SYSTEM = "remn"
_OFF = {
    "FRM": {"enhance": False},
    "ASM": {"memory.sampling": "every"},
    "RRM": {"memory.policy": "every-k"},
}  # on is what the system's row says
_SUBSETS = [
    subset for count in range(len(_OFF) + 1) for subset in itertools.combinations(_OFF, count)
]


def weights_of(given: Iterable[str]) -> Weights:
    """The files given by ROLE=FILE: remn for all rows; of a subset, such as FRM+ASM, those for its row alone, where each was trained by itself. Raises InputError."""
    return Weights(
        given,
        [SYSTEM, *map(_role, _SUBSETS)],
        {SYSTEM: WEIGHTS_FOLDER / SYSTEMS[SYSTEM].shipped_weights},
    )


def study(weights: Weights) -> Study:
    """Table IV, and the subsets it leaves out."""
    variants: list[Variant] = []
    left_out: list[LeftOut] = []
    for subset in _SUBSETS:
        role = _role(subset)
        name = f"{SYSTEM}-{role}"
        settings = {
            name: value
            for module, off in _OFF.items()
            if module not in subset
            for name, value in off.items()
        }
        file = weights.file(role) or (None if weights.given(role) else weights.file(SYSTEM))
        reason = (
            weights.missing(role if weights.given(role) else SYSTEM)
            if file is None
            else refusal(file, SYSTEM, settings)
        )
        if reason is not None:
            left_out.append(LeftOut(role, reason, (name,)))
            continue
        columns = {module: "yes" if module in subset else "no" for module in _OFF}
        variants.append(
            Variant(
                name=name,
                line=role,
                columns=columns,
                weights=file,
                system=SYSTEM,
                settings=settings,
            )
        )
    return Study(
        name="remn-table-4",
        title="REMN, Table IV: FRM, ASM and RRM on and off",
        variants=variants,
        left_out=left_out,
    )


def _role(subset: tuple[str, ...]) -> str:
    return "+".join(subset) or "none"
