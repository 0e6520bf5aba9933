"""Order of file names."""

import re


def natural_key(name: str) -> list[str | int]:
    """Sorts 2 before 10 and frame_9 before frame_10: runs of digits compare as numbers."""
    return [int(part) if position % 2 else part for position, part in enumerate(re.split(r"([0-9]+)", name))]
