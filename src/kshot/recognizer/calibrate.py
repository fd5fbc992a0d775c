"""Honest numbers: a temperature, a threshold for "unknown", and intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TEMPERATURES = np.exp(np.linspace(math.log(0.02), math.log(50), 157))  # steps of 5 %
REFUSED = 0.1  # of the clips of taught classes may be called unknown, at most
Z = 1.959964  # of a 95 % interval


def losses(logits: Array, labels: Array, temperature: float, smooth: float = 0.0) -> Array:
    """Cross-entropy (n,) of softmax(logits / temperature); -inf stands for a class that was not there.

    smooth: share of the target that goes evenly to the classes there.
    """
    there = np.isfinite(logits)
    scaled = np.where(there, logits, 0.0) / temperature
    top = np.where(there, scaled, -np.inf).max(1, keepdims=True)
    norm = np.log(np.where(there, np.exp(scaled - top), 0.0).sum(1)) + top[:, 0]
    own = norm - scaled[np.arange(len(labels)), labels]
    even = norm - np.where(there, scaled, 0.0).sum(1) / there.sum(1)
    result: Array = (1 - smooth) * own + smooth * even
    return result


def temperature(logits: Array, labels: Array) -> float:
    """The temperature with the smallest cross-entropy on held-out scores (Guo et al., ICML 2017, arXiv 1706.04599).

    Where every clip is right, the best would be 0; so targets are a little less than sure, the less so the more
    clips there are (as in Platt, 1999).
    """
    if not len(labels):
        return 1.0
    smooth = 1 / (len(labels) + 2)
    return float(min(TEMPERATURES, key=lambda t: losses(logits, labels, t, smooth).mean()))


def softmax(logits: Array, temperature: float) -> Array:
    """Probabilities (n, C) of scores, 0 where a score is -inf."""
    scaled = logits / temperature
    top = scaled.max(1, keepdims=True)
    raised = np.exp(scaled - np.where(np.isfinite(top), top, 0.0))
    result: Array = raised / np.maximum(raised.sum(1, keepdims=True), 1e-300)
    return result


def auroc(known: Array, strange: Array) -> float:
    """Probability that a clip of a taught class scores above one of another class; a tie counts half."""
    ordered = np.sort(strange)
    below = np.searchsorted(ordered, known, "left") + np.searchsorted(ordered, known, "right")
    return float(below.mean() / 2 / len(strange))


def fpr95(known: Array, strange: Array) -> float:
    """Share of clips of other classes that are accepted by a threshold which accepts 95 % of the taught ones."""
    kept = np.sort(known)[math.floor(0.05 * len(known))]
    return float((strange >= kept).mean())


def threshold(known: Array, right: Array, strange: Array) -> float:
    """Where to say "unknown": the best balance between taught clips given their label and strangers refused.

    At most `REFUSED` of the taught clips may be called unknown for it.

    Args:
        known: (n,) scores of held-out clips of taught classes. right: (n,) whether their likeliest label is theirs.
        strange: (m,) scores of clips of classes that were left out.
    """
    values = np.unique(np.concatenate([known, strange]))
    places = np.concatenate([values[:1] - 1e-3, (values[1:] + values[:-1]) / 2])
    places = places[[(known < place).mean() <= REFUSED for place in places]]
    return float(max(places, key=lambda p: (right & (known >= p)).mean() + (strange < p).mean()))


def wilson(share: float, count: float) -> tuple[float, float]:
    """95 % interval of a share of `count` independent trials (Wilson, 1927), fit for the ends, too."""
    middle = (share + Z * Z / (2 * count)) / (1 + Z * Z / count)
    half = Z / (1 + Z * Z / count) * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def effective(right: Array, groups: Array) -> float:
    """How many independent clips these n are worth, as clips of one group tend to be right or wrong together.

    n over the design effect, the variance of the share with whole groups as units over that of single clips (Kish,
    Survey Sampling, 1965); never more than n.
    """
    _, which = np.unique(groups, return_inverse=True)
    count, parts, share = len(right), int(which.max()) + 1, float(right.mean())
    if parts < 2:
        return 1.0
    sums = np.bincount(which, right - share)
    spread = max(share * (1 - share), 0.5 / count)
    effect = float((sums**2).sum()) * parts / (parts - 1) / count / spread
    return count / max(1.0, effect)
