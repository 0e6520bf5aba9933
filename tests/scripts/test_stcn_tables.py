"""STCN's tables 1, 2 and 7: which rows they have, and what an affinity costs."""

import dataclasses

import pytest
from toy_trees import write_davis, write_tiny_weights

from model.config import PRESETS
from scripts import ablate
from scripts.studies import stcn
from scripts.studies.affinity_cost import affinity_cost
from scripts.studies.variants import Study
from util.errors import EXIT_OK


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights by role; the number of key channels is the toy networks'."""
    folder = tmp_path_factory.mktemp("weights")
    return {
        "l2-8": write_tiny_weights(folder / "l2.pth"),
        "dot-16": write_tiny_weights(
            folder / "dot.pth",
            network=dataclasses.replace(PRESETS["tiny"], similarity="dot", key_channels=16),
        ),
    }


def table_of(number: str, **given) -> Study:
    return stcn.study(number, stcn.weights_of([f"{role}={file}" for role, file in given.items()]))


def reasons(study: Study) -> dict[str, str]:
    return {name: str(omission) for omission in study.left_out for name in omission.names}


@pytest.mark.parametrize(
    ("similarity", "channels", "gigaflops", "megabytes"),
    [
        ("dot", 64, "3.13", "4.35"),
        ("l2", 64, "3.20", "4.35"),
        ("dot", 128, "6.26", "8.70"),
        ("l2", 128, "6.33", "8.70"),
    ],
)
def test_the_affinity_costs_what_is_published(similarity, channels, gigaflops, megabytes):
    cost = affinity_cost(similarity, channels)
    assert (f"{cost.gigaflops:.2f}", f"{cost.megabytes:.2f}") == (gigaflops, megabytes)


def test_the_cost_of_a_small_affinity_is_that_counted_by_hand():
    """Two positions, three memory frames, five channels: 12 pairs, 8 keys."""
    sizes = {"memory_frames": 3, "height": 16, "width": 17}
    dot, l2 = (affinity_cost(kind, 5, **sizes) for kind in ("dot", "l2"))
    assert dot.operations == 12 * 5 * 2
    assert l2.operations == dot.operations + 12 * 3 + 8 * 5 * 2
    assert dot.key_bytes == l2.key_bytes == 8 * 5 * 4


def test_table_1_compares_memories_with_and_without_the_last_frame(files):
    study = table_of("1", stcn=files["l2-8"])
    plain, with_last = study.variants
    assert plain.settings == {} and with_last.settings == {"include_last": True}
    assert plain.weights == with_last.weights == files["l2-8"]
    assert plain.columns != with_last.columns and plain.name != with_last.name
    assert [one.weights.name for one in table_of("1").variants] == ["stcn_lite0.pth"] * 2


def test_table_2_has_a_row_for_each_network_with_its_cost_and_reports_the_others(files):
    study = table_of("2", **files)
    rows = {variant.name: variant for variant in study.variants}
    assert list(rows) == ["stcn-l2-64", "stcn-l2-8", "stcn-dot-16"]
    assert tuple(rows["stcn-l2-64"].columns.values()) == ("l2", "64", "3.20", "4.35")
    assert rows["stcn-dot-16"].columns["C^k"] == "16"
    assert rows["stcn-dot-16"].flags()[2:4] == ["--similarity", "dot"]
    missing = reasons(study)
    assert set(missing) == {f"stcn-{role}" for role in ("l2-128", "dot-64", "dot-128")} | {
        "stcn-cosine-64",
        "stcn-cosine-128",
    }
    assert missing["stcn-dot-128"] == (
        "dot with 128 key channels (6.26 GFLOPs, 8.70 MB): no weights of role dot-128; give them "
        "with --weights dot-128=FILE"
    )


def test_table_2_leaves_out_weights_that_are_not_what_their_role_says(files, tmp_path):
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(b"not weights")
    wrong = {"dot-8": files["l2-8"], "dot-64": files["dot-16"], "l2-64": damaged}
    study = table_of("2", **wrong)
    assert not study.variants
    found = reasons(study)
    assert found["stcn-dot-8"].endswith("l2.pth: was trained with similarity l2")
    assert found["stcn-dot-64"].endswith("dot.pth: is a network of 16 key channels")
    assert "damaged.pth" in found["stcn-l2-64"]


def test_table_7_compares_trainings_and_says_what_the_shipped_network_is(files):
    study = table_of("7", s0=files["l2-8"], s3="gone.pth")
    assert [variant.name for variant in study.variants] == ["stcn-s0", "stcn-s03"]
    assert reasons(study) == {
        "stcn-s3": "stage 3 (videos) alone: gone.pth: no such file",
    }
    assert "shipped network" in study.notes[0]
    assert not table_of("7", s03=files["l2-8"]).notes


def test_ablate_lists_the_tables_of_stcn(files, tmp_path, monkeypatch, capsys):
    davis = write_davis(tmp_path / "davis", {"bear": 4})
    command = ["ablate.py", "stcn", str(davis), "--list"]
    monkeypatch.setattr("sys.argv", [*command, "--weights", f"dot-16={files['dot-16']}"])
    assert ablate.main() == EXIT_OK
    lines = capsys.readouterr().out.splitlines()
    headings = [line for line in lines if line.startswith("--table")]
    assert headings == ["--table 1", "--table 2", "--table 7"]
    assert any(line.startswith("stcn-every-5-and-last: --model ") for line in lines)
    assert any(line.startswith("left out: stage 0 (stills) alone: ") for line in lines)
