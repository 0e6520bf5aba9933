"""The loss monitor detects trainings that diverge, and no others."""

import numpy as np
import pytest
import torch

from model.training.loss_monitor import LossMonitor


def first_problem(losses: np.ndarray) -> int | None:
    """Number of the first iteration at which the monitor finds a problem, from 0."""
    monitor = LossMonitor()
    for iteration, loss in enumerate(torch.from_numpy(losses)):
        monitor.add(iteration, [loss])
    found = monitor.check()
    return None if found is None else found[0]


def noisy(means: np.ndarray, seed: int = 0) -> np.ndarray:
    """Losses as batches give them: log-normal around their means; 2 % are four times as high."""
    random = np.random.default_rng(seed)
    return (
        means
        * random.lognormal(0, 0.5, len(means))
        * np.where(random.random(len(means)) < 0.02, 4.0, 1.0)
    )


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_is_a_problem_at_once(loss):
    assert first_problem(np.array([1.0, 0.9, loss])) == 2


@pytest.mark.parametrize("seed", range(5))
def test_a_falling_loss_is_no_problem(seed):
    falling = 0.05 + 2.2 * np.exp(-np.arange(3000) / 300)
    assert first_problem(noisy(falling, seed)) is None


@pytest.mark.parametrize("seed", range(5))
def test_a_loss_that_rises_with_bootstrapping_is_no_problem(seed):
    """With the hardest 15 % of the pixels, the loss of the same predictions rises up to 1 / 0.15
    times."""
    learned = 0.05 + 2.2 * np.exp(-np.arange(6000) / 300)
    rising = learned / np.interp(np.arange(6000), [2000, 4000], [1.0, 0.15])
    assert rising[4000] / rising[2000] > 6
    assert first_problem(noisy(rising, seed)) is None


@pytest.mark.parametrize("exploded", [10.0, 100.0, 1e6])
def test_an_exploding_loss_is_detected_within_the_window(exploded):
    losses = noisy(np.concatenate([np.full(500, 0.3), np.full(200, exploded)]))
    assert 500 <= first_problem(losses) < 560


def test_one_bad_batch_is_no_problem():
    losses = np.full(500, 0.3)
    losses[300] = 100.0
    assert first_problem(losses) is None


def test_a_problem_is_named_with_its_iteration():
    monitor = LossMonitor(window=2)
    found = []
    for iteration, loss in enumerate((1.0, 1.0, 50.0, float("nan"))):
        monitor.add(iteration, [torch.tensor(loss)])
        found.append(monitor.check())
    assert found[:2] == [None, None]
    assert found[2][0] == 2 and "explodes" in found[2][1]
    assert found[3] == (3, "the loss is nan")
