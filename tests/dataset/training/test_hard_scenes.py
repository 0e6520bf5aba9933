"""What makes synthetic scenes harder: twins, hiding, jumps of size, motion blur, low contrast."""

import math
from dataclasses import replace

import numpy as np
import pytest

from dataset.training.compositing import Excursion, Motion, MotionRange, ScaleJump
from dataset.training.scenes import Scene, SceneConfig, SceneMaker
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data

SIDE = 64
CALM = SceneConfig(max_distractors=0, occluder_share=0.0, object_size=(0.3, 0.5), pace=0.2)


def draw(seed: int, objects: int = 1, **shares: float) -> Scene:
    maker = SceneMaker(config=replace(CALM, **shares), height=SIDE, width=SIDE)
    return maker.draw_scene(np.random.default_rng(seed), objects)


def render(scene: Scene, time: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    return scene.render(time, SIDE, SIDE, np.random.default_rng(0))


def test_twins_have_the_surface_of_another_object_and_an_id_of_their_own():
    for seed in range(4):
        one, other = draw(seed, 2, twin_share=1.0).layers
        assert {one.object_id, other.object_id} == {1, 2} and one.motion != other.motion
        assert any(
            np.array_equal(one.patch, patch) for patch in (other.patch, other.patch[:, ::-1])
        )
        one, other = draw(seed, 2).layers
        assert one.patch.shape != other.patch.shape or not np.array_equal(one.patch, other.patch)


def test_hidden_objects_show_at_first_vanish_wholly_and_come_back():
    covers = 0
    for seed in range(12):
        scene = draw(seed, hiding_share=1.0)
        covers += len(scene.layers) - 1
        areas = [int((render(scene, time)[1] == 1).sum()) for time in range(0, 40, 2)]
        hidden = [index for index, area in enumerate(areas) if area == 0]
        assert areas[0] > 0 and hidden and areas[-1] > 0.2 * areas[0], (seed, areas)
        assert hidden == list(range(hidden[0], hidden[-1] + 1))
        assert all(render(draw(seed), time)[1].any() for time in (0, 20, 38))
    assert 0 < covers < 12  # some leave the frame, some are covered


def test_an_excursion_goes_out_stays_and_comes_back():
    way = Excursion(x=2.0, y=-1.0, start=4, ramp=2, stay=3)
    assert way.at(4) == way.at(11) == way.at(100) == (0, 0)
    assert way.at(5) == way.at(10) == pytest.approx((1, -0.5))
    assert way.at(6) == way.at(9) == pytest.approx((2, -1))
    back = replace(way, inverted=True)
    assert back.at(0) == (2, -1) and back.at(7) == pytest.approx((0, 0))


def test_a_jump_changes_the_size_from_one_frame_to_the_next():
    still = MotionRange(shift=0, degrees=0, log_scale=0)
    motion = Motion.draw(np.random.default_rng(0), 0, 0, still, 1.0)
    jumping = replace(motion, jump=ScaleJump(time=5.0, log_scale=math.log(2)))
    sizes = [np.linalg.det(jumping.matrix(time, SIDE, SIDE)[:2, :2]) for time in (0, 4.9, 5, 9)]
    assert sizes == pytest.approx([1, 1, 4, 4])
    assert draw(0).layers[0].motion.jump is None
    assert draw(0, jump_share=1.0).layers[0].motion.jump is not None


def test_motion_blur_smooths_frames_along_the_motion_and_keeps_the_labels():
    scene = draw(3, pace=1.0)
    moving = replace(scene.camera, along_x=replace(scene.camera.along_x, amplitude=0.5, phase=0.0))
    scene = replace(scene, camera=moving, finish=replace(scene.finish, blur=0.0, noise=0.0))
    blurred = replace(scene, finish=replace(scene.finish, shutter=2.0))
    (sharp, labels), (smooth, same_labels) = render(scene), render(blurred)
    assert np.array_equal(labels, same_labels)
    steps = [np.abs(np.diff(image.astype(int), axis=1)).mean() for image in (sharp, smooth)]
    assert steps[1] < 0.8 * steps[0]
    assert draw(3, motion_blur_share=1.0).finish.shutter > 0 == draw(3).finish.shutter


def test_low_contrast_keeps_the_mean_colour():
    scene = draw(1)
    scene = replace(scene, finish=replace(scene.finish, blur=0.0, noise=0.0))
    faint = replace(scene, finish=replace(scene.finish, contrast=0.5))
    clear, dull = (render(one)[0].astype(float) for one in (scene, faint))
    assert dull.std((0, 1)) == pytest.approx(0.5 * clear.std((0, 1)), rel=0.05)
    assert dull.mean((0, 1)) == pytest.approx(clear.mean((0, 1)), abs=1)
    assert draw(1, low_contrast_share=1.0).finish.contrast < 1 == draw(1).finish.contrast


def test_the_shares_of_a_training_reach_its_synthetic_clips():
    shares = {
        "twin_share": 0.1,
        "hiding_share": 0.2,
        "jump_share": 0.3,
        "motion_blur_share": 0.4,
        "low_contrast_share": 0.5,
    }
    config = SampleConfig(crop_size=SIDE, **shares)
    data = build_training_data(TrainingRoots(), config, mix={"synthetic": 1.0}, samples=4, seed=0)
    assert data.sources[0].config.scene == SceneConfig(**shares)
