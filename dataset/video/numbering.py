"""Numbers for decoded frames of a video in which some frames are damaged or missing.

Times are presentation times in the stream's own unit. An interval is the time between two frames
that follow one another.
"""

import heapq
from dataclasses import dataclass
from typing import NamedTuple

# How far behind damage, in frames, a lost frame may still be due: the packet that follows the lost
# one may be shown before it.
_REORDERED_FRAMES = 16
_MAX_GAP_FRAMES = 250
_MIN_INTERVALS_BEFORE_GAP = 10


class Gap(NamedTuple):
    """A gap in a constant frame rate: the number of the frame before it, and how many frames
    would fill it."""

    number_before: int
    missing_frames: int


@dataclass
class _Intervals:
    """The intervals between frames so far."""

    shortest: int
    longest: int
    count: int = 1

    def add(self, interval: int) -> None:
        self.shortest = min(self.shortest, interval)
        self.longest = max(self.longest, interval)
        self.count += 1

    @property
    def are_constant(self) -> bool:
        return self.count >= 2 and self.longest - self.shortest <= max(2, self.shortest // 20)


class FrameNumbering:
    """Numbers decoded frames so that frames lost by damage keep their numbers.

    The decoder is given packets and returns frames. If a frame is returned whose time is later
    than that of a packet given before, that packet yielded no frame. Its frame counts as lost if
    there was damage, or if frames come at a constant rate and its place in it is empty. Otherwise
    the packet stands for no frame of its own: it is the second field of a frame, or a frame before
    the first key frame. If damage destroyed packets too, the constant rate tells how many frames
    are lost.

    next_number: the number that the next frame has if none is lost before it.
    lost: the numbers of the lost frames so far.
    last_error: the decoder's last message, "" if there is none.
    gap: the first gap in a constant rate that no damage explains, None so far.
    skipped_at_start: packets before the first key frame, which no decoder can use.
    """

    def __init__(self):
        self.next_number = 0
        self.lost: list[int] = []
        self.last_error = ""
        self.gap: Gap | None = None
        self.skipped_at_start = 0
        self._due_times: list[int] = []  # a heap: of packets whose frames have not come yet
        self._latest_time: int | None = None  # of a frame
        self._latest_packet_time: int | None = None
        self._starts_with_key: bool | None = None
        self._first_key_time: int | None = None
        self._intervals: _Intervals | None = None
        self._damage_time: int | None = None
        self._suspected_frames = 0  # how many more frames may follow ones lost by the damage
        self._lost_in_order = 0  # since the last frame, in a container without usable times

    def add_packet(self, time: int | None, is_key: bool, is_hidden: bool) -> None:
        """A packet is given to the decoder.

        Args:
            time: None if the container's times are not presentation times.
            is_key: whether its frame needs no other frame.
            is_hidden: whether its frame is not shown.
        """
        if self._starts_with_key is None:
            self._starts_with_key = is_key
            self._first_key_time = time if is_key else None
        if time is not None and not is_hidden:
            heapq.heappush(self._due_times, time)
            latest = self._latest_packet_time
            self._latest_packet_time = time if latest is None else max(time, latest)

    def add_damage(self) -> None:
        """There is damage at the last packet."""
        self._damage_time, self._suspected_frames = self._latest_packet_time, _REORDERED_FRAMES

    def add_failure(self, time: int | None, error: Exception) -> None:
        """The last packet, of this time, cannot be decoded."""
        self.last_error = getattr(error, "strerror", None) or str(error)
        self.add_damage()
        if time is None and (self.next_number > 0 or self._starts_with_key):
            self._lost_in_order += 1

    def number_frame(self, time: int | None) -> int:
        """The number of a frame that the decoder returned. Must be called for every frame."""
        lost_count, self._lost_in_order = self._lost_in_order, 0
        if time is not None:
            lost_count += self._count_lost_before(time, self._pop_due_before(time))
            self._latest_time = time
            if self._damage_time is not None and time > self._damage_time:
                self._suspected_frames -= 1
        self.lost += range(self.next_number, self.next_number + lost_count)
        self.next_number += lost_count + 1
        return self.next_number - 1

    def count_lost_at_end(self) -> int:
        """How many frames are lost by damage behind the last frame, at the end of the file."""
        latest = self._latest_time
        due = [time for time in self._due_times if latest is None or time > latest]
        if self._is_rate_constant():
            least = 0.75 * self._intervals.shortest
            due = [time for time in due if time - latest > least]
        elif not self._is_damage_near():
            due = []
        return self._lost_in_order + len(due)

    def _pop_due_before(self, time: int) -> list[int]:
        """The times before this one at which frames were due, which are now forgotten."""
        passed = []
        while self._due_times and self._due_times[0] <= time:
            due = heapq.heappop(self._due_times)
            if due < time:
                passed.append(due)
        return passed

    def _count_lost_before(self, time: int, passed: list[int]) -> int:
        """How many frames are lost before a frame of this time. passed: see _pop_due_before."""
        if self._latest_time is None:
            return self._count_lost_before_first(passed)
        interval = time - self._latest_time
        if interval <= 0:
            return 0
        if self._is_rate_constant():
            lost_count = self._count_lost_in_constant_rate(interval, len(passed))
        else:
            lost_count = len(passed) if self._is_damage_near() else 0
        if lost_count == 0:
            if self._intervals is None:
                self._intervals = _Intervals(interval, interval)
            else:
                self._intervals.add(interval)
        return lost_count

    def _count_lost_before_first(self, passed: list[int]) -> int:
        """A file that starts between key frames begins with its first decodable frame; what was
        due before the first packet, if that is not a key frame, is not lost."""
        key_time = self._first_key_time
        lost_count = 0 if key_time is None else sum(due >= key_time for due in passed)
        self.skipped_at_start = len(passed) - lost_count
        return lost_count

    def _count_lost_in_constant_rate(self, interval: int, passed_count: int) -> int:
        missing = min(round(interval / self._intervals.shortest) - 1, _MAX_GAP_FRAMES)
        missing = max(missing, 0)  # the rate may rise from here on
        lost_count = missing if self._is_damage_near() else min(missing, passed_count)
        if missing > lost_count and self._intervals.count >= _MIN_INTERVALS_BEFORE_GAP:
            self.gap = self.gap or Gap(self.next_number - 1, missing)
        return lost_count

    def _is_rate_constant(self) -> bool:
        return self._intervals is not None and self._intervals.are_constant

    def _is_damage_near(self) -> bool:
        return self._suspected_frames > 0
