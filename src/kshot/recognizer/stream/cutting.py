"""A timeline's segments, once all of a video has been seen: where shots begin, what is shown, and for how long.

A camera must answer at once, so `kshot.recognizer.stream.windows` decides with what it has. A file is known to its end:

1. Shots begin at hard cuts, which are found to the frame (`kshot.video.shots`).
2. A shot of at most one and a half times an action's usual length is answered as `predict` answers a clip, by frames
   from all of it: it most likely is one. Each moment of a longer one is answered by a window of three quarters of that
   length that lies within the shot. Every action has the window of its own length, of those that are octaves apart.
3. "unknown" is as likely as the recognizer's odds say, or as a threshold that was set by hand.
4. The labels are the most likely course (Viterbi), in which a change of label costs something.
5. What lasts less than five eighths of its action's usual length goes to the better of its neighbours.

The constants were chosen on films of base and val classes of `motion` and of J-HMDB (`benchmarks/segments.py --split
train --first 1000`, `--split val --first 2000`, `--data 'clips.csv?dataset=jhmdb' --split all --first 1000`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kshot.recognizer.classifier import UNKNOWN
from kshot.recognizer.stream.contract import Array, WindowClassifier
from kshot.recognizer.stream.windows import Scores, Segment, Windows, WindowSettings
from kshot.video import Grid, choose

SHARE = 0.75  # of an action's usual length that its window has
CLIP = 2  # windows that a shot may last to be answered as one clip
LEAST = 0.625  # of an action's usual length that a segment must last
SOFT = 1.5  # that logarithms of probabilities are divided by: successive moments say nearly the same
FLOOR = 0.05  # of probability: what a moment may say against a label is bounded
CHANGE = 0.8  # of an action's usual length: what a change of label costs, in what an interval may say
OCTAVES = 2  # up and down from the usual length of all clips, in which actions have windows of their own
LATE = 64  # intervals that it may take until a shot is known to have begun


@dataclass(frozen=True)
class Spans:
    """How long windows are, in intervals.

    Attributes:
        action: (C,) the span of each action.
        least: (C,) intervals that a segment of each action must last.
    """

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
        ratios = ratios.clip(2.0**-OCTAVES, 2.0**OCTAVES)
        spans = np.maximum(1, np.rint(SHARE * whole * 2.0 ** np.rint(np.log2(ratios)))).astype(np.int64)
        return cls(spans, LEAST * ratios * settings.shortest / (0.75 * settings.window) * whole)


class Footage:
    """What a timeline's segments are made of, collected while the video is read.

    Args:
        recognizer: that answers.
        settings: how the video is cut into windows.
        lengths: label -> usual seconds of its clips.

    Attributes:
        spans: how long windows are.
        windows: span -> the windows of that length, each interval's frame encoded once for all of them.
        shots: short ones, answered as clips.
    """

    def __init__(self, recognizer: WindowClassifier, settings: WindowSettings, lengths: Mapping[str, float]) -> None:
        self.settings = settings
        self.classes = [str(name) for name in recognizer.classes_]
        self.spans = Spans.build(self.classes, lengths, settings)
        raw, wanted = replace(settings, smooth=0), np.unique(self.spans.action).tolist()
        self.windows = {span: Windows(recognizer, raw, span) for span in wanted}
        self.shots = _Shots(recognizer, settings.interval, CLIP * max(wanted))
        self._scores: dict[int, list[Scores]] = {span: [] for span in wanted}

    @property
    def title(self) -> str:
        """What is done, with what it costs more than windows of one length."""
        more = f", windows of {len(self.windows)} lengths" if len(self.windows) > 1 else ""
        return f"watching the video{more}"

    def add(self, intervals: Sequence[int], states: Array, begins: Sequence[float]) -> None:
        """Takes what the recognizer makes of the frames of n intervals, ascending.

        Args:
            intervals: their numbers.
            states: (n, ...), see `Recognizer.states`.
            begins: seconds at which shots begin, all that are known.
        """
        for span, windows in self.windows.items():
            self._scores[span].append(_small(windows.take(intervals, states)))
        self.shots.add(intervals, states, begins)

    def segments(self, seconds: float, intervals: int, begins: Sequence[float], thresholds: Array) -> list[Segment]:
        """The segments, from 0 to the video's end without gaps.

        Args:
            seconds: that the video lasts.
            intervals: as many as have their middle before its end.
            begins: seconds at which shots begin, all of them.
            thresholds: (C,) of `known`, below it "unknown".
        """
        for span, windows in self.windows.items():
            self._scores[span].append(_small(windows.end(intervals)))
        self.shots.end(intervals, begins)
        times = self.shots.times | {0: 0.0, intervals: seconds}
        evidence, proba = self._evidence(intervals, thresholds)
        whole = self.settings.window / self.settings.interval
        labels = course(evidence, np.full(intervals, CHANGE * whole))
        labels = _kept(labels, evidence, np.append(self.spans.least, LEAST * whole))
        edges = _edges(labels)
        found = []
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            label = int(labels[start])
            known = label < len(self.classes)
            found.append(
                Segment(
                    times.get(start, start * self.settings.interval),
                    times.get(end, end * self.settings.interval),
                    self.classes[label] if known else UNKNOWN,
                    float(proba[start:end, label].mean()) if known else None,
                )
            )
        return found

    def _evidence(self, count: int, thresholds: Array) -> tuple[Array, Array]:
        """(N, C + 1) logarithms of what each interval says of each label, the last for "unknown", and (N, C) proba."""
        proba, known = np.zeros((count, len(self.classes))), np.zeros((count, len(self.classes)))
        edges = np.array([0, *self.shots.times, count])
        shot = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
        for span in self.windows:
            mine = self.spans.action == span
            if len(scores := Scores.joined(self._scores[span])):  # else the video is no longer than one clip
                rows = self._rows(span, edges[shot], edges[shot + 1]).clip(0, len(scores) - 1)
                proba[:, mine], known[:, mine] = scores.proba[rows][:, mine], scores.known[rows][:, None]
        for start, end, own, likeness in self.shots.answers:
            mine = self.spans.action * CLIP >= end - start
            proba[start:end, mine], known[start:end, mine] = own[mine], likeness
        soft = proba ** (1 / SOFT)
        with np.errstate(over="ignore"):
            both = soft / soft.sum(1, keepdims=True) / (1 + np.exp(self._doubt(known, thresholds)))
        rest = np.clip(1 - both.sum(1, keepdims=True), 0, 1)
        return np.log((np.concatenate([both, rest], 1) + FLOOR) / (1 + FLOOR)), proba

    def _doubt(self, known: Array, thresholds: Array) -> Array:
        """(N, C) log odds that what is shown is none of the actions."""
        if (odds := self.settings.odds) is not None:
            return odds.level - odds.slope * known
        spread = np.subtract(*np.percentile(known[known > -1], [75, 25])) / 1.35 if (known > -1).any() else 1.0
        return (thresholds - known) / max(float(spread), 1e-3)

    def _rows(self, span: int, first: Array, last: Array) -> Array:
        """The window for each interval, within its shot from first to last where it fits in."""
        starts = np.clip(np.arange(len(first)) - span // 2, first, np.maximum(first, last - span))
        return np.rint(starts / self.settings.stride).astype(np.int64)


class _Shots:
    """Answers for short shots, as for clips, while a video is read; of a longer one nothing is kept.

    Args:
        recognizer: that answers.
        interval: seconds.
        most: intervals of the longest shot that is answered.

    Attributes:
        times: interval -> seconds at which a shot begins, ascending, but for the first.
        answers: (start, end, proba (C,), known) of each short shot, in intervals.
    """

    def __init__(self, recognizer: WindowClassifier, interval: float, most: int) -> None:
        self.recognizer, self.grid, self.most = recognizer, Grid(interval), most
        self.times: dict[int, float] = {}
        self.answers: list[tuple[int, int, Array, float]] = []
        self._shown: list[Array] = []  # the states of the last intervals
        self._next = self._start = self._seen = 0  # interval, first one of the shot, how many beginnings were taken

    def add(self, intervals: Sequence[int], states: Array, begins: Sequence[float]) -> None:
        """See `Footage.add`."""
        for interval, state in zip(intervals, states, strict=True):
            before = self._shown[-1] if self._shown else state
            missing = min(interval - self._next, self.most + LATE)  # they show the frame before
            self._shown += [before] * missing + [state]
            self._next = interval + 1
        self._take(begins)
        del self._shown[: max(0, len(self._shown) - self.most - LATE)]

    def end(self, intervals: int, begins: Sequence[float]) -> None:
        """The video had so many intervals, and these shots."""
        if self._shown:
            self._shown += [self._shown[-1]] * min(max(0, intervals - self._next), self.most + LATE)
        self._next = max(self._next, intervals)
        self._take(begins)
        self._answer(intervals)

    def _take(self, begins: Sequence[float]) -> None:
        """Ends the shots that are known to have ended."""
        for seconds in begins[self._seen :]:
            begin = self.grid.count(seconds)
            if begin >= self._next:
                return
            self._seen += 1
            if begin > self._start:
                self._answer(begin)
                self._start, self.times[begin] = begin, seconds

    def _answer(self, end: int) -> None:
        """Answers the shot that ends there, if it is short and its frames are still there."""
        first, count = len(self._shown) - (self._next - self._start), end - self._start
        if first >= 0 and 0 < count <= self.most:
            chosen = first + choose(count, self.recognizer.frames_)
            found = self.recognizer.decide(np.stack([self._shown[i] for i in chosen])[None])
            self.answers.append((self._start, end, found.proba[0], float(found.known[0])))


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


def _small(scores: Scores) -> Scores:
    """The scores in half the memory: a film of a day has a million windows."""
    return Scores(scores.times, scores.proba.astype(np.float32), scores.known.astype(np.float32))
