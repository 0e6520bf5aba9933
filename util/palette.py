"""The colour table of DAVIS and PASCAL VOC masks."""


def _voc_colour(index: int) -> tuple[int, int, int]:
    """Spread the bits of an id over the high bits of red, green and blue, in turn."""
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= ((index >> bit) & 1) << (7 - bit // 3)
    return channels[0], channels[1], channels[2]


DAVIS_PALETTE: bytes = bytes(value for index in range(256) for value in _voc_colour(index))
"""768 bytes: red, green, blue of ids 0 to 255."""
