"""A store at an address such as s3://bucket/store, of which this machine keeps a folder.

At an address there are no locks, so nothing there is ever changed: each object but `key.json`, which all writers of a
key write alike, is named after what it holds. Two writers cannot lose each other's work, as neither writes what
the other has written; and of two that write the same shard each writes the same object.

    ADDRESS/<key>/key.json               as in a folder
    ADDRESS/<key>/shard-<hash>.npy       as in a folder, byte by byte
    ADDRESS/<key>/shard-<hash>.json      its manifest, put last, so it marks a shard complete
    ADDRESS/<key>/looks-<hash>.json      notes, and so `unreadable` and `damaged`, put before the shard that they are of
    ADDRESS/digests-<hash>.jsonl         lines of digests.jsonl, of an extraction that read new clips

The folder of this machine, in $KSHOT_HOME/stores, holds manifests, notes and digests, as a store in a folder does, and
locks for the processes of this machine. Activations come into the bounded cache of `kshot.remote`, each shard when it
is first read, and what is written here goes there once it is put. A store that was copied from a folder to an address,
or back, is read all the same.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from kshot import addresses, remote
from kshot.activations.digests import Digests
from kshot.activations.shard_list import LINES, OPEN_SHARDS, Folder
from kshot.activations.shards import SHARD_BYTES, Manifest, fault, read_manifest
from kshot.errors import DataError, StoreError, VideoError
from kshot.files import append, disk, whole, write_atomic
from kshot.paths import home

GRAIN = 1.0  # seconds: files that have come since an address was listed, by clocks of any grain
_NAMED = re.compile(r".+-[0-9a-f]{16}\.jsonl?")  # after what it holds
_OF_KEYS = re.compile(r"(shard|unreadable|damaged|looks)(-[0-9a-f-]+)?\.json")
_OF_ALL = re.compile(r"digests(-[0-9a-f]+)?\.jsonl")


class Mirror(Folder):
    """A store at an address.

    Args:
        place: the address.
    """

    def __init__(self, place: str) -> None:
        name = place.rstrip("/")
        super().__init__(home() / "stores" / _hash(name.encode()))
        self.name = name
        self._sizes: dict[str, dict[str, int]] = {}  # of the data of shards, by key, at the last look
        self._looked: dict[str, float] = {}  # when that was, by key
        remote.bound()  # a setting that is none is told now

    def shown(self, path: Path) -> str:
        below = path.relative_to(self.path).as_posix()
        return self.name if below == "." else f"{self.name}/{below}"

    def refresh(self, key: str, lately: float = 0.0) -> None:
        now = time.monotonic()
        if now - self._looked.get(key, -math.inf) < lately:
            return
        there = self._come(self.path / key, _OF_KEYS)
        self._looked[key] = now
        self._sizes[key] = {name: size for name, (size, _) in there.items() if name.endswith(".npy")}
        keyfile = self.path / key / "key.json"
        if "key.json" not in there:
            keyfile.unlink(missing_ok=True)
        elif not keyfile.exists():
            self._fetch(keyfile.parent, {"key.json": "key.json"})

    def keyfiles(self) -> list[Path]:
        for name in remote.listed(self.name):
            if re.fullmatch("[0-9a-f]{16}/", name):
                self.refresh(name[:-1])
        return super().keyfiles()

    def digests(self) -> Digests:
        self._come(self.path, _OF_ALL)
        return _Telling(self.path / LINES)

    def tell_digests(self) -> None:
        parts = sorted(self.path.glob("untold-*.jsonl"))
        try:
            text = b"".join(part.read_bytes() for part in parts)
        except FileNotFoundError:  # another process of this machine is telling them
            return
        if not text:
            return
        told = self.path / f"digests-{_hash(text)}.jsonl"
        with suppress(remote.Refused), disk(self.path):
            self.write(told, text)
            told.write_bytes(b"")  # its lines stand in digests.jsonl
            for part in parts:
                part.unlink(missing_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        with whole(path) as part:
            part.write_bytes(data)
            remote.put(part, self.shown(path))

    def settle(self, note: Path) -> None:
        text = note.read_bytes()
        self.write(note.with_name(f"{note.name.partition('-')[0].removesuffix('.json')}-{_hash(text)}.json"), text)
        note.unlink()

    def complete(self, data: Path, manifest: Manifest) -> None:
        remote.put(data, self.shown(data))
        super().complete(data, manifest)
        remote.keep(data, self.shown(data), _version(manifest))

    @contextmanager
    def data(self, shard: Path, manifest: Manifest) -> Iterator[Path]:
        with self._fetched(shard, _version(manifest)) as file:
            yield file

    @property
    def open_shards(self) -> int:
        """As many as take half of the cache: what is open is on disk, also once it has left the cache."""
        return max(1, min(OPEN_SHARDS, remote.bound() // SHARD_BYTES // 2))

    def fault(self, manifest: Path, hashing: bool = False) -> str | None:
        data = manifest.with_suffix(".npy")
        try:
            if hashing:
                with self._fetched(data) as file:
                    return fault(manifest, file)
            expected = read_manifest(manifest).size
        except ValueError as error:
            return str(error)
        key = data.parent.name
        if self._sizes.get(key, {}).get(data.name) != expected:  # it may have come since the last look
            self.refresh(key)
        size = self._sizes[key].get(data.name)
        if size == expected:
            return None
        return "it is gone" if size is None else f"has {size} bytes, its manifest says {expected}"

    def remove(self, path: Path) -> None:
        remote.remove(self.shown(path))
        super().remove(path)

    @contextmanager
    def _fetched(self, shard: Path, version: remote.Version | None = None) -> Iterator[Path]:
        try:
            with remote.local(self.shown(shard), version) as file:
                yield file
        except VideoError:
            raise ValueError("it is gone") from None
        except DataError as error:
            raise StoreError(str(error)) from None

    def _come(self, folder: Path, wanted: re.Pattern[str]) -> dict[str, remote.Version]:
        """Brings what is new below an address, and lets go of what is gone there; gives all that is there.

        What is not named after its content, as in stores that were copied there, is named after its version here.
        """
        begun = time.time()
        there = remote.listed(self.shown(folder))
        names = {_own_name(name, version): name for name, version in there.items() if wanted.fullmatch(name)}
        here = {path.name: path for path in folder.glob("*.json*") if _NAMED.fullmatch(path.name)}
        here = {name: path for name, path in here.items() if wanted.fullmatch(name)}
        with disk(folder):
            gone = [path for name, path in here.items() if name not in names and _before(path, begun - GRAIN)]
            if gone and wanted is _OF_ALL:  # their lines go, too: all are read anew
                gone, here = [*here.values(), folder / LINES], {}
            for path in gone:
                path.unlink(missing_ok=True)
            self._fetch(folder, {own: name for own, name in names.items() if own not in here})
        return there

    def _fetch(self, folder: Path, missing: dict[str, str]) -> None:
        """Brings objects into a folder: own name -> name there. Those that are not whole yet are left out."""
        owns = {f"{self.shown(folder)}/{name}": own for own, name in missing.items()}
        for place, text in remote.read(list(owns)):
            own = owns[place]
            if place.endswith(f"/{own}") and own != "key.json" and not own.rpartition(".")[0].endswith(_hash(text)):
                if own.startswith("shard-"):
                    self.torn.add(folder / own)
                continue
            folder.mkdir(parents=True, exist_ok=True)
            if own.endswith(".jsonl"):
                append(folder / LINES, [text.decode("utf-8", errors="surrogateescape")])
                text = b""
            write_atomic(folder / own, text)


class _Telling(Digests):
    """Digests whose new lines are also kept apart until other machines know them: a kill loses none."""

    def flush(self) -> None:
        text = "".join(one.line() for one in self._fresh).encode()
        if text:
            with disk(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(self._path.with_name(f"untold-{_hash(text)}.jsonl"), text)
        super().flush()


def expect_folder(places: Sequence[str | Path | None], what: str) -> None:
    """Refuses addresses where a store must lie in a folder.

    Args:
        places: stores and others.
        what: is to be done there.

    Raises:
        StoreError: one is an address: says what to do.
    """
    for place in places:
        if found := addresses.of(place) if place is not None else None:
            raise StoreError(
                f"{found} is an address, and objects cannot be {what} for good from here (copies in caches and older "
                f"versions stay): copy the store into a folder, run the command there, and put it in place of the old "
                f"one"
            )


def _own_name(name: str, version: remote.Version) -> str:
    stem, _, suffix = name.rpartition(".")
    return name if _NAMED.fullmatch(name) else f"{stem}-{version[1]:016x}.{suffix}"


def _version(manifest: Manifest) -> remote.Version:
    return manifest.size, int(manifest.sha256[:15], 16)


def _before(path: Path, moment: float) -> bool:
    with suppress(OSError):
        return path.stat().st_mtime < moment
    return False


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
