"""Windows, smoothing and flicker against slow code that has the whole film before it; times and limits by hand."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kshot.datasets.annotations.subtitles import stamp
from kshot.errors import OptionError
from kshot.recognizer.stream import timeline as module
from kshot.recognizer.stream.timeline import STILLS, Timeline, check_picture
from kshot.recognizer.stream.windows import (
    MARGIN,
    Labels,
    Scores,
    Segment,
    Segments,
    Windows,
    WindowSettings,
    _Smoother,
)
from recognizers import SIZE, Colours


def shown(intervals: list[int], total: int) -> list[int]:
    """For each interval the number of the frame that it shows: its own, the one before, or else the first."""
    return [max((n for n, own in enumerate(intervals) if own <= i), default=0) for i in range(total)]


def raw(judge: Colours, frames: np.ndarray, intervals: list[int], total: int, settings: WindowSettings) -> Scores:
    states = np.stack([frame.reshape(-1, 3).mean(0) / 255 for frame in frames])
    line, size = shown(intervals, total), judge.frames
    starts = range(0, total - size + 1, settings.stride)
    parts = [judge.decide(states[line[start : start + size]][None]) for start in starts]
    times = [(start + size / 2) * settings.interval for start in starts]
    return Scores(np.array(times), np.concatenate([p.proba for p in parts]), np.concatenate([p.known for p in parts]))


def smoothed(values: np.ndarray, radius: int) -> np.ndarray:
    """Means of the neighbours that there are, each with radius + 1 less its distance as weight."""
    made = []
    for place in range(len(values)):
        near = [i for i in range(len(values)) if abs(i - place) <= radius]
        weights = [radius + 1 - abs(i - place) for i in near]
        made.append(sum(w * values[i] for w, i in zip(weights, near, strict=True)) / sum(weights))
    return np.array(made)


@pytest.mark.parametrize("seed", range(6))
def test_windows_of_any_stream_are_those_of_the_whole_film(seed: int) -> None:
    rng = np.random.default_rng(seed)
    total, count = 40, int(rng.integers(5, 40))
    intervals = np.sort(rng.choice(total, count, replace=False)).tolist()
    frames = rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    judge, stride, radius = Colours(), int(rng.integers(1, 5)), int(rng.integers(0, 4))
    settings = replace(WindowSettings.of(judge, stride=stride), smooth=radius)
    windows, parts = Windows(judge, settings), []
    cuts = np.sort(rng.choice(np.arange(1, count), min(4, count - 1), replace=False)).tolist()
    for first, last in zip([0, *cuts], [*cuts, count], strict=True):
        parts.append(windows.add(intervals[first:last], frames[first:last]))
    found = Scores.joined([*parts, windows.end(total)])
    wanted = raw(Colours(), frames, intervals, total, settings)
    np.testing.assert_allclose(found.times, wanted.times)
    np.testing.assert_allclose(found.proba, smoothed(wanted.proba, radius), atol=1e-12)
    np.testing.assert_allclose(found.known, smoothed(wanted.known, radius), atol=1e-12)


def test_an_end_before_the_last_frame_takes_nothing_away_and_without_frames_there_is_nothing() -> None:
    judge = Colours()
    windows = Windows(judge, replace(WindowSettings.of(judge), smooth=0))
    assert len(windows.add(range(6), np.zeros((6, SIZE, SIZE, 3), np.uint8))) == 3
    assert len(windows.end(2)) == 0 and windows.intervals == 6
    empty = Windows(judge, WindowSettings.of(judge))
    assert len(empty.end(50)) == 0 and empty.intervals == 0


@pytest.mark.parametrize("radius", [0, 1, 3])
@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_smoothing_one_by_one_is_the_mean_over_neighbours(radius: int, count: int) -> None:
    rng = np.random.default_rng(count)
    scores = Scores(np.arange(float(count)), rng.random((count, 2)), rng.random(count))
    smoother, parts = _Smoother(radius, 2), []
    for i in range(count):
        part = smoother.add(Scores(scores.times[[i]], scores.proba[[i]], scores.known[[i]]))
        assert len(part) == (i >= radius), "a score waits for the neighbours after it, and no longer"
        parts.append(part)
    found = Scores.joined([*parts, smoother.end()])
    np.testing.assert_array_equal(found.times, scores.times)
    np.testing.assert_allclose(found.proba, smoothed(scores.proba, radius))
    np.testing.assert_allclose(found.known, smoothed(scores.known, radius))


def labels(proba: list[tuple[float, float]], known: list[float]) -> list[str]:
    scores = Scores(np.arange(float(len(known))), np.array(proba), np.array(known))
    return Labels(np.array(["a", "b"]), 0.5).add(scores)


def test_a_score_at_the_threshold_is_known() -> None:
    assert labels([(0.9, 0.1)] * 3, [0.5, 0.4999, 0.5001]) == ["a", "unknown", "a"]


def test_another_label_must_lead_by_more_than_the_margin() -> None:
    half = MARGIN / 2
    assert labels([(0.9, 0.1), (0.5 - half + 0.001, 0.5 + half - 0.001)], [1, 1]) == ["a", "a"]
    assert labels([(0.9, 0.1), (0.5 - half - 0.001, 0.5 + half + 0.001)], [1, 1]) == ["a", "b"]


def test_segments_come_as_soon_as_they_are_certain() -> None:
    """One window a second, three seconds to be believed: the first label ends when the next has lasted so long."""
    settings = WindowSettings(window=2.0, interval=0.5, stride=2, smooth=0, shortest=3.0, threshold=0.0)
    found, told = Segments(np.array(["a", "b"]), settings), []
    for number, label in enumerate("aaaabbbb"):
        done = found.add(Scores(np.array([number + 0.5]), np.array([[0.6, 0.4]]), np.ones(1)), [label])
        told += [(number, segment) for segment in done]
    assert told == [(6, Segment(0.0, 4.0, "a", pytest.approx(0.6)))]
    assert found.end(8.5) == [Segment(4.0, 8.5, "b", pytest.approx(0.4))]
    assert found.end(9.0) == [], "nothing is told twice"


@pytest.mark.parametrize("seed", range(25))
def test_segments_lie_end_to_end_and_last_long_enough_whatever_the_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    named = rng.choice(["a", "b", "c", "unknown"], 60, p=[0.4, 0.3, 0.1, 0.2]).repeat(rng.integers(1, 4, 60))
    settings = WindowSettings(2.0, 0.5, 2, 0, shortest=3.0, threshold=0.0)
    times, proba = np.arange(len(named)) + 0.5, rng.dirichlet(np.ones(3), len(named))
    whole, found = Segments(np.array(["a", "b", "c"]), settings), Segments(np.array(["a", "b", "c"]), settings)
    every = whole.add(Scores(times, proba, np.ones(len(named))), named.tolist()) + whole.end(float(len(named)))
    parts = []
    for i, label in enumerate(named):
        parts += found.add(Scores(times[[i]], proba[[i]], np.ones(1)), [str(label)])
    assert parts + found.end(float(len(named))) == every
    assert every[0].start == 0 and every[-1].end == len(named)
    for one, other in itertools.pairwise(every):
        assert one.end == other.start and one.label != other.label
    assert all(segment.end - segment.start >= 3.0 for segment in every)
    assert all((segment.score is None) == (segment.label == "unknown") for segment in every)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"window": math.inf}, "windows longer than 0 seconds, found inf"),
        ({"window": -1.0}, "windows longer than 0 seconds, found -1"),
        ({"stride": 0}, r"a stride of 1 to 4 frames \(a window\), found 0"),
        ({"stride": 5}, "found 5"),
        ({"smooth": math.inf}, "smooth and shortest of 0 seconds or more, found inf and 1.5"),
        ({"shortest": -0.1}, "found 1 and -0.1"),
    ],
)
def test_impossible_settings_say_what_was_found(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        WindowSettings.of(Colours(), **options)


def test_settings_are_in_windows_and_seconds() -> None:
    made = WindowSettings.of(Colours(), window=4.0, stride=2, smooth=5.0, shortest=0.0)
    assert (made.interval, made.step, made.smooth, made.shortest, made.threshold) == (1.0, 2.0, 2, 0.0, 0.3)
    assert made.delay == 2.0 + 2 * 2.0
    assert WindowSettings.of(Colours(), stride=4, window=2.0).stride == 4


def test_segments_are_rounded_for_json() -> None:
    plain = Segment(1.23456, 2.00049, "a", 0.123456).plain()
    assert plain == {"start": 1.235, "end": 2.0, "label": "a", "score": 0.1235}
    assert Segment(0, 1, "unknown", None).plain()["score"] is None


def film(*segments: Segment, duration: float = 10.0, fps: float = 10.0) -> Timeline:
    nothing = np.zeros((0, 1))
    return Timeline(
        video="a.mp4", duration=duration, fps=fps, frames=100, looked_at=20, classes=np.array(["a"]),
        times=np.array([0.123456]), proba=np.array([[0.33333333]]), known=np.array([0.98766]), labels=np.array(["a"]),
        segments=list(segments), settings=WindowSettings.of(Colours()), stills=[(0.0, nothing)],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("start", "end", "span"),
    [
        (0.0, 10.0, (1, 100)), (1.0, 2.0, (11, 20)), (1.04, 2.04, (11, 20)), (1.06, 2.06, (12, 21)),
        (3.0, 3.01, (31, 31)), (9.99, 10.0, (100, 100)), (9.0, 10.7, (91, 100)),
    ],
)  # fmt: skip
def test_frames_of_label_studio_are_counted_from_one(start: float, end: float, span: tuple[int, int]) -> None:
    (task,) = json.loads(film(Segment(start, end, "a", 0.12345)).as_label_studio())
    (region,) = task["predictions"][0]["result"]
    assert region["value"]["ranges"] == [{"start": span[0], "end": span[1]}]
    assert region["id"] == "kshot-0" and region["score"] == 0.1235 and region["to_name"] == "video"


def test_json_is_rounded_and_leaves_out_the_stills() -> None:
    found = json.loads(film(Segment(0, 10, "a", 0.5)).as_json())
    assert (found["times"], found["proba"], found["known"]) == ([0.1235], [[0.3333]], [0.9877])
    assert "stills" not in found and found["settings"]["threshold"] == 0.3
    assert (found["frames"], found["looked_at"], found["fps"]) == (100, 20, 10.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00:00.000"), (59.9996, "00:01:00.000"), (61.25, "00:01:01.250"), (3599.999, "00:59:59.999"),
     (3600, "01:00:00.000"), (360_000.5, "100:00:00.500")],
)  # fmt: skip
def test_subtitles_have_times_to_the_millisecond(seconds: float, text: str) -> None:
    assert stamp(seconds) == text


@pytest.mark.parametrize("name", ["a.png", "a.SVG", "a.b.pdf"])
def test_pictures_are_known_by_their_names(name: str, tmp_path: Any) -> None:
    assert check_picture(tmp_path / name) == name[-3:].lower()
    with pytest.raises(OptionError, match=r"a picture is a \.png, \.svg or \.pdf file"):
        check_picture(tmp_path / f"{name}.gif")


@pytest.mark.parametrize("count", [1, STILLS, STILLS + 1, 2 * STILLS + 1, 500])
def test_stills_are_the_first_of_even_stretches(count: int) -> None:
    stills = module._Stills(0.5)
    for interval in range(count):
        stills.add([interval], np.full((1, 1, 1, 3), interval % 251, np.uint8))
    every = stills.every
    if count <= STILLS:
        assert every == 1, "there is room for all"
    else:
        assert every in (2, 4, 8, 16) and count / every > STILLS / 2
    firsts = list(range(0, count, every))
    assert len(firsts) <= STILLS
    assert [seconds for seconds, _ in stills.kept] == [(number + 0.5) * 0.5 for number in firsts]
    assert [int(picture.flat[0]) for _, picture in stills.kept] == [number % 251 for number in firsts]
