"""Clips as small pictures, the frames that a model is given side by side: of each class, of what is mixed up, and
single clips that the best method is most reliably right or wrong about."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from kshot import datasets, settings, video
from kshot.errors import DataError, KshotError, VideoError
from kshot.excerpts import Clip, clip_of, file_of
from kshot.fewshot.result import ClipScore
from kshot.report.comparison import Comparison

SIDE = 96  # pixels of a frame
FRAMES = 8  # a strip, at most
CLASSES = 12  # shown, at most: half of them the best known, half the least known
PAIRS = 3  # of classes that are mixed up
SINGLE = 4  # clips that are mostly right, and as many that are mostly wrong
TRIES = 5  # clips of a class that are tried until one can be read


@dataclass(frozen=True)
class Strip:
    """A clip of a class.

    Attributes:
        label: its class.
        file: the name of its file or folder.
        jpeg: its frames side by side.
    """

    label: str
    file: str
    jpeg: bytes


@dataclass(frozen=True)
class Mixed:
    """Two classes that are mixed up.

    Attributes:
        one: a clip of a class.
        other: a clip of the other class.
        there: percent of queries of `one` taken for `other`, in episodes that hold both.
        back: percent of queries of `other` taken for `one`.
    """

    one: Strip
    other: Strip
    there: float
    back: float


@dataclass(frozen=True)
class Single:
    """A clip by itself.

    Attributes:
        strip: its frames.
        queries: how often it was one.
        right: how often it was recognised.
        other: the class that it was taken for most; "" for none.
        taken: how often it was taken for that class.
    """

    strip: Strip
    queries: int
    right: int
    other: str
    taken: int


@dataclass(frozen=True)
class Reel:
    """The strips of a comparison.

    Attributes:
        known: a clip of each class, with percent right by the best method, the best known class first.
        mixed: pairs of classes that are mixed up, those that are most first.
        some: whether more classes than these were evaluated.
        notes: what could not be shown, and why.
        successes: clips that the best method is most reliably right about, one of a class; none for older results.
        failures: clips that it is most reliably wrong about.
    """

    known: list[tuple[Strip, float]]
    mixed: list[Mixed]
    some: bool
    notes: list[str]
    successes: list[Single] = field(default_factory=list)
    failures: list[Single] = field(default_factory=list)


def reel(comparison: Comparison) -> Reel:
    """Decodes a few clips of the data set that the comparison names. Without them, only a note comes back."""
    best = comparison.best()
    if best is None:
        return Reel([], [], False, [])
    known = comparison.per_class(best)
    try:
        clips = _clips(comparison.data, comparison.settings.split)
    except KshotError as error:
        return Reel([], [], False, [f"No filmstrips of {comparison.data}: {error}"])
    notes: dict[str, str] = {}

    def strip(label: str, start: int) -> Strip | None:
        paths = clips.get(label, [])
        try:
            return _first_readable(label, paths[start:] or paths, comparison.settings.frames or settings.FRAMES)
        except KshotError as error:
            notes[label] = f"No filmstrip of {label}: {error}"
            return None

    order = sorted(known, key=lambda label: -known[label])
    some = len(order) > CLASSES
    chosen = order[: CLASSES // 2] + order[-CLASSES // 2 :] if some else order
    shown = [(found, known[label]) for label in chosen if (found := strip(label, 0))]
    mixed = []
    for one, other, there, back in _pairs(comparison, best):
        strips = strip(one, 1), strip(other, 1)
        if strips[0] and strips[1]:
            mixed.append(Mixed(strips[0], strips[1], there, back))
    records, frames = comparison.per_clip(best), comparison.settings.frames or settings.FRAMES
    successes = _singles(sorted(records, key=lambda one: -_reliably(one.right, one.queries)), clips, frames)
    wrong = [one for one in records if 2 * one.right < one.queries]
    failures = _singles(sorted(wrong, key=lambda one: -_reliably(one.queries - one.right, one.queries)), clips, frames)
    return Reel(shown, mixed, some, list(notes.values()), successes, failures)


def _reliably(count: int, of: int) -> float:
    """Lower end of Wilson's 95 % interval of a share: many tries count for more than few."""
    z, share = 1.96, count / of
    spread = z * math.sqrt(share * (1 - share) / of + (z / (2 * of)) ** 2)
    return (share + z * z / (2 * of) - spread) / (1 + z * z / of)


def _singles(records: Sequence[ClipScore], clips: dict[str, list[Clip]], frames: int) -> list[Single]:
    """The first of these clips, at most one of a class, that can be read: where they were, or where the data is now."""
    found: dict[str, Single] = {}
    tries = 0
    for one in records:
        if len(found) == SINGLE or tries == TRIES * SINGLE:
            break
        if one.label in found:
            continue
        clip = clip_of(one.clip)
        now = [place for place in clips.get(one.label, []) if place.name == clip.name]
        try:
            tries += 1
            strip = _first_readable(one.label, [clip] if file_of(clip).exists() else now, frames)
        except KshotError:
            continue
        other, taken = max(one.taken_for.items(), key=lambda item: item[1], default=("", 0))
        found[one.label] = Single(strip, one.queries, one.right, other, taken)
    return list(found.values())


def _clips(data: str, split: str) -> dict[str, list[Clip]]:
    """The clips of each class of a split. Of a named data set, which may have to be made again, a few.

    Raises:
        KshotError: the data set is not there any more, or never had clips.
    """
    name = data.partition(":")[0]
    loaded = datasets.load(f"{name}:3" if name in datasets.DATASETS else data, check_files=False).select(split)
    if loaded.features is not None:
        raise DataError("these are ready-made features, without clips")
    found: dict[str, list[Clip]] = {label: [] for label in loaded.classes}
    for clip, label in zip(loaded.clips, loaded.labels, strict=True):
        found[loaded.classes[label]].append(clip)
    return found


def _first_readable(label: str, clips: Sequence[Clip], frames: int) -> Strip:
    fault: KshotError = VideoError("the data set has no clip of it now")
    for clip in clips[:TRIES]:
        try:
            return Strip(label, clip.name, _jpeg(clip, frames))
        except VideoError as error:
            fault = error
    raise fault


def _jpeg(clip: Clip, frames: int) -> bytes:
    """Up to `FRAMES` of the `frames` that a model is given, as squares with thin gaps."""
    images = video.read(clip, frames, size=SIDE, allow_damaged=True)
    chosen = images[video.choose(len(images), min(FRAMES, len(images)))]
    sheet = np.full((SIDE, len(chosen) * (SIDE + 2) - 2, 3), 255, np.uint8)
    for place, image in enumerate(chosen):
        sheet[:, place * (SIDE + 2) : place * (SIDE + 2) + SIDE] = image
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "JPEG", quality=80, optimize=True)
    return file.getvalue()


def _pairs(comparison: Comparison, method: str) -> list[tuple[str, str, float, float]]:
    """The classes mixed up most, both ways together: one, other, percent one -> other, percent other -> one.

    Shares of all queries are divided by how often two classes meet, (way - 1) / (classes - 1).
    """
    shares, classes = comparison.confusion(method)
    if len(classes) < 2:
        return []
    apart = shares * (len(classes) - 1) / (comparison.settings.way - 1)
    both = np.triu(shares + shares.T, 1)
    found = []
    for flat in np.argsort(-both, axis=None, kind="stable")[:PAIRS].tolist():
        pair = divmod(flat, len(classes))
        one, other = pair if shares[pair] >= shares[pair[::-1]] else pair[::-1]
        if both[pair] > 0:
            there, back = np.minimum([apart[one, other], apart[other, one]], 100)
            found.append((classes[one], classes[other], float(there), float(back)))
    return found
