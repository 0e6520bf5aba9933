"""The memory bank stores and reads.

Legend: N memory elements, M query positions, C channels, K objects.
"""

import math

import pytest
import torch

from inference.memory import MemoryBank

KEY_CHANNELS, VALUE_CHANNELS = 6, 5
ELEMENTS = 3  # of a frame in the tests of merging


class PlainMemory:
    """The reference: every write in a list, read by the textbook formula, one object at a time."""

    def __init__(self):
        self.writes = []  # (frame, key, values, temporary)

    def write(self, frame, key, values, temporary=False):
        self.writes = [write for write in self.writes if not write[3]] + [
            (frame, key, values, temporary)
        ]

    def read(self, query, object_id, k):
        held = [write for write in self.writes if object_id in write[2]]
        key = torch.cat([write[1] for write in held]).double()
        value = torch.cat([write[2][object_id] for write in held]).double()
        scores = (2 * query.double() @ key.T - key.square().sum(1)) / math.sqrt(KEY_CHANNELS)
        best = scores.topk(min(k, len(key)), dim=1)
        weights = torch.zeros_like(scores).scatter_(1, best.indices, best.values.softmax(1))
        return weights @ value


class Pair:
    """A bank and its plain counterpart, written and read together."""

    def __init__(self, seed=0, **options):
        self.random = torch.Generator().manual_seed(seed)
        self.bank, self.plain = MemoryBank(**options), PlainMemory()

    def draw(self, *shape):
        return torch.randn(shape, generator=self.random)

    def write(self, frame, ids, elements=30, temporary=False):
        key, values = (
            self.draw(elements, KEY_CHANNELS),
            {i: self.draw(elements, VALUE_CHANNELS) for i in ids},
        )
        self.bank.write(frame, key, values, temporary=temporary)
        self.plain.write(frame, key, values, temporary)

    def assert_equal(self, ids, k=20, queries=17):
        query = self.draw(queries, KEY_CHANNELS)
        readout = self.bank.read(query, ids, k)
        assert readout.shape == (len(ids), queries, VALUE_CHANNELS)
        for number, object_id in enumerate(ids):
            torch.testing.assert_close(
                readout[number].double(), self.plain.read(query, object_id, k), rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("capacity", [0, 45, 1000])
def test_bank_reads_the_textbook_formula_while_it_grows_past_its_capacity(capacity):
    pair = Pair(capacity=capacity)
    for frame in range(0, 40, 5):
        pair.write(frame, (3, 1))
        pair.assert_equal((3, 1))
    assert pair.bank.size == 8 * 30
    assert pair.bank.frame_indices == list(range(0, 40, 5))
    assert pair.bank.object_ids == (3, 1)


def test_bank_of_many_elements_reads_the_textbook_formula():
    pair = Pair()  # enough elements for the two-step selection, and not a multiple of its blocks
    for frame in range(4):
        pair.write(frame, (1,), elements=997)
    pair.assert_equal((1,), k=3)
    pair.assert_equal((1,), k=20)


def test_queries_read_in_chunks_equal_queries_read_at_once(monkeypatch):
    pair = Pair()
    pair.write(0, (1, 2))
    pair.write(5, (1, 2, 3))
    # two queries at a time
    monkeypatch.setattr("inference.memory.similarities._CHUNK_ELEMENTS", {"cpu": 130})
    pair.assert_equal((1, 2, 3), queries=9)


def test_temporary_elements_are_replaced_by_the_next_write():
    pair = Pair()
    pair.write(0, (1,))
    for frame, temporary in ((1, True), (2, True), (3, False), (4, True)):
        pair.write(frame, (1,), temporary=temporary)
        pair.assert_equal((1,))
    assert pair.bank.frame_indices == [0, 3, 4]
    pair.bank.drop_temporary()
    pair.bank.drop_temporary()
    assert pair.bank.frame_indices == [0, 3]


def test_temporary_elements_need_no_more_room_than_one_frame():
    pair = Pair(capacity=60)
    pair.write(0, (1,))
    pair.write(1, (1,), temporary=True)
    megabytes = pair.bank.megabytes
    for frame in range(2, 100):
        pair.write(frame, (1,), temporary=True)
    assert pair.bank.megabytes == megabytes
    assert pair.bank.size == 60


def test_temporary_elements_stay_temporary_when_others_are_evicted():
    bank = MemoryBank()
    bank.write(0, torch.randn(4, 3), {1: torch.randn(4, 2)})
    bank.write(5, torch.randn(4, 3), {1: torch.randn(4, 2)})
    bank.write(6, torch.randn(4, 3), {1: torch.randn(4, 2)}, temporary=True)
    bank.keep(torch.tensor([1, 5, 6, 9, 10, 11]))
    assert bank.frames.tolist() == [0, 5, 5, 6, 6, 6]
    bank.drop_temporary()
    assert bank.frames.tolist() == [0, 5, 5]


def test_late_object_reads_only_the_elements_since_its_first_frame():
    pair = Pair()
    pair.write(0, (1,))
    pair.write(4, (1, 7))
    pair.assert_equal((1, 7))
    pair.write(6, (1, 7), temporary=True)
    pair.assert_equal((7, 1))
    pair.write(9, (1, 7, 2, 4))  # two at once
    pair.assert_equal((4, 1, 7, 2), k=50)


def test_late_object_reads_no_old_element_even_where_these_are_nearest():
    bank = MemoryBank()
    near, far = torch.zeros(2, KEY_CHANNELS), torch.full((2, KEY_CHANNELS), 3.0)
    bank.write(0, near, {1: torch.full((2, VALUE_CHANNELS), 100.0)})
    bank.write(
        5, far, {1: torch.full((2, VALUE_CHANNELS), 1.0), 2: torch.full((2, VALUE_CHANNELS), 2.0)}
    )
    readout = bank.read(near, (1, 2), 20)
    assert (readout[0] > 90).all()
    torch.testing.assert_close(readout[1], torch.full((2, VALUE_CHANNELS), 2.0))


def test_removed_object_frees_its_values_and_leaves_the_others_unchanged():
    pair = Pair()
    pair.write(0, (1, 2))
    pair.write(5, (1, 2, 3))
    query = pair.draw(8, KEY_CHANNELS)
    before, megabytes = pair.bank.read(query, (1, 3), 20), pair.bank.megabytes
    pair.bank.remove_object(2)
    assert pair.bank.object_ids == (1, 3)
    assert pair.bank.megabytes < megabytes
    assert torch.equal(pair.bank.read(query, (1, 3), 20), before)
    pair.write(10, (1, 3))
    pair.assert_equal((1, 3))


def test_object_removed_and_added_again_reads_nothing_from_before():
    pair = Pair()
    pair.write(0, (1, 2))
    pair.bank.remove_object(2)
    pair.write(3, (1,))
    pair.write(6, (1, 2))
    pair.plain.writes = [
        (frame, key, {i: v for i, v in values.items() if i != 2 or frame >= 6}, t)
        for frame, key, values, t in pair.plain.writes
    ]
    pair.assert_equal((1, 2))


def test_a_write_without_an_object_of_the_bank_is_an_error_of_the_caller():
    pair = Pair()
    pair.write(0, (1, 2))
    with pytest.raises(AssertionError, match="rows never written"):
        pair.write(1, (1,))


def test_a_write_beyond_the_limit_is_an_error_of_the_caller():
    bank = MemoryBank()
    bank.write(0, torch.randn(4, 3), {1: torch.randn(4, 2)})
    bank.limit(6)
    with pytest.raises(AssertionError, match="room must be made"):
        bank.write(1, torch.randn(4, 3), {1: torch.randn(4, 2)})
    with pytest.raises(AssertionError, match="before their rows are freed"):
        bank.limit(3)


def test_reading_is_in_full_precision_under_autocast():
    pair = Pair()
    pair.write(0, (1,), elements=200)
    query = pair.draw(40, KEY_CHANNELS) * 3
    expected = pair.bank.read(query, (1,), 20)
    with torch.autocast("cpu", torch.bfloat16):
        readout = pair.bank.read(query, (1,), 20)
    # half-precision weights may round values, but must not choose other elements
    torch.testing.assert_close(readout, expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("length", [1, 3, 4, 9])
def test_progressive_reading_is_reading_with_writes_that_are_dropped_with_the_clip(length):
    pair = Pair()
    pair.write(0, (1, 2), elements=6)
    pair.write(5, (1, 2, 7), elements=6)
    pair.write(6, (1, 2, 7), elements=6, temporary=True)
    clip, writes = pair.draw(length, 6, KEY_CHANNELS), list(pair.plain.writes)
    readout = pair.bank.read_progressively(
        clip, (7, 1, 2), 20, frame_indices=range(7, 7 + len(clip)), segment_frames=3
    )
    assert readout.shape == (3, length * 6, VALUE_CHANNELS)
    for number, object_id in enumerate((7, 1, 2)):
        for index in range(length):
            if index and index % 3 == 0:
                pair.plain.writes.append(
                    (
                        6 + index,
                        clip[index - 1],
                        {object_id: readout[number, 6 * (index - 1) : 6 * index]},
                        True,
                    )
                )
            expected = pair.plain.read(clip[index], object_id, 20)
            torch.testing.assert_close(
                readout[number, 6 * index : 6 * (index + 1)].double(),
                expected,
                rtol=1e-4,
                atol=1e-5,
            )
        pair.plain.writes = list(writes)
    assert pair.bank.frame_indices == [0, 5, 6]
    pair.assert_equal((1, 2, 7))
    pair.write(12, (1, 2, 7))
    assert pair.bank.frame_indices == [0, 5, 12], "temporary elements are still temporary"


def test_a_memory_that_counts_no_uses_names_policies_that_do():
    bank = MemoryBank()
    bank.write(0, torch.randn(6, 4), {1: torch.ones(6, 2)})
    bank.read(torch.randn(5, 4), (1,), 3)
    with pytest.raises(ValueError, match=r"counts no uses.*lfu or lfu-weight"):
        _ = bank.uses


def test_summed_weights_do_not_depend_on_the_order_of_reads():
    """On a GPU the order of additions differs from run to run.

    Sums that depended on it would break ties differently in each run.
    """
    generator = torch.Generator().manual_seed(0)
    key, value = torch.randn(60, 4, generator=generator), torch.randn(60, 3, generator=generator)
    queries = torch.randn(200, 4, generator=generator)
    sums = []
    for order in (
        torch.arange(200),
        torch.arange(200).flip(0),
        torch.randperm(200, generator=generator),
    ):
        bank = MemoryBank(usage="weight")
        bank.write(0, key, {1: value})
        for query in queries[order]:
            bank.read(query[None], (1,), top_k=20)
        sums.append(bank.uses)
    assert sums[0].sum().item() == pytest.approx(200)
    assert torch.equal(sums[0], sums[1]) and torch.equal(sums[0], sums[2])


def test_uses_are_the_top_k_counts_and_weights_of_each_frame_at_which_objects_joined():
    generator = torch.Generator().manual_seed(0)
    keys, query = torch.randn(40, 4, generator=generator), torch.randn(9, 4, generator=generator)
    banks = {usage: MemoryBank(usage=usage) for usage in ("count", "weight")}
    dense = {
        "count": torch.zeros(40, dtype=torch.float64),
        "weight": torch.zeros(40, dtype=torch.float64),
    }
    for bank in banks.values():
        bank.write(0, keys[:20], {1: torch.zeros(20, 2), 4: torch.zeros(20, 2)})
        bank.write(
            3, keys[20:], {1: torch.zeros(20, 2), 4: torch.zeros(20, 2), 2: torch.zeros(20, 2)}
        )
        bank.read(query, (1, 4, 2), 5)
        bank.read(query[:4], (4, 2), 5)
    for queries in (query, query[:4]):
        for first in (0, 20):
            best = (-torch.cdist(queries.double(), keys[first:].double()).square() / 2).topk(5)
            dense["count"].index_add_(
                0,
                best.indices.flatten() + first,
                torch.ones(best.indices.numel(), dtype=torch.float64),
            )
            dense["weight"].index_add_(
                0, best.indices.flatten() + first, best.values.softmax(1).flatten()
            )
    for usage, bank in banks.items():
        torch.testing.assert_close(bank.uses.double(), dense[usage], rtol=1e-5, atol=1e-6)


def test_uses_of_merged_elements_add_up(reinforced_network):
    bank = MemoryBank(usage="count")
    for frame in range(3):
        bank.write(frame, torch.randn(ELEMENTS, 8), {1: torch.randn(ELEMENTS, 16)})
    for _ in range(9):
        bank.read(torch.randn(4, 8), (1,), 2)
    first, second, third = bank.uses.split(ELEMENTS)
    expected = torch.cat([first, second + third])
    assert expected.unique().numel() > 2, "too few reads to compare"
    bank.merge(
        torch.tensor([[[3, 4, 5], [6, 7, 8]]]), lambda key: key.mean(1), lambda value: value.mean(1)
    )
    assert torch.equal(bank.uses, expected)
    assert bank.frame_indices == [0, 2]


def test_a_merge_across_an_objects_first_element_is_an_error_of_the_caller():
    bank = MemoryBank()
    for frame in range(3):
        bank.write(
            frame,
            torch.randn(ELEMENTS, 8),
            {i: torch.randn(ELEMENTS, 16) for i in range(1, 2 + (frame == 2))}
            if frame == 2
            else {1: torch.randn(ELEMENTS, 16)},
        )
    with pytest.raises(AssertionError, match="before and after an object joined"):
        bank.merge(
            torch.tensor([[[3, 4, 5], [6, 7, 8]]]),
            lambda key: key.mean(1),
            lambda value: value.mean(1),
        )
