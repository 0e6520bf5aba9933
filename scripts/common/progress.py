"""Progress of a script, shown apart from its results."""

import sys


def print_progress(text: str) -> None:
    """Print a line on standard error at once; standard output holds the results alone."""
    print(text, file=sys.stderr, flush=True)
