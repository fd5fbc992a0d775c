"""Drawn scenes: colours, rooms and landscapes, what stands before the camera, and light.

Everything random comes from the generator that is passed in.
"""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


def muted(rng: np.random.Generator, saturation: float = 0.35, light: tuple[float, float] = (0.3, 0.85)) -> Colour:
    """A random colour, none too bright.

    Args:
        rng: what it is drawn from.
        saturation: at most, 0 to 1.
        light: least and most value of the brightest channel, 0 to 1.
    """
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.05, saturation), rng.uniform(*light))
    return int(red * 255), int(green * 255), int(blue * 255)


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made lighter (> 1) or darker (< 1)."""
    red, green, blue = (min(255, max(0, int(channel * factor))) for channel in colour)
    return red, green, blue


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


def light(picture: Image.Image, gain: NDArray[np.float64], noise: NDArray[np.int16] | None = None) -> NDArray[np.uint8]:
    """The picture (H, W, 3) uint8 as the sensor saw it.

    Args:
        picture: RGB.
        gain: (3,) or (H, W, 3), what each pixel is multiplied with.
        noise: (H, W, 3), what is added after that; None for nothing.
    """
    pixels = np.asarray(picture, dtype=np.float32) * gain.astype(np.float32)
    if noise is not None:
        pixels += noise
    return np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)
