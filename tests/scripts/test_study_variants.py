"""Studies: which variants each table has, and which are left out.

Legend: L frames of a clip, F frames of a segment of progressive matching.
"""

import pytest
import torch
from toy_trees import write_tiny_weights

from inference.config import SYSTEMS, system_config
from inference.memory import POLICIES
from model import build_network, load_network, save_weights
from model.config import preset, with_window
from model.training.arguments import resolve_config
from model.training.network_choice import resolve_network
from scripts.studies import lfu, pcvos, pcvos_roles, remn, systems
from scripts.studies.variants import Study
from train import parse_arguments
from util.errors import InputError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.fixture(scope="module")
def refined(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny_pcvos.pth"
    return write_tiny_weights(path, network="tiny_pcvos")


@pytest.fixture(scope="module")
def reducing(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny_remn.pth"
    return write_tiny_weights(path, network="tiny_remn")


def pcvos_study(table: str, given: list[str], *values: list[int]) -> Study:
    return pcvos.study(table, pcvos_roles.weights_of(given), *values)


def systems_study(given: list[str], *values: list[int]) -> Study:
    return systems.study(systems.weights_of(given), *values)


def names(study: Study) -> list[str]:
    return [variant.name for variant in study.variants]


def cells(study: Study) -> list[tuple[str, ...]]:
    """The first columns of each row."""
    return [tuple(variant.columns.values()) for variant in study.variants]


def reasons(study: Study) -> list[str]:
    return [str(omission) for omission in study.left_out]


def test_table_7_has_all_combinations_with_weights_and_reports_the_others(tiny, refined):
    study = pcvos_study("7", [f"stcn={tiny}", f"pcvos={refined}", "stcn_clip=gone.pth"])
    assert cells(study) == [
        (pmm, pct, icr, length)
        for pct, icr in (("no", "no"), ("yes", "yes"))
        for pmm in ("no", "yes")
        for length in ("5", "10", "15", "25")
    ]
    assert any("gone.pth: no such file" in reason for reason in reasons(study))
    missing = next(reason for reason in reasons(study) if "pcvos_traditional" in reason)
    assert "--weights pcvos_traditional=FILE" in missing
    by_name = {variant.name: variant for variant in study.variants}
    # At L = 5 progressive matching changes nothing: both rows share one run.
    assert len(by_name) == 14
    assert by_name["pcvos-L10-F5"].settings == {
        "clip_length": 10,
        "refine": True,
        "memory.segment_frames": 5,
    }
    settings = ["clip_length=25", "refine=false", "memory.segment_frames=none"]
    assert by_name["stcn-L25"].flags()[-4:] == ["--set", *settings]


def test_table_2_compares_trainings_of_both_networks(tiny, refined):
    files = {name: refined if role.refined else tiny for name, role in pcvos_roles.ROLES.items()}
    study = pcvos_study("2", [f"{role}={file}" for role, file in files.items()], [5])
    assert cells(study) == [
        ("frame by frame, 3 frames", "no", "no", "5"),
        ("per clip, 2 clips of 3", "yes", "no", "5"),
        ("frame by frame, 3 frames", "no", "yes", "5"),
        ("per clip, 2 clips of 3", "yes", "yes", "5"),
        ("frame by frame, 7 frames", "no", "yes", "5"),
        ("per clip, 2 clips of 2", "yes", "yes", "5"),
        ("per clip, 2 clips of 4", "yes", "yes", "5"),
        ("per clip, 2 clips of 3", "no", "yes", "5"),
    ]
    assert not study.left_out and len({variant.line for variant in study.variants}) == 8
    missing = next(text for text in reasons(pcvos_study("2", [])) if "pcvos_clip9" in text)
    assert "--stage clip --network pcvos --frames 9 --clip_frames 4 --set dice_weight=1" in missing


@pytest.mark.parametrize("name", pcvos_roles.ROLES)
def test_the_recipe_of_a_role_trains_what_the_role_says(name, monkeypatch):
    role = pcvos_roles.ROLES[name]
    monkeypatch.setattr("sys.argv", ["train.py", "--id", "role", *role.recipe()])
    arguments = parse_arguments()
    config = resolve_config(arguments, torch.device("cpu"))
    assert (config.frames, config.clip_frames) == (role.frames, role.clip_frames)
    assert bool(config.dice_weight) == role.dice
    assert (resolve_network(arguments, config).refiner is not None) == role.refined


def test_lfu_compares_networks_trained_with_regularisers_in_each_memory(tiny, monkeypatch):
    weights = lfu.weights_of([f"stcn={tiny}", f"dropout+reallocate={tiny}", "reallocate=gone.pth"])
    study = lfu.study("regularisers", weights)
    memories = ("every-k", "first-and-latest", "lfu-2")
    assert cells(study) == [
        *(("no", "no", memory) for memory in memories),
        *(("0.5", "yes", memory) for memory in memories),
    ]
    dropout, reallocate = reasons(study)
    assert "--set affinity.dropout=0.5" in dropout and "gone.pth: no such file" in reallocate
    for role, affinity in lfu.ROLES.items():
        monkeypatch.setattr("sys.argv", ["train.py", "--id", "role", *lfu.recipe(role)])
        assert resolve_config(parse_arguments(), torch.device("cpu")).affinity == affinity


def test_lfus_capacities_lie_between_the_unbounded_memories_of_one_network(tiny):
    study = lfu.study("capacity", lfu.weights_of([f"stcn={tiny}"]), [2, 1, 2])
    assert names(study) == ["stcn-every-k", "stcn-first-and-latest", "stcn-lfu-2", "stcn-lfu-1"]
    resolved = [system_config("stcn", **variant.settings).memory for variant in study.variants]
    assert [memory.capacity_frames for memory in resolved] == [None, None, 2, 1]
    without = lfu.study("capacity", lfu.weights_of(["stcn=gone.pth"]))
    assert not without.variants and "stcn: gone.pth: no such file" in reasons(without)


def test_tables_8_and_9_compare_the_windows_that_differ_in_their_axes(tmp_path, refined):
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
    spatial, temporal = (pcvos_study(table, given, [5]) for table in "89")
    assert [variant.columns["window"] for variant in temporal.variants] == ["1×2×3", "2×2×3"]
    assert [variant.columns["window"] for variant in spatial.variants] == ["2×2×3", "2×3×3"]
    first, second = (variant.flags() for variant in spatial.variants)
    assert "--window" not in first and "--window" in second
    wrong = next(reason for reason in reasons(spatial) if reason.startswith("pcvos@4x4x4: "))
    assert "windows of 2×3×3, not 4×4×4" in wrong


def test_table_10_treats_segments_as_long_as_the_clip_as_none(refined):
    study = pcvos_study("10", [f"pcvos={refined}"], [10], [3, 10])
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
        pcvos_roles.weights_of(given)


def test_comparison_has_a_row_for_every_system_and_policy_with_weights(tiny, refined):
    given = [f"{name}={refined if config.refine else tiny}" for name, config in SYSTEMS.items()]
    study = systems_study(given, [1, 4])
    reported = "\n".join(reasons(study))
    assert all(name in names(study) or f"{name}: " in reported for name in SYSTEMS)
    assert set(names(study)) >= {
        "stcn",
        "lfu",
        "pcvos",
        "memory-first-and-latest",
        "memory-every-k-last",
        "memory-lfu-1",
        "memory-fifo-4",
    }
    # These are identical to systems stcn and lfu.
    assert not {"memory-every-k", "memory-lfu-4"} & set(names(study))
    for policy in POLICIES.keys() - {"every-k"}:
        prefix = f"memory-{policy}"
        assert prefix in reported or any(name.startswith(prefix) for name in names(study))
    by_name = {variant.name: variant for variant in study.variants}
    lfu = by_name["memory-lfu-1"]
    assert lfu.columns == {"system": "stcn", "memory": "lfu, 1 frame"}
    assert lfu.line == by_name["lfu"].line
    assert by_name["memory-every-k-last"].columns["memory"] == "every-k + last"


def test_comparison_leaves_out_systems_whose_weights_lack_a_part_or_are_missing(tiny):
    study = systems_study([f"stcn={tiny}", f"pcvos={tiny}", "lfu=gone.pth"])
    assert not {"pcvos", "lfu"} & set(names(study))
    refused = next(reason for reason in reasons(study) if reason.startswith("pcvos: "))
    assert "no weights of intra-clip refinement" in refused
    assert "lfu: gone.pth: no such file" in reasons(study)
    assert "memory-lfu-4" in names(study)


def test_a_policy_that_needs_learned_weights_runs_on_the_network_that_has_them(tiny, reducing):
    given = [f"stcn={tiny}", f"remn={reducing}"]
    study = systems_study(given, [4])
    row = next(variant for variant in study.variants if variant.name == "memory-redundancy-4")
    assert (row.weights, row.system) == (reducing, "stcn")
    assert row.columns["system"] == "stcn, weights of remn"
    for variant in study.variants:
        if variant.name.startswith("memory-") and variant is not row:
            assert variant.weights == tiny
    by_default = names(systems_study(given))
    assert [name for name in by_default if "redundancy" in name] == ["memory-redundancy-12"]
    without = systems_study([f"stcn={tiny}", "remn=gone.pth"], [4])
    assert "memory-redundancy-4: gone.pth: no such file" in reasons(without)


def test_capacities_that_a_policy_rounds_to_one_share_a_row_with_the_held_capacity(tiny, reducing):
    study = systems_study([f"stcn={tiny}", f"remn={reducing}"], [2, 4, 9])
    rows = [
        (variant.name, variant.label, variant.columns["memory"], variant.settings["memory_frames"])
        for variant in study.variants
        if variant.line == "redundancy"
    ]
    assert rows == [
        ("memory-redundancy-4", "4", "redundancy, 4 frames", 4),
        ("memory-redundancy-8", "8", "redundancy, 8 frames", 8),
    ]
    assert {"memory-fifo-2", "memory-fifo-4", "memory-fifo-9"} <= set(names(study))


def test_remn_has_each_subset_of_its_modules_and_uses_a_subsets_own_weights(tiny, reducing):
    given = [f"remn={reducing}", f"ASM={tiny}", "FRM+RRM=gone.pth", f"RRM={tiny}"]
    study = remn.study(remn.weights_of(given))
    assert cells(study) == [
        ("no", "no", "no"),
        ("yes", "no", "no"),
        ("no", "yes", "no"),
        ("yes", "yes", "no"),
        ("no", "yes", "yes"),
        ("yes", "yes", "yes"),
    ]
    by_name = {variant.name: variant for variant in study.variants}
    complete = by_name["remn-FRM+ASM+RRM"]
    assert complete.weights == reducing and not complete.settings
    assert by_name["remn-ASM"].weights == tiny
    off = system_config("remn", **by_name["remn-none"].settings)
    assert (off.enhance, off.memory.sampling, off.memory.policy) == (False, "every", "every-k")
    assert "FRM+RRM: gone.pth: no such file" in reasons(study)
    # The tiny network has none of REMN's parts.
    assert "no weights" in next(reason for reason in reasons(study) if reason.startswith("RRM: "))
