"""Batches of samples loaded by workers: shares, caches, signals and ends."""

import multiprocessing
import os
import signal
import subprocess
import sys

import pytest
import torch
from repository import ROOT
from training_trees import make_davis, make_stills

from dataset.training import cache
from dataset.training.loading import training_batches
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data

SIDE = 32


@pytest.fixture
def static_root(tmp_path):
    return make_stills(tmp_path / "static")


def build(samples, mix, **roots):
    return build_training_data(
        TrainingRoots(**roots), SampleConfig(crop_size=SIDE), mix=mix, samples=samples, seed=0
    )


def build_stills(root, samples):
    return build(samples, {"static": 1.0}, static=[root])


def test_batches_are_shared_among_processes_and_parts_without_changing_what_is_in_them(
    static_root, monkeypatch
):
    data = build_stills(static_root, samples=16)
    whole = [batch.tensors["frames"] for batch in training_batches(data, 8, workers=0)]
    monkeypatch.setenv("WORLD_SIZE", "2")
    for iteration in (0, 1):
        parts = []
        for rank in (0, 1):
            monkeypatch.setenv("RANK", str(rank))
            batches = list(training_batches(data, 8, iteration, workers=0, accumulate=2))
            assert len(batches) == 2 * (2 - iteration)
            parts += [batch.tensors["frames"] for batch in batches[:2]]
        assert torch.equal(torch.cat(parts), whole[iteration])


def test_a_worker_decodes_a_file_once_while_its_cache_has_room(tmp_path, monkeypatch):
    """The same worker serves the whole training, and clips take their frames from its cache."""
    log, read_image = tmp_path / "decoded.txt", cache.read_image

    def read_and_log(path):
        with log.open("a") as file:
            file.write(f"{os.getpid()} {path.parent.name}/{path.name}\n")
        return read_image(path)

    monkeypatch.setattr(cache, "read_image", read_and_log)
    data = build(60, {"video": 1.0}, davis=[make_davis(tmp_path / "davis")])
    assert len(list(training_batches(data, 4, workers=1))) == 15
    workers, files = zip(*(line.split() for line in log.read_text().splitlines()), strict=True)
    names = [f"{video}/{index:05d}.jpg" for video in ("bear", "boat") for index in range(8)]
    assert sorted(files) == names
    assert len(set(workers)) == 1 and workers[0] != str(os.getpid())


def test_workers_outlive_the_signals_that_a_scheduler_sends_to_all(static_root):
    batches = iter(training_batches(build_stills(static_root, samples=400), 2, workers=1))
    first = next(batches)
    (worker,) = [child for child in multiprocessing.active_children() if child.daemon]
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(worker.pid, number)
    assert sum(1 for _ in batches) == 199 and first.tensors["frames"].shape[0] == 2


CRASH = """
from dataset.training.loading import training_batches
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data
config = SampleConfig(crop_size=32)
data = build_training_data(TrainingRoots(), config, mix={"synthetic": 1.0}, samples=400, seed=0)
batches = iter(training_batches(data, 2, workers=1))
next(batches)
raise RuntimeError("a defect")
"""


def test_a_crash_of_the_main_process_does_not_wait_for_workers_that_ignore_signals():
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CRASH], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and done.stderr.rstrip().endswith("RuntimeError: a defect")
