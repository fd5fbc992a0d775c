"""THUMOS: a text file for each class, BaseballPitch_val.txt, with a line "video start end" for each segment.

By the annotations of THUMOS 2014, https://www.crcv.ucf.edu/THUMOS14: times are seconds, the class is the file's name.
"""

from __future__ import annotations

import re

from kshot.datasets.annotations.forms import Annotations, Film, Segment, Source, number
from kshot.datasets.annotations.places import Places

_LINE = re.compile(r"(\S+)[ \t]+(\d+(?:\.\d+)?)[ \t]+(\d+(?:\.\d+)?)")
_NAME = re.compile(r"(.+)_(val|validation|test)")


def mine(source: Source) -> bool:
    """Whether every line is a name and two numbers."""
    lines = [line.strip() for line in source.text().splitlines() if line.strip()]
    found = [_LINE.fullmatch(line) for line in lines[:50]]
    return bool(found) and all(one is not None and not re.fullmatch(r"[\d.]+", one[1]) for one in found)


def read(source: Source, places: Places) -> Annotations:
    """The segments of one class."""
    named = _NAME.fullmatch(source.path.stem)
    label, split = (named[1], named[2].removesuffix("idation")) if named else (source.path.stem, "")
    said = Annotations()
    for line, text in enumerate(source.text().splitlines(), 1):
        if not text.strip():
            continue
        found = _LINE.fullmatch(text.strip())
        if found is None:
            said.leave("line", "that is no 'video start end' left out", f"line {line}")
            continue
        start, end = (number(time, f"{source.path.name}: line {line}") for time in found.groups()[1:])
        said.films.setdefault(found[1], Film())
        said.segments.append(Segment(found[1], start, end, label, split=split))
    return said
