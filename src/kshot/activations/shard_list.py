"""The folder of a store, the complete shards in that of a key, and in which of them each clip stands.

Few clips are found by reading every manifest, as they always were. Of many an index is kept. It is named after the
names of all shards, which are hashes of what they hold, so it belongs to these very shards or is not looked at; and the
manifest of a shard is read, and asked, before a row of it is given to anybody.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kshot.activations import index
from kshot.activations.digests import Digests
from kshot.activations.index import Index, mark, marks
from kshot.activations.shards import Manifest, fault, read_manifest
from kshot.compact import BLOCK
from kshot.errors import StoreError
from kshot.files import append, disk, write_atomic

KIND = "index"
OLD = 1 << 63
"""In a place, beside a shard's number in the bits from the 33rd on and a row in those before: chosen by number."""
OPEN_SHARDS = 256  # that are open at a time: many systems allow 1024 files
LINES = "digests.jsonl"


class Folder:
    """A store in a folder.

    Args:
        path: of the folder, which need not exist.

    Attributes:
        path: as given; of a store at an address, what this machine keeps of it.
        name: what people call the store: its folder or its address.
        torn: manifests at the address that are not what their names say.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)
        self.torn: set[Path] = set()

    def shown(self, path: Path) -> str:
        """What people call a file of the store."""
        return str(path)

    def refresh(self, key: str, lately: float = 0.0) -> None:
        """Learns what other machines have written under a key.

        Args:
            key: name of its folder.
            lately: seconds since the last look within which none is needed.

        Raises:
            DataError: the address does not answer, wants credentials, or has no such bucket.
            StoreError: the disk refuses.
        """

    def keyfiles(self) -> list[Path]:
        """The key.json of all keys, each refreshed."""
        return sorted(self.path.glob("*/key.json"))

    def digests(self) -> Digests:
        """What each path held when it was last hashed, by this machine or others.

        Raises:
            StoreError: the disk refuses.
        """
        parts = sorted(self.path.glob("digests-*.jsonl"))  # of a copy of what lay at an address
        for part in parts:
            with suppress(FileNotFoundError):  # another process did the same
                text = part.read_text("utf-8", errors="surrogateescape")
                with disk(self.path):
                    append(self.path / LINES, [text])
                part.unlink()
        return Digests(self.path / LINES)

    def tell_digests(self) -> None:
        """Lets other machines know the digests that were found here, as far as this user may write.

        Raises:
            DataError: the address does not answer.
        """

    def write(self, path: Path, data: bytes) -> None:
        """Writes a file of the store, whole: first at the address.

        Raises:
            OSError: the disk refuses.
            DataError: the address does.
        """
        write_atomic(path, data)

    def settle(self, note: Path) -> None:
        """Has a file of notes reach the address, to which nothing more will be added."""

    def complete(self, data: Path, manifest: Manifest) -> None:
        """Has a shard's data, and then its manifest, in the store.

        Args:
            data: the .npy, whole, under its name.
            manifest: that belongs to it.

        Raises:
            OSError: the disk refuses.
            DataError: the address does.
        """
        self.write(data.with_suffix(".json"), manifest.text())

    @contextmanager
    def data(self, shard: Path, manifest: Manifest) -> Iterator[Path]:
        """The file of a shard's data, from wherever it is; once it is open it may be left.

        Raises:
            ValueError: it is gone.
            StoreError: the address does not answer, or the disk refuses.
        """
        yield shard

    @property
    def open_shards(self) -> int:
        """How many may be open at a time."""
        return OPEN_SHARDS

    def fault(self, manifest: Path, hashing: bool = False) -> str | None:
        """What is wrong with a shard; None for nothing.

        Args:
            manifest: its path.
            hashing: whether to read all of it, also at an address, where else its size alone is looked at: an object
                is put whole.

        Raises:
            StoreError: it is of a newer kshot.
        """
        return fault(manifest)

    def remove(self, path: Path) -> None:
        """Removes a file, if it is there."""
        path.unlink(missing_ok=True)


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
            manifest = self.manifest(number)
            rows = np.arange(len(manifest.clips), dtype=np.uint64)
            places = rows | np.uint64(number << 32 | (0 if manifest.by_time else OLD))
            for column, values in zip(found[manifest.by_time], (marks(manifest.clips), places), strict=True):
                column.frombytes(values.tobytes())
        parts = [(np.frombuffer(m, np.uint64), np.frombuffer(p, np.uint64)) for m, p in found.values() if m]
        if sum(len(marks) for marks, _ in parts) < index.INDEXED:
            return Index.of(*parts)
        return Index.keep(self.folder, KIND, self._version, *parts)

    def manifest(self, number: int) -> Manifest:
        """What a shard holds.

        Raises:
            StoreError: its manifest is damaged or of a newer kshot.
        """
        path = self.folder / f"{self.names[number]}.json"
        try:
            return read_manifest(path)
        except ValueError as error:
            raise StoreError(
                f"manifest {path} is damaged ({error}); run `kshot extract` again: it rewrites damaged shards only"
            ) from None

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
