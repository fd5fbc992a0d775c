"""A small film for tests of annotations: 8 seconds at 25 frames a second, each of them a shade of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clips import write_video

FPS, SECONDS = 25, 8


def write_film(path: Path, seconds: float = SECONDS) -> Path:
    """An H.264 file whose frame number can be read from its shade: 16 + number, modulo 200."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = round(seconds * FPS)
    shades = (16 + np.arange(count) % 200).astype(np.uint8)
    return write_video(path, np.broadcast_to(shades[:, None, None, None], (count, 32, 48, 3)).copy())


def number_of(picture: np.ndarray) -> int:
    """The number that `write_film` wrote into a frame, modulo 200."""
    return round(float(picture.mean())) - 16
