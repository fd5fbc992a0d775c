"""Bodies: a pose is a row of angles, and joints are where a body in that pose has them.

Body coordinates: x to the figure's left, y up, z forwards; lengths in units of roughly a metre; the lowest part of
the body stands on y = 0 unless the pose is lifted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Angles = NDArray[np.float64]
"""Poses (..., A): numbers in the order of `ANGLES`."""
Points = NDArray[np.float64]
"""Places (..., joints, 3) in space or in a picture."""

LIMBS = ("arm", "forearm", "thigh", "shin")
ANGLES = (
    *("pitch", "turn", "lean", "bend", "twist", "nod"),
    *(f"{side}_{limb}_{way}" for side in ("left", "right") for limb in LIMBS for way in ("flex", "out")),
    *("lift", "advance"),
)
"""What a pose is made of. Degrees: `pitch` tips the whole body forwards (90 is face down, -90 on the back), `turn`
rotates it about the vertical, `lean` and `bend` tip the trunk forwards and to the left, `twist` turns the shoulders,
`nod` the head. Each limb segment has its own direction within the body: hanging down at (0, 0), forwards at
`flex` 90, sideways at `out` 90, up at 180. Lengths: `lift` off the ground and `advance` along the line of sight of
the figure."""

JOINTS = (
    *("head", "neck"),
    *("left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist"),
    *("left_hip", "left_knee", "left_ankle", "right_hip", "right_knee", "right_ankle"),
)
MIRROR_JOINTS = np.array([0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10])

_INDEX = {name: i for i, name in enumerate(ANGLES)}
_MIRROR_ANGLES = np.array(
    [_INDEX[a.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right")] for a in ANGLES]
)
_MIRROR_SIGNS = np.array([-1.0 if a in ("turn", "bend", "twist") else 1.0 for a in ANGLES])

BODY = {"trunk": 0.54, "shoulders": 0.17, "hips": 0.10, "head": 0.15}
BODY |= {"arm": 0.30, "forearm": 0.29, "thigh": 0.42, "shin": 0.42}
"""Lengths of an average body; `shoulders`, `hips` are half widths and `head` is a radius."""


def pose(**parts: float | tuple[float, ...]) -> Angles:
    """A pose (A,) from named angles; whatever is not named hangs straight down.

    Besides the names in `ANGLES`, `arms`, `left_arm`, `right_arm`, `legs`, `left_leg`, `right_leg` take the four angles
    of a limb: (upper flex, upper out, lower flex, lower out); two angles hold the limb straight.

    >>> float(pose(arms=(0, 90))[ANGLES.index("left_forearm_out")])
    90.0
    """
    angles = np.zeros(len(ANGLES))
    pairs = {"arm": ("arm", "forearm"), "leg": ("thigh", "shin")}
    for name, value in parts.items():
        if not isinstance(value, tuple):
            angles[_INDEX[name]] = value
            continue
        sides = ("left", "right") if name.endswith("s") else (name.split("_")[0],)
        upper_flex, upper_out, lower_flex, lower_out = value * 2 if len(value) == 2 else value
        upper, lower = pairs[name.removesuffix("s").split("_")[-1]]
        for side in sides:
            angles[_INDEX[f"{side}_{upper}_flex"]] = upper_flex
            angles[_INDEX[f"{side}_{upper}_out"]] = upper_out
            angles[_INDEX[f"{side}_{lower}_flex"]] = lower_flex
            angles[_INDEX[f"{side}_{lower}_out"]] = lower_out
    return angles


def mirror(poses: Angles) -> Angles:
    """The poses (..., A) with left and right exchanged."""
    exchanged: Angles = poses[..., _MIRROR_ANGLES] * _MIRROR_SIGNS
    return exchanged


def _rotation(axis: int, degrees: Angles) -> Angles:
    """Right-handed rotations (..., 3, 3) about axis 0, 1 or 2."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    angle = np.deg2rad(degrees)
    matrix = np.zeros((*angle.shape, 3, 3))
    matrix[..., axis, axis] = 1
    matrix[..., a, a] = matrix[..., b, b] = np.cos(angle)
    matrix[..., a, b], matrix[..., b, a] = -np.sin(angle), np.sin(angle)
    return matrix


def joints(poses: Angles, bodies: dict[str, Angles] | dict[str, float] = BODY) -> Points:
    """Joint positions (..., 14, 3), in the order of `JOINTS`, of bodies in poses.

    The body stands on y = 0 above the origin, before `lift` and `advance`.

    Args:
        poses: (..., A).
        bodies: the lengths named in `BODY`, each a number or an array (...).
    """
    angle = {name: poses[..., i] for i, name in enumerate(ANGLES)}
    length = {name: np.asarray(value, dtype=np.float64)[..., None] for name, value in bodies.items()}
    trunk = _rotation(1, angle["twist"]) @ _rotation(0, angle["lean"]) @ _rotation(2, -angle["bend"])
    position: dict[str, Points] = {}
    zero = np.zeros((*poses.shape[:-1], 3))

    def turned(matrix: Angles, vector: Angles) -> Points:
        return (matrix @ vector[..., None])[..., 0]

    def limb(side: str, name: str) -> Points:
        flex, out = np.deg2rad(angle[f"{side}_{name}_flex"]), np.deg2rad(angle[f"{side}_{name}_out"])
        sign = 1.0 if side == "left" else -1.0
        return np.stack([sign * np.sin(out), -np.cos(flex) * np.cos(out), np.sin(flex) * np.cos(out)], axis=-1)

    up, across = np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])
    position["neck"] = turned(trunk, zero + up * length["trunk"])
    nod = trunk @ _rotation(0, angle["nod"])
    position["head"] = position["neck"] + turned(nod, zero + up * length["head"] * 1.35)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        shoulder = position["neck"] + turned(trunk, (across * sign - 0.25 * up) * length["shoulders"])
        elbow = shoulder + turned(trunk, limb(side, "arm")) * length["arm"]
        hip = zero + across * sign * length["hips"]
        knee = hip + limb(side, "thigh") * length["thigh"]
        position |= {f"{side}_shoulder": shoulder, f"{side}_elbow": elbow, f"{side}_hip": hip, f"{side}_knee": knee}
        position[f"{side}_wrist"] = elbow + turned(trunk, limb(side, "forearm")) * length["forearm"]
        position[f"{side}_ankle"] = knee + limb(side, "shin") * length["shin"]

    points = np.stack([position[name] for name in JOINTS], axis=-2)
    whole = _rotation(1, angle["turn"]) @ _rotation(0, angle["pitch"])
    points = points @ np.swapaxes(whole, -1, -2)
    flesh = np.array([0.15 if name == "head" else 0.06 for name in JOINTS])
    points[..., 1] -= (points[..., 1] - flesh).min(axis=-1, keepdims=True) - angle["lift"][..., None]
    points += (whole[..., :, 2] * [1, 0, 1] * angle["advance"][..., None])[..., None, :]
    return points
