"""Kinetics: a CSV `label,youtube_id,time_start,time_end,split`.

By https://github.com/cvdfoundation/kinetics-dataset, whose copies of videos are cut already and called
ID_000010_000020.mp4: such a file is taken as a whole.
"""

from __future__ import annotations

import csv
import io

from kshot.datasets.annotations.forms import Annotations, Film, Segment, Source, number
from kshot.datasets.annotations.places import Places

SPLITS = {"train": "train", "validate": "val", "val": "val", "test": "test"}


def mine(source: Source) -> bool:
    """Whether its header has the columns of Kinetics."""
    header = {cell.strip().strip('"') for cell in source.text().partition("\n")[0].split(",")}
    return {"youtube_id", "time_start", "time_end"} <= header


def read(source: Source, places: Places) -> Annotations:
    """A segment a row; rows of the test list without a label are counted."""
    said, name = Annotations(), source.path.name
    reader = csv.DictReader(io.StringIO(source.text(), newline=""), skipinitialspace=True)
    for row in reader:
        place = f"{name}: line {reader.line_num}"
        start, end = (number(row[key], f"{place}: {key}") for key in ("time_start", "time_end"))
        label, split = row.get("label") or "", SPLITS.get((row.get("split") or "").strip(), "")
        if not label:
            said.leave("row", "without a label left out", place)
            continue
        cut = f"{row['youtube_id']}_{int(start):06d}_{int(end):06d}"
        whole = places.find(cut) is not None
        video = cut if whole else row["youtube_id"]
        said.films[video] = Film()
        first, last = (None, None) if whole else (start, end)
        said.segments.append(Segment(video, first, last, label, split=split))
    return said
