"""The training unroll against the published implementation's numbers, and its losses. Legend: B batch, K objects, T frames, H W image size."""

import copy

import numpy as np
import pytest
import torch
from deterministic import clip, fill, weight
from repository import DATA
from torch.profiler import ProfilerActivity, profile

from model import Rollout, VOSNetwork, build_network
from model.network import freeze_batch_norms
from model.training.losses import BootstrapConfig, bootstrapped_cross_entropy, clip_dice, mean_iou
from model.training.rollout import Prediction, _Memory
from util.errors import InputError

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
    """Name of the sample, its inputs, the rollout, and the result of a backward pass at iteration 0 (gradients are left in the network)."""
    network = fill(published_network).train()
    freeze_batch_norms(network)
    objects = SAMPLES[request.param]
    if objects == 1:  # the pretraining stage's four channels, widened with zeros
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
    rollout = Rollout(network)
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
    monkeypatch.setattr(
        rollout, "predict", lambda *_: Prediction(logits=result.logits, divergence=None)
    )  # the iteration enters at the loss alone
    for iteration, (loss_1, loss_2, fraction) in zip(
        golden["iterations"], golden[f"{name}/losses"], strict=True
    ):
        again = rollout(*sample, iteration=int(iteration))
        np.testing.assert_allclose(again.frame_losses.numpy(), (loss_1, loss_2), rtol=1e-4)
        assert float(again.loss.detach()) == pytest.approx(loss_1 + loss_2, rel=1e-4)
        assert rollout.bootstrap.fraction_at(int(iteration)) == pytest.approx(fraction, abs=1e-9)


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
def batch():
    """Four samples of 1, 2, 3 and 1 objects: frames [4, 3, 3, 32, 48], labels [4, 3, 32, 48], num_objects [4]."""
    random = np.random.default_rng(0)
    counts = [1, 2, 3, 1]
    labels = np.stack(
        [
            np.kron(random.integers(0, count + 1, (3, 4, 6)), np.ones((8, 8), int))
            for count in counts
        ]
    )
    frames = random.integers(0, 256, (4, 3, 3, 32, 48))
    return (
        torch.from_numpy(frames.astype(np.uint8)),
        torch.from_numpy(labels.astype(np.uint8)),
        torch.tensor(counts),
    )


def double_rollout(network: VOSNetwork, monkeypatch, **options) -> Rollout:
    """A rollout that computes in double throughout, batch norms frozen."""
    monkeypatch.setattr(
        torch.Tensor, "float", torch.Tensor.double
    )  # what the code raises to single precision goes to double here
    network = copy.deepcopy(network).double().train()
    freeze_batch_norms(network)
    return Rollout(network, **options)


def gradients_of(
    rollout: Rollout, batch, samples: slice, iteration: int
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    rollout.zero_grad()
    result = rollout(*(part[samples] for part in batch), iteration=iteration)
    result.loss.backward()
    return result.loss.detach(), {
        name: parameter.grad.clone() for name, parameter in rollout.named_parameters()
    }


@pytest.mark.parametrize("iteration", [0, 45_000, 100_000])
def test_mean_of_half_batches_gradients_equals_the_whole_batchs(
    network, batch, monkeypatch, iteration
):
    rollout = double_rollout(network, monkeypatch)
    whole_loss, whole = gradients_of(rollout, batch, slice(None), iteration)
    loss_1, half_1 = gradients_of(
        rollout, batch, slice(0, 2), iteration
    )  # at most two objects here, three there
    loss_2, half_2 = gradients_of(rollout, batch, slice(2, 4), iteration)
    assert float(whole_loss) == pytest.approx(float((loss_1 + loss_2) / 2), abs=1e-10)
    for name, gradient in whole.items():
        assert (gradient - (half_1[name] + half_2[name]) / 2).abs().max() < 1e-10, name


@pytest.mark.parametrize("name", ["network", "refined_network"])
def test_every_parameter_receives_a_gradient(request, name, batch, monkeypatch):
    _, gradients = gradients_of(
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
    rollout = Rollout(copy.deepcopy(network).eval())
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
    rollout = Rollout(network)
    frames, labels, counts = (part[:2] for part in batch)
    logits = rollout.predict(frames, labels[:, 0], torch.arange(1, 3) <= counts[:2, None]).logits
    logits[1, -1].sum().backward()
    assert passes[0].grad.abs().max() > 0


def test_length_of_the_clip_is_free(network, batch):
    frames, labels, counts = batch
    result = Rollout(copy.deepcopy(network).eval())(
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
    for frame in (4, 5, 6):
        steps = [
            0,
            3,
            frame,
        ]  # one frame after the other: the last reads the truth of frame 0 and the prediction of frame 3
        torch.testing.assert_close(
            together[:, frame - 1],
            double_rollout(network, monkeypatch)(frames[:, steps], labels[:, steps], counts).logits[
                :, 1
            ],
            rtol=0,
            atol=1e-10,
        )


def test_refinement_in_training_sees_the_whole_clip(refined_network, clips, monkeypatch):
    rollout = double_rollout(refined_network, monkeypatch, clip_frames=3)
    frames, labels, counts = clips
    changed = frames.clone()
    changed[:, 3] = 255 - changed[:, 3]
    before, after = (rollout(content, labels, counts).logits for content in (frames, changed))
    assert (
        before[:, 1].softmax(1) - after[:, 1].softmax(1)
    ).abs().max() > 1e-4  # frame 2, by the frame after it, which shares a window with it


def test_the_loss_of_clips_is_the_mean_over_their_frames_and_their_dice(network, clips):
    result = Rollout(copy.deepcopy(network).eval(), clip_frames=3, dice_weight=0.5)(*clips)
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


def test_frames_that_make_no_whole_clips_are_refused(network, batch):
    with pytest.raises(
        InputError,
        match=r"3 frames a sample \(--frames\), clips of 3 \(--clip_frames\): .*7 frames make two",
    ):
        Rollout(network, clip_frames=3)(*batch)


def test_dice_by_hand():
    labels = torch.tensor([[[[1, 1, 0, 2]], [[1, 0, 0, 2]]]])  # one sample, two frames of 1 × 4
    logits = torch.full((1, 2, 3, 1, 4), -1e4)
    logits.scatter_(2, labels.unsqueeze(2), 0.0)
    present = torch.tensor([[True, True]])
    assert float(clip_dice(logits, labels, present)) == pytest.approx(
        0, abs=1e-6
    )  # a certain, right prediction

    even = torch.zeros(
        1, 2, 3, 1, 4
    )  # a third everywhere: object 1 covers 3 of 8 pixels, object 2 covers 2
    expected = sum(1 - (2 * area / 3 + 1) / (8 / 9 + area + 1) for area in (3, 2))
    assert float(clip_dice(even, labels, present)) == pytest.approx(expected, rel=1e-6)
    assert float(clip_dice(even, labels, torch.tensor([[True, False]]))) == pytest.approx(
        1 - 3 / (8 / 9 + 4), rel=1e-6
    )


def test_dice_of_an_object_neither_there_nor_predicted_costs_nothing():
    logits = torch.zeros(1, 2, 3, 4, 4)
    logits[:, :, 2] = float("-inf")
    assert (
        float(
            clip_dice(
                logits, torch.zeros(1, 2, 4, 4, dtype=torch.int64), torch.tensor([[False, True]])
            )
        )
        == 0
    )


@pytest.mark.parametrize(
    ("iteration", "fraction"),
    [(0, 1.0), (19_999, 1.0), (20_000, 1.0), (45_000, 0.575), (70_000, 0.15), (1_000_000, 0.15)],
)
def test_bootstrapped_fraction_falls_linearly(iteration, fraction):
    assert BootstrapConfig().fraction_at(iteration) == pytest.approx(fraction)


@pytest.mark.parametrize("fraction", [0.15, 0.2, 0.5, 1.0])
def test_bootstrapped_loss_is_the_mean_over_each_samples_hardest_pixels(fraction):
    random = torch.Generator().manual_seed(0)
    logits, labels = (
        torch.randn(2, 3, 20, 20, generator=random),
        torch.randint(0, 3, (2, 20, 20), generator=random),
    )
    logits[1] *= 9  # hard pixels abound in one sample: they must not crowd out the other's
    pixels = (
        torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        .flatten(1)
        .sort(1, descending=True)
        .values
    )
    expected = pixels[:, : round(400 * fraction)].mean()
    config = BootstrapConfig(start_iteration=0, end_iteration=1, final_fraction=fraction)
    torch.testing.assert_close(
        bootstrapped_cross_entropy(logits, labels, config.fraction_at(10)), expected
    )


def test_intersection_over_union_by_hand():
    truth = torch.tensor([[[1, 1, 2, 2]], [[1, 1, 1, 0]]])
    prediction = torch.tensor([[[1, 0, 2, 2]], [[1, 0, 2, 0]]])
    present = torch.tensor(
        [[True, True], [True, False]]
    )  # the second sample has one object: what it predicts as another counts for nothing
    assert float(mean_iou(prediction, truth, present)) == pytest.approx((0.75 + 1 / 3) / 2)


# Foreground reinforcing and redundancy reduction


@pytest.fixture
def long_batch():
    """Four samples of 1, 2, 3 and 1 objects, 7 frames each."""
    random = np.random.default_rng(1)
    counts = [1, 2, 3, 1]
    labels = np.stack(
        [
            np.kron(random.integers(0, count + 1, (7, 4, 6)), np.ones((8, 8), int))
            for count in counts
        ]
    )
    frames = random.integers(0, 256, (4, 7, 3, 32, 48))
    return (
        torch.from_numpy(frames.astype(np.uint8)),
        torch.from_numpy(labels.astype(np.uint8)),
        torch.tensor(counts),
    )


def choosing(network: VOSNetwork, policy: int) -> VOSNetwork:
    """The network, its gate preferring one policy."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        network.redundancy_reduction.gate.conv2.weight.mul_(0.1)  # so that the bias decides
        network.redundancy_reduction.gate.conv2.bias.fill_(0.3)[policy] += 0.5
    return network


@pytest.mark.parametrize("policy", [0, 1])
def test_gradients_reach_reinforcing_the_gate_and_the_reduction_chosen(
    reinforced_network, long_batch, monkeypatch, policy
):
    rollout = double_rollout(choosing(reinforced_network, policy), monkeypatch, reduce_frames=4)
    _, gradients = gradients_of(rollout, long_batch, slice(None), 0)
    unused = tuple(
        f"network.redundancy_reduction.{kind}.{1 - policy}" for kind in ("keys", "values")
    )
    assert [
        name
        for name, gradient in gradients.items()
        if not gradient.any() and not name.startswith(unused)
    ] == []
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


def test_in_training_too_a_query_is_enhanced_by_the_soft_masks_of_the_frame_before_and_memory_keys_stay_plain(
    reinforced_network, long_batch, monkeypatch
):
    rollout, seen, memorised = (
        double_rollout(reinforced_network, monkeypatch, reduce_frames=4),
        [],
        [],
    )
    enhance, reduce = rollout.network.enhance_query, rollout.network.reduce_memory
    monkeypatch.setattr(
        rollout.network,
        "enhance_query",
        lambda key, masks: seen.append((key, masks)) or enhance(key, masks),
    )
    monkeypatch.setattr(
        rollout.network,
        "reduce_memory",
        lambda key, value: memorised.append(key) or reduce(key, value),
    )
    frames, labels, counts = (part[2:3] for part in long_batch)
    logits = rollout(frames, labels, counts).logits
    truth = torch.nn.functional.one_hot(labels[:, 0].long(), 4).movedim(-1, 1)[:, 1:]
    masks = [truth.double(), *logits[:, :-1].softmax(2)[:, :, 1:].unbind(1)]
    assert len(seen) == 6
    for (_, given), expected in zip(seen, masks, strict=True):
        torch.testing.assert_close(given, expected, rtol=0, atol=1e-10)
    assert not seen[0][1].requires_grad and all(given.requires_grad for _, given in seen[1:]), (
        "what was predicted is learned from"
    )
    for frame, key in enumerate(memorised[0].unbind(1)):  # frames 1 to 4
        torch.testing.assert_close(
            key, seen[frame][0].flatten(2).transpose(1, 2), rtol=0, atol=1e-10
        )


def test_the_gate_learns_from_what_is_read_alone(reinforced_network, long_batch, monkeypatch):
    rollout = double_rollout(
        choosing(reinforced_network, 0), monkeypatch, reduce_frames=4, reduction_weight=0.0
    )
    _, gradients = gradients_of(rollout, long_batch, slice(None), 0)
    gate = [gradient for name, gradient in gradients.items() if ".gate." in name]
    assert len(gate) == 6 and all(gradient.any() for gradient in gate)


def test_untrained_modules_predict_what_stcn_does_until_the_memory_is_reduced(
    network, reinforced_network, long_batch, monkeypatch
):
    untrained = copy.deepcopy(reinforced_network)
    with torch.no_grad():
        untrained.foreground_reinforcing.gain.zero_()
    ours = double_rollout(untrained, monkeypatch, reduce_frames=4)(*long_batch).logits
    theirs = double_rollout(network, monkeypatch)(*long_batch).logits
    torch.testing.assert_close(ours[:, :4], theirs[:, :4], rtol=0, atol=1e-9)
    finite = torch.isfinite(theirs[:, 4:])
    assert (ours[:, 4:][finite] - theirs[:, 4:][finite]).abs().max() > 1e-4, "nothing was reduced"


@torch.no_grad()
@pytest.mark.parametrize("policy", [0, 1])
def test_a_reduced_memory_is_the_first_frame_and_the_averages_of_those_after_it(
    reinforced_network, policy
):
    rollout = Rollout(choosing(reinforced_network, policy).eval(), reduce_frames=4)
    random = torch.Generator().manual_seed(0)
    memory = _Memory(
        keys=[torch.randn(2, 8, 6, generator=random) for _ in range(5)],
        values=[torch.randn(2, 3, 16, 6, generator=random) for _ in range(5)],
    )
    memories, divergence = rollout._reduced(memory)
    assert divergence.shape == (2, 3)
    for one, factor in zip(memories, (2, 4), strict=True):
        for ours, theirs in ((one.keys, memory.keys), (one.values, memory.values)):
            assert ours[0] is theirs[0]
            torch.testing.assert_close(
                torch.stack(ours[1:]), torch.stack(theirs[1:]).unflatten(0, (-1, factor)).mean(1)
            )
    query = torch.randn(2, 1, 8, 2, 3, generator=random)
    torch.testing.assert_close(
        rollout._read(memories, query), rollout._read_one(memories[policy], query)
    )


@torch.no_grad()
def test_elements_of_a_reduced_memory_lie_on_an_object_where_half_of_what_they_are_made_of_did(
    reinforced_network,
):
    rollout = Rollout(reinforced_network, reduce_frames=4)
    inside = torch.tensor(
        [[0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 1, 0], [0, 1, 1, 0], [1, 0, 1, 0]]
    ).bool()[:, None, None]  # [5, 1, 1, 4]: of frames 0 to 4, one object
    memory = _Memory(
        keys=[torch.randn(1, 8, 4) for _ in range(5)],
        values=[torch.randn(1, 1, 16, 4) for _ in range(5)],
        objects=list(inside),
    )
    by_two, by_four = (
        torch.stack(one.objects)[:, 0, 0].int().tolist() for one in rollout._reduced(memory)[0]
    )
    assert by_two == [[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 1, 0]] and by_four == [
        [0, 0, 1, 1],
        [0, 1, 1, 0],
    ]


def test_the_loss_of_reducing_is_named_weighted_and_a_mean_over_the_objects_that_are_there(
    reinforced_network, long_batch
):
    network = fill(copy.deepcopy(reinforced_network)).eval()  # reductions that are no averages
    once, twice = (
        Rollout(network, reduce_frames=4, reduction_weight=weight)(*long_batch)
        for weight in (1.0, 2.0)
    )
    assert set(once.parts) == {"cross_entropy", "reduction"} and once.parts["reduction"] > 0
    torch.testing.assert_close(twice.parts["reduction"], 2 * once.parts["reduction"])
    torch.testing.assert_close(once.loss, sum(once.parts.values()))
    alone = [
        Rollout(network, reduce_frames=4)(*(part[b : b + 1] for part in long_batch)).parts[
            "reduction"
        ]
        for b in range(4)
    ]
    torch.testing.assert_close(
        torch.stack(alone).mean(), once.parts["reduction"], rtol=1e-4, atol=1e-6
    )


def test_what_cannot_be_trained_so_is_refused(network, reinforced_network, long_batch):
    with pytest.raises(
        InputError, match=r"tiny_remn: foreground reinforcing goes frame by frame; clip_frames is 3"
    ):
        Rollout(reinforced_network, clip_frames=3, reduce_frames=4)
    for wrong in (None, 3, 6):
        with pytest.raises(
            InputError, match=rf"reduce_frames is {wrong}, it must be a multiple of 4"
        ):
            Rollout(reinforced_network, reduce_frames=wrong)
    with pytest.raises(InputError, match="tiny has no redundancy reduction"):
        Rollout(network, reduce_frames=4)
    with pytest.raises(
        InputError,
        match=r"5 frames a sample.*reduce_frames 4: the reduced memory is never read; 6 frames or more are needed",
    ):
        Rollout(reinforced_network, reduce_frames=4)(
            *(part[:, :5] if part.ndim > 1 else part for part in long_batch)
        )


def test_a_memory_of_clips_is_reduced_when_enough_of_their_last_frames_are_in_it_and_samples_too_short_for_that_are_refused(
    network_of_slots, clips
):
    frames, labels, counts = (part[:1] for part in clips)
    rollout = Rollout(
        copy.deepcopy(network_of_slots(("reducer",))).eval(), clip_frames=3, reduce_frames=4
    )
    order = [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3]
    result = rollout(frames[:, order], labels[:, order], counts)
    assert result.logits.shape[1] == 15 and set(result.parts) == {"cross_entropy", "reduction"}
    with pytest.raises(
        InputError,
        match=r"13 frames a sample .*reduce_frames 4: the reduced memory is never read; 16 frames or more are needed",
    ):
        rollout(frames[:, order[:13]], labels[:, order[:13]], counts)


def test_a_sample_without_objects_leaves_the_loss_of_reducing_the_memory_finite(reinforced_network):
    frames, labels = (
        torch.randint(0, 256, (2, 7, 3, 32, 48), dtype=torch.uint8),
        torch.zeros(2, 7, 32, 48, dtype=torch.uint8),
    )
    labels[0, :, 8:24, 8:24] = 1
    result = Rollout(copy.deepcopy(reinforced_network).eval(), reduce_frames=4)(
        frames, labels, [1, 0]
    )
    assert all(torch.isfinite(part) for part in result.parts.values())


@pytest.mark.parametrize("name", ["tiny", "tiny_pcvos"])
def test_a_backward_pass_reads_no_value_back(name, batch):
    """A value that is read makes the host wait for a GPU, which then idles until it is given work again."""
    rollout = Rollout(fill(build_network(name)).train())
    result = rollout(*batch)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        result.loss.backward()
    assert not {"aten::item", "aten::nonzero", "aten::is_nonzero"} & {
        event.key for event in profiled.key_averages()
    }
