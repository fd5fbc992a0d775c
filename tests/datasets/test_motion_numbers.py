"""The numbers of `motion` stay: its actions, its pictures, and how bodies and figures come from them.

Results of every version are compared on these clips, so a change of any of them is a change of the data set.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from kshot.datasets import drawing, figures, filming
from kshot.datasets.actions import ACTIONS, Action
from kshot.datasets.bodies import ANGLES, BODY, JOINTS, joints, mirror, pose
from kshot.datasets.figures import Look, Viewpoint, project

KNOWN = {
    "raise both arms": ("train", 3, 39394, 25, False, False),
    "lower both arms": ("train", 3, 23494, 25, False, False),
    "kneel down": ("train", 3, -1748, 50, False, False),
    "rise from kneeling": ("train", 3, 2772, 50, False, False),
    "lie down": ("train", 4, 15051, 60, False, False),
    "get up from the floor": ("train", 4, 16129, 60, False, False),
    "walk": ("train", 5, 9831.76, 62, True, False),
    "run": ("train", 5, 23939.6, 62, True, False),
    "squat": ("train", 3, 19224, 50, True, False),
    "hop": ("train", 3, 8685.8, 35, True, False),
    "kick to the side": ("train", 3, 25764, 15, True, False),
    "lunge forward": ("train", 3, 3044, 58, True, False),
    "clap": ("train", 3, 25660, 15, True, False),
    "swing the arms in circles": ("train", 5, 189600, 55, True, False),
    "crawl": ("train", 3, 35926, 60, True, False),
    "twist the trunk": ("train", 3, 19260, 10, True, False),
    "salute": ("train", 4, 39625, 15, True, False),
    "lift a weight overhead": ("train", 3, 45860, 25, True, False),
    "pick up from the floor": ("val", 3, 25945, 55, False, False),
    "put down on the floor": ("val", 3, 29535, 55, False, False),
    "march on the spot": ("val", 5, 42456, 40, True, False),
    "bend to the side": ("val", 3, 37280, 10, True, False),
    "pedal on the back": ("val", 3, 32730, 65, True, False),
    "push": ("val", 3, 19096, 60, False, False),
    "pull": ("val", 3, 14032, 60, False, False),
    "sit-ups": ("val", 3, 37708, 65, True, False),
    "chop wood": ("val", 3, 47396, 56, True, False),
    "walk on the hands": ("val", 3, 45670, 58, True, False),
    "sit down": ("test", 3, 25608, 55, False, True),
    "stand up": ("test", 3, 16112, 55, False, True),
    "open the arms": ("test", 3, 32420, 25, False, False),
    "close the arms": ("test", 3, 30188, 25, False, False),
    "wave": ("test", 3, 33514, 15, True, False),
    "jumping jacks": ("test", 5, 69115.3, 15, True, False),
    "kick forward": ("test", 4, 32387, 58, True, False),
    "push-ups": ("test", 3, 23812, 65, True, False),
    "punch": ("test", 5, 69299, 52, True, False),
    "bow": ("test", 4, -2410, 58, True, False),
    "climb": ("test", 3, 52116, 48, True, False),
    "stand on one leg": ("test", 3, 56640, 12, True, False),
}
"""Action -> its split, number of key poses, a sum of all their angles that no two poses share, yaw, cyclic, stool."""

PICTURES: dict[tuple[str, int, int], tuple[int, tuple[list[float], list[int]], tuple[list[float], list[int]]]] = {
    ("walk", 0, 0): (
        25,
        ([103.5, 114.0, 123.6], [140, 135, 131, 126, 139, 132, 118, 125, 119, 96, 102, 107, 91, 90, 84, 82]),
        ([104.4, 115.6, 125.2], [140, 134, 131, 126, 139, 122, 129, 125, 121, 100, 113, 109, 91, 93, 84, 82]),
    ),
    ("sit down", 1, 0): (
        32,
        ([99.1, 111.4, 104.6], [104, 102, 109, 92, 106, 107, 123, 80, 104, 91, 130, 92, 113, 97, 120, 109]),
        ([100.1, 113.4, 106.7], [104, 104, 112, 92, 106, 105, 123, 80, 104, 107, 132, 92, 110, 105, 122, 109]),
    ),
    ("wave", 6, 3): (
        33,
        ([102.6, 115.8, 125.1], [66, 128, 130, 131, 108, 121, 121, 128, 121, 115, 111, 124, 108, 104, 104, 111]),
        ([102.6, 116.2, 125.3], [71, 129, 130, 131, 105, 119, 120, 128, 121, 114, 114, 125, 108, 104, 105, 111]),
    ),
    ("push-ups", 3, 1): (
        36,
        ([137.2, 127.5, 135.3], [149, 163, 140, 166, 148, 119, 106, 167, 166, 148, 146, 168, 84, 95, 83, 85]),
        ([136.3, 125.4, 133.5], [147, 162, 137, 167, 146, 117, 110, 169, 161, 152, 130, 167, 82, 98, 80, 83]),
    ),
    ("pick up from the floor", 2, 0): (
        25,
        ([91.3, 96.2, 105.1], [84, 86, 88, 90, 84, 86, 88, 90, 95, 77, 91, 101, 128, 105, 133, 135]),
        ([92.8, 97.1, 105.7], [84, 86, 88, 90, 84, 86, 88, 90, 98, 77, 91, 101, 129, 116, 133, 136]),
    ),
    ("kick forward", 8, 2): (
        32,
        ([162.4, 147.4, 152.1], [171, 169, 144, 165, 180, 161, 101, 174, 189, 178, 123, 183, 151, 117, 108, 150]),
        ([162.6, 147.3, 151.9], [171, 169, 140, 166, 180, 171, 107, 174, 189, 142, 148, 183, 147, 117, 109, 150]),
    ),
    ("walk on the hands", 4, 0): (
        33,
        ([99.5, 111.3, 106.3], [140, 141, 146, 149, 71, 102, 123, 155, 63, 99, 86, 109, 75, 75, 78, 79]),
        ([98.3, 110.2, 104.9], [140, 143, 146, 150, 68, 113, 100, 154, 63, 96, 85, 105, 74, 75, 78, 79]),
    ),
}  # fmt: skip
"""Class, clip and seed -> frames; mean colour and mean grey of 4 x 4 fields of the first and the middle one."""


def weighed(keys: np.ndarray) -> float:
    """A sum in which every angle of every pose has a weight of its own."""
    return float(np.arange(1, len(keys) + 1) @ keys @ np.arange(1, len(ANGLES) + 1))


def test_every_action_is_what_it_was() -> None:
    found = {
        name: (one.split, len(one.times), pytest.approx(weighed(one.keys), rel=1e-5), one.yaw, one.cyclic, one.stool)
        for name, one in ACTIONS.items()
    }
    assert found == KNOWN and list(found) == list(KNOWN), "the order decides which clips share a performer"


def test_key_poses_are_evenly_spaced_and_cycles_end_where_they_begin() -> None:
    for name, action in ACTIONS.items():
        np.testing.assert_allclose(action.times, np.linspace(0, 1, len(action.keys)))
        turned = {f"{side}_{limb}_flex" for side in ("left", "right") for limb in ("arm", "forearm")}
        for angle, first, last in zip(ANGLES, action.keys[0], action.keys[-1], strict=True):
            whole = (last - first) % 360 if angle in turned else last - first
            assert not action.cyclic or whole == 0, (name, angle)


@pytest.mark.parametrize("case", PICTURES)
def test_pictures_are_what_they_were(case: tuple[str, int, int]) -> None:
    count, *known = PICTURES[case]
    shown = list(filming.frames(*case))
    assert len(shown) == count
    for picture, (colour, fields) in zip((shown[0], shown[count // 2]), known, strict=True):
        assert picture.shape == (filming.SIZE, filming.SIZE, 3) and picture.dtype == np.uint8
        np.testing.assert_allclose(picture.mean((0, 1)), colour, atol=0.4)
        cells = picture.reshape(4, 28, 4, 28, 3).mean((1, 3, 4)).ravel()
        np.testing.assert_allclose(cells, fields, atol=1.0)


# ---- poses ---------------------------------------------------------------------------------------------------------


def slow_pose(action: Action, phase: float) -> np.ndarray:
    """The pose at one phase: the two key poses beside it, mixed by 3 p^2 - 2 p^3."""
    phase = phase - np.floor(phase) if action.cyclic else min(1.0, max(0.0, phase))
    after = next((k for k, time in enumerate(action.times) if time > phase), len(action.times) - 1)
    start, end = action.times[after - 1], action.times[after]
    part = (phase - start) / (end - start)
    return action.keys[after - 1] + (action.keys[after] - action.keys[after - 1]) * part**2 * (3 - 2 * part)


@pytest.mark.parametrize("name", ["sit down", "walk", "lie down", "swing the arms in circles"])
def test_poses_between_key_poses_are_mixed_with_zero_speed_at_both(name: str) -> None:
    action = ACTIONS[name]
    phases = np.concatenate([np.random.default_rng(0).uniform(-0.5, 2, 200), action.times, [0.0, 1.0, -0.2, 1.2]])
    slow = np.array([slow_pose(action, float(phase)) for phase in phases])
    np.testing.assert_allclose(action.at(phases), slow, atol=1e-9)
    near = action.at(np.array([action.times[1] - 1e-4, action.times[1], action.times[1] + 1e-4]))
    assert np.abs(np.diff(near, axis=0)).max() < 1e-3


def test_an_action_that_is_not_cyclic_stays_at_its_ends() -> None:
    action = Action("test", (0.0, 0.2, 1.0), np.stack([pose(lean=angle) for angle in (0, 10, 30)]))
    lean = action.at(np.array([-1.0, 0.0, 0.1, 0.2, 0.6, 1.0, 2.0]))[:, ANGLES.index("lean")]
    assert lean.tolist() == pytest.approx([0, 0, 5, 10, 20, 30, 30])
    assert (action.yaw, action.cyclic, action.stool) == (25.0, False, False)


def test_limbs_are_named_one_both_straight_and_bent() -> None:
    angles = dict(zip(ANGLES, pose(left_arm=(1, 2, 3, 4), legs=(5, 6), nod=7, lift=0.5).tolist(), strict=True))
    named = {name: value for name, value in angles.items() if value}
    assert named == {
        "left_arm_flex": 1, "left_arm_out": 2, "left_forearm_flex": 3, "left_forearm_out": 4, "nod": 7, "lift": 0.5,
        **{f"{side}_{limb}_flex": 5 for side in ("left", "right") for limb in ("thigh", "shin")},
        **{f"{side}_{limb}_out": 6 for side in ("left", "right") for limb in ("thigh", "shin")},
    }  # fmt: skip


def test_a_mirrored_pose_turns_bends_and_twists_the_other_way() -> None:
    given = pose(turn=10, bend=20, twist=30, lean=40, left_arm=(1, 2, 3, 4), right_leg=(5, 6), lift=0.1, advance=0.2)
    wanted = pose(
        turn=-10, bend=-20, twist=-30, lean=40, right_arm=(1, 2, 3, 4), left_leg=(5, 6), lift=0.1, advance=0.2
    )
    np.testing.assert_array_equal(mirror(given), wanted)


def at(points: np.ndarray, name: str) -> np.ndarray:
    return points[JOINTS.index(name)]


def test_a_standing_body_has_the_lengths_of_an_average_one() -> None:
    points = joints(pose())
    legs = 0.42 + 0.42
    assert at(points, "left_ankle").tolist() == pytest.approx([0.10, 0.06, 0])
    assert at(points, "right_hip").tolist() == pytest.approx([-0.10, 0.06 + legs, 0])
    assert at(points, "neck").tolist() == pytest.approx([0, 0.06 + legs + 0.54, 0])
    assert at(points, "head").tolist() == pytest.approx([0, 0.06 + legs + 0.54 + 0.15 * 1.35, 0])
    assert at(points, "left_shoulder").tolist() == pytest.approx([0.17, 0.06 + legs + 0.54 - 0.25 * 0.17, 0])
    assert (at(points, "left_shoulder") - at(points, "left_wrist")).tolist() == pytest.approx([0, 0.30 + 0.29, 0])


@pytest.mark.parametrize(
    ("angle", "degrees", "direction"),
    [("lean", 90, (0, 0, 1)), ("lean", -90, (0, 0, -1)), ("bend", 90, (1, 0, 0)), ("twist", 90, (0, 1, 0))],
)
def test_the_trunk_leans_forwards_and_bends_to_the_left(
    angle: str, degrees: float, direction: tuple[float, float, float]
) -> None:
    points = joints(pose(**{angle: degrees}))
    hips = (at(points, "left_hip") + at(points, "right_hip")) / 2
    np.testing.assert_allclose(at(points, "neck") - hips, np.array(direction) * BODY["trunk"], atol=1e-9)
    across = at(points, "left_shoulder") - at(points, "right_shoulder")
    wanted = {"lean": (1, 0, 0), "bend": (0, -1, 0), "twist": (0, 0, -1)}[angle]
    np.testing.assert_allclose(across, 2 * BODY["shoulders"] * np.array(wanted), atol=1e-9)


def test_a_nod_moves_the_head_alone_and_an_advance_the_whole_body() -> None:
    still, nodding, ahead = joints(pose()), joints(pose(nod=90)), joints(pose(turn=90, advance=0.5))
    np.testing.assert_allclose(nodding[1:], still[1:], atol=1e-9)
    np.testing.assert_allclose(at(nodding, "head") - at(nodding, "neck"), [0, 0, 0.15 * 1.35], atol=1e-9)
    np.testing.assert_allclose(ahead - joints(pose(turn=90)), np.broadcast_to([0.5, 0, 0], (14, 3)), atol=1e-9)


# ---- cameras and capsules ------------------------------------------------------------------------------------------


def slow_project(point: np.ndarray, camera: Viewpoint) -> list[float]:
    """Three turns, one after the other, each as a matrix."""
    yaw, elevation, roll = (np.deg2rad(angle) for angle in (camera.yaw, camera.elevation, camera.roll))
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    x, y, near = turn @ point
    lowered = np.cos(elevation) * y - np.sin(elevation) * near
    across, up = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]]) @ [x, lowered]
    return [camera.x + camera.scale * across, camera.ground - camera.scale * up, near]


def test_places_in_the_picture_are_those_of_three_turns() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2, 14, 3))
    for _ in range(20):
        camera = Viewpoint(*rng.uniform(-60, 60, 3), scale=rng.uniform(0.1, 1), x=rng.uniform(), ground=rng.uniform())
        slow = [[slow_project(point, camera) for point in body] for body in points]
        np.testing.assert_allclose(project(points, camera), slow, atol=1e-12)


def test_viewpoints_are_drawn_within_their_ranges() -> None:
    drawn = [Viewpoint.random(np.random.default_rng(seed), yaw=40) for seed in range(300)]
    for name, low, high in (
        ("yaw", 22, 58), ("elevation", 0, 14), ("x", 0.41, 0.59), ("ground", 0.86, 0.95),
        ("scale", 0.41 * np.exp(-0.13), 0.41 * np.exp(0.10)),
    ):  # fmt: skip
        values = np.array([getattr(one, name) for one in drawn])
        assert low <= values.min() < low + 0.1 * (high - low) and high - 0.1 * (high - low) < values.max() <= high, name
    rolls = np.array([one.roll for one in drawn])
    assert rolls.std() == pytest.approx(2.5, rel=0.15) and abs(rolls.mean()) < 0.5
    fixed = Viewpoint.random(np.random.default_rng(0), spread=0.0)
    assert (fixed.roll, fixed.scale, fixed.x, fixed.ground) == (0.0, pytest.approx(0.41), 0.5, 0.91)


def test_performers_keep_within_their_proportions() -> None:
    looks = [Look.random(np.random.default_rng(seed)) for seed in range(300)]
    for name, length in BODY.items():
        ratio = np.log([look.body[name] / length for look in looks])
        assert ratio.std() == pytest.approx(0.06, rel=0.15) and abs(ratio.mean()) < 0.02
    girths = np.log([look.girth for look in looks])
    assert girths.std() == pytest.approx(0.13, rel=0.15)
    assert np.mean([look.long_sleeves for look in looks]) == pytest.approx(0.5, abs=0.1)
    assert np.mean([look.long_trousers for look in looks]) == pytest.approx(0.7, abs=0.1)
    tones = np.array([look.skin for look in looks])
    assert (tones[:, 0] > tones[:, 1]).all() and (tones[:, 1] > tones[:, 2]).all() and tones[:, 0].max() <= 240


@pytest.mark.parametrize(
    ("a", "b", "r", "s"),
    [((20, 20), (44, 30), 6, 6), ((20, 20), (44, 20), 8, 3), ((30, 10), (30, 50), 3, 9), ((32, 32), (32, 32), 7, 5)],
)
def test_a_capsule_covers_what_lies_within_its_radius_of_the_segment(
    a: tuple[float, float], b: tuple[float, float], r: float, s: float
) -> None:
    picture = Image.new("RGB", (64, 64))
    figures._capsule(ImageDraw.Draw(picture), a, b, r, s, (255, 255, 255))
    drawn = np.asarray(picture)[..., 0] > 0
    y, x = np.mgrid[:64, :64]
    start, along = np.array(a), np.subtract(b, a)
    part = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(1e-9, along @ along)
    part = np.clip(part, 0, 1)
    distance = np.hypot(x - start[0] - part * along[0], y - start[1] - part * along[1])
    radius = r + (s - r) * part if along.any() else np.full(part.shape, max(r, s))
    assert drawn[distance < radius - 1.2].all() and not drawn[distance > radius + 1.2].any()


# ---- colours -------------------------------------------------------------------------------------------------------


def test_shades_are_scaled_and_stay_colours() -> None:
    assert drawing.shade((100, 200, 3), 0.5) == (50, 100, 1)
    assert drawing.shade((100, 200, 0), 2.0) == (200, 255, 0)
    assert drawing.shade((100, 200, 30), -1.0) == (0, 0, 0)


def test_muted_colours_keep_to_their_saturation_and_light() -> None:
    colours = np.array([drawing.muted(np.random.default_rng(n), 0.4, (0.3, 0.6)) for n in range(300)]) / 255
    value, saturation = colours.max(1), 1 - colours.min(1) / colours.max(1)
    assert 0.29 < value.min() < 0.32 and 0.58 < value.max() <= 0.6
    assert 0.03 < saturation.min() < 0.07 and 0.38 < saturation.max() < 0.42
