"""A recognizer that needs no network: the colour of a frame is its state, and its label."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from kshot.recognizer.classifier import UNKNOWN, Decision
from kshot.recognizer.report import Odds
from kshot.video import FRAMINGS

SIZE = 8


class Colours:
    """Red, green and blue frames; anything dark is unknown. Counts its queries."""

    frames = frames_ = 4
    unit = 1
    classes_ = np.array(["red", "green", "blue"])
    clip_seconds_ = 2.0
    action_seconds: ClassVar[dict[str, float]] = {"red": 2.0, "green": 2.0, "blue": 2.0}
    threshold_ = 0.3
    odds: Odds | None = None
    size = SIZE
    framing = FRAMINGS["short"]

    def __init__(self) -> None:
        self.learner_ = SimpleNamespace(backbone=SimpleNamespace(size=SIZE))
        self.encoded: list[np.ndarray] = []
        self.windows = 0

    def states(self, frames: np.ndarray) -> np.ndarray:
        assert frames.dtype == np.uint8 and frames.shape[1:] == (SIZE, SIZE, 3)
        self.encoded.extend(frames)
        return frames.reshape(len(frames), -1, 3).mean(1) / 255

    def decide(self, states: np.ndarray) -> Decision:
        self.windows += len(states)
        assert states.shape[1:] == (self.frames, 3)
        mean = states.mean(1)
        known = mean.max(-1)
        proba = np.exp(8 * mean) / np.exp(8 * mean).sum(-1, keepdims=True)
        labels = np.where(known >= self.threshold_, self.classes_[proba.argmax(-1)], UNKNOWN)
        return Decision(proba, known, labels)


RED, GREEN, BLUE, DARK = np.eye(4, 3, dtype=np.uint8) * 255


def paint(*parts: tuple[np.ndarray, int], side: int = SIZE) -> np.ndarray:
    """Frames (T, side, side, 3): so many of each colour."""
    return np.concatenate([np.broadcast_to(colour, (count, side, side, 3)) for colour, count in parts])
