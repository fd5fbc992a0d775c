"""One clip of `motion`: a performer in a scene doing an action in their own manner, seen by a camera.

A group is one performer in one scene: it has two clips of every class of its split. A clip depends on its class, its
number, the camera and the seed alone, whatever else is drawn. A further camera is a line in `CAMERAS`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from kshot.datasets.actions import ACTIONS
from kshot.datasets.bodies import ANGLES, Angles, joints, mirror
from kshot.datasets.drawing import Colour, light, muted, occlude, scene, shade
from kshot.datasets.figures import Look, Viewpoint, draw_figure, project
from kshot.errors import unknown

SIZE = 112
"""Side of the pictures in pixels."""


FREE = "free"
"""The camera of `motion` where none is named."""


@dataclass(frozen=True)
class Camera:
    """How the clips of a data set are filmed.

    Attributes:
        fixed: whether one camera on a stand films all clips of all performers in one place and light, always from the
            same side and with the same stool in the picture. So neither background nor viewpoint tells the action.
            Else every group has a scene and a light of its own, and every clip a viewpoint of its own that sways.
        turned: whether it hangs upside down.
        negative: whether it takes negatives: what is bright is dark, in the complementary colour.
    """

    fixed: bool = False
    turned: bool = False
    negative: bool = False

    def took(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A picture (SIZE, SIZE, 3) as this camera keeps it."""
        picture = picture[::-1, ::-1] if self.turned else picture
        return np.ascontiguousarray(255 - picture if self.negative else picture)


STAND = Viewpoint(yaw=25.0)
"""Where the fixed camera stands; most actions are seen best from about there."""

CAMERAS: dict[str, Camera] = {
    FREE: Camera(),
    "fixed": Camera(fixed=True),
    "upside-down": Camera(turned=True),
    "negative": Camera(negative=True),
}
"""The values of `motion?camera=`. The last two are shifts of domain: a backbone that has seen none of it sees badly."""


def camera_of(name: str) -> Camera:
    """A camera by its name.

    Raises:
        OptionError: no such camera.
    """
    if name not in CAMERAS:
        raise unknown("camera", name, CAMERAS)
    return CAMERAS[name]


def _rng(*key: int | str) -> np.random.Generator:
    """A generator for this key alone."""
    return np.random.default_rng([zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key])


@dataclass(frozen=True)
class Group:
    """One performer in one scene, in one light.

    Attributes:
        look: of the performer.
        backdrop: the scene, larger than what a clip shows of it.
        manner: (A,) what the performer adds to every pose.
        gain: (SIZE, SIZE, 3) the light: what each pixel is multiplied with.
        noise: standard deviation of the sensor's noise, of 255.
        occluded: whether something stands between the camera and the performer.
    """

    look: Look
    backdrop: Image.Image
    manner: Angles
    gain: NDArray[np.float64]
    noise: float
    occluded: bool

    @classmethod
    def make(cls, split: str, number: int, seed: int) -> Group:
        """The group of a split with this number; the same for the same seed."""
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

    def in_place(self, other: Group) -> Group:
        """This performer in the scene and light of another group, with nothing in between."""
        return replace(self, backdrop=other.backdrop, gain=other.gain, noise=other.noise, occluded=False)


def frames(name: str, clip: int, seed: int, camera: str = FREE) -> Iterator[NDArray[np.uint8]]:
    """The pictures (SIZE, SIZE, 3) of a clip.

    Args:
        name: of the action.
        clip: its number within the class.
        seed: of performers, scenes, viewpoints and manners.
        camera: one of `CAMERAS`; performers and their movements are the same for all.

    Raises:
        OptionError: no such camera.
    """
    action, rng, filmed = ACTIONS[name], _rng("clip", seed, name, clip), camera_of(camera)
    group = Group.make(action.split, clip // 2, seed)
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
    view = Viewpoint.random(rng, yaw)
    pan = rng.uniform(-0.03, 0.03, 2) * np.sin(turn / 2 + rng.uniform(0, np.pi))
    if filmed.fixed:
        group, view, pan = group.in_place(Group.make("fixed", 0, seed)), STAND, 0 * pan
    noise = rng.normal(0, group.noise, (3, SIZE, SIZE, 3)).astype(np.int16)
    stool = muted(rng, 0.4, (0.3, 0.8)) if action.stool or rng.uniform() < 0.1 else None
    if filmed.fixed:
        stool = muted(_rng("stool", seed), 0.4, (0.3, 0.8))
    veil = int(rng.integers(2**32)) if group.occluded else None

    side, points = 2 * SIZE, joints(poses, group.look.body)
    for t in range(count):
        dx, dy = pan[t]
        seen = replace(view, x=view.x - dx, ground=view.ground - dy)
        left, top = int((0.15 / 2 + dx) * side), int((0.15 / 2 + dy) * side)
        picture = group.backdrop.crop((left, top, left + side, top + side))
        if stool is not None:
            _draw_stool(picture, seen, stool)
        draw_figure(picture, project(points[t], seen), group.look, seen, float(poses[t, ANGLES.index("turn")]))
        if veil is not None:
            occlude(picture, np.random.default_rng(veil))
        yield filmed.took(light(picture.reduce(2), group.gain, noise[t % len(noise)]))


def _draw_stool(picture: Image.Image, camera: Viewpoint, colour: Colour) -> None:
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
