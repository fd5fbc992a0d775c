"""Video: which frames of a clip, and only those, decoded and cropped to squares."""

from kshot.video.frames import (
    FRAMINGS,
    Framing,
    Taken,
    choose,
    frames_at,
    iterate,
    preprocess,
    read,
    scan,
    take,
)
from kshot.video.samples import Grid, Samples

__all__ = [
    "FRAMINGS",
    "Framing",
    "Grid",
    "Samples",
    "Taken",
    "choose",
    "frames_at",
    "iterate",
    "preprocess",
    "read",
    "scan",
    "take",
]
