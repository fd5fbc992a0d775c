"""What the page is sent for each camera frame. Apart from the camera, which imports the recognizer and so PyTorch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CameraAnswer:
    """What has become certain with a frame.

    Attributes:
        ready: share of the first window that has been seen, up to 1.
        times: seconds of the middles of the windows that are certain now; None where none is, as for the others.
        proba: for each of them the probability of each class.
        labels: of each of them.
    """

    ready: float
    times: list[float] | None = None
    proba: list[list[float]] | None = None
    labels: list[str] | None = None
