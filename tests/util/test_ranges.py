"""Ranges that are declared beside fields, and the line that refuses a value out of them."""

import dataclasses

import pytest

from util.errors import InputError
from util.ranges import Range, bounded, check_ranges


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    share: float = bounded(0.5, above=0, at_most=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    count: int = bounded(at_least=1)
    side: int = bounded(32, at_least=16, at_most=64, multiple_of=16)
    limit: float | None = bounded(None, above=0)
    name: str = "any"
    inner: Inner = dataclasses.field(default_factory=Inner)


@pytest.mark.parametrize(
    ("valid", "inside", "outside"),
    [
        (Range(at_least=0, below=1), (0, 0.5), (-1, 1, float("nan"))),
        (Range(above=0, at_most=1), (1e-9, 1), (0, 1.1, float("inf"))),
        (Range(above=0), (1e300, 10**400), (-(10**400), float("inf"))),
        (Range(multiple_of=16), (0, 32), (8, 33)),
    ],
)
def test_a_range_holds_finite_numbers_within_its_bounds(valid, inside, outside):
    assert all(value in valid for value in inside)
    assert not any(value in valid for value in outside)


def test_values_in_range_and_absent_values_pass():
    check_ranges(Outer(count=1))
    check_ranges(Outer(count=2**31 - 1, limit=0.5, inner=Inner(share=1.0)))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"count": 0}, "count is 0; it must be at least 1"),
        ({"side": 40}, "side is 40; it must be a multiple of 16, at least 16 and at most 64"),
        ({"limit": 0.0}, "limit is 0.0; it must be above 0"),
        ({"inner": Inner(share=0.0)}, "inner.share is 0.0; it must be above 0 and at most 1"),
    ],
)
def test_the_first_value_out_of_range_is_named(changes, line):
    with pytest.raises(InputError) as refused:
        check_ranges(Outer(**{"count": 1, **changes}))
    assert str(refused.value) == line


def test_integers_can_be_bounded_all_together():
    check_ranges(Outer(count=100), integers_below=101)
    with pytest.raises(InputError, match=r"count is 100; .*below 100"):
        check_ranges(Outer(count=100), integers_below=100)
