"""How often a study's 95 % intervals hold the truth: simulated studies whose truth is known, at the sizes that ship.

    python benchmarks/coverage.py [--studies 2000] [--seed 0]

Classes have fixed accuracies; an episode draws five of them and a difficulty of its own, and the baseline answers its
25 queries. A trained row answers the same queries, of which training turns some wrong ones right and some right ones
wrong. Its gain differs between seeds as the effect says; a training that kept its untrained start gives the baseline's
very answers. The intervals are those of `kshot.study.estimates.estimate`, over as many seeds and episodes as in the
studies that ship.

Printed for each effect and size: how often the interval of the row's accuracy, and of its difference to the baseline,
holds the mean over all episodes and trainings (with one seed: over all episodes of that training); how often the
difference is marked, with its sign wrong or where there is none; and the half-width of the difference's interval.
A study all of whose seeds kept the start has no interval for further trainings ("no interval"), and is left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kshot.study.estimates import START, estimate

Array = NDArray[Any]
Draw = Callable[[np.random.Generator, int], Array]

QUERIES = 25
CLASSES = np.linspace(0.5, 0.9, 12)  # accuracies of the novel classes
EPISODES = 200_000  # of which studies draw
DIFFICULTY = 0.08  # standard deviation between episodes of the same classes
CHURN = 0.03  # share of right answers that training turns wrong
SIZES = ((3, 10_000), (5, 10_000), (1, 10_000), (3, 80), (5, 80), (1, 80))
"""Seeds, and episodes of each: rows of the studies that ship, compared rows, a single seed; then those of direct."""


@dataclass(frozen=True)
class Effect:
    """What training gains from seed to seed.

    Attributes:
        draw: gives (seeds,) gains in points.
        mean: the expected gain, points.
        kept: probability that a training keeps its start, which gains nothing.
        trains: whether the row trains anything, or only answers otherwise than the baseline.
    """

    draw: Draw
    mean: float
    kept: float = 0.0
    trains: bool = True


def constant(value: float) -> Draw:
    return lambda rng, count: np.full(count, value)


def normal(mean: float, spread: float) -> Draw:
    return lambda rng, count: rng.normal(mean, spread, count)


EFFECTS = {
    "nothing trained": Effect(constant(1.0), 1.0, trains=False),
    "no gain": Effect(constant(0.0), 0.0),
    "same gain, 1 point": Effect(constant(1.0), 1.0),
    "normal, 1 +- 0.2": Effect(normal(1.0, 0.2), 1.0),
    "normal, 1 +- 1": Effect(normal(1.0, 1.0), 1.0),
    "normal, 0 +- 1": Effect(normal(0.0, 1.0), 0.0),
    "uniform, 0 to 2": Effect(lambda rng, count: rng.uniform(0, 2, count), 1.0),
    "skewed, exponential of mean 1": Effect(lambda rng, count: rng.exponential(1.0, count), 1.0),
    "kept in a tenth, else 1.35 +- 0.3": Effect(normal(1.35, 0.3), 1.35, 0.1),
    "kept in a third, else 1.35 +- 0.3": Effect(normal(1.35, 0.3), 1.35, 1 / 3),
    "kept in two thirds, else 1.35 +- 0.3": Effect(normal(1.35, 0.3), 1.35, 2 / 3),
    "either +1 or -1": Effect(lambda rng, count: rng.choice([-1.0, 1.0], count), 0.0),
}


@dataclass(frozen=True)
class Found:
    """What came of many simulated studies.

    Attributes:
        accuracy: share of the intervals of the accuracy that hold the truth.
        difference: the same of the difference.
        marked: share of studies whose difference is marked.
        wrong: share whose difference is marked though there is none, or with the wrong sign.
        half: median half-width of the difference's interval, points.
        none: share of studies without an interval for further trainings.
    """

    accuracy: float
    difference: float
    marked: float
    wrong: float
    half: float
    none: float


@cache
def pool() -> tuple[Array, Array]:
    """All episodes that there are (EPISODES,): queries that the baseline gets right; those that training loses."""
    rng = np.random.default_rng(0)
    classes = rng.random((EPISODES, len(CLASSES))).argsort(1)[:, :5]
    difficulty = rng.normal(0, DIFFICULTY, EPISODES)
    right = rng.binomial(QUERIES, np.clip(CLASSES[classes].mean(1) + difficulty, 0, 1))
    return right, rng.binomial(right, CHURN)


def study(rng: np.random.Generator, effect: Effect, seeds: int, episodes: int) -> tuple[Array, Array, Array, Array]:
    """Accuracies (seeds, episodes) of the baseline and of a row, the row's true gains (seeds,), and which it kept."""
    kept = rng.random(seeds) < effect.kept
    gains = np.where(kept, 0.0, effect.draw(rng, seeds))
    every, loses = pool()
    drawn = rng.integers(EPISODES, size=(seeds, episodes))
    before = every[drawn]
    lost = np.where(kept[:, None], 0, loses[drawn])
    won = np.where(kept, 0.0, (gains * QUERIES / 100 + loses.mean()) / (QUERIES - every.mean()))
    after = before - lost + rng.binomial(QUERIES - before, np.clip(won, 0, 1)[:, None])
    return 100 / QUERIES * before, 100 / QUERIES * after, gains, kept


def simulate(effect: Effect, seeds: int, episodes: int, studies: int, seed: int = 0) -> Found:
    """Many studies of one effect and size."""
    rng, rows, none = np.random.default_rng((seed, seeds, episodes)), [], 0
    base = 100 / QUERIES * pool()[0].mean()
    for _ in range(studies):
        before, after, gains, kept = study(rng, effect, seeds, episodes)
        altered = [effect.trains and not one for one in kept]
        own, differ = (estimate(list(values), altered, effect.trains) for values in (after, after - before))
        if differ.estimand == START:
            none += 1
            continue
        true = effect.mean * (1 - effect.kept) if seeds > 1 else gains[0]
        marked = abs(differ.mean) > differ.ci95
        wrong = marked and np.sign(differ.mean) != np.sign(true)
        holds = abs(own.mean - base - true) <= own.ci95, abs(differ.mean - true) <= differ.ci95
        rows.append((*holds, marked, wrong, differ.ci95))
    table = np.array(rows, float)
    accuracy, difference, marked, wrong = table[:, :4].mean(0)
    return Found(accuracy, difference, marked, wrong, float(np.median(table[:, 4])), none / studies)


def table(
    studies: int, seed: int, effects: Sequence[str] = (), sizes: Sequence[tuple[int, int]] = SIZES
) -> Iterator[str]:
    yield f"{studies:,} studies each; what holds the truth, and what is marked, in %"
    yield "| effect of training | seeds x episodes | accuracy | difference | marked | wrongly | +- | no interval |"
    yield "|" + " --- |" * 8
    for name in effects or EFFECTS:
        for seeds, episodes in sizes:
            found = simulate(EFFECTS[name], seeds, episodes, studies, seed)
            shares = (found.accuracy, found.difference, found.marked, found.wrong)
            cells = [f"{seeds} x {episodes:,}", *(f"{100 * share:.1f}" for share in shares)]
            yield f"| {' | '.join([name, *cells, f'{found.half:.2f}', f'{100 * found.none:.1f}'])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for line in table(options.studies, options.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main()
