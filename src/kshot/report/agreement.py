"""How far two annotations of the same videos agree: kappa over time, F1 of segments, confusion over time.

Cohen's kappa (Cohen 1960, Educational and Psychological Measurement 20(1)) is (o - e) / (1 - e): o the share of moments
with the same label, e the share that would agree by chance, from how often each side gives each label. Moments are the
middles of steps of time; one without a segment is labelled "none", one with several by that which began last.
F1 at an overlap of one half (Lea et al., CVPR 2017, segmental F1): a segment is found where one of the same label and
video, not used yet, covers with it at least half of what the two cover together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kshot.datasets.annotations.forms import Segment
from kshot.errors import OptionError

NONE = "none"
OVERLAP = 0.5
MOST = 10_000_000


@dataclass(frozen=True)
class Found:
    """How segments of one action were found.

    Attributes:
        action: its label.
        human: segments of the annotator.
        other: segments that are compared.
        both: pairs that match.
        kappa: of this action against all else; None where neither side has it or both have nothing else.
    """

    action: str
    human: int
    other: int
    both: int
    kappa: float | None

    @property
    def f1(self) -> float:
        """2 both / (human + other)."""
        return 2 * self.both / (self.human + self.other) if self.human + self.other else 0.0


@dataclass(frozen=True)
class Agreement:
    """Two annotations compared.

    Attributes:
        labels: (C,) actions and, last, "none".
        seconds: (C, C) seconds that the annotator gives the label of the row and the other that of the column.
        kappa: Cohen's, over all labels; None where both sides give one label only.
        same: share of the time with the same label.
        actions: each one's segments.
        videos: how many both annotate.
    """

    labels: tuple[str, ...]
    seconds: NDArray[np.float64]
    kappa: float | None
    same: float
    actions: tuple[Found, ...]
    videos: int


def compare(
    human: Sequence[Segment], other: Sequence[Segment], lengths: dict[str, float], step: float = 1.0
) -> Agreement:
    """Compares annotations of the videos that `lengths` names.

    Args:
        human: the annotator's segments.
        other: those that are compared with them.
        lengths: name of a video, as in the segments' paths -> seconds.
        step: seconds between moments.

    Raises:
        OptionError: more than `MOST` moments.
    """
    if (count := sum(lengths.values()) / step) > MOST:
        raise OptionError(f"a step of {step:g} s makes {count:,.0f} moments: expected at most {MOST:,}")
    actions = sorted({one.label for one in (*human, *other) if one.path in lengths})
    labels = (*actions, NONE)
    counts = np.zeros((len(labels), len(labels)), np.int64)
    for path, length in lengths.items():
        moments = np.arange(step / 2, max(length, step), step)
        rows, columns = (over_time(side, path, length, labels, moments) for side in (human, other))
        np.add.at(counts, (rows, columns), 1)
    parts = []
    for number, action in enumerate(actions):
        mine, theirs = ([one for one in side if one.label == action and one.path in lengths] for side in (human, other))
        inside = counts[number, number]
        row, column = counts[number].sum(), counts[:, number].sum()
        two = np.array([[inside, row - inside], [column - inside, counts.sum() - row - column + inside]])
        parts.append(Found(action, len(mine), len(theirs), matches(mine, theirs, lengths), kappa(two)))
    same = float(np.trace(counts) / max(1, counts.sum()))
    return Agreement(labels, (counts * step).astype(np.float64), kappa(counts), same, tuple(parts), len(lengths))


def over_time(
    side: Sequence[Segment], path: str, length: float, labels: Sequence[str], moments: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Number (M,) of the label at each moment of a video; of several, that which began last.

    Args:
        side: segments of one annotation.
        path: of the video.
        length: of the video, seconds.
        labels: names, the last of them for nothing.
        moments: (M,) seconds.
    """
    found = np.full(len(moments), len(labels) - 1, np.int64)
    for one in sorted((one for one in side if one.path == path), key=lambda one: one.start or 0.0):
        end = length if one.end is None else one.end
        found[(moments >= (one.start or 0.0)) & (moments < end)] = labels.index(one.label)
    return found


def kappa(counts: NDArray[np.int64]) -> float | None:
    """Cohen's kappa of a table (C, C) of counts; None where chance alone explains everything.

    >>> kappa(np.array([[20, 5], [10, 15]]))
    0.4
    """
    total = counts.sum()
    if not total:
        return None
    agreed = np.trace(counts) / total
    chance = float((counts.sum(0) / total) @ (counts.sum(1) / total))
    return None if chance >= 1 else round(float((agreed - chance) / (1 - chance)), 12)


def matches(human: Sequence[Segment], other: Sequence[Segment], lengths: dict[str, float]) -> int:
    """Pairs of segments of one label that overlap by half, each used once, the best ones first."""
    pairs: list[tuple[float, int, int]] = []
    for path, length in lengths.items():
        mine, theirs = (_numbered(side, path, length) for side in (human, other))
        for number, start, end in mine:
            shared = np.minimum(end, theirs[:, 2]) - np.maximum(start, theirs[:, 1])
            cover = shared / (end - start + theirs[:, 2] - theirs[:, 1] - shared)
            pairs += [
                (-float(cover[row]), int(number), int(theirs[row, 0])) for row in np.flatnonzero(cover >= OVERLAP)
            ]
    used: set[tuple[str, int]] = set()
    count = 0
    for _, i, j in sorted(pairs):
        if ("human", i) not in used and ("other", j) not in used:
            used |= {("human", i), ("other", j)}
            count += 1
    return count


def _numbered(side: Sequence[Segment], path: str, length: float) -> NDArray[np.float64]:
    """(n, 3): number, start and end of the segments of a video."""
    rows = [
        (number, one.start or 0.0, length if one.end is None else one.end)
        for number, one in enumerate(side)
        if one.path == path
    ]
    return np.array(rows, np.float64).reshape(-1, 3)
