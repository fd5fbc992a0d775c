"""Timelines that kshot wrote as JSON, see `kshot.recognizer.stream.timeline`."""

from __future__ import annotations

from kshot.datasets.annotations.forms import Annotations, Film, Segment, Source, expect, number
from kshot.datasets.annotations.places import Places

UNKNOWN = "unknown"
"""What a timeline calls a stretch in which no label is believed; it is no action."""


def mine(source: Source) -> bool:
    """Whether it is a timeline of kshot."""
    return source.has("segments", "looked_at", "video", "duration")


def read(source: Source, places: Places) -> Annotations:
    """Its segments, less those of "unknown"."""
    value, path = source.value, source.path.name
    video = expect(value["video"], str, f"{path}: video") or places.only()
    length = number(value["duration"], f"{path}: duration")
    said = Annotations(films={video: Film(number(value["fps"], f"{path}: fps"), length)})
    said.labels = tuple(map(str, expect(value.get("classes", []), list, f"{path}: classes")))
    for index, one in enumerate(expect(value["segments"], list, f"{path}: segments")):
        place = f"{path}: segments[{index}]"
        if one["label"] != UNKNOWN:
            start, end = (number(one[key], f"{place}.{key}") for key in ("start", "end"))
            score = None if one.get("score") is None else number(one["score"], f"{place}.score")
            said.segments.append(Segment(video, start, end, expect(one["label"], str, f"{place}.label"), score=score))
    return said
