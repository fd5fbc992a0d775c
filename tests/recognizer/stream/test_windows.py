"""The engine of long videos: each frame once, however it comes; windows, smoothing and segments worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from kshot.errors import OptionError
from kshot.recognizer.stream.windows import Engine, Labels, Scores, Segments, Windows, WindowSettings
from recognizers import BLUE, DARK, GREEN, RED, SIZE, Colours, paint


def plain(judge: Colours, **options) -> WindowSettings:
    """Raw windows, every label believed."""
    return WindowSettings.of(judge, **({"smooth": 0.0, "shortest": 0.0} | options))


def test_a_window_is_as_many_intervals_as_a_clip_has_frames() -> None:
    judge = Colours()
    frames = paint((RED, 4), (BLUE, 4))
    scores = Windows(judge, plain(judge)).add(range(8), frames)
    assert np.allclose(scores.times, [1.0, 1.5, 2.0, 2.5, 3.0])  # windows of 2 s every 0.5 s
    blue = np.array([0, 0.25, 0.5, 0.75, 1])
    expected = np.exp(8 * np.stack([1 - blue, np.zeros(5), blue], 1))
    assert np.allclose(scores.proba, expected / expected.sum(1, keepdims=True))
    assert np.allclose(scores.known, np.maximum(blue, 1 - blue))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("smooth", [0.0, 1.2])
def test_bit_by_bit_is_the_same_as_all_at_once(stride: int, smooth: float) -> None:
    rng = np.random.default_rng(stride)
    intervals = np.sort(rng.choice(60, 30, replace=False))  # with gaps, as slow films and busy computers have
    frames = rng.integers(0, 256, (30, SIZE, SIZE, 3), np.uint8)
    answers = []
    for pieces in (1, 7, 30):
        judge = Colours()
        engine = Engine(judge, WindowSettings.of(judge, stride=stride, smooth=smooth, shortest=1.0))
        parts = [
            engine.add(intervals[piece].tolist(), frames[piece]) for piece in np.array_split(np.arange(30), pieces)
        ]
        parts.append(engine.end(31.7))
        assert len(judge.encoded) == 30
        assert judge.windows == len(range(0, 63 - judge.frames + 1, stride))  # 63 intervals begin their second half
        answers.append(
            (
                Scores.joined([part.scores for part in parts]),
                [label for part in parts for label in part.labels],
                [segment for part in parts for segment in part.segments],
            )
        )
    (whole, labels, segments), *others = answers
    for scores, same_labels, same_segments in others:
        assert np.array_equal(scores.times, whole.times)
        assert np.allclose(scores.proba, whole.proba, atol=1e-12) and np.allclose(scores.known, whole.known, atol=1e-12)
        assert same_labels == labels and [s.plain() for s in same_segments] == [s.plain() for s in segments]
    assert np.allclose(np.diff(whole.times), stride * 0.5)
    assert segments[0].start == 0 and segments[-1].end == 31.7
    assert all(one.end == two.start for one, two in pairwise(segments))


def test_an_interval_without_a_frame_shows_the_one_before_it() -> None:
    judge = Colours()
    windows = Windows(judge, plain(judge))
    windows.add([0, 1, 6], paint((RED, 1), (BLUE, 1), (GREEN, 1)))
    assert len(judge.encoded) == 3
    held = Colours()
    full = Windows(held, plain(held)).add(range(7), paint((RED, 1), (BLUE, 5), (GREEN, 1)))
    again = Windows(judge, plain(judge)).add([0, 1, 6], paint((RED, 1), (BLUE, 1), (GREEN, 1)))
    assert np.allclose(again.proba, full.proba)


def test_a_stream_that_begins_late_shows_its_first_frame_before() -> None:
    judge = Colours()
    scores = Windows(judge, plain(judge)).add([3], paint((RED, 1)))
    assert np.allclose(scores.times, [1.0]) and scores.proba[0].argmax() == 0


def test_smoothing_is_a_mean_that_falls_with_the_distance() -> None:
    judge = Colours()
    frames = np.random.default_rng(0).integers(0, 256, (12, SIZE, SIZE, 3), np.uint8)
    raw = Windows(judge, plain(judge)).add(range(12), frames)
    settings = replace(plain(judge), smooth=1)
    windows = Windows(judge, settings)
    first, rest = windows.add(range(12), frames), windows.end(12)
    assert (len(first), len(rest)) == (8, 1)  # the last one waits for a neighbour that never comes
    smooth = Scores.joined([first, rest])
    assert np.allclose(smooth.proba[3], 0.25 * raw.proba[2] + 0.5 * raw.proba[3] + 0.25 * raw.proba[4])
    assert np.allclose(smooth.known[0], (2 * raw.known[0] + raw.known[1]) / 3)
    assert np.allclose(smooth.proba[-1], (raw.proba[-2] + 2 * raw.proba[-1]) / 3)
    assert np.allclose(smooth.proba.sum(1), 1)


def test_little_is_held_however_long_the_stream() -> None:
    judge = Colours()
    engine = Engine(judge, WindowSettings.of(judge))
    frames = paint((RED, 32))
    for start in range(0, 32 * 50, 32):
        engine.add(range(start, start + 32), frames)
    windows = engine._windows
    assert len(windows._states) <= judge.frames and len(windows._shown) == judge.frames - 1
    assert len(windows._smoother._raw) <= 2 * engine.settings.smooth


def test_a_label_keeps_its_place_until_another_leads_clearly() -> None:
    proba = np.array([[0.6, 0.4], [0.46, 0.54], [0.54, 0.46], [0.4, 0.6], [0.54, 0.46], [0.46, 0.54]])
    known = np.array([1, 1, 1, 1, 0, 1.0])
    scores = Scores(np.arange(6.0), proba, known)
    labels = Labels(np.array(["a", "b"]), 0.5).add(scores)
    assert labels == ["a", "a", "a", "b", "unknown", "b"]  # after "unknown" the best one wins


def test_each_action_has_its_threshold() -> None:
    scores = Scores(np.arange(2.0), np.array([[0.8, 0.2], [0.2, 0.8]]), np.full(2, 0.5))
    assert Labels(np.array(["a", "b"]), np.array([0.6, 0.4])).add(scores) == ["unknown", "b"]
    settings = WindowSettings.of(Colours(), threshold={"green": 0.5, "": 0.1})
    assert settings.thresholds == (0.1, 0.5, 0.1) and settings.threshold == 0.1
    assert WindowSettings.of(Colours()).limits(3).tolist() == [0.3] * 3
    with pytest.raises(OptionError, match="unknown action 'grey'"):
        WindowSettings.of(Colours(), threshold={"grey": 0.5})


SETTINGS = WindowSettings(
    window=2.0, interval=0.5, stride=2, smooth=0, shortest=3.0, threshold=0.0
)  # a window a second


def segments(labels: str, shortest: float = 3.0, until: float | None = None) -> list[tuple[float, float, str]]:
    """Of one window a second, the first in the middle of its second."""
    names = {"u": "unknown"}
    found = Segments(np.array(["a", "b", "c"]), replace(SETTINGS, shortest=shortest))
    done = []
    for number, label in enumerate(labels):
        proba = np.array([[label == name for name in "abc"]], float) * 0.5 + 0.1
        done += found.add(Scores(np.array([number + 0.5]), proba, np.ones(1)), [names.get(label, label)])
    done += found.end(len(labels) if until is None else until)
    assert all(0 < s.score <= 0.6 if s.label != "unknown" else s.score is None for s in done)
    return [(s.start, s.end, s.label) for s in done]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("aaaabbbb", [(0, 4, "a"), (4, 8, "b")]),
        ("aaabaaa", [(0, 7, "a")]),  # filled
        ("aaabaa", [(0, 6, "a")]),  # a believed label comes back at once
        ("aaabcbbb", [(0, 4, "a"), (4, 8, "b")]),  # two seconds of flicker, shared
        ("aaabcbcaaa", [(0, 3, "a"), (3, 7, "unknown"), (7, 10, "a")]),  # four of them
        ("aaauuubaaa", [(0, 3, "a"), (3, 7, "unknown"), (7, 10, "a")]),
        ("aaabuuu", [(0, 3, "a"), (3, 7, "unknown")]),
        ("aaauuuuaaa", [(0, 3, "a"), (3, 7, "unknown"), (7, 10, "a")]),
        ("aaaub", [(0, 5, "a")]),  # the end is too short for anything new
        ("abcccc", [(0, 6, "c")]),  # so is the beginning
        ("abacbcccc", [(0, 5, "unknown"), (5, 9, "c")]),
        ("aa", [(0, 2, "a")]),  # there is nothing else
        ("ab", [(0, 2, "unknown")]),
        ("uuuuuu", [(0, 6, "unknown")]),
    ],
)
def test_segments_worked_out_by_hand(labels: str, expected: list[tuple[float, float, str]]) -> None:
    assert segments(labels) == expected


def test_without_a_shortest_time_every_label_is_believed() -> None:
    assert segments("abba", shortest=0) == [(0, 1, "a"), (1, 3, "b"), (3, 4, "a")]
    assert segments("aab", shortest=0, until=7.0)[-1] == (2, 7.0, "b")


def test_the_score_of_a_segment_is_the_mean_of_its_label() -> None:
    found = Segments(np.array(["a", "b"]), replace(SETTINGS, shortest=1.0))
    proba = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    done = found.add(Scores(np.array([0.5, 1.5, 2.5]), proba, np.ones(3)), ["a", "a", "b"]) + found.end(3.0)
    assert [s.score for s in done] == pytest.approx([0.8, 0.8])


def test_all_of_it_together() -> None:
    judge = Colours()
    engine = Engine(judge, WindowSettings.of(judge))
    frames = paint((RED, 20), (DARK, 20), (GREEN, 20))
    done = engine.add(range(60), frames).segments + engine.end(30.0).segments
    assert [s.label for s in done] == ["red", "unknown", "green"]
    assert [s.start for s in done[1:]] == pytest.approx([10, 20], abs=0.75)


@pytest.mark.parametrize(
    "options", [{"window": 0.0}, {"stride": 0}, {"stride": 5}, {"smooth": -1.0}, {"shortest": float("nan")}]
)
def test_impossible_settings_are_refused(options: dict) -> None:
    with pytest.raises(OptionError, match="expected"):
        WindowSettings.of(Colours(), **options)


def test_settings_follow_the_taught_clips() -> None:
    settings = WindowSettings.of(Colours())
    assert (settings.window, settings.interval, settings.step) == (2.0, 0.5, 0.5)
    assert (settings.smooth, settings.shortest, settings.delay) == (2, 1.5, 2.0)
