"""When policies write frames, and how many they hold."""

import pytest
import torch

from inference import MemoryConfig
from inference.memory import POLICIES, Write

# masks and ids of a frame, for policies that do not look at them
NOTHING = (torch.zeros(0, 16, 16), ())


def test_every_k_writes_at_its_distance_and_restarts_at_an_annotated_frame():
    policy = POLICIES["every-k"](MemoryConfig(write_every_frames=5))
    policy.annotated(2, *NOTHING)
    written = []
    for frame in range(3, 25):
        if frame == 11:
            policy.annotated(frame, *NOTHING)
        elif policy.memorise(frame, *NOTHING) is Write.KEEP:
            written.append(frame)
    assert written == [7, 16, 21]


def test_include_last_holds_the_frames_in_between_temporarily():
    policy = POLICIES["every-k"](MemoryConfig(write_every_frames=3, include_last=True))
    policy.annotated(0, *NOTHING)
    assert [policy.memorise(frame, *NOTHING) for frame in range(1, 5)] == [
        Write.TEMPORARY,
        Write.TEMPORARY,
        Write.KEEP,
        Write.TEMPORARY,
    ]


@pytest.mark.parametrize("name", sorted(POLICIES))
@pytest.mark.parametrize("every", [1, 2, 5])
def test_frames_until_write_ends_at_the_next_frame_that_may_enter(name, every):
    policy = POLICIES[name](MemoryConfig(policy=name, write_every_frames=every))
    policy.annotated(0, *NOTHING)
    frame = 1
    for _ in range(4):
        count = policy.frames_until_write(frame)
        assert count >= 1
        assert [policy.memorise(frame + offset, *NOTHING) for offset in range(count - 1)] == [
            Write.NO
        ] * (count - 1)
        assert policy.memorise(frame + count - 1, *NOTHING) is not Write.NO
        frame += count


@pytest.mark.parametrize(("every", "include_last"), [(1, False), (2, False), (5, False), (3, True)])
@pytest.mark.parametrize("length", [1, 2, 3, 6, 7, 11, 12])
def test_frames_held_is_what_a_video_of_that_length_needs(every, include_last, length):
    policy = POLICIES["every-k"](MemoryConfig(write_every_frames=every, include_last=include_last))
    policy.annotated(0, *NOTHING)
    kept, most = 1, 1
    for frame in range(1, length - 1):  # the last frame is never needed
        decision = policy.memorise(frame, *NOTHING)
        kept += decision is Write.KEEP
        most = max(most, kept + (decision is Write.TEMPORARY))
    assert most <= policy.frames_held(length) <= kept + include_last
