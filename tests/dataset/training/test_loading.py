"""Batches of samples loaded by workers: shares, caches, signals and ends."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from unittest import mock

import numpy as np
import pytest
import torch
from repository import ROOT
from training_trees import make_davis, make_stills

from dataset.training import cache
from dataset.training.loading import training_batches
from dataset.training.samples import MixedTrainingData
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data
from util.errors import InputError

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


@pytest.fixture
def started_workers() -> Callable[[], list[multiprocessing.process.BaseProcess]]:
    """started_workers(): those that the test has started; earlier tests may have left some."""
    earlier = multiprocessing.active_children()

    def started() -> list[multiprocessing.process.BaseProcess]:
        children = multiprocessing.active_children()
        return [child for child in children if child.daemon and child not in earlier]

    return started


def test_workers_outlive_the_signals_that_a_scheduler_sends_to_all(static_root, started_workers):
    batches = iter(training_batches(build_stills(static_root, samples=400), 2, workers=1))
    first = next(batches)
    (worker,) = started_workers()
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(worker.pid, number)
    assert sum(1 for _ in batches) == 199 and first.tensors["frames"].shape[0] == 2


CRASH = """
from dataset.training.loading import training_batches
from dataset.training.samples import MixedTrainingData
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data
from util.errors import InputError
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


def test_batches_do_not_depend_on_the_iteration_that_training_resumed_from():
    data = build(8, {"synthetic": 1.0})
    whole, resumed = (list(training_batches(data, 2, first, workers=0)) for first in (0, 2))
    assert len(whole) == 4 and len(resumed) == 2
    for ours, theirs in zip(whole[2:], resumed, strict=True):
        assert torch.equal(ours.tensors["frames"], theirs.tensors["frames"])


def test_memory_is_not_pinned_unless_asked_for(monkeypatch):
    """Pinning opens a context on the GPU, wherever the training is."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    loader = mock.Mock(return_value=[])
    monkeypatch.setattr("dataset.training.loading.DataLoader", loader)
    assert list(training_batches(build(8, {"synthetic": 1.0}), 2, workers=0)) == []
    assert loader.call_args.kwargs["pin_memory"] is False


# Workers that die, hang, or run out of memory


@pytest.fixture
def synthetic_data() -> MixedTrainingData:
    return build(4000, {"synthetic": 1.0})


def test_a_killed_worker_is_one_line_at_the_next_batch_and_nowhere_else(
    synthetic_data, started_workers
):
    batches = training_batches(synthetic_data, 2, workers=1)
    next(batches)
    os.kill(started_workers()[0].pid, signal.SIGKILL)
    time.sleep(0.5)  # the signal of its death arrives here, in place of a step
    words = r"loading: a loading process has died \(.*\), .*; give fewer --num_workers"
    with pytest.raises(InputError, match=words):
        for _ in range(20):
            next(batches)
    assert not started_workers()


def test_a_hung_worker_is_noticed_after_the_time_that_is_set(synthetic_data, started_workers):
    batches = training_batches(synthetic_data, 2, workers=1, patience_seconds=4)
    next(batches)
    os.kill(started_workers()[0].pid, signal.SIGSTOP)
    start = time.monotonic()
    words = "loading: no batch came for 4 seconds: .*--worker_patience"
    with pytest.raises(InputError, match=words):
        for _ in range(20):
            next(batches)
    assert time.monotonic() - start < 30
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_loading_restores_the_handlers_of_signals(synthetic_data):
    before, children = signal.getsignal(signal.SIGALRM), set(multiprocessing.active_children())
    batches = training_batches(synthetic_data, 2, workers=1)
    next(batches)
    assert signal.getsignal(signal.SIGALRM) is not before
    batches.close()
    assert signal.getsignal(signal.SIGALRM) is before
    # with Python 3.10 and torch 2.4 the workers live until the program ends
    if sys.version_info >= (3, 11):
        assert set(multiprocessing.active_children()) <= children


class OutOfMemory:
    """A source of samples for which there is not enough memory."""

    distinct_samples = None

    def sample(self, rng: np.random.Generator, progress: float) -> None:
        raise MemoryError("std::bad_alloc")


@pytest.mark.parametrize("workers", [0, 1])
def test_too_little_memory_in_loading_is_one_line(workers, started_workers):
    data = MixedTrainingData([(OutOfMemory(), 1.0)], 4, seed=0)
    words = "loading: too little memory; give fewer --num_workers or a smaller --cache_megabytes"
    with pytest.raises(InputError, match=words):
        next(training_batches(data, 2, workers=workers))
    # A worker that ended later would be reported by torch as crashed, wherever the program is.
    assert not started_workers()
