"""A study as a command: its flags, its runs one after another, its report."""

import argparse
import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from scripts.common.circumstances import circumstances
from scripts.common.output_folder import check_output_folder
from scripts.common.progress import print_progress
from scripts.studies.data import StudyData
from scripts.studies.over_time import over_time
from scripts.studies.playing import BACK_AND_FORTH
from scripts.studies.report import Report, Row
from scripts.studies.runs import FailedRunError, Run, run_folder, run_variant
from scripts.studies.variants import Omission, Study, Variant
from util.device import select_device
from util.errors import EXIT_INPUT_ERROR, EXIT_OK, InputError
from util.flags import add_settings_flag
from util.process import exit_on_sigterm


def add_study_flags(parser: argparse.ArgumentParser, output: str) -> None:
    """Add the flags that all studies share. output: the default of --output."""
    parser.add_argument(
        "root",
        type=Path,
        metavar="ROOT",
        help="a data set with the truth of every frame: laid out like DAVIS, or as "
        "JPEGImages/VIDEO with Annotations/VIDEO or Truth/VIDEO",
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        action="extend",
        default=[],
        metavar="ROLE=FILE",
        help="files of weights; variants without weights are left out",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(output),
        metavar="OUT",
        help="the folder of tables and plots; results go into OUT/runs, and an interrupted study "
        "resumes (default: %(default)s)",
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        metavar="PATTERN",
        help="only variants whose names match, such as 'pcvos-*'; --list shows the names",
    )
    parser.add_argument("--list", action="store_true", help="list the variants and run nothing")
    _add_data_flags(parser)
    runs = parser.add_argument_group("how they run")
    runs.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
    add_settings_flag(runs, "settings of all variants")


def _add_data_flags(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("data, and quick trials")
    data.add_argument(
        "--split",
        choices=("val", "2016val"),
        help="of DAVIS (default: val if its list exists, otherwise 2016val)",
    )
    data.add_argument("--sequences", nargs="+", metavar="NAME", help="only these videos")
    data.add_argument(
        "--max_frames", type=int, metavar="N", help="only the first N frames of each video"
    )
    data.add_argument("--resolution", type=int, metavar="N", help="shorter side in pixels")


def run_study(
    study: Study,
    flags: argparse.Namespace,
    *,
    times: Sequence[float] = (),
    frames: int | None = None,
    orders: Sequence[str] = (BACK_AND_FORTH,),
    with_time: bool = False,
) -> int:
    """Run the study's variants and report.

    times: play the videos at these multiples of their length, one after another (default: 1).
    frames: play them to this number of frames. orders: in which longer videos are played, see
    write_played; each is a row of its own. with_time: also measure how accuracy, memory and
    time per frame develop. The report is rewritten after each variant.

    Returns the exit code: 2 if a variant failed. Raises InputError if nothing can be run.
    """
    study = _select(study, flags.rows)
    if flags.list:
        _print_variants(study)
        return EXIT_OK
    if not study.variants:
        raise InputError(f"{study.name}: no variant can be run: {_join(study.left_out)}")
    check_output_folder(flags.output)
    data = _read_data(flags)
    lengths = _play(data, flags, times, frames, orders)
    measured = circumstances(torch.get_num_threads(), select_device(flags.device))
    for omission in study.left_out:
        print_progress(f"left out: {omission}")
    runner = _VariantRunner(study, flags, with_time)
    rows: list[Row] = []
    with exit_on_sigterm():
        for played in lengths:
            for variant in study.variants:
                row = runner.row(variant, played)
                rows += [] if row is None else [row]
                left_out = [*map(str, study.left_out), *runner.failures]
                report = Report(
                    study=study,
                    data=data,
                    rows=rows,
                    left_out=left_out,
                    circumstances=measured,
                )
                paths = report.write(flags.output)
    print(report.as_markdown())
    print_progress("written: " + ", ".join(map(str, paths)))
    return EXIT_INPUT_ERROR if runner.failures else EXIT_OK


class _VariantRunner:
    """Runs each variant once on each data, even if several rows show it."""

    def __init__(self, study: Study, flags: argparse.Namespace, with_time: bool):
        self.failures: list[str] = []
        self._flags, self._with_time = flags, with_time
        self._done: dict[Path, Run | None] = {}
        self._variant_count = len({variant.name for variant in study.variants})

    def row(self, variant: Variant, data: StudyData) -> Row | None:
        """The row of a variant; None if its run failed, which is reported and recorded."""
        folder = run_folder(self._flags.output, variant, data)
        if folder not in self._done:
            self._done[folder] = self._run(variant, data, folder)
        run = self._done[folder]
        if run is None:
            return None
        development = over_time(folder, data) if self._with_time else None
        return Row(variant=variant, data=data, run=run, over_time=development)

    def _run(self, variant: Variant, data: StudyData, folder: Path) -> Run | None:
        number = len(self._done) % self._variant_count + 1
        print_progress(f"{folder.name} ({number} of {self._variant_count})")
        try:
            return run_variant(variant, data, folder, self._common_flags())
        except FailedRunError as error:
            self.failures.append(f"{folder.name}: failed: {error}")
            print_progress(f"left out: {self.failures[-1]}")
            return None

    def _common_flags(self) -> list[str]:
        flags = ["--device", self._flags.device]
        if self._flags.resolution is not None:
            flags += ["--resolution", str(self._flags.resolution)]
        return flags + (["--set", *self._flags.set] if self._flags.set else [])


def _select(study: Study, patterns: Sequence[str] | None) -> Study:
    """The variants and omissions whose names match one of the patterns; None: all."""
    if patterns is None:
        return study
    for pattern in patterns:
        if not any(row.matches(pattern) for row in (*study.variants, *study.left_out)):
            names = ", ".join(dict.fromkeys(variant.name for variant in study.variants)) or "none"
            left_out = f" (left out: {_join(study.left_out)})" if study.left_out else ""
            raise InputError(f"--rows {pattern}: matches no variant; there are {names}{left_out}")
    return dataclasses.replace(
        study,
        variants=[row for row in study.variants if any(map(row.matches, patterns))],
        left_out=[row for row in study.left_out if any(map(row.matches, patterns))],
    )


def _print_variants(study: Study) -> None:
    for variant in {variant.name: variant for variant in study.variants}.values():
        print(f"{variant.name}: {shlex.join(variant.flags())}")
    for omission in study.left_out:
        print(f"left out: {omission}")


def _join(omissions: Sequence[Omission]) -> str:
    return "; ".join(map(str, omissions))


def _read_data(flags: argparse.Namespace) -> StudyData:
    """The requested videos, cut if requested."""
    data = StudyData.of(flags.root, split=flags.split, sequences=flags.sequences)
    if flags.max_frames is None:
        return data
    return data.cut(flags.output / "data" / f"first-{flags.max_frames}", flags.max_frames)


def _play(
    data: StudyData,
    flags: argparse.Namespace,
    times: Sequence[float],
    frames: int | None,
    orders: Sequence[str] = (BACK_AND_FORTH,),
) -> list[StudyData]:
    """The data at each length that it is played at, in each order."""
    prefix = "" if flags.max_frames is None else f"first-{flags.max_frames}-"

    def lengthened(length: str, order: str, **request: Any) -> StudyData:
        name = prefix + length + ("" if order == BACK_AND_FORTH else f"-{order}")
        return data.lengthened(flags.output / "data" / name, order=order, **request)

    if frames is not None:
        return [lengthened(f"to-{frames}", order, frames=frames) for order in orders]
    played = []
    for multiple in times or (1,):
        if multiple == 1:
            played.append(data)
        else:
            played += [lengthened(f"x{multiple:g}", order, times=multiple) for order in orders]
    return played
