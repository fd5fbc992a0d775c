"""Which frames of a clip, then only those: packet scan, choice, decoding, preprocessing.

A clip is a video file, a folder of JPEG/PNG frames, or a part of one. Index i is its i-th frame in the order of
presentation; frames are chosen by the time at which they are on show. Packets are read once (a header's count is often
wrong), and only what lies between a keyframe and a wanted frame is decoded; all of it where times cannot be trusted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from kshot.errors import OptionError, VideoError, unknown
from kshot.excerpts import ClipName
from kshot.video import container
from kshot.video.clock import Clock, Scan
from kshot.video.container import MAX_PIXELS, Pick, too_long
from kshot.video.damage import Damage
from kshot.video.fields import seen
from kshot.video.opening import in_one_line, opened


@dataclass(frozen=True)
class Framing:
    """How a frame becomes the square that a backbone sees; the same for every frame of a clip, but for `places`.

    Attributes:
        squash: resize both sides to one length, whatever the frame's shape; otherwise the short side alone.
        margin: that length over the side of the square that is cut out.
        place: (x, y) in [0, 1) of the square among the places it could take; None for the centre.
        places: the same for each frame of a clip; none where they share one.
        flip: mirror left and right.
        bilinear: resize by the bilinear filter in place of the bicubic one, both with antialiasing.
        down: round that length down in place of to the nearest.
        deinterlace: take the fields of interlaced video apart before.
    """

    squash: bool = False
    margin: float = 1.0
    place: tuple[float, float] | None = None
    places: tuple[tuple[float, float], ...] = ()
    flip: bool = False
    bilinear: bool = False
    down: bool = False
    deinterlace: bool = False

    def length(self, size: int) -> int:
        """Pixels that the short side, or both, become for a square of `size`."""
        return int(size * self.margin) if self.down else round(size * self.margin)


INSTANT = 1e-6
"""Seconds that count as no time at all: a frame that appears at a moment is on show at it."""

FRAMINGS = {  # the field resizes to 256 and crops 224; other backbones keep that ratio
    "short": Framing(),
    "short-256": Framing(margin=256 / 224),
    "squash-256": Framing(squash=True, margin=256 / 224),
    "squash-257": Framing(squash=True, margin=1.15, down=True, bilinear=True),
    "squash": Framing(squash=True),
    "squash-bilinear": Framing(squash=True, bilinear=True),
    "short-bilinear": Framing(bilinear=True),
    "short-256-bilinear": Framing(margin=256 / 224, bilinear=True, down=True),
}


def scan(path: ClipName) -> Scan:
    """Count and time the frames of a clip without decoding any of them.

    Raises:
        VideoError: the file is missing, no known video, empty, or beyond a limit.
    """
    with in_one_line(path), closing(opened(path)) as clip:
        return clip.scan()


def choose(count: int, frames: int, mode: str = "middle", rng: np.random.Generator | None = None) -> np.ndarray:
    """Indices (frames,) int64, ascending: one from each of `frames` equal segments of 0..count-1.

    "middle" takes the middle of each segment (testing), "random" a uniform place in it drawn from `rng`
    (training): the sampling of Wang et al., Temporal Segment Networks, ECCV 2016. A clip with fewer frames than
    segments gives some of its frames more than once.

    Args:
        count: frames that there are.
        frames: how many to take.
        mode: "middle" or "random".
        rng: what "random" draws from.

    Raises:
        OptionError: fewer than 1 frame to take, an unknown mode, or "random" without a generator.
        VideoError: there are no frames.

    >>> choose(300, 8).tolist()
    [18, 56, 93, 131, 168, 206, 243, 281]
    >>> choose(3, 8).tolist()
    [0, 0, 0, 1, 1, 2, 2, 2]
    """
    return _segments(count, _places(frames, mode, rng))


@dataclass(frozen=True)
class Taken:
    """Frames of a clip.

    Attributes:
        frames: uint8 RGB (frames, height, width, 3).
        damage: what is lost of the clip; None for nothing.
        looks: what is unusual about its pictures, see `kshot.video.looks`; empty for an ordinary clip.
    """

    frames: np.ndarray
    damage: Damage | None = None
    looks: tuple[str, ...] = ()


def take(
    path: ClipName,
    frames: int = 8,
    mode: str = "middle",
    rng: np.random.Generator | None = None,
    size: int | None = None,
    framing: Framing = FRAMINGS["short"],
    allow_damaged: bool = False,
) -> Taken:
    """Choose and decode `frames` frames of a clip, upright: one from each of as many equal stretches of its time.

    Args:
        path: a video file, a folder of frames, or a part of one, see `kshot.excerpts`.
        frames: how many.
        mode: "middle" or "random", see `choose`.
        rng: what "random" draws from.
        size: side of the preprocessed frames, see `preprocess`; None for frames as they are.
        framing: how they are made square.
        allow_damaged: whether a clip counts of which a decoder error or more than a tenth is lost; see `damage`.

    Raises:
        VideoError: the clip cannot be read, with the reason.
    """
    places = _places(frames, mode, rng)
    return _collect(path, lambda clock: _moments(clock, places), size, framing, allow_damaged)


def read(
    path: ClipName,
    frames: int = 8,
    mode: str = "middle",
    rng: np.random.Generator | None = None,
    size: int | None = None,
    framing: Framing = FRAMINGS["short"],
    allow_damaged: bool = False,
) -> np.ndarray:
    """The frames alone that `take` gives: uint8 RGB (frames, height, width, 3).

    Args:
        path: as for `take`, and so are all others.
        frames: see there.
        mode: see there.
        rng: see there.
        size: see there.
        framing: see there.
        allow_damaged: see there.

    Raises:
        VideoError: the clip cannot be read, with the reason.
    """
    return take(path, frames, mode, rng, size, framing, allow_damaged).frames


def frames_at(path: ClipName, indices: Sequence[int] | np.ndarray, size: int | None = None) -> np.ndarray:
    """The frames with the given indices: uint8 RGB (n, height, width, 3), in the given order.

    Args:
        path: a video file or a folder of frames.
        indices: (n,) of frames in the order of presentation, from 0.
        size: side of the preprocessed frames, see `preprocess`; None for frames as they are.

    Raises:
        OptionError: no list of indices.
        VideoError: the clip cannot be read or has no frame of that index.
    """
    wanted = np.asarray(indices, dtype=np.int64)
    if wanted.ndim != 1 or wanted.size == 0:
        raise OptionError(f"expected a list of frame indices, found an array of shape {wanted.shape}")

    def pick(clock: Clock) -> np.ndarray:
        count = clock.count
        if wanted.min() < 0 or wanted.max() >= count:
            raise VideoError(f"expected frame indices from 0 to {count - 1}, found {_outside(wanted, count)}")
        return wanted

    return _collect(path, pick, size, allow_damaged=True).frames


def iterate(path: ClipName, step: int = 1, size: int | None = None) -> Iterator[tuple[float, np.ndarray]]:
    """Every `step`-th frame as (seconds from the first frame, uint8 RGB (height, width, 3)).

    Each is decoded once and none is kept, whatever the file's length. A damaged tail ends the iteration.

    Args:
        path: a video file or a folder of frames.
        step: at least 1.
        size: side of the preprocessed frames, see `preprocess`; None for frames as they are.

    Raises:
        OptionError: a step below 1.
        VideoError: not a single frame can be read.
    """
    if step < 1:
        raise OptionError(f"expected a step of at least 1 frame, found {step}")
    with in_one_line(path), closing(opened(path)) as clip:
        index = -1
        for index, (seconds, frame) in enumerate(clip.stream()):
            if index >= container.MAX_FRAMES:
                raise VideoError(too_long())
            if index % step == 0:
                image = clip.image(frame)
                yield seconds, image if size is None else preprocess(image[None], size)[0]
        if index < 0:
            raise VideoError(clip.failure or "no frame could be decoded")


def preprocess(frames: np.ndarray, size: int, framing: Framing = FRAMINGS["short"]) -> np.ndarray:
    """A square of each frame, (T, H, W, 3) -> (T, size, size, 3), uint8 in and out, resized by PIL's filter.

    By default CLIP's own: short side to `size`, centre crop, bit for bit what the PIL image processor of CLIP in
    transformers does before it rescales and normalises. PIL resizes a wide image along x, rounds to 8 bits, then along
    y: the columns outside the crop can be dropped between the two passes without changing a bit.

    Args:
        frames: uint8 (T, H, W, 3).
        size: side of the square, in pixels.
        framing: how a frame becomes square.

    Raises:
        VideoError: the frames are too narrow for that.
    """
    height, width = frames.shape[1:3]
    side = framing.length(size)
    long = side if framing.squash else int(side * max(height, width) / min(height, width))
    if side * long > MAX_PIXELS:
        raise VideoError(f"a frame of {width}x{height} is too narrow to be cropped to a square")
    new_width, new_height = (side, long) if width <= height else (long, side)
    left, top = _corner(new_width - size, new_height - size, framing.place)
    out = np.empty((len(frames), size, size, 3), dtype=np.uint8)
    by = Image.Resampling.BILINEAR if framing.bilinear else Image.Resampling.BICUBIC
    for row, frame in zip(out, frames, strict=True):
        image = Image.fromarray(frame)
        if width > height:
            image = image.resize((new_width, height), by)
            image = image.crop((left, 0, left + size, height)).resize((size, new_height), by)
        else:
            image = image.resize((new_width, new_height), by)
            image = image.crop((left, 0, left + size, new_height))
        row[:] = np.asarray(image)[top : top + size, :: -1 if framing.flip else 1]
    return out


def _corner(right: int, down: int, place: tuple[float, float] | None) -> tuple[int, int]:
    """Left and top of a square that may lie anywhere from (0, 0) to (right, down)."""
    if place is None:
        return right // 2, down // 2
    return int(place[0] * (right + 1)), int(place[1] * (down + 1))


def _places(frames: int, mode: str, rng: np.random.Generator | None) -> np.ndarray:
    """Where in its segment each frame is taken, in [0, 1): drawn once, so that a recount needs no new draw."""
    if frames < 1:
        raise OptionError(f"expected at least 1 frame a clip, found {frames}")
    if mode == "middle":
        return np.full(frames, 0.5)
    if mode != "random":
        raise unknown("frame choice", mode, ["middle", "random"])
    if rng is None:
        raise OptionError("random frames need a generator: pass rng=numpy.random.default_rng(seed)")
    return rng.random(frames)


def _segments(count: int, places: np.ndarray) -> np.ndarray:
    """Turn places in equal segments into indices 0..count-1."""
    if count < 1:
        raise VideoError("no frame could be decoded")
    indices: np.ndarray = ((np.arange(len(places)) + places) * count / len(places)).astype(np.int64)
    return indices.clip(max=count - 1)


def _moments(clock: Clock, places: np.ndarray) -> np.ndarray:
    """Indices of the frames on show at places in equal stretches of time; at a constant rate those of `_segments`."""
    if clock.times is None:
        return _segments(clock.count, places)
    moments = (np.arange(len(places)) + places) * (float(clock.times[-1]) / len(places))
    shown = np.searchsorted(clock.times[:-1], moments + INSTANT / clock.base, side="right") - 1
    return np.asarray(shown, dtype=np.int64)


def _collect(
    path: ClipName,
    pick: Pick,
    size: int | None,
    framing: Framing = FRAMINGS["short"],
    allow_damaged: bool = False,
) -> Taken:
    """Decode the picked frames of a clip, as it is or preprocessed."""
    with in_one_line(path), closing(seen(path, framing.deinterlace)) as clip:
        indices, found = clip.frames(pick)
        damage = clip.damage()
        if damage and damage.unreadable and not allow_damaged:
            raise VideoError(f"{damage} (--allow-damaged, or allow_damaged=True, takes what is left)")
        images: dict[int, np.ndarray] = {}
        for index in sorted(found):
            image = clip.image(found.pop(index))
            for row in np.flatnonzero(indices == index).tolist():  # a short clip shows a frame more than once
                own = replace(framing, place=framing.places[row], places=()) if framing.places else framing
                images[row] = image if size is None else preprocess(image[None], size, own)[0]
        return Taken(np.stack([images[row] for row in range(len(indices))]), damage, clip.looks())


def _outside(wanted: np.ndarray, count: int) -> str:
    return ", ".join(str(index) for index in wanted[(wanted < 0) | (wanted >= count)][:5])
