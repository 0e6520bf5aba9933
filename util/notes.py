"""Remarks to who runs a program, beside its results."""

import functools
import sys


@functools.cache
def say_once(text: str) -> None:
    """To stderr, however many videos it is true of."""
    print(text, file=sys.stderr, flush=True)
