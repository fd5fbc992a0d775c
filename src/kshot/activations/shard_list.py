"""The complete shards of a folder, and in which of them each clip stands.

Few clips are found by reading every manifest, as they always were. Of many an index is kept. It is named after the
names of all shards, which are hashes of what they hold, so it belongs to these very shards or is not looked at; and the
manifest of a shard is read, and asked, before a row of it is given to anybody.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kshot.activations import index
from kshot.activations.index import DigestList, Index, mark, marks
from kshot.activations.shards import Manifest, read_manifest
from kshot.compact import BLOCK
from kshot.errors import StoreError

KIND = "index"
OLD = 1 << 63
"""In a place, beside a shard's number in the bits from the 33rd on and a row in those before: chosen by number."""


class ShardList:
    """The complete shards of a folder.

    Args:
        folder: of a key of a store, which need not exist.
        read: whether to look; else there are none.

    Attributes:
        folder: as given.
        names: of the shards, in order.

    Raises:
        StoreError: a manifest is damaged or of a newer kshot.
    """

    def __init__(self, folder: Path, read: bool = True) -> None:
        self.folder, self.names = folder, names(folder) if read else []
        self._version = hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:16]
        self._index = (Index.load(folder, KIND, self._version) if read else None) or self._made()

    def rebuild(self) -> None:
        """Reads every manifest, whatever index there is.

        Raises:
            StoreError: as when it was made.
        """
        self._index = self._made()

    def _made(self) -> Index:
        """The index, from every manifest; kept where there are many clips.

        What was chosen by number stands never in place of what was chosen by time, whichever shard comes first.
        """
        found = {by_time: (array("Q"), array("Q")) for by_time in (False, True)}  # the later one counts
        for number in range(len(self.names)):
            manifest = self._manifest(number)
            rows = np.arange(len(manifest.clips), dtype=np.uint64)
            places = rows | np.uint64(number << 32 | (0 if manifest.by_time else OLD))
            for column, values in zip(found[manifest.by_time], (marks(manifest.clips), places), strict=True):
                column.frombytes(values.tobytes())
        parts = [(np.frombuffer(m, np.uint64), np.frombuffer(p, np.uint64)) for m, p in found.values() if m]
        if sum(len(marks) for marks, _ in parts) < index.INDEXED:
            return Index.of(*parts)
        return Index.keep(self.folder, KIND, self._version, *parts)

    def _manifest(self, number: int) -> Manifest:
        path = self.folder / f"{self.names[number]}.json"
        try:
            return read_manifest(path)
        except ValueError as error:
            raise StoreError(
                f"manifest {path} is damaged ({error}); run `kshot extract` again: it rewrites damaged shards only"
            ) from None

    def clips(self, number: int) -> Sequence[str]:
        """The clips of a shard in the order of its rows, as its manifest says.

        Raises:
            StoreError: that is damaged.
        """
        return DigestList.of(self._manifest(number).clips)

    def places(self, clip: str) -> list[tuple[int, int]]:
        """Numbers of a shard and of a row where a clip should stand, the one that counts first."""
        found = [place & ~OLD for place in self._index.places(mark(clip))]
        return [(place >> 32, place & 0xFFFFFFFF) for place in found if place >> 32 < len(self.names)]

    def holds(self, clips: Sequence[str]) -> NDArray[np.bool_]:
        """(n,) which of n clips are there."""
        found = np.empty(len(clips), bool)
        for start in range(0, len(clips), BLOCK):
            block = slice(start, start + BLOCK)
            found[block] = self._index.holds(marks(clips[block]))
        return found

    def by_number(self, clip: str) -> bool:
        """Whether the frames of what is there of a clip were chosen by their numbers."""
        places = self._index.places(mark(clip))
        return bool(places) and places[0] >= OLD

    @property
    def old(self) -> bool:
        """Whether there are clips `by_number` at all."""
        return self._index.most >= OLD

    def __len__(self) -> int:
        return self._index.distinct


def names(folder: Path) -> list[str]:
    """Names of the complete shards: those with a manifest."""
    try:
        with os.scandir(folder) as found:
            names = (one.name for one in found)
            return sorted(n[:-5] for n in names if n.startswith("shard-") and n.endswith(".json"))
    except (FileNotFoundError, NotADirectoryError):
        return []
