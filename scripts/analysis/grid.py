"""The positions of a frame's keys at stride 16, and where they lie in the frame.

Legend: H W height and width of a frame, h w the same at stride 16, C^k key channels.
"""

import cv2
import numpy as np
import torch
from torch import Tensor

from inference import VideoSegmenter
from inference.frames import Geometry, as_image
from model.network import STRIDE
from util.errors import InputError


class Grid:
    """The cells of frames of one size: 16 × 16 pixels at the working resolution, row by row.

    size: (H, W). resolution: the shorter side that frames are resized to; -1: as stored.
    shape: (h, w).
    """

    def __init__(self, size: tuple[int, int], resolution: int):
        self._geometry = Geometry.of(size, resolution)
        self.size = size
        self.shape: tuple[int, int] = self._geometry.grid

    def cell_of(self, x: float, y: float) -> int:
        """The cell that contains pixel (x, y). Raises InputError outside the frame."""
        height, width = self.size
        if not (0 <= x < width and 0 <= y < height):
            raise InputError(
                f"point {x:g},{y:g}: outside the frame of {width}x{height} pixels (x,y, from the "
                "upper left corner)"
            )
        row, column = (
            (value * scale + padding) // STRIDE
            for value, scale, padding in zip((y, x), self._scales, self._padding)
        )
        return int(row) * self.shape[1] + int(column)

    def centre_of(self, cell: int) -> tuple[float, float]:
        """The (x, y) of a cell's centre, clipped to the frame."""
        y, x = (
            ((index + 0.5) * STRIDE - padding) / scale
            for index, scale, padding in zip(
                divmod(cell, self.shape[1]), self._scales, self._padding
            )
        )
        return min(max(x, 0.0), self.size[1] - 1.0), min(max(y, 0.0), self.size[0] - 1.0)

    def to_pixels(self, values: np.ndarray) -> np.ndarray:
        """Spread the cells' values [h * w] over the pixels of the frame, [H, W]."""
        enlarged = np.kron(values.reshape(self.shape), np.ones((STRIDE, STRIDE), values.dtype))
        inside = self._geometry.padding.crop(torch.from_numpy(enlarged)).numpy()
        return cv2.resize(
            np.ascontiguousarray(inside), self.size[::-1], interpolation=cv2.INTER_NEAREST
        )

    def keys(self, segmenter: VideoSegmenter, image: np.ndarray) -> Tensor:
        """The keys of a frame of this size, float32 [h * w, C^k], on the segmenter's device.

        image: uint8 RGB [H, W, 3].
        """
        with torch.no_grad():
            batch = self._geometry.to_network([as_image(image, "frame").to(segmenter.device)])
            return segmenter.network.encode_key(batch).key[0].float().flatten(1).T.contiguous()

    @property
    def _scales(self) -> tuple[float, float]:
        height, width = self._geometry.working_size
        return height / self.size[0], width / self.size[1]

    @property
    def _padding(self) -> tuple[int, int]:
        return self._geometry.padding.top, self._geometry.padding.left
