"""Segments of whole films: shots, the likeliest course, lengths of actions, and unknown moments."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from kshot.recognizer.report import Odds
from kshot.recognizer.stream import cutting
from kshot.recognizer.stream.cutting import Footage, Spans, course
from kshot.recognizer.stream.timeline import timeline
from kshot.recognizer.stream.windows import WindowSettings
from recognizers import BLUE, GREEN, RED, Colours, paint


def test_the_course_is_the_best_of_all() -> None:
    """Against every sequence of labels."""
    rng = np.random.default_rng(1)
    for _ in range(5):
        evidence, cost = np.log(rng.dirichlet(np.ones(3), 7)), rng.uniform(0, 2, 7)

        best = max(worth(labels, evidence, cost) for labels in itertools.product(range(3), repeat=7))
        assert worth(course(evidence, cost).tolist(), evidence, cost) == pytest.approx(best)


def worth(labels: Sequence[int], evidence: np.ndarray, cost: np.ndarray) -> float:
    """What a course of labels says, less what its changes cost."""
    changes = sum(cost[i] for i in range(1, len(labels)) if labels[i] != labels[i - 1])
    return float(sum(evidence[i, label] for i, label in enumerate(labels)) - changes)


def test_what_is_too_short_goes_to_the_better_neighbour() -> None:
    labels = np.array([0] * 6 + [1] * 2 + [2] * 6)
    evidence = np.full((14, 3), -1.0)
    evidence[6:8, 2] = -0.5
    least = np.array([3.0, 3.0, 3.0])
    assert cutting._kept(labels, evidence, least).tolist() == [0] * 6 + [2] * 8
    assert cutting._kept(labels, evidence, np.ones(3)).tolist() == labels.tolist()
    flicker = np.array([0, 1, 0, 1, 0, 1])
    assert len(set(cutting._kept(flicker, np.full((6, 3), -1.0), np.full(3, 9.0)).tolist())) == 1


def test_windows_follow_the_usual_length_of_each_action() -> None:
    settings = WindowSettings.of(Colours())  # 4 intervals of half a second
    spans = Spans.build(["long", "usual", "short", "new"], {"long": 8.0, "usual": 2.0, "short": 0.9}, settings)
    assert spans.action.tolist() == [12, 3, 2, 3]
    assert spans.least.tolist() == pytest.approx([10.0, 2.5, 1.125, 2.5])
    less = Spans.build(["usual"], {}, replace(settings, shortest=0.75))
    assert less.least.tolist() == pytest.approx([1.25])


def test_each_frame_is_encoded_once_however_many_lengths_there_are() -> None:
    judge = Colours()
    judge.action_seconds = {"red": 8.0, "green": 2.0, "blue": 2.0}
    made = timeline(judge, paint((RED, 300), (GREEN, 100), (BLUE, 100), side=32))
    assert len(judge.encoded) == made.looked_at == 40
    assert [s.label for s in made.segments] == ["red", "green", "blue"]
    assert [s.end for s in made.segments] == pytest.approx([12, 16, 20], abs=0.3)
    assert Footage(judge, made.settings, judge.action_seconds).title == "watching the video, windows of 2 lengths"


def test_a_short_shot_is_answered_as_the_clip_that_it_is_and_a_long_one_by_windows() -> None:
    """Shots of 6 and 8 intervals, where windows of 3 may lie in what is longer than 6."""
    judge = Colours()
    footage = Footage(judge, WindowSettings.of(judge), judge.action_seconds)
    states = np.arange(14.0)[:, None]
    shown: list[np.ndarray] = []
    decide = judge.decide
    judge.decide = lambda given: (shown.append(given), decide(np.zeros((len(given), 4, 3))))[1]  # type: ignore[method-assign]
    footage.add(range(14), states, [3.0])
    footage.segments(7.0, 14, [3.0], np.full(3, -np.inf))
    clips = [given[..., 0].astype(int).tolist() for given in shown if given.shape[0] == 1]
    assert clips == [[[0, 2, 3, 5]]]
    assert footage.shots.times == {6: 3.0} and [one[:2] for one in footage.shots.answers] == [(0, 6)]


def test_moments_are_weighed_by_the_odds_unless_a_threshold_is_set() -> None:
    """Half as bright as any clip: known 0.5, where the odds are e to one; the threshold alone is far below."""
    judge = Colours()
    judge.odds = Odds(level=11.0, slope=20.0)
    film = paint((RED, 100), (GREEN // 2, 100), (BLUE, 100), side=32)
    assert [s.label for s in timeline(judge, film).segments] == ["red", "unknown", "blue"]
    assert [s.label for s in timeline(judge, film, threshold=0.1).segments] == ["red", "green", "blue"]
    judge.odds = None
    assert [s.label for s in timeline(judge, film).segments] == ["red", "green", "blue"]


def test_memory_of_a_shot_without_end_is_bounded() -> None:
    judge = Colours()
    footage = Footage(judge, WindowSettings.of(judge), judge.action_seconds)
    for start in range(0, 4000, 32):
        footage.add(range(start, start + 32), np.zeros((32, 3)), [])
        assert len(footage.shots._shown) <= 6 + cutting.LATE
    footage.add([40_000], np.zeros((1, 3)), [])
    assert len(footage.shots._shown) <= 6 + cutting.LATE
    assert footage.shots.answers == []


def test_a_cut_is_found_to_the_frame() -> None:
    """Windows reach over a cut, and intervals begin elsewhere; segments do not."""
    for frames in (95, 100, 105):
        made = timeline(Colours(), paint((RED, frames), (BLUE, 200 - frames), side=32))
        assert [s.end for s in made.segments] == [frames / 25, 8]
