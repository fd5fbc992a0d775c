"""From sampled frames to segments: one engine for files and for cameras.

Time is cut into equal intervals, as many to the length of a trained clip as the model takes frames of it. Each has one
frame (see `kshot.video.Grid`), encoded once; a window is T successive intervals, so it sees of a video what the model
saw of a clip. Windows are formed on the encoded frames, their scores smoothed, and the scores cut into segments.

Everything here works on whatever has come so far and holds no more than a window of it: what a file gives in one
stretch, a camera gives bit by bit, and both end in the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from kshot.errors import OptionError
from kshot.recognizer.classifier import UNKNOWN
from kshot.recognizer.report import Odds
from kshot.recognizer.stream.contract import Array, WindowClassifier
from kshot.recognizer.thresholds import ALL, Threshold, thresholds_of
from kshot.video import Grid, choose

WINDOWS_AT_ONCE = 64
MARGIN = 0.1  # of probability that another label must lead by, to take over from the one before


@dataclass(frozen=True)
class WindowSettings:
    """How a long video is cut into windows, and windows into segments.

    Attributes:
        window: seconds of a window.
        interval: seconds between frames, a window's T-th part.
        stride: intervals between windows.
        smooth: windows on either side whose scores count, too, less with their distance.
        shortest: seconds that a label must last to be believed.
        threshold: of `known`, below it "unknown"; for actions without one of their own.
        thresholds: (C,) of each action; empty for `threshold`.
        odds: of a moment that shows none of the actions, where no threshold is set; see `Odds`.
    """

    window: float
    interval: float
    stride: int
    smooth: int
    shortest: float
    threshold: float
    thresholds: tuple[float, ...] = ()
    odds: Odds | None = None

    @classmethod
    def of(
        cls,
        recognizer: WindowClassifier,
        window: float | None = None,
        stride: int | None = None,
        smooth: float | None = None,
        shortest: float | None = None,
        threshold: Threshold = None,
    ) -> WindowSettings:
        """Settings for a recognizer; what is None follows from the length of its clips.

        Args:
            recognizer: the one that is to answer.
            window: seconds.
            stride: frames between windows; None for 1, or a quarter of the unit of a backbone that sees clips, which
                encodes every window anew.
            smooth: seconds on either side over which scores are averaged.
            shortest: seconds that a label must last to be believed.
            threshold: of `known`, in place of the recognizer's.

        Raises:
            OptionError: an impossible value.
        """
        window = recognizer.clip_seconds_ if window is None else window
        smooth = window / 2 if smooth is None else smooth
        shortest = 0.75 * window if shortest is None else shortest
        if not 0 < window < math.inf:
            raise OptionError(f"expected windows longer than 0 seconds, found {window:g}")
        stride = max(1, recognizer.unit // 4) if stride is None else stride
        if not 1 <= stride <= recognizer.frames_:
            raise OptionError(f"expected a stride of 1 to {recognizer.frames_} frames (a window), found {stride}")
        if not (0 <= smooth < math.inf and 0 <= shortest < math.inf):
            raise OptionError(f"expected smooth and shortest of 0 seconds or more, found {smooth:g} and {shortest:g}")
        interval = window / recognizer.frames_
        each = thresholds_of(threshold, recognizer.threshold_, [str(name) for name in recognizer.classes_])
        given = threshold.get(ALL) if isinstance(threshold, Mapping) else threshold
        others = recognizer.threshold_ if given is None else given
        own = tuple(each.tolist()) if (each != others).any() else ()
        odds = recognizer.odds if (each == recognizer.threshold_).all() else None
        return cls(window, interval, stride, round(smooth / interval / stride), shortest, others, own, odds)

    def limits(self, actions: int) -> Array:
        """The threshold (C,) of each action."""
        return np.broadcast_to(self.thresholds or self.threshold, actions)

    @property
    def step(self) -> float:
        """Seconds between windows."""
        return self.stride * self.interval

    @property
    def delay(self) -> float:
        """Seconds from the middle of a window until its smoothed scores are known."""
        return self.window / 2 + self.smooth * self.step


@dataclass(frozen=True)
class Scores:
    """Scores of n successive windows.

    Attributes:
        times: (n,) seconds of their middles.
        proba: (n, C) probabilities.
        known: (n,) how much each looks like a trained class.
    """

    times: Array
    proba: Array
    known: Array

    def __len__(self) -> int:
        return len(self.times)

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """Several stretches, of at least one, as one."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("times", "proba", "known")))


@dataclass(frozen=True)
class Segment:
    """A stretch of one label.

    Attributes:
        start: seconds.
        end: seconds.
        label: an action or "unknown".
        score: mean probability of the label; None for "unknown".
    """

    start: float
    end: float
    label: str
    score: float | None

    def plain(self) -> dict[str, Any]:
        """Ready for JSON."""
        score = None if self.score is None else round(self.score, 4)
        return {"start": round(self.start, 3), "end": round(self.end, 3), "label": self.label, "score": score}


@dataclass(frozen=True)
class Answer:
    """What has become certain.

    Attributes:
        scores: smoothed scores of n windows.
        labels: (n) the label of each.
        segments: finished ones.
    """

    scores: Scores
    labels: list[str]
    segments: list[Segment]


class Engine:
    """All of it in a row: frames in, scores, labels and segments out."""

    def __init__(self, recognizer: WindowClassifier, settings: WindowSettings) -> None:
        self.settings = settings
        self._windows = Windows(recognizer, settings)
        self._labels = Labels(recognizer.classes_, settings.limits(len(recognizer.classes_)))
        self._segments = Segments(recognizer.classes_, settings)

    @property
    def intervals(self) -> int:
        """How many intervals have had a frame."""
        return self._windows.intervals

    def add(self, intervals: Sequence[int], frames: Array) -> Answer:
        """Takes frames (n, S, S, 3) uint8 of n >= 1 intervals, ascending; each is encoded once."""
        return self.take(intervals, self._windows.recognizer.states(frames))

    def take(self, intervals: Sequence[int], states: Array) -> Answer:
        """As `add`, of what the recognizer has made of the frames."""
        return self._answer(self._windows.take(intervals, states))

    def end(self, seconds: float) -> Answer:
        """Ends a stream of that length: all that is left."""
        last = self._answer(self._windows.end(Grid(self.settings.interval).count(seconds)))
        return replace(last, segments=last.segments + self._segments.end(seconds))

    def _answer(self, scores: Scores) -> Answer:
        labels = self._labels.add(scores)
        return Answer(scores, labels, self._segments.add(scores, labels))


class Windows:
    """Frames in, smoothed scores of windows out.

    An interval without a frame of its own shows the frame before it. Nothing is computed twice: neither a frame's
    state nor a window's raw scores.
    """

    def __init__(self, recognizer: WindowClassifier, settings: WindowSettings, span: int | None = None) -> None:
        self.recognizer, self.settings = recognizer, settings
        self._chosen = choose(span or recognizer.frames_, recognizer.frames_)  # of a window's intervals
        self._span = span or recognizer.frames_
        self.intervals = 0  # that have a state
        self._states: Array | None = None  # of the frames that the last T - 1 intervals show
        self._shown = np.zeros(0, np.int64)  # (T - 1,) which of these each of them shows
        self._smoother = _Smoother(settings.smooth, len(recognizer.classes_))

    def add(self, intervals: Sequence[int], frames: Array) -> Scores:
        """Takes frames (n, S, S, 3) of n intervals, ascending; returns the scores that have become certain."""
        return self.take(intervals, self.recognizer.states(frames))

    def take(self, intervals: Sequence[int], states: Array) -> Scores:
        """As `add`, of what the recognizer has made of the frames."""
        before = 0 if self._states is None else len(self._states)
        self._states = states if self._states is None else np.concatenate([self._states, states])
        # The last frame before fills the gap; before the very first there is only the first.
        first = max(before - 1, 0)
        ends = np.array([*intervals, intervals[-1] + 1])
        lengths = np.diff(ends, prepend=self.intervals)
        return self._slide(np.repeat([first, *range(before, before + len(states))], lengths))

    def end(self, intervals: int) -> Scores:
        """Ends a stream of so many intervals; returns the scores that are still missing."""
        missing = max(0, intervals - self.intervals)
        last = self._slide(np.full(missing if self._states is not None else 0, self._last()))
        return Scores.joined([last, self._smoother.end()])

    def _last(self) -> int:
        return -1 if self._states is None else len(self._states) - 1

    def _slide(self, shown: Array) -> Scores:
        """Moves the window over further intervals that show these states."""
        size, stride = self._span, self.settings.stride
        start = self.intervals - len(self._shown)
        line = np.concatenate([self._shown, shown]).astype(np.int64)
        self.intervals += len(shown)
        skip = -start % stride
        windows = sliding_window_view(line, size)[skip::stride] if len(line) >= size else np.zeros((0, size), np.int64)
        times = (start + skip + size / 2 + np.arange(len(windows)) * stride) * self.settings.interval
        parts = [
            self.recognizer.decide(self._states[windows[i : i + WINDOWS_AT_ONCE, self._chosen]])  # type: ignore[index]
            for i in range(0, len(windows), WINDOWS_AT_ONCE)
        ]
        self._shown = line[len(line) - min(len(line), size - 1) :]
        if self._states is not None:  # only what a later window can still see
            used, self._shown = np.unique(np.append(self._shown, self._last()), return_inverse=True)
            self._states, self._shown = self._states[used], self._shown[:-1]
        if not parts:
            return Scores(times, np.zeros((0, len(self.recognizer.classes_))), np.zeros(0))
        proba, known = (np.concatenate([getattr(p, n) for p in parts]).astype(np.float64) for n in ("proba", "known"))
        return self._smoother.add(Scores(times, proba, known))


class _Smoother:
    """A mean over `radius` windows on either side, weights falling to zero with the distance; fewer at both ends."""

    def __init__(self, radius: int, classes: int) -> None:
        self.radius = radius
        self.weights = 1.0 - np.abs(np.arange(-radius, radius + 1)) / (radius + 1)
        self._raw = Scores(np.zeros(0), np.zeros((0, classes)), np.zeros(0))  # raw, as long as a later one needs them
        self._given = 0  # of those in `_raw`

    def add(self, scores: Scores) -> Scores:
        """Takes raw scores; returns those smoothed ones that no later window changes."""
        self._raw = Scores.joined([self._raw, scores])
        return self._smooth(len(self._raw) - self.radius)

    def end(self) -> Scores:
        """The smoothed scores that are still missing."""
        return self._smooth(len(self._raw))

    def _smooth(self, stop: int) -> Scores:
        raw = self._raw
        places = np.arange(self._given, max(self._given, stop))
        near = places[:, None] + np.arange(-self.radius, self.radius + 1)
        weights = self.weights * ((near >= 0) & (near < len(raw)))
        weights /= weights.sum(-1, keepdims=True)
        near = near.clip(0, max(0, len(raw) - 1))
        smoothed = Scores(
            raw.times[places],
            np.einsum("nk,nkc->nc", weights, raw.proba[near]),
            np.einsum("nk,nk->n", weights, raw.known[near]),
        )
        given = self._given + len(places)
        drop = max(0, given - self.radius)
        self._raw, self._given = Scores(raw.times[drop:], raw.proba[drop:], raw.known[drop:]), given - drop
        return smoothed


class Labels:
    """Smoothed scores in, a label for each window out. A label keeps its place until another leads by `MARGIN`."""

    def __init__(self, classes: Array, threshold: float | Array) -> None:
        self.classes, self.thresholds = classes, np.broadcast_to(threshold, len(classes))
        self._last: int | None = None

    def add(self, scores: Scores) -> list[str]:
        """The labels of further windows, in their order."""
        return [self._label(proba, known) for proba, known in zip(scores.proba, scores.known, strict=True)]

    def _label(self, proba: Array, known: float) -> str:
        best = int(proba.argmax())
        if self._last is None or proba[best] - proba[self._last] > MARGIN:
            self._last = best
        if known < self.thresholds[self._last]:
            self._last = None
            return UNKNOWN
        return str(self.classes[self._last])


@dataclass
class _Run:
    """Successive windows of one label.

    Attributes:
        start: seconds where the time that they speak for begins.
        end: seconds where it ends.
        label: an action or "unknown".
        count: how many they are.
        total: (C,) sum of their probabilities.
    """

    start: float
    end: float
    label: str
    count: int
    total: Array

    def take(self, other: _Run | None) -> None:
        if other is not None:
            self.end, self.count, self.total = other.end, self.count + other.count, self.total + other.total


class Segments:
    """Labels of windows in, segments out.

    A label is believed once it has lasted `shortest` seconds. Shorter flicker between two believed labels is shared by
    them, half each, or filled if they are the same; beside "unknown" it is unknown, and so is flicker that goes on for
    longer. A window speaks for the time around its middle, the first and the last one also for the beginning and end.
    """

    def __init__(self, classes: Array, settings: WindowSettings) -> None:
        self.classes, self.settings = [str(c) for c in classes], settings
        self._believed: _Run | None = None  # may still be extended
        self._flicker: _Run | None = None  # after it
        self._newest: _Run | None = None  # after that: one label, not believed yet

    def add(self, scores: Scores, labels: Sequence[str]) -> list[Segment]:
        """Takes further windows; returns the segments that have become certain."""
        half = self.settings.step / 2
        done = []
        for time, proba, label in zip(scores.times.tolist(), scores.proba, labels, strict=True):
            done += self._take(_Run(time - half, time + half, label, 1, proba))
        return done

    def end(self, seconds: float) -> list[Segment]:
        """Ends a stream of that length; returns the segments that are left."""
        done: list[Segment] = []
        if self._believed is None and self._flicker is None and self._newest is not None:
            done = self._believe(self._newest)  # there is nothing else
        else:
            done = self._set_aside()
            if self._believed is None and self._flicker is not None:
                done = self._believe(replace(self._flicker, label=UNKNOWN))
        if self._believed is not None:
            self._believed.end = seconds
            done.append(self._segment(self._believed))
        self._believed = self._flicker = self._newest = None
        return done

    def _take(self, new: _Run) -> list[Segment]:
        done: list[Segment] = []
        if self._newest is not None and self._newest.label != new.label:
            done = self._set_aside()
        if self._believed is not None and self._believed.label == new.label:
            self._believed.take(self._flicker)
            self._believed.take(new)
            self._flicker = None
        elif self._newest is None:
            self._newest = new
        else:
            self._newest.take(new)
        if self._newest is not None and self._lasts(self._newest):
            done += self._believe(self._newest)
        return done

    def _set_aside(self) -> list[Segment]:
        """The newest label went before it was believed: it is flicker, and "unknown" once there is enough of it."""
        if self._flicker is None:
            self._flicker = self._newest
        else:
            self._flicker.take(self._newest)
        self._newest = None
        if self._flicker is None or not self._lasts(self._flicker):
            return []
        unknown, self._flicker = replace(self._flicker, label=UNKNOWN), None
        return self._believe(unknown)

    def _believe(self, run: _Run) -> list[Segment]:
        before, self._newest = self._believed, None
        flicker, self._flicker = self._flicker, None
        if before is None:
            run.start = 0.0
        elif before.label == run.label:
            before.take(flicker)
            before.take(run)
            return []
        elif before.label == UNKNOWN:
            before.end = run.start
        elif run.label == UNKNOWN:
            run.start = before.end
        else:
            before.end = run.start = (before.end + run.start) / 2
        self._believed = run
        return [self._segment(before)] if before is not None else []

    def _lasts(self, run: _Run) -> bool:
        return run.count * self.settings.step >= self.settings.shortest - 1e-9

    def _segment(self, run: _Run) -> Segment:
        if run.label == UNKNOWN:
            return Segment(run.start, run.end, UNKNOWN, None)
        return Segment(run.start, run.end, run.label, float(run.total[self.classes.index(run.label)] / run.count))
