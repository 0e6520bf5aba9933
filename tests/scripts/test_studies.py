"""Studies as commands: their numbers are the eval program's, and interrupted studies resume.

The tiny network of the runs is untrained.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT
from toy_trees import file_names, write_davis, write_generic, write_tiny_weights

from scripts import ablate, benchmark
from scripts.studies import long_videos, pcvos, pcvos_roles, runs, systems
from scripts.studies import study as study_module
from scripts.studies.data import StudyData
from scripts.studies.study import add_study_flags, run_study
from scripts.studies.variants import Omission, Study, Variant
from util.errors import InputError


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    return write_davis(tmp_path_factory.mktemp("davis") / "toy", {"bear": 7, "dog": 9})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.fixture
def variant(tiny):
    """The tiny network, memorising every second frame."""
    columns, settings = {"memory": "every 2"}, {"mem_every": 2}
    return Variant(name="tiny", line="tiny", columns=columns, weights=tiny, settings=settings)


def study_of(*variants: Variant) -> Study:
    left_out = [Omission("better", "no weights")]
    return Study(name="tried", title="Tried", variants=variants, left_out=left_out)


def study_flags(*arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_study_flags(parser, "results")
    return parser.parse_args([str(argument) for argument in arguments])


def read_rows(path: Path) -> list[dict]:
    return json.loads(path.read_text())["rows"]


def test_a_study_has_the_eval_programs_numbers_and_resumes_without_computing_again(
    davis, tiny, variant, tmp_path, capsys
):
    broken = Variant(
        name="broken", line="broken", columns={}, weights=tiny, settings={"memory": "nothing"}
    )
    out = tmp_path / "study"
    flags = study_flags(davis, "--output", out, "--device", "cpu", "--max_frames", 8)
    assert run_study(study_of(variant, broken), flags, with_time=True) == 2  # one failed
    text = capsys.readouterr().out
    assert "| every 2 |" in text and "Left out: better: no weights." in text
    assert "broken-first-8: failed: memory 'nothing' is not known" in text
    (row,) = read_rows(out / "tried.json")
    assert (row["frames"], row["untimed"], row["memory_elements"]) == (7 + 8, [], 4 * 12)
    assert row["fps"] > 0
    assert len(row["over_time"]["times"]) == 2 and row["over_time"]["unit"] == "% of the video"

    alone = ["--mem_every", "2", "--device", "cpu", "--output", str(tmp_path / "alone")]
    command = [*StudyData.of(out / "data/first-8").command(), "--model", str(tiny), *alone]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    scores = json.loads((tmp_path / "alone/scores.json").read_text())["overall"]
    expected = (scores["jf_mean"], scores["j_mean"], scores["f_mean"])
    assert (row["j_and_f"], row["j"], row["f"]) == expected

    result = out / "runs/tiny-first-8/dog/00007.png"
    made = result.stat().st_mtime_ns
    flags.rows = ["ti*"]
    assert run_study(study_of(variant, broken), flags) == 0
    (again,) = read_rows(out / "tried.json")
    assert result.stat().st_mtime_ns == made
    assert {**again, "over_time": None} == {**row, "over_time": None}


def test_a_study_that_is_stopped_stops_its_run():
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    with pytest.raises(SystemExit), runs.terminate_on_exit(process):
        raise SystemExit(143)
    assert process.poll() is not None


def test_generic_trees_are_scored_by_their_truth_folder(tmp_path):
    root = write_generic(tmp_path / "data", "clip", {0: (1,), 2: (5,)})
    write_generic(tmp_path / "whole", "clip", dict.fromkeys(range(6), (1, 5)))
    (tmp_path / "whole/Annotations").rename(root / "Truth")
    data = StudyData.of(root)
    assert data.layout.truth_folder == root / "Truth"
    assert (data.layout.protocol, data.layout.split, data.frame_count) == ("strict", None, 6)
    _, program, *flags = data.command()
    assert Path(program).name == "eval_generic.py" and str(root / "Truth") in flags


def test_cut_videos_played_longer_have_folders_named_after_both(davis, variant, tmp_path):
    names = []
    for frames in (4, 5):
        flags = study_flags(davis, "--max_frames", frames, "--output", tmp_path)
        data = study_module._read_data(flags)
        lengths = study_module._play(data, flags, (1, 3), None)
        assert [one.frame_count for one in lengths] == [2 * frames, 6 * frames]
        assert data.name == lengths[1].name == davis.name
        names += [runs.run_folder(tmp_path, variant, one).name for one in lengths]
        study_module._play(data, flags, (), 7)
        once, turned, repeated = study_module._play(
            data, flags, (1, 2), None, ("back-and-forth", "repeat")
        )
        assert [one.played for one in (once, turned, repeated)] == ["×1", "×2", "×2 repeat"]
        assert runs.run_folder(tmp_path, variant, repeated).name == f"tiny-first-{frames}-x2-repeat"
    assert names == ["tiny-first-4", "tiny-first-4-x3", "tiny-first-5", "tiny-first-5-x3"]
    assert file_names(tmp_path / "data") == [
        f"first-{frames}{played}"
        for frames in (4, 5)
        for played in ("", "-to-7", "-x2", "-x2-repeat", "-x3")
    ]


def test_only_the_requested_rows_are_listed_run_and_reported(davis, tiny, tmp_path, capsys):
    given = [f"stcn={tiny}", "remn=gone.pth", "pcvos=lost.pth"]
    study = systems.study(systems.weights_of(given))
    assert run_study(study, study_flags(davis, "--list", "--rows", "stcn", "remn")) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("stcn: ") and second == "left out: remn: gone.pth: no such file"
    with pytest.raises(InputError, match=r"no variant can be run: pcvos: lost\.pth: no such file$"):
        run_study(study, study_flags(davis, "--rows", "pcvos", "--output", tmp_path / "study"))

    given = [f"stcn={tiny}", "pcvos=lost.pth", "stcn_clip=gone.pth"]
    table = pcvos.study("7", pcvos_roles.weights_of(given))
    flags = study_flags(davis, "--list", "--rows", "stcn-*", "stcn_clip-L10-F5")
    assert run_study(table, flags) == 0
    listed = capsys.readouterr().out
    assert "stcn-L25-F5: " in listed and "gone.pth" in listed
    assert "pcvos" not in listed.replace("--system pcvos", "")


def test_long_videos_are_a_command_of_the_benchmark(davis, tiny, tmp_path, capsys, monkeypatch):
    out = tmp_path / "long"
    flags = ["--weights", f"stcn={tiny}", "remn=gone.pth", "--rows", "stcn", "remn"]
    flags += ["--times", "1", "2", "--max_frames", "4", "--device", "cpu", "--output", str(out)]
    monkeypatch.setattr("sys.argv", ["benchmark.py", "long", str(davis), *flags])
    assert benchmark.main() == 0
    rows = read_rows(out / "long.json")
    assert [(row["name"], row["played"], row["frames"]) for row in rows] == [
        ("stcn", "×1", 8),
        ("stcn", "×2", 16),
    ]
    output = capsys.readouterr()
    assert "remn: gone.pth: no such file" in output.err
    assert "FPS of longer videos over those of ×1: stcn ×2" in output.out
    assert (out / "long-over-time.png").is_file()


def test_long_videos_are_played_in_the_orders_that_are_given(davis, monkeypatch):
    given = {}
    monkeypatch.setattr(systems, "study", lambda weights: study_of())
    monkeypatch.setattr(long_videos, "run_study", lambda *_, **request: given.update(request) or 0)
    command = ["benchmark.py", "long", str(davis), "--play", "repeat", "back-and-forth"]
    monkeypatch.setattr("sys.argv", command)
    assert benchmark.main() == 0
    assert given["orders"] == ["repeat", "back-and-forth"] and given["times"] == [1, 3]


def test_ablate_starts_by_its_path_and_lists_its_variants(davis, tiny, tmp_path):
    def run(*arguments: object) -> subprocess.CompletedProcess:
        command = [sys.executable, ROOT / "scripts/ablate.py", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    table = ("--table", 7, "--list", "--clip_lengths", 5, 6)
    listed = run("pcvos", davis, *table, "--weights", f"stcn={tiny}")
    assert listed.returncode == 0, listed.stderr
    names = [line.split(":")[0] for line in listed.stdout.splitlines() if "--model" in line]
    of_stcn = [name for name in names if name.startswith("stcn-")]
    assert of_stcn == ["stcn-L5", "stcn-L6", "stcn-L6-F5"]
    assert not (tmp_path / "results").exists()


def test_ablate_lists_all_tables_if_none_is_named_and_runs_none(davis, tiny, monkeypatch, capsys):
    command = ["ablate.py", "pcvos", str(davis), "--clip_lengths", "5", "--weights", f"stcn={tiny}"]
    monkeypatch.setattr(sys, "argv", [*command, "--list"])
    assert ablate.main() == 0
    lines = capsys.readouterr().out.splitlines()
    headings = [line for line in lines if line.startswith("--table")]
    assert headings == [f"--table {table}" for table in pcvos.TABLES]
    assert sum(line.startswith("stcn-L5: ") for line in lines) == 2  # tables 7 and 2


@pytest.mark.parametrize("frames", [1, 2])
def test_videos_cut_too_short_to_be_scored_are_refused_by_name(davis, variant, tmp_path, frames):
    cut = ["--sequences", "dog", "--max_frames", frames, "--output", tmp_path / "study"]
    with pytest.raises(InputError, match=f"dog: {frames} frames?; a study needs 3 of each video"):
        run_study(study_of(variant), study_flags(davis, *cut))
