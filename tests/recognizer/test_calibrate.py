"""Temperature, threshold and intervals, against formulas, other libraries and values by hand."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from kshot.errors import OptionError
from kshot.recognizer import calibrate
from kshot.recognizer.costs import ErrorCosts
from kshot.recognizer.report import Odds, Trade, Unknown


def test_losses_are_cross_entropy():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(20, 4)), rng.integers(0, 4, 20)
    wanted = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits) / 0.7, torch.from_numpy(labels), reduction="none"
    )
    np.testing.assert_allclose(calibrate.losses(logits, labels, 0.7), wanted, rtol=1e-10)


def test_a_class_that_was_not_there_has_no_part():
    logits, labels = np.array([[1.0, -np.inf, 3.0]]), np.array([2])
    wanted = -math.log(math.exp(3) / (math.exp(1) + math.exp(3)))
    assert calibrate.losses(logits, labels, 1.0) == pytest.approx(wanted)
    assert calibrate.softmax(logits, 1.0)[0].tolist() == pytest.approx(
        [math.exp(-2) / (1 + math.exp(-2)), 0, 0.8807971]
    )


@pytest.mark.parametrize("truth", [0.3, 1.0, 4.0])
def test_the_temperature_that_made_the_labels_is_found(truth: float):
    rng = np.random.default_rng(1)
    logits = 3 * rng.normal(size=(4000, 5))
    cumulated = calibrate.softmax(logits, truth).cumsum(1)
    labels = (rng.random((4000, 1)) > cumulated).sum(1).clip(0, 4)
    assert calibrate.temperature(logits, labels) == pytest.approx(truth, rel=0.12)


def test_the_temperature_stays_sane_where_every_clip_is_right():
    few, many = (np.arange(count) % 3 for count in (4, 400))
    found = calibrate.temperature(np.eye(3)[few] * 3, few)
    assert 0.5 < found < 1
    surer = calibrate.temperature(np.eye(3)[many] * 3, many)  # more clips say more
    assert calibrate.TEMPERATURES[0] < surer < found / 1.5
    assert calibrate.softmax(np.eye(3)[many] * 3, surer).max(1).mean() > 0.99
    assert calibrate.temperature(np.zeros((0, 3)), np.zeros(0, np.int64)) == 1


def test_auroc_is_that_of_scikit_learn():
    rng = np.random.default_rng(2)
    known, other = rng.integers(0, 9, 40).astype(float), rng.integers(0, 7, 30).astype(float)  # with ties
    wanted = roc_auc_score([1] * 40 + [0] * 30, np.concatenate([known, other]))
    assert calibrate.auroc(known, other) == pytest.approx(wanted)


def test_false_positives_at_95_by_hand():
    known = np.arange(20.0)  # accepting 95 % of them leaves out the lowest one
    assert calibrate.fpr95(known, np.array([0.5, 0.9, 1.0, 30.0])) == 0.5


def test_the_threshold_parts_what_can_be_parted_and_refuses_few():
    known, right = np.linspace(0.8, 0.9, 20), np.ones(20, bool)
    place = calibrate.threshold(known, right, np.linspace(0.3, 0.7, 20))
    assert 0.7 < place < 0.8
    mixed, other = np.random.default_rng(3).normal(2, 1, 30), np.random.default_rng(4).normal(0, 1, 30)
    for most in (0.0, 0.1, 0.2):  # others would be worth more
        place = calibrate.threshold(mixed, np.ones(30, bool), other, costs=ErrorCosts(100, 0.5, most))
        assert (mixed < place).sum() == round(most * 30)


def test_the_threshold_is_where_the_costs_are_least():
    """Two normal distributions two deviations apart, known well: where their densities are as 0.8 to the stake."""
    at = (np.arange(20_000) + 0.5) / 20_000
    scores = np.array([NormalDist().inv_cdf(p) for p in at])
    right = np.arange(20_000) * 7 % 5 > 0
    for costs in (ErrorCosts(1, 0.2, 1), ErrorCosts(4, 0.2, 1), ErrorCosts(1, 0.5, 1)):
        place = calibrate.threshold(scores + 2, right, scores, costs=costs)
        assert place == pytest.approx(1 - math.log(0.8 / costs.stake) / 2, abs=0.03)
    assert calibrate.threshold(scores + 2, right, scores, costs=ErrorCosts(share=0)) == -math.inf
    assert calibrate.threshold(scores, right, scores + 1) == -math.inf, "others look more like it than its own"


def test_the_odds_are_those_of_two_normal_distributions():
    """Two deviations apart: the logarithm of their densities' quotient is a line of slope 2, 0 half-way."""
    at = (np.arange(20_000) + 0.5) / 20_000
    scores, right = np.array([NormalDist().inv_cdf(p) for p in at]), np.ones(20_000, bool)
    for costs in (ErrorCosts(), ErrorCosts(4, 0.3, most=1)):
        odds = calibrate.odds(scores + 2, right, scores, costs=costs)
        assert odds is not None and odds.slope == pytest.approx(2, abs=0.01)
        for score in (-1.0, 1.0, 2.5):
            densities = NormalDist(0).pdf(score) / NormalDist(2).pdf(score)
            wanted = math.log(densities * costs.stake)
            assert odds.level - odds.slope * score == pytest.approx(wanted, abs=0.02)
    assert calibrate.odds(scores, right, scores + 1) == Odds(math.log(0.25), 0), "the share alone is known"
    assert calibrate.odds(scores + 2, right, scores, costs=ErrorCosts(share=0)) is None
    assert calibrate.odds(np.ones(4), np.arange(4) < 1, np.zeros(4)) is None, "one clip has no deviation"
    assert Unknown.of_plain(Unknown(odds=Odds(1.0, 2.0)).plain()).odds == Odds(1.0, 2.0)


@pytest.mark.parametrize("apart", [0.0, 0.5, 2.0])
def test_by_its_odds_no_more_clips_are_unknown_than_may_be_refused(apart: float):
    """However many videos show nothing: where a label, right three times in four, is worth less than "unknown"."""
    scores, right = np.random.default_rng(0).normal(size=400), np.arange(400) % 4 > 0
    for most, share in ((0.1, 0.75), (0.3, 0.75), (0.1, 0.99)):
        odds = calibrate.odds(scores + apart, right, scores, costs=ErrorCosts(1, share, most))
        assert odds is not None
        unknown = 1 / (1 + np.exp(odds.slope * (scores + apart) - odds.level))
        assert np.mean(unknown > 0.75 * (1 - unknown) + 1e-12) == pytest.approx(most if odds.slope else 0)
    free = calibrate.odds(scores + apart, right, scores, costs=ErrorCosts(1, 0.75, most=1))
    assert free is not None and free.level > odds.level


def test_a_useless_rejection_refuses_next_to_nobody():
    """Scores that tell nothing: of the clips refused, the cheapest place among so few would have 5 %."""
    refused = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        place = calibrate.threshold(rng.normal(size=25), rng.random(25) < 0.8, rng.normal(size=25))
        refused.append(NormalDist().cdf(max(place, -9.0)))
    assert np.mean(refused) < 0.01


def test_clips_filmed_together_are_one_piece_of_evidence_for_a_threshold():
    rng = np.random.default_rng(0)
    known, other, right = rng.normal(2, 1, 40), rng.normal(0, 1, 40), np.ones(40, bool)
    alone = calibrate.threshold(known, right, other)
    assert alone > calibrate.threshold(known, right, other, groups=np.arange(40) // 10)
    assert calibrate.threshold(known, right, other, groups=np.zeros(40)) == -math.inf


def test_what_it_costs_can_be_said():
    assert ErrorCosts.of(True) == ErrorCosts() and ErrorCosts.of(False) is None
    assert ErrorCosts.of({"share": 0.5, "cost": 3}).stake == 3
    with pytest.raises(OptionError, match="did you mean 'share'"):
        ErrorCosts.of({"shares": 0.5})
    for wrong in ({"cost": -1}, {"cost": math.nan}, {"cost": math.inf}, {"share": 1.0}, {"share": 1.1}, {"most": "1"}):
        with pytest.raises(OptionError, match="expected"):
            ErrorCosts.of(wrong)


def test_the_trade_by_hand():
    known, (other, weights) = np.arange(10.0), (np.array([-1.0, 0.5, 1.5, 8.0]), np.full(4, 0.25))
    assert calibrate.trade(known, other, weights) == [
        Trade(0.0, 0.0, 0.25),
        Trade(1.0, 0.1, 0.5),
        Trade(2.0, 0.2, 0.75),
        Trade(3.0, 0.3, 0.75),
        Trade(5.0, 0.5, 0.75),
    ]


def test_weights_count_clips_that_often():
    known, other = np.array([0.2, 0.5, 0.6, 0.9]), np.array([0.1, 0.55, 0.7])
    thrice, shares = np.repeat(other, [1, 2, 3]), np.array([1, 2, 3]) / 6
    assert calibrate.auroc(known, other, shares) == pytest.approx(calibrate.auroc(known, thrice))
    assert calibrate.fpr95(known, other, shares) == pytest.approx(calibrate.fpr95(known, thrice))
    right = np.array([True, False, True, True])
    assert calibrate.threshold(known, right, other, shares) == calibrate.threshold(known, right, thrice)


def test_what_clips_of_new_actions_will_look_like_is_foreseen():
    """Of six class means that are all alike other, each clip has been asked of five only."""
    cosines = np.random.default_rng(5).normal(size=(40_000, 6))
    known, truth = np.random.default_rng(6).normal(1.5, 1, 40_000), cosines.max(1)
    nearest = np.sort(cosines[:, :5], 1)[:, :-3:-1]
    foreseen = calibrate.out_of_class(nearest, 6)
    assert foreseen[1].sum() == pytest.approx(1)
    wanted = calibrate.auroc(known, truth)
    assert calibrate.auroc(known, *foreseen) == pytest.approx(wanted, abs=0.005)
    assert calibrate.auroc(known, nearest[:, 0]) > wanted + 0.02, "the naive one flatters"


def test_the_interval_reaches_as_far_as_what_was_taken_off():
    right, alone = np.arange(30) % 5 > 0, np.arange(30).astype(str)
    low, high = calibrate.interval(right, alone)
    plain = calibrate.wilson(0.8, calibrate.effective(right, alone))
    assert low < plain[0] and plain[1] < high
    less = calibrate.interval(right, alone, 0.1)
    assert less[0] < low and less[1] == high


def test_what_was_left_out_is_put_right():
    """Half of a class left out: odds over those of a guess (1 to 4), to the power of (0.8 / 0.5) ** 0.25."""
    more = (0.8 / 0.5) ** calibrate.GROWTH
    odds = 0.25 * (0.6 / 0.4 * 4) ** more
    assert calibrate.grown(0.6, 0.5, 5) == pytest.approx(odds / (1 + odds))
    assert 0.6 < calibrate.grown(0.6, 1 / 3, 5) < calibrate.grown(0.6, 0.5, 5)
    for share, left in ((0.6, 0.2), (0.6, 0.1), (1.0, 0.5), (0.0, 0.5), (0.2, 0.5), (0.6, 1.0)):
        assert calibrate.grown(share, left, 5) == share
    right, alone = np.arange(30) % 5 > 0, np.arange(30).astype(str)
    low, high = calibrate.interval(right, alone)
    more = calibrate.interval(right, alone, 0.0, 0.05)
    assert more[0] == low and more[1] > high


def test_classes_can_count_alike():
    labels, right = np.array([0] * 8 + [1] * 2), np.array([True] * 8 + [False] * 2)
    weights = calibrate.balanced(labels)
    assert weights.mean() == pytest.approx(1) and np.average(right, weights=weights) == 0.5
    groups = np.arange(10).astype(str)
    assert calibrate.effective(right, groups, weights) <= 10 / (weights**2).mean()  # the two count four times
    low, high = calibrate.interval(right, groups, weights=weights)
    assert low < 0.5 < high and high - low > np.subtract(*calibrate.interval(right, groups)[::-1])


def test_wilson_by_hand():
    assert calibrate.wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    low, high = calibrate.wilson(1.0, 5)
    assert high == 1 and low == pytest.approx(0.5655, abs=1e-4)


def test_clips_that_stand_and_fall_together_count_once():
    right = np.repeat([True, False, True, True, False, True, True, False], 3)
    alone, together = np.arange(24).astype(str), np.repeat(np.arange(8), 3).astype(str)
    assert calibrate.effective(right, alone) == pytest.approx(24 * 23 / 24, rel=0.01)
    assert calibrate.effective(right, together) == pytest.approx(8 * 7 / 8, rel=0.01)
    assert calibrate.effective(right, np.zeros(24).astype(str)) == 1
