"""Student's t: its value against published tables and SciPy, and how often an interval holds what it should."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kshot.fewshot.intervals import interval, probability, student


@pytest.mark.parametrize(
    ("freedom", "published"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (10, 2.228), (30, 2.042), (120, 1.980)],
)
def test_the_values_of_the_printed_tables(freedom: int, published: float) -> None:
    assert round(student(freedom), 3) == published


def test_the_values_of_scipy() -> None:
    """SciPy comes with scikit-learn, which only the tests need."""
    stats = pytest.importorskip("scipy.stats")
    for freedom in (*range(1, 60), 99, 100, 999, 1000, 9_999, 29_999, 100_000):
        assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)
        assert student(freedom, 0.99) == pytest.approx(stats.t.ppf(0.995, freedom), rel=1e-9)
        assert probability(1.5, freedom) == pytest.approx(1 - 2 * stats.t.sf(1.5, freedom), rel=1e-9)


def test_many_episodes_have_the_normal_interval() -> None:
    """10,000 episodes: within a thousandth of what 1.96 gave."""
    values = np.random.default_rng(0).normal(size=10_000)
    assert interval(values) == pytest.approx(1.96 * values.std(ddof=1) / 100, rel=1e-3)


@pytest.mark.parametrize(("accuracy", "query"), [(0.5, 5), (0.7, 1), (0.8, 5)])
def test_ten_episodes_hold_the_truth_as_often_as_they_say(accuracy: float, query: int) -> None:
    """20,000 evaluations of 10 episodes, 5-way, where episodes are of unequal difficulty; 1.96 holds it less often."""
    rng = np.random.default_rng(1)
    easy = rng.beta(20 * accuracy, 20 * (1 - accuracy), size=(20_000, 10))
    found = 100 * rng.binomial(5 * query, easy) / (5 * query)
    off = np.abs(found.mean(axis=1) - 100 * accuracy)
    halves = np.array([interval(one) for one in found])
    assert np.mean(off <= halves) >= 0.935
    assert np.mean(off <= halves * 1.96 / student(9)) < 0.93
    assert halves[0] == pytest.approx(student(9) * found[0].std(ddof=1) / math.sqrt(10))
