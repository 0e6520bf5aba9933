"""Training in channels-last on the CPU writes nothing beyond its memory: in processes of their own,
since what does so may crash much later, or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_processes import ENVIRONMENT

from model import build_network
from model.config import PRESETS, EncoderConfig
from model.encoders import KeyEncoder

CHECKED_HEAP = "libc_malloc_debug.so.0"  # of glibc: without it MALLOC_CHECK_ does nothing

STEPS = """
import sys, torch
from model import build_network
from model.training.trainer import Trainer
from model.training.stages import TrainingConfig
preset, batch, threads, *crops = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(threads)
torch.manual_seed(0)
settings = {
    "tiny_remn": {"frames": 7, "reduce_frames": 4},
    "tiny_pcvos": {"frames": 4, "clip_frames": 3},
}.get(preset, {})
config = TrainingConfig(
    stage="0", network=preset, mix=(), batch_size=batch, iterations=9, amp="off", **settings
)
trainer = Trainer(build_network(preset), config, torch.device("cpu"))
for crop in crops:
    shape = batch, config.frames
    frames = torch.randint(256, (*shape, 3, crop, crop), dtype=torch.uint8)
    labels = torch.randint(2, (*shape, crop, crop), dtype=torch.uint8)
    one_object = torch.ones(batch, dtype=torch.int64)
    sample = {"frames": frames, "labels": labels, "num_objects": one_object}
    trainer.backward(trainer.forward(sample).loss)
    assert all(bool(parameter.grad.isfinite().all()) for parameter in trainer.network.parameters())
    trainer.step()
"""


def checked_heap() -> dict[str, str]:
    """The environment in which glibc looks at every block it frees, where that can be had."""
    folders = [Path("/lib/x86_64-linux-gnu"), Path("/usr/lib64"), Path("/lib64"), Path("/usr/lib")]
    found = [str(folder / CHECKED_HEAP) for folder in folders if (folder / CHECKED_HEAP).is_file()]
    return {
        "MALLOC_CHECK_": "3",
        "MALLOC_PERTURB_": "165",
        **({"LD_PRELOAD": found[0]} if found else {}),
    }


@pytest.mark.parametrize(
    ("preset", "batch", "threads", "crops"),
    [
        ("tiny", 2, 1, (192, 256, 384)),
        ("tiny", 1, 2, (192, 256)),
        ("tiny_pcvos", 1, 1, (192, 256)),
        ("tiny_remn", 1, 1, (192, 256)),
    ],
)
def test_training_with_few_channels_leaves_the_heap_whole(preset, batch, threads, crops):
    command = [sys.executable, "-c", STEPS, *map(str, (preset, batch, threads, *crops))]
    environment = {**ENVIRONMENT, **checked_heap(), "OMP_WAIT_POLICY": "PASSIVE"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-2000:]


@pytest.mark.parametrize("channels", [3, 15, 16])
def test_strided_shortcuts_of_few_channels_are_what_torch_computes_plainly(channels):
    """In the plain memory format, which is safe: values and gradients, at odd sizes too."""
    config = EncoderConfig(
        block="basic", stem_channels=8, planes=(channels, 8, 8), depths=(1, 1, 1)
    )
    shortcut = KeyEncoder(config).layer2[0].downsample[0]
    x = torch.randn(2, channels, 9, 12)
    expected = torch.nn.functional.conv2d(x, shortcut.weight, None, 2)
    (slope,) = torch.autograd.grad(expected.square().sum(), shortcut.weight)
    found = shortcut(x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), shortcut.weight)[0], slope)


def test_no_network_has_a_strided_convolution_that_torch_computes_unsafely():
    """Whatever the preset: strided 1×1 convolutions of few channels are ours."""
    for name in PRESETS:
        with torch.device("meta"):
            network = build_network(name)
        for module in network.modules():
            if (
                type(module) is torch.nn.Conv2d
                and module.kernel_size == (1, 1)
                and module.stride != (1, 1)
            ):
                assert module.in_channels >= 16, name
