"""The tables of a memory bank, a row per element. Legend: K objects, C channels, N elements."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Usage = Literal["count", "weight"]  # what is counted of the reads of an element

_USE_BYTES = 8
_GROWTH = 1.5  # by which full tables grow, at least


def element_bytes(
    key_channels: int,
    value_channels: int,
    objects: int,
    *,
    value_bytes: int = 4,
    usage: Usage | None = None,
) -> int:
    """Bytes that one element takes in a bank.

    They are of key, norm, frame, position and, if `usage` is counted, uses; and for each object of
    its value and of whether the element shows it. value_bytes: of one channel of a value.
    """
    shared = 4 * key_channels + 4 + 8 + 8 + (0 if usage is None else _USE_BYTES)
    return shared + objects * (value_channels * value_bytes + 1)


class ElementTables:
    """Tables with as many rows each, of which the first `size` are in use.

    shared: a table for each property of an element, by name. values, shown: tables [N, C^v] and
    bool [N] of each object, by id. Rows of an object from before it joined hold no meaning.
    reserved_rows: allocated at first; tables that are full grow.
    """

    def __init__(self, reserved_rows: int = 0):
        self.size = 0
        self.shared: dict[str, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        self.shown: dict[int, Tensor] = {}
        self._reserved_rows = reserved_rows
        self._max_rows: int | None = None

    def all(self) -> list[Tensor]:
        """Every table, with all its rows."""
        return [*self.shared.values(), *self.values.values(), *self.shown.values()]

    def in_use(self, name: str) -> Tensor:
        """The rows in use of a shared table, as a view; empty before the first write."""
        return self.shared[name][: self.size] if self.shared else torch.empty(0, dtype=torch.int64)

    @property
    def element_bytes(self) -> int:
        """Bytes that one element takes in all tables."""
        return sum(table.element_size() * math.prod(table.shape[1:]) for table in self.all())

    @property
    def megabytes(self) -> float:
        """Memory that the tables take, in 10^6 bytes."""
        return sum(table.numel() * table.element_size() for table in self.all()) / 1e6

    def add_object(self, object_id: int, value: Tensor) -> None:
        """Tables without rows for an object with values like `value` [N, C^v]."""
        self.values[object_id] = value.new_empty(0, value.shape[1])
        self.shown[object_id] = torch.empty(0, dtype=torch.bool, device=value.device)

    def remove_object(self, object_id: int) -> None:
        """Free the tables of an object."""
        del self.values[object_id], self.shown[object_id]

    def append(
        self,
        count: int,
        shared: Mapping[str, Tensor | int],
        values: Mapping[int, Tensor],
        shown: Mapping[int, Tensor] | None,
    ) -> None:
        """Add `count` rows. shown: None if all elements show all objects."""
        rows = slice(self.size, self.size + count)
        self._ensure_room(rows.stop)
        for name, table in self.shared.items():
            table[rows] = shared[name]
        for object_id, value in values.items():
            self.values[object_id][rows] = value
            self.shown[object_id][rows] = True if shown is None else shown[object_id]
        self.size = rows.stop

    def fill_up(self) -> None:
        """Give objects that were added as many rows as the other tables have."""
        self._resize(self._capacity)

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but `rows`, int64 and ascending, in place."""
        for table in self.all():
            if len(table):  # an object that is about to join has no rows yet
                table[: len(rows)] = table[rows]
        self.size = len(rows)

    def limit(self, max_rows: int) -> None:
        """Have no more than `max_rows` rows from now on; larger tables shrink."""
        assert self.size <= max_rows, "elements must be evicted before their rows are freed"
        self._max_rows = max_rows
        if self._capacity > max_rows:
            self._resize(max_rows)

    @property
    def _capacity(self) -> int:
        return len(self.shared["keys"]) if self.shared else 0

    def _ensure_room(self, needed: int) -> None:
        assert self._max_rows is None or needed <= self._max_rows, (
            "room must be made before a write"
        )
        capacity = self._capacity
        if needed > capacity:
            capacity = max(needed, int(capacity * _GROWTH), self._reserved_rows)
            capacity = capacity if self._max_rows is None else min(capacity, self._max_rows)
        self._resize(capacity)

    def _resize(self, capacity: int) -> None:
        """Give every table `capacity` rows, one at a time, so that one old table exists at most."""
        for tables in (self.shared, self.values, self.shown):
            for name, table in tables.items():
                if len(table) != capacity:
                    tables[name] = table.new_empty(capacity, *table.shape[1:])
                    held = min(self.size, len(table))
                    tables[name][:held] = table[:held]
