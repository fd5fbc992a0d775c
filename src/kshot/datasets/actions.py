"""The 40 actions of `motion`: rows of key poses, and the split that each class belongs to.

Pairs such as "sit down" and "stand up" show the same poses in the opposite order; both members are always in the same
split.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kshot.datasets.bodies import Angles, pose


@dataclass(frozen=True)
class Action:
    """What a performer does.

    Attributes:
        split: train (base), val or test (novel).
        times: when (0 to 1, ascending) the body is in each of the K key poses.
        keys: (K, A) the key poses.
        yaw: the camera's usual angle, degrees from the front.
        cyclic: the last key pose is the first: clips start at any phase and go round once or more.
        stool: a stool stands where the performer sits.
    """

    split: str
    times: tuple[float, ...]
    keys: Angles
    yaw: float = 25.0
    cyclic: bool = False
    stool: bool = False

    def at(self, phase: NDArray[np.float64]) -> Angles:
        """Poses (T, A) at phases (T,): 0 to 1, and beyond if cyclic. Key poses are joined with zero speed."""
        phase = phase % 1.0 if self.cyclic else np.clip(phase, 0.0, 1.0)
        times = np.asarray(self.times)
        left = np.clip(np.searchsorted(times, phase, side="right") - 1, 0, len(times) - 2)
        part = (phase - times[left]) / (times[left + 1] - times[left])
        part = (part * part * (3 - 2 * part))[:, None]
        poses: Angles = self.keys[left] * (1 - part) + self.keys[left + 1] * part
        return poses


def _stand(**parts: float | tuple[float, ...]) -> Angles:
    """A relaxed standing pose, but for what is named."""
    return pose(**({"arms": (3, 10, 12, 6), "legs": (0, 5)} | parts))


def _once(split: str, *keys: Angles, yaw: float = 25, stool: bool = False) -> Action:
    """An action with a beginning and an end, key poses evenly spaced."""
    return Action(split, _even(keys), np.stack(keys), yaw, stool=stool)


def _again(split: str, *keys: Angles, yaw: float = 25) -> Action:
    """An action that repeats, key poses evenly spaced."""
    keys = (*keys, keys[0])
    return Action(split, _even(keys), np.stack(keys), yaw, cyclic=True)


def _even(keys: tuple[Angles, ...]) -> tuple[float, ...]:
    return tuple(i / (len(keys) - 1) for i in range(len(keys)))


def _back(action: Action) -> Action:
    """The same key poses in the opposite order."""
    return replace(action, keys=action.keys[::-1])


# Key poses that more than one action uses. Legs and arms: (upper flex, upper out, lower flex, lower out).
_STAND = _stand()
_SEAT = _stand(legs=(85, 8, 0, 4), arms=(35, 8, 75, 0), lean=4)
_KNEEL = _stand(legs=(5, 8, -88, 4), arms=(8, 10, 30, 4))
_HALF_KNEEL = _stand(left_leg=(85, 5, 0, 4), right_leg=(0, 5, -85, 4), lean=8)
_ON_BACK = pose(pitch=-90, arms=(5, 18), legs=(0, 8))
_SQUAT = _stand(legs=(105, 16, -25, 8), lean=32, arms=(75, 8, 85, 4))
_ARMS_UP = _stand(arms=(0, 168))
_ARMS_WIDE = _stand(arms=(10, 92))
_ARMS_AHEAD = _stand(arms=(88, 4, 90, -8))
_DOWN = _stand(legs=(60, 6, -20, 4), lean=85, arms=(75, 0, 78, 0), nod=-15)
_LOW_PLANK = pose(pitch=82, arms=(20, 45, 95, 5), legs=(-3, 4), nod=-25)
_HIGH_PLANK = pose(pitch=70, arms=(75, 8, 72, 6), legs=(-3, 4), nod=-25)
_SIT_DOWN = _once("test", _STAND, _stand(legs=(50, 6, -12, 4), lean=36, arms=(25, 8, 40, 4)), _SEAT, yaw=55, stool=True)
_OPEN_ARMS = _once("test", _ARMS_AHEAD, _stand(arms=(60, 45)), _ARMS_WIDE, yaw=25)
_RAISE_ARMS = _once("train", _STAND, _stand(arms=(5, 95)), _ARMS_UP)
_KNEEL_DOWN = _once("train", _STAND, _HALF_KNEEL, _KNEEL, yaw=50)
_LIE_DOWN = _once(
    "train",
    _STAND,
    _stand(legs=(110, 8, -10, 4), pitch=-15, lean=30, arms=(-30, 20)),
    pose(pitch=-70, lean=45, legs=(40, 8, -10, 4), arms=(-40, 20)),
    _ON_BACK,
    yaw=60,
)
_PICK_UP = _once(
    "val", _DOWN, _stand(legs=(35, 6, -10, 4), lean=45, arms=(60, 4, 95, 0)), _stand(arms=(25, 6, 95, 0)), yaw=55
)
_PUSH = _once(
    "val",
    _stand(lean=-10, left_leg=(18, 5, 4, 3), right_leg=(-14, 5, -22, 3), arms=(-42, 14, 78, 4), nod=6),
    _stand(lean=8, left_leg=(26, 5, -2, 3), right_leg=(-20, 5, -30, 3), arms=(40, 12, 88, 2)),
    _stand(lean=26, left_leg=(42, 5, -12, 3), right_leg=(-30, 5, -38, 3), arms=(92, 8, 90, 4), nod=-12),
    yaw=60,
)

ACTIONS: dict[str, Action] = {
    # Base classes.
    "raise both arms": _RAISE_ARMS,
    "lower both arms": _back(_RAISE_ARMS),
    "kneel down": _KNEEL_DOWN,
    "rise from kneeling": _back(_KNEEL_DOWN),
    "lie down": _LIE_DOWN,
    "get up from the floor": _back(_LIE_DOWN),
    "walk": _again(
        "train",
        _stand(
            left_leg=(28, 3, 15, 3), right_leg=(-22, 3, -38, 3), left_arm=(-28, 8, -10, 6), right_arm=(25, 8, 45, 4)
        ),
        _stand(left_leg=(0, 3, 0, 3), right_leg=(15, 3, -35, 3), lift=0.02),
        _stand(
            right_leg=(28, 3, 15, 3), left_leg=(-22, 3, -38, 3), right_arm=(-28, 8, -10, 6), left_arm=(25, 8, 45, 4)
        ),
        _stand(right_leg=(0, 3, 0, 3), left_leg=(15, 3, -35, 3), lift=0.02),
        yaw=62,
    ),
    "run": _again(
        "train",
        _stand(
            lean=18,
            left_leg=(70, 3, -20, 3),
            right_leg=(-30, 3, -80, 3),
            left_arm=(-50, 8, 35, 4),
            right_arm=(45, 8, 135, 0),
            lift=0.08,
        ),
        _stand(lean=18, left_leg=(10, 3, 0, 3), right_leg=(10, 3, -95, 3), arms=(0, 8, 85, 4)),
        _stand(
            lean=18,
            right_leg=(70, 3, -20, 3),
            left_leg=(-30, 3, -80, 3),
            right_arm=(-50, 8, 35, 4),
            left_arm=(45, 8, 135, 0),
            lift=0.08,
        ),
        _stand(lean=18, right_leg=(10, 3, 0, 3), left_leg=(10, 3, -95, 3), arms=(0, 8, 85, 4)),
        yaw=62,
    ),
    "squat": _again("train", _STAND, _SQUAT, yaw=50),
    "hop": _again(
        "train",
        _stand(legs=(35, 6, -25, 4), lean=12, arms=(-30, 12, 0, 6)),
        _stand(lift=0.3, arms=(40, 14, 70, 8)),
        yaw=35,
    ),
    "kick to the side": _again(
        "train", _stand(arms=(20, 35, 60, 10)), _stand(left_leg=(0, 80), bend=-22, arms=(20, 50, 60, 20)), yaw=15
    ),
    "lunge forward": _again(
        "train",
        _STAND,
        _stand(left_leg=(80, 4, -5, 2), right_leg=(-30, 4, -65, 2), arms=(5, 45, 10, -45)),
        yaw=58,
    ),
    "clap": _again("train", _stand(arms=(55, 48, 75, 10)), _stand(arms=(55, 5, 80, -28)), yaw=15),
    "swing the arms in circles": Action(
        "train",
        (0, 0.25, 0.5, 0.75, 1),
        np.stack([_stand(arms=(flex, 15)) for flex in (0, 90, 180, 270, 360)]),
        yaw=55,
        cyclic=True,
    ),
    "crawl": _again(
        "train",
        pose(
            pitch=75,
            left_arm=(105, 4),
            right_arm=(60, 4, 55, 4),
            left_leg=(60, 5, -25, 3),
            right_leg=(100, 5, -10, 3),
            nod=-35,
        ),
        pose(
            pitch=75,
            right_arm=(105, 4),
            left_arm=(60, 4, 55, 4),
            right_leg=(60, 5, -25, 3),
            left_leg=(100, 5, -10, 3),
            nod=-35,
        ),
        yaw=60,
    ),
    "twist the trunk": _again(
        "train", _stand(twist=60, arms=(15, 60, 60, -20)), _stand(twist=-60, arms=(15, 60, 60, -20)), yaw=10
    ),
    "salute": _again("train", _STAND, _stand(right_arm=(25, 85, 45, 205)), _stand(right_arm=(25, 85, 45, 205)), yaw=15),
    "lift a weight overhead": _again(
        "train", _stand(arms=(40, 30, 150, 8), legs=(20, 14, -15, 8)), _stand(arms=(5, 160, 0, 176), legs=(0, 14))
    ),
    # Validation classes.
    "pick up from the floor": _PICK_UP,
    "put down on the floor": _back(_PICK_UP),
    "march on the spot": _again(
        "val",
        _stand(left_leg=(92, 4, 0, 2), right_arm=(55, 8, 110, 4), left_arm=(-25, 8, 10, 4)),
        _STAND,
        _stand(right_leg=(92, 4, 0, 2), left_arm=(55, 8, 110, 4), right_arm=(-25, 8, 10, 4)),
        _STAND,
        yaw=40,
    ),
    "bend to the side": _again(
        "val",
        _stand(bend=38, right_arm=(0, 165, 0, 190), left_arm=(0, 40, 0, -40), legs=(0, 14)),
        _stand(bend=0, right_arm=(0, 90, 0, 120), left_arm=(0, 40, 0, -40), legs=(0, 14)),
        yaw=10,
    ),
    "pedal on the back": _again(
        "val",
        pose(pitch=-90, arms=(5, 35), left_leg=(110, 4, 20, 2), right_leg=(45, 4, 40, 2)),
        pose(pitch=-90, arms=(5, 35), right_leg=(110, 4, 20, 2), left_leg=(45, 4, 40, 2)),
        yaw=65,
    ),
    "push": _PUSH,
    "pull": _back(_PUSH),
    "sit-ups": _again(
        "val",
        pose(pitch=-90, arms=(125, 12), legs=(58, 8, -52, 6)),
        pose(pitch=-90, lean=84, nod=-10, arms=(82, 8), legs=(58, 8, -52, 6)),
        yaw=65,
    ),
    "chop wood": _again(
        "val",
        _stand(lean=-14, nod=-8, legs=(4, 15, -8, 12), arms=(168, -4, 215, -8)),
        _stand(lean=58, nod=12, legs=(42, 15, -16, 12), arms=(62, -4, 58, -8)),
        yaw=56,
    ),
    "walk on the hands": _again(
        "val",
        pose(
            pitch=180,
            nod=-30,
            left_arm=(206, 6),
            right_arm=(158, 6),
            left_leg=(30, 6, -25, 4),
            right_leg=(-12, 6, -80, 4),
        ),
        pose(
            pitch=180,
            nod=-30,
            left_arm=(158, 6),
            right_arm=(206, 6),
            left_leg=(-12, 6, -80, 4),
            right_leg=(30, 6, -25, 4),
        ),
        yaw=58,
    ),
    # Novel classes.
    "sit down": _SIT_DOWN,
    "stand up": _back(_SIT_DOWN),
    "open the arms": _OPEN_ARMS,
    "close the arms": _back(_OPEN_ARMS),
    "wave": _again("test", _stand(right_arm=(10, 100, 10, 150)), _stand(right_arm=(10, 105, 10, 205)), yaw=15),
    "jumping jacks": _again(
        "test",
        _stand(arms=(0, 12), legs=(0, 3)),
        _stand(arms=(0, 85), legs=(0, 16), lift=0.14),
        _stand(arms=(0, 160), legs=(0, 30)),
        _stand(arms=(0, 85), legs=(0, 16), lift=0.14),
        yaw=15,
    ),
    "kick forward": _again(
        "test",
        _stand(left_leg=(-25, 4, -60, 2), arms=(20, 15, 70, 5)),
        _stand(left_leg=(60, 4, -20, 2), arms=(30, 15, 80, 5), lean=-4),
        _stand(left_leg=(88, 4), lean=-16, right_arm=(50, 10, 80, 5), left_arm=(-20, 25)),
        yaw=58,
    ),
    "push-ups": _again("test", _HIGH_PLANK, _LOW_PLANK, yaw=65),
    "punch": _again(
        "test",
        _stand(arms=(40, 12, 145, 0), left_leg=(25, 6, 5, 4), right_leg=(-18, 6, -25, 4), lean=6),
        _stand(
            left_arm=(90, 2),
            right_arm=(30, 14, 140, 0),
            left_leg=(25, 6, 5, 4),
            right_leg=(-18, 6, -25, 4),
            lean=10,
            twist=-20,
        ),
        _stand(arms=(40, 12, 145, 0), left_leg=(25, 6, 5, 4), right_leg=(-18, 6, -25, 4), lean=6),
        _stand(
            right_arm=(90, 2),
            left_arm=(30, 14, 140, 0),
            left_leg=(25, 6, 5, 4),
            right_leg=(-18, 6, -25, 4),
            lean=10,
            twist=20,
        ),
        yaw=52,
    ),
    "bow": _again(
        "test",
        _STAND,
        _stand(lean=72, nod=15, arms=(-55, 6, -50, 4)),
        _stand(lean=72, nod=15, arms=(-55, 6, -50, 4)),
        yaw=58,
    ),
    "climb": _again(
        "test",
        _stand(
            left_arm=(150, 12, 170, 6), right_arm=(70, 18, 150, 4), right_leg=(85, 12, -5, 6), left_leg=(5, 5, -5, 3)
        ),
        _stand(
            right_arm=(150, 12, 170, 6), left_arm=(70, 18, 150, 4), left_leg=(85, 12, -5, 6), right_leg=(5, 5, -5, 3)
        ),
        yaw=48,
    ),
    "stand on one leg": _again(
        "test",
        _stand(left_leg=(20, 62, -10, -50), arms=(5, 130, 5, 205)),
        _stand(left_leg=(20, 62, -10, -50), arms=(5, 120, 5, 212), bend=8),
        yaw=12,
    ),
}
