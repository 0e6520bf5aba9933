"""Detects a training that diverges."""

import math
from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor


class LossMonitor:
    """Detects a loss that is not finite or that explodes.

    The loss explodes when its mean over the last `window` iterations is above `floor` and above
    `factor` times the lowest such mean so far. For scale: guessing between background and two
    objects over two predicted frames gives a loss of 2.2.
    """

    def __init__(self, window: int = 50, factor: float = 10.0, floor: float = 4.4):
        self.factor, self.floor = factor, floor
        self._recent: deque[float] = deque(maxlen=window)
        self._lowest = math.inf
        self._unread: list[tuple[int, Tensor]] = []

    def add(self, iteration: int, losses: Sequence[Tensor]) -> None:
        """Take the losses of an iteration's parts, scalars on any device, without a wait."""
        self._unread.append((iteration, torch.stack([loss.detach() for loss in losses]).mean()))

    def check(self) -> tuple[int, str] | None:
        """Read the losses added since the last check, which waits for the device.

        Returns the first iteration at which something is wrong and what it is, or None.
        """
        unread, self._unread = self._unread, []
        if not unread:
            return None
        losses = torch.stack([mean for _, mean in unread]).tolist()
        for (iteration, _), loss in zip(unread, losses, strict=True):
            if (problem := self._problem_after(loss)) is not None:
                return iteration, problem
        return None

    def _problem_after(self, loss: float) -> str | None:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        self._recent.append(loss)
        if len(self._recent) < self._recent.maxlen:
            return None
        mean = sum(self._recent) / len(self._recent)
        self._lowest = min(self._lowest, mean)
        if mean > max(self.factor * self._lowest, self.floor):
            return (
                f"the loss explodes: {mean:.3g} over the last {len(self._recent)} iterations, "
                f"{self._lowest:.3g} before"
            )
        return None
