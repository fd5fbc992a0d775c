"""Where a clip stands in files that are too long to be held in memory: sorted 64-bit marks and places, 16 bytes a clip.

An index is a cache. What it points at says itself which clip it is of and is always asked, so that an index which is
damaged or behind can hide a clip but never give another's. It is kept as a file where there are many clips and mapped,
so that a lookup costs a few pages; where no file can be written it lives in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kshot import system
from kshot.compact import BLOCK, Column
from kshot.errors import KshotError
from kshot.files import whole

Marks = NDArray[np.uint64]
Pairs = tuple[Marks, Marks]
"""Marks and their places."""

CHUNK = 4096  # digests that are packed at a time
INDEXED = 100_000  # clips from which on an index is kept as a file, and digests are
STRETCHES = 16  # of marks, each of which is sorted by itself


class Index:
    """Places by mark. Several may have one mark; the later of them come first.

    Args:
        marks: uint64 (N,), in any order.
        places: uint64 (N,); of equal marks the one that stands later counts first.
    """

    def __init__(self, marks: Marks, places: Marks) -> None:
        order = np.argsort(marks, kind="stable")
        self._marks, self._places = marks[order], places[order]
        self._map: Any = None

    def __len__(self) -> int:
        return len(self._marks)

    @property
    def pairs(self) -> Pairs:
        """Marks and places, sorted."""
        return self._marks, self._places

    @property
    def distinct(self) -> int:
        """Number of marks that differ."""
        return int((self._marks[1:] != self._marks[:-1]).sum()) + bool(len(self))

    @property
    def most(self) -> int:
        """The largest place; 0 of none."""
        largest = int(self._places.max(initial=0))
        self.let_go()
        return largest

    def places(self, mark: int | np.uint64) -> list[int]:
        """The places of a mark, the latest first."""
        if not len(self):
            return []
        wanted, found = np.uint64(mark), []
        at = int(self._marks.searchsorted(wanted))
        while at < len(self) and self._marks[at] == wanted:
            found.append(int(self._places[at]))
            at += 1
        return found[::-1]

    def holds(self, marks: Marks) -> NDArray[np.bool_]:
        """(n,) whether each of n marks has a place."""
        if not len(self):
            return np.zeros(len(marks), bool)
        at = np.searchsorted(self._marks, marks)
        found: NDArray[np.bool_] = self._marks[np.minimum(at, len(self) - 1)] == marks
        self.let_go()
        return found

    def let_go(self) -> None:
        """What was looked at no longer counts as memory."""
        if self._map is not None:
            system.let_go(self._map)

    @classmethod
    def of(cls, *parts: Pairs) -> Index:
        """The index of some marks and places; those of later parts stand later."""
        both: Iterable[Sequence[Marks]] = zip(*parts, strict=True) if parts else ((), ())
        return cls(*(np.concatenate([np.empty(0, np.uint64), *column]) for column in both))

    @classmethod
    def keep(cls, folder: Path, kind: str, version: str, *parts: Pairs) -> Index:
        """As `of`, kept as `kind-version.npy` in a folder, in place of other versions, and mapped; in memory where
        nothing can be written. No more is sorted at a time than a stretch of the marks, which are spread evenly."""
        count = sum(len(marks) for marks, _ in parts)
        about = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint64)), "fortran_order": False}
        made = None
        with suppress(OSError, KshotError):
            with whole(folder / f"{kind}-{version}.npy") as part, part.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, about | {"shape": (2, count)})
                place = file.tell()
                for first in range(0, 1 << 64, (1 << 64) // STRETCHES):
                    for row, values in enumerate(cls.of(*_between(parts, first)).pairs):
                        file.seek(place + row * 8 * count)
                        file.write(values.data)
                    place += values.nbytes
            made = cls.load(folder, kind, version)
            for other in folder.glob(f"{kind}-*.npy"):
                if other.name != f"{kind}-{version}.npy":
                    other.unlink()
        return made or cls.of(*parts)

    @classmethod
    def load(cls, folder: Path, kind: str, version: str) -> Index | None:
        """What `keep` kept, mapped; None where there is no such file, or no whole one."""
        try:
            both = np.load(folder / f"{kind}-{version}.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if both.ndim != 2 or len(both) != 2 or both.dtype != np.uint64:
            return None
        made = cls.__new__(cls)
        made._map = getattr(both, "_mmap", None)
        made._marks, made._places = np.asarray(both)
        return made


def _between(parts: Iterable[Pairs], first: int) -> Iterator[Pairs]:
    """Of each part what lies in the stretch of marks that begins with `first`."""
    last = np.uint64(first + (1 << 64) // STRETCHES - 1)
    for marks, places in parts:
        own = np.flatnonzero((marks >= np.uint64(first)) & (marks <= last))
        yield marks[own], places[own]


def mark(name: str) -> int:
    """64 bits of a name: the first of a digest, those of its sha256 of any other text, 0 of an empty one."""
    if not name:
        return 0
    if len(name) == 64:
        with suppress(ValueError):
            return int(name[:16], 16)
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def marks(names: Sequence[str]) -> Marks:
    """(n,) `mark` of each name."""
    if isinstance(names, DigestList):
        return names.marks
    packed = _packed(names)
    if packed is not None:
        return _first(packed)
    return np.fromiter((mark(name) for name in names), np.uint64, len(names))


class DigestList(Sequence[str]):
    """Digests as 32 bytes each, of many in a file, for as long as nobody looks at one: a text of 64 digits takes 113.

    An empty text, for a clip that has none, is 32 zeros.

    Args:
        values: (N,) of type S32. Zeros at an end are of the digest: NumPy leaves them out of what it shows only.

    Attributes:
        values: as given.
    """

    def __init__(self, values: NDArray[np.bytes_] | Column) -> None:
        self.values = values

    @classmethod
    def of(cls, digests: Sequence[str]) -> Sequence[str]:
        """The digests in this form; as they are where one is no sha256 in hexadecimal."""
        packed = _packed(digests)
        return digests if packed is None else cls(packed)

    @classmethod
    def collected(cls, count: int, digests: Iterable[str]) -> Sequence[str]:
        """As `of`, from so many digests that come one by one."""
        values, coming = Column("S32"), iter(digests)
        while chunk := list(islice(coming, CHUNK)):
            packed = _packed(chunk)
            if packed is None:
                return [*cls(values), *chunk, *coming]
            values.append(packed)
        return cls(values if count >= INDEXED else values[:])

    @property
    def marks(self) -> Marks:
        """uint64 (N,), `mark` of each."""
        found = np.empty(len(self), np.uint64)
        for start in range(0, len(self), BLOCK):
            found[start : start + BLOCK] = _first(self.values[start : start + BLOCK])
        return found

    def chosen(self, indices: NDArray[np.int64]) -> DigestList:
        """Those with these indices."""
        if isinstance(self.values, Column) and len(indices) >= INDEXED:
            return DigestList(self.values.chosen(indices))
        return DigestList(self.values[indices])

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> Any:
        found = self.values[index]
        if isinstance(found, np.ndarray):
            return DigestList(found)
        return bytes(found).ljust(32, b"\0").hex() if found else ""

    def __setitem__(self, index: int, digest: str) -> None:
        self.values[index] = bytes.fromhex(digest)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DigestList):
            return bool(np.array_equal(self.values, other.values))
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"DigestList of {len(self):,}"


def pick(digests: Sequence[str], indices: NDArray[np.int64]) -> Sequence[str]:
    """Those digests, in the form that they have."""
    if isinstance(digests, DigestList):
        return digests.chosen(indices)
    return tuple(digests[i] for i in indices)


def values(digests: Sequence[str]) -> NDArray[Any]:
    """(n,) what tells digests apart, for NumPy to sort and to compare."""
    return np.asarray(digests.values) if isinstance(digests, DigestList) else np.array(digests, np.str_)


def _packed(names: Sequence[str]) -> NDArray[np.bytes_] | None:
    """(n,) of type S32; None where a name is no digest."""
    if not all(isinstance(name, str) and len(name) in (0, 64) for name in names):
        return None
    try:
        together = bytes.fromhex("".join(name or "0" * 64 for name in names))
    except ValueError:
        return None
    if len(together) != 32 * len(names):  # blanks are passed over by `fromhex`
        return None
    return np.frombuffer(bytearray(together), "S32")


def _first(values: NDArray[np.bytes_]) -> Marks:
    """The first 64 bits of each digest."""
    whole = np.ascontiguousarray(values).view(">u8").reshape(-1, 4)[:, 0]
    return whole.astype(np.uint64)
