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
FOLDED = 1.3
"""By how much the variance of a held-out share is larger than that of as many independent answers, as the rounds learn
from nearly the same clips (Bates, Hastie and Tibshirani, JASA 119, 2024). Found on base and val classes of `motion`."""


def losses(logits: Array, labels: Array, temperature: float) -> Array:
    """Cross-entropy (n,) of softmax(logits / temperature); -inf stands for a class that was not there."""
    there = np.isfinite(logits)
    scaled = np.where(there, logits, 0.0) / temperature
    top = np.where(there, scaled, -np.inf).max(1, keepdims=True)
    norm = np.log(np.where(there, np.exp(scaled - top), 0.0).sum(1)) + top[:, 0]
    result: Array = norm - scaled[np.arange(len(labels)), labels]
    return result


def temperature(logits: Array, labels: Array) -> float:
    """The likeliest temperature after held-out scores (Guo et al., ICML 2017, arXiv 1706.04599).

    Before any, its logarithm is normal around 0 with variance 1/2: few clips say little, and where every clip is right
    the scores alone would say 0. That width was chosen on base classes, of `motion` and of J-HMDB.
    """
    return float(min(TEMPERATURES, key=lambda t: losses(logits, labels, t).sum() + math.log(t) ** 2))


def softmax(logits: Array, temperature: float) -> Array:
    """Probabilities (n, C) of scores, 0 where a score is -inf."""
    scaled = logits / temperature
    top = scaled.max(1, keepdims=True)
    raised = np.exp(scaled - np.where(np.isfinite(top), top, 0.0))
    result: Array = raised / np.maximum(raised.sum(1, keepdims=True), 1e-300)
    return result


def unseen(strange: Array, classes: int) -> tuple[Array, Array]:
    """What clips of untaught actions will look like: scores (2 m,) and the weight of each, which together are 1.

    A taught action's clip, seen without its own class, has one class mean fewer to be near to than a truly new one will
    have, and so looks stranger. How far one mean more brings it is told by how far the last one did: leaving out
    another class at random takes the nearest mean away once in (classes - 1) times. Means count less the more there are
    of them (as 1/k, exact for exponential tails), which makes the weights 1 + 1/classes and -1/classes.

    Args:
        strange: (m, 2) cosines with the nearest and the next of the other classes' means. classes: how many are taught.
    """
    count = len(strange)
    weights = np.repeat([(1 + 1 / classes) / count, -1 / classes / count], count)
    return strange.T.ravel(), weights


def auroc(known: Array, strange: Array, weights: Array | None = None) -> float:
    """Probability that a clip of a taught class scores above one of another class; a tie counts half.

    weights: (m,) of the strange clips, in all 1; equal by default.
    """
    ordered = np.sort(known)
    above = len(known) - (np.searchsorted(ordered, strange, "left") + np.searchsorted(ordered, strange, "right")) / 2
    return _share(float(np.average(above / len(known), weights=weights)))


def fpr95(known: Array, strange: Array, weights: Array | None = None) -> float:
    """Share of clips of other classes that are accepted by a threshold which accepts 95 % of the taught ones."""
    kept = np.sort(known)[math.floor(0.05 * len(known))]
    return _share(float(np.average(strange >= kept, weights=weights)))


def _share(value: float) -> float:
    """Weights below zero can lead a little out of what a share may be."""
    return min(1.0, max(0.0, value))


def threshold(known: Array, right: Array, strange: Array, weights: Array | None = None) -> float:
    """Where to say "unknown": the best balance between taught clips given their label and strangers refused.

    At most `REFUSED` of the taught clips may be called unknown for it.

    Args:
        known: (n,) scores of held-out clips of taught classes. right: (n,) whether their likeliest label is theirs.
        strange: (m,) scores of clips of classes that were left out. weights: of these, in all 1.
    """
    weights = np.full(len(strange), 1 / len(strange)) if weights is None else weights
    values = np.unique(np.concatenate([known, strange]))
    places = np.concatenate([values[:1] - 1e-3, (values[1:] + values[:-1]) / 2])
    places = places[_below(places, known, np.full(len(known), 1 / len(known))) <= REFUSED]
    balance = _below(places, strange, weights) - _below(places, known, right / len(known))
    return float(places[balance.argmax()])


def _below(places: Array, scores: Array, weights: Array) -> Array:
    """Weight of the scores below each place."""
    order = np.argsort(scores)
    sums = np.concatenate([[0.0], np.cumsum(weights[order])])
    result: Array = sums[np.searchsorted(scores[order], places, "left")]
    return result


def interval(right: Array, groups: Array, lost: float = 0.0) -> tuple[float, float]:
    """95 % interval of the share of right answers to new clips, from those to held-out ones.

    Wilson's, with as many clips as the groups are worth over `FOLDED`. A correction that was taken off the share may be
    more or less than it should: the interval reaches from the lower end with it to the upper end without.

    Args:
        right: (n,) of held-out clips. groups: (n,) of these. lost: what was taken off their mean.
    """
    share, count = float(right.mean()), effective(right, groups) / FOLDED
    return wilson(max(0.0, share - lost), count)[0], wilson(share, count)[1]


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
