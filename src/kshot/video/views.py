"""Views: augmentation for activations that are stored. View 0 of a clip is what tests see; others are drawn.

A view is a pure function of its number and the clip's bytes, so it is stored once, like everything else, and the same
in every run. Which view a visit sees is drawn in `Activations.gather`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kshot import names
from kshot.draws import key
from kshot.errors import OptionError, unknown
from kshot.video import FRAMINGS, Framing

AUGMENT = ("time", "crop", "crops", "flip")
"""What a view may change: random frames within the segments, a random square, one for each frame, left and right."""

SIDES = frozenset(
    {"left", "leftward", "leftwards", "right", "rightward", "rightwards"}
    | {"clockwise", "anticlockwise", "counterclockwise"}
)
"""Words that a mirror makes false. Up and down stay what they are."""


def parse(augment: str | Sequence[str]) -> tuple[str, ...]:
    """The names in "time,crop" or a sequence of them, in the order of `AUGMENT`.

    Raises:
        OptionError: another name, or none.
    """
    names = [name.strip() for name in augment.split(",")] if isinstance(augment, str) else list(augment)
    for name in names:
        if name not in AUGMENT:
            raise unknown("augmentation", name, AUGMENT)
    if not names:
        raise OptionError(f"views need an augmentation: expected some of {', '.join(AUGMENT)}, found none")
    if "crop" in names and "crops" in names:
        raise OptionError("augment: crop is one random square a clip, crops one a frame: take one of them")
    return tuple(name for name in AUGMENT if name in names)


def has_side(label: str) -> bool:
    """Whether a class is named after a direction that a mirror turns round.

    Examples:
        >>> [name for name in ("Turning the camera left", "swipeRight", "moving up", "copyright") if has_side(name)]
        ['Turning the camera left', 'swipeRight']
    """
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", label)
    return any(word.lower() in SIDES for word in words)


def never_flipped(classes: Sequence[str], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The classes that no view mirrors.

    Args:
        classes: of the data set.
        wanted: names of some of them; None for those with a side in their name.

    Raises:
        OptionError: no such class.
    """
    if wanted is None:
        return tuple(name for name in classes if has_side(name))
    tidied = [names.tidy(name) for name in wanted]
    for name in tidied:
        if name not in classes:
            raise unknown("class", name, classes)
    return tuple(name for name in classes if name in tidied)


def framing(resize: str, augment: Sequence[str] = (), view: int = 0, clip: int = 0, frames: int = 1) -> Framing:
    """How the frames of a clip become squares in one of its views.

    A random square needs room, so where the whole short side would be taken it is cut from one of 256/224.

    Args:
        resize: one of `FRAMINGS`.
        augment: names from `AUGMENT`.
        view: its number; nothing is random in view 0.
        clip: a number from its bytes.
        frames: that it has, for a square of each.

    Raises:
        OptionError: unknown resize.
    """
    if resize not in FRAMINGS:
        raise unknown("resize", resize, FRAMINGS)
    base = FRAMINGS[resize]
    if view == 0:
        return base
    x, y, side = (float(value) / 2**64 for value in key(17, view, clip, np.arange(3)))
    if "crop" in augment or "crops" in augment:
        base = replace(base, margin=max(base.margin, FRAMINGS["short-256"].margin), place=(x, y))
    if "crops" in augment:
        drawn = key(19, view, clip, np.arange(2 * frames)) / 2**64
        base = replace(base, place=None, places=tuple(zip(drawn[::2].tolist(), drawn[1::2].tolist(), strict=True)))
    return replace(base, flip=side < 0.5) if "flip" in augment else base


def describe(resize: str, augment: Sequence[str] = ()) -> str:
    """`framing` in words, part of a store's key."""
    base = framing(resize, augment, view=1)
    share = {1.0: "size", 1.15: "1.15 of size"}.get(base.margin, "256/224 of size")
    length = share + (", rounded down" if base.down else "")
    sides = "both sides" if base.squash else "short side"
    drawn = "random crop of each frame" if "crops" in augment else "random crop"
    place = drawn if "crop" in augment or "crops" in augment else "centre crop"
    mirrored = ", mirrored at random" if "flip" in augment else ""
    return f"{sides} to {length} (PIL {'bilinear' if base.bilinear else 'bicubic'}), {place}{mirrored}"
