"""The objects of a video: who joins, is corrected, is lost and leaves."""

import pytest
import torch

from inference.frames import ObjectMask
from inference.objects import MAX_OBJECTS, VideoObjects
from util.errors import InputError


def test_objects_keep_the_order_in_which_they_joined():
    objects = VideoObjects().joined((7, 300)).joined((2, 7))
    assert objects.ids == objects.known_ids == (7, 300, 2)
    assert objects.without(300).ids == (7, 2)


def test_a_lost_object_is_known_again_when_it_is_given_again():
    objects = VideoObjects((1, 2, 3)).with_lost((2, 3))
    assert objects.ids == (1, 2, 3) and objects.known_ids == (1,)
    assert objects.joined((3,)).known_ids == (1, 3)
    assert objects.without(2).joined((2,)).known_ids == (1, 2)


def test_lost_objects_have_no_logits_and_no_masks_in_memory():
    objects = VideoObjects((1, 2, 3)).with_lost((2,))
    logits = objects.complete_logits(torch.ones(2, 2, 4, 5))
    assert logits.isneginf().flatten(2).all(2).tolist() == [[False, True, False]] * 2
    masks = torch.arange(3.0).view(1, 3, 1, 1)
    assert objects.known_masks(masks).flatten().tolist() == [0, 2]
    assert objects.masks_without(masks, 1).flatten().tolist() == [1, 2]


def test_a_mask_replaces_what_was_predicted_where_it_shows_an_object():
    before = VideoObjects((5,))
    mask = ObjectMask(torch.tensor([[0, 9], [9, 0]]), (9,))
    predicted = torch.tensor([[[[0.2, 0.2], [0.2, 0.2]], [[0.8, 0.8], [0.8, 0.8]]]])
    merged = before.joined(mask.object_ids).merge_mask(predicted, mask, before)
    assert merged.shape == (1, 3, 2, 2)
    assert merged.argmax(1).tolist() == [[[1, 2], [2, 1]]]
    torch.testing.assert_close(merged.sum(1), torch.ones(1, 2, 2))


def test_too_many_objects_and_absent_ones_are_refused():
    full = VideoObjects(tuple(range(1, MAX_OBJECTS + 1)))
    full.require_room((1, 2), "frame 3")
    with pytest.raises(InputError, match="frame 3: 255 objects; at most 254"):
        full.require_room((1, 999), "frame 3")
    with pytest.raises(InputError, match=r"object 4 .* present are 1, 3"):
        VideoObjects((1, 3)).require_present(4)
