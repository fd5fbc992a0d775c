"""Drawn clips: what a clip depends on, what a group shares, and the parts of a figure."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kshot.datasets import bodies, figures, filming, motion
from kshot.datasets.actions import ACTIONS
from kshot.datasets.bodies import ANGLES, BODY, JOINTS, joints, pose
from kshot.datasets.figures import Look, Viewpoint, draw_figure, project
from kshot.errors import OptionError


def slow_joints(angles: np.ndarray) -> dict[str, np.ndarray]:
    """Joints of one pose, limb by limb, before the body is set on the ground: only for an upright trunk."""
    at = dict(zip(ANGLES, angles, strict=True))

    def limb(side: str, name: str) -> np.ndarray:
        flex, out = np.radians([at[f"{side}_{name}_flex"], at[f"{side}_{name}_out"]])
        sign = 1 if side == "left" else -1
        return BODY[name] * np.array([sign * np.sin(out), -np.cos(flex) * np.cos(out), np.sin(flex) * np.cos(out)])

    found = {"neck": np.array([0, BODY["trunk"], 0])}
    found["head"] = found["neck"] + [0, 1.35 * BODY["head"], 0]
    for side, sign in (("left", 1), ("right", -1)):
        found[f"{side}_shoulder"] = found["neck"] + BODY["shoulders"] * np.array([sign, -0.25, 0])
        found[f"{side}_elbow"] = found[f"{side}_shoulder"] + limb(side, "arm")
        found[f"{side}_wrist"] = found[f"{side}_elbow"] + limb(side, "forearm")
        found[f"{side}_hip"] = np.array([sign * BODY["hips"], 0, 0])
        found[f"{side}_knee"] = found[f"{side}_hip"] + limb(side, "thigh")
        found[f"{side}_ankle"] = found[f"{side}_knee"] + limb(side, "shin")
    return found


def test_joints_are_those_of_a_body_put_together_limb_by_limb() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        angles = rng.normal(0, 60, len(ANGLES))
        angles[[ANGLES.index(n) for n in ("pitch", "turn", "lean", "bend", "twist", "nod", "lift", "advance")]] = 0
        slow = slow_joints(angles)
        points = np.stack([slow[name] for name in JOINTS])
        flesh = [0.15 if name == "head" else 0.06 for name in JOINTS]
        points[:, 1] -= (points[:, 1] - flesh).min()
        np.testing.assert_allclose(joints(angles), points, atol=1e-12)


def test_named_angles_of_limbs() -> None:
    made = dict(zip(ANGLES, pose(arms=(1, 2), left_leg=(3, 4, 5, 6), lean=7), strict=True))
    assert {name: v for name, v in made.items() if v} == {
        **{f"{side}_{part}_flex": 1 for side in ("left", "right") for part in ("arm", "forearm")},
        **{f"{side}_{part}_out": 2 for side in ("left", "right") for part in ("arm", "forearm")},
        "left_thigh_flex": 3, "left_thigh_out": 4, "left_shin_flex": 5, "left_shin_out": 6, "lean": 7,
    }  # fmt: skip
    with pytest.raises(KeyError):
        pose(tail=3)


def test_two_clips_of_every_class_show_one_performer_in_one_scene() -> None:
    one, two = filming.Group.make("test", 3, 0), filming.Group.make("test", 3, 0)
    assert one.look == two.look and one.backdrop.tobytes() == two.backdrop.tobytes()
    np.testing.assert_array_equal(one.gain, two.gain)
    others = [filming.Group.make(split, number, seed) for split, number, seed in
              (("val", 3, 0), ("test", 4, 0), ("test", 3, 1))]  # fmt: skip
    assert len({group.backdrop.tobytes() for group in (one, *others)}) == 4
    assert one.gain.shape == (filming.SIZE, filming.SIZE, 3) and one.manner.shape == (len(ANGLES),)
    for name in ("pitch", "turn", "lift", "advance"):
        assert one.manner[ANGLES.index(name)] == 0, "a manner leaves the whole body where it is"
    occluded = [filming.Group.make("train", number, 0).occluded for number in range(40)]
    assert 5 < sum(occluded) < 30


def test_a_clip_is_24_to_36_pictures_that_move() -> None:
    for name in ("wave", "squat", "sit down"):
        pictures = np.stack(list(filming.frames(name, 1, 0)))
        assert 24 <= len(pictures) <= 36 and pictures.shape[1:] == (112, 112, 3) and pictures.dtype == np.uint8
        assert np.abs(np.diff(pictures.astype(int), axis=0)).mean((1, 2, 3)).min() > 0.2


def test_key_poses_are_met_at_their_times_and_joined_without_a_jerk() -> None:
    for name, action in ACTIONS.items():
        times = np.array(action.times)
        assert times[0] == 0 and times[-1] == 1 and (np.diff(times) > 0).all(), name
        np.testing.assert_allclose(action.at(times[:-1]), action.keys[:-1], atol=1e-9)
        near = action.at(np.clip(np.concatenate([times - 1e-4, times + 1e-4]), 0, 1 - 1e-9))
        assert np.abs(near[: len(times)][1:-1] - near[len(times) :][1:-1]).max(initial=0) < 1e-3, (
            "no speed at a key pose"
        )
        if action.cyclic:
            np.testing.assert_array_equal(np.cos(np.radians(action.keys[0])), np.cos(np.radians(action.keys[-1])))


def test_the_nearest_part_is_drawn_last() -> None:
    """An arm held before the chest is seen, one behind the back is not: seen from the front."""
    look = replace(Look.random(np.random.default_rng(0)), skin=(255, 0, 0), shirt=(0, 0, 255), long_sleeves=False)
    level, red = Viewpoint(elevation=0), {}
    for name, flex in (("before", 100), ("behind", -100)):
        picture = Image.new("RGB", (128, 128))
        body = joints(pose(right_arm=(0, 0, flex, -60)), look.body)
        draw_figure(picture, project(body, level), look, level)
        pixels = np.asarray(picture).astype(int)
        neck, hip = (project(body, level)[JOINTS.index(n), :2] * 128 for n in ("neck", "left_hip"))
        chest = pixels[int(neck[1]) + 4 : int(hip[1]), 58:70]
        red[name] = ((chest[..., 0] > 120) & (chest[..., 2] < 60)).sum()
    assert red["before"] > 3 * max(1, red["behind"])


def test_a_face_is_seen_from_the_front_and_not_from_behind() -> None:
    look = replace(Look.random(np.random.default_rng(1)), skin=(255, 0, 0), hair=(0, 255, 0))
    faces = {}
    for turn in (0, 180):
        picture, view = Image.new("RGB", (128, 128)), Viewpoint(elevation=0)
        draw_figure(picture, project(joints(pose(turn=turn), look.body), view), look, view, turn)
        head = project(joints(pose(turn=turn), look.body), view)[JOINTS.index("head"), :2] * 128
        x, y = head.astype(int)
        faces[turn] = picture.getpixel((int(x), int(y)))
    assert faces == {0: (255, 0, 0), 180: (0, 255, 0)}


def test_the_table_has_two_clips_of_every_class_in_each_group() -> None:
    rows = motion._rows(6)
    assert Counter((row[1], row[3]) for row in rows) == {
        (name, f"{action.split}-{group:02d}"): 2 for name, action in ACTIONS.items() for group in range(3)
    }
    assert len({row[0] for row in rows}) == len(rows)


def test_a_film_of_no_such_action_is_refused_before_anything_is_written(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError, match="unknown action 'wafe': did you mean 'wave'"):
        motion.draw(tmp_path / "film.mp4", [("wave", 0), ("wafe", 0)])
    assert not list(tmp_path.iterdir())


def test_viewpoints_keep_to_their_ranges() -> None:
    rng = np.random.default_rng(0)
    made = [Viewpoint.random(rng, 40) for _ in range(300)]
    assert min(v.yaw for v in made) >= 22 and max(v.yaw for v in made) <= 58
    assert all(0 <= v.elevation <= 14 and 0.4 < v.x < 0.6 and 0.85 < v.ground < 0.96 for v in made)
    assert bodies.MIRROR_JOINTS[bodies.MIRROR_JOINTS].tolist() == list(range(len(JOINTS)))
    assert figures.Look.random(np.random.default_rng(2)) == figures.Look.random(np.random.default_rng(2))
