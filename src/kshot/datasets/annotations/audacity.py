"""Labels of Audacity, https://manual.audacityteam.org/man/importing_and_exporting_labels.html: start, end and text.

A line a label, separated by tabs, in seconds. A line that begins with a backslash says which frequencies the label
before it is of.
"""

from __future__ import annotations

import re

from kshot.datasets.annotations.forms import Annotations, Film, Segment, Source, number
from kshot.datasets.annotations.places import Places

_LINE = re.compile(r"(-?\d+(?:[.,]\d+)?)\t(-?\d+(?:[.,]\d+)?)(?:\t(.*))?")


def mine(source: Source) -> bool:
    """Whether its lines are two numbers and a text, separated by tabs."""
    lines = [line for line in source.text().splitlines() if line.strip() and not line.startswith("\\")]
    return bool(lines) and all(_LINE.fullmatch(line) for line in lines[:50])


def read(source: Source, places: Places) -> Annotations:
    """Its labels; those of a moment and frequencies are counted."""
    said, video = Annotations(), places.only()
    said.films[video] = Film()
    for line, text in enumerate(source.text().splitlines(), 1):
        found = _LINE.fullmatch(text)
        if text.startswith("\\"):
            said.leave("range of frequencies", "not kept", f"line {line}")
        elif found is None:
            if text.strip():
                said.leave("line", "that is no label left out", f"line {line}")
        else:
            ends = (number(one.replace(",", "."), f"{source.path.name}: line {line}") for one in found.groups()[:2])
            start, end = ends
            label = (found[3] or "").strip()
            if start == end:
                said.leave("label of a moment", "left out: they have no length", f"'{label}' on line {line}")
            elif not label:
                said.leave("label", "without a text left out", f"line {line}")
            else:
                said.segments.append(Segment(video, start, end, label))
    return said


def write(said: Annotations) -> str:
    """A line a segment."""
    lines = (f"{one.start or 0.0:.6f}\t{one.end or 0.0:.6f}\t{' '.join(one.label.split())}" for one in said.segments)
    return "".join(f"{line}\n" for line in lines)
