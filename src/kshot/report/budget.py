"""Time budgets: how often, how long and when each action is seen, by subject or by video.

Bouts, total and mean duration, latency and share of time are those of ethology (Martin & Bateson, Measuring Behaviour,
3rd ed. 2007, chapter 5). Segments of one action that overlap are one bout, so that no second counts twice.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from kshot.datasets.annotations.forms import Film, Segment
from kshot.errors import OptionError

MOST_BINS = 100_000
NOBODY = "(no subject)"
Spans = list[tuple[float, float]]


@dataclass(frozen=True)
class Unit:
    """A subject, or a video, and what it is seen doing.

    Attributes:
        name: of the subject or the video.
        seconds: how long it was observed; several videos of a subject follow one another.
        bouts: action -> (start, end) in seconds of that time, in order, without overlaps.
    """

    name: str
    seconds: float
    bouts: dict[str, Spans]


@dataclass(frozen=True)
class Line:
    """One action of one unit.

    Attributes:
        unit: name of the subject or video.
        action: its label.
        bouts: how many.
        total: seconds.
        mean: seconds a bout; None without one.
        latency: seconds from the beginning to the first bout; None without one.
        share: of the observed time, 0 to 1.
    """

    unit: str
    action: str
    bouts: int
    total: float
    mean: float | None
    latency: float | None
    share: float


def units(segments: Sequence[Segment], films: dict[str, Film], by: str) -> tuple[list[Unit], list[str]]:
    """The subjects or videos of segments, and sentences on what had to be assumed.

    Args:
        segments: with the paths of their videos.
        films: path -> what is known of the video; also of videos without a segment.
        by: "subject" or "video".
    """
    notes = []
    lengths: dict[str, float] = {}
    inside: dict[str, list[Segment]] = {path: [] for path in films}
    for one in segments:
        inside.setdefault(one.path, []).append(one)
    for path, mine in inside.items():
        known = films.get(path, Film()).seconds
        lengths[path] = known or max((one.end for one in mine if one.end is not None), default=0.0)
        if not known:
            notes.append(f"nobody says how long {path} is: taken as {lengths[path]:.1f} s, the end of its last segment")
    paths_of: dict[str, list[str]] = {}
    if by == "subject":
        for one in segments:
            paths = paths_of.setdefault(one.subject or NOBODY, [])
            if one.path not in paths:
                paths.append(one.path)
    else:
        paths_of = {name: [path] for path, name in short(lengths).items()}
    found = []
    for name, paths in paths_of.items():
        offset, spans = 0.0, dict[str, Spans]()
        for path in paths:
            for one in inside[path]:
                if by == "video" or (one.subject or NOBODY) == name:
                    end = lengths[path] if one.end is None else one.end
                    spans.setdefault(one.label, []).append((offset + (one.start or 0.0), offset + end))
            offset += lengths[path]
        found.append(Unit(name, offset, {label: united(spans[label]) for label in sorted(spans)}))
    return found, notes


def short(paths: Iterable[str]) -> dict[str, str]:
    """Path -> the name of its file, or all of it where two files have one name."""
    every = list(paths)
    names = [PurePath(path).name for path in every]
    return {path: name if names.count(name) == 1 else path for path, name in zip(every, names, strict=True)}


def united(spans: Iterable[tuple[float, float]]) -> Spans:
    """Stretches in order, those that overlap or touch as one.

    >>> united([(3, 4), (0, 2), (1, 3.5)])
    [(0, 4)]
    """
    found: Spans = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def inside(spans: Spans, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds (B,) of stretches, which do not overlap, between successive moments.

    Args:
        spans: in order.
        edges: (B + 1,) seconds, ascending.

    >>> inside([(1, 3), (4, 5)], np.array([0.0, 2.0, 4.5])).tolist()
    [1.0, 1.5]
    """
    moments = np.array([0.0, *(moment for span in spans for moment in span)])
    lengths = np.diff(moments, prepend=0.0)
    lengths[1::2] = 0.0  # between two stretches
    return np.diff(np.interp(edges, moments, np.cumsum(lengths)))


def budget(found: Sequence[Unit]) -> list[Line]:
    """A line for each action of each unit, also for one that only others are seen doing."""
    actions = sorted({action for unit in found for action in unit.bouts})
    lines = []
    for unit in found:
        for action in actions:
            spans = unit.bouts.get(action, [])
            total = sum(end - start for start, end in spans)
            lines.append(
                Line(
                    unit.name,
                    action,
                    len(spans),
                    total,
                    total / len(spans) if spans else None,
                    spans[0][0] if spans else None,
                    total / unit.seconds if unit.seconds else 0.0,
                )
            )
    return lines


def bins(found: Sequence[Unit], width: float) -> list[tuple[str, float, float, str, int, float, float]]:
    """(unit, start, end, action, bouts that begin, seconds, share) for each stretch of `width` seconds.

    Raises:
        OptionError: more than `MOST_BINS` of them.
    """
    actions = sorted({action for unit in found for action in unit.bouts})
    if (count := sum(unit.seconds for unit in found) / width) > MOST_BINS:
        raise OptionError(f"a bin of {width:g} s makes {count:,.0f} stretches: expected at most {MOST_BINS:,}")
    rows = []
    for unit in found:
        edges = np.append(np.arange(0.0, unit.seconds, width), unit.seconds)
        edges = edges if len(edges) > 1 else np.array([0.0, width])
        for action in actions:
            spans = unit.bouts.get(action, [])
            seconds = inside(spans, edges)
            begun = np.histogram([start for start, _ in spans], edges)[0]
            for number, (start, end) in enumerate(pairwise(edges.tolist())):
                total = float(seconds[number])
                rows.append((unit.name, start, end, action, int(begun[number]), total, total / (end - start)))
    return rows


def as_csv(lines: Sequence[Line], by: str) -> str:
    """Rows of a time budget; seconds with a point, empty where there is no bout.

    Args:
        lines: as `budget` gives them.
        by: "subject" or "video", the name of the first column.
    """
    header = (by, "action", "bouts", "total_s", "mean_s", "latency_s", "share")
    rows = [
        (one.unit, one.action, one.bouts, *map(_seconds, (one.total, one.mean, one.latency)), f"{one.share:.4f}")
        for one in lines
    ]
    return table(header, rows)


def bins_as_csv(rows: Iterable[tuple[str, float, float, str, int, float, float]], by: str) -> str:
    """Rows of a time budget of even stretches, as `bins` gives them.

    Args:
        rows: of them.
        by: "subject" or "video", the name of the first column.
    """
    header = (by, "start_s", "end_s", "action", "bouts_begun", "total_s", "share")
    return table(header, [
        (unit, _seconds(start), _seconds(end), action, begun, _seconds(total), f"{share:.4f}")
        for unit, start, end, action, begun, total, share in rows
    ])  # fmt: skip


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
