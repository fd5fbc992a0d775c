"""A CSV of clips: columns `path,label` and, where there are any, `split` and `group`; others are named, not used."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from kshot.datasets.dataset import Dataset, build
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
    """The clips of a CSV (UTF-8); paths are relative to it.

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
    unused: list[str] = []
    lines: list[int] = []
    rows: list[dict[str, str]] = []
    first: dict[str, int] = {}
    for line, row in _rows(path, where):
        unused = unused or [column for column in row if column not in OWN and column not in where]
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
        paths=[path.parent / row["path"] for row in rows],
        labels=[row["label"] for row in rows],
        splits=[row.get("split", "") for row in rows],
        groups=[row.get("group", "") for row in rows],
        place=lambda index: f"line {lines[index]}",
        notes=unused_columns(path, unused),
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


def _rows(path: Path, where: Mapping[str, str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and values, stripped of blanks, of every row."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [column.strip() for column in next(reader, [])]
            _check_header(path, header, where)
            for values in reader:
                if not values:
                    continue
                if len(values) != len(header):
                    raise DataError(
                        f"{path.name}: line {reader.line_num} has {len(values)} values, the header {len(header)}: "
                        "put a value that holds a comma between double quotes"
                    )
                yield reader.line_num, dict(zip(header, (value.strip() for value in values), strict=True))
    except UnicodeDecodeError:
        raise DataError(f"{path.name}: not UTF-8 text: save the table as 'CSV UTF-8'") from None
    except csv.Error as error:
        raise DataError(f"{path.name}: line {reader.line_num}: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _check_header(path: Path, header: list[str], where: Mapping[str, str]) -> None:
    if not header:
        raise DataError(f"{path.name} is empty: expected a header line 'path,label[,split,group]'")
    for column in NEEDED:
        if column not in header:
            near = difflib.get_close_matches(column, [name.lower() for name in header], n=1, cutoff=0.7)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            split = [mark for mark in (";", "\t") if len(header) == 1 and mark in header[0]]
            hint = f"; separate columns by commas, not by {split[0]!r}" if split else hint
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
    missing = [index for index, clip in enumerate(data.paths) if not clip.exists()]
    if missing:
        few = ", ".join(f"{data.paths[index]} (line {lines[index]})" for index in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(
            f"{path.name}: {len(missing)} of {len(data)} clips are missing: {few}{more}: "
            f"paths are relative to {path.parent.resolve()}"
        )
