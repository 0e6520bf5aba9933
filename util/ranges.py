"""Ranges of valid numbers, declared beside the field of a configuration that they bound."""

import dataclasses
import math
from typing import Any

from util.errors import InputError

_RANGE = "range"
INTEGER_LIMIT = 2**31  # of counts and seeds that reach libraries as 32-bit numbers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range:
    """Finite numbers within all of the bounds that are not None."""

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None
    multiple_of: int = 1

    def __contains__(self, value: float) -> bool:
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
            and (self.multiple_of == 1 or value % self.multiple_of == 0)
        )

    def describe(self) -> str:
        """What a number that is out of the range must be instead."""
        bounds = {
            "above": self.above,
            "at least": self.at_least,
            "at most": self.at_most,
            "below": self.below,
        }
        words = [f"{name} {bound:,}" for name, bound in bounds.items() if bound is not None]
        multiple = f"a multiple of {self.multiple_of}, " if self.multiple_of > 1 else ""
        return multiple + " and ".join(words)


def bounded(default: Any = dataclasses.MISSING, **bounds: float) -> Any:
    """A dataclass field whose number must lie in Range(**bounds), unless it is None."""
    return dataclasses.field(default=default, metadata={_RANGE: Range(**bounds)})


def check_ranges(config: Any, prefix: str = "", *, integers_below: int | None = None) -> None:
    """Check the bounded fields of a dataclass and of the dataclasses in it.

    integers_below: a bound of all integers among them, in addition to their own.
    Raises InputError that names the first value that is out of its range.
    """
    for field in dataclasses.fields(config):
        name, value = prefix + field.name, getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_ranges(value, f"{name}.", integers_below=integers_below)
        elif _RANGE in field.metadata and value is not None:
            valid = field.metadata[_RANGE]
            if isinstance(value, int) and integers_below is not None and value >= integers_below:
                valid = dataclasses.replace(valid, below=integers_below)
            if value not in valid:
                raise InputError(f"{name} is {value}; it must be {valid.describe()}")
