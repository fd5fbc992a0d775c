"""Calibration against slow loops and at its limits: no clip, one group, costs of nothing."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from kshot.errors import OptionError
from kshot.recognizer import calibrate
from kshot.recognizer.calibrate import TEMPERATURES, USUAL
from kshot.recognizer.costs import ErrorCosts
from kshot.recognizer.report import Trade


def draw(seed: int = 0, count: int = 25, others: int = 17) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of known clips and of others, with ties, and weights of the others."""
    rng = np.random.default_rng(seed)
    weights = rng.random(others)
    return rng.integers(3, 12, count) / 10, rng.integers(0, 9, others) / 10, weights / weights.sum()


@pytest.mark.parametrize("seed", range(5))
def test_auroc_counts_pairs(seed: int) -> None:
    known, other, weights = draw(seed)
    wins = [[1.0 if k > o else 0.5 if k == o else 0.0 for o in other] for k in known]
    assert calibrate.auroc(known, other) == pytest.approx(np.mean(wins))
    assert calibrate.auroc(known, other, weights) == pytest.approx(np.mean(wins, 0) @ weights)


def test_shares_stay_between_none_and_all_whatever_the_weights() -> None:
    weights = np.array([1.5, -0.5])
    assert calibrate.auroc(np.array([2.0]), np.array([1.0, 3.0]), weights) == 1
    assert calibrate.auroc(np.array([2.0]), np.array([3.0, 1.0]), weights) == 0
    assert calibrate.fpr95(np.array([2.0]), np.array([1.0, 3.0]), weights) == 0
    assert calibrate.fpr95(np.array([2.0]), np.array([2.0, 1.0]), weights) == 1


@pytest.mark.parametrize(("count", "refused"), [(1, 0), (19, 0), (20, 1), (39, 1), (40, 2), (100, 5)])
def test_at_most_one_known_clip_in_twenty_is_refused_for_fpr95(count: int, refused: int) -> None:
    known = np.arange(count, dtype=float)
    assert calibrate.fpr95(known, np.array([refused - 0.5, refused])) == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_temperature_is_the_likeliest_of_all_with_its_prior(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = 4 * rng.normal(size=(12, 3)), rng.integers(0, 3, 12)
    logits[0, (labels[0] + 1) % 3] = -np.inf

    def misfit(temperature: float) -> float:
        total = math.log(temperature) ** 2
        for row, label in zip(logits, labels, strict=True):
            there = [value / temperature for value in row if math.isfinite(value)]
            total += math.log(sum(map(math.exp, there))) - row[label] / temperature
        return total

    assert calibrate.temperature(logits, labels) == min(TEMPERATURES, key=misfit)


def test_temperatures_are_steps_of_five_percent_from_a_fiftieth_to_fifty() -> None:
    assert (TEMPERATURES[0], TEMPERATURES[-1]) == (pytest.approx(0.02), pytest.approx(50)) and 1 in TEMPERATURES.round(
        9
    )
    assert np.allclose(TEMPERATURES[1:] / TEMPERATURES[:-1], 1.0514, atol=1e-3)


def test_softmax_of_large_scores_and_of_none() -> None:
    found = calibrate.softmax(np.array([[1e4, 1e4 - 2, -np.inf], [-np.inf] * 3, [-1e4, -1e4, -1e4]]), 2.0)
    e = math.exp(-1)
    assert found[0] == pytest.approx([1 / (1 + e), e / (1 + e), 0])
    assert found[1].tolist() == [0, 0, 0] and found[2] == pytest.approx([1 / 3] * 3)


def test_foreseen_scores_are_the_nearest_raised_by_what_the_last_mean_did() -> None:
    scores, weights = calibrate.out_of_class(np.array([[0.9, 0.5], [0.8, 0.7]]), 4)
    assert scores.tolist() == [0.9, 0.8, 0.5, 0.7]
    assert weights == pytest.approx([0.625, 0.625, -0.125, -0.125])


def plain_threshold(known: list[float], right: list[bool], other: list[float], costs: ErrorCosts, count: int) -> float:
    """The formula for clips of equal weight, without its exceptions."""
    own = [k for k, r in zip(known, right, strict=True) if r]
    means = sum(own) / len(own), sum(other) / len(other)
    wide = count / (count - 1)
    first = math.sqrt(wide * sum((k - means[0]) ** 2 for k in own) / len(own))
    second = math.sqrt(wide * sum((o - means[1]) ** 2 for o in other) / len(other))
    apart = means[0] - means[1] - math.sqrt((first**2 + second**2) / count)
    middle = (means[0] * second + means[1] * first) / (first + second)
    place = middle - first * second / apart * math.log(len(own) / len(known) / costs.stake)
    kept = sorted(known)[math.floor(costs.most * len(known))] if costs.most < 1 else math.inf
    return min(place, kept)


@pytest.mark.parametrize(
    "costs", [ErrorCosts(), ErrorCosts(2.0, 0.3, 1.0), ErrorCosts(5.0, 0.5, 0.2), ErrorCosts(0.1, 0.1, 0.0)]
)
def test_the_threshold_by_its_formula(costs: ErrorCosts) -> None:
    rng = np.random.default_rng(7)
    known, other, right = rng.normal(2, 0.5, 24), rng.normal(0, 0.8, 15), rng.random(24) < 0.8
    plain = plain_threshold(known.tolist(), right.tolist(), other.tolist(), costs, int(right.sum()))
    assert calibrate.threshold(known, right, other, costs=costs) == pytest.approx(plain)
    groups = np.arange(24) // 2
    plain = plain_threshold(known.tolist(), right.tolist(), other.tolist(), costs, len(set(groups[right])))
    assert calibrate.threshold(known, right, other, costs=costs, groups=groups) == pytest.approx(plain)


def test_weights_count_others_that_often_where_there_is_a_threshold() -> None:
    known, right, other = np.linspace(0.7, 0.9, 9), np.ones(9, bool), np.array([0.1, 0.3, 0.5])
    weighed = calibrate.threshold(known, right, other, np.array([1, 2, 3]) / 6)
    assert weighed == pytest.approx(calibrate.threshold(known, right, np.repeat(other, [1, 2, 3])))
    assert calibrate.threshold(known, right, other) < weighed < 0.7


def test_where_a_threshold_cannot_be_set_nothing_is_refused() -> None:
    known, other = np.array([0.8, 0.9]), np.array([0.1, 0.2])
    both, one = np.ones(2, bool), np.array([True, False])
    assert calibrate.threshold(known, both, other) > 0.2
    assert calibrate.threshold(known, one, other) == -math.inf, "one clip has no spread"
    assert calibrate.threshold(known, both, other, groups=np.array(["g", "g"])) == -math.inf
    assert calibrate.threshold(known, both, other, costs=ErrorCosts(cost=0)) == -math.inf
    assert calibrate.threshold(known, both, known) == -math.inf, "no distance is left"


def test_without_any_spread_the_threshold_lies_in_the_middle() -> None:
    assert calibrate.threshold(np.full(4, 0.75), np.ones(4, bool), np.full(3, 0.25)) == 0.5


def test_right_answers_may_be_numbers() -> None:
    known, other = np.linspace(0.7, 0.9, 9), np.linspace(0.1, 0.4, 9)
    answers = np.array([1, 0, 1, 1, 1, 1, 0, 1, 1])
    assert calibrate.threshold(known, answers, other) == calibrate.threshold(known, answers.astype(bool), other)


def test_the_trade_of_few_clips_has_few_points() -> None:
    known, other = np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.5])
    found = calibrate.trade(known, other, np.array([0.5, 0.5]))
    assert found == [Trade(1.0, 0.0, 0.0), Trade(2.0, 0.3333, 0.5)]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("left", [0.21, 0.5, 0.9])
def test_what_is_grown_rises_with_what_was_left_out_and_stays_a_share(share: float, left: float) -> None:
    found = calibrate.grown(share, left, 4)
    assert share < found < calibrate.grown(share, (1 + left) / 2, 4) < 1
    assert calibrate.grown(share, USUAL, 4) == share == calibrate.grown(share, 1.0, 4)


def test_a_guess_does_not_grow() -> None:
    assert calibrate.grown(0.25, 0.5, 4) == 0.25 and calibrate.grown(0.2, 0.5, 4) == 0.2
    assert calibrate.grown(0.26, 0.5, 4) > 0.26 and calibrate.grown(0.26, 0.5, 3) == 0.26


@pytest.mark.parametrize(("share", "count"), [(0.0, 7.0), (0.3, 10.0), (0.5, 2.5), (1.0, 40.0)])
def test_wilson_solves_its_equation(share: float, count: float) -> None:
    """At either end the share lies 1.96 standard errors of that end away."""
    low, high = calibrate.wilson(share, count)
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        error = math.sqrt(end * (1 - end) / count)
        assert abs(share - end) == pytest.approx(calibrate.Z * error if 0 < end < 1 else abs(share - end), abs=1e-9)
    assert (low == 0) == (share == 0) and (high == 1) == (share == 1)


@pytest.mark.parametrize("seed", range(4))
def test_effective_clips_by_a_loop_over_groups(seed: int) -> None:
    rng = np.random.default_rng(seed)
    right, groups = rng.random(20) < 0.7, rng.integers(0, 6, 20).astype(str)
    weights = rng.random(20)
    weights /= weights.mean()
    for each in (None, weights):
        by = np.ones(20) if each is None else each
        share = sum(w * r for w, r in zip(by, right, strict=True)) / 20
        pairs = zip(by, right, groups, strict=True)
        parts = [list(part) for _, part in itertools.groupby(sorted(pairs, key=lambda p: p[2]), key=lambda p: p[2])]
        squares = sum(sum(w * (r - share) for w, r, _ in part) ** 2 for part in parts)
        effect = squares * len(parts) / (len(parts) - 1) / 20 / max(share * (1 - share), 0.5 / 20)
        wanted = 20 / max(1, effect, sum(w * w for w in by) / 20)
        assert calibrate.effective(right, groups, each) == pytest.approx(wanted)


def test_all_right_or_all_wrong_are_worth_their_number() -> None:
    groups = np.arange(6).astype(str)
    assert calibrate.effective(np.ones(6, bool), groups) == 6 == calibrate.effective(np.zeros(6, bool), groups)


def test_intervals_end_at_none_and_all() -> None:
    right, groups = np.array([True, False] * 5), np.arange(10).astype(str)
    count = calibrate.effective(right, groups) / calibrate.FOLDED
    assert calibrate.interval(right, groups, lost=0.9)[0] == calibrate.wilson(0.0, count)[0] == 0
    assert calibrate.interval(right, groups, gained=0.9)[1] == calibrate.wilson(1.0, count)[1] == 1
    assert calibrate.interval(right, groups) == calibrate.wilson(0.5, count)


def test_balanced_weights_give_every_class_the_same() -> None:
    labels = np.array(["b", "a", "b", "b"])
    assert calibrate.balanced(labels) == pytest.approx([2 / 3, 2, 2 / 3, 2 / 3])


@pytest.mark.parametrize(
    "values",
    [{"cost": True}, {"share": "0.1"}, {"most": 1.01}, {"most": -0.01}, {"share": math.nan}, {"cost": math.inf}],
)
def test_costs_that_there_cannot_be_name_what_was_found(values: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="expected some videos|" + re_found(values)):
        ErrorCosts(**values)


def re_found(values: dict[str, float]) -> str:
    ((name, value),) = values.items()
    return f"expected {name} of an unknown clip from 0 to (1|inf), found {value!r}"


def test_costs_at_their_limits_and_their_stake() -> None:
    assert ErrorCosts(0, 0, 0).stake == 0 and ErrorCosts(most=1.0).most == 1
    assert ErrorCosts(cost=2, share=0.75).stake == pytest.approx(6)
    assert ErrorCosts.of({}) == ErrorCosts() and ErrorCosts.of(True) == ErrorCosts() and ErrorCosts.of(False) is None
