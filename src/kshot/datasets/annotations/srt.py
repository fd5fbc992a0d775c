"""SubRip, numbered subtitles; a comma, or a point as some write, stands before the milliseconds; players read it."""

from __future__ import annotations

import re

from kshot.datasets.annotations import subtitles
from kshot.datasets.annotations.forms import Annotations, Source
from kshot.datasets.annotations.places import Places

_FIRST = re.compile(r"\s*\d+\s*\n[ \t]*\d+:\d\d:\d\d[,.]\d{1,3}[ \t]+-->[ \t]")


def mine(source: Source) -> bool:
    """Whether it begins with a number and a line of two times."""
    return bool(_FIRST.match(source.text()[:500].replace("\r\n", "\n").replace("\r", "\n")))


def read(source: Source, places: Places) -> Annotations:
    """Its subtitles."""
    return subtitles.read(source, places, plain=True)


def write(said: Annotations) -> str:
    """A subtitle a segment."""
    return "\n".join(
        f"{number}\n{subtitles.stamp(one.start, ',')} --> {subtitles.stamp(one.end, ',')}\n{subtitles.shown(one)}\n"
        for number, one in enumerate(said.segments, 1)
    )
