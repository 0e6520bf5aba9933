"""PCVOS's ablation tables as studies.

Legend: L frames of a clip, F frames of a segment of progressive matching.
PMM progressive matching mechanism, PCT per-clip training, ICR intra-clip refinement.

Source: PCVOS (Park et al., CVPR 2022), Tables 2, 7, 8, 9 and 10. The papers determine what each
table compares; the values are ours if no flag gives them.
"""

import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence

from inference.config import SYSTEMS
from model import load_network
from scripts.studies.pcvos_roles import ROLES, SWITCHED_ROLES, window_of
from scripts.studies.variants import Omission, Study, Variant, Weights, Window
from util.errors import InputError

CLIP_LENGTHS = (5, 10, 15, 25)  # published
SEGMENT_FRAMES = (1, 3, 5, 10)
_PUBLISHED_SEGMENT = SYSTEMS["pcvos"].memory.segment_frames


def study(
    table: str,
    weights: Weights,
    clip_lengths: Sequence[int] | None = None,
    segment_frames: Sequence[int] | None = None,
) -> Study:
    """A table as a study.

    table: one of TABLES. clip_lengths, segment_frames: the values of L and F, at least 1; None:
    the defaults of the table. Raises InputError if the table compares fewer values than given.
    """
    return TABLES[table](_Request(weights, clip_lengths, segment_frames))


@dataclasses.dataclass(frozen=True)
class _Request:
    """What a table is made of: weights, and the values of L and F; None: the table's defaults."""

    weights: Weights
    clip_lengths: Sequence[int] | None
    segment_frames: Sequence[int] | None

    @property
    def lengths(self) -> Sequence[int]:
        return self.clip_lengths or CLIP_LENGTHS

    @property
    def segment(self) -> int:
        """The one F of tables that do not vary it."""
        values = self.segment_frames or (_PUBLISHED_SEGMENT,)
        if len(values) > 1:
            raise InputError(
                f"--segment_frames {' '.join(map(str, values))}: only table 10 compares several; "
                "give one"
            )
        return values[0]

    def omission(
        self, role: str, lengths: Sequence[int], segments: Sequence[int | None]
    ) -> Omission | None:
        """The rows of a role, if it has no weights."""
        if self.weights.find(role) is not None:
            return None
        reason = self.weights.reason_missing(role)
        if not self.weights.is_given(role):
            reason += f" (train it with train.py {shlex.join(ROLES[role].recipe())} …)"
        return Omission(f"{role} ({ROLES[role]})", reason, _run_names(role, lengths, segments))

    def variant(
        self, role: str, length: int, segment: int | None, line: str, columns: Mapping[str, str]
    ) -> Variant:
        """One row. A segment that is not shorter than the clip is the same as none."""
        segment = None if segment is None or segment >= length else segment
        return Variant(
            name=_run_name(role, length, segment),
            line=line,
            label=str(length),
            columns={**columns, "L": str(length)},
            weights=self.weights.find(role),
            window=window_of(role),
            system="pcvos",
            settings={
                "clip_length": length,
                "refine": ROLES[role].refined if role in ROLES else True,
                "memory.segment_frames": segment,
            },
        )


def _matching_mechanism(request: _Request) -> Study:
    """Table 7."""
    segment, variants, left_out = request.segment, [], []
    for role, trained in SWITCHED_ROLES.items():
        if omission := request.omission(role, request.lengths, (None, segment)):
            left_out.append(omission)
            continue
        for progressive in (False, True):
            switches = {
                "PMM": progressive,
                "PCT": trained.per_clip,
                "ICR": trained.refined,
            }
            line = " + ".join(name for name, on in switches.items() if on) or "none of the three"
            columns = {name: _yes_or_no(on) for name, on in switches.items()}
            used = segment if progressive else None
            variants += [
                request.variant(role, length, used, line, columns) for length in request.lengths
            ]
    note = (
        f"Progressive matching begins after {segment} frames of a clip. For L up to {segment} it "
        "changes nothing, and both rows show the same run."
    )
    return Study(
        name="pcvos-table-7",
        title="PCVOS, Table 7: PMM, PCT and ICR on and off",
        variants=variants,
        left_out=left_out,
        labels="L",
        notes=[note],
    )


def _training_schemes(request: _Request) -> Study:
    """Table 2."""
    segment, variants, left_out = request.segment, [], []
    for role, trained in ROLES.items():
        if omission := request.omission(role, request.lengths, (segment,)):
            left_out.append(omission)
            continue
        columns = {
            "training": trained.scheme,
            "Dice": _yes_or_no(trained.dice),
            "refinement": _yes_or_no(trained.refined),
        }
        variants += [
            request.variant(role, length, segment, str(trained), columns)
            for length in request.lengths
        ]
    return Study(
        name="pcvos-table-2",
        title="PCVOS, Table 2: training schemes",
        variants=variants,
        left_out=left_out,
        labels="L",
    )


def _spatial_windows(request: _Request) -> Study:
    """Table 8."""
    return _windows(request, "8", "spatial", slice(0, 1))


def _temporal_windows(request: _Request) -> Study:
    """Table 9."""
    return _windows(request, "9", "temporal", slice(1, 3))


def _windows(request: _Request, table: str, axes: str, fixed: slice) -> Study:
    """Compare the windows that there are weights of and that equal those of role pcvos in the
    `fixed` axes."""
    segment, trained = request.segment, _trained_windows(request.weights)
    left_out = [
        Omission(role, reason, _run_names(role, request.lengths, (segment,)))
        for role, reason in trained.refused.items()
    ]
    own = trained.windows.get("pcvos")
    chosen = {
        role: window
        for role, window in trained.windows.items()
        if own is None or window[fixed] == own[fixed]
    }
    if len(chosen) < 2:
        reason = (
            "no weights of them; train a network with such windows and give "
            "--weights pcvos@TxHxW=FILE"
        )
        names = _run_names("pcvos@TxHxW", request.lengths, (segment,))
        left_out.append(Omission(f"other {axes} windows", reason, names))
    variants = []
    for role, window in sorted(chosen.items(), key=lambda item: item[1]):
        text = _window_text(window)
        variants += [
            request.variant(role, length, segment, text, {"window": text})
            for length in request.lengths
        ]
    return Study(
        name=f"pcvos-table-{table}",
        title=f"PCVOS, Table {table}: {axes} windows of the refinement",
        variants=variants,
        left_out=left_out,
        labels="L",
    )


def _segments(request: _Request) -> Study:
    """Table 10."""
    lengths = request.clip_lengths or CLIP_LENGTHS[1:]
    segments = (None, *(request.segment_frames or SEGMENT_FRAMES))
    omission = request.omission("pcvos", lengths, segments)
    variants = []
    for segment in () if omission else segments:
        line = "no progressive matching" if segment is None else f"F = {segment}"
        columns = {"F": "none" if segment is None else str(segment)}
        variants += [request.variant("pcvos", length, segment, line, columns) for length in lengths]
    note = (
        "If F is not below L, there is no second segment: the row shows the run without "
        "progressive matching."
    )
    return Study(
        name="pcvos-table-10",
        title="PCVOS, Table 10: segment length F of progressive matching",
        variants=variants,
        left_out=[omission] if omission else [],
        labels="L",
        notes=[note],
    )


TABLES: Mapping[str, Callable[[_Request], Study]] = {
    "7": _matching_mechanism,
    "2": _training_schemes,
    "8": _spatial_windows,
    "9": _temporal_windows,
    "10": _segments,
}


def _run_name(role: str, length: int, segment: int | None) -> str:
    return f"{role}-L{length}" + ("" if segment is None or segment >= length else f"-F{segment}")


def _run_names(
    role: str, lengths: Sequence[int], segments: Sequence[int | None]
) -> tuple[str, ...]:
    return tuple(_run_name(role, length, segment) for length in lengths for segment in segments)


def _yes_or_no(on: bool) -> str:
    return "yes" if on else "no"


@dataclasses.dataclass(frozen=True)
class _TrainedWindows:
    """By role: the windows of the networks that match their role, and why others do not."""

    windows: Mapping[str, Window]
    refused: Mapping[str, str]


def _trained_windows(weights: Weights) -> _TrainedWindows:
    windows, refused = {}, {}
    for role in weights.roles:
        if role != "pcvos" and window_of(role) is None:
            continue
        try:
            windows[role] = _read_window(weights, role)
        except InputError as error:
            refused[role] = str(error)
    return _TrainedWindows(windows, refused)


def _read_window(weights: Weights, role: str) -> Window:
    """The window of a role's network. Raises InputError if it is not the one that the role says."""
    file, expected = weights.find(role), window_of(role)
    if file is None:
        raise InputError(weights.reason_missing(role))
    refiner = load_network(file, window=expected).config.refiner
    if refiner is None:
        raise InputError(f"{file} is a network without refinement")
    if expected and refiner.window != expected:
        raise InputError(f"{file} is a network with windows of {_window_text(refiner.window)}")
    return refiner.window


def _window_text(window: Window) -> str:
    return "×".join(map(str, window))
