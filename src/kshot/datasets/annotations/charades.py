"""Charades: a CSV with a row a video and its actions as "c092 11.90 21.20;c147 0.00 12.60".

By https://prior.allenai.org/projects/charades: the names of classes stand in Charades_v1_classes.txt, which is read
where it lies beside the CSV.
"""

from __future__ import annotations

import csv
import io

from kshot import gate
from kshot.datasets.annotations.forms import Annotations, Film, Segment, Source, number
from kshot.datasets.annotations.places import Places
from kshot.errors import DataError

CLASSES = "Charades_v1_classes.txt"


def mine(source: Source) -> bool:
    """Whether its header has the columns of Charades."""
    header = source.text().partition("\n")[0].strip().split(",")
    return {"id", "subject", "actions", "length"} <= set(header)


def read(source: Source, places: Places) -> Annotations:
    """The actions of all videos, whose subjects are those of the table; scripts and descriptions are counted."""
    said, name = Annotations(), source.path.name
    beside = source.path.with_name(CLASSES)
    titles = {}
    if beside.is_file():
        titles = dict(line.split(maxsplit=1) for line in gate.read_text(beside).splitlines() if " " in line.strip())
        said.labels = tuple(titles.values())
    reader = csv.DictReader(io.StringIO(source.text(), newline=""))
    for row in reader:
        video, place = row["id"], f"{name}: line {reader.line_num}"
        length = row.get("length")
        said.films[video] = Film(seconds=number(length, f"{place}: length") if length else None)
        if row.get("script") or row.get("descriptions"):
            said.leave("script", "not kept", f"of {video}")
        for text in filter(None, (part.strip() for part in (row["actions"] or "").split(";"))):
            parts = text.split()
            if len(parts) != 3:
                raise DataError(f"{place}: expected actions like 'c092 11.90 21.20', found '{text}'")
            start, end = (number(time, f"{place}: actions") for time in parts[1:])
            label = titles.get(parts[0], parts[0])
            said.segments.append(Segment(video, start, end, label, subject=row["subject"] or ""))
    return said
