"""The losses of a training. Legend: B batch, K objects, L frames of a clip, H W image size."""

import pytest
import torch

from model.training.losses import BootstrapConfig, bootstrapped_cross_entropy, clip_dice, mean_iou


@pytest.mark.parametrize(
    ("iteration", "fraction"),
    [(0, 1.0), (19_999, 1.0), (20_000, 1.0), (45_000, 0.575), (70_000, 0.15), (1_000_000, 0.15)],
)
def test_bootstrapped_fraction_falls_linearly(iteration, fraction):
    assert BootstrapConfig().fraction_at(iteration) == pytest.approx(fraction)


@pytest.mark.parametrize("fraction", [0.15, 0.2, 0.5, 1.0])
def test_bootstrapped_loss_is_the_mean_over_each_samples_hardest_pixels(fraction):
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 20, 20, generator=random)
    labels = torch.randint(0, 3, (2, 20, 20), generator=random)
    logits[1] *= 9  # the second sample has many hard pixels, which must not displace the first's
    pixels = torch.nn.functional.cross_entropy(logits, labels, reduction="none").flatten(1)
    hardest = pixels.sort(1, descending=True).values[:, : round(400 * fraction)]
    expected = hardest.mean()
    config = BootstrapConfig(start_iteration=0, end_iteration=1, final_fraction=fraction)
    torch.testing.assert_close(
        bootstrapped_cross_entropy(logits, labels, config.fraction_at(10)), expected
    )


def test_the_dice_loss_equals_a_computation_by_hand():
    labels = torch.tensor([[[[1, 1, 0, 2]], [[1, 0, 0, 2]]]])  # one sample, two frames of 1 × 4
    logits = torch.full((1, 2, 3, 1, 4), -1e4)
    logits.scatter_(2, labels.unsqueeze(2), 0.0)
    present = torch.tensor([[True, True]])
    certain_and_right = float(clip_dice(logits, labels, present))
    assert certain_and_right == pytest.approx(0, abs=1e-6)

    # probability 1/3 everywhere: object 1 covers 3 of 8 pixels, object 2 covers 2
    even = torch.zeros(1, 2, 3, 1, 4)
    expected = sum(1 - (2 * area / 3 + 1) / (8 / 9 + area + 1) for area in (3, 2))
    assert float(clip_dice(even, labels, present)) == pytest.approx(expected, rel=1e-6)
    assert float(clip_dice(even, labels, torch.tensor([[True, False]]))) == pytest.approx(
        1 - 3 / (8 / 9 + 4), rel=1e-6
    )


def test_the_dice_loss_of_an_object_neither_in_the_clip_nor_predicted_is_zero():
    logits = torch.zeros(1, 2, 3, 4, 4)
    logits[:, :, 2] = float("-inf")
    labels, present = torch.zeros(1, 2, 4, 4, dtype=torch.int64), torch.tensor([[False, True]])
    assert float(clip_dice(logits, labels, present)) == 0


def test_the_mean_iou_equals_a_computation_by_hand():
    truth = torch.tensor([[[1, 1, 2, 2]], [[1, 1, 1, 0]]])
    prediction = torch.tensor([[[1, 0, 2, 2]], [[1, 0, 2, 0]]])
    # the second sample has one object, so that its prediction of another is ignored
    present = torch.tensor([[True, True], [True, False]])
    assert float(mean_iou(prediction, truth, present)) == pytest.approx((0.75 + 1 / 3) / 2)
