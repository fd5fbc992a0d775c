"""Figures: proportions, mirror images, cameras, and that what is drawn is where the joints are."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from kshot.datasets import drawing
from kshot.datasets.bodies import ANGLES, BODY, JOINTS, MIRROR_JOINTS, joints, mirror, pose
from kshot.datasets.figures import Look, Viewpoint, draw_figure, project


def at(points: np.ndarray, name: str) -> np.ndarray:
    return points[..., JOINTS.index(name), :]


@pytest.fixture
def poses() -> np.ndarray:
    """Wild poses (50, A) on the ground."""
    angles = np.random.default_rng(3).normal(0, 50, (50, len(ANGLES)))
    angles[:, [ANGLES.index("lift"), ANGLES.index("advance")]] = 0
    return angles


def test_segments_keep_their_length_in_any_pose(poses: np.ndarray) -> None:
    points = joints(poses)
    for side in ("left", "right"):
        ends = [("shoulder", "elbow", "arm"), ("elbow", "wrist", "forearm"), ("hip", "knee", "thigh")]
        for start, end, name in [*ends, ("knee", "ankle", "shin")]:
            length = np.linalg.norm(at(points, f"{side}_{start}") - at(points, f"{side}_{end}"), axis=-1)
            np.testing.assert_allclose(length, BODY[name], rtol=1e-9)


def test_named_directions() -> None:
    points = joints(pose(left_arm=(0, 90), right_arm=(90, 0), left_leg=(0, 0, -90, 0)))
    reach = BODY["arm"] + BODY["forearm"]
    np.testing.assert_allclose(at(points, "left_wrist") - at(points, "left_shoulder"), [reach, 0, 0], atol=1e-9)
    np.testing.assert_allclose(at(points, "right_wrist") - at(points, "right_shoulder"), [0, 0, reach], atol=1e-9)
    np.testing.assert_allclose(at(points, "left_ankle") - at(points, "left_knee"), [0, 0, -BODY["shin"]], atol=1e-9)


def test_the_lowest_part_is_on_the_ground_unless_lifted(poses: np.ndarray) -> None:
    height = joints(poses)[..., 1]
    assert height.min() > 0  # joints are inside the flesh
    assert (height.min(axis=-1) <= 0.15 + 1e-9).all()
    lifted = poses.copy()
    lifted[:, ANGLES.index("lift")] = 0.4
    np.testing.assert_allclose(joints(lifted)[..., 1], height + 0.4)


def test_whole_body_turns() -> None:
    prone, supine, away = (joints(pose(**angles)) for angles in ({"pitch": 90}, {"pitch": -90}, {"turn": 180}))
    trunk = BODY["trunk"]
    np.testing.assert_allclose(at(prone, "neck") - prone[[8, 11]].mean(0), [0, 0, trunk], atol=1e-9)
    np.testing.assert_allclose(at(supine, "neck") - supine[[8, 11]].mean(0), [0, 0, -trunk], atol=1e-9)
    np.testing.assert_allclose(away[:, 0], -joints(pose())[:, 0], atol=1e-9)


def test_mirror_is_a_reflection(poses: np.ndarray) -> None:
    reflected = joints(poses)[:, MIRROR_JOINTS] * [-1, 1, 1]
    np.testing.assert_allclose(joints(mirror(poses)), reflected, atol=1e-9)
    np.testing.assert_array_equal(mirror(mirror(poses)), poses)


def test_bodies_are_batched(poses: np.ndarray) -> None:
    long = {**BODY, "shin": np.where(np.arange(50) == 7, 0.6, BODY["shin"])}
    points = joints(poses, long)
    shin = np.linalg.norm(at(points, "left_ankle") - at(points, "left_knee"), axis=-1)
    assert shin[7] == pytest.approx(0.6)
    np.testing.assert_allclose(np.delete(points, 7, 0), np.delete(joints(poses), 7, 0))


def test_project() -> None:
    points = np.array([[0.5, 1.0, 0.25]])
    level = {"elevation": 0.0, "scale": 0.4, "x": 0.5, "ground": 0.9}
    np.testing.assert_allclose(project(points, Viewpoint(**level)), [[0.7, 0.5, 0.25]])
    np.testing.assert_allclose(project(points, Viewpoint(yaw=90, **level)), [[0.6, 0.5, -0.5]])
    np.testing.assert_allclose(project(points, Viewpoint(roll=90, **level)), [[0.9, 1.1, 0.25]])
    above = project(points, Viewpoint(**level | {"elevation": 90.0}))
    assert above[0, 1] == pytest.approx(0.9 + 0.4 * 0.25)  # from above, what is in front lies lower in the picture


def test_every_joint_is_covered_by_the_figure() -> None:
    rng = np.random.default_rng(0)
    for angles in (pose(), pose(arms=(0, 90)), pose(pitch=-90), pose(left_leg=(85, 0), right_arm=(0, 160))):
        look, camera = Look.random(rng), Viewpoint(yaw=30, scale=0.33)
        points = project(joints(angles, look.body), camera)
        picture = Image.new("RGB", (128, 128), (0, 255, 0))
        draw_figure(picture, points, look, camera)
        drawn = (np.asarray(picture) != [0, 255, 0]).any(-1)
        x, y = (points[:, :2] * 128).astype(int).T
        assert drawn[y, x].all()
        assert 0.01 < drawn.mean() < 0.3


def test_nearer_limb_hides_the_farther() -> None:
    look = Look.random(np.random.default_rng(0))
    for yaw, visible in ((90, "right"), (-90, "left")):
        # One leg only shows that the other's knee is behind it: the two have their own colours here by lighting.
        camera = Viewpoint(yaw=yaw, elevation=0)
        points = project(joints(pose(), look.body), camera)
        near = points[JOINTS.index(f"{visible}_knee"), 2]
        assert near > points[JOINTS.index(f"{'left' if visible == 'right' else 'right'}_knee"), 2]
        picture = Image.new("RGB", (128, 128))
        draw_figure(picture, points, look, camera)
        x, y = points[[JOINTS.index("right_hip"), JOINTS.index("right_knee")], :2].mean(0) * 128
        hips = points[[JOINTS.index("left_hip"), JOINTS.index("right_hip")], 2].mean()
        lit = drawing.shade(look.trousers, 1 + min(0.12, 0.7 * (near - hips)))
        assert picture.getpixel((int(x), int(y))) == lit


def test_same_generator_same_picture() -> None:
    def draw(seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        picture = drawing.scene(rng, 96)
        look, camera = Look.random(rng), Viewpoint.random(rng, yaw=40)
        draw_figure(picture, project(joints(pose(), look.body), camera), look, camera)
        drawing.occlude(picture, rng)
        return drawing.light(picture, np.full(3, 0.9)).tobytes()

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(20)}) == 20


def test_light_scales_adds_and_stays_in_range() -> None:
    picture = Image.new("RGB", (2, 2), (100, 200, 250))
    noise = np.full((2, 2, 3), -30, np.int16)
    np.testing.assert_array_equal(drawing.light(picture, np.array([0.5, 1.0, 1.2]))[0, 0], [50, 200, 255])
    np.testing.assert_array_equal(drawing.light(picture, np.array([0.1, 1.0, 1.2]), noise)[1, 1], [0, 170, 255])
