"""Pictures of a training's samples."""

import torch

from dataset.training.pictures import draw_batch
from util.palette import DAVIS_PALETTE

GAP = 4  # white pixels around each cell


def cell(picture: torch.Tensor, row: int, column: int, height: int, width: int) -> torch.Tensor:
    top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
    return picture[:, top : top + height, left : left + width]


def toy_batch(samples: int, objects: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 255, (samples, 3, 3, 16, 24), dtype=torch.uint8, generator=generator)
    labels = torch.zeros(samples, 3, 16, 24, dtype=torch.uint8)
    predicted = torch.zeros(samples, 2, 16, 24, dtype=torch.int64)
    for number in range(1, objects + 1):
        labels[:, :, 2:6, 6 * number : 6 * number + 4] = number
        predicted[:, :, 8:12, 6 * number : 6 * number + 4] = number
    return frames, labels, predicted


def test_truth_stands_above_prediction_and_frames_beside_each_other():
    frames, labels, predicted = toy_batch(2, objects=2)
    picture = draw_batch(frames, labels, predicted)
    assert picture.dtype == torch.uint8 and picture.shape == (
        3,
        GAP + 4 * (16 + GAP),
        GAP + 3 * (24 + GAP),
    )
    for sample in range(2):
        for column in range(3):
            shown = {
                "truth": labels[sample, column],
                "prediction": labels[sample, 0] if column == 0 else predicted[sample, column - 1],
            }
            for row, ids in enumerate(shown.values()):
                found, frame = (
                    cell(picture, 2 * sample + row, column, 16, 24),
                    frames[sample, column],
                )
                assert torch.equal(found[:, ids == 0], frame[:, ids == 0])
                for object_id in (1, 2):
                    colour = torch.tensor(list(DAVIS_PALETTE[3 * object_id : 3 * object_id + 3]))[
                        :, None
                    ]
                    mixed = frame[:, ids == object_id].float() / 2 + colour / 2
                    assert (found[:, ids == object_id].float() - mixed).abs().max() <= 1


def test_four_samples_are_shown_of_a_larger_batch():
    assert draw_batch(*toy_batch(6)).shape == draw_batch(*toy_batch(4)).shape


def test_large_frames_are_reduced_and_small_ones_left():
    picture = draw_batch(*toy_batch(1), cell_pixels=12)
    assert picture.shape == (3, GAP + 2 * (8 + GAP), GAP + 3 * (12 + GAP))


def test_a_sample_without_objects_shows_its_frames():
    frames, labels, predicted = toy_batch(1, objects=0)
    assert torch.equal(cell(draw_batch(frames, labels, predicted), 1, 2, 16, 24), frames[0, 2])
