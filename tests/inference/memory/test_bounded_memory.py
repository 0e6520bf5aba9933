"""Memories of a fixed capacity: which elements stay, and that they never grow.

Legend: N memory elements, M query positions, C channels.
"""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from conftest import assert_same_labels, assert_same_results
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_bounded_session import PlainBoundedSession
from plain_session import double_precision
from sessions import run_session

from inference import SYSTEMS, MemoryConfig, VideoSegmenter, system_config
from inference.memory import POLICIES, BoundedMemory, MemoryBank, Write, element_bytes
from util.errors import InputError

BOUNDED = [name for name, policy in POLICIES.items() if issubclass(policy, BoundedMemory)]
# of the banks made here; pixels: elements of a frame
KEY_CHANNELS, VALUE_CHANNELS, PIXELS = 4, 3, 12
SIZE = (33, 50)  # of random frames: 3 × 4 elements


def mask_of(random, ids):
    """Ids int32 [H, W]: a rectangle of each; at least one pixel of each is visible."""
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
    """What happens before each frame but the first.

    Nothing, an object is removed, one hides the others, or masks of objects are given.
    """
    kinds = (None, None, "remove", "cover", "mask")
    return [
        (
            kinds[random.integers(len(kinds))],
            sorted({int(i) for i in random.choice([1, 2, 7], random.integers(1, 4))}),
        )
        for _ in range(length)
    ]


def play(network, seed, lookahead, overrides):
    """A session and the plain session side by side, on a random video.

    With lookahead 1, both hold the same elements after every frame. Returns the plain session, and
    for how many frames its objects were lost, summed over objects.
    """
    random = np.random.default_rng(seed)
    session = VideoSegmenter(network, "lfu", device="cpu", **overrides).session(lookahead=lookahead)
    plain = PlainBoundedSession(
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
        # the session writes a frame when the next one comes to read it, so it is one write behind
        held = list(plain.elements)
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
    """The elements of a bank are those `held`, in the same order and with the same uses.

    Each object reads the elements that have values of it.
    """
    assert list(zip(bank.frames.tolist(), bank.positions.tolist())) == [
        (element.frame, element.position) for element in held
    ]
    # weights are summed in whole units
    assert bank.uses.tolist() == pytest.approx(
        [element.uses for element in held], rel=1e-9, abs=1e-7
    )
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
    with double_precision():
        plain, lost = play(
            copy.deepcopy(network).double(), seed, [1, 1, 4][seed % 5 % 3], overrides
        )
    assert plain.evicted >= PIXELS, "too few elements were evicted to compare"
    assert lost or seed not in (0, 6, 12), "objects were lost in these videos"


class Driven:
    """A bank and its policy, driven as a session drives them, and all that was ever written.

    Checks the invariants after every call.
    """

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
            "exactly as many are evicted as the new frame needs"
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


# with all three objects
FRAME_MEGABYTES = PIXELS * element_bytes(KEY_CHANNELS, VALUE_CHANNELS, 3, usage="count") / 1e6
# a frame, masks of objects, the removal of an object
CALL = st.one_of(
    st.just("frame"),
    st.just("frame"),
    st.sets(st.sampled_from([1, 2, 3]), min_size=1),
    st.sampled_from([-1, -2, -3]),
)
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
        run_session(session, np.concatenate([made_clip.frames] * 2), masks) for session in sessions
    )
    assert_same_results(other, one)
    memories = [session.memory for session in sessions]
    assert memories[0].size == frames * PIXELS
    assert torch.equal(memories[0].frames, memories[1].frames)
    assert torch.equal(memories[0].positions, memories[1].positions)


@pytest.mark.parametrize(
    "bound", [{"memory_frames": 1}, {"memory_frames": 2}, {"max_memory_mb": 0.0105}]
)
def test_frames_of_a_clip_add_to_a_capacity_in_frames_and_count_in_megabytes(
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


def test_an_object_that_does_not_fit_is_refused_and_leaves_the_session_unchanged(
    make_segmenter, made_clip
):
    megabytes = 1.5 * PIXELS * element_bytes(8, 16, 1, usage="count") / 1e6
    segmenter = make_segmenter("lfu", max_memory_mb=megabytes)
    session, undisturbed = segmenter.session(), segmenter.session()
    for index, frame in enumerate(made_clip.frames):
        if index == 3:
            with pytest.raises(
                InputError,
                match=r"max_memory_mb is 0\.00\d+.* takes 0\.0\d+ MB; give at least 0\.0\d+",
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
        run_session(session, made_clip.frames[:3], {0: made_clip.labels[0]})
        assert session.memory.element_bytes == element_bytes(
            8, 16, 2, value_bytes=2 if amp else 4, usage=usage
        )


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


def test_annotated_frames_are_kept_if_protected_and_evicted_if_not(make_segmenter, made_clip):
    kept = {}
    for protect in (False, True):
        session = make_segmenter(
            "lfu", memory_frames=3, mem_every=1, **{"memory.protect_annotated": protect}
        ).session()
        run_session(
            session,
            np.concatenate([made_clip.frames] * 2),
            {0: made_clip.masks(1), 8: made_clip.masks(2, 8)},
        )
        frames = session.memory.frames
        kept[protect] = [int((frames == frame).sum()) for frame in (0, 8)]
    assert kept[True] == [PIXELS, PIXELS]
    assert sum(kept[False]) < 2 * PIXELS


def test_protected_frames_that_exceed_the_capacity_are_evicted_by_rank():
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
    run_session(session, made_clip.frames, {0: made_clip.labels[0]})
    assert session.memory.frame_indices == [6, 9]


def test_random_eviction_repeats_with_its_seed_and_differs_with_another(make_segmenter, made_clip):
    held = []
    for seed in (0, 0, 1):
        session = make_segmenter(
            memory="random", memory_frames=2, mem_every=1, **{"memory.seed": seed}
        ).session()
        run_session(session, made_clip.frames, {0: made_clip.labels[0]})
        held.append((session.memory.frames.tolist(), session.memory.positions.tolist()))
    assert held[0] == held[1] != held[2]


def test_sessions_created_in_inference_mode_continue_outside_of_it(make_segmenter, made_clip):
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


def test_the_bound_is_the_one_given_or_the_systems_or_the_policys():
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
