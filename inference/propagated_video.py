"""The propagation of a data set's video: its frames are read ahead, again for each pass."""

import functools
from collections.abc import Iterator, Sequence

from dataset import Frame, TruncatedVideoError, Video, prefetch
from inference.propagation import Direction, Propagation
from inference.segmenter import VideoSegmenter
from util.errors import InputError

_FRAMES_AHEAD = 4


class RereadVideo:
    """The frames of a video, to be read more than once.

    cause: why the latest reading to the end stopped early, if it did.
    """

    def __init__(self, video: Video):
        self._video = video
        self.cause: TruncatedVideoError | None = None

    def read(self, start: int, stop: int | None) -> Iterator[Frame]:
        """As Video.read. If the video ends early, so do the frames, after they are noted.

        Raises InputError if it ends before `stop`.
        """
        try:
            yield from prefetch(self._video.read(start, stop), _FRAMES_AHEAD)
        except TruncatedVideoError as error:
            if stop is not None:
                raise _needs_last_mask(error) from error
            self.cause = error

    def read_at(self, positions: Sequence[int]) -> Iterator[Frame]:
        """As Video.read_at. Raises InputError if the video ends before the last position."""
        try:
            yield from self._video.read_at(positions)
        except TruncatedVideoError as error:
            raise _needs_last_mask(error) from error


def _needs_last_mask(error: TruncatedVideoError) -> InputError:
    return InputError(
        f"{error} (--direction begins at the last mask and needs all frames before it; without"
        " --direction, the frames that are there are segmented)"
    )


def propagation_of(
    video: Video,
    frames: RereadVideo,
    segmenter: VideoSegmenter,
    *,
    direction: Direction,
    lookahead: int,
) -> Propagation:
    """A propagation of the masks of a video that count.

    frames: of the video. direction: backward, whose results end at the last annotated frame, or
    both. Raises InputError for wrong masks, and if the video can be read only once.
    """
    masks = video.annotations()
    return Propagation(
        functools.partial(segmenter.session, lookahead=lookahead),
        frames,
        masks,
        direction=direction,
        preloaded=masks if segmenter.config.memory.permanent else None,
        stop=max(masks) + 1 if direction == "backward" else None,
    )
