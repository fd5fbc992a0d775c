"""Activations on disk: append-only shards under a key that holds everything that changes a number.

Layout, all of it readable without kshot:

    STORE/digests.jsonl                  what each path held when it was last hashed
    STORE/<key>/key.json                 the key, spelled out
    STORE/<key>/shard-000000.npy         (clips, ...) activations
    STORE/<key>/shard-000000.json        its manifest: sha256, clip digests; written last, so it marks a shard complete

Every file is written under a temporary name and renamed. A kill at any moment leaves whole shards and at most
one temporary file, which the next writer removes. One writer at a time holds a lock; readers need none.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kshot.errors import DataError, StoreError

Array = NDArray[Any]

SHARD_BYTES = 64 << 20
SHARD_SECONDS = 20.0


def digest(clip: Path) -> str:
    """sha256 of a clip's bytes; of names and bytes in order for a folder of frames."""
    result = hashlib.sha256()
    if clip.is_dir():
        for frame in sorted(p for p in clip.iterdir() if p.is_file()):
            result.update(f"{frame.name}\0{frame.stat().st_size}\0".encode())
            result.update(frame.read_bytes())
        return result.hexdigest()
    with clip.open("rb") as file:
        while block := file.read(1 << 20):
            result.update(block)
    return result.hexdigest()


class Digests:
    """Remembers the digest of each path by size and time of change, so that clips are hashed once.

    Kept as JSON lines at `path`; the last line for a clip wins and a torn last line is ignored.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, tuple[int, int, str]] = {}
        if path.exists():
            for line in path.read_text("utf-8", errors="replace").splitlines():
                try:
                    row = json.loads(line)
                    self._known[row["path"]] = (row["bytes"], row["mtime_ns"], row["sha256"])
                except (ValueError, KeyError, TypeError):
                    continue

    def of(self, clips: Iterable[Path], remembered: bool = False) -> list[str]:
        """Digest of each clip; an empty string for one that cannot be opened. New ones are remembered on disk.

        remembered: do not look at the clips, tell what was last known of their paths (the videos may be gone).
        """
        if remembered:
            return [self._known.get(os.path.abspath(clip), (0, 0, ""))[2] for clip in clips]
        lines, digests = [], []
        for clip in clips:
            name = os.path.abspath(clip)
            try:
                size, changed = _stat(clip)
                known = self._known.get(name)
                if known is None or known[:2] != (size, changed):
                    known = (size, changed, digest(clip))
                    self._known[name] = known
                    row = {"path": name, "bytes": size, "mtime_ns": changed, "sha256": known[2]}
                    lines.append(json.dumps(row) + "\n")
                digests.append(known[2])
            except OSError:
                digests.append("")
        if lines:
            with disk(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a", encoding="utf-8") as file:
                    file.writelines(["\n", *lines])  # an empty line closes what a kill tore
        return digests


def _stat(clip: Path) -> tuple[int, int]:
    if clip.is_dir():
        stats = [p.stat() for p in clip.iterdir() if p.is_file()]
        return sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)
    stat = clip.stat()
    return stat.st_size, stat.st_mtime_ns


class Store:
    """The shards of one key.

    Args:
        root: the store folder; many keys live side by side in it.
        key: everything that changes a number. Another key is another folder: a miss, never a wrong hit.
        made_with: the backbone's name, for people; no part of the key.

    Nothing is created before something is written.

    Raises:
        StoreError: the folder holds the same name for another key, or a damaged manifest.
    """

    def __init__(self, root: Path, key: dict[str, Any], made_with: str = "") -> None:
        self.root, self.key = Path(root), key
        text = json.dumps(key, sort_keys=True)
        self.folder = self.root / hashlib.sha256(text.encode()).hexdigest()[:16]
        self._rows: dict[str, tuple[int, int]] = {}
        self._shards: list[str] = []
        self._maps: dict[int, Array] = {}
        self.made_with = made_with
        if self._keyfile.exists() and _key(self._keyfile) != key:
            raise StoreError(f"store {self.folder} belongs to another key; move it away or use another --store")
        self.refresh()

    @property
    def _keyfile(self) -> Path:
        return self.folder / "key.json"

    def refresh(self) -> None:
        """Reads the manifests of all complete shards."""
        self._rows.clear()
        self._shards.clear()
        self._maps.clear()
        for path in sorted(self.folder.glob("shard-*.json")):
            try:
                clips = json.loads(path.read_text())["clips"]
            except (ValueError, KeyError, TypeError) as error:
                raise StoreError(
                    f"manifest {path} is damaged ({error}); run `kshot verify {self.root} --heal`"
                ) from None
            self._rows.update({clip: (len(self._shards), row) for row, clip in enumerate(clips)})
            self._shards.append(path.stem)

    def __contains__(self, clip: str) -> bool:
        return clip in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def gather(self, clips: Iterable[str]) -> Array:
        """(n, ...) activations of the clips with these digests, copied once from the memory map.

        Raises:
            StoreError: a shard is truncated or gone.
        """
        places = [self._rows[clip] for clip in clips]
        first = self._map(places[0][0])
        out = np.empty((len(places), *first.shape[1:]), first.dtype)
        for i, (shard, row) in enumerate(places):
            out[i] = self._map(shard)[row]
        return out

    def shape(self) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and type of one clip's activations."""
        first = self._map(0)
        return first.shape[1:], first.dtype

    def _map(self, shard: int) -> Array:
        if shard not in self._maps:
            path = self.folder / f"{self._shards[shard]}.npy"
            try:
                self._maps[shard] = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise StoreError(
                    f"shard {path} is damaged ({error}); run `kshot extract` again: it rewrites damaged shards only"
                ) from None
        return self._maps[shard]

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """A writer that holds the lock; what it was given is complete on disk when the block is left, also by an
        exception or Ctrl-C.

        Raises:
            StoreError: another process writes here, or the disk is full or read-only.
        """
        with disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._keyfile.exists():
                about = {"key": self.key, "made_with": self.made_with}
                write_atomic(self._keyfile, json.dumps(about, indent=1).encode())
            lock = (self.folder / "lock").open("a+")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StoreError(
                    f"another kshot is writing to {self.folder}; wait for it to end or use another --store"
                ) from None
            with disk(self.folder):
                for stale in self.folder.glob("*.tmp"):
                    stale.unlink(missing_ok=True)
            self.refresh()
            writer = Writer(self)
            try:
                yield writer
            finally:
                writer.flush()
                self.refresh()

    def damaged(self) -> dict[str, str]:
        """Shard name -> what is wrong with it, after hashing every complete shard."""
        return {path.stem: fault for path in sorted(self.folder.glob("shard-*.json")) if (fault := _fault(path))}

    def drop(self, shards: Iterable[str]) -> None:
        """Forgets shards (manifest first, so that a kill in between leaves no broken shard behind)."""
        for name in shards:
            (self.folder / f"{name}.json").unlink(missing_ok=True)
            (self.folder / f"{name}.npy").unlink(missing_ok=True)
        self.refresh()


class Writer:
    """Collects clips and writes them as shards of about 64 MB, or what came in 20 seconds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._clips: list[str] = []
        self._arrays: list[Array] = []
        self._since = time.monotonic()
        numbers = [int(path.stem.partition("-")[2]) for path in store.folder.glob("shard-*.npy")]
        self._next = max(numbers, default=-1) + 1

    def add(self, clip: str, activations: Array) -> None:
        """Takes one clip's activations (any shape, the same for all clips of a key)."""
        self._clips.append(clip)
        self._arrays.append(activations)
        held = sum(a.nbytes for a in self._arrays[:1]) * len(self._arrays)
        if held >= SHARD_BYTES or time.monotonic() - self._since > SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what was collected as one shard: data, then its manifest."""
        self._since = time.monotonic()
        if not self._clips:
            return
        folder, name = self._store.folder, f"shard-{self._next:06d}"
        buffer = io.BytesIO()
        np.save(buffer, np.stack(self._arrays), allow_pickle=False)
        data = buffer.getbuffer()
        manifest = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "clips": self._clips}
        self._clips, self._arrays, self._next = [], [], self._next + 1
        with disk(folder):
            write_atomic(folder / f"{name}.npy", data)
            write_atomic(folder / f"{name}.json", json.dumps(manifest).encode())


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Writes a file so that a reader sees the old or the new content, never a part."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def keys(root: Path) -> list[dict[str, Any]]:
    """What `key.json` says in each folder of a store: {"key": ..., "made_with": ...}."""
    return [json.loads(path.read_text()) for path in sorted(Path(root).glob("*/key.json"))]


def _key(path: Path) -> Any:
    try:
        return json.loads(path.read_text())["key"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged ({error}); move that folder away or use another --store") from None


def verify(store: str | Path, heal: bool = False) -> dict[str, Any]:
    """Hashes every shard of a store folder (all keys) against its manifest.

    Args:
        store: the store folder.
        heal: also remove damaged shards, so that the next `kshot extract` writes them again.

    Returns:
        shards: number checked; damaged: path -> what is wrong; healed: whether the damaged ones were removed.

    Raises:
        DataError: `store` is not a folder of a kshot store.
    """
    root = Path(store)
    folders = sorted(path.parent for path in root.glob("*/key.json"))
    if not folders:
        raise DataError(f"{root} is not a kshot store: expected <key>/key.json in it; pass the --store of extract")
    shards, damaged = 0, {}
    for folder in folders:
        for path in sorted(folder.glob("shard-*.json")):
            shards += 1
            if fault := _fault(path):
                damaged[str(path.with_suffix(".npy"))] = fault
                if heal:
                    path.unlink()
                    path.with_suffix(".npy").unlink(missing_ok=True)
    return {"store": str(root), "shards": shards, "damaged": damaged, "healed": heal and bool(damaged)}


def _fault(manifest: Path) -> str | None:
    try:
        expected = json.loads(manifest.read_text())
        data = manifest.with_suffix(".npy").read_bytes()
        if len(data) != expected["bytes"]:
            return f"has {len(data)} bytes, its manifest says {expected['bytes']}"
        if hashlib.sha256(data).hexdigest() != expected["sha256"]:
            return "its sha256 differs from its manifest"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"cannot be read ({error})"
    return None


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turns what a disk can refuse while `path` is written into a StoreError of one line."""
    try:
        yield
    except OSError as error:
        place = path if path.exists() else path.parent
        free = shutil.disk_usage(place).free / 1e9 if place.exists() else 0.0
        raise StoreError(
            f"cannot write to {path}: {error.strerror or error} ({free:.1f} GB free); what was stored stays valid, "
            f"so free space or pass another --store, then run the same command again"
        ) from None
