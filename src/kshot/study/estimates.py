"""What a study's means speak of, and their intervals: over seeds where something was trained, else over episodes.

A study's classes and clips are given; episodes are drawn from them, and seeds draw the training. So the mean over
the episodes of seed s is y_s = mu + a_s + e_s, with a_s from training and e_s from the draw of episodes. The mean of S
seeds has the variance Var(y_s) / S, whatever the shares of the two, and mean(y) -+ t(0.975, S - 1) * sd(y) / sqrt(S)
is the 95 % interval of mu, by Student's t over the means of the seeds (Student, Biometrika 6, 1908, 1-25; for balanced
nested designs see Searle, Casella and McCulloch, Variance Components, 1992). It is exact where the y_s are normal.
Pooling the episodes of all seeds instead would leave a_s out. `benchmarks/coverage.py` simulates how often it holds; it
falls short where the effects of seeds are skewed or have two peaks, which so few cannot show (docs/studies.md).

Where nothing was trained, a_s is 0: seeds only draw further episodes, and the interval is over all of them. The same
goes for rows that kept their untrained start with every seed. With a single seed it is over the episodes of that one
training. No interval here speaks of other classes: that would take an interval over classes, and many of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kshot.errors import KshotError
from kshot.fewshot.intervals import interval, probability
from kshot.fewshot.strategies import get_strategy
from kshot.study.results import RowResult

Accuracies = NDArray[np.float64]

SEEDS = "these classes, new episodes, new seeds"
ONE_TRAINING = "these classes, this one training, new episodes"
EPISODES = "these classes, new episodes"
START = "these classes, the untrained start, new episodes"
ROUNDING = 0.05
"""Points by which rows that kept their start may differ: what is stored at another cut is rounded otherwise."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval.

    Attributes:
        mean: over the seeds, in the unit of the values.
        ci95: half-width of its 95 % interval, in that unit; NaN for a single episode.
        over: what the interval is over, "seeds" or "episodes".
        estimand: what it speaks of.
        p: probability of a mean as far from 0 where the truth is 0, by the same t; NaN for a single episode.
    """

    mean: float
    ci95: float
    over: str
    estimand: str
    p: float


def estimate(seeds: Sequence[Accuracies], altered: Sequence[bool], trains: bool = True) -> Estimate:
    """The mean of a row, or of a difference between two, with the interval that the module describes.

    Args:
        seeds: for each seed (episodes,) accuracies or differences in pairs.
        altered: for each seed whether training changed anything.
        trains: whether anything could have learned.
    """
    means = np.array([one.mean() for one in seeds])
    if any(altered) and len(seeds) > 1:
        values, over, estimand = means, "seeds", SEEDS
    else:
        values, over = np.concatenate(list(seeds)), "episodes"
        estimand = ONE_TRAINING if any(altered) else START if trains else EPISODES
    mean, half = float(means.mean()), interval(values)
    return Estimate(mean, half, over, estimand, _p(mean, values))


def _p(mean: float, values: Accuracies) -> float:
    if len(values) < 2:
        return math.nan
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    if error == 0:
        return float(mean == 0)
    return 1 - probability(abs(mean) / error, len(values) - 1)


def difference(
    one: Sequence[RowResult], other: Sequence[RowResult], shot: int | str, read: Callable[[RowResult], Accuracies]
) -> tuple[Estimate, dict[int, Accuracies], int] | None:
    """A row minus another at a shot, on the seeds and episodes that both have; None where they share no seed.

    Args:
        one: the runs of a row, one for each seed.
        other: the runs of the row that is taken from it.
        shot: support clips a class.
        read: gives the accuracies of a run's episodes, percent.

    Returns:
        The mean with its interval; for each seed (episodes,) the differences in points; and in how many seeds they have
        the sign of the mean, those left out that kept their start where others did not.
    """
    found: dict[int, Accuracies] = {}
    of, pairs = {row.seed: row for row in other}, []
    for row in one:
        if (against := of.get(row.seed)) is not None:
            first, second = read(row), read(against)
            count = min(len(first), len(second))
            found[row.seed] = first[:count] - second[:count]
            pairs.append((row, against))
    if not found:
        return None
    altered = [any(changed(row, shot) for row in pair) for pair in pairs]
    mean = estimate(list(found.values()), altered, any(learns(row) for row in pairs[0]))
    counted = [one for one, moved in zip(found.values(), altered, strict=True) if moved or not any(altered)]
    return mean, found, sum(int(np.sign(one.mean()) == np.sign(mean.mean)) for one in counted)


def learns(row: RowResult) -> bool:
    """Whether a row trains anything."""
    try:
        return get_strategy(row.strategy).learns_from != "nothing"
    except KshotError:  # a strategy of another version
        return True


def kept_start(row: RowResult, shot: int | str) -> bool | None:
    """Whether val chose a row's untrained start for a shot; None where nothing trains, or it is not known."""
    outcome = row.results[str(shot)]
    step = outcome.best_step if "best_step" in outcome.model_fields_set else row.best_step if row.train_shot else None
    return None if step is None or not learns(row) else step == 0


def changed(row: RowResult, shot: int | str) -> bool:
    """Whether training left its mark on a row's figures at a shot."""
    return learns(row) and not kept_start(row, shot)


def holm(p: Sequence[float]) -> list[float]:
    """Probabilities of several tests, each raised so that all that stay below a level may be believed at that level.

    The k-th smallest of n is multiplied by n - k + 1, and none is below a smaller one's (Holm, Scandinavian Journal of
    Statistics 6, 1979, 65-70). NaN, of a test that could not be made, counts as a test and stays NaN.
    """
    found, least = [math.nan] * len(p), 0.0
    for place, number in enumerate(sorted((k for k in range(len(p)) if not math.isnan(p[k])), key=lambda k: p[k])):
        least = max(least, min(1.0, (len(p) - place) * p[number]))
        found[number] = least
    return found
