"""A table as text, from whatever system and spreadsheet: encodings, line ends, separators and empty rows."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TextIO

from kshot import addresses, gate, remote
from kshot.errors import DataError

SYNONYMS = {"path": ("video", "file", "clip", "filename"), "label": ("class", "action", "behavior", "behaviour")}
"""What other programs call a column; the first of them that there is stands for it, where it is not there itself."""

MARKS = (",", ";", "\t")
"""Separators of columns; spreadsheets write semicolons where a comma is the decimal point."""
TABLE_BYTES = 4 << 30
"""Most of a table: ten million clips of 400 bytes."""


@dataclass
class Sheet:
    """Rows of a table under a header.

    Attributes:
        path: of its file.
        mark: what separates its columns.
        said: whether its first line says so, as Excel writes and reads it.
        header: names of the columns, without blanks around them.
        empty: rows without any value that were passed over so far.
    """

    path: Path
    mark: str = ","
    said: bool = False
    header: list[str] = field(default_factory=list)
    empty: int = 0

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Line number and values, without blanks around them, of every row that has one.

        Raises:
            DataError: a row of another length than the header, or quotes that are not closed.
        """
        with _open(self.path) as text:
            yield from self._rows(text)

    def _rows(self, text: TextIO) -> Iterator[tuple[int, dict[str, str]]]:
        reader = csv.reader(self._lines(text), delimiter=self.mark, strict=True)
        try:
            next((cells for cells in reader if _trimmed(cells, 0)), None)  # the header
            for cells in reader:
                values = _trimmed(cells, len(self.header))
                if not any(values):
                    self.empty += bool(cells)  # a blank line is none
                    continue
                if len(values) != len(self.header):
                    mark = _NAMES.get(self.mark, self.mark)
                    raise DataError(
                        f"{self.path.name}: line {reader.line_num} has {len(values)} values, the header "
                        f"{len(self.header)}: put a value that holds a {mark} between double quotes"
                    )
                yield reader.line_num, dict(zip(self.header, values, strict=True))
        except csv.Error as error:
            raise DataError(f"{self.path.name}: line {reader.line_num}: {error}") from None

    def _lines(self, text: TextIO) -> Iterator[str]:
        """All with their ends; an empty one for that of the separator, so that they count as in the file."""
        text.seek(0)
        if not self.said:
            return text
        text.readline()
        return chain(["\n"], text)

    def headed(self, text: TextIO) -> Sheet:
        """With its header, none where it is empty or cannot be read, which its rows then say."""
        try:
            for cells in csv.reader(self._lines(text), delimiter=self.mark):
                if header := _trimmed(cells, 0):
                    self.header = header
                    break
        except csv.Error:
            pass
        return self


_NAMES = {",": "comma", ";": "semicolon", "\t": "tab"}


def read_sheet(path: Path, needed: tuple[str, ...]) -> Sheet:
    """The table of a file, with its header; the separator is the one by which the header has the columns needed.

    Args:
        path: of the file, UTF-8 or UTF-16.
        needed: names of columns.

    Raises:
        DataError: the file cannot be read, or is no text.
    """
    with _open(path) as text:
        if said := re.fullmatch(r'"?sep=(.)"?(?:\r\n|\r|\n)', text.readline(10)):
            return Sheet(path, said[1], said=True).headed(text)
        made = [Sheet(path, mark).headed(text) for mark in MARKS]
    return next((sheet for sheet in made if all(column(sheet.header, name) for name in needed)), made[0])


@contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    opened = remote.local(path) if addresses.of(path) else nullcontext(path)
    with opened as file, gate.open_text(file, TABLE_BYTES) as text:
        yield text


def lists_clips(path: Path) -> bool:
    """Whether a file is a CSV whose first line has columns for path and label."""
    if path.suffix.lower() != ".csv":
        return False
    cells = [cell.strip(' "') for cell in re.split("[,;\t]", gate.beginning(path).partition("\n")[0])]
    return all(column(cells, name) for name in SYNONYMS)


def column(header: Sequence[str], name: str) -> str | None:
    """The column of a header that is meant by a name, which may be called otherwise; None where there is none.

    Args:
        header: names of the columns.
        name: one of `SYNONYMS`, or any other, which has none.
    """
    return next((known for known in (name, *SYNONYMS.get(name, ())) if known in header), None)


def _trimmed(cells: list[str], least: int) -> list[str]:
    """Cells without blanks around them, and without the empty ones that a spreadsheet puts behind a row."""
    values = [cell.strip() for cell in cells]
    while len(values) > least and not values[-1]:
        values.pop()
    return values


def local_path(folder: Path, text: str) -> Path:
    r"""Where a path of a table leads: relative to its folder, `~` at home, `a\b.mp4` of Windows as `a/b.mp4`. An
    address stays one.

    A name that exists as it is written is taken so.

    Args:
        folder: of the table.
        text: the path as written.
    """
    if place := addresses.of(text):
        return Path(place)
    path = folder / text
    if ("\\" in text or text.startswith("~")) and not os.path.lexists(path):
        path = folder / os.path.expanduser(text if os.sep == "\\" else text.replace("\\", "/"))
    return path
