"""WebVTT, the subtitles of browsers, https://www.w3.org/TR/webvtt1: a cue a segment."""

from __future__ import annotations

from kshot.datasets.annotations import subtitles
from kshot.datasets.annotations.forms import Annotations, Source
from kshot.datasets.annotations.places import Places


def mine(source: Source) -> bool:
    """Whether it begins as every file of WebVTT does."""
    return source.text().startswith("WEBVTT")


def read(source: Source, places: Places) -> Annotations:
    """Its cues."""
    return subtitles.read(source, places, plain=False)


def write(said: Annotations) -> str:
    """A cue a segment; the signs that mean something to WebVTT are escaped."""
    cues = ["WEBVTT\n"]
    for segment in said.segments:
        text = subtitles.shown(segment).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        cues.append(f"{subtitles.stamp(segment.start)} --> {subtitles.stamp(segment.end)}\n{text}\n")
    return "\n".join(cues)
