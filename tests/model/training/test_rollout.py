"""The training rollout: the published implementation's numbers, gradients, clips.

Legend: B batch, K objects, T frames, H W image size.
"""

import copy

import numpy as np
import pytest
import torch
from deterministic import clip, fill, weight
from repository import DATA
from torch.profiler import ProfilerActivity, profile
from toy_training import double_rollout, rollout_gradients, rollout_of, toy_batch

from model import VOSNetwork, build_network
from model.network import freeze_batch_norms
from model.training.losses import clip_dice
from model.training.rollout import Prediction

SAMPLES = {"single": 1, "pair": 2}  # name → objects
MASK_WEIGHT = "value_encoder.conv1.weight"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(DATA / "train_golden.npz"))


@pytest.fixture(scope="module")
def published_network() -> VOSNetwork:
    return build_network("stcn")


@pytest.fixture(scope="module", params=SAMPLES)
def published(request, published_network):
    """Name of the sample, its inputs, the rollout, and its result at iteration 0.

    The gradients of that result are in the network.
    """
    network = fill(published_network).train()
    freeze_batch_norms(network)
    objects = SAMPLES[request.param]
    if objects == 1:  # widen the pretraining stage's four channels with zeros
        narrow = torch.from_numpy(weight(MASK_WEIGHT, (64, 4, 7, 7)))
        with torch.no_grad():
            network.value_encoder.conv1.weight.copy_(
                torch.nn.functional.pad(narrow, (0, 0, 0, 0, 0, 1))
            )
    frames, labels = clip(9)
    frames = torch.from_numpy(frames[[0, 4, 8], :112, :192]).permute(0, 3, 1, 2)[None]
    labels = torch.from_numpy(labels[[0, 4, 8], :112, :192])[None]
    sample = frames, torch.where(labels <= objects, labels, 0), torch.tensor([objects])
    network.zero_grad()
    rollout = rollout_of(network)
    result = rollout(*sample, iteration=0)
    result.loss.backward()
    return request.param, sample, rollout, result


def test_logits_equal_the_published_implementation(published, golden):
    name, _, _, result = published
    for t in range(2):
        torch.testing.assert_close(
            result.logits[:, t],
            torch.from_numpy(golden[f"{name}/logits_{t + 1}"]),
            rtol=1e-4,
            atol=2e-3,
        )


def test_losses_equal_the_published_implementation_at_every_iteration(
    published, golden, monkeypatch
):
    name, sample, rollout, result = published
    np.testing.assert_allclose(
        result.frame_losses.numpy(), golden[f"{name}/losses"][0, :2], rtol=1e-4
    )
    # the iteration only affects the loss
    prediction = Prediction(logits=result.logits, divergence=None)
    monkeypatch.setattr(rollout, "predict", lambda *_: prediction)
    for iteration, (loss_1, loss_2, fraction) in zip(
        golden["iterations"], golden[f"{name}/losses"], strict=True
    ):
        again = rollout(*sample, iteration=int(iteration))
        np.testing.assert_allclose(again.frame_losses.numpy(), (loss_1, loss_2), rtol=1e-4)
        assert float(again.loss.detach()) == pytest.approx(loss_1 + loss_2, rel=1e-4)
        assert rollout.config.bootstrap.fraction_at(int(iteration)) == pytest.approx(
            fraction, abs=1e-9
        )


def test_gradient_norms_equal_the_published_implementation(published, golden):
    name, _, rollout, _ = published
    gradients = dict(rollout.network.named_parameters())
    for parameter, norm in zip(
        golden["grad_norm_names"], golden[f"{name}/grad_norms"], strict=True
    ):
        gradient = gradients[str(parameter)].grad
        if name == "single" and parameter == MASK_WEIGHT:
            gradient = gradient[:, :4]
        assert float(gradient.norm()) == pytest.approx(norm, rel=1e-4), parameter


@pytest.fixture
def batch() -> tuple[torch.Tensor, ...]:
    """Frames, labels and numbers of objects of four samples."""
    return tuple(toy_batch().values())


@pytest.mark.parametrize("iteration", [0, 45_000, 100_000])
def test_the_mean_of_the_gradients_of_half_batches_is_that_of_the_whole(
    network, batch, monkeypatch, iteration
):
    rollout = double_rollout(network, monkeypatch)
    whole_loss, whole = rollout_gradients(rollout, batch, slice(None), iteration)
    # at most two objects in the first half, three in the second
    loss_1, half_1 = rollout_gradients(rollout, batch, slice(0, 2), iteration)
    loss_2, half_2 = rollout_gradients(rollout, batch, slice(2, 4), iteration)
    assert float(whole_loss) == pytest.approx(float((loss_1 + loss_2) / 2), abs=1e-10)
    for name, gradient in whole.items():
        assert (gradient - (half_1[name] + half_2[name]) / 2).abs().max() < 1e-10, name


@pytest.mark.parametrize("name", ["network", "refined_network"])
def test_every_parameter_receives_a_gradient(request, name, batch, monkeypatch):
    _, gradients = rollout_gradients(
        double_rollout(request.getfixturevalue(name), monkeypatch), batch, slice(None), 0
    )
    assert [name for name, gradient in gradients.items() if not gradient.any()] == []
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


def test_objects_a_sample_lacks_do_not_influence_its_others(network, batch, monkeypatch):
    rollout = double_rollout(network, monkeypatch)
    together = rollout(*batch)
    for b, count in enumerate(batch[2].tolist()):
        alone = rollout(*(part[b : b + 1] for part in batch))
        torch.testing.assert_close(
            together.logits[b, :, : count + 1], alone.logits[0], rtol=0, atol=1e-10
        )
        assert (together.logits[b, :, count + 1 :] == float("-inf")).all()


def test_order_of_objects_does_not_matter(network, batch, monkeypatch):
    rollout = double_rollout(network, monkeypatch)
    frames, labels, counts = (part[2:3] for part in batch)
    swapped = torch.tensor([0, 3, 1, 2], dtype=torch.uint8)[labels.long()]
    ours, theirs = rollout(frames, labels, counts), rollout(frames, swapped, counts)
    assert float(ours.loss.detach()) == pytest.approx(float(theirs.loss.detach()), abs=1e-10)
    torch.testing.assert_close(ours.logits, theirs.logits[:, :, [0, 3, 1, 2]], rtol=0, atol=1e-10)


def test_the_truth_of_later_frames_is_used_by_the_loss_alone(network, batch):
    rollout = rollout_of(copy.deepcopy(network).eval())
    frames, labels, counts = batch
    changed = labels.clone()
    changed[:, 1:] = 0
    assert torch.equal(
        rollout(frames, labels, counts).logits, rollout(frames, changed, counts).logits
    )


def test_predicted_masks_carry_gradients_to_the_value_encoder(network, batch):
    """The last frame's loss reaches the first prediction's decoder pass through the memory."""
    network = copy.deepcopy(network).eval()
    passes = []
    decode = network.decode

    def recording(*arguments):
        passes.append(decode(*arguments))
        passes[-1].retain_grad()
        return passes[-1]

    network.decode = recording
    rollout = rollout_of(network)
    frames, labels, counts = (part[:2] for part in batch)
    logits = rollout.predict(frames, labels[:, 0], torch.arange(1, 3) <= counts[:2, None]).logits
    logits[1, -1].sum().backward()
    assert passes[0].grad.abs().max() > 0


def test_samples_may_have_any_number_of_frames(network, batch):
    frames, labels, counts = batch
    result = rollout_of(copy.deepcopy(network).eval())(
        torch.cat([frames, frames], 1), torch.cat([labels, labels], 1), counts
    )
    assert result.logits.shape == (4, 5, 4, 32, 48)
    assert result.frame_losses.shape == (5,)
    assert float(result.loss.detach()) == pytest.approx(float(result.frame_losses.sum()), rel=1e-6)


@pytest.fixture
def clips(batch):
    """Two samples of a first frame and two clips of three."""
    frames, labels, counts = (part[1:3] for part in batch)
    picked = [0, 1, 2, 0, 2, 1, 0]
    return frames[:, picked], labels[:, picked], counts


def test_frames_of_a_clip_are_predicted_from_the_memory_alone(network, clips, monkeypatch):
    rollout = double_rollout(network, monkeypatch, clip_frames=3)
    together, single = rollout(*clips).logits, double_rollout(network, monkeypatch)
    frames, labels, counts = clips
    for frame in (1, 2, 3):
        alone = single(frames[:, [0, frame]], labels[:, [0, frame]], counts).logits[:, 0]
        torch.testing.assert_close(together[:, frame - 1], alone, rtol=0, atol=1e-10)


def test_a_clips_last_frame_joins_the_memory_with_its_predicted_mask(network, clips, monkeypatch):
    together = double_rollout(network, monkeypatch, clip_frames=3)(*clips).logits
    frames, labels, counts = clips
    single = double_rollout(network, monkeypatch)
    for frame in (4, 5, 6):
        # frame by frame: the last one reads the truth of frame 0 and the prediction of frame 3
        steps = [0, 3, frame]
        logits = single(frames[:, steps], labels[:, steps], counts).logits[:, 1]
        torch.testing.assert_close(together[:, frame - 1], logits, rtol=0, atol=1e-10)


def test_refinement_in_training_sees_the_whole_clip(refined_network, clips, monkeypatch):
    rollout = double_rollout(refined_network, monkeypatch, clip_frames=3)
    frames, labels, counts = clips
    changed = frames.clone()
    changed[:, 3] = 255 - changed[:, 3]
    before, after = (rollout(content, labels, counts).logits for content in (frames, changed))
    # frame 2 depends on the frame after it, which shares a window with it
    assert (before[:, 1].softmax(1) - after[:, 1].softmax(1)).abs().max() > 1e-4


def test_the_loss_of_clips_is_the_mean_over_their_frames_and_their_dice(network, clips):
    result = rollout_of(copy.deepcopy(network).eval(), clip_frames=3, dice_weight=0.5)(*clips)
    _, labels, counts = clips
    present = torch.arange(1, int(counts.max()) + 1) <= counts[:, None]
    dice = sum(
        clip_dice(result.logits[:, part], labels[:, 1:][:, part], present)
        for part in (slice(0, 3), slice(3, 6))
    )
    assert float(result.parts["cross_entropy"]) == pytest.approx(
        float(result.frame_losses.sum()) / 3, rel=1e-6
    )
    assert float(result.parts["dice"]) == pytest.approx(0.5 * float(dice), rel=1e-6)
    assert float(result.loss.detach()) == pytest.approx(float(sum(result.parts.values())), rel=1e-6)


@pytest.mark.parametrize("name", ["tiny", "tiny_pcvos"])
def test_a_backward_pass_reads_no_value_back(name, batch):
    """Reading a value makes the host wait for the GPU, which is then idle until new work comes."""
    rollout = rollout_of(fill(build_network(name)).train())
    result = rollout(*batch)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        result.loss.backward()
    assert not {"aten::item", "aten::nonzero", "aten::is_nonzero"} & {
        event.key for event in profiled.key_averages()
    }
