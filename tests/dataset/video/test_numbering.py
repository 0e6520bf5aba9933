"""Numbers of decoded frames when packets are damaged or missing."""

import pytest

from dataset.video.numbering import FrameNumbering, Gap


def number_frames(numbering: FrameNumbering, times: list[int]) -> list[int]:
    """The numbers of frames that are decoded one after another, each from a packet of its own."""
    numbers = []
    for index, time in enumerate(times):
        numbering.add_packet(time, is_key=index == 0, is_hidden=False)
        numbers.append(numbering.number_frame(time))
    return numbers


@pytest.mark.parametrize("times", [[0, 10, 20, 30], [0, 10, 55, 60], [5, 6, 100, 1000]])
def test_frames_of_an_undamaged_video_are_numbered_from_0(times):
    numbering = FrameNumbering()
    assert number_frames(numbering, times) == [0, 1, 2, 3]
    assert (numbering.lost, numbering.count_lost_at_end()) == ([], 0)


def test_a_packet_that_cannot_be_decoded_keeps_its_number():
    numbering = FrameNumbering()
    number_frames(numbering, [0, 10, 20])
    numbering.add_packet(30, is_key=False, is_hidden=False)
    numbering.add_failure(30, ValueError("damaged"))
    numbering.add_packet(40, is_key=False, is_hidden=False)
    assert numbering.number_frame(40) == 4
    assert numbering.lost == [3] and numbering.last_error == "damaged"


def test_the_constant_rate_tells_how_many_packets_damage_destroyed():
    numbering = FrameNumbering()
    number_frames(numbering, [0, 10, 20])
    numbering.add_damage()
    numbering.add_packet(60, is_key=False, is_hidden=False)
    assert numbering.number_frame(60) == 6 and numbering.lost == [3, 4, 5]


def test_without_times_failed_packets_are_counted_in_their_order():
    numbering = FrameNumbering()
    for is_damaged in (False, True, True, False):
        numbering.add_packet(None, is_key=True, is_hidden=False)
        if is_damaged:
            numbering.add_failure(None, ValueError("damaged"))
        else:
            number = numbering.number_frame(None)
    assert number == 3 and numbering.lost == [1, 2]


def test_a_gap_without_damage_is_reported_once_and_loses_no_number():
    numbering = FrameNumbering()
    times = [10 * index for index in range(15)]
    assert number_frames(numbering, [*times, 200, 210, 400])[-3:] == [15, 16, 17]
    assert numbering.gap == Gap(number_before=14, missing_frames=5) and numbering.lost == []


def test_packets_before_the_first_key_frame_are_not_lost_frames():
    numbering = FrameNumbering()
    for time in (0, 10, 20):
        numbering.add_packet(time, is_key=False, is_hidden=False)
    numbering.add_packet(30, is_key=True, is_hidden=False)
    assert numbering.number_frame(30) == 0
    assert (numbering.skipped_at_start, numbering.lost) == (3, [])


@pytest.mark.parametrize(("is_damaged", "lost_count"), [(True, 1), (False, 0)])
def test_a_last_packet_without_a_frame_is_lost_if_there_was_damage(is_damaged, lost_count):
    numbering = FrameNumbering()
    number_frames(numbering, [0, 10])
    numbering.add_packet(15, is_key=False, is_hidden=False)
    if is_damaged:
        numbering.add_damage()
    assert numbering.count_lost_at_end() == lost_count


def test_hidden_frames_have_no_number():
    numbering = FrameNumbering()
    number_frames(numbering, [0, 10, 20])
    numbering.add_packet(25, is_key=False, is_hidden=True)
    numbering.add_packet(30, is_key=False, is_hidden=False)
    assert numbering.number_frame(30) == 3 and numbering.lost == []


def test_a_rate_that_rises_repeats_no_number():
    assert number_frames(FrameNumbering(), [0, 10, 20, 30, 32, 34, 44]) == list(range(7))
