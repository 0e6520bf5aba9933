"""What test files share: one thread, tiny networks whose weights predict something, a toy clip."""

import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from deterministic import clip, fill

from inference import SYSTEMS, FrameResult, VideoSegmenter, system_config
from inference.memory import POLICIES
from model import PRESETS, NetworkConfig, VOSNetwork, build_network

# tests run beside other work; results must not depend on the number of threads anyway
torch.set_num_threads(1)

PROBABILITY_TOLERANCE = 2e-4  # between probabilities that differ by rounding alone
TIE = 1e-3  # the two largest probabilities may swap if they are this close


class Clip(NamedTuple):
    """frames uint8 RGB [T, H, W, 3] and labels uint8 [T, H, W] of ids 1 and 2."""

    frames: np.ndarray
    labels: np.ndarray

    def masks(self, object_id: int, index: int = 0) -> np.ndarray:
        """The labels of frame `index` with one object alone."""
        return np.where(self.labels[index] == object_id, self.labels[index], 0)


@pytest.fixture(scope="session")
def made_clip() -> Clip:
    """12 frames of 48×64 that always show both objects."""
    frames, labels = clip()
    part = np.s_[:, 16:112:2, 40:168:2]
    return Clip(frames[part].copy(), labels[part].copy())


def tiny_network(logit_scale: float = 0.5, name: str | NetworkConfig = "tiny") -> VOSNetwork:
    """A tiny preset, or the network of a configuration, with deterministic weights.

    It predicts background and both objects of the toy clip.
    """
    network = fill(build_network(name))
    with torch.no_grad():
        network.decoder.pred.weight.mul_(logit_scale)
    return network


@pytest.fixture(scope="session")
def network() -> VOSNetwork:
    """A tiny network for all tests; not to be changed."""
    return tiny_network()


@pytest.fixture(scope="session")
def refined_network() -> VOSNetwork:
    """A tiny network with intra-clip refinement; not to be changed."""
    return tiny_network(name="tiny_pcvos")


@pytest.fixture(scope="session")
def reinforced_network() -> VOSNetwork:
    """A tiny network with foreground reinforcing and redundancy reduction; not to be changed.

    The first changes keys a lot, the second averages.
    """
    network = tiny_network(name="tiny_remn")
    with torch.no_grad():
        network.foreground_reinforcing.gain.fill_(0.5)
    for reduction in (*network.redundancy_reduction.keys, *network.redundancy_reduction.values):
        reduction.start_as_average()
    return network


def tiny_network_name(system: str) -> str:
    """The tiny preset that has the slots of a system."""
    return next(
        name
        for name, config in PRESETS.items()
        if name.startswith("tiny")
        and all(getattr(config, slot) is not None for slot in SYSTEMS[system].slots)
    )


@pytest.fixture(scope="session")
def network_of_slots(reinforced_network: VOSNetwork) -> Callable[[Collection[str]], VOSNetwork]:
    """network_of_slots(slots): a tiny network with these slots filled; not to be changed."""

    @functools.cache
    def build(slots: frozenset[str]) -> VOSNetwork:
        parts = {
            slot: getattr(PRESETS["tiny_pcvos" if slot == "refiner" else "tiny_remn"], slot)
            for slot in slots
        }
        network = tiny_network(name=dataclasses.replace(PRESETS["tiny"], **parts))
        learned = reinforced_network.state_dict()
        network.load_state_dict(
            {name: learned.get(name, value) for name, value in network.state_dict().items()}
        )
        return network

    return lambda slots: build(frozenset(slots))


@pytest.fixture
def make_segmenter(
    network_of_slots: Callable[[Collection[str]], VOSNetwork],
) -> Callable[..., VideoSegmenter]:
    """make_segmenter(system="stcn", **overrides): a segmenter on the CPU.

    Its network is tiny and has the slots that are used, and no others.
    """

    def make(system: str = "stcn", **overrides: Any) -> VideoSegmenter:
        return VideoSegmenter(
            network_of_slots(system_config(system, **overrides).slots),
            system,
            device="cpu",
            **overrides,
        )

    return make


@pytest.fixture(params=sorted(POLICIES))
def policy(request: pytest.FixtureRequest) -> str:
    """Every memory policy in turn."""
    return request.param


def assert_same_results(
    ours: list[FrameResult], theirs: list[FrameResult], tolerance: float = PROBABILITY_TOLERANCE
) -> None:
    """The same frames and objects, probabilities within `tolerance`, labels equal outside ties."""
    assert [result.frame_index for result in ours] == [result.frame_index for result in theirs]
    for one, other in zip(ours, theirs):
        assert one.object_ids == other.object_ids
        torch.testing.assert_close(one.probabilities, other.probabilities, rtol=0, atol=tolerance)
        assert_same_labels(one, other.labels)


def assert_same_labels(result: FrameResult, labels: np.ndarray) -> None:
    """A result's labels equal `labels` outside ties."""
    assert result.labels.shape == labels.shape
    differs = result.labels != labels
    if result.probabilities.shape[0] > 1:
        best = result.probabilities.topk(2, dim=0).values
        differs &= (best[0] - best[1]).numpy() >= TIE
    assert not differs.any(), (
        f"frame {result.frame_index}: {differs.sum()} labels differ outside ties"
    )
