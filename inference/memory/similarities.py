"""Similarities of query positions to memory elements, in pieces of bounded size.

Legend: N memory elements, M query positions of a frame, m of a piece, C channels, h w at stride 16.

Kernelized reading: an element is read near the position of the query frame that resembles it most.
Its similarity to other positions falls with their distance from there, as a Gaussian: objects that
look alike are told apart by where they are.
Source: KMN (Seong, Hyun, Kim, ECCV 2020), section 3.2; STCN tried it. Ours: with L2, the best
position is that of the whole distance, with the query's norm; the top-k is taken after the kernel,
so that it is a top-k of the weights; each frame of a clip has best positions of its own.
"""

import dataclasses
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from model.config import Similarity
from model.matching import omitted_query_term, similarity

# Similarities held at a time, whatever the size of the memory: 32 MB in float32 on a CPU, whose
# caches suit small pieces; 512 MB on a GPU, where each piece costs a launch of every kernel.
_CHUNK_ELEMENTS = {"cpu": 2**23}
_CHUNK_ELEMENTS_ON_GPU = 2**27


@dataclasses.dataclass(frozen=True)
class PositionKernel:
    """A Gaussian over the positions of a frame.

    sigma: standard deviation in positions. grid: h, w of a frame.
    """

    sigma: float
    grid: tuple[int, int]

    @property
    def positions(self) -> int:
        """M."""
        return math.prod(self.grid)

    def penalty(self, queries: slice, best: Tensor) -> Tensor:
        """Minus the logarithm of the Gaussian: distance² / 2σ² of `queries` from `best` positions.

        queries: m positions of a frame. best: int64 [N]. Returns [m, N].
        """
        every = torch.arange(self.positions, device=best.device)
        rows, columns = every // self.grid[1], every % self.grid[1]
        vertical = rows[queries, None] - rows
        horizontal = columns[queries, None] - columns
        table = (vertical.square() + horizontal.square()) / (2 * self.sigma**2)
        return table.index_select(1, best)


@dataclasses.dataclass(frozen=True)
class SimilaritySource:
    """The keys of a memory, and how queries are compared with them. keys [N, C], norms [N]."""

    keys: Tensor
    norms: Tensor
    kind: Similarity

    def pieces(
        self, query_key: Tensor, kernel: PositionKernel | None = None
    ) -> Iterator[tuple[slice, Tensor]]:
        """Slices of the queries, each with its similarities [m, N], which may be changed.

        query_key [M, C]; with a kernel, of whole frames, one after another.
        """
        if kernel is None:
            for queries in self._slices(len(query_key), len(self.keys)):
                yield queries, self._similarity(query_key[queries])
            return
        for start in range(0, len(query_key), kernel.positions):
            yield from self._kernelized(query_key[start : start + kernel.positions], start, kernel)

    def _kernelized(
        self, query_key: Tensor, start: int, kernel: PositionKernel
    ) -> Iterator[tuple[slice, Tensor]]:
        """The pieces of one frame. query_key [M, C]; its first query is number `start`."""
        widest = max(len(self.keys), kernel.positions)
        slices = list(self._slices(kernel.positions, widest))
        best_score = self.norms.new_full(self.norms.shape, -math.inf)
        best = torch.zeros_like(best_score, dtype=torch.int64)
        for queries in slices:
            scores = self._similarity(query_key[queries])
            omitted = omitted_query_term(query_key[queries], self.kind)
            if omitted is not None:
                scores += omitted
            values, rows = scores.max(0)
            best = torch.where(values > best_score, rows + queries.start, best)
            best_score = torch.maximum(values, best_score)
        for queries in slices:
            if len(slices) > 1:  # otherwise the one piece is still here
                scores = self._similarity(query_key[queries])
            scores -= kernel.penalty(queries, best)
            yield slice(start + queries.start, start + queries.stop), scores

    def _similarity(self, query_key: Tensor) -> Tensor:
        return similarity(self.keys, query_key, self.norms, self.kind)

    def _slices(self, count: int, width: int) -> Iterator[slice]:
        """Slices of `count` queries whose similarities to `width` elements are held at a time."""
        most = _CHUNK_ELEMENTS.get(self.keys.device.type, _CHUNK_ELEMENTS_ON_GPU)
        step = max(most // width, 1)
        return (slice(start, min(start + step, count)) for start in range(0, count, step))
