"""A CSV of segments: `path,label,start,end` and, where there are any, `group,split,subject,score`.

What is taught from such a table is read by `kshot.datasets.table`; here it is written, and read for summaries.
"""

from __future__ import annotations

import csv
import io

from kshot.datasets.annotations.forms import Annotations, Film, Segment, Source, number, seconds
from kshot.datasets.annotations.places import Places
from kshot.datasets.sheet import read_sheet
from kshot.errors import DataError

COLUMNS = ("path", "label", "start", "end", "group", "split", "subject", "score")
NEEDED = COLUMNS[:2]


def mine(source: Source) -> bool:
    """Whether its header has the columns that are needed, and times."""
    if not source.text():
        return False
    header = {name.lower() for name in read_sheet(source.path, COLUMNS[:4]).header}
    return {*COLUMNS[:4]} <= header


def read(source: Source, places: Places) -> Annotations:
    """Its rows; an empty start or end is the video's own."""
    said, name = Annotations(), source.path.name
    sheet = read_sheet(source.path, COLUMNS[:4])
    for line, row in sheet.rows():
        small = {key.lower(): value for key, value in row.items()}
        ends = []
        for column in ("start", "end"):
            found = seconds(small[column])
            if found is None and small[column]:
                raise DataError(
                    f"{name}: line {line}: expected {column} in seconds or h:mm:ss.mmm, found '{small[column]}'"
                )
            ends.append(found)
        score = small.get("score")
        said.films.setdefault(small["path"], Film())
        rest = {column: small.get(column, "") for column in ("group", "split", "subject")}
        sure = number(score, f"{name}: line {line}: score") if score else None
        said.segments.append(Segment(small["path"], ends[0], ends[1], small["label"], **rest, score=sure))
    return said


def write(said: Annotations) -> str:
    """A row a segment; optional columns where one segment has a value."""
    used = [column for column in COLUMNS[4:] if any(getattr(one, column) not in ("", None) for one in said.segments)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow((*COLUMNS[:4], *used))
    for one in said.segments:
        times = ("" if time is None else f"{time:.3f}" for time in (one.start, one.end))
        rest = [getattr(one, column) for column in used]
        rest = ["" if value is None else f"{value:.4f}" if isinstance(value, float) else value for value in rest]
        writer.writerow((one.path, one.label, *times, *rest))
    return file.getvalue()
