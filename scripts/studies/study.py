"""A study as a command: its flags, its runs one after another, its report."""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from scripts.common.circumstances import circumstances
from util.device import select_device
from util.errors import EXIT_INPUT_ERROR, EXIT_OK, InputError
from util.process import exit_on_sigterm

from .data import StudyData
from .over_time import over_time
from .report import Findings, Row
from .runs import FailedRunError, Run, folder_of, run_variant
from .variants import LeftOut, Study, Variant


def add_study_flags(parser: argparse.ArgumentParser, output: str) -> None:
    """The flags that all studies share."""
    parser.add_argument(
        "root",
        type=Path,
        metavar="ROOT",
        help="a data set with the truth of every frame: like DAVIS, or JPEGImages/VIDEO with Annotations/VIDEO or Truth/VIDEO",
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        action="extend",
        default=[],
        metavar="ROLE=FILE",
        help="files of weights; a variant without its weights is left out",
    )
    goes_on = "tables and plots go here, results into OUT/runs; a study that was stopped goes on (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path(output), metavar="OUT", help=goes_on)
    parser.add_argument(
        "--rows",
        nargs="+",
        metavar="PATTERN",
        help="the variants of these names alone, such as 'pcvos-*'; --list shows them",
    )
    parser.add_argument(
        "--list", action="store_true", help="say which variants there are, and run nothing"
    )
    data = parser.add_argument_group("data, and quick tries")
    data.add_argument(
        "--split",
        choices=("val", "2016val"),
        help="of DAVIS; default: the one whose list is there, val before 2016val",
    )
    data.add_argument("--sequences", nargs="+", metavar="NAME", help="these alone")
    data.add_argument(
        "--max_frames", type=int, metavar="N", help="the first N frames of each video"
    )
    data.add_argument("--resolution", type=int, metavar="N", help="shorter side in pixels")
    how = parser.add_argument_group("how they run")
    how.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
    how.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="settings of all variants",
    )


def run_study(
    study: Study,
    flags: argparse.Namespace,
    *,
    times: Sequence[float] = (),
    frames: int | None = None,
    with_time: bool = False,
) -> int:
    """Run the study's variants, report, and return the exit code: 2 where a variant failed.

    times: play the videos so many times their length, one after another (default: once); frames: to that number of frames. with_time: also how accuracy, memory and
    time a frame develop. The report is written anew after each variant.
    """
    study = _chosen(study, flags.rows)
    if flags.list:
        for variant in {variant.name: variant for variant in study.variants}.values():
            print(f"{variant.name}: {shlex.join(variant.flags())}")
        for reason in study.left_out:
            print(f"left out: {reason}")
        return EXIT_OK
    if not study.variants:
        raise InputError(f"{study.name}: no variant can be run: {_joined(study.left_out)}")
    _refuse_file(flags.output)
    given, lengths = _data(flags, times, frames)
    where = circumstances(torch.get_num_threads(), select_device(flags.device))
    for reason in study.left_out:
        _note(f"left out: {reason}")
    runs = _Runs(study, flags, with_time)
    rows: list[Row] = []
    with exit_on_sigterm():
        for data in lengths:
            for variant in study.variants:
                row = runs.row(variant, data)
                rows += [] if row is None else [row]
                findings = Findings(
                    study=study,
                    data=given,
                    rows=rows,
                    left_out=[*map(str, study.left_out), *runs.failures],
                    where=where,
                )
                paths = findings.write(flags.output)
    print(findings.as_markdown())
    _note("written: " + ", ".join(map(str, paths)))
    return EXIT_INPUT_ERROR if runs.failures else EXIT_OK


class _Runs:
    """Runs each variant once on each data, however many rows show it."""

    def __init__(self, study: Study, flags: argparse.Namespace, with_time: bool):
        self.failures: list[str] = []
        self._flags, self._with_time = flags, with_time
        self._done: dict[Path, Run | None] = {}
        self._total = len({variant.name for variant in study.variants})

    def row(self, variant: Variant, data: StudyData) -> Row | None:
        """None where the run failed, which is said and kept among the failures."""
        folder = folder_of(self._flags.output, variant, data)
        if folder not in self._done:
            _note(f"{folder.name} ({len(self._done) % self._total + 1} of {self._total})")
            try:
                self._done[folder] = run_variant(variant, data, folder, self._common_flags())
            except FailedRunError as error:
                self._done[folder] = None
                self.failures.append(f"{folder.name}: failed: {error}")
                _note(f"left out: {self.failures[-1]}")
        run = self._done[folder]
        if run is None:
            return None
        return Row(
            variant=variant,
            data=data,
            run=run,
            over_time=over_time(folder, data) if self._with_time else None,
        )

    def _common_flags(self) -> list[str]:
        flags = ["--device", self._flags.device]
        if self._flags.resolution is not None:
            flags += ["--resolution", str(self._flags.resolution)]
        return flags + (["--set", *self._flags.set] if self._flags.set else [])


def _chosen(study: Study, patterns: Sequence[str] | None) -> Study:
    if patterns is None:
        return study
    for pattern in patterns:
        if not any(row.fits(pattern) for row in (*study.variants, *study.left_out)):
            names = ", ".join(dict.fromkeys(variant.name for variant in study.variants)) or "none"
            raise InputError(
                f"--rows {pattern}: fits no variant; there are {names}"
                + (f" (left out: {_joined(study.left_out)})" if study.left_out else "")
            )
    kept, left_out = (
        [row for row in rows if any(map(row.fits, patterns))]
        for rows in (study.variants, study.left_out)
    )
    return dataclasses.replace(study, variants=kept, left_out=left_out)


def _joined(left_out: Sequence[LeftOut]) -> str:
    return "; ".join(map(str, left_out))


def _refuse_file(output: Path) -> None:
    """Before anything is read or run."""
    there = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(
            f"--output {output}: {'a file' if there == output else f'{there} is a file'}; a folder is needed"
        )


def _data(
    flags: argparse.Namespace, times: Sequence[float], frames: int | None
) -> tuple[StudyData, list[StudyData]]:
    """The data asked for, and as it is played, in turn."""
    data = StudyData.of(flags.root, split=flags.split, sequences=flags.sequences)
    folder, cut = flags.output / "data", ""
    if flags.max_frames is not None:
        cut = f"first-{flags.max_frames}"
        data = data.cut(folder / cut, flags.max_frames)
        cut += "-"
    if frames is not None:
        return data, [data.lengthened(folder / f"{cut}to-{frames}", frames=frames)]
    return data, [
        data if count == 1 else data.lengthened(folder / f"{cut}x{count:g}", times=count)
        for count in times or (1,)
    ]


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
