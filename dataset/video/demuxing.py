"""Packets of a video stream; damage of the container is skipped."""

from collections.abc import Callable, Iterator
from typing import Any

from dataset.video.pyav import DECODING_ERRORS, av

CONTIGUOUS_FORMATS = ("matroska,webm", "flv")
"""Containers whose packets follow one another, with nothing but their headers between them."""
_MAX_HEADER_BYTES = 96
_MAX_ATTEMPTS = 20


class Demuxer:
    """The packets of one stream, in the order of the file.

    failure: why the end of the file was not reached, "" otherwise.
    position: behind the last packet of any stream; None if the container does not say.
    """

    def __init__(self, container: Any, stream: Any, on_damage: Callable[[], None]):
        """on_damage: called at damage of the container, before the next packet is returned."""
        self.failure = ""
        self.position: int | None = None
        self._container, self._stream = container, stream
        self._on_damage = on_damage
        self._is_contiguous = container.format.name in CONTIGUOUS_FORMATS

    def packets(self) -> Iterator[Any]:
        """All packets of the stream, then an empty one, which flushes the decoder."""
        failures = 0
        streams = () if self._is_contiguous else (self._stream,)
        while True:
            try:
                for packet in self._container.demux(*streams):
                    failures = 0
                    self._follow(packet)
                    if packet.stream.index == self._stream.index:
                        yield packet
                return
            except DECODING_ERRORS as error:
                failures += 1
                self._on_damage()
                # Other errors than invalid data: a connection is lost or stalls.
                if failures == _MAX_ATTEMPTS or not isinstance(error, av.InvalidDataError):
                    self.failure = error.strerror or str(error)
                    return

    def _follow(self, packet: Any) -> None:
        """Keep track of the position; a gap between packets is damage."""
        if not packet.size or packet.pos is None or packet.pos < 0:
            return
        gap_bytes = 0 if self.position is None else packet.pos - self.position
        if self._is_contiguous and gap_bytes > _MAX_HEADER_BYTES:
            self._on_damage()
        self.position = max(self.position or 0, packet.pos + packet.size)
