"""A timeline's segments, once all of a video has been seen: where the picture changes, what is shown, and for how long.

A camera must answer at once, so `kshot.recognizer.stream.windows` decides with what it has. A file is known to its end:

1. Where a picture differs from the one before far more than its neighbours do, a new shot begins.
2. Each moment is answered by a window that lies within its shot: three quarters of an action's usual length, or half of
   that in a shorter shot. Every action has the window of its own length, of those that are octaves apart.
3. The labels are the most likely course (Viterbi): a change costs little where a shot begins and much elsewhere.
4. What lasts less than five eighths of its action's usual length goes to the better of its neighbours.

The constants were chosen on films of base classes of `motion` (`scripts/long_video.py --split train`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kshot.recognizer.classifier import UNKNOWN
from kshot.recognizer.stream.contract import Array, WindowClassifier
from kshot.recognizer.stream.windows import Scores, Segment, Windows, WindowSettings

SIDE = 16  # pixels of the side of the pictures that are compared
NEAR = 8  # intervals on either side that a change is compared with
SHOT = 1.6  # times their median that a change begins a shot
STILL = 1.0  # grey levels that are added to both: pictures at rest change by noise
SHARE = 0.75  # of an action's usual length that its window has
LEAST = 0.625  # of an action's usual length that a segment must last
FLOOR = 0.1  # of probability: what a moment may say against a label is bounded
CHANGE, AT_SHOT = 1.5, 0.25  # what a change of label costs, elsewhere and where a shot begins, a frame of a window
OCTAVES = 2  # up and down from the usual length of all clips, in which actions have windows of their own


@dataclass(frozen=True)
class Spans:
    """How long windows are, in intervals.

    Attributes:
        of: span -> half of it, for shots that are shorter.
        action: (C,) the span of each action.
        least: (C,) intervals that a segment of each action must last.
    """

    of: dict[int, int]
    action: Array
    least: Array

    @classmethod
    def build(cls, classes: Sequence[str], lengths: Mapping[str, float], settings: WindowSettings) -> Spans:
        """The spans for actions with these usual lengths.

        Args:
            classes: (C,) labels.
            lengths: label -> seconds; actions without one have that of all clips.
            settings: how the video is cut into intervals.
        """
        whole = round(settings.window / settings.interval)
        ratios = np.array([lengths.get(str(name), settings.window) / settings.window for name in classes])
        octaves = np.rint(np.log2(ratios.clip(2.0**-OCTAVES, 2.0**OCTAVES)))
        spans = np.maximum(1, np.rint(SHARE * whole * 2.0**octaves)).astype(np.int64)
        least = LEAST * ratios.clip(2.0**-OCTAVES, 2.0**OCTAVES) * settings.shortest / (0.75 * settings.window)
        return cls({int(n): max(1, round(n / 2)) for n in np.unique(spans)}, spans, least * whole)


class Footage:
    """What a timeline's segments are made of, collected while the video is read.

    Args:
        recognizer: that answers.
        settings: how the video is cut into windows.
        lengths: label -> usual seconds of its clips.

    Attributes:
        spans: how long windows are.
        windows: span -> the windows of that length, each interval's frame encoded once for all of them.
    """

    def __init__(self, recognizer: WindowClassifier, settings: WindowSettings, lengths: Mapping[str, float]) -> None:
        self.settings = settings
        self.classes = [str(name) for name in recognizer.classes_]
        self.spans = Spans.build(self.classes, lengths, settings)
        wanted = {*self.spans.of, *(() if recognizer.unit > 1 else self.spans.of.values())}
        raw = replace(settings, smooth=0)
        self.windows = {span: Windows(recognizer, raw, span) for span in sorted(wanted)}
        self._scores: dict[int, list[Scores]] = {span: [] for span in self.windows}
        self._changes: list[Array] = []
        self._before: Array | None = None
        self._intervals = 0

    @property
    def title(self) -> str:
        """What is done, with what it costs more than windows of one length."""
        clips = len(self.spans.of)
        more = f", windows of {clips} lengths" if clips > 1 else ""
        return f"watching the video{more}"

    def add(self, intervals: Sequence[int], frames: Array, states: Array) -> None:
        """Takes frames (n, S, S, 3) uint8 of n intervals, ascending, and what the recognizer makes of each."""
        for span, windows in self.windows.items():
            self._scores[span].append(_small(windows.take(intervals, states)))
        small = _thumbs(frames)
        before = small[:1] if self._before is None else self._before[None]
        changes = np.zeros(intervals[-1] + 1 - self._intervals)
        found = np.abs(np.diff(np.concatenate([before, small]), axis=0)).mean((1, 2, 3))
        changes[np.asarray(intervals) - self._intervals] = found
        self._changes.append(changes)
        self._before, self._intervals = small[-1], intervals[-1] + 1

    def segments(self, seconds: float, intervals: int, thresholds: Array) -> list[Segment]:
        """The segments, from 0 to the video's end without gaps.

        Args:
            seconds: that the video lasts.
            intervals: as many as have their middle before its end.
            thresholds: (C,) of `known`, below it "unknown".
        """
        for span, windows in self.windows.items():
            self._scores[span].append(_small(windows.end(intervals)))
        changes = np.concatenate([*self._changes, np.zeros(max(0, intervals - self._intervals))])
        begins = shots(changes)
        evidence, proba = self._evidence(begins, len(changes), thresholds)
        cost = np.full(len(changes), CHANGE)
        cost[begins] = AT_SHOT
        whole = self.settings.window / self.settings.interval
        least = np.append(self.spans.least, LEAST * whole)
        labels = _kept(course(evidence, cost * whole), evidence, least)
        edges = _edges(labels)
        found = []
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            label = int(labels[start])
            known = label < len(self.classes)
            found.append(
                Segment(
                    start * self.settings.interval,
                    seconds if end == len(labels) else end * self.settings.interval,
                    self.classes[label] if known else UNKNOWN,
                    float(proba[start:end, label].mean()) if known else None,
                )
            )
        return found

    def _evidence(self, begins: Array, count: int, thresholds: Array) -> tuple[Array, Array]:
        """(N, C + 1) logarithms of what each interval says of each label, the last for "unknown", and (N, C) proba."""
        edges = np.concatenate([[0], begins, [count]])
        shot = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
        first, last = edges[shot], edges[shot + 1]
        proba, known = np.zeros((count, len(self.classes))), np.zeros((count, len(self.classes)))
        for span, half in self.spans.of.items():
            mine = self.spans.action == span
            p, k = self._within(span, first, last)
            if half in self.windows:
                short = last - first < span
                q, m = self._within(half, first, last)
                p, k = np.where(short[:, None], q, p), np.where(short, m, k)
            proba[:, mine], known[:, mine] = p[:, mine], k[:, None]
        spread = np.subtract(*np.percentile(known[known > -1], [75, 25])) / 1.35 if (known > -1).any() else 1.0
        with np.errstate(over="ignore"):
            likely = 1 / (1 + np.exp((thresholds - known) / max(float(spread), 1e-3)))
        both = proba * likely
        rest = np.clip(1 - both.sum(1, keepdims=True), 0, 1) if np.isfinite(thresholds).any() else np.zeros((count, 1))
        return np.log((np.concatenate([both, rest], 1) + FLOOR) / (1 + FLOOR)), proba

    def _within(self, span: int, first: Array, last: Array) -> tuple[Array, Array]:
        """The scores of the window for each interval that lies within its shot, if one of that span fits."""
        scores = Scores.joined(self._scores[span])
        if not len(scores):  # the video is shorter than that
            shorter = max((n for n in self.windows if n < span), default=None)
            if shorter is None:
                return np.full((len(first), len(self.classes)), 1 / len(self.classes)), np.zeros(len(first))
            return self._within(shorter, first, last)
        starts = np.clip(np.arange(len(first)) - span // 2, first, np.maximum(first, last - span))
        rows = np.clip(np.rint(starts / self.settings.stride).astype(np.int64), 0, max(0, len(scores) - 1))
        return scores.proba[rows], scores.known[rows]


def shots(changes: Array) -> Array:
    """Where shots begin: intervals (n,) whose picture differs from the one before as their neighbours' do not.

    Args:
        changes: (N,) mean difference of each picture from the one before, in grey levels.
    """
    if len(changes) < 3:
        return np.zeros(0, np.int64)
    padded = np.pad(changes, NEAR, mode="reflect" if len(changes) > NEAR else "edge")
    ratio = changes / (np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * NEAR + 1), axis=1) + STILL)
    around = np.pad(ratio, 1)
    peak = (ratio >= SHOT) & (ratio >= around[:-2]) & (ratio >= around[2:])
    peak[0] = False
    return np.flatnonzero(peak)


def course(evidence: Array, cost: Array) -> Array:
    """The labels (N,) of the most likely course (Viterbi, 1967).

    Args:
        evidence: (N, L) logarithms of what each interval says of each label.
        cost: (N,) of a change of label before each.
    """
    best = evidence[0].copy()
    came = np.zeros(evidence.shape, np.int16)
    own = np.arange(evidence.shape[1], dtype=np.int16)
    for i in range(1, len(evidence)):
        other = int(best.argmax())
        changed = best[other] - cost[i]
        came[i] = np.where(best >= changed, own, other)
        best = np.maximum(best, changed) + evidence[i]
    labels = np.empty(len(evidence), np.int64)
    labels[-1] = best.argmax()
    for i in range(len(evidence) - 1, 0, -1):
        labels[i - 1] = came[i, labels[i]]
    return labels


def _kept(labels: Array, evidence: Array, least: Array) -> Array:
    """The labels without stretches that are too short, each given to that neighbour for which it says more."""
    total = np.concatenate([np.zeros((1, evidence.shape[1])), evidence.cumsum(0)])
    while True:
        edges = _edges(labels)
        names = labels[edges[:-1]]
        short = np.flatnonzero(np.diff(edges) < least[names] - 1e-9)
        if len(names) == 1 or not len(short):
            return labels
        labels, given = labels.copy(), -1
        for run in short.tolist():
            if given == run - 1 >= 0:
                continue  # its neighbour has just changed: in the next round
            says = total[edges[run + 1]] - total[edges[run]]
            near = [int(names[other]) for other in (run - 1, run + 1) if 0 <= other < len(names)]
            labels[edges[run] : edges[run + 1]] = max(near, key=lambda label: says[label])
            given = run


def _edges(labels: Array) -> Array:
    """Where stretches of one label begin, and the end of the last."""
    return np.concatenate([[0], np.flatnonzero(np.diff(labels)) + 1, [len(labels)]])


def _thumbs(frames: Array) -> Array:
    """(n, S, S, 3) uint8 -> (n, side, side, 3) float32, means over squares of pixels."""
    step = max(1, frames.shape[1] // SIDE)
    side = frames.shape[1] // step
    cut = frames[:, : side * step, : side * step].astype(np.float32)
    means: Array = cut.reshape(len(frames), side, step, side, step, 3).mean((2, 4))
    return means


def _small(scores: Scores) -> Scores:
    """The scores in half the memory: a film of a day has a million windows."""
    return Scores(scores.times, scores.proba.astype(np.float32), scores.known.astype(np.float32))
