"""`motion`: the bundled data set, drawn figures that perform 35 actions, rendered to H.264 files.

An action is a row of key poses; a clip is one performer (a `Look`) in one scene doing it in their own manner, at
their own speed, seen by their own camera. A group is one performer in one scene: it has two clips of every class of
its split. Pairs such as "sit down" and "stand up" show the same poses in the opposite order; both members are
always in the same split. Clip i of a class is the same whatever else is rendered.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from kshot.datasets.drawing import (
    ANGLES,
    Array,
    Camera,
    Look,
    draw_figure,
    joints,
    light,
    mirror,
    muted,
    occlude,
    pose,
    project,
    scene,
    shade,
)
from kshot.errors import DataError, OptionError, unknown
from kshot.files import disk, locked, whole
from kshot.paths import home

VERSION = 3
SIZE = 112
RATE = 24
CLIPS = 40
"""Clips a class. Fewer may be asked for; they are the first ones."""


@dataclass(frozen=True)
class Action:
    """What a performer does.

    Attributes:
        split: train (base), val or test (novel).
        times, keys: when (0 to 1, ascending) the body is in which key pose (K, A).
        yaw: the camera's usual angle, degrees from the front.
        cyclic: the last key pose is the first: clips start at any phase and go round once or more.
        stool: a stool stands where the performer sits.
    """

    split: str
    times: tuple[float, ...]
    keys: Array
    yaw: float = 25.0
    cyclic: bool = False
    stool: bool = False

    def at(self, phase: NDArray[np.float64]) -> Array:
        """Poses (T, A) at phases (T,): 0 to 1, and beyond if cyclic. Key poses are joined with zero speed."""
        phase = phase % 1.0 if self.cyclic else np.clip(phase, 0.0, 1.0)
        times = np.asarray(self.times)
        left = np.clip(np.searchsorted(times, phase, side="right") - 1, 0, len(times) - 2)
        part = (phase - times[left]) / (times[left + 1] - times[left])
        part = (part * part * (3 - 2 * part))[:, None]
        poses: Array = self.keys[left] * (1 - part) + self.keys[left + 1] * part
        return poses


def _stand(**parts: float | tuple[float, ...]) -> Array:
    """A relaxed standing pose, but for what is named."""
    return pose(**({"arms": (3, 10, 12, 6), "legs": (0, 5)} | parts))


def _once(split: str, *keys: Array, yaw: float = 25, stool: bool = False) -> Action:
    """An action with a beginning and an end, key poses evenly spaced."""
    return Action(split, _even(keys), np.stack(keys), yaw, stool=stool)


def _again(split: str, *keys: Array, yaw: float = 25) -> Action:
    """An action that repeats, key poses evenly spaced."""
    keys = (*keys, keys[0])
    return Action(split, _even(keys), np.stack(keys), yaw, cyclic=True)


def _even(keys: tuple[Array, ...]) -> tuple[float, ...]:
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


def _rng(*key: int | str) -> np.random.Generator:
    """A generator for this key alone."""
    return np.random.default_rng([zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key])


@dataclass(frozen=True)
class _Group:
    """One performer in one scene."""

    look: Look
    backdrop: Image.Image
    manner: Array
    gain: Array
    noise: float
    occluded: bool

    @classmethod
    def make(cls, split: str, number: int, seed: int) -> _Group:
        rng = _rng("group", seed, split, number)
        slope = rng.uniform(-0.12, 0.12, 2)
        ramp = np.linspace(-1, 1, SIZE)
        gain = 1 + slope[0] * ramp[:, None, None] + slope[1] * ramp[None, :, None]
        manner = rng.normal(0, 10, len(ANGLES))
        manner[[ANGLES.index(name) for name in ("pitch", "turn", "lift", "advance")]] = 0
        return cls(
            look=Look.random(rng),
            backdrop=scene(rng, int(2.3 * SIZE)),
            manner=manner,
            gain=gain * rng.uniform(0.55, 1.1) * rng.uniform(0.94, 1.06, 3),
            noise=float(rng.uniform(0, 12)),
            occluded=bool(rng.uniform() < 0.4),
        )


def _frames(name: str, clip: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """The pictures (SIZE, SIZE, 3) of clip number `clip` of a class."""
    action, rng = ACTIONS[name], _rng("clip", seed, name, clip)
    group = _Group.make(action.split, clip // 2, seed)
    count = int(rng.integers(24, 37))
    if action.cyclic:
        phase = rng.uniform() + np.linspace(0, rng.uniform(1.0, 2.2), count)
    else:
        phase = np.linspace(rng.uniform(-0.15, 0.2), rng.uniform(0.8, 1.15), count)
    poses = action.at(phase)
    sway = rng.normal(0, 4, (2, len(ANGLES))) * np.where(np.array(ANGLES) == "turn", 1.5, 1)
    sway[:, ANGLES.index("lift") :] = 0
    turn = np.linspace(0, 2 * np.pi, count)[:, None]
    poses = poses + group.manner + sway[0] * np.sin(turn) + sway[1] * np.cos(turn)
    poses[:, ANGLES.index("lift")] = np.maximum(0, poses[:, ANGLES.index("lift")])
    yaw = action.yaw + rng.uniform(-25, 25)
    if rng.uniform() < 0.5:
        poses, yaw = mirror(poses), -yaw
    camera = Camera.random(rng, yaw)
    pan = rng.uniform(-0.03, 0.03, 2) * np.sin(turn / 2 + rng.uniform(0, np.pi))
    noise = rng.normal(0, group.noise, (3, SIZE, SIZE, 3)).astype(np.int16)
    stool = muted(rng, 0.4, (0.3, 0.8)) if action.stool or rng.uniform() < 0.1 else None
    veil = int(rng.integers(2**32)) if group.occluded else None

    side, points = 2 * SIZE, joints(poses, group.look.body)
    for t in range(count):
        dx, dy = pan[t]
        view = replace(camera, x=camera.x - dx, ground=camera.ground - dy)
        left, top = int((0.15 / 2 + dx) * side), int((0.15 / 2 + dy) * side)
        picture = group.backdrop.crop((left, top, left + side, top + side))
        if stool is not None:
            _draw_stool(picture, view, stool)
        draw_figure(picture, project(points[t], view), group.look, view, float(poses[t, ANGLES.index("turn")]))
        if veil is not None:
            occlude(picture, np.random.default_rng(veil))
        yield light(picture.reduce(2), group.gain, noise[t % len(noise)])


def _draw_stool(picture: Image.Image, camera: Camera, colour: tuple[int, int, int]) -> None:
    """A stool behind the feet, as high as a shin."""
    corners = np.array([[-0.17, 0.36, -0.1], [0.17, 0.36, -0.1], [-0.13, 0, -0.1], [0.13, 0, -0.1]])
    spots = project(corners, replace(camera, yaw=0.0))[:, :2] * picture.height
    # Behind the sitter as the camera sees it.
    spots[:, 0] -= 0.05 * np.sin(np.deg2rad(camera.yaw)) * camera.scale * picture.height
    (a, b, c, d), draw = [(float(x), float(y)) for x, y in spots], ImageDraw.Draw(picture)
    width = max(2, int(0.05 * camera.scale * picture.height))
    draw.line((a, c), fill=shade(colour, 0.7), width=width)
    draw.line((b, d), fill=shade(colour, 0.7), width=width)
    draw.line((a, b), fill=colour, width=2 * width)


def _write(path: Path, frames: Iterator[NDArray[np.uint8]]) -> None:
    """Encode the frames as H.264 in one thread, so that the file is the same each time; appears when complete."""
    with whole(path) as part, av.open(str(part), "w", format="mp4") as file:
        options = {"preset": "veryfast", "crf": "20", "g": "12"}
        # PyAV 18.1's encoder looks ahead differently each time.
        options["x264-params"] = "threads=1:sync-lookahead=0:rc-lookahead=0"
        stream = file.add_stream("libx264", rate=RATE, options=options)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, RATE)
        for pixels in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode())


def draw(path: Path, parts: Sequence[tuple[str, int]], seed: int = 0) -> Path:
    """Writes one file that shows drawn clips one after another: `parts` are (action, number of the clip).

    Raises:
        OptionError: no such action.
        StoreError: the file cannot be written.
    """
    for name, _ in parts:
        if name not in ACTIONS:
            raise unknown("action", name, ACTIONS)
    with disk(path):
        _write(path, (frame for name, clip in parts for frame in _frames(name, clip, seed)))
    return path


def _rows(clips: int) -> list[tuple[str, str, str, str]]:
    """Path, label, split and group of every clip."""
    return [
        (f"{name.replace(' ', '-')}/{clip:03d}.mp4", name, action.split, f"{action.split}-{clip // 2:02d}")
        for name, action in ACTIONS.items()
        for clip in range(clips)
    ]


def render_part(folder: Path, clips: int, seed: int, part: int, parts: int) -> None:
    """Render every clip that is missing among numbers part, part + parts, ..."""
    for path, name, _, _ in _rows(clips)[part::parts]:
        if not (folder / path).exists():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            _write(folder / path, _frames(name, int(Path(path).stem), seed))


def render(
    folder: str | Path, clips: int = CLIPS, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Render `clips` clips of every class into a folder, in one process for each core; what is there stays.

    Args:
        folder: made if it is missing; holds one folder of mp4 files for each class and one CSV for each number of
            clips. Use another folder for another seed.
        clips: clips a class, at least 1.
        seed: of performers, scenes, cameras and manners.
        progress: called with (clips there, clips in all).

    Returns:
        The CSV (`path,label,split,group`), written last: where it exists, all its clips do.

    Raises:
        OptionError: `clips` is less than 1.
        DataError: a process that draws failed.
        StoreError: the clips cannot be written.
    """
    if clips < 1:
        raise OptionError(f"motion needs at least 1 clip a class, found {clips}: ask for 1 or more")
    folder, rows = Path(folder), _rows(clips)
    table = folder / f"motion-{clips}.csv"
    if table.exists():
        return table
    with locked(folder, wait=True), disk(folder):  # another may be drawing the same clips: they are drawn once
        if not table.exists():
            _render_all(folder, clips, seed, rows, progress)
            with whole(table) as part, part.open("w", newline="") as file:
                csv.writer(file).writerows([("path", "label", "split", "group"), *rows])
    return table


def _render_all(
    folder: Path,
    clips: int,
    seed: int,
    rows: list[tuple[str, str, str, str]],
    progress: Callable[[int, int], None] | None,
) -> None:
    # Plain child interpreters: multiprocessing would run the caller's main module again.
    parts = max(1, min(os.cpu_count() or 1, 8, len(rows) // 16))
    command = [sys.executable, "-m", "kshot.datasets.motion", str(folder), str(clips), str(seed)]
    children = [
        subprocess.Popen([*command, str(part), str(parts)], stderr=subprocess.PIPE, text=True) for part in range(parts)
    ]
    try:
        while any(child.poll() is None for child in children):
            time.sleep(0.1)
            if progress:
                progress(sum((folder / row[0]).exists() for row in rows), len(rows))
        for child in children:
            _, complaint = child.communicate()
            if child.returncode:
                reason = complaint.strip().splitlines()[-1] if complaint.strip() else f"exit code {child.returncode}"
                raise DataError(
                    f"rendering motion into {folder} failed ({reason}); run it again, it goes on from there"
                )
    finally:
        for child in children:
            child.kill()
            child.wait()
    if progress:
        progress(len(rows), len(rows))


def cached(clips: int = CLIPS, seed: int = 0, progress: Callable[[int, int], None] | None = None) -> Path:
    """`render` into kshot's own folder, once for each seed."""
    return render(home() / "motion" / f"v{VERSION}-seed{seed}", clips, seed, progress)


if __name__ == "__main__":
    render_part(Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:6]))
