"""What speaks against a video as a clip of an action, so that a person is asked before it becomes one."""

from __future__ import annotations

import numpy as np

LONG = 60.0  # seconds: an action of a clip takes some of them, and of an hour a model sees as many frames
PLAIN = 3.0  # grey levels of spread within a frame, up to which it is one plain colour
STILL = 8  # grey levels by which no pixel changes where nothing moves; compression alone makes some


def doubt(seconds: float, count: int, frames: np.ndarray) -> str:
    """Why a video is an odd clip, as the second half of a sentence that begins with its name; "" for nothing.

    Args:
        seconds: how long it is.
        count: frames that it has.
        frames: (T, S, S, 3) uint8, those that a model is given.
    """
    grey = frames.mean(-1)
    if seconds > LONG:
        return (
            f"lasts {_length(seconds)}: a clip shows one action for some seconds, and of this one the model sees "
            f"{len(frames)} frames, {_length(seconds / len(frames))} apart"
        )
    if count == 1:
        return "is a single picture: no action can be seen in it"
    if float(grey.std((1, 2)).max()) < PLAIN:
        return "shows one plain colour from beginning to end"
    if float(np.ptp(grey, axis=0).max()) < STILL:
        return "does not move: all its frames are alike"
    return ""


def _length(seconds: float) -> str:
    """Seconds in words: "5 s", "1:02 min", "1:02:10 h"."""
    minutes, left = divmod(round(seconds), 60)
    if not minutes:
        return f"{left} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02} h" if hours else f"{minutes}:{left:02} min"
