"""A CSV of clips: columns `path,label` and, where there are any, `split` and `group`; others are named, not used."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath

from kshot import remote
from kshot.datasets.dataset import Dataset, build
from kshot.datasets.sheet import local_path, read_sheet
from kshot.errors import DataError, OptionError

NEEDED = ("path", "label")
KNOWN = (*NEEDED, "split", "group")
OWN = frozenset({*KNOWN, "bytes"})  # bytes: of a prepared benchmark, for `kshot data verify`
SHOWN = 8  # columns that are not used and named

_WHAT = "(?:t|times?|timestamp|s|secs?|seconds?|ms|f|frames?|idx|index|no|num|clip|video|segment|trim|action|event)"
_SEGMENT = re.compile(rf"{_WHAT}{{0,3}}(?:start|end|begin|stop|onset|offset){_WHAT}{{0,3}}")
"""A column, less all but its letters, that says where in a file a clip begins or ends."""


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
    lines: list[int] = []
    rows: list[dict[str, str]] = []
    first: dict[str, int] = {}
    sheet = read_sheet(path, NEEDED)
    _check_header(path, sheet.header, where)
    unused = [column for column in sheet.header if column not in OWN and column not in where]
    for line, row in sheet.rows():
        if any(row[column] != value for column, value in where.items()):
            continue
        if not row["path"]:
            raise DataError(f"{path.name}: line {line} has no path")
        if row["path"] in first:
            raise DataError(
                f"{path.name}: clip '{row['path']}' is listed twice, on lines {first[row['path']]} and {line}"
            )
        first[row["path"]] = line
        lines.append(line)
        rows.append(row)
    if where and not rows:
        wanted = " and ".join(f"{column} = '{value}'" for column, value in where.items())
        raise DataError(f"{path.name}: no row has {wanted}")
    data = build(
        name=name or path.stem,
        paths=[local_path(path.parent, row["path"]) for row in rows],
        labels=[row["label"] for row in rows],
        splits=[row.get("split", "") for row in rows],
        groups=[row.get("group", "") for row in rows],
        place=lambda index: f"line {lines[index]}",
        notes=[*unused_columns(path, unused if rows else []), *empty_rows(path, sheet.empty)],
        alone=lambda index: f"{path}?split={rows[index].get('split', '')}",
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


def _check_header(path: Path, header: list[str], where: Mapping[str, str]) -> None:
    if not header:
        raise DataError(f"{path.name} is empty: expected a header line 'path,label[,split,group]'")
    for column in NEEDED:
        if column not in header:
            near = difflib.get_close_matches(column, [name.lower() for name in header], n=1, cutoff=0.7)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            found = ", ".join(repr(name) for name in header[:12])
            raise DataError(f"{path.name}: no column '{column}' in the header, found {found}{hint}")
    parts = [name for name in header if _SEGMENT.fullmatch(re.sub(r"[^a-z]", "", name.lower()))]
    parts += [name for name in header if name.lower() in ("from", "to") and {"from", "to"} <= {*map(str.lower, header)}]
    if parts:
        raise DataError(
            f"{path.name}: column{'s' * (len(parts) > 1)} {', '.join(map(repr, parts))} would cut clips out of their "
            f"files, but a clip is a whole file: cut them first (ffmpeg -ss START -to END -i FILE CLIP), or remove "
            f"what is not meant so"
        )
    doubled = sorted({column for column in (*KNOWN, *where) if header.count(column) > 1})
    if doubled:
        raise DataError(f"{path.name}: the header names column '{doubled[0]}' more than once")
    for column in where:
        if column not in header:
            near = difflib.get_close_matches(column, header, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise OptionError(f"{path.name}: no column '{column}' to filter by: {hint}It has {', '.join(header)}")


def _check_files(path: Path, data: Dataset, lines: list[int]) -> None:
    remote.expect(filter(None, map(remote.address, data.paths)))
    missing = [index for index, clip in enumerate(data.paths) if not (remote.address(clip) or clip.exists())]
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
