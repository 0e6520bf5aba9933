"""Memories of a fixed capacity: what stays, element for element, and that they never grow. Legend: N memory elements, M query positions, C channels."""

import copy
import dataclasses
from unittest import mock

import numpy as np
import pytest
import torch
from conftest import assert_same_labels, assert_same_results
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_bounded_engine import PlainBoundedEngine

from inference import SYSTEMS, MemoryConfig, VideoSegmenter, system_config
from inference.memory import POLICIES, BoundedMemory, MemoryBank, Write, element_bytes
from inference.video_memory import shown_elements
from util.errors import InputError

BOUNDED = [name for name, policy in POLICIES.items() if issubclass(policy, BoundedMemory)]
KEY_CHANNELS, VALUE_CHANNELS, PIXELS = (
    4,
    3,
    12,
)  # of the banks made here; pixels: elements of a frame
SIZE = (33, 50)  # of random frames: 3 × 4 elements


def mask_of(random, ids):
    """Ids int32 [H, W]: a rectangle of each, at least one pixel of each is seen."""
    mask = np.zeros(SIZE, np.int32)
    for number, object_id in enumerate(ids):
        top, left = random.integers(0, SIZE[0] - 9), random.integers(0, SIZE[1] - 9)
        mask[top : top + 12, left : left + 12] = object_id
        mask[number, 0] = object_id
    return mask


def covering(object_id):
    """A mask in which one object hides all others."""
    return np.full(SIZE, object_id, np.int32)


def draw_events(random, length):
    """Before each frame but the first: nothing, an object that leaves, one that hides the others, or objects of which masks are given."""
    kinds = (None, None, "remove", "cover", "mask")
    return [
        (
            kinds[random.integers(len(kinds))],
            sorted({int(i) for i in random.choice([1, 2, 7], random.integers(1, 4))}),
        )
        for _ in range(length)
    ]


def play(network, seed, lookahead, overrides):
    """A session and the textbook engine side by side. With lookahead 1, both hold the same elements after every frame. Returns the textbook engine and for how
    many frames its objects were lost."""
    random = np.random.default_rng(seed)
    session = VideoSegmenter(network, "lfu", device="cpu", **overrides).session(lookahead=lookahead)
    plain = PlainBoundedEngine(
        network,
        overrides["mem_every"],
        top_k=overrides["top_k"],
        capacity_frames=overrides["memory_frames"],
        by="weight" if overrides["memory"] == "lfu-weight" else "count",
        protect_annotated=overrides["memory.protect_annotated"],
    )
    results, expected, lost = [], [], 0
    for kind, ids in [("mask", [1, 2]), *draw_events(random, 11)]:
        frame, mask = random.integers(0, 256, (*SIZE, 3), dtype=np.uint8), None
        if kind == "mask":
            mask = mask_of(random, ids)
        elif kind == "cover":
            mask = np.full(SIZE, ids[0], np.int32)  # the others vanish
        elif kind == "remove" and ids[0] in plain.ids:
            plain.remove_object(ids[0])
            session.remove_object(ids[0])
        held = list(
            plain.elements
        )  # a frame is written when the next comes to read it: until then the session is one write behind
        expected.append(plain.step(frame, mask))
        lost += len(plain.lost)
        results.append(session.step(frame, mask))
        if lookahead == 1 and session.memory is not None:
            assert_same_elements(session.memory, held, plain.ids)
    results = [result for result in results if result is not None] + session.flush()
    for result, (ids, probabilities) in zip(results, expected, strict=True):
        assert result.object_ids == ids
        torch.testing.assert_close(
            result.probabilities, probabilities, rtol=0, atol=1e-6, check_dtype=False
        )
        assert_same_labels(result, np.array((0, *ids))[probabilities.argmax(0).numpy()])
    return plain, lost


def assert_same_elements(bank, held, ids):
    """A bank's elements, in order, are those `held`, and were used as much; each object reads those that have values of it."""
    assert list(zip(bank.frames.tolist(), bank.positions.tolist())) == [
        (element.frame, element.position) for element in held
    ]
    assert bank.uses.tolist() == pytest.approx(
        [element.uses for element in held], rel=1e-9, abs=1e-7
    )  # weights are summed in whole units
    for object_id in set(ids) & set(bank.object_ids):
        first = bank.first_element(object_id)
        assert [object_id in element.values for element in held] == [
            row >= first for row in range(bank.size)
        ]


@pytest.mark.parametrize("memory", ["lfu", "lfu-weight"])
@pytest.mark.parametrize("seed", range(16))
def test_lfu_agrees_with_a_model_in_plain_lists_element_for_element(network, memory, seed):
    overrides = {
        "memory": memory,
        "memory_frames": 1 + seed % 3,
        "mem_every": 1 + seed // 3 % 3,
        "top_k": 3,
        "memory.protect_annotated": seed % 6 == 4,
    }
    with mock.patch.object(
        torch.Tensor, "float", torch.Tensor.double
    ):  # both in double, so that only what is computed can differ
        plain, lost = play(
            copy.deepcopy(network).double(), seed, [1, 1, 4][seed % 5 % 3], overrides
        )
    assert plain.gone >= PIXELS, "too little left the memory to compare"
    assert lost or seed not in (0, 6, 12), "objects were lost in these videos"


class Driven:
    """A bank and its policy, driven as the engine drives them, with all that was ever written beside them. Invariants hold after every call."""

    def __init__(self, config, seed):
        self.random = torch.Generator().manual_seed(seed)
        self.policy = POLICIES[config.policy](config)
        self.megabytes = config.max_megabytes
        self.frame, self.ids, self.written = -1, [], {}
        self.bank = MemoryBank(usage=self.policy.usage)

    def draw(self, *shape):
        return torch.randn(shape, generator=self.random)

    def process(self, given=()):
        """The next frame, with masks of the objects `given`."""
        self.frame += 1
        if self.ids:
            self.bank.read(self.draw(5, KEY_CHANNELS), self.ids, 4)
        self.ids += [i for i in given if i not in self.ids]
        masks = torch.zeros(len(self.ids), 16, 16)
        if given:
            self.policy.annotated(self.frame, masks, tuple(self.ids))
            self.write(temporary=False)
        elif self.ids:
            decision = self.policy.memorise(self.frame, masks, tuple(self.ids))
            if decision is not Write.NO:
                self.write(temporary=decision is Write.TEMPORARY)
        self.check()

    def write(self, temporary):
        key, values = (
            self.draw(PIXELS, KEY_CHANNELS),
            {i: self.draw(PIXELS, VALUE_CHANNELS) for i in self.ids},
        )
        self.written[self.frame] = key, values
        self.bank.drop_temporary()
        before = self.bank.size
        self.bank.prepare(key, values)
        self.policy.make_room(self.bank, PIXELS)
        self.bank.write(self.frame, key, values, temporary=temporary)
        capacity = self.policy.capacity_elements(PIXELS, self.bank.element_bytes)
        assert self.bank.size == min(before + PIXELS, capacity), (
            "exactly as many leave as the new frame needs"
        )
        assert self.bank.positions[-PIXELS:].tolist() == list(range(PIXELS)), (
            "the new frame is whole"
        )
        assert self.megabytes is None or self.bank.megabytes <= self.megabytes

    def remove(self, object_id):
        if object_id in self.ids:
            self.ids.remove(object_id)
            self.bank.remove_object(object_id)
            if not self.ids:
                self.bank = MemoryBank(usage=self.policy.usage)
            self.check()

    def check(self):
        """Rows are in order of time, and hold what was written for their frame and position."""
        bank = self.bank
        rows = list(zip(bank.frames.tolist(), bank.positions.tolist()))
        assert rows == sorted(set(rows))
        for name, column in (("keys", 0), *((object_id, 1) for object_id in self.ids)):
            first = 0 if name == "keys" else bank.first_element(name)
            table = bank.keys if name == "keys" else bank.values(name)
            for row in range(first, len(rows)):
                frame, position = rows[row]
                content = (
                    self.written[frame][0] if name == "keys" else self.written[frame][column][name]
                )
                assert torch.equal(table[row - first], content[position])


FRAME_MEGABYTES = (
    PIXELS * element_bytes(KEY_CHANNELS, VALUE_CHANNELS, 3, usage="count") / 1e6
)  # with all three objects
CALL = st.one_of(
    st.just("frame"),
    st.just("frame"),
    st.sets(st.sampled_from([1, 2, 3]), min_size=1),
    st.sampled_from([-1, -2, -3]),
)  # a frame, masks, an object that goes
BOUND = st.one_of(
    st.fixed_dictionaries({"capacity_frames": st.integers(2, 4)}),
    st.fixed_dictionaries({"max_megabytes": st.floats(1.01, 4).map(lambda x: x * FRAME_MEGABYTES)}),
)


@pytest.mark.parametrize("name", BOUNDED)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    calls=st.lists(CALL, min_size=10, max_size=30),
    bound=BOUND,
    every=st.integers(1, 3),
    include_last=st.booleans(),
    protect=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_bounded_memory_never_exceeds_its_capacity_and_mixes_nothing_up(
    name, calls, bound, every, include_last, protect, seed
):
    config = MemoryConfig(
        policy=name,
        write_every_frames=every,
        include_last=include_last,
        protect_annotated=protect,
        **bound,
    )
    driven = Driven(config, seed)
    driven.process([1])
    for call in calls:
        if isinstance(call, int):
            driven.remove(-call)
        else:
            driven.process(() if call == "frame" else sorted(call))


def run(session, frames, masks):
    """All results of a session, in order: masks {frame index: ids}."""
    results = [session.step(frame, masks.get(index)) for index, frame in enumerate(frames)]
    return [result for result in results if result is not None] + session.flush()


@pytest.mark.parametrize("system", list(SYSTEMS))
@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("frames", [1, 2])
def test_looking_ahead_gives_the_same_labels_and_the_same_memory(
    make_segmenter, made_clip, system, name, frames
):
    segmenter = make_segmenter(
        system, memory=name, memory_frames=frames, clip_length=SYSTEMS[system].clip_length
    )
    if SYSTEMS[system].clip_length == 1:
        segmenter = make_segmenter(
            system, memory=name, memory_frames=frames, mem_every=2, sampling="every"
        )
    masks = {0: made_clip.masks(1), 5: made_clip.masks(2, 5)}
    sessions = [segmenter.session(lookahead=lookahead) for lookahead in (1, 8)]
    one, other = (
        run(session, np.concatenate([made_clip.frames] * 2), masks) for session in sessions
    )
    assert_same_results(other, one)
    memories = [session.memory for session in sessions]
    assert memories[0].size == frames * PIXELS
    assert torch.equal(memories[0].frames, memories[1].frames)
    assert torch.equal(memories[0].positions, memories[1].positions)


@pytest.mark.parametrize(
    "bound", [{"memory_frames": 1}, {"memory_frames": 2}, {"max_memory_mb": 0.0105}]
)
def test_a_clips_own_frames_come_beside_the_capacity_in_frames_and_out_of_the_megabytes(
    make_segmenter, made_clip, bound
):
    session = make_segmenter(
        "pcvos", memory="lfu", clip_length=7, **{"memory.segment_frames": 3}, **bound
    ).session()
    sizes, places = set(), set()
    for index in range(60):
        session.step(made_clip.frames[index % 12], made_clip.labels[0] if index == 0 else None)
        if index >= 30:
            sizes.add(session.memory.size)
            places.add(tuple(table.data_ptr() for table in session.memory.tables))
            assert session.memory.megabytes <= bound.get("max_memory_mb", 1)
    assert len(places) == 1
    per_element = element_bytes(8, 16, 2, usage="count")
    assert sizes == {
        bound["memory_frames"] * PIXELS
        if "memory_frames" in bound
        else int(0.0105e6 // per_element) - 2 * PIXELS
    }


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize(
    "overrides",
    [{"memory_frames": 2}, {"max_memory_mb": 0.005}, {"memory_frames": 3, "include_last": True}],
)
def test_the_tables_of_a_full_memory_stay_where_they_are(
    make_segmenter, made_clip, name, overrides
):
    session = make_segmenter(memory=name, mem_every=2, **overrides).session()
    places = set()
    for index in range(60):
        session.step(made_clip.frames[index % 12], made_clip.labels[0] if index == 0 else None)
        if index >= 20:
            places.add(
                (session.memory.size, tuple(table.data_ptr() for table in session.memory.tables))
            )
    assert len(places) == 1


def test_megabytes_hold_more_frames_of_fewer_objects_and_tables_follow(
    make_segmenter, made_clip, caplog
):
    caplog.set_level("INFO")
    session = make_segmenter("lfu", max_memory_mb=0.0062, mem_every=1).session()
    sizes = {}
    for index, frame in enumerate(np.concatenate([made_clip.frames] * 3)):
        if index == 20:
            session.remove_object(1)
        session.step(frame, {0: made_clip.masks(1), 10: made_clip.masks(2, 10)}.get(index))
        if session.memory is not None:
            assert session.memory.megabytes <= 0.0062
            sizes[index] = session.memory.size
    one, two = (int(0.0062e6 // element_bytes(8, 16, objects, usage="count")) for objects in (1, 2))
    assert one > two
    assert (sizes[10], sizes[19], sizes[35]) == (one, two, one)
    logged = [message for message in caplog.messages if "0.0062 MB" in message]
    assert logged == [
        f"memory: 0.0062 MB hold {size} elements, {size / PIXELS:.1f} frames' worth, with {objects}"
        for size, objects in ((one, "1 object"), (two, "2 objects"))
    ]


def test_an_object_that_no_longer_fits_is_refused_and_the_session_goes_on_as_if_it_had_not_been_given(
    make_segmenter, made_clip
):
    megabytes = 1.5 * PIXELS * element_bytes(8, 16, 1, usage="count") / 1e6
    segmenter = make_segmenter("lfu", max_memory_mb=megabytes)
    session, undisturbed = segmenter.session(), segmenter.session()
    for index, frame in enumerate(made_clip.frames):
        if index == 3:
            with pytest.raises(
                InputError,
                match=r"max_memory_mb is 0\.00\d+, but one frame with its objects takes 0\.0\d+ MB; give at least 0\.0\d+",
            ):
                session.step(
                    frame, (made_clip.labels[3] > 0) * np.arange(1, 65, dtype=np.int32) % 40
                )
            assert session.frames_given == 3
        mask = made_clip.masks(1) if index == 0 else None
        assert torch.equal(
            session.step(frame, mask).probabilities, undisturbed.step(frame, mask).probabilities
        )


@pytest.mark.parametrize("amp", [False, True])
def test_bytes_of_an_element_are_known_before_there_is_one(make_segmenter, made_clip, amp):
    for usage, name in ((None, "fifo"), ("count", "lfu"), ("weight", "lfu-weight")):
        session = make_segmenter(memory=name, amp=amp).session()
        run(session, made_clip.frames[:3], {0: made_clip.labels[0]})
        assert session.memory.element_bytes == element_bytes(
            8, 16, 2, value_bytes=2 if amp else 4, usage=usage
        )


def test_summed_weights_do_not_depend_on_the_order_of_reads():
    """On a GPU the order of additions differs from run to run; a sum that followed it would break ties anew each time."""
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


def test_a_top_k_above_what_is_held_reads_all_of_it(make_segmenter, made_clip):
    results = [
        list(
            make_segmenter("lfu", memory_frames=1, mem_every=1, top_k=top_k).segment(
                made_clip.frames, made_clip.labels[0]
            )
        )
        for top_k in (PIXELS, 10_000)
    ]
    assert_same_results(*results, tolerance=1e-6)


def test_annotated_frames_stay_where_they_are_protected_and_go_where_they_are_not(
    make_segmenter, made_clip
):
    kept = {}
    for protect in (False, True):
        session = make_segmenter(
            "lfu", memory_frames=3, mem_every=1, **{"memory.protect_annotated": protect}
        ).session()
        run(
            session,
            np.concatenate([made_clip.frames] * 2),
            {0: made_clip.masks(1), 8: made_clip.masks(2, 8)},
        )
        frames = session.memory.frames
        kept[protect] = [int((frames == frame).sum()) for frame in (0, 8)]
    assert kept[True] == [PIXELS, PIXELS]
    assert sum(kept[False]) < 2 * PIXELS


def test_more_annotated_frames_than_there_is_room_for_leave_by_their_rank():
    driven = Driven(
        MemoryConfig(
            policy="fifo", capacity_frames=2, protect_annotated=True, write_every_frames=1
        ),
        seed=0,
    )
    for given_masks in ([1], (), [1], [2], ()):
        driven.process(given_masks)
    assert driven.bank.frame_indices == [3, 4]


def test_first_in_first_out_is_a_window_of_the_latest_frames_written(make_segmenter, made_clip):
    session = make_segmenter(memory="fifo", memory_frames=2, mem_every=3).session()
    run(session, made_clip.frames, {0: made_clip.labels[0]})
    assert session.memory.frame_indices == [6, 9]


def test_random_eviction_repeats_with_its_seed_and_differs_with_another(make_segmenter, made_clip):
    held = []
    for seed in (0, 0, 1):
        session = make_segmenter(
            memory="random", memory_frames=2, mem_every=1, **{"memory.seed": seed}
        ).session()
        run(session, made_clip.frames, {0: made_clip.labels[0]})
        held.append((session.memory.frames.tolist(), session.memory.positions.tolist()))
    assert held[0] == held[1] != held[2]


def lose(session, object_id):
    """Drop all that was written since an object joined."""
    bank = session.memory
    bank.keep(torch.arange(bank.first_element(object_id)))


@pytest.mark.parametrize("lookahead", [1, 5])
@pytest.mark.parametrize("system", list(SYSTEMS))
def test_a_lost_object_is_named_has_no_mask_and_comes_back_with_a_new_one(
    make_segmenter, made_clip, system, lookahead
):
    session = make_segmenter(system, sampling="every").session(lookahead=lookahead)
    results = [
        session.step(frame, {0: made_clip.masks(1), 3: made_clip.masks(2, 3)}.get(index))
        for index, frame in enumerate(made_clip.frames[:5])
    ]
    results += session.flush()
    assert session.lost_object_ids == ()
    lose(session, 2)
    assert session.lost_object_ids == (2,)
    results += [session.step(frame) for frame in made_clip.frames[5:9]] + session.flush()
    assert session.lost_object_ids == (2,), (
        "what is written of a lost object, nothing, is not what it is"
    )
    assert session.object_ids == (1, 2)
    results += [session.step(made_clip.frames[9], made_clip.masks(2, 9))]
    assert session.lost_object_ids == ()
    results += [session.step(frame) for frame in made_clip.frames[10:]] + session.flush()
    results = [result for result in results if result is not None]
    assert [result.frame_index for result in results] == list(range(12))
    for result in results:
        seen = (result.labels == 2).any()
        lost = 5 <= result.frame_index < 9
        assert result.object_ids == ((1,) if result.frame_index < 3 else (1, 2))
        assert not (seen and lost)
        assert seen or lost or result.frame_index < 3 or result.frame_index in (4, 10, 11)
        assert not lost or result.probabilities[2].max() < 1e-6
        torch.testing.assert_close(
            result.probabilities.sum(0), torch.ones(48, 64), rtol=0, atol=1e-5
        )


def test_an_object_that_no_element_shows_any_more_is_lost_where_elements_leave_and_nowhere_else(
    make_segmenter, made_clip
):
    masks = {
        0: made_clip.labels[0],
        3: np.full((48, 64), 2, np.uint8),
        8: made_clip.masks(1, 8),
    }  # object 2 hides object 1
    lost, seen = {}, {}
    for memory, bound in (("lfu", {"memory_frames": 1}), ("every-k", {}), ("first-and-latest", {})):
        session = make_segmenter(
            memory=memory, **bound, **({} if memory == "first-and-latest" else {"mem_every": 1})
        ).session()
        results = [
            session.step(frame, masks.get(index))
            for index, frame in enumerate(made_clip.frames[:4])
        ]
        assert session.lost_object_ids == ()
        for index in range(4, 12):
            results.append(session.step(made_clip.frames[index], masks.get(index)))
            lost.setdefault(memory, []).append(session.lost_object_ids)
        seen[memory] = [bool((result.labels == 1).any()) for result in results]
        assert all(result.object_ids == (1, 2) for result in results)
    assert lost["lfu"][:5] == [(1,)] * 4 + [()]
    assert seen["lfu"][4:9] == [False] * 4 + [True]
    assert lost["every-k"] == lost["first-and-latest"] == [()] * 8


def test_an_element_shows_what_is_the_most_probable_at_any_of_its_pixels():
    masks = torch.zeros(2, 32, 48)
    masks[0, :, 16:] = 0.4
    masks[1, 5, 17] = 0.5
    masks[1, 20:, 40:] = 0.35
    masks[0, 31, 0] = 0.6
    assert shown_elements(masks).tolist() == [
        [False, False, False, True, False, True],
        [False, True, False, False, False, False],
    ]


def test_merged_elements_show_what_any_of_them_showed():
    bank = MemoryBank()
    for frame, shown in enumerate(([1, 0, 0], [0, 0, 1])):
        bank.write(
            frame,
            torch.randn(3, 4),
            {1: torch.randn(3, 2)},
            shown={1: torch.tensor(shown, dtype=torch.bool)},
        )
    bank.merge(
        torch.arange(6).view(1, 2, 3), lambda keys: keys.mean(1), lambda values: values.mean(1)
    )
    bank.keep(torch.tensor([1, 2]))
    assert bank.lost_object_ids == ()
    bank.keep(torch.tensor([0]))
    assert bank.lost_object_ids == (1,)


def test_lost_objects_leave_the_others_as_they_were(make_segmenter, made_clip):
    segmenter = make_segmenter(mem_every=100)
    whole, without = segmenter.session(), segmenter.session()
    for index, frame in enumerate(made_clip.frames):
        mask = {0: made_clip.masks(1), 3: made_clip.masks(2, 3)}.get(index)
        results = [session.step(frame, mask) for session in (whole, without)]
        if index == 4:
            for session in (whole, without):
                lose(session, 2)
            without.remove_object(2)
        if index > 4:
            assert np.array_equal(results[0].labels, results[1].labels)


def test_all_objects_lost_leave_background_until_a_mask_is_given(make_segmenter, made_clip):
    segmenter = make_segmenter("lfu", mem_every=100)
    session = segmenter.session()
    for index, frame in enumerate(made_clip.frames[:3]):
        session.step(frame, made_clip.labels[0] if index == 0 else None)
    session.memory.keep(torch.zeros(0, dtype=torch.int64))
    assert session.lost_object_ids == (1, 2)
    for frame in made_clip.frames[3:6]:
        result = session.step(frame)
        assert result.object_ids == (1, 2) and not result.labels.any()
    session.remove_object(1)
    assert session.lost_object_ids == (2,)
    again = [
        session.step(frame, made_clip.masks(2, 6) if index == 0 else None)
        for index, frame in enumerate(made_clip.frames[6:])
    ]
    fresh = run(segmenter.session(), made_clip.frames[6:], {0: made_clip.masks(2, 6)})
    assert_same_results(
        [dataclasses.replace(result, frame_index=result.frame_index - 6) for result in again], fresh
    )


def test_an_object_whose_next_elements_are_about_to_be_written_is_not_lost(
    make_segmenter, made_clip
):
    session = make_segmenter("lfu", mem_every=1).session()
    for index, frame in enumerate(made_clip.frames[:3]):
        session.step(frame, made_clip.labels[0] if index == 0 else None)
    session.memory.keep(torch.zeros(0, dtype=torch.int64))
    assert session.lost_object_ids == ()
    assert session.step(made_clip.frames[3]).labels.any()
    assert session.memory.frame_indices == [2]


def test_a_bank_reads_zeros_of_an_object_of_which_nothing_is_left():
    bank = MemoryBank(usage="count")
    bank.write(0, torch.randn(6, 4), {1: torch.ones(6, 2)})
    bank.write(2, torch.randn(6, 4), {1: torch.ones(6, 2), 2: torch.ones(6, 2)})
    bank.keep(torch.tensor([0, 3]))
    assert bank.lost_object_ids == (2,)
    readout = bank.read(torch.randn(5, 4), (2, 1), 3)
    torch.testing.assert_close(readout, torch.stack([torch.zeros(5, 2), torch.ones(5, 2)]))
    assert bank.uses.tolist() == [5, 5]
    bank.keep(torch.zeros(0, dtype=torch.int64))
    assert not bank.read(torch.randn(5, 4), (2, 1), 3).any()
    assert bank.lost_object_ids == (1, 2)


def test_rows_held_for_now_are_still_held_for_now_when_others_leave():
    bank = MemoryBank()
    bank.write(0, torch.randn(4, 3), {1: torch.randn(4, 2)})
    bank.write(5, torch.randn(4, 3), {1: torch.randn(4, 2)})
    bank.write(6, torch.randn(4, 3), {1: torch.randn(4, 2)}, temporary=True)
    bank.keep(torch.tensor([1, 5, 6, 9, 10, 11]))
    assert bank.frames.tolist() == [0, 5, 5, 6, 6, 6]
    bank.drop_temporary()
    assert bank.frames.tolist() == [0, 5, 5]


def test_a_write_beyond_the_limit_is_an_error_of_the_caller():
    bank = MemoryBank()
    bank.write(0, torch.randn(4, 3), {1: torch.randn(4, 2)})
    bank.limit(6)
    with pytest.raises(AssertionError, match="room must be made"):
        bank.write(1, torch.randn(4, 3), {1: torch.randn(4, 2)})
    with pytest.raises(AssertionError, match="before their rows are freed"):
        bank.limit(3)


def test_sessions_made_in_inference_mode_go_on_outside_of_it(make_segmenter, made_clip):
    session, results = make_segmenter("lfu", memory_frames=1, mem_every=1).session(), []
    with torch.inference_mode():
        results += [
            session.step(made_clip.frames[0], made_clip.labels[0]),
            session.step(made_clip.frames[1]),
        ]
    results += [session.step(frame) for frame in made_clip.frames[2:]]
    assert_same_results(
        results,
        list(
            make_segmenter("lfu", memory_frames=1, mem_every=1).segment(
                made_clip.frames, made_clip.labels[0]
            )
        ),
    )


def test_the_bound_is_the_one_asked_for_or_the_systems_or_the_policys():
    assert system_config("lfu").memory.capacity_frames == SYSTEMS["lfu"].memory.capacity_frames
    assert system_config("lfu", memory_frames=2).memory.capacity_frames == 2
    assert (
        system_config("stcn", memory="fifo").memory.capacity_frames
        == BoundedMemory.default_capacity_frames
    )
    assert system_config("lfu", memory="every-k") == dataclasses.replace(
        system_config("stcn"), name="lfu"
    )
    megabytes = system_config("lfu", max_memory_mb=64).memory
    assert (megabytes.capacity_frames, megabytes.max_megabytes) == (None, 64.0)


@pytest.mark.parametrize(
    ("system", "overrides", "message"),
    [
        (
            "stcn",
            {"memory_frames": 4},
            "memory_frames: memory every-k has no bound to set.*lfu, lfu-weight.*fifo, random",
        ),
        (
            "lfu",
            {"memory": "first-and-latest", "max_memory_mb": 4},
            "max_memory_mb: memory first-and-latest has no bound",
        ),
        (
            "stcn",
            {"memory.protect_annotated": True},
            "memory.protect_annotated: memory every-k has no bound",
        ),
        ("lfu", {"memory_frames": 0}, "at least 1"),
        ("lfu", {"memory_frames": 1, "memory.protect_annotated": True}, "at least 2 frames"),
        (
            "lfu",
            {"memory_frames": 2, "max_memory_mb": 9},
            "memory_frames is 2 and max_memory_mb 9; give one of them",
        ),
        ("lfu", {"max_memory_mb": 0}, "memory.max_megabytes is 0"),
        ("lfu", {"max_memory_mb": "nan"}, "memory.max_megabytes is nan"),
        ("lfu", {"memory": "lru"}, "lru.*every-k, first-and-latest, lfu"),
        ("lfu", {"sampling": "never"}, "never.*every"),
    ],
)
def test_bounds_that_cannot_hold_are_refused(system, overrides, message):
    with pytest.raises(InputError, match=message):
        system_config(system, **overrides)
