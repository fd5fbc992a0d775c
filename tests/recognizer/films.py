"""Clips as arrays that a random CLIP can tell apart: each action has colours of its own that drift in time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COLOURS = {"clap": (220, 40, 40), "jump": (40, 200, 60), "wave": (50, 60, 220), "bow": (200, 200, 40)}


def film(action: str, number: int, frames: int = 10, size: int = 40, noise: float = 40) -> NDArray[np.uint8]:
    """(frames, size, size, 3) of an action; the same number, the same clip."""
    rng = np.random.default_rng((list(COLOURS).index(action), number))
    base = np.array(COLOURS[action]) * np.linspace(0.6, 1, frames)[:, None, None, None]
    blot = rng.normal(0, noise, (1, 4, 4, 3)).repeat(size // 4, 1).repeat(size // 4, 2)
    return (base + blot + rng.normal(0, noise / 4, (frames, size, size, 3))).clip(0, 255).astype(np.uint8)


def films(actions: str = "clap jump wave", each: int = 4, first: int = 0) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """`each` clips of every action, and their labels."""
    labels = [action for action in actions.split() for _ in range(each)]
    return [film(action, first + n % each) for n, action in enumerate(labels)], labels


def write(folder: Path, clips: list[NDArray[np.uint8]]) -> list[Path]:
    """Frame folders of the clips, as lossless as PNG is."""
    from PIL import Image

    paths = []
    for number, clip in enumerate(clips):
        paths.append(folder / f"{number:02d}")
        paths[-1].mkdir(parents=True)
        for at, frame in enumerate(clip):
            Image.fromarray(frame).save(paths[-1] / f"{at:03d}.png")
    return paths
