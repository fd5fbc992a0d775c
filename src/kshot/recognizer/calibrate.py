"""Honest numbers: a temperature, a threshold for "unknown", and intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kshot.recognizer.costs import ErrorCosts
from kshot.recognizer.report import Odds, Trade

Array = NDArray[Any]

TEMPERATURES = np.exp(np.linspace(math.log(0.02), math.log(50), 157))  # steps of 5 %
Z = 1.959964  # of a 95 % interval
FOLDED = 1.3
"""By how much the variance of a held-out share is larger than that of as many independent answers, as the rounds learn
from nearly the same clips (Bates, Hastie and Tibshirani, JASA 119, 2024). Found on base and val classes of `motion`."""
GROWTH = 0.25
"""How the log-odds of a right answer, over those of a guess, grow with the clips to learn from: as their number to this
power. By simulation (`benchmarks/simulate.py groups`) it is 0.2 to 0.45: the lower part, as too low is better."""
USUAL = 0.2
"""Share of a class that may be left out uncorrected: with five groups a class, lessons of `motion` lacked nothing."""
LEAST_VARIANCE = 1e-6  # of scores: clips that are copies of each other have none
TRADE = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)  # shares of trained actions' clips refused at which the trade is shown


def losses(logits: Array, labels: Array, temperature: float) -> Array:
    """Cross-entropy (n,) of softmax(logits / temperature).

    Args:
        logits: (n, C) scores, -inf for a class that was not there.
        labels: (n,) indices of classes.
        temperature: above 0.
    """
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


def out_of_class(scores: Array, classes: int) -> tuple[Array, Array]:
    """What clips of untrained actions will score: scores (2 m,) and the weight of each, which together are 1.

    A trained action's clip, scored without its own class, has one class mean fewer to be near to than a truly new one
    will have, and so scores lower. How far one mean more brings it is estimated by how far the last one did: leaving
    out another class at random takes the nearest mean away once in (classes - 1) times. Means count less the more there
    are of them (as 1/k, exact for exponential tails), which makes the weights 1 + 1/classes and -1/classes.

    Args:
        scores: (m, 2) cosines with the nearest and the next of the other classes' means.
        classes: how many are trained.
    """
    count = len(scores)
    weights = np.repeat([(1 + 1 / classes) / count, -1 / classes / count], count)
    return scores.T.ravel(), weights


def auroc(known: Array, other: Array, weights: Array | None = None) -> float:
    """Probability that a clip of a trained class scores above one of another class; a tie counts half.

    Args:
        known: (n,) scores of clips of trained classes.
        other: (m,) scores of clips of other classes.
        weights: (m,) of the latter, in all 1; equal by default.
    """
    ordered = np.sort(known)
    above = len(known) - (np.searchsorted(ordered, other, "left") + np.searchsorted(ordered, other, "right")) / 2
    return _share(float(np.average(above / len(known), weights=weights)))


def fpr95(known: Array, other: Array, weights: Array | None = None) -> float:
    """Share of clips of other classes that are accepted by a threshold which accepts 95 % of those of trained ones.

    Args:
        known: (n,) scores of clips of trained classes.
        other: (m,) scores of clips of other classes.
        weights: (m,) of the latter, in all 1; equal by default.
    """
    kept = np.sort(known)[math.floor(0.05 * len(known))]
    return _share(float(np.average(other >= kept, weights=weights)))


def _share(value: float) -> float:
    """Weights below zero can lead a little out of what a share may be."""
    return min(1.0, max(0.0, value))


def threshold(
    known: Array,
    right: Array,
    other: Array,
    weights: Array | None = None,
    costs: ErrorCosts | None = None,
    groups: Array | None = None,
) -> float:
    """The score below which "unknown" costs less than a label; -inf if that never is.

    With as few clips as there are, the cheapest place among them is mostly luck: where scores say nothing it would
    refuse 5 % of the clips of trained classes. So only means and deviations count, as of two normal distributions: the
    place is half-way in units of either's deviation, and lower by the log of what is at stake, over how far apart they
    are. They are taken to be nearer by one standard error than found. `benchmarks/simulate.py unknown` compares both.

    Args:
        known: (n,) scores of held-out clips of trained classes.
        right: (n,) whether their likeliest label is theirs.
        other: (m,) scores of clips of classes that were left out.
        weights: (m,) of these, in all 1; equal by default.
        costs: of either error; `ErrorCosts()` by default.
        groups: (n,) of the known ones, what was filmed together and is one piece of evidence; each clip by default.
    """
    costs = costs or ErrorCosts()
    two = _two(known, right, other, weights, groups)
    if two is None or costs.stake == 0:
        return -math.inf
    apart = two.apart - math.hypot(two.own, two.others) / math.sqrt(two.count)
    if apart <= 0:
        return -math.inf
    place = two.middle - two.own * two.others / apart * math.log(float(right.mean()) / costs.stake)
    return min(place, _most(known, costs))


def odds(
    known: Array,
    right: Array,
    other: Array,
    weights: Array | None = None,
    costs: ErrorCosts | None = None,
    groups: Array | None = None,
) -> Odds | None:
    """What a score says of whether a clip shows none of the actions; None where it cannot be told, or must not be.

    A threshold answers for one clip at a time, and where it does not pay there is none. Moments of a film are weighed
    together, and for that weak evidence is evidence, too: the odds of two normal distributions with one deviation,
    times what is at stake, as long as no more clips of trained classes than `costs.most` fall to it. Arguments as of
    `threshold`.
    """
    costs = costs or ErrorCosts()
    two = _two(known, right, other, weights, groups)
    if two is None or costs.stake == 0:
        return None
    slope = max(0.0, two.apart) / max((two.own**2 + two.others**2) / 2, LEAST_VARIANCE)
    level, most = slope * two.middle + math.log(costs.stake), _most(known, costs)
    if math.isfinite(most):  # there a label, as often right as it is, must be worth no less than "unknown"
        level = min(level, slope * most + math.log(float(right.mean())))
    return Odds(level, slope)


def _most(known: Array, costs: ErrorCosts) -> float:
    """The highest score below which there are no more clips of trained classes than may be refused."""
    return float(np.append(np.sort(known), math.inf)[math.floor(costs.most * len(known) + 1e-9)])


@dataclass(frozen=True)
class _Two:
    """Scores of clips of trained classes that get their label, and of clips of others, as two normal distributions."""

    kept: float
    far: float
    own: float
    others: float
    count: int

    @property
    def apart(self) -> float:
        return self.kept - self.far

    @property
    def middle(self) -> float:
        """Between the means, in units of either's deviation."""
        both = self.own + self.others
        return (self.kept * self.others + self.far * self.own) / both if both else (self.kept + self.far) / 2


def _two(known: Array, right: Array, other: Array, weights: Array | None, groups: Array | None) -> _Two | None:
    """None for fewer than two pieces of evidence."""
    right = right.astype(bool)
    count = int(right.sum()) if groups is None else len(np.unique(groups[right]))
    if count < 2:
        return None
    wide = math.sqrt(count / (count - 1))
    kept, far = float(known[right].mean()), float(np.average(other, weights=weights))
    own = wide * float(known[right].std())
    others = wide * math.sqrt(max(0.0, float(np.average((other - far) ** 2, weights=weights))))
    return _Two(kept, far, own, others, count)


def trade(known: Array, other: Array, weights: Array) -> list[Trade]:
    """What each place for a threshold would give.

    Args:
        known: (n,) scores of held-out clips of trained classes.
        other: (m,) scores of clips of classes that were left out.
        weights: (m,) of these, in all 1.
    """
    ordered, points = np.sort(known), []
    for count in sorted({math.floor(share * len(known) + 1e-9) for share in TRADE}):
        place = float(ordered[count])
        refused, caught = float((known < place).mean()), _share(float(((other < place) * weights).sum()))
        points.append(Trade(place, round(refused, 4), round(caught, 4)))
    return points


def grown(share: float, left: float, classes: int) -> float:
    """The share of right answers of a model trained on everything, from those of models without a part of each class.

    Scored without one of two groups, a class is trained on half of what it has. How much that costs depends on it alone
    (see `GROWTH`), so it can be put right; up to `USUAL` nothing needs to be.

    Args:
        share: of right answers.
        left: share of the clip's own class that was left out.
        classes: how many there are.
    """
    more = ((1 - USUAL) / (1 - left)) ** GROWTH if left < 1 else 1.0
    if more <= 1 or not 1 / classes < share < 1:
        return share
    guess = -math.log(classes - 1)
    odds = math.exp(guess + (math.log(share / (1 - share)) - guess) * more)
    return odds / (1 + odds)


def balanced(labels: Array) -> Array:
    """Weights (n,) of mean 1 by which every class counts alike."""
    names, which = np.unique(labels, return_inverse=True)
    result: Array = len(labels) / len(names) / np.bincount(which)[which]
    return result


def interval(
    right: Array, groups: Array, lost: float = 0.0, gained: float = 0.0, weights: Array | None = None
) -> tuple[float, float]:
    """95 % interval of the share of right answers to new clips, from those to held-out ones.

    Wilson's, with as many clips as the groups are worth over `FOLDED`. A correction may be more or less than it should:
    the interval reaches from the lower end with what was taken off, and without what was added, to the upper end with
    what was added, and without what was taken off.

    Args:
        right: (n,) of held-out clips, whether their answer is.
        groups: (n,) of these, what was filmed together.
        lost: what was taken off their mean.
        gained: what was added to it.
        weights: (n,) of mean 1; all 1 by default.
    """
    share = float(np.average(right, weights=weights))
    count = effective(right, groups, weights) / FOLDED
    return wilson(max(0.0, share - lost), count)[0], wilson(min(1.0, share + gained), count)[1]


def wilson(share: float, count: float) -> tuple[float, float]:
    """95 % interval of a share of `count` independent trials (Wilson, 1927), fit for the ends, too."""
    middle = (share + Z * Z / (2 * count)) / (1 + Z * Z / count)
    half = Z / (1 + Z * Z / count) * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def effective(right: Array, groups: Array, weights: Array | None = None) -> float:
    """How many independent clips these n are worth, as clips of one group tend to be right or wrong together.

    n over the design effect, the variance of the share with whole groups as units over that of single clips (Kish,
    Survey Sampling, 1965); never more than n.

    Args:
        right: (n,) whether the answer is.
        groups: (n,) what was filmed together.
        weights: (n,) of mean 1; all 1 by default.
    """
    _, which = np.unique(groups, return_inverse=True)
    each = np.ones(len(right)) if weights is None else weights
    count, parts, share = len(right), int(which.max()) + 1, float(np.average(right, weights=each))
    if parts < 2:
        return 1.0
    sums = np.bincount(which, each * (right - share))
    spread = max(share * (1 - share), 0.5 / count)
    effect = float((sums**2).sum()) * parts / (parts - 1) / count / spread
    return count / max(1.0, effect, float((each**2).mean()))
