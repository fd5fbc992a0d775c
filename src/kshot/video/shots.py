"""Where shots begin in a video, to the frame, found while its frames come.

At a hard cut a picture differs from the one before as none of those around it does. All but two of the changes of half
a second before and after are compared with: another cut may be near, and where a film shows each of its pictures for
several frames most changes are none. Fades and dissolves are not found.

The constants were chosen on films of base classes of `motion` and on clips of J-HMDB put one after the other:
`python benchmarks/shots.py`.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from PIL import Image

SIDE = 32  # pixels of the grey squares that are compared
NEAR = 12  # changes before and after
OTHERS = 2  # of them that may be as large
SHOT = 1.5  # times the largest of the rest that a change begins a shot
STILL = 1.0  # grey levels that are added to that: pictures at rest change by noise


class Shots:
    """Takes the frames of a video one by one.

    Attributes:
        begins: seconds at which shots begin, ascending, but for the first; known `NEAR` frames later.
    """

    def __init__(self) -> None:
        self.begins: list[float] = []
        self._told = 0
        self._before: np.ndarray | None = None
        self._changes: deque[tuple[float, float]] = deque(maxlen=2 * NEAR + 1)  # seconds, grey levels

    def add(self, seconds: float, grey: np.ndarray) -> None:
        """Takes the next frame as a picture of grey levels (SIDE, SIDE) uint8, and when it appears."""
        small = grey.astype(np.int16)
        if self._before is not None:
            self._changes.append((seconds, int(np.abs(small - self._before).sum()) / small.size))
            if len(self._changes) > NEAR:
                self._judge(len(self._changes) - 1 - NEAR)
        self._before = small

    def end(self) -> None:
        """No more frames come."""
        for place in range(max(0, len(self._changes) - NEAR), len(self._changes)):
            self._judge(place)
        self._changes.clear()

    def fresh(self) -> list[float]:
        """Those of `begins` that were not asked for yet."""
        new, self._told = self.begins[self._told :], len(self.begins)
        return new

    def _judge(self, place: int) -> None:
        seconds, change = self._changes[place]
        if change < SHOT * STILL:
            return
        around = sorted(other for at, (_, other) in enumerate(self._changes) if 0 < abs(at - place) <= NEAR)
        if len(around) > OTHERS and change >= SHOT * (around[-1 - OTHERS] + STILL):
            self.begins.append(seconds)


def grey(image: Image.Image) -> np.ndarray:
    """A picture as `Shots` takes it; frames of a file are made so by `kshot.video.container.File.grey`."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))
