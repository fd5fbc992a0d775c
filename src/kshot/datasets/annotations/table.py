"""A CSV of segments: `path,label,start,end` and, where there are any, `group,split,subject,score`.

What is taught from such a table is read by `kshot.datasets.table`; here it is written, and read for summaries.
"""

from __future__ import annotations

import csv
import io
import math

from kshot.datasets.annotations.forms import Annotations, Film, Segment, Source, number
from kshot.datasets.annotations.places import Places
from kshot.datasets.sheet import column, read_sheet
from kshot.datasets.spans import columns

COLUMNS = ("path", "label", "start", "end", "group", "split", "subject", "score")
NEEDED = COLUMNS[:2]


def mine(source: Source) -> bool:
    """Whether its header has columns for path, label and times, under any of the names that tables may give them."""
    if not source.text():
        return False
    header = read_sheet(source.path, NEEDED).header
    return all(column(header, name) for name in NEEDED) and bool(columns(source.path.name, header))


def read(source: Source, places: Places) -> Annotations:
    """Its rows; an empty start or end is the video's own."""
    said, name = Annotations(), source.path.name
    sheet = read_sheet(source.path, NEEDED)
    moments = columns(name, sheet.header)
    path, label = (column(sheet.header, needed) or needed for needed in NEEDED)
    for line, row in sheet.rows():
        place = f"{name}: line {line}"
        start, end = (None if math.isnan(time) else time for time in moments.read(row, place))
        score = row.get("score")
        said.films.setdefault(row[path], Film())
        group, split, subject = (row.get(key, "") for key in ("group", "split", "subject"))
        sure = number(score, f"{place}: score") if score else None
        said.segments.append(Segment(row[path], start, end, row[label], group, split, subject, sure))
    return said


def write(said: Annotations) -> str:
    """A row a segment; columns that may be missing are where one segment has a value, start and end too."""
    needed = COLUMNS[:4] if any((one.start, one.end) != (None, None) for one in said.segments) else NEEDED
    used = [column for column in COLUMNS[4:] if any(getattr(one, column) not in ("", None) for one in said.segments)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow((*needed, *used))
    for one in said.segments:
        times = ["" if time is None else f"{time:.3f}" for time in (one.start, one.end)] if len(needed) > 2 else []
        rest = [getattr(one, column) for column in used]
        rest = ["" if value is None else f"{value:.4f}" if isinstance(value, float) else value for value in rest]
        writer.writerow((one.path, one.label, *times, *rest))
    return file.getvalue()
