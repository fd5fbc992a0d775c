"""A CSV of clips: columns `path,label` and, where there are any, `start,end`, `split` and `group`; others are named.

With `start` and `end` a clip is a segment of its video, which may have many.
"""

from __future__ import annotations

import difflib
import os
from array import array
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from kshot import addresses, remote
from kshot.compact import BLOCK, Column, Paths, Texts, repeated
from kshot.datasets.dataset import Dataset, build
from kshot.datasets.sheet import column, local_path, read_sheet
from kshot.datasets.spans import Columns, columns
from kshot.errors import DataError, OptionError

NEEDED = ("path", "label")
KNOWN = (*NEEDED, "split", "group")
OWN = frozenset({*KNOWN, "bytes"})  # bytes: of a prepared benchmark, for `kshot data verify`
SHOWN = 8  # columns that are not used and named


def load_table(
    path: Path, where: Mapping[str, str] | None = None, check_files: bool = True, name: str | None = None
) -> Dataset:
    """The clips of a CSV, as any system writes it (see `kshot.datasets.sheet`); paths are relative to it.

    Args:
        path: of the CSV.
        where: column -> value: only rows that have them.
        check_files: whether a clip whose file is missing is an error.
        name: of the data set; that of the file by default.

    Raises:
        DataError: unreadable, a missing column or value, a clip listed twice, missing files, or bad splits.
        OptionError: `where` names a column that does not exist.
    """
    where = where or {}
    lines, moments_of = Column(np.uint64), array("d")
    marks = array("q")  # of paths; parts of a video may share theirs, see `segments`
    sheet = read_sheet(path, NEEDED)
    place, label, moments = _check_header(path, sheet.header, where)
    rows = {name: Texts() for name in (place, label, *KNOWN) if name in sheet.header}
    unused = [name for name in sheet.header if name not in {*OWN, place, label, *where, *moments.used}]
    for line, row in sheet.rows():
        if any(row[name] != value for name, value in where.items()):
            continue
        if not row[place]:
            raise DataError(f"{path.name}: line {line} has no {place}")
        if moments:
            moments_of.extend(moments.read(row, f"{path.name}: line {line}"))
        whole = not moments or np.isnan(moments_of[-2:]).all()
        marks.append(hash(row[place] if whole else (line,)))
        lines.add(line)
        for each, values in rows.items():
            values.append(row[each])
    _expect_once(path, rows[place], marks, lines)
    if where and not marks:
        wanted = " and ".join(f"{name} = '{value}'" for name, value in where.items())
        raise DataError(f"{path.name}: no row has {wanted}")
    times = np.array(moments_of, np.float64).reshape(-1, 2)
    nothing: Any = np.broadcast_to("", len(marks))
    del marks
    data = build(
        name=name or path.stem,
        paths=Paths.of(local_path(path.parent, text) for text in rows[place]),
        labels=rows[label],
        splits=rows.get("split", nothing),
        groups=rows.get("group", nothing),
        place=lambda index: f"line {lines[index]}",
        notes=[*unused_columns(path, unused if lines else []), *empty_rows(path, sheet.empty)],
        alone=lambda index: f"{path}?split={rows['split'][index]}",
        spans=None if np.isnan(times).all() else times,
        source=path.name,
    )
    if check_files:
        _check_files(path, data, lines)
    return data


def unused_columns(path: Path, columns: list[str], what: str = "column") -> list[str]:
    """A sentence on what of a table is not used; none where all of it is.

    Args:
        path: of the table.
        columns: names of what is not used.
        what: they are, in the singular.
    """
    if not columns:
        return []
    more = f" and {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
    kinds = what if len(columns) == 1 else f"{what}s"
    return [f"{len(columns)} {kinds} of {path.name} not used: {', '.join(columns[:SHOWN])}{more}"]


def empty_rows(path: Path, count: int) -> list[str]:
    """A sentence on rows without a value; none where there are none."""
    return [f"{count} empty {'row' if count == 1 else 'rows'} of {path.name} passed over"] if count else []


def _check_header(path: Path, header: list[str], where: Mapping[str, str]) -> tuple[str, str, Columns]:
    """The columns of path and label, and those of start and end."""
    if not header:
        raise DataError(f"{path.name} is empty: expected a header line 'path,label[,start,end,split,group]'")
    meant = {name: column(header, name) for name in NEEDED}
    for name, there in meant.items():
        if there is None:
            near = difflib.get_close_matches(name, small := [each.lower() for each in header], n=1, cutoff=0.7)
            hint = f"; write '{name}' in place of '{header[small.index(near[0])]}'" if near else ""
            found = ", ".join(repr(each) for each in header[:12])
            raise DataError(f"{path.name}: no column '{name}' in the header, found {found}{hint}")
    doubled = sorted({name for name in (*KNOWN, *meant.values(), *where) if name and header.count(name) > 1})
    if doubled:
        raise DataError(f"{path.name}: the header names column '{doubled[0]}' more than once")
    for name in where:
        if name not in header:
            near = difflib.get_close_matches(name, header, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise OptionError(f"{path.name}: no column '{name}' to filter by: {hint}It has {', '.join(header)}")
    return str(meant["path"]), str(meant["label"]), columns(path.name, header)


def _expect_once(path: Path, clips: Texts, marks: array[int], lines: Column) -> None:
    """Refuses a clip that is listed twice."""
    first: dict[tuple[int, str], int] = {}
    for index in repeated(len(marks), lambda start: np.asarray(marks[start : start + BLOCK], np.int64)).tolist():
        before = first.setdefault((marks[index], clips[index]), index)
        if before != index:
            raise DataError(
                f"{path.name}: clip '{clips[index]}' is listed twice, on lines {lines[before]} and {lines[index]}"
            )


def _check_files(path: Path, data: Dataset, lines: Column) -> None:
    if places := [place for path in data.paths if (place := addresses.of(path))]:
        remote.expect(places)
    missing = [index for index, clip in enumerate(data.paths) if not (addresses.of(clip) or clip.exists())]
    if missing:
        few = ", ".join(f"{data.paths[index]} (line {lines[index]})" for index in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(
            f"{path.name}: {len(missing)} of {len(data)} clips are missing: {few}{more}: "
            f"paths are relative to {path.parent.resolve()}{_drive(path, data, missing)}"
        )


def _drive(path: Path, data: Dataset, missing: list[int]) -> str:
    """What to do about paths with a drive of Windows, where there are no drives."""
    if os.name == "nt" or not any(
        PureWindowsPath(os.path.relpath(data.paths[index], path.parent)).drive for index in missing
    ):
        return ""
    return "; a path with a drive of Windows leads nowhere here: write it as seen from the table's folder"
