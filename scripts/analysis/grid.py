"""Videos as the network's keys see them: positions at stride 16, and where they lie in the frame. Legend: H W frame size, h w at stride 16, C^k key channels."""

import cv2
import numpy as np
import torch
from torch import Tensor

from inference import VideoSegmenter
from inference.frames import Geometry, as_image
from model.network import STRIDE
from util.errors import InputError


class Grid:
    """The positions of a frame of some size at a working resolution: cells of 16 × 16 pixels there, numbered row by row."""

    def __init__(self, size: tuple[int, int], resolution: int):
        self._geometry = Geometry.of(size, resolution)
        self.size = size
        self.shape: tuple[int, int] = self._geometry.grid

    def cell_of(self, x: float, y: float) -> int:
        """The cell that holds pixel (x, y) of the frame. Raises InputError outside of it."""
        height, width = self.size
        if not (0 <= x < width and 0 <= y < height):
            raise InputError(
                f"point {x:g},{y:g}: outside the frame of {width}x{height} pixels (x,y, from the upper left corner)"
            )
        row, column = (
            (value * scale + before) // STRIDE
            for value, scale, before in zip((y, x), self._scales, self._padding)
        )
        return int(row) * self.shape[1] + int(column)

    def centre_of(self, cell: int) -> tuple[float, float]:
        """x, y of a cell's middle in the frame, inside it."""
        row, column = divmod(cell, self.shape[1])
        y, x = (
            ((index + 0.5) * STRIDE - before) / scale
            for index, scale, before in zip((row, column), self._scales, self._padding)
        )
        return min(max(x, 0.0), self.size[1] - 1.0), min(max(y, 0.0), self.size[0] - 1.0)

    def to_pixels(self, values: np.ndarray) -> np.ndarray:
        """Values of the cells [h * w] at every pixel of the frame, [H, W]."""
        enlarged = np.kron(values.reshape(self.shape), np.ones((STRIDE, STRIDE), values.dtype))
        inside = self._geometry.padding.crop(torch.from_numpy(enlarged)).numpy()
        return cv2.resize(
            np.ascontiguousarray(inside), self.size[::-1], interpolation=cv2.INTER_NEAREST
        )

    @property
    def _scales(self) -> tuple[float, float]:
        return self._geometry.working_size[0] / self.size[0], self._geometry.working_size[
            1
        ] / self.size[1]

    @property
    def _padding(self) -> tuple[int, int]:
        return self._geometry.padding.top, self._geometry.padding.left

    def keys(self, segmenter: VideoSegmenter, image: np.ndarray) -> Tensor:
        """The keys [h * w, C^k], float32, of a frame uint8 RGB [H, W, 3] of this size, on the segmenter's device."""
        with torch.no_grad():
            batch = self._geometry.to_network([as_image(image, "frame").to(segmenter.device)])
            return segmenter.network.encode_key(batch).key[0].float().flatten(1).T.contiguous()
