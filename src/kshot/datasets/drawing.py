"""Articulated figures in drawn scenes: a pose is a row of angles, a picture is a pose seen by a camera.

    pose (angles) --joints--> 3-D joint positions --project--> image positions --draw--> picture

Body coordinates: x to the figure's left, y up, z forwards; lengths in units of roughly a metre; the lowest part of
the body stands on y = 0 unless the pose is lifted. Everything random comes from the generator that is passed in.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Array = NDArray[np.float64]
Colour = tuple[int, int, int]
Point = tuple[float, float]

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


def pose(**parts: float | tuple[float, ...]) -> Array:
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


def mirror(poses: Array) -> Array:
    """The poses (..., A) with left and right exchanged."""
    exchanged: Array = poses[..., _MIRROR_ANGLES] * _MIRROR_SIGNS
    return exchanged


def _rotation(axis: int, degrees: Array) -> Array:
    """Right-handed rotations (..., 3, 3) about axis 0, 1 or 2."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    angle = np.deg2rad(degrees)
    matrix = np.zeros((*angle.shape, 3, 3))
    matrix[..., axis, axis] = 1
    matrix[..., a, a] = matrix[..., b, b] = np.cos(angle)
    matrix[..., a, b], matrix[..., b, a] = -np.sin(angle), np.sin(angle)
    return matrix


def joints(poses: Array, bodies: dict[str, Array] | dict[str, float] = BODY) -> Array:
    """Joint positions (..., 14, 3), in the order of `JOINTS`, of poses (..., A) taken by bodies.

    `bodies` gives the lengths named in `BODY`, each a number or an array (...). The body stands on y = 0 above
    the origin, before `lift` and `advance`.
    """
    angle = {name: poses[..., i] for i, name in enumerate(ANGLES)}
    length = {name: np.asarray(value, dtype=np.float64)[..., None] for name, value in bodies.items()}
    trunk = _rotation(1, angle["twist"]) @ _rotation(0, angle["lean"]) @ _rotation(2, -angle["bend"])
    position: dict[str, Array] = {}
    zero = np.zeros((*poses.shape[:-1], 3))

    def turned(matrix: Array, vector: Array) -> Array:
        return (matrix @ vector[..., None])[..., 0]

    def limb(side: str, name: str) -> Array:
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


@dataclass(frozen=True)
class Camera:
    """Where the figure is seen from. Lengths as fractions of the picture's height.

    Attributes:
        yaw: degrees between the line of sight and the figure's front; 0 sees the face, 90 the left side.
        elevation: degrees above the horizon.
        roll: degrees of tilt, clockwise.
        scale: height of one body unit in the picture.
        x, ground: where the figure's origin falls in the picture, from the left and from the top.
    """

    yaw: float = 0.0
    elevation: float = 5.0
    roll: float = 0.0
    scale: float = 0.4
    x: float = 0.5
    ground: float = 0.9

    @classmethod
    def random(cls, rng: np.random.Generator, yaw: float = 0.0, spread: float = 1.0) -> Camera:
        """A camera near `yaw` degrees; `spread` widens every other range."""
        return cls(
            yaw=yaw + rng.uniform(-18, 18),
            elevation=rng.uniform(0, 14),
            roll=rng.normal(0, 2.5 * spread),
            scale=0.41 * np.exp(rng.uniform(-0.13, 0.10) * spread),
            x=0.5 + rng.uniform(-0.09, 0.09) * spread,
            ground=0.91 + rng.uniform(-0.05, 0.04) * spread,
        )


def project(points: Array, camera: Camera) -> Array:
    """Image positions (..., J, 3) of body points (..., J, 3): x and y as fractions of the picture's height from its top
    left corner, and nearness (larger is closer to the camera, body units)."""
    yaw, elevation, roll = np.deg2rad([camera.yaw, camera.elevation, camera.roll])
    x = points[..., 0] * np.cos(yaw) + points[..., 2] * np.sin(yaw)
    near = points[..., 2] * np.cos(yaw) - points[..., 0] * np.sin(yaw)
    y = points[..., 1] * np.cos(elevation) - near * np.sin(elevation)
    across = x * np.cos(roll) + y * np.sin(roll)
    up = y * np.cos(roll) - x * np.sin(roll)
    return np.stack([camera.x + camera.scale * across, camera.ground - camera.scale * up, near], axis=-1)


def muted(rng: np.random.Generator, saturation: float = 0.35, light: tuple[float, float] = (0.3, 0.85)) -> Colour:
    """A random colour, none too bright."""
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.05, saturation), rng.uniform(*light))
    return int(red * 255), int(green * 255), int(blue * 255)


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made lighter (> 1) or darker (< 1)."""
    red, green, blue = (min(255, max(0, int(channel * factor))) for channel in colour)
    return red, green, blue


@dataclass(frozen=True)
class Look:
    """How one performer looks: lengths (as `BODY`), girth (1 is average), colours, long or short clothes."""

    body: dict[str, float]
    girth: float
    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour
    long_sleeves: bool
    long_trousers: bool

    @classmethod
    def random(cls, rng: np.random.Generator) -> Look:
        """A performer: proportions within 10 per cent, any skin and hair, muted clothes."""
        tone = rng.uniform(0.35, 1.0)
        return cls(
            body={name: length * float(np.exp(rng.normal(0, 0.06))) for name, length in BODY.items()},
            girth=float(np.exp(rng.normal(0, 0.13))),
            skin=(int(240 * tone), int((195 + 10 * tone) * tone * 0.98), int(165 * tone**1.1)),
            hair=muted(rng, 0.6, (0.1, 0.6)),
            shirt=muted(rng, 0.55, (0.35, 0.95)),
            trousers=muted(rng, 0.45, (0.2, 0.7)),
            shoes=muted(rng, 0.3, (0.1, 0.9)),
            long_sleeves=bool(rng.uniform() < 0.5),
            long_trousers=bool(rng.uniform() < 0.7),
        )


def _capsule(draw: ImageDraw.ImageDraw, a: Point, b: Point, r: float, s: float, fill: Colour) -> None:
    """A segment from `a` (radius r) to `b` (radius s) with round ends."""
    (ax, ay), (bx, by) = a, b
    dx, dy = bx - ax, by - ay
    length = (dx * dx + dy * dy) ** 0.5
    if length > 1e-3:
        ux, uy = -dy / length, dx / length
        corners = [(ax + ux * r, ay + uy * r), (bx + ux * s, by + uy * s)]
        corners += [(bx - ux * s, by - uy * s), (ax - ux * r, ay - uy * r)]
        draw.polygon(corners, fill=fill)
    draw.ellipse((ax - r, ay - r, ax + r, ay + r), fill=fill)
    draw.ellipse((bx - s, by - s, bx + s, by + s), fill=fill)


def draw_figure(picture: Image.Image, points: Array, look: Look, camera: Camera, turn: float = 0.0) -> None:
    """Draw one figure into an RGB picture, back to front, each part with a thin dark edge so that an arm before the
    chest stays visible.

    Args:
        picture: changed in place.
        points: (14, 3) from `project`.
        look: the performer.
        camera: the one that `points` were projected with.
        turn: the pose's `turn`, for the side on which the face is.
    """
    draw = ImageDraw.Draw(picture)
    height = picture.height
    unit = camera.scale * height
    rows = points.tolist()
    at = {name: (row[0] * height, row[1] * height) for name, row in zip(JOINTS, rows, strict=True)}
    near = {name: row[2] for name, row in zip(JOINTS, rows, strict=True)}
    facing = np.deg2rad(camera.yaw + turn)
    ahead, towards = float(np.sin(facing)), float(np.cos(facing))
    edge = max(1.0, 0.02 * unit)
    girth = look.girth * unit
    middle = (near["left_hip"] + near["right_hip"]) / 2

    def lit(colour: Colour, depth: float) -> Colour:
        return shade(colour, 1.0 + max(-0.3, min(0.12, 0.7 * (depth - middle))))

    def segment(a: Point, b: Point, r: float, s: float, colour: Colour) -> None:
        _capsule(draw, a, b, r * girth + edge, s * girth + edge, shade(colour, 0.45))
        _capsule(draw, a, b, r * girth, s * girth, colour)

    def arm(side: str) -> None:
        depth = near[f"{side}_elbow"]
        shoulder, elbow, wrist = (at[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
        sleeve, skin = lit(look.shirt, depth), lit(look.skin, depth)
        segment(elbow, wrist, 0.05, 0.042, sleeve if look.long_sleeves else skin)
        segment(shoulder, elbow, 0.066, 0.055, sleeve)
        _capsule(draw, wrist, wrist, 0.058 * girth, 0.058 * girth, skin)

    def leg(side: str) -> None:
        depth = near[f"{side}_knee"]
        hip, knee, ankle = (at[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
        cloth, skin, shoe = (lit(colour, depth) for colour in (look.trousers, look.skin, look.shoes))
        # The toe points where the body faces, square to the shin: flat on the ground when standing.
        shin = (ankle[0] - knee[0], ankle[1] - knee[1])
        size = max(1e-6, (shin[0] ** 2 + shin[1] ** 2) ** 0.5)
        flat = max(0.0, shin[1] / size)
        toe = (
            ankle[0] + unit * 0.13 * ahead * flat,
            ankle[1] - unit * 0.13 * ahead * shin[0] / size + 0.03 * unit * flat,
        )
        segment(ankle, toe, 0.055, 0.05, shoe)
        segment(knee, ankle, 0.07, 0.052, cloth if look.long_trousers else skin)
        segment(hip, knee, 0.095, 0.075, cloth)

    def trunk() -> None:
        corners = [at["left_shoulder"], at["right_shoulder"], at["right_hip"], at["left_hip"]]
        for grow, colour in ((edge, shade(look.shirt, 0.45)), (0.0, look.shirt)):
            radius = 0.075 * girth + grow
            for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
                _capsule(draw, a, b, radius, radius, colour)
            draw.polygon(corners, fill=colour)
        _capsule(draw, at["left_hip"], at["right_hip"], 0.085 * girth, 0.085 * girth, look.trousers)

    def head() -> None:
        (nx, ny), (hx, hy) = at["neck"], at["head"]
        radius = look.body["head"] * unit * 0.92
        size = max(1e-6, ((hx - nx) ** 2 + (hy - ny) ** 2) ** 0.5)
        up = ((hx - nx) / size, (hy - ny) / size)
        _capsule(draw, (nx, ny), (hx, hy), 0.05 * girth, 0.05 * girth, shade(look.skin, 0.8))

        def spot(forward: float, upward: float) -> Point:
            dx = forward * ahead * -up[1] + upward * up[0]
            dy = forward * ahead * up[0] + upward * up[1]
            return hx + radius * dx, hy + radius * dy

        back, face = spot(-0.34, 0.22), spot(0.16, -0.12)
        _capsule(draw, (hx, hy), (hx, hy), radius + edge, radius + edge, shade(look.hair, 0.6))
        _capsule(draw, back, back, radius, radius, look.hair)
        if towards > -0.3:
            _capsule(draw, face, face, radius * 0.84, radius * 0.84, look.skin)

    parts: list[tuple[float, Callable[[], None]]] = [
        (near["neck"] / 2 + middle / 2, trunk),
        (near["head"] + 0.01, head),
    ]
    for side in ("left", "right"):
        parts.append((near[f"{side}_elbow"] * 0.6 + near[f"{side}_wrist"] * 0.4, partial(arm, side)))
        parts.append((near[f"{side}_knee"], partial(leg, side)))
    for _, part in sorted(parts, key=lambda entry: entry[0]):
        part()


def scene(rng: np.random.Generator, size: int) -> Image.Image:
    """An empty room or landscape (size x size, RGB): wall and floor, gradient, blocks, furniture or hills."""
    wall = muted(rng, 0.25, (0.45, 0.95))
    picture = Image.new("RGB", (size, size), wall)
    draw = ImageDraw.Draw(picture)
    kind = rng.integers(5)
    horizon = size * rng.uniform(0.62, 0.84)
    if kind >= 1:
        low = np.array(shade(wall, rng.uniform(0.7, 1.2)))
        for row in range(0, size, 2):
            mix = np.array(wall) + (low - wall) * (row / size)
            draw.rectangle((0, row, size, row + 1), fill=(int(mix[0]), int(mix[1]), int(mix[2])))
    if kind == 2:
        for _ in range(rng.integers(3, 9)):
            x, y = rng.uniform(-0.1, 0.9) * size, rng.uniform(0, 0.8) * size
            w, h = rng.uniform(0.08, 0.4, 2) * size
            draw.rectangle((x, y, x + w, y + h), fill=muted(rng, 0.3, (0.4, 0.9)))
    if kind == 4:
        for _ in range(rng.integers(1, 4)):
            x, r = rng.uniform(0, 1) * size, rng.uniform(0.2, 0.6) * size
            draw.ellipse((x - r, horizon - r * 0.5, x + r, horizon + r), fill=muted(rng, 0.3, (0.4, 0.75)))
    floor = muted(rng, 0.3, (0.3, 0.8))
    draw.rectangle((0, horizon, size, size), fill=floor)
    if kind in (0, 3):
        draw.rectangle((0, horizon - size * 0.02, size, horizon), fill=shade(floor, 0.75))
    if kind == 3:
        for _ in range(rng.integers(2, 5)):
            _furniture(draw, rng, size, horizon)
    return picture


def _furniture(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: int, horizon: float) -> None:
    """One piece: a window or picture on the wall, a shelf, a table or a plant on the floor."""
    colour = muted(rng, 0.35, (0.25, 0.85))
    x, w, h = rng.uniform(-0.05, 0.9) * size, rng.uniform(0.12, 0.3) * size, rng.uniform(0.12, 0.32) * size
    match rng.integers(4):
        case 0:
            y = rng.uniform(0.06, 0.3) * size
            draw.rectangle((x, y, x + w, y + h), fill=shade(colour, 0.6))
            margin = 0.02 * size
            draw.rectangle((x + margin, y + margin, x + w - margin, y + h - margin), fill=shade(colour, 1.4))
            draw.line((x + w / 2, y, x + w / 2, y + h), fill=shade(colour, 0.6), width=max(1, size // 60))
        case 1:
            draw.rectangle((x, horizon - 2 * h, x + w, horizon), fill=colour)
            for i in range(1, 4):
                y = horizon - 2 * h + i * h / 2
                draw.line((x, y, x + w, y), fill=shade(colour, 0.7), width=max(1, size // 60))
        case 2:
            draw.rectangle((x, horizon - h * 0.6, x + 1.3 * w, horizon - h * 0.45), fill=colour)
            for leg in (0.05, 1.15):
                draw.rectangle(
                    (x + leg * w, horizon - h * 0.5, x + (leg + 0.1) * w, horizon + h * 0.1), fill=shade(colour, 0.8)
                )
        case _:
            draw.rectangle((x, horizon - 0.3 * h, x + 0.5 * w, horizon + 0.05 * h), fill=colour)
            green = muted(rng, 0.4, (0.3, 0.6))
            for dx, dy in rng.uniform(-0.35, 0.35, (4, 2)) * w:
                r = 0.3 * w
                cx, cy = x + 0.25 * w + dx, horizon - 0.55 * h + dy
                draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=shade(green, 1 + dy / size))


def occlude(picture: Image.Image, rng: np.random.Generator) -> None:
    """Something between camera and figure: a post, a ledge below or a blob at the side."""
    draw, size, colour = ImageDraw.Draw(picture), picture.width, muted(rng, 0.3, (0.2, 0.7))
    match rng.integers(3):
        case 0:
            x, w = rng.uniform(0.1, 0.85) * size, rng.uniform(0.04, 0.09) * size
            draw.rectangle((x, 0, x + w, size), fill=colour)
        case 1:
            draw.rectangle((0, size * (1 - rng.uniform(0.05, 0.16)), size, size), fill=colour)
        case _:
            r = rng.uniform(0.1, 0.2) * size
            x = rng.choice([rng.uniform(0, 0.25), rng.uniform(0.75, 1)]) * size
            y = rng.uniform(0.3, 1) * size
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def light(picture: Image.Image, gain: Array, noise: NDArray[np.int16] | None = None) -> NDArray[np.uint8]:
    """The picture (H, W, 3) as the sensor saw it: times `gain` (3,) or (H, W, 3), plus `noise` (H, W, 3)."""
    pixels = np.asarray(picture, dtype=np.float32) * gain.astype(np.float32)
    if noise is not None:
        pixels += noise
    return np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)
