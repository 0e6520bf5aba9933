"""PCVOS's ablation tables, as studies. Legend: L frames of a clip, F frames of a segment of progressive matching.

PMM progressive matching mechanism, PCT per-clip training, ICR intra-clip refinement. Source: PCVOS (Park et al., CVPR 2022), Tables 2, 7, 8, 9 and 10: what each compares;
which values it is compared at is ours where a flag does not say.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from inference.config import SYSTEMS
from inference.segmenter import WEIGHTS_FOLDER
from model import load_network
from util.errors import InputError

from .variants import LeftOut, Study, Variant, Weights

CLIP_LENGTHS = (5, 10, 15, 25)  # published
SEGMENT_FRAMES = (1, 3, 5, 10)
ROLES = {
    "stcn": "three-frame training, no refinement",
    "stcn_clip": "per-clip training, no refinement",
    "pcvos_traditional": "three-frame training, refinement",
    "pcvos": "per-clip training, refinement",
}
_PUBLISHED_SEGMENT = SYSTEMS["pcvos"].memory.segment_frames
_WINDOW_ROLE = re.compile(r"pcvos@(\d+)x(\d+)x(\d+)")  # frames, rows, columns
Window = tuple[int, int, int]
_ON_OFF = {True: "yes", False: "no"}


def weights_of(given: Iterable[str]) -> Weights:
    """The files given by ROLE=FILE: ROLES, and pcvos@2x5x5 for a network trained with other windows. What is shipped is the default. Raises InputError."""
    given = list(given)
    windows = [role for role in (text.partition("=")[0] for text in given) if _named_window(role)]
    shipped = {
        role: WEIGHTS_FOLDER / SYSTEMS[system].shipped_weights
        for role, system in {"stcn_clip": "stcn", "pcvos": "pcvos"}.items()
    }  # both trained per clip
    return Weights(given, [*ROLES, *dict.fromkeys(windows)], shipped)


def study(
    table: str,
    weights: Weights,
    clip_lengths: Sequence[int] | None = None,
    segment_frames: Sequence[int] | None = None,
) -> Study:
    """The table as a study. Raises InputError for a table that is not here, and for values that are none."""
    if table not in TABLES:
        raise InputError(f"--table {table}: no such table; there are {', '.join(TABLES)}")
    if any(value < 1 for value in (*(clip_lengths or ()), *(segment_frames or ()))):
        raise InputError("clip lengths and segments are numbers of frames, at least 1")
    return TABLES[table](weights, clip_lengths, segment_frames)


def _matching_mechanism(
    weights: Weights, clip_lengths: Sequence[int] | None, segment_frames: Sequence[int] | None
) -> Study:
    """Table 7."""
    segment = _only(segment_frames)
    variants, left_out = [], []
    for role, (trained_per_clip, refined) in {
        "stcn": (False, False),
        "stcn_clip": (True, False),
        "pcvos_traditional": (False, True),
        "pcvos": (True, True),
    }.items():
        if _absent(
            weights, role, left_out, _names(role, clip_lengths or CLIP_LENGTHS, (None, segment))
        ):
            continue
        for progressive in (False, True):
            switches = {"PMM": progressive, "PCT": trained_per_clip, "ICR": refined}
            line = " + ".join(name for name, on in switches.items() if on) or "none of the three"
            columns = {name: _ON_OFF[on] for name, on in switches.items()}
            variants += [
                _variant(weights, role, length, segment if progressive else None, line, columns)
                for length in clip_lengths or CLIP_LENGTHS
            ]
    note = f"Progressive matching begins after {segment} frames of a clip: at L = {segment} and below it changes nothing, and both rows show one run."
    return Study(
        name="pcvos-table-7",
        title="PCVOS, Table 7: PMM, PCT and ICR on and off",
        variants=variants,
        left_out=left_out,
        labels="L",
        notes=[note],
    )


def _training_schemes(
    weights: Weights, clip_lengths: Sequence[int] | None, segment_frames: Sequence[int] | None
) -> Study:
    """Table 2."""
    segment = _only(segment_frames)
    variants, left_out = [], []
    for refined, schemes in (
        (False, ("stcn", "stcn_clip")),
        (True, ("pcvos_traditional", "pcvos")),
    ):
        for role, scheme in zip(schemes, ("three frames", "per clip")):
            if _absent(
                weights, role, left_out, _names(role, clip_lengths or CLIP_LENGTHS, (segment,))
            ):
                continue
            columns = {"training": scheme, "refinement": _ON_OFF[refined]}
            line = f"{scheme}, {'refined' if refined else 'not refined'}"
            variants += [
                _variant(weights, role, length, segment, line, columns)
                for length in clip_lengths or CLIP_LENGTHS
            ]
    return Study(
        name="pcvos-table-2",
        title="PCVOS, Table 2: training schemes",
        variants=variants,
        left_out=left_out,
        labels="L",
    )


def _windows(table: str, axes: str, held: slice) -> Callable[..., Study]:
    """Table 8 (spatial windows) or 9 (temporal ones): the windows that there are weights for and that
    equal those of role pcvos in the axes `held`."""

    def windows(
        weights: Weights, clip_lengths: Sequence[int] | None, segment_frames: Sequence[int] | None
    ) -> Study:
        lengths, segment = clip_lengths or CLIP_LENGTHS, _only(segment_frames)
        found, refused = _trained_windows(weights)
        left_out = [
            LeftOut(role, reason, _names(role, lengths, (segment,)))
            for role, reason in refused.items()
        ]
        own = found.get("pcvos")
        chosen = {
            role: window
            for role, window in found.items()
            if own is None or window[held] == own[held]
        }
        if len(chosen) < 2:
            reason = "no weights of them; train a network with such windows and give --weights pcvos@TxHxW=FILE"
            left_out.append(
                LeftOut(f"other {axes} windows", reason, _names("pcvos@TxHxW", lengths, (segment,)))
            )
        variants = []
        for role, window in sorted(chosen.items(), key=lambda item: item[1]):
            text = "×".join(map(str, window))
            variants += [
                _variant(weights, role, length, segment, text, {"window": text})
                for length in lengths
            ]
        return Study(
            name=f"pcvos-table-{table}",
            title=f"PCVOS, Table {table}: {axes} windows of the refinement",
            variants=variants,
            left_out=left_out,
            labels="L",
        )

    return windows


def _segments(
    weights: Weights, clip_lengths: Sequence[int] | None, segment_frames: Sequence[int] | None
) -> Study:
    """Table 10."""
    variants, left_out = [], []
    lengths = clip_lengths or CLIP_LENGTHS[1:]
    segments = (None, *(segment_frames or SEGMENT_FRAMES))
    if not _absent(weights, "pcvos", left_out, _names("pcvos", lengths, segments)):
        for segment in segments:
            text = "none" if segment is None else str(segment)
            line = "no progressive matching" if segment is None else f"F = {segment}"
            variants += [
                _variant(weights, "pcvos", length, segment, line, {"F": text}) for length in lengths
            ]
    note = "Where F is not below L there is no second segment: the row shows the run without progressive matching."
    return Study(
        name="pcvos-table-10",
        title="PCVOS, Table 10: segment length F of progressive matching",
        variants=variants,
        left_out=left_out,
        labels="L",
        notes=[note],
    )


TABLES: Mapping[str, Callable[..., Study]] = {
    "7": _matching_mechanism,
    "2": _training_schemes,
    "8": _windows("8", "spatial", held=slice(0, 1)),
    "9": _windows("9", "temporal", held=slice(1, 3)),
    "10": _segments,
}


def _name(role: str, length: int, segment: int | None) -> str:
    return f"{role}-L{length}" + ("" if segment is None or segment >= length else f"-F{segment}")


def _names(role: str, lengths: Sequence[int], segments: Sequence[int | None]) -> tuple[str, ...]:
    return tuple(_name(role, length, segment) for length in lengths for segment in segments)


def _variant(
    weights: Weights,
    role: str,
    length: int,
    segment: int | None,
    line: str,
    columns: Mapping[str, str],
) -> Variant:
    """A segment as long as the clip, or longer, is none: the run is that of the clip without."""
    segment = None if segment is None or segment >= length else segment
    file = weights.file(role)
    return Variant(
        name=_name(role, length, segment),
        line=line,
        label=str(length),
        columns={**columns, "L": str(length)},
        weights=file,
        window=_named_window(role),
        system="pcvos",
        settings={
            "clip_length": length,
            "refine": role not in ("stcn", "stcn_clip"),
            "memory.segment_frames": segment,
        },
    )


def _absent(weights: Weights, role: str, left_out: list[LeftOut], names: tuple[str, ...]) -> bool:
    if weights.file(role) is not None:
        return False
    left_out.append(LeftOut(f"{role} ({ROLES[role]})", weights.missing(role), names))
    return True


def _only(segment_frames: Sequence[int] | None) -> int:
    if segment_frames is not None and len(segment_frames) > 1:
        raise InputError(
            f"--segment_frames {' '.join(map(str, segment_frames))}: several are compared by table 10 alone; give one"
        )
    return segment_frames[0] if segment_frames else _PUBLISHED_SEGMENT


def _trained_windows(weights: Weights) -> tuple[dict[str, Window], dict[str, str]]:
    """Role → window, of those whose weights are there and are what their role says; role → reason, of the others."""
    found, refused = {}, {}
    for role in weights.roles:
        file, window = weights.file(role), _named_window(role)
        if role != "pcvos" and window is None:
            continue
        if file is None:
            refused[role] = weights.missing(role)
            continue
        try:
            refiner = load_network(file, window=window).config.refiner
        except InputError as error:
            refused[role] = str(error)
            continue
        if refiner is None or refiner.window != (window or refiner.window):
            refused[role] = f"{file} is a network " + (
                "without refinement"
                if refiner is None
                else f"with windows of {'×'.join(map(str, refiner.window))}"
            )
            continue
        found[role] = refiner.window
    return found, refused


def _named_window(role: str) -> Window | None:
    """Of pcvos@2x5x5, (2, 5, 5)."""
    match = _WINDOW_ROLE.fullmatch(role)
    return tuple(map(int, match.groups())) if match else None
