"""STCN's tables 1, 2 and 7 as studies: memory, similarity, training data.

Legend: C^k key channels, T memory frames.

Source: STCN (Cheng, Tai, Tang, NeurIPS 2021).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from inference.config import SYSTEMS
from inference.segmenter import WEIGHTS_FOLDER
from model.checkpoint import read_network, recognise_preset
from model.config import Similarity
from scripts.studies.affinity_cost import affinity_cost
from scripts.studies.systems import reason_refused
from scripts.studies.variants import Omission, Study, Variant, Weights
from util.errors import InputError

_SYSTEM = "stcn"
SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)
KEY_CHANNELS = (64, 128)  # published
MEMORIES = {"every 5th frame": {}, "every 5th frame and the last": {"include_last": True}}
TRAININGS = {  # role → its stages
    "s0": "stage 0 (stills) alone",
    "s3": "stage 3 (videos) alone",
    "s03": "stage 0, then stage 3",
}
_SIMILARITY_ROLE = re.compile(rf"({'|'.join(SIMILARITIES)})-([1-9]\d{{0,3}})")


def weights_of(given: Iterable[str]) -> Weights:
    """The weights of ROLE=FILE texts; by default the shipped network for stcn, l2-64 and s03.

    The roles are stcn (table 1), those of TRAININGS (table 7), and SIMILARITY-CHANNELS such as
    dot-128 (table 2). Raises InputError for other texts and unknown roles.
    """
    given = list(given)
    named = [text.partition("=")[0] for text in given]
    roles = dict.fromkeys([_SYSTEM, *TRAININGS, *_published_roles()])
    roles |= dict.fromkeys(role for role in named if _SIMILARITY_ROLE.fullmatch(role))
    shipped = WEIGHTS_FOLDER / SYSTEMS[_SYSTEM].shipped_weights
    return Weights(given, roles, dict.fromkeys((_SYSTEM, "l2-64", "s03"), shipped))


def study(table: str, weights: Weights) -> Study:
    """A table as a study. table: one of TABLES."""
    return TABLES[table](weights)


def _memories(weights: Weights) -> Study:
    """Table 1."""
    rows = [
        _row(weights, _SYSTEM, {"memory": memory}, settings, name=f"every-5{suffix}")
        for (memory, settings), suffix in zip(MEMORIES.items(), ("", "-and-last"), strict=True)
    ]
    return _study("1", "the previous frame in memory", rows)


def _similarities(weights: Weights) -> Study:
    """Table 2."""
    note = (
        "FLOPs of the affinity of one frame with T = 10 memory frames of 480×854, and megabytes of "
        "the keys of both, in float32. The way of counting is that with which the published "
        "figures come out: G is 2^30 and MB 2^20 (scripts/studies/affinity_cost.py)."
    )
    roles = filter(_SIMILARITY_ROLE.fullmatch, weights.roles)
    return _study("2", "similarity and key channels", [_compared(weights, r) for r in roles], note)


def _trainings(weights: Weights) -> Study:
    """Table 7."""
    rows = [_row(weights, role, {"training": stages}) for role, stages in TRAININGS.items()]
    note = (
        "The shipped network, if it stands for both stages, was trained on stills, videos and "
        "synthetic clips at once."
    )
    notes = [note] if not weights.is_given("s03") else []
    return _study("7", "training data", rows, *notes)


TABLES: Mapping[str, Callable[[Weights], Study]] = {
    "1": _memories,
    "2": _similarities,
    "7": _trainings,
}


def _study(table: str, subject: str, rows: Iterable[Variant | Omission], *notes: str) -> Study:
    rows = list(rows)
    return Study(
        name=f"stcn-table-{table}",
        title=f"STCN, Table {table}: {subject}",
        variants=[row for row in rows if isinstance(row, Variant)],
        left_out=[row for row in rows if isinstance(row, Omission)],
        notes=notes,
    )


def _row(
    weights: Weights,
    role: str,
    columns: Mapping[str, str],
    settings: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    similarity: Similarity | None = None,
) -> Variant | Omission:
    """The row of a role; an omission if it has no weights, or others than it says.

    name: of the variant, after the system's; None: the role.
    """
    name = f"{_SYSTEM}-{name or role}"
    settings, text = settings or {}, ", ".join(columns.values())
    try:
        file = _file_of(weights, role)
    except InputError as error:
        return Omission(text, str(error), (name,))
    return Variant(
        name=name,
        line=text,
        columns=columns,
        weights=file,
        similarity=similarity,
        system=_SYSTEM,
        settings=settings,
    )


def _file_of(weights: Weights, role: str) -> Path:
    """The file of a role. Raises InputError if there is none, or if it holds something else."""
    file = weights.find(role)
    if file is None:
        raise InputError(weights.reason_missing(role))
    if reason := reason_refused(file, _SYSTEM, {}):
        raise InputError(reason)
    if match := _SIMILARITY_ROLE.fullmatch(role):
        _check_matching(file, match[1], int(match[2]))
    return file


def _compared(weights: Weights, role: str) -> Variant | Omission:
    """A row of table 2, with what its affinity costs, which needs no weights."""
    similarity, channels = _SIMILARITY_ROLE.fullmatch(role).groups()
    cost = affinity_cost(similarity, int(channels))
    columns = {
        "similarity": similarity,
        "C^k": channels,
        "FLOPs, G": f"{cost.gigaflops:.2f}",
        "keys, MB": f"{cost.megabytes:.2f}",
    }
    row = _row(weights, role, columns, similarity=similarity)
    if isinstance(row, Omission):
        subject = "{} with {} key channels ({} GFLOPs, {} MB)".format(*columns.values())
        return Omission(subject, row.reason, row.names)
    return row


def _check_matching(file: Path, similarity: str, channels: int) -> None:
    """Raise InputError if a file states another similarity, or holds other key channels."""
    stored = read_network(file)
    config = stored.config or recognise_preset(stored.state, file)
    if stored.config is not None and config.similarity != similarity:
        raise InputError(f"{file}: was trained with similarity {config.similarity}")
    if config.key_channels != channels:
        raise InputError(f"{file}: is a network of {config.key_channels} key channels")


def _published_roles() -> list[str]:
    return [f"{kind}-{count}" for kind in SIMILARITIES for count in KEY_CHANNELS]
