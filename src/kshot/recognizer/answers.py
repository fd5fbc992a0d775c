"""Answers as programs use them: one record for each clip, or segment of a timeline, as JSON and as a row of a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kshot.errors import VideoError
from kshot.excerpts import Excerpt, clip_of
from kshot.recognizer.classifier import UNKNOWN, Decision
from kshot.recognizer.record import Record
from kshot.recognizer.thresholds import finite

if TYPE_CHECKING:
    from kshot.recognizer.stream.timeline import Timeline
    from kshot.video.damage import Damage

COLUMNS = ("path", "start", "end", "label", "unknown", "likeness", "threshold", "model", "backbone", "damaged", "looks",
           "error")  # fmt: skip
"""Of a table, before one column `proba ACTION` for each action."""


@dataclass(frozen=True)
class ClipAnswer(Record):
    """What a recognizer says of one clip, or of one segment of a long video.

    Attributes:
        path: of the video as it was given, or "clip 3" for an array.
        start: seconds in the video where a segment begins; None for a whole file.
        end: seconds where it ends; None for a whole file.
        label: an action, or "unknown"; "" where the clip could not be read, as all that follows is empty then.
        proba: action -> probability, calibrated, as if it were one of them; they sum to one.
        likeness: cosine with the nearest action's mean clip, 1 for the same.
        threshold: of the likeness, for the likeliest action: below it the label is "unknown"; None where that is no
            answer.
        unknown: whether the label is "unknown".
        model: the folder that the recognizer was read from; "" for none.
        backbone: name of the recognizer's backbone.
        damaged: what is lost of the clip; None for nothing.
        looks: what is unusual about its pictures, see `kshot.video.looks`.
        error: why it cannot be read; "" where it was.
    """

    path: str
    start: float | None = None
    end: float | None = None
    label: str = ""
    proba: Mapping[str, float] | None = None
    likeness: float | None = None
    threshold: float | None = None
    unknown: bool = False
    model: str = ""
    backbone: str = ""
    damaged: Damage | None = None
    looks: tuple[str, ...] = ()
    error: str = ""

    @property
    def name(self) -> str:
        """The clip in words: its path, and of a segment its times, as in `a.avi#t=0,0.5`."""
        whole = self.start is None and self.end is None
        return self.path if whole else str(Excerpt(Path(self.path), self.start, self.end))

    def plain(self) -> dict[str, Any]:
        """Ready for JSON; `error` stands in place of the answer where the clip could not be read.

        The key `video` is `path` once more, as it was called at first.
        """
        values: dict[str, Any] = {"video": self.path, "path": self.path, "start": self.start, "end": self.end}
        values |= {"model": self.model, "backbone": self.backbone}
        if self.error:
            return values | {"error": self.error}
        values |= {"label": self.label, "proba": dict(self.proba or {}), "likeness": self.likeness}
        values |= {"threshold": self.threshold, "unknown": self.unknown, "looks": list(self.looks)}
        return values | ({"damaged": self.damaged.plain()} if self.damaged else {})

    def row(self, classes: Sequence[str]) -> list[str]:
        """The cells of a table, see `header_line`; empty where there is nothing to say."""
        proba = self.proba or {}
        said: list[Any] = [
            self.path, _number(self.start, 3), _number(self.end, 3), self.label,
            "" if self.error else str(self.unknown).lower(), _number(self.likeness, 4), _number(self.threshold, 4),
            self.model, self.backbone, self.damaged or "", "; ".join(self.looks), self.error,
        ]  # fmt: skip
        return [str(one) for one in said] + [_number(proba.get(name), 6) for name in classes]


def header_line(classes: Sequence[str]) -> str:
    """The first line of a table of answers in CSV."""
    return _csv([*COLUMNS, *(f"proba {name}" for name in classes)])


def line(answer: ClipAnswer, classes: Sequence[str]) -> str:
    """A line of such a table."""
    return _csv(answer.row(classes))


def of_decision(name: str, found: Decision | VideoError, classes: Sequence[str], about: ClipAnswer) -> ClipAnswer:
    """The answer for one clip.

    Args:
        name: what the clip is called; a part of a video as its text, see `kshot.excerpts`.
        found: what `Recognizer.answers` gave for it.
        classes: (C,) the actions.
        about: a record with model and backbone, which stay.
    """
    clip = clip_of(name)
    if isinstance(clip, Excerpt):
        about = replace(about, path=str(clip.path), start=clip.start, end=clip.end)
    else:
        about = replace(about, path=name)
    if isinstance(found, VideoError):
        return replace(about, error=str(found))
    return replace(
        about,
        label=str(found.labels[0]),
        proba=dict(zip(classes, found.proba[0].tolist(), strict=True)),
        likeness=round(float(found.known[0]), 4),
        threshold=finite(found.thresholds[0]),
        unknown=str(found.labels[0]) == UNKNOWN,
        damaged=found.damage[0] if found.damage else None,
        looks=found.looks[0] if found.looks else (),
    )


def of_timeline(course: Timeline, about: ClipAnswer) -> list[ClipAnswer]:
    """The answer for each segment: mean probabilities and likeness of the windows whose middles lie in it.

    A segment in which no middle lies has those of the window next to it.

    Args:
        course: the timeline.
        about: a record with model and backbone, which stay.
    """
    classes = [str(name) for name in course.classes]
    limits = course.settings.limits(len(classes))
    result = []
    for segment in course.segments:
        inside = (course.times >= segment.start) & (course.times < segment.end)
        if not inside.any():
            inside = np.zeros(len(course.times), bool)
            inside[np.abs(course.times - (segment.start + segment.end) / 2).argmin()] = True
        proba = course.proba[inside].mean(0)
        result.append(
            replace(
                about,
                path=course.video,
                start=round(segment.start, 3),
                end=round(segment.end, 3),
                label=segment.label,
                proba={name: round(float(value), 6) for name, value in zip(classes, proba, strict=True)},
                likeness=round(float(course.known[inside].mean()), 4),
                threshold=finite(limits[proba.argmax() if segment.label == UNKNOWN else classes.index(segment.label)]),
                unknown=segment.label == UNKNOWN,
            )
        )
    return result


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _csv(row: Sequence[str]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerow(row)
    return file.getvalue()
