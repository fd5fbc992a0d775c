"""Numbers, texts and paths of very many clips, out of memory: an object for each would take hundreds of bytes.

They lie in files without names, which are gone once nobody uses them. Little stays in memory, and so does what the disk
has no room for. Files are read rather than mapped: every page of a map that was touched counts as memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kshot.system import read_at, write_at

MANY = 100_000  # texts from which on they are kept each as long as it is
BLOCK = 1 << 16  # values that are looked at together
FEW = 1 << 12  # objects that are made together
SPILL = 1 << 18  # bytes that are written to a file together
NEAR = 16  # values that may be read for each one that is wanted


def array(texts: Iterable[str], count: int) -> NDArray[Any]:
    """(count,) texts: as NumPy's plain texts, or, of very many, in its type for texts of unlike length.

    The plain ones are all as long as the longest, but every program can read them from a file.
    """
    coming = iter(texts)
    if count < MANY:
        return np.array([*coming], dtype=np.str_)
    made = np.empty(count, np.dtypes.StringDType())
    for start in range(0, count, BLOCK):
        some = [*islice(coming, BLOCK)]
        try:
            made[start : start + len(some)] = some
        except UnicodeEncodeError:  # names of files that are no text have no place there
            return np.array([*made[:start].tolist(), *some, *coming], dtype=np.str_)
    return made


def repeated(count: int, marks: Callable[[int], NDArray[Any]]) -> NDArray[np.int64]:
    """Indices of the marks that stand there more than once, in order.

    Args:
        count: how many there are.
        marks: gives those of a block, by its start; of fewer than all, the others are zero, and not looked at.
    """
    ordered, held = np.empty(count, np.int64), 0
    for start in range(0, count, BLOCK):
        some = marks(start)
        some = some[some != 0]
        ordered[held : held + len(some)] = some.view(np.int64)
        held += len(some)
    ordered = ordered[:held]
    ordered.sort()
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    found = [np.empty(0, np.int64)]
    for start in range(0, count, BLOCK) if len(twice) else ():
        found.append(start + np.flatnonzero(np.isin(marks(start).view(np.int64), twice)))
    return np.concatenate(found)


class _Bytes:
    """Bytes that are added at the end, and read and written over anywhere."""

    def __init__(self) -> None:
        self._file: Any = None
        self._tail, self._start = bytearray(), 0  # what is not in the file, and how much is
        self._spill: float = SPILL

    def __len__(self) -> int:
        return self._start + len(self._tail)

    def append(self, data: bytes | memoryview) -> None:
        self._tail += data
        if len(self._tail) < self._spill:
            return
        try:
            self._file = self._file or TemporaryFile(buffering=0)  # noqa: SIM115 (it goes with this object)
            self._write(self._start, memoryview(self._tail))
        except OSError:
            self._spill = math.inf  # then memory has to do
            return
        self._start, self._tail = len(self), bytearray()

    def _write(self, place: int, data: memoryview) -> None:
        while data:
            count = write_at(self._file, data, place)
            data, place = data[count:], place + count

    def put(self, place: int, data: bytes) -> None:
        """Writes over some that lie together, all in the file or none of them."""
        if place < self._start:
            self._write(place, memoryview(data))
        else:
            self._tail[place - self._start : place - self._start + len(data)] = data

    def read(self, start: int, end: int) -> bytearray:
        if start >= self._start:
            return self._tail[start - self._start : end - self._start]
        kept = bytearray(min(end, self._start) - start)
        data = memoryview(kept)
        while data:
            if not (count := read_at(self._file, data, start)):
                raise EOFError("a file that only this process knows was cut off")
            data, start = data[count:], start + count
        del data
        return kept + self._tail[: max(0, end - self._start)]


class Column:
    """(N,) values of one type, out of memory; what is looked at is copied.

    Args:
        dtype: of the values.
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype, self._bytes = np.dtype(dtype), _Bytes()
        self._new: list[Any] = []  # added one by one

    def add(self, value: Any) -> None:
        """Adds one."""
        self._new.append(value)
        if len(self._new) == FEW:
            self.append(())

    def append(self, values: Any) -> None:
        """Adds some."""
        for some in filter(len, (self._new, values)):
            self._bytes.append(np.ascontiguousarray(some, self.dtype).view(np.uint8).data)
        self._new.clear()

    def chosen(self, indices: NDArray[np.int64]) -> Column:
        """Those with these indices, out of memory too."""
        made = Column(self.dtype)
        for start in range(0, len(indices), BLOCK):
            made.append(self[indices[start : start + BLOCK]])
        return made

    def __len__(self) -> int:
        return len(self._bytes) // int(self.dtype.itemsize) + len(self._new)

    def __getitem__(self, index: Any) -> Any:
        """A value, or (n,) those of a slice or of n indices."""
        self.append(())
        if isinstance(index, slice) and index.step in (None, 1):
            start, end, _ = index.indices(len(self))
            size = self.dtype.itemsize
            return np.frombuffer(self._bytes.read(start * size, max(start, end) * size), self.dtype)
        if not isinstance(index, slice | np.ndarray):
            own = range(len(self))[index]
            return self[own : own + 1][0]
        wanted = np.arange(len(self))[index]
        made = np.empty(len(wanted), self.dtype)
        for start in range(0, len(wanted), BLOCK):
            some = wanted[start : start + BLOCK]
            low, high = int(some.min()), int(some.max()) + 1
            near = high - low <= NEAR * len(some)
            made[start : start + BLOCK] = self[low:high][some - low] if near else [self[i] for i in some.tolist()]
        return made

    def __setitem__(self, index: int, value: Any) -> None:
        self.append(())
        own = range(len(self))[index]
        self._bytes.put(own * self.dtype.itemsize, np.array([value], self.dtype).tobytes())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        values: NDArray[Any] = self[:]
        return values if dtype is None else values.astype(dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return np.asarray, (self[:],)  # a copy elsewhere lies in memory


class Texts(Sequence[str]):
    """Texts that can be added at the end.

    Args:
        texts: the first of them.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes, self._ends = _Bytes(), Column(np.uint64)
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Adds one."""
        self._bytes.append(text.encode("utf-8", "surrogatepass"))
        self._ends.add(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: Any) -> Any:
        return next(self._between(own := range(len(self))[index], own + 1))

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), FEW):
            yield from self._between(start, min(start + FEW, len(self)))

    def _between(self, first: int, end: int) -> Iterator[str]:
        """Those from one index to another, read together."""
        ends = self._ends[max(0, first - 1) : end].tolist()
        ends = ends if first else [0, *ends]
        data = bytes(self._bytes.read(ends[0], ends[-1]))
        for place, stop in pairwise(ends):
            yield data[place - ends[0] : stop - ends[0]].decode("utf-8", "surrogatepass")


class Paths(Sequence[Path]):
    """Paths, each made when it is looked at. Parts of them share their texts.

    Args:
        texts: of all of them, as the system writes them.
        rows: (N,) which of the texts these are; None for all, in their order.
    """

    def __init__(self, texts: Texts, rows: NDArray[np.int64] | None = None) -> None:
        self._texts, self._rows = texts, rows

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Sequence[Path]:
        """Paths in this form; as a tuple where one is more than a path of this system."""
        if isinstance(paths, cls):
            return paths
        texts, plain, coming = Texts(), type(Path()), iter(paths)
        for path in coming:
            if type(path) is not plain:
                return (*cls(texts), path, *coming)
            texts.append(str(path))
        return cls(texts)

    def __len__(self) -> int:
        return len(self._texts) if self._rows is None else len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        """A path; or those of a slice or an array of indices, in this form."""
        if isinstance(index, slice | np.ndarray):
            if self._rows is None and isinstance(index, np.ndarray):
                return Paths(self._texts, index)
            return Paths(self._texts, (np.arange(len(self)) if self._rows is None else self._rows)[index])
        return Path(self._texts[index if self._rows is None else self._rows[index]])

    def __iter__(self) -> Iterator[Path]:
        return map(Path, self._texts) if self._rows is None else (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(Path.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, ([*self],)  # a copy elsewhere lies in memory

    def __repr__(self) -> str:
        return f"{len(self):,} paths" + (f" from {self[0]}" if len(self) else "")


def chosen(paths: Sequence[Path], indices: NDArray[np.int64]) -> Sequence[Path]:
    """The paths with these indices, in the form that they have."""
    return paths[indices] if isinstance(paths, Paths) else tuple(paths[index] for index in indices)
