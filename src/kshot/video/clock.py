"""What is known of a clip before any frame is decoded: how many frames, and when each appears."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np


@dataclass(frozen=True)
class Clock:
    """When the frames of a clip appear.

    Attributes:
        count: how many there are.
        times: (count + 1,) ascending numbers, when each appears and when the last one ends (it lasts as long as a frame
            on average), in units of `base`; None for a constant rate, where a frame's number says it.
        base: seconds a unit.
    """

    count: int
    times: np.ndarray | None = None
    base: float = 1.0


@dataclass(frozen=True)
class Scan:
    """What is known of a clip before any frame is decoded.

    Attributes:
        frames: number of frames, counted in packets (or image files).
        exact: one frame per packet with timestamps that order them; otherwise the true count may differ a little.
        pts: int64 (frames,), presentation times in ascending order, in units of `time_base`.
        keyframes: int64, presentation indices of the frames where decoding can start.
        time_base: seconds per unit of `pts`.
        width: as coded, before a rotation tag is applied.
        height: as coded, before a rotation tag is applied.
        seconds: from the start of the first frame to the end of the last.
        length: of a frame at the file's mean rate, in units of `time_base`.
    """

    frames: int
    exact: bool
    pts: np.ndarray
    keyframes: np.ndarray
    time_base: Fraction
    width: int
    height: int
    seconds: float
    length: int = 1

    @property
    def fps(self) -> float:
        """Mean frames per second."""
        return self.frames / self.seconds

    @property
    def times(self) -> np.ndarray:
        """Seconds (frames,) of each frame from the first one."""
        seconds: np.ndarray = (self.pts - self.pts[:1]) * float(self.time_base)
        return seconds

    @property
    def clock(self) -> Clock:
        """When each frame appears, for the choice of some of them."""
        return clock(self.pts, self.length, self.time_base)


def clock(pts: np.ndarray, length: int, base: Fraction) -> Clock:
    """The clock of frames that appear at ascending times.

    A constant rate is one where no frame stands a whole interval from its place among equal ones, and no interval is
    longer than two: containers round times, cameras drop a frame, and every sixth time of a J-HMDB clip has none.

    Args:
        pts: int64 (frames,), ascending, at least one.
        length: of the last frame, in the same unit.
        base: seconds a unit.
    """
    count, steps = len(pts), np.diff(pts)
    places = pts - pts[0]
    mean = float(places[-1]) / max(1, count - 1)
    drift = np.abs(places - mean * np.arange(count)).max()
    if count < 2 or (drift < mean and steps.max() <= 2 * steps.min() + 1):
        return Clock(count)
    return Clock(count, np.append(places, places[-1] + max(1, length)), float(base))
