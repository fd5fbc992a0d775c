"""Figures: a body in a pose, seen from a viewpoint, drawn into a picture.

    pose (angles) --joints--> 3-D joint positions --project--> image positions --draw_figure--> picture

Everything random comes from the generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from kshot.datasets.bodies import BODY, JOINTS, Points
from kshot.datasets.drawing import Colour, muted, shade

Spot = tuple[float, float]
"""A place in a picture, in pixels from its top left corner."""


@dataclass(frozen=True)
class Viewpoint:
    """Where the figure is seen from. Lengths are fractions of the picture's height.

    Attributes:
        yaw: degrees between the line of sight and the figure's front; 0 sees the face, 90 the left side.
        elevation: degrees above the horizon.
        roll: degrees of tilt, clockwise.
        scale: height of one body unit in the picture.
        x: where the figure's origin falls in the picture, from the left.
        ground: the same from the top.
    """

    yaw: float = 0.0
    elevation: float = 5.0
    roll: float = 0.0
    scale: float = 0.4
    x: float = 0.5
    ground: float = 0.9

    @classmethod
    def random(cls, rng: np.random.Generator, yaw: float = 0.0, spread: float = 1.0) -> Viewpoint:
        """A random viewpoint.

        Args:
            rng: what it is drawn from.
            yaw: degrees that it is near to.
            spread: widens every other range.
        """
        return cls(
            yaw=yaw + rng.uniform(-18, 18),
            elevation=rng.uniform(0, 14),
            roll=rng.normal(0, 2.5 * spread),
            scale=0.41 * np.exp(rng.uniform(-0.13, 0.10) * spread),
            x=0.5 + rng.uniform(-0.09, 0.09) * spread,
            ground=0.91 + rng.uniform(-0.05, 0.04) * spread,
        )


def project(points: Points, camera: Viewpoint) -> Points:
    """Image positions (..., J, 3) of body points (..., J, 3): x and y as fractions of the picture's height from its top
    left corner, and nearness (larger is closer to the camera, body units)."""
    yaw, elevation, roll = np.deg2rad([camera.yaw, camera.elevation, camera.roll])
    x = points[..., 0] * np.cos(yaw) + points[..., 2] * np.sin(yaw)
    near = points[..., 2] * np.cos(yaw) - points[..., 0] * np.sin(yaw)
    y = points[..., 1] * np.cos(elevation) - near * np.sin(elevation)
    across = x * np.cos(roll) + y * np.sin(roll)
    up = y * np.cos(roll) - x * np.sin(roll)
    return np.stack([camera.x + camera.scale * across, camera.ground - camera.scale * up, near], axis=-1)


@dataclass(frozen=True)
class Look:
    """How one performer looks.

    Attributes:
        body: lengths, named as in `BODY`.
        girth: how stout; 1 is average.
        skin: colour.
        hair: colour.
        shirt: colour.
        trousers: colour.
        shoes: colour.
        long_sleeves: whether the forearms are covered.
        long_trousers: whether the shins are covered.
    """

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


def _capsule(draw: ImageDraw.ImageDraw, a: Spot, b: Spot, r: float, s: float, fill: Colour) -> None:
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


def draw_figure(picture: Image.Image, points: Points, look: Look, camera: Viewpoint, turn: float = 0.0) -> None:
    """Draws one figure into an RGB picture, back to front, each part with a thin dark edge so that an arm before the
    chest stays visible.

    Args:
        picture: changed in place.
        points: (14, 3) from `project`.
        look: the performer.
        camera: the viewpoint that `points` were projected with.
        turn: the pose's `turn`, for the side on which the face is.
    """
    figure = _Figure(picture, points, look, camera, turn)
    near = figure.near
    parts: list[tuple[float, Callable[[], None]]] = [
        (near["neck"] / 2 + figure.middle / 2, figure.trunk),
        (near["head"] + 0.01, figure.head),
    ]
    for side in ("left", "right"):
        parts.append((near[f"{side}_elbow"] * 0.6 + near[f"{side}_wrist"] * 0.4, partial(figure.arm, side)))
        parts.append((near[f"{side}_knee"], partial(figure.leg, side)))
    for _, part in sorted(parts, key=lambda entry: entry[0]):
        part()


class _Figure:
    """The parts of one figure, each drawn by a method.

    Attributes:
        at: joint -> its spot.
        near: joint -> its nearness to the camera, in body units.
        middle: nearness of the hips.
    """

    def __init__(self, picture: Image.Image, points: Points, look: Look, camera: Viewpoint, turn: float) -> None:
        height = picture.height
        rows = points.tolist()
        facing = np.deg2rad(camera.yaw + turn)
        self.at = {name: (row[0] * height, row[1] * height) for name, row in zip(JOINTS, rows, strict=True)}
        self.near = {name: row[2] for name, row in zip(JOINTS, rows, strict=True)}
        self.middle = (self.near["left_hip"] + self.near["right_hip"]) / 2
        self._draw, self._look = ImageDraw.Draw(picture), look
        self._unit = camera.scale * height  # pixels a body unit
        self._girth = look.girth * self._unit
        self._edge = max(1.0, 0.02 * self._unit)
        self._ahead, self._towards = float(np.sin(facing)), float(np.cos(facing))

    def arm(self, side: str) -> None:
        """The left or right arm with its hand."""
        look, depth = self._look, self.near[f"{side}_elbow"]
        shoulder, elbow, wrist = (self.at[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
        sleeve, skin = self._lit(look.shirt, depth), self._lit(look.skin, depth)
        self._segment(elbow, wrist, 0.05, 0.042, sleeve if look.long_sleeves else skin)
        self._segment(shoulder, elbow, 0.066, 0.055, sleeve)
        self._ball(wrist, 0.058 * self._girth, skin)

    def leg(self, side: str) -> None:
        """The left or right leg with its foot."""
        look, depth = self._look, self.near[f"{side}_knee"]
        hip, knee, ankle = (self.at[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
        cloth, skin, shoe = (self._lit(colour, depth) for colour in (look.trousers, look.skin, look.shoes))
        self._segment(ankle, self._toe(knee, ankle), 0.055, 0.05, shoe)
        self._segment(knee, ankle, 0.07, 0.052, cloth if look.long_trousers else skin)
        self._segment(hip, knee, 0.095, 0.075, cloth)

    def _toe(self, knee: Spot, ankle: Spot) -> Spot:
        """The toe points where the body faces, square to the shin: flat on the ground when standing."""
        unit, ahead = self._unit, self._ahead
        shin = (ankle[0] - knee[0], ankle[1] - knee[1])
        size = max(1e-6, (shin[0] ** 2 + shin[1] ** 2) ** 0.5)
        flat = max(0.0, shin[1] / size)
        return (
            ankle[0] + unit * 0.13 * ahead * flat,
            ankle[1] - unit * 0.13 * ahead * shin[0] / size + 0.03 * unit * flat,
        )

    def trunk(self) -> None:
        """Shirt and hips."""
        at, look = self.at, self._look
        corners = [at["left_shoulder"], at["right_shoulder"], at["right_hip"], at["left_hip"]]
        for grow, colour in ((self._edge, shade(look.shirt, 0.45)), (0.0, look.shirt)):
            radius = 0.075 * self._girth + grow
            for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
                _capsule(self._draw, a, b, radius, radius, colour)
            self._draw.polygon(corners, fill=colour)
        hips = 0.085 * self._girth
        _capsule(self._draw, at["left_hip"], at["right_hip"], hips, hips, look.trousers)

    def head(self) -> None:
        """Neck, hair, and the face where it is turned to the camera."""
        look, ((nx, ny), (hx, hy)) = self._look, (self.at["neck"], self.at["head"])
        radius = look.body["head"] * self._unit * 0.92
        size = max(1e-6, ((hx - nx) ** 2 + (hy - ny) ** 2) ** 0.5)
        up = ((hx - nx) / size, (hy - ny) / size)
        neck = 0.05 * self._girth
        _capsule(self._draw, (nx, ny), (hx, hy), neck, neck, shade(look.skin, 0.8))

        def spot(forward: float, upward: float) -> Spot:
            dx = forward * self._ahead * -up[1] + upward * up[0]
            dy = forward * self._ahead * up[0] + upward * up[1]
            return hx + radius * dx, hy + radius * dy

        self._ball((hx, hy), radius + self._edge, shade(look.hair, 0.6))
        self._ball(spot(-0.34, 0.22), radius, look.hair)
        if self._towards > -0.3:
            self._ball(spot(0.16, -0.12), radius * 0.84, look.skin)

    def _lit(self, colour: Colour, depth: float) -> Colour:
        """Nearer parts are lighter."""
        return shade(colour, 1.0 + max(-0.3, min(0.12, 0.7 * (depth - self.middle))))

    def _segment(self, a: Spot, b: Spot, r: float, s: float, colour: Colour) -> None:
        """A limb with its edge; radii in girths."""
        girth, edge = self._girth, self._edge
        _capsule(self._draw, a, b, r * girth + edge, s * girth + edge, shade(colour, 0.45))
        _capsule(self._draw, a, b, r * girth, s * girth, colour)

    def _ball(self, spot: Spot, radius: float, colour: Colour) -> None:
        _capsule(self._draw, spot, spot, radius, radius, colour)
