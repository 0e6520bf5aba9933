"""Bytes that are kept up to a bound; the least recently used ones are forgotten first."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")


class BoundedCache(Generic[Key]):
    """May be used from several threads. capacity_bytes: of all values together."""

    def __init__(self, capacity_bytes: int):
        self._capacity_bytes = capacity_bytes
        self._lock = threading.Lock()
        self._values: OrderedDict[Key, bytes] = OrderedDict()
        self._bytes = 0

    @property
    def held_bytes(self) -> int:
        """What the values take."""
        return self._bytes

    def get(self, key: Key) -> bytes | None:
        """The value, or None if there is none."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: Key, value: bytes) -> None:
        """Keep a value, in place of an earlier one; one that is larger than all is not kept."""
        with self._lock:
            self._bytes += len(value) - len(self._values.pop(key, b""))
            self._values[key] = value
            while self._bytes > self._capacity_bytes:
                self._bytes -= len(self._values.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget all values."""
        with self._lock:
            self._values.clear()
            self._bytes = 0
