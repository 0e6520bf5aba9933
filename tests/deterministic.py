"""Weights and a clip that are functions of names alone: those of the golden files in tests/data.

Every array comes from NumPy's PCG64, seeded with the CRC-32 of a name, so that a network of 200 MB
need not be shipped to be compared with.

Legend: T frames, H W size, W waves of a texture.
"""

import math
import zlib

import numpy as np
import torch
from torch import nn

_GAINS = {"key_proj.key_proj.weight": 0.5, "decoder.pred.weight": 1.0}
_GAIN = 1.4
_DEVIATIONS = {"running_mean": 0.05, "bias": 0.02, "relative_position_bias_table": 0.2}
_WAVES = 24
# of each object: centre y x, radius y x, speed y x in pixels a frame
_BLOBS = (
    (46, 60, 26, 34, 1.2, 3.0),
    (70, 140, 30, 24, -1.0, -2.0),
)


def _generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of the state-dict entry `name`: float32, or int64 zeros for num_batches_tracked.

    Norms are near the identity; the last one of a residual branch is damped, or activations would
    grow block by block. Biases are small, convolutions and linears normal with variance
    gain / fan-in.
    """
    draw = _generator(name)
    kind = name.rpartition(".")[2]
    if kind == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if kind == "running_var":
        values = draw.uniform(0.8, 1.2, shape)
    elif kind in _DEVIATIONS:
        values = _DEVIATIONS[kind] * draw.standard_normal(shape)
    elif len(shape) == 1:
        ends_branch = name.endswith(".bn3.weight") or (
            name.startswith("value_encoder.layer") and name.endswith(".bn2.weight")
        )
        values = draw.uniform(0.8, 1.2, shape) * (0.3 if ends_branch else 1.0)
    else:
        values = draw.standard_normal(shape) * np.sqrt(
            _GAINS.get(name, _GAIN) / math.prod(shape[1:])
        )
    return values.astype(np.float32)


def fill(network: nn.Module) -> nn.Module:
    """Give every entry of the network's state dict its value; returns the network."""
    network.load_state_dict(
        {
            name: torch.from_numpy(np.asarray(weight(name, tuple(value.shape))))
            for name, value in network.state_dict().items()
        }
    )
    return network


class _Texture:
    """A sum of plane waves with a random spectrum, continuous in y and x."""

    def __init__(self, draw: np.random.Generator):
        self.frequency_y, self.frequency_x = draw.uniform(-0.35, 0.35, (2, _WAVES))
        self.phases = draw.uniform(0, 2 * np.pi, (3, _WAVES))
        self.amplitudes = draw.uniform(0.2, 1.0, (3, _WAVES)) * 60 / math.sqrt(_WAVES)
        self.means = draw.uniform(70, 185, 3)

    def __call__(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Colours [..., 3] at positions y, x [...]."""
        angles = y[..., None] * self.frequency_y + x[..., None] * self.frequency_x  # [..., W]
        return self.means + np.stack(
            [
                np.sin(angles + phase) @ amplitude
                for phase, amplitude in zip(self.phases, self.amplitudes)
            ],
            axis=-1,
        )


def clip(length: int = 12, height: int = 116, width: int = 204) -> tuple[np.ndarray, np.ndarray]:
    """Two wobbling, textured blobs that cross a drifting texture.

    Returns frames, uint8 RGB [T, H, W, 3], and labels, uint8 [T, H, W], of ids 1 and 2.
    """
    draw = _generator("clip")
    background, *skins = (_Texture(draw) for _ in range(1 + len(_BLOBS)))
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    frames, labels = (
        np.empty((length, height, width, 3), np.uint8),
        np.zeros((length, height, width), np.uint8),
    )
    for t in range(length):
        image = background(rows + 0.5 * t, columns - 0.8 * t)
        for number, (skin, (centre_y, centre_x, radius_y, radius_x, speed_y, speed_x)) in enumerate(
            zip(skins, _BLOBS)
        ):
            y, x = rows - (centre_y + speed_y * t), columns - (centre_x + speed_x * t)
            outline = 1 + 0.18 * np.sin(3 * np.arctan2(y, x) + 0.15 * t + number)
            inside = np.square(y / radius_y) + np.square(x / radius_x) < np.square(outline)
            image[inside] = skin(y[inside], x[inside])
            labels[t][inside] = number + 1
        frames[t] = np.rint(image).clip(0, 255)
    return frames, labels
