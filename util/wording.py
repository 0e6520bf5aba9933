"""How programs put things to people."""


def counted(count: int, noun: str, ending: str = "s") -> str:
    """A number of things: '1 frame', '2 frames', '1,500 frames'. ending: of the plural, added to the noun ('es': '2 processes')."""
    return f"{count:,} {noun}" + ending * (count != 1)
