"""A small film for tests of annotations: 8 seconds at 25 frames a second, the number of each frame written into it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clips import write_video

FPS, SECONDS = 25, 8
BITS, WIDE, HIGH = 8, 6, 32  # pixels of a stripe; a stripe for each binary digit of a frame's number


def write_film(path: Path, seconds: float = SECONDS) -> Path:
    """An H.264 file of 48x32 pixels; frame n shows n modulo 256 as black and white stripes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.arange(round(seconds * FPS))
    bits = (numbers[:, None] >> np.arange(BITS) & 1).repeat(WIDE, axis=1).astype(np.uint8) * 255
    return write_video(path, np.broadcast_to(bits[:, None, :, None], (len(numbers), HIGH, BITS * WIDE, 3)).copy())


def number_of(picture: np.ndarray) -> int:
    """The number that `write_film` wrote into a frame."""
    stripes = picture.mean((0, 2)).reshape(BITS, WIDE).mean(1) > 128
    return int((stripes << np.arange(BITS)).sum())
