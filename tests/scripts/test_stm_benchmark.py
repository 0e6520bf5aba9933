"""STM's design as a timing reference: it computes what is characteristic of it, and is timed."""

import json
import math

import torch

from scripts import benchmark
from scripts.benchmarks.components import STM
from scripts.benchmarks.reference import ReferenceVideo
from scripts.benchmarks.stm import StmMemory, StmNetwork
from scripts.benchmarks.synthetic import MovingScene, synthetic_network
from scripts.benchmarks.workload import COMPONENTS, SIDES

KEY, VALUE = 4, 3  # channels
OBJECTS = 2


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_each_object_reads_by_dot_products_with_its_own_keys():
    memory = StmMemory(top_k=5)
    written = [draw(OBJECTS, KEY + VALUE, 2, 3) * scale for scale in (1, 0.5)]
    query = draw(1, KEY, 2, 3)
    for frame in written:
        memory.write(query, frame)
    readout = memory.read(query)
    assert readout.shape == (OBJECTS, VALUE, 2, 3)
    for number in range(OBJECTS):
        held = torch.cat([frame[number].flatten(1) for frame in written], dim=1)
        keys, values = held.split([KEY, VALUE])
        scores = query[0].flatten(1).T @ keys / math.sqrt(KEY)  # [6, 12]
        best = scores.topk(5, dim=1)
        for position in range(6):
            weights, elements = best.values[position].softmax(0), best.indices[position]
            expected = (values[:, elements] * weights).sum(1)
            torch.testing.assert_close(readout[number].flatten(1)[:, position], expected)


def test_the_memory_encoder_sees_every_object_and_gives_it_keys_of_its_own():
    network = synthetic_network("tiny")
    scene = MovingScene(32, 48, OBJECTS)
    video = ReferenceVideo(StmNetwork(network), scene.frames(7), 7, scene.labels(0))
    labels = video.run()
    assert labels.shape == (7, 32, 48) and video.memorised == [0, 5]
    config = network.config
    assert video.memory.keys.shape == (OBJECTS, config.key_channels, 2 * 2 * 3)
    assert video.memory.values.shape == (OBJECTS, config.value_channels, 2 * 2 * 3)
    assert not torch.allclose(*video.memory.keys)


def test_components_of_stm_are_timed_beside_both_sides(tmp_path, monkeypatch, capsys):
    size = "--network tiny --height 32 --width 48 --frames 3 --objects 2 --repeats 1 --threads 1"
    written = ["--json", str(tmp_path / "figures.json"), "--plot", str(tmp_path / "plot.png")]
    command = ["benchmark.py", "components", *size.split(), "--beside", "stm", *written]
    monkeypatch.setattr("sys.argv", command)
    assert benchmark.main() == 0
    sides = [*SIDES, STM]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 2 |")]
    assert [line.split("|")[2].strip() for line in lines] == sides
    (row,) = json.loads((tmp_path / "figures.json").read_text())["figures"]
    times = row["milliseconds"]
    assert list(times) == sides
    assert all(times[side][component] > 0 for side in sides for component in COMPONENTS)
    assert (tmp_path / "plot.png").is_file()
