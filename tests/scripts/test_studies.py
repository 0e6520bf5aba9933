"""Studies: which variants a table has, that a run's numbers are the eval script's, that a stopped study goes on, and what is said of it."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT
from toy_trees import file_names, write_davis, write_generic, write_tiny_weights

from dataset import Layout
from inference.config import SYSTEMS, system_config
from inference.memory import POLICIES
from inference.output.trace import FrameTrace
from model import build_network, load_network, save_weights
from model.config import preset, with_window
from scripts import ablate, benchmark
from scripts.studies import over_time, pcvos, remn, runs, systems
from scripts.studies import study as study_module
from scripts.studies.data import StudyData
from scripts.studies.report import Findings, Row
from scripts.studies.runs import Run, folder_of
from scripts.studies.study import add_study_flags, run_study
from scripts.studies.variants import LeftOut, Study, Variant
from util.errors import InputError


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    return write_davis(tmp_path_factory.mktemp("davis") / "made-up", {"bear": 7, "dog": 9})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.fixture(scope="module")
def refined(tmp_path_factory):
    return write_tiny_weights(
        tmp_path_factory.mktemp("weights") / "tiny_pcvos.pth", network="tiny_pcvos"
    )


def study_flags(*arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_study_flags(parser, "results")
    return parser.parse_args([str(argument) for argument in arguments])


def made_up_run(fps: float = 5.0, j: float = 0.7, **changes) -> Run:
    values = {
        "folder": Path("out"),
        "device": "cpu",
        "j_and_f": j + 0.02,
        "j": j,
        "f": j + 0.04,
        "frames": 100,
        "seconds": 100 / fps,
        "peak_memory_mb": 812.3,
    }
    return Run(
        **{
            **values,
            "frames_memorised": 20,
            "memory_elements": 3240,
            "memory_mb": 2.5,
            "untimed": (),
            **changes,
        }
    )


# which variants there are


def test_table_7_has_every_combination_there_are_weights_for_and_says_which_are_missing(
    tiny, refined
):
    study = pcvos.study(
        "7", pcvos.weights_of([f"stcn={tiny}", f"pcvos={refined}", "stcn_clip=gone.pth"])
    )
    rows = [tuple(variant.columns.values()) for variant in study.variants]
    assert rows == [
        (pmm, pct, icr, length)
        for pct, icr in (("no", "no"), ("yes", "yes"))
        for pmm in ("no", "yes")
        for length in ("5", "10", "15", "25")
    ]
    assert any("gone.pth: no such file" in reason for reason in map(str, study.left_out))
    assert any(
        "pcvos_traditional" in reason and "--weights pcvos_traditional=FILE" in reason
        for reason in map(str, study.left_out)
    )
    by_name = {variant.name: variant for variant in study.variants}
    assert (
        len(by_name) == 14
    )  # at L = 5 progressive matching changes nothing: one run for both rows
    assert by_name["pcvos-L10-F5"].settings == {
        "clip_length": 10,
        "refine": True,
        "memory.segment_frames": 5,
    }
    assert by_name["stcn-L25"].flags()[-4:] == [
        "--set",
        "clip_length=25",
        "refine=false",
        "memory.segment_frames=none",
    ]


def test_table_2_compares_trainings_of_both_networks(tiny, refined):
    given = [
        f"stcn={tiny}",
        f"stcn_clip={tiny}",
        f"pcvos_traditional={refined}",
        f"pcvos={refined}",
    ]
    study = pcvos.study("2", pcvos.weights_of(given), [5])
    assert [tuple(variant.columns.values()) for variant in study.variants] == [
        ("three frames", "no", "5"),
        ("per clip", "no", "5"),
        ("three frames", "yes", "5"),
        ("per clip", "yes", "5"),
    ]
    assert not study.left_out and len({variant.line for variant in study.variants}) == 4


def test_tables_8_and_9_take_the_windows_that_differ_in_their_axes(tmp_path, refined):
    files = {}
    for window in ((1, 2, 3), (2, 3, 3)):
        torch.manual_seed(0)
        files[window] = tmp_path / f"{window[0]}.pth"
        save_weights(files[window], build_network(with_window(preset("tiny_pcvos"), window)))
    assert load_network(files[1, 2, 3], window=(1, 2, 3)).config.refiner.window == (1, 2, 3)
    given = [
        f"pcvos={refined}",
        f"pcvos@1x2x3={files[1, 2, 3]}",
        f"pcvos@2x3x3={files[2, 3, 3]}",
        f"pcvos@4x4x4={files[2, 3, 3]}",
    ]
    spatial, temporal = (pcvos.study(table, pcvos.weights_of(given), [5]) for table in "89")
    assert [variant.columns["window"] for variant in temporal.variants] == ["1×2×3", "2×2×3"]
    assert [variant.columns["window"] for variant in spatial.variants] == ["2×2×3", "2×3×3"]
    assert (
        "--window" in spatial.variants[1].flags() and "--window" not in spatial.variants[0].flags()
    )
    assert any(
        str(reason).startswith("pcvos@4x4x4: ") and "windows of 2×3×3, not 4×4×4" in str(reason)
        for reason in spatial.left_out
    )


def test_table_10_varies_segments_and_takes_those_as_long_as_the_clip_for_none(refined):
    study = pcvos.study("10", pcvos.weights_of([f"pcvos={refined}"]), [10], [3, 10])
    assert [(variant.columns["F"], variant.name) for variant in study.variants] == [
        ("none", "pcvos-L10"),
        ("3", "pcvos-L10-F3"),
        ("10", "pcvos-L10"),
    ]


@pytest.mark.parametrize(
    "given",
    [["stcn"], ["stcn="], ["best=a.pth"], ["pcvos@2x7=a.pth"], ["stcn=a.pth", "stcn=b.pth"]],
)
def test_weights_of_unknown_roles_or_forms_are_refused(given):
    with pytest.raises(InputError, match="--weights"):
        pcvos.weights_of(given)


def test_comparison_has_a_row_for_every_system_and_policy_there_are_weights_for(
    tiny, refined, tmp_path
):
    given = [f"{name}={refined if config.refine else tiny}" for name, config in SYSTEMS.items()]
    study = systems.study(systems.weights_of(given), [1, 4])
    names = [variant.name for variant in study.variants]
    said = "\n".join(map(str, study.left_out))
    assert all(name in names or f"{name}: " in said for name in SYSTEMS)
    assert {
        "stcn",
        "lfu",
        "pcvos",
        "memory-first-and-latest",
        "memory-every-k-last",
        "memory-lfu-1",
        "memory-fifo-4",
    } <= set(names)
    assert (
        "memory-every-k" not in names and "memory-lfu-4" not in names
    )  # what systems stcn and lfu are
    assert all(
        any(name.startswith(f"memory-{policy}") for name in names)
        or f"memory-{policy}" in said
        or policy == "every-k"
        for policy in POLICIES
    )
    by_name = {variant.name: variant for variant in study.variants}
    assert (
        by_name["memory-lfu-1"].columns == {"system": "stcn", "memory": "lfu, 1 frame"}
        and by_name["memory-lfu-1"].line == by_name["lfu"].line
    )
    assert by_name["memory-every-k-last"].columns["memory"] == "every-k + last"


def test_comparison_leaves_out_systems_whose_weights_lack_a_part_or_are_not_there(tiny):
    study = systems.study(systems.weights_of([f"stcn={tiny}", f"pcvos={tiny}", "lfu=gone.pth"]))
    assert not {"pcvos", "lfu"} & {variant.name for variant in study.variants}
    assert any(
        str(reason).startswith("pcvos: ") and "no weights of intra-clip refinement" in reason
        for reason in map(str, study.left_out)
    )
    assert "lfu: gone.pth: no such file" in map(str, study.left_out)
    assert any(variant.name == "memory-lfu-4" for variant in study.variants)


def test_a_policy_that_needs_learned_weights_runs_on_the_network_that_has_them(tiny, tmp_path):
    reducing = write_tiny_weights(tmp_path / "tiny_remn.pth", network="tiny_remn")
    study = systems.study(systems.weights_of([f"stcn={tiny}", f"remn={reducing}"]), [4])
    row = next(variant for variant in study.variants if variant.name == "memory-redundancy-4")
    assert (row.weights, row.system, row.columns["system"]) == (
        reducing,
        "stcn",
        "stcn, weights of remn",
    )
    assert all(
        variant.weights == tiny
        for variant in study.variants
        if variant.name.startswith("memory-") and variant is not row
    )
    at_its_own = [
        name
        for name in (
            variant.name
            for variant in systems.study(
                systems.weights_of([f"stcn={tiny}", f"remn={reducing}"])
            ).variants
        )
        if "redundancy" in name
    ]
    assert at_its_own == ["memory-redundancy-12"]
    without = systems.study(systems.weights_of([f"stcn={tiny}", "remn=gone.pth"]), [4])
    assert "memory-redundancy-4: gone.pth: no such file" in map(str, without.left_out)


def test_capacities_that_a_policy_rounds_to_one_are_one_row_that_says_what_is_held(tiny, tmp_path):
    reducing = write_tiny_weights(tmp_path / "tiny_remn.pth", network="tiny_remn")
    study = systems.study(systems.weights_of([f"stcn={tiny}", f"remn={reducing}"]), [2, 4, 9])
    rows = {
        variant.name: (variant.label, variant.columns["memory"], variant.settings["memory_frames"])
        for variant in study.variants
        if variant.line == "redundancy"
    }
    assert rows == {
        "memory-redundancy-4": ("4", "redundancy, 4 frames", 4),
        "memory-redundancy-8": ("8", "redundancy, 8 frames", 8),
    }
    assert len([variant for variant in study.variants if variant.line == "redundancy"]) == 2
    assert {"memory-fifo-2", "memory-fifo-4", "memory-fifo-9"} <= {
        variant.name for variant in study.variants
    }


def test_rows_asked_for_are_the_only_ones_of_which_anything_is_said(davis, tiny, tmp_path, capsys):
    study = systems.study(systems.weights_of([f"stcn={tiny}", "remn=gone.pth", "pcvos=lost.pth"]))
    assert run_study(study, study_flags(davis, "--list", "--rows", "stcn", "remn")) == 0
    said = capsys.readouterr().out
    assert (
        said.startswith("stcn: ")
        and said.endswith("\nleft out: remn: gone.pth: no such file\n")
        and said.count("\n") == 2
    )
    with pytest.raises(InputError, match=r"no variant can be run: pcvos: lost\.pth: no such file$"):
        run_study(study, study_flags(davis, "--rows", "pcvos", "--output", tmp_path / "study"))
    table = pcvos.study(
        "7", pcvos.weights_of([f"stcn={tiny}", "pcvos=lost.pth", "stcn_clip=gone.pth"])
    )
    assert (
        run_study(table, study_flags(davis, "--list", "--rows", "stcn-*", "stcn_clip-L10-F5")) == 0
    )
    said = capsys.readouterr().out
    assert (
        "stcn-L25-F5: " in said
        and "gone.pth" in said
        and "pcvos" not in said.replace("--system pcvos", "")
    )


def test_long_videos_are_a_command_of_the_benchmark(davis, tiny, tmp_path, capsys, monkeypatch):
    weights = ["--weights", f"stcn={tiny}", "remn=gone.pth", "--rows", "stcn", "remn"]
    monkeypatch.setattr(
        "sys.argv",
        [
            "benchmark.py",
            "long",
            str(davis),
            *weights,
            "--output",
            str(tmp_path / "long"),
            "--times",
            "1",
            "2",
            "--max_frames",
            "4",
            "--device",
            "cpu",
        ],
    )
    assert benchmark.main() == 0
    rows = json.loads((tmp_path / "long/long.json").read_text())["rows"]
    assert [(row["name"], row["played"], row["frames"]) for row in rows] == [
        ("stcn", "×1", 8),
        ("stcn", "×2", 16),
    ]
    said = capsys.readouterr()
    assert (
        "remn: gone.pth: no such file" in said.err
        and "FPS of longer videos over those of ×1: stcn ×2" in said.out
    )
    assert (tmp_path / "long/long-over-time.png").is_file()


def test_remn_has_each_subset_of_its_modules_and_takes_a_subsets_own_weights(tiny, tmp_path):
    whole = write_tiny_weights(tmp_path / "tiny_remn.pth", network="tiny_remn")
    study = remn.study(
        remn.weights_of([f"remn={whole}", f"ASM={tiny}", "FRM+RRM=gone.pth", f"RRM={tiny}"])
    )
    by_name = {variant.name: variant for variant in study.variants}
    assert [tuple(variant.columns.values()) for variant in study.variants] == [
        ("no", "no", "no"),
        ("yes", "no", "no"),
        ("no", "yes", "no"),
        ("yes", "yes", "no"),
        ("no", "yes", "yes"),
        ("yes", "yes", "yes"),
    ]
    assert (
        by_name["remn-ASM"].weights == tiny
        and by_name["remn-FRM+ASM+RRM"].weights == whole
        and not by_name["remn-FRM+ASM+RRM"].settings
    )
    off = system_config("remn", **by_name["remn-none"].settings)
    assert (off.enhance, off.memory.sampling, off.memory.policy) == (False, "every", "every-k")
    assert "FRM+RRM: gone.pth: no such file" in map(str, study.left_out)
    assert any(
        str(reason).startswith("RRM: ") and "no weights" in reason
        for reason in map(str, study.left_out)
    )  # the tiny network has none of its parts


# running them


def test_a_study_gives_the_eval_scripts_numbers_and_goes_on_without_computing_again(
    davis, tiny, tmp_path, capsys
):
    variant = Variant(
        name="tiny",
        line="tiny",
        columns={"memory": "every 2"},
        weights=tiny,
        settings={"mem_every": 2},
    )
    broken = Variant(
        name="broken",
        line="broken",
        columns={"memory": "none"},
        weights=tiny,
        settings={"memory": "nothing"},
    )
    study = Study(
        name="tried",
        title="Tried",
        variants=[variant, broken],
        left_out=[LeftOut("better", "no weights")],
    )
    flags = study_flags(davis, "--output", tmp_path / "study", "--device", "cpu", "--max_frames", 8)
    assert run_study(study, flags, with_time=True) == 2  # one failed
    said = capsys.readouterr()
    assert (
        "| every 2 |" in said.out
        and "Left out: better: no weights." in said.out
        and "broken-first-8: failed: memory 'nothing' is not known" in said.out
    )
    first = json.loads((tmp_path / "study/tried.json").read_text())["rows"][0]
    assert (
        first["frames"] == 7 + 8
        and first["untimed"] == []
        and first["memory_elements"] == 4 * 12
        and first["fps"] > 0
    )
    assert len(first["over_time"]["times"]) == 2 and first["over_time"]["unit"] == "% of the video"

    data = StudyData.of(tmp_path / "study/data/first-8")
    command = [
        *data.command(),
        "--model",
        str(tiny),
        "--mem_every",
        "2",
        "--device",
        "cpu",
        "--output",
        str(tmp_path / "alone"),
    ]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    alone = json.loads((tmp_path / "alone/scores.json").read_text())["overall"]
    assert (first["j_and_f"], first["j"], first["f"]) == (
        alone["jf_mean"],
        alone["j_mean"],
        alone["f_mean"],
    )

    result = tmp_path / "study/runs/tiny-first-8/dog/00007.png"
    made = result.stat().st_mtime_ns
    flags.rows = ["ti*"]
    assert run_study(study, flags) == 0
    again = json.loads((tmp_path / "study/tried.json").read_text())["rows"]
    assert result.stat().st_mtime_ns == made
    assert [{**row, "over_time": None} for row in again] == [{**first, "over_time": None}]


def test_a_study_that_is_stopped_stops_its_run():
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with (
        pytest.raises(SystemExit),
        runs._ended_with_us(subprocess.Popen(command, stderr=subprocess.PIPE)) as process,
    ):
        raise SystemExit(143)
    assert process.poll() is not None


def test_generic_trees_are_scored_by_their_truth_folder(tmp_path):
    root = write_generic(tmp_path / "data", "clip", {0: (1,), 2: (5,)})
    write_generic(tmp_path / "whole", "clip", dict.fromkeys(range(6), (1, 5)))
    (tmp_path / "whole/Annotations").rename(root / "Truth")
    data = StudyData.of(root)
    assert (
        data.layout.truth_folder,
        data.layout.protocol,
        data.layout.split,
        data.frame_count,
    ) == (root / "Truth", "strict", None, 6)
    assert (
        Path(data.command()[1]).name == "eval_generic.py" and str(root / "Truth") in data.command()
    )


def test_data_without_truth_and_unknown_rows_are_refused(davis, tiny, tmp_path):
    with pytest.raises(
        InputError, match="needs the truth of every frame, which is not here; give a data set"
    ):
        StudyData.of(write_generic(tmp_path / "data", "clip", {0: (1,)}))
    study = Study(
        name="tried",
        title="Tried",
        variants=[Variant(name="tiny", line="tiny", columns={}, weights=tiny)],
    )
    with pytest.raises(InputError, match="fits no variant; there are tiny"):
        run_study(study, study_flags(davis, "--rows", "huge"))
    with pytest.raises(InputError, match="no variant can be run: better: no weights"):
        run_study(
            Study(
                name="tried", title="Tried", variants=[], left_out=[LeftOut("better", "no weights")]
            ),
            study_flags(davis),
        )


@pytest.mark.parametrize("frames", [1, 2])
def test_videos_too_short_to_be_scored_are_refused_by_name(davis, tiny, tmp_path, frames):
    said = f"dog: {frames} frames?; a study needs 3 of each video"
    with pytest.raises(InputError, match=said):
        StudyData.of(write_davis(tmp_path / "short", {"bear": 4, "dog": frames}))
    study = Study(
        name="tried",
        title="Tried",
        variants=[Variant(name="tiny", line="tiny", columns={}, weights=tiny)],
    )
    with pytest.raises(InputError, match=said):
        run_study(
            study,
            study_flags(
                davis, "--sequences", "dog", "--max_frames", frames, "--output", tmp_path / "study"
            ),
        )


@pytest.mark.parametrize("below", ["", "study"])
def test_an_output_that_is_a_file_is_refused_by_its_name(davis, tiny, tmp_path, below):
    (tmp_path / "notes.txt").write_text("mine")
    study = Study(
        name="tried",
        title="Tried",
        variants=[Variant(name="tiny", line="tiny", columns={}, weights=tiny)],
    )
    with pytest.raises(InputError, match=r"--output .*notes\.txt.*a file; a folder is needed"):
        run_study(study, study_flags(davis, "--output", tmp_path / "notes.txt" / below))


def test_ablate_lists_its_variants_and_refuses_with_one_line(davis, tiny, tmp_path):
    def run(*arguments: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, ROOT / "scripts/ablate.py", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )

    listed = run(
        "pcvos", davis, "--table", 7, "--list", "--clip_lengths", 5, 6, "--weights", f"stcn={tiny}"
    )
    assert listed.returncode == 0, listed.stderr
    names = [line.split(":")[0] for line in listed.stdout.splitlines() if "--model" in line]
    assert [name for name in names if name.startswith("stcn-")] == [
        "stcn-L5",
        "stcn-L6",
        "stcn-L6-F5",
    ]
    assert not (tmp_path / "results").exists()
    wrong = run("pcvos", tmp_path, "--table", 7)
    assert (
        wrong.returncode == 2
        and wrong.stderr.splitlines()[-1].startswith("error: ")
        and "Traceback" not in wrong.stderr
    )


def test_ablate_lists_all_tables_where_none_is_named_and_runs_none(
    davis, tiny, monkeypatch, capsys
):
    command = ["ablate.py", "pcvos", str(davis), "--clip_lengths", "5", "--weights", f"stcn={tiny}"]
    monkeypatch.setattr(sys, "argv", [*command, "--list"])
    assert ablate.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("--table")] == [
        f"--table {table}" for table in pcvos.TABLES
    ]
    assert sum(line.startswith("stcn-L5: ") for line in lines) == 2  # tables 7 and 2
    for wrong in ([], ["--list", "--rows", "stcn-*"]):
        monkeypatch.setattr(sys, "argv", [*command, *wrong])
        with pytest.raises(InputError, match="--table: give one of 7, 2, 8, 9, 10"):
            ablate.main()


# over time


def trace_of(seconds: list[float], elements: list[int]) -> list[FrameTrace]:
    values = enumerate(zip(seconds, elements, strict=True))
    return [
        FrameTrace(
            video="bear",
            frame=f"{n:05d}",
            position=n,
            seconds=s,
            memory_elements=e,
            memory_mb=1.0,
            frames_memorised=1,
            peak_memory_mb=1.0,
        )
        for n, (s, e) in values
    ]


def test_time_a_frame_is_even_where_batches_take_the_same_whatever_the_parts():
    batches = trace_of(
        [4.0 * (number // 4 + 1) + 0.001 * (number % 4) for number in range(24)], [0] * 24
    )  # four frames at once, 4 s each time
    assert over_time._milliseconds(batches, 4) == pytest.approx([1000] * 4, rel=0.01)
    assert over_time._milliseconds(batches, 12) == pytest.approx(
        [1000] * 12, rel=0.01
    )  # parts of two frames
    singles = trace_of([float(number + 1) for number in range(24)], [0] * 24)
    assert over_time._milliseconds(singles, 5) == pytest.approx([1000] * 5)
    slower = trace_of([number + 1 + max(number - 11, 0) for number in range(24)], [0] * 24)
    assert over_time._milliseconds(slower, 2) == pytest.approx([1000, 2000])


def test_means_over_parts_of_videos():
    assert over_time._means([(0.0, 1.0), (0.2, 3.0), (0.99, 5.0), (1.0, 7.0)], 2) == [2.0, 6.0]
    assert over_time._means([(0.9, 1.0)], 3) == [None, None, 1.0]
    assert over_time._mean_of_rows([[1.0, None], [3.0, None]], 2) == [2.0, None]


# what is said


def findings(tmp_path: Path, rows: list[Row], **changes) -> Findings:
    study = Study(name="tried", title="Tried", variants=[], labels="L", **changes)
    where = {
        "command": "c",
        "date": "2026-01-01",
        "processor": "p",
        "logical_cores": 2,
        "memory_gb": None,
    }
    where |= {
        "system": "s",
        "python": "3",
        "torch": "2",
        "threads": 1,
        "device": "cpu",
        "commit": "x",
    }
    return Findings(
        study=study, data=rows[0].data, rows=rows, left_out=["that one: no weights"], where=where
    )


def made_up_row(name: str, played: str = "×1", timed: bool = False, **changes) -> Row:
    layout = Layout(
        root=Path("made-up"),
        folder=Path("made-up"),
        frames="JPEGImages/480p",
        masks=("Annotations/480p",),
        split="val",
    )
    data = StudyData(name="made-up", layout=layout, names=("bear",), frame_count=100, played=played)
    series = over_time.OverTime(
        unit="frame",
        times=[10, 20],
        j_and_f=[0.8, 0.6],
        memory_elements=[1, 2],
        milliseconds=[200, None],
    )
    variant = Variant(
        name=name, line=name, label="5", columns={"system": name}, weights=Path("w.pth")
    )
    return Row(
        variant=variant, data=data, run=made_up_run(**changes), over_time=series if timed else None
    )


def test_report_says_scores_time_memory_and_what_was_left_out(tmp_path):
    said = findings(
        tmp_path,
        [made_up_row("one"), made_up_row("two", fps=10, frames=0, untimed=("bear",))],
        notes=["A note."],
    ).as_markdown()
    assert "| one | 72.0 | 70.0 | 74.0 | 5.00 | 812 | 20 | 3,240 | 2.5 |" in said
    assert "| two | 72.0 | 70.0 | 74.0 | not measured |" in said and "two (bear)" in said
    assert (
        "Left out: that one: no weights." in said
        and "A note." in said
        and "FPS and peak memory are of this run on this machine (cpu)" in said
    )
    assert "played" not in said


def test_report_of_several_lengths_tells_them_apart_and_draws_each(tmp_path):
    rows = [made_up_row("one", timed=True), made_up_row("one", "×3", timed=True, fps=4.5, j=0.5)]
    paths = findings(tmp_path, rows).write(tmp_path / "out")
    assert [path.name for path in paths] == [
        "tried.md",
        "tried.json",
        "tried.png",
        "tried-over-time.png",
    ]
    assert "| one | ×3 | 52.0 |" in paths[0].read_text()
    assert "FPS of longer videos over those of ×1: one ×3 0.90." in paths[0].read_text()
    assert [row["played"] for row in json.loads(paths[1].read_text())["rows"]] == ["×1", "×3"]
    widths = [Image.open(path).size for path in paths[2:]]
    assert (
        widths[1][0] == 3 * widths[0][0] and widths[1][1] > 1.5 * widths[0][1]
    )  # a row of three panels for each length
    assert (np.asarray(Image.open(paths[2]).convert("RGB")) == (0, 114, 178)).all(-1).any()


def test_runs_of_one_variant_at_several_lengths_have_folders_of_their_own():
    row, longer = made_up_row("one"), made_up_row("one", "×3")
    assert folder_of(Path("out"), row.variant, row.data) == Path("out/runs/one")
    assert folder_of(Path("out"), longer.variant, longer.data) == Path("out/runs/one-x3")


def test_cut_videos_played_longer_have_folders_named_after_both(davis, tmp_path):
    row = made_up_row("one")
    names = []
    for frames in (4, 5):
        flags = study_flags(davis, "--max_frames", frames, "--output", tmp_path)
        given, lengths = study_module._data(flags, (1, 3), None)
        assert [data.frame_count for data in lengths] == [
            2 * frames,
            6 * frames,
        ] and given.name == lengths[1].name == davis.name
        names += [folder_of(tmp_path, row.variant, data).name for data in lengths]
        study_module._data(flags, (), 7)
    assert names == ["one-first-4", "one-first-4-x3", "one-first-5", "one-first-5-x3"]
    assert file_names(tmp_path / "data") == [
        "first-4",
        "first-4-to-7",
        "first-4-x3",
        "first-5",
        "first-5-to-7",
        "first-5-x3",
    ]
