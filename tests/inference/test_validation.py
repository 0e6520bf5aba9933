"""Validation while training: an evaluation's scores, from first masks, without effect on training.

What it refuses is in test_refused_requests.py.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_network
from repository import ROOT
from toy_trees import write_davis, write_generic

from dataset import DavisDataset, GenericDataset
from inference import SegmentationSession, VideoSegmenter, system_config
from inference.output.run_folder import RunFolder
from inference.runner import run
from inference.scoring import score_folder
from inference.validation import BestWeights, ValidationScores, Validator
from model import load_network
from model.network import freeze_batch_norms
from util.errors import InputError


@pytest.fixture(scope="module")
def davis(tmp_path_factory) -> Path:
    return write_davis(tmp_path_factory.mktemp("davis"), {"bear": 8, "cow": 5})


def scores_of(j_and_f: float) -> ValidationScores:
    return ValidationScores(
        j=j_and_f, f=j_and_f, j_and_f=j_and_f, per_sequence={"bear": j_and_f}, seconds=1.0
    )


def evaluated(
    dataset,
    truth: Path,
    folder: Path,
    protocol: str,
    network,
    *,
    single_object: bool = False,
    **settings,
):
    """The scores that a run of the evaluation gives."""
    run(
        dataset,
        VideoSegmenter(network, device="cpu", **settings),
        RunFolder(folder, {}),
        lookahead=1,
    )
    return score_folder(truth, folder, protocol=protocol, single_object=single_object)


def assert_same_scores(scores: ValidationScores, report) -> None:
    assert (scores.j, scores.f, scores.j_and_f) == (
        report.overall.j_mean,
        report.overall.f_mean,
        report.overall.jf_mean,
    )
    rows = {
        name: [row.jf_mean for row in report.objects if row.sequence == name]
        for name in scores.per_sequence
    }
    assert scores.per_sequence == {
        name: pytest.approx(np.mean(values)) for name, values in rows.items()
    }
    assert 0 < scores.j_and_f < 1 and scores.seconds > 0


def test_scores_are_those_of_an_evaluation_of_davis(davis, tmp_path, network):
    scores = Validator(davis).score(network)
    assert_same_scores(
        scores,
        evaluated(
            DavisDataset(davis),
            davis / "Annotations/480p",
            tmp_path,
            "davis",
            network,
            resolution=-1,
        ),
    )
    assert list(scores.per_sequence) == ["bear", "cow"]


@pytest.mark.parametrize("split_list", ["2016/val.txt", "480p/val.txt"])
def test_a_root_with_a_list_of_davis_2016_alone_is_scored_as_one_object(
    split_list, tmp_path, network
):
    root = write_davis(tmp_path / "davis", {"bear": 5}, split_list)
    validator = Validator(root)
    dataset = DavisDataset(root, "2016val")
    assert_same_scores(
        validator.score(network),
        evaluated(
            dataset,
            dataset.truth_folder(),
            tmp_path / "out",
            "davis",
            network,
            single_object=True,
            resolution=-1,
        ),
    )
    assert validator.sequences == ("bear",) and validator.settings["single_object"]


def test_scores_are_those_of_an_evaluation_of_other_folders(tmp_path, network):
    root = write_generic(
        tmp_path / "root", "dog", {index: (1, 2) if index > 1 else (1,) for index in range(6)}
    )
    scores = Validator(root, resolution=64).score(network)
    assert_same_scores(
        scores,
        evaluated(
            GenericDataset(root),
            root / "Annotations",
            tmp_path / "out",
            "strict",
            network,
            resolution=64,
        ),
    )


def test_no_truth_but_the_first_masks_reaches_the_engine(tmp_path, network, monkeypatch):
    davis_root = write_davis(tmp_path / "davis", {"bear": 5})
    generic_root = write_generic(
        tmp_path / "generic", "dog", {index: (1, 2) if index > 1 else (1,) for index in range(6)}
    )
    given = []
    step = SegmentationSession.step

    def watched(session, frame, mask=None, **keywords):
        given.append(None if mask is None else set(np.unique(mask).tolist()) - {0})
        return step(session, frame, mask, **keywords)

    monkeypatch.setattr(SegmentationSession, "step", watched)
    Validator(davis_root).score(network)
    assert given == [{1, 2}, None, None, None, None]
    given.clear()
    Validator(generic_root, resolution=-1).score(network)
    assert given == [{1}, None, {2}, None, None, None]


def test_a_validation_changes_neither_network_nor_random_states(davis, monkeypatch):
    session = VideoSegmenter.session

    def drawing(*arguments, **keywords):  # a part that draws random numbers
        torch.rand(3)
        return session(*arguments, **keywords)

    monkeypatch.setattr(VideoSegmenter, "session", drawing)
    network = tiny_network().train()
    freeze_batch_norms(network.key_encoder)
    network.decoder.requires_grad_(False)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    modes = [module.training for module in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    kinds = [type(module) for module in network.modules()]
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()

    Validator(davis, ["cow"]).score(network)

    assert (
        torch.equal(torch.get_rng_state(), before[0])
        and np.array_equal(np.random.get_state()[1], before[1])
        and random.getstate() == before[2]
    )
    assert [module.training for module in network.modules()] == modes and len(set(modes)) == 2
    assert [type(module) for module in network.modules()] == kinds
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(
        torch.equal(parameter.grad, torch.full_like(parameter, 0.5))
        for parameter in network.parameters()
    )
    assert {
        name for name, parameter in network.named_parameters() if not parameter.requires_grad
    } == {name for name, _ in network.named_parameters() if name.startswith("decoder.")}
    assert torch.is_grad_enabled()


def test_a_network_in_training_mode_scores_as_one_in_evaluation_mode(davis):
    validator = Validator(davis, ["cow"])
    assert (
        validator.score(tiny_network().train()).j_and_f
        == validator.score(tiny_network().eval()).j_and_f
    )


def test_max_frames_takes_the_first_of_each_sequence(davis, tmp_path, network):
    short = write_davis(tmp_path / "short", {"bear": 4})  # the same frames, fewer
    assert (
        Validator(davis, ["bear"], max_frames=4).score(network).j_and_f
        == Validator(short).score(network).j_and_f
    )


def test_sequence_folders_name_what_must_not_be_trained_on(davis, tmp_path):
    (tmp_path / "link").symlink_to(davis, target_is_directory=True)
    assert Validator(tmp_path / "link").sequence_folders == {
        (davis / "JPEGImages/480p" / name).resolve() for name in ("bear", "cow")
    }


def test_folders_like_davis_without_lists_are_taken_whole(tmp_path):
    root = write_davis(tmp_path, {"bear": 3, "cow": 3})
    (root / "ImageSets/2017/val.txt").unlink()
    (root / "ImageSets/2017").rmdir()
    (root / "ImageSets").rmdir()
    assert Validator(root).sequences == ("bear", "cow")


def write_truth(root: Path) -> Path:
    """A video whose truth is a folder of its own: one mask is given, all are of the truth."""
    write_generic(root, "dog", dict.fromkeys(range(5), (1, 2)), count=5)
    shutil.copytree(root / "Annotations", root / "Truth")
    for path in (root / "Annotations/dog").glob("0000[2-4].png"):
        path.unlink()
    return root


def test_the_truth_in_a_folder_of_its_own_is_what_is_scored_by(tmp_path, network):
    root = write_truth(tmp_path / "root")
    validator = Validator(root, resolution=64)
    assert_same_scores(
        validator.score(network),
        evaluated(
            GenericDataset(root), root / "Truth", tmp_path / "out", "strict", network, resolution=64
        ),
    )
    assert validator.settings["truth"] == "Truth"
    shutil.rmtree(root / "Truth/dog")
    with pytest.raises(InputError, match="Annotations/dog: 2 masks in the 5 frames"):
        Validator(root)


def test_several_processes_share_the_sequences_and_get_the_same_scores(davis, tmp_path, network):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
        import dataclasses, json, sys
        from pathlib import Path
        import torch
        from conftest import tiny_network, tiny_network_name
        from inference.validation import Validator
        from util.distributed import process_group, rank
        with process_group(torch.device("cpu")):
            scores = []
            for sequences in (None, ["cow"]):  # the second gives one process no sequence
                validator = Validator(sys.argv[1], sequences)
                scores.append(dataclasses.asdict(validator.score(tiny_network())))
            Path(sys.argv[2], f"{rank()}.json").write_text(json.dumps(scores))
        """)
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    subprocess.run(
        [*launcher, str(program), str(davis), str(tmp_path)],
        env=environment,
        check=True,
        capture_output=True,
        timeout=300,
    )
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert one == other
    for found, sequences in zip(one, (None, ["cow"]), strict=True):
        alone = Validator(davis, sequences).score(network)
        assert found["per_sequence"] == alone.per_sequence and found["j_and_f"] == pytest.approx(
            alone.j_and_f, abs=1e-12
        )


def test_the_best_weights_are_kept_over_a_resume(tmp_path):
    best = BestWeights(tmp_path, {"sequences": ("bear",)})
    worse, better = tiny_network(), tiny_network(2.0)
    assert best.offer(10, scores_of(0.5), worse)
    assert best.offer(20, scores_of(0.7), better)
    assert not best.offer(30, scores_of(0.7), worse)
    again = BestWeights(tmp_path, {"sequences": ("bear",)})
    assert (again.iteration, again.j_and_f) == (20, 0.7)
    assert not again.offer(40, scores_of(0.6), worse)
    kept = load_network(tmp_path / "best.pth")
    assert torch.equal(kept.decoder.pred.weight, better.decoder.pred.weight)
    record = json.loads((tmp_path / "best.json").read_text())
    assert (
        record["iteration"] == 20
        and record["j_and_f"] == 0.7
        and record["per_sequence"] == {"bear": 0.7}
    )


def test_scores_of_another_validation_are_not_compared(tmp_path, caplog):
    BestWeights(tmp_path, {"max_frames": 5}).offer(10, scores_of(0.9), tiny_network())
    best = BestWeights(tmp_path, {"max_frames": None})
    assert "another validation" in caplog.text
    assert best.offer(20, scores_of(0.5), tiny_network())


def test_best_weights_of_a_version_without_permanent_memory_are_kept(tmp_path):
    settings = {"system": system_config("stcn").as_dict()}
    BestWeights(tmp_path, settings).offer(10, scores_of(0.5), tiny_network())
    path = tmp_path / "best.json"
    record = json.loads(path.read_text())
    del record["validation"]["system"]["memory"]["permanent"]
    path.write_text(json.dumps(record))
    assert BestWeights(tmp_path, settings).j_and_f == 0.5
    permanent = {"system": system_config("stcn", permanent_memory=True).as_dict()}
    assert BestWeights(tmp_path, permanent).j_and_f is None


def test_a_training_from_scratch_ignores_earlier_best_weights(tmp_path):
    BestWeights(tmp_path, {}).offer(10, scores_of(0.9), tiny_network())
    assert BestWeights(tmp_path, {}, from_scratch=True).offer(5, scores_of(0.5), tiny_network())


def test_the_former_best_weights_are_kept_if_new_ones_cannot_be_written(tmp_path, monkeypatch):
    best = BestWeights(tmp_path, {})
    best.offer(10, scores_of(0.5), tiny_network())

    def full(*_):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("inference.validation.save_weights", full)
        with pytest.raises(OSError, match="No space"):
            best.offer(20, scores_of(0.7), tiny_network())
    assert BestWeights(tmp_path, {}).j_and_f == best.j_and_f == 0.5
    assert best.offer(30, scores_of(0.6), tiny_network())


def test_a_damaged_record_of_the_best_weights_is_refused(tmp_path):
    (tmp_path / "best.json").write_text('{"iteration": ')
    with pytest.raises(InputError, match="remove it"):
        BestWeights(tmp_path, {})
