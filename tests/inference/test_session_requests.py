"""What sessions accept and refuse, when results come, and what is kept of a video."""

import gc

import numpy as np
import pytest
import torch
from PIL import Image

from inference import SYSTEMS
from util.errors import InputError

SIZES = [(17, 33), (100, 50), (16, 16), (16, 61), (48, 64)]


def noise(length, size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (length, *size, 3), dtype=np.uint8)


def left_half(size, object_id=1):
    mask = np.zeros(size, np.uint8)
    mask[:, : size[1] // 2] = object_id
    return mask


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("resolution", [-1, 16, 40])
def test_frames_of_any_size_give_results_of_their_size(make_segmenter, size, resolution):
    frames, mask = noise(4, size), left_half(size, 3)
    results = list(make_segmenter(resolution=resolution).segment(frames, mask, lookahead=2))
    assert [result.frame_index for result in results] == [0, 1, 2, 3]
    for result in results:
        assert result.labels.shape == size
        assert result.probabilities.shape == (2, *size)
        torch.testing.assert_close(result.probabilities.sum(0), torch.ones(size), rtol=0, atol=1e-5)
    assert np.array_equal(results[0].labels, mask)


def test_a_working_size_beyond_any_memory_is_refused(make_segmenter):
    with pytest.raises(InputError, match=r"resolution is 100000; .*at most 5792"):
        make_segmenter(resolution=100_000)
    long = np.zeros((16, 100_000, 3), np.uint8)
    mask = np.ones((16, 100_000), np.uint8)
    with pytest.raises(
        InputError,
        match=r"frames of 100000×16 pixels at resolution 480 .* more than 32 megapixels",
    ):
        make_segmenter(resolution=480).session().step(long, mask)


def test_working_resolution_makes_the_shorter_side_that_long(make_segmenter):
    session = make_segmenter(resolution=48).session()
    for frame in noise(2, (20, 33)):
        session.step(frame, left_half((20, 33)) if session.frames_given == 0 else None)
    assert session.memory.size == 3 * 5  # 48 × 79 (33 · 48 / 20 truncated) at stride 16


def test_an_object_too_small_for_the_working_resolution_does_no_harm(make_segmenter):
    mask = left_half((64, 64))
    mask[33, 33] = 2
    results = list(make_segmenter(resolution=16).segment(noise(3, (64, 64)), mask))
    assert np.array_equal(results[0].labels, mask)
    assert all(torch.isfinite(result.probabilities).all() for result in results)


def test_frames_come_as_arrays_or_tensors_in_any_memory_order(make_segmenter, made_clip):
    segmenter = make_segmenter()
    frames, mask = made_clip.frames[:3], made_clip.labels[0]
    expected = [result.probabilities for result in segmenter.segment(frames, mask)]
    # negative strides, as turning BGR into RGB makes
    mirrored = np.ascontiguousarray(frames[..., ::-1])[..., ::-1]
    read_only = frames.copy()
    read_only.flags.writeable = False
    variants = {
        "tensor": torch.from_numpy(frames),
        "channels first": torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous(),
        "channels first array": frames.transpose(0, 3, 1, 2),
        "negative strides": mirrored,
        "read-only": read_only,
        "generator": (frame for frame in frames),
        "list": list(frames),
    }
    for name, variant in variants.items():
        results = [result.probabilities for result in segmenter.segment(variant, mask)]
        assert all(torch.equal(one, other) for one, other in zip(results, expected, strict=True)), (
            name
        )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "dtype",
    [bool, np.int8, np.uint8, np.uint16, np.int16, np.int32, np.uint32, np.int64, np.uint64],
)
def test_masks_come_in_any_whole_type_and_from_read_only_files(make_segmenter, made_clip, dtype):
    mask = made_clip.masks(1).astype(dtype)
    mask.flags.writeable = False
    result = make_segmenter().session().step(made_clip.frames[0], mask)
    assert np.array_equal(result.labels, mask.astype(np.uint8))
    if dtype is not np.uint64:
        assert np.array_equal(
            make_segmenter()
            .session()
            .step(made_clip.frames[0], torch.from_numpy(mask.copy()))
            .labels,
            result.labels,
        )


@pytest.mark.parametrize("lookahead", [1, 5])
def test_a_caller_may_use_its_frame_array_again(make_segmenter, made_clip, lookahead):
    def reusing():
        buffer = np.empty_like(made_clip.frames[0])
        for frame in made_clip.frames:
            buffer[:] = frame
            yield buffer

    segmenter = make_segmenter()
    expected = list(segmenter.segment(made_clip.frames, made_clip.labels[0], lookahead=lookahead))
    for one, other in zip(
        segmenter.segment(reusing(), made_clip.labels[0], lookahead=lookahead),
        expected,
        strict=True,
    ):
        assert torch.equal(one.probabilities, other.probabilities), one.frame_index


def test_a_caller_may_change_the_results_it_was_given(make_segmenter, made_clip, policy):
    segmenter = make_segmenter(memory=policy)
    expected = list(segmenter.segment(made_clip.frames, made_clip.labels[0], lookahead=1))
    for one, other in zip(
        segmenter.segment(made_clip.frames, made_clip.labels[0], lookahead=1), expected, strict=True
    ):
        assert torch.equal(one.probabilities, other.probabilities), one.frame_index
        one.probabilities.zero_()
        one.labels[:] = 0


@pytest.mark.parametrize("system", list(SYSTEMS))
@pytest.mark.parametrize("lookahead", [1, 2, 5, 8])
def test_results_come_in_order_one_per_call_and_within_the_latency(
    make_segmenter, made_clip, system, policy, lookahead
):
    session = make_segmenter(system, memory=policy).session(lookahead=lookahead)
    clip_length = SYSTEMS[system].clip_length
    ahead = 1 if SYSTEMS[system].frame_by_frame else lookahead
    assert session.latency_frames == (clip_length if clip_length > 1 else ahead) - 1
    given = []
    for index, frame in enumerate(np.concatenate([made_clip.frames] * 2)):
        result = session.step(frame, {0: made_clip.labels[0], 7: made_clip.masks(2, 7)}.get(index))
        if result is not None:
            given.append(result.frame_index)
        assert index - len(given) < session.latency_frames + 0.5
    given += [result.frame_index for result in session.flush()]
    assert given == list(range(24))
    assert session.flush() == []


def test_streaming_gives_each_result_at_once(make_segmenter, made_clip, policy):
    session = make_segmenter(memory=policy).session()
    assert session.latency_frames == 0
    for index, frame in enumerate(made_clip.frames):
        assert session.step(frame, made_clip.labels[0] if index == 0 else None).frame_index == index


def test_a_video_of_one_frame_returns_its_mask(make_segmenter, made_clip, policy):
    for lookahead in (1, 5):
        (result,) = make_segmenter(memory=policy).segment(
            made_clip.frames[:1], made_clip.labels[0], lookahead=lookahead
        )
        assert np.array_equal(result.labels, made_clip.labels[0])


def test_masks_of_frames_that_never_come_are_refused_after_the_results(make_segmenter, made_clip):
    masks = {0: made_clip.labels[0], 40: made_clip.labels[1]}
    results = []
    with pytest.raises(InputError, match=r"frames \[40\].*12 frames"):
        for result in make_segmenter().segment(iter(made_clip.frames), masks):
            results.append(result)
    assert len(results) == 12
    assert set(masks) == {0, 40}, "the caller's dictionary was changed"


@pytest.mark.parametrize("masks", [{}, None], ids=str)
def test_a_video_without_any_mask_is_refused(make_segmenter, made_clip, masks):
    with pytest.raises(InputError):
        list(make_segmenter().segment(made_clip.frames, masks))


def refused_steps(clip):
    frame, mask = clip.frames[3], clip.labels[3]
    many = np.zeros((48, 64), np.int64)
    many.flat[:255] = np.arange(1, 256)
    return {
        "another size": (np.zeros((48, 80, 3), np.uint8), None),
        "too small": (np.zeros((15, 64, 3), np.uint8), None),
        "float frame": (frame / 255, None),
        "float32 frame": (frame.astype(np.float32), mask),
        "16-bit frame": (frame.astype(np.uint16), None),
        "grey frame": (frame[..., 0], None),
        "four channels": (np.concatenate([frame, frame[..., :1]], axis=2), None),
        "batch of frames": (frame[None], None),
        "no frame": (None, mask),
        "a file name": ("frame.jpg", mask),
        "ragged list": ([[1], [1, 2]], None),
        "mask of another size": (frame, mask[:-1]),
        "mask of another channel": (frame, mask[..., None]),
        "float mask": (frame, mask.astype(np.float32)),
        "mask of objects": (frame, mask.astype(object)),
        "mask file name": (frame, "mask.png"),
        "mask without object": (frame, np.zeros_like(mask)),
        "negative id": (frame, -mask.astype(int)),
        "255 objects": (frame, many),
        "id beyond 32 bits": (frame, mask.astype(np.int64) << 40),
    }


REFUSED = [
    *(
        "another size",
        "too small",
        "float frame",
        "float32 frame",
        "16-bit frame",
        "grey frame",
        "four channels",
        "batch of frames",
    ),
    *(
        "no frame",
        "a file name",
        "ragged list",
        "mask of another size",
        "mask of another channel",
        "float mask",
        "mask of objects",
        "mask file name",
    ),
    *("mask without object", "negative id", "255 objects", "id beyond 32 bits"),
]


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("lookahead", [1, 5])
def test_a_refused_step_names_its_frame_and_leaves_the_session_unchanged(
    make_segmenter, made_clip, name, lookahead
):
    frame, mask = refused_steps(made_clip)[name]
    segmenter = make_segmenter()
    expected = list(segmenter.segment(made_clip.frames, made_clip.labels[0], lookahead=lookahead))
    session = segmenter.session(lookahead=lookahead)
    results = [
        session.step(one, made_clip.labels[0] if index == 0 else None)
        for index, one in enumerate(made_clip.frames[:3])
    ]
    with pytest.raises(InputError, match="frame 3: ") as refusal:
        session.step(frame, mask)
    assert "\n" not in str(refusal.value)
    assert session.frames_given == 3
    assert session.object_ids == (1, 2)
    results = [
        result
        for result in results + [session.step(one) for one in made_clip.frames[3:]]
        if result is not None
    ] + session.flush()
    for one, other in zip(results, expected, strict=True):
        assert torch.equal(one.probabilities, other.probabilities)


def test_a_refused_first_step_does_not_fix_the_size(make_segmenter, made_clip):
    session = make_segmenter().session()
    with pytest.raises(InputError):
        session.step(np.zeros((32, 32, 3), np.uint8), made_clip.labels[0])
    assert session.step(made_clip.frames[0], made_clip.labels[0]).frame_index == 0


def test_a_pil_image_is_accepted_or_refused_in_one_line(make_segmenter, made_clip):
    """Many readers return PIL images; they must not end in a traceback of torch."""
    try:
        result = (
            make_segmenter()
            .session()
            .step(Image.fromarray(made_clip.frames[0]), Image.fromarray(made_clip.labels[0]))
        )
    except InputError as refusal:
        assert "frame 0" in str(refusal)
    else:
        assert np.array_equal(result.labels, made_clip.labels[0])


def test_removing_an_absent_object_is_refused_naming_the_present_ones(make_segmenter, made_clip):
    session = make_segmenter().session()
    with pytest.raises(InputError, match="present are none"):
        session.remove_object(1)
    session.step(made_clip.frames[0], made_clip.labels[0])
    with pytest.raises(InputError, match=r"object 5.*1, 2"):
        session.remove_object(5)


@pytest.mark.parametrize("lookahead", [0, -1])
def test_a_lookahead_below_one_is_refused(make_segmenter, lookahead):
    with pytest.raises(InputError, match="at least 1"):
        make_segmenter().session(lookahead=lookahead)


def test_254_objects_are_segmented_and_one_more_is_refused(make_segmenter):
    frames = noise(3, (32, 64))
    # ids 0 to 254, eight pixels each
    mask = np.minimum(np.arange(32 * 64).reshape(32, 64) // 8, 254)
    session = make_segmenter().session()
    assert np.array_equal(session.step(frames[0], mask).labels, mask)
    assert session.step(frames[1]).probabilities.shape == (255, 32, 64)
    with pytest.raises(InputError, match="255 objects; at most 254"):
        session.step(frames[2], left_half((32, 64), 255))
    session.remove_object(9)
    result = session.step(frames[2], left_half((32, 64), 255))
    assert len(result.object_ids) == 254
    assert result.object_ids[-1] == 255


@pytest.mark.parametrize("lookahead", [1, 5, 8])
def test_every_k_holds_the_frames_of_its_schedule_and_never_the_last(make_segmenter, lookahead):
    size = (16, 32)
    for length, expected in (
        (1, None),
        (2, [0]),
        (6, [0]),
        (7, [0, 5]),
        (11, [0, 5]),
        (12, [0, 5, 10]),
        (17, [0, 5, 10, 15]),
    ):
        session = make_segmenter().session(lookahead=lookahead)
        for index, frame in enumerate(noise(length, size)):
            session.step(frame, left_half(size) if index == 0 else None)
        session.flush()
        assert (session.memory.frame_indices if session.memory else None) == expected
        assert session.memory is None or session.memory.size == 2 * len(expected)


def test_include_last_holds_the_frame_before_and_replaces_it(make_segmenter):
    size, held = (16, 32), []
    session = make_segmenter(mem_every=3, include_last=True).session()
    for index, frame in enumerate(noise(9, size)):
        session.step(frame, left_half(size) if index == 0 else None)
        held.append(session.memory.frame_indices if session.memory else [])
    assert held == [[], [0], [0, 1], [0, 2], [0, 3], [0, 3, 4], [0, 3, 5], [0, 3, 6], [0, 3, 6, 7]]


def live_tensor_bytes() -> int:
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if isinstance(thing, torch.Tensor)]
    return sum(
        {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
            for tensor in tensors
        }.values()
    )


@pytest.mark.filterwarnings("ignore")
def test_nothing_grows_with_the_video_under_first_and_latest(make_segmenter):
    size = (32, 32)
    frames, session, seen = noise(10, size), make_segmenter(memory="first-and-latest").session(), []
    for index in range(300):
        session.step(frames[index % 10], left_half(size) if index == 0 else None)
        if index in (9, 299):
            seen.append((session.memory.megabytes, session.memory.size, live_tensor_bytes()))
    assert seen[0] == seen[1]
    assert session.memory.size == 2 * 4
    assert session.memory.frame_indices == [0, 298]


def test_memory_allocated_for_a_known_length_never_grows(make_segmenter):
    size, sizes = (16, 32), set()
    session = make_segmenter(mem_every=2).session(frame_count=40)
    for index, frame in enumerate(noise(40, size)):
        session.step(frame, left_half(size) if index == 0 else None)
        if session.memory:
            sizes.add(session.memory.megabytes)
    assert len(sizes) == 1
    assert session.memory.frame_indices == list(range(0, 39, 2))
