"""Texts and paths of very many clips as bytes in one piece: an object for each takes several times as much."""

from __future__ import annotations

import os
from array import array as numbers
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

MANY = 100_000  # texts from which on they are kept each as long as it is


def array(texts: Sequence[str]) -> NDArray[Any]:
    """(n,) texts: as NumPy's plain texts, or, of very many, in its type for texts of unlike length.

    The plain ones are all as long as the longest, but every program can read them from a file.
    """
    if len(texts) >= MANY:
        with suppress(UnicodeEncodeError):  # names of files that are no text have no place there
            return np.array(texts, dtype=np.dtypes.StringDType())
    return np.array(texts, dtype=np.str_)


class Texts(Sequence[str]):
    """Texts that can be added at the end.

    Args:
        texts: the first of them.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes, self._ends = bytearray(), numbers("Q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Adds one."""
        self._bytes += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._bytes))

    def twice(self) -> tuple[int, int] | None:
        """Indices of the first text that stands there for the second time, and of that one before; None for none."""
        marks = np.fromiter(map(hash, self), np.int64, len(self))
        order = np.argsort(marks, kind="stable")
        alike = np.flatnonzero(marks[order[1:]] == marks[order[:-1]])
        first: dict[str, int] = {}
        for index in np.unique(np.concatenate([order[alike], order[alike + 1]])).tolist():
            if (before := first.setdefault(self[index], index)) != index:
                return before, index
        return None

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> Any:
        start, end = self._ends[index], self._ends[index + 1]
        return self._bytes[start:end].decode("utf-8", "surrogatepass")


class Rows(Sequence[dict[str, str]]):
    """Rows of a table, kept by columns."""

    def __init__(self) -> None:
        self._columns: dict[str, Texts] = {}

    def append(self, row: dict[str, str]) -> None:
        """Adds a row; all have the same columns."""
        if not self._columns:
            self._columns = {name: Texts() for name in row}
        for name, value in row.items():
            self._columns[name].append(value)

    def column(self, name: str) -> Texts:
        """Its values; empty texts where there is no such column."""
        return self._columns.get(name) or Texts("" for _ in range(len(self)))

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    def __getitem__(self, index: Any) -> Any:
        return {name: values[index] for name, values in self._columns.items()}


class Paths(Sequence[Path]):
    """Paths, each made when it is looked at. Parts of them share their memory.

    Args:
        text: of all of them, one after the other, as the system writes them.
        starts: uint64 (N,), where each begins.
        ends: uint64 (N,), and ends.
    """

    def __init__(self, text: bytes, starts: NDArray[np.uint64], ends: NDArray[np.uint64]) -> None:
        self._text, self._starts, self._ends = text, starts, ends

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Sequence[Path]:
        """Paths in this form; as a tuple where one is more than a path of this system."""
        if isinstance(paths, cls):
            return paths
        text, ends, plain = bytearray(), numbers("Q"), type(Path())
        coming = iter(paths)
        for path in coming:
            if type(path) is not plain:
                return (*cls._made(text, ends), path, *coming)
            text += os.fsencode(path)
            ends.append(len(text))
        return cls._made(text, ends)

    @classmethod
    def _made(cls, text: bytearray, ends: numbers[int]) -> Self:
        marks = np.array(ends, np.uint64)
        return cls(bytes(text), np.append(np.uint64(0), marks[:-1]) if len(marks) else marks, marks)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: Any) -> Any:
        """A path; or those of a slice or an array of indices, in this form."""
        start, end = self._starts[index], self._ends[index]
        if isinstance(start, np.ndarray):
            return Paths(self._text, start, end)
        return Path(os.fsdecode(self._text[int(start) : int(end)]))

    def __iter__(self) -> Iterator[Path]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(Path.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{len(self):,} paths" + (f" from {self[0]}" if len(self) else "")


def chosen(paths: Sequence[Path], indices: NDArray[np.int64]) -> Sequence[Path]:
    """The paths with these indices, in the form that they have."""
    return paths[indices] if isinstance(paths, Paths) else tuple(paths[index] for index in indices)
