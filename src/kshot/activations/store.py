"""Activations on disk: append-only shards under a key that holds everything that changes a number.

Layout, all of it readable without kshot:

    STORE/digests.jsonl                  what each path held when it was last hashed
    STORE/<key>/key.json                 the key, spelled out
    STORE/<key>/shard-<name>.npy         (clips, ...) activations
    STORE/<key>/shard-<name>.json        its manifest: sha256, clip digests; written last, so it marks a shard complete
    STORE/<key>/unreadable.json          digest -> why a clip could not be read
    STORE/<key>/damaged.json             digest -> what is lost of a stored clip
    STORE/rates.jsonl                    whether clips that an older kshot stored are of constant rate

A shard's name is the hash of its manifest, so that no other manifest can take its place; each line of digests.jsonl
has a seal of its own (lines of older versions have none). Every file is written under a temporary name and renamed. A
kill at any moment leaves whole shards and at most one file that belongs to none, which the next writer removes. One
writer at a time holds a lock; readers need none.

Neither side holds more than the clips at hand: a shard grows on disk clip by clip, and rows are read rather than
mapped, since every page of a map that was touched counts as memory until the system wants it back.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kshot import gate, system
from kshot.errors import DataError, StoreError
from kshot.files import disk, locked, write_atomic

Array = NDArray[Any]

SHARD_BYTES = 64 << 20
SHARD_SECONDS = 20.0
OPEN_SHARDS = 256  # shards held open at a time: many systems allow 1024 files
CHOSEN = "time"
"""How the frames of a shard's clips were chosen, in its manifest; shards without it are older: by number."""
DIGESTS_AT_ONCE = 64  # clips hashed before their digests are written down


def digest(clip: Path) -> str:
    """sha256 of a clip's bytes; of names and bytes in order for a folder of frames.

    Raises:
        DataError: it is neither a folder nor a regular file: a pipe would be waited for, for ever.
    """
    result = hashlib.sha256()
    if clip.is_dir():
        for frame in sorted(p for p in clip.iterdir() if p.is_file()):
            result.update(f"{frame.name}\0{frame.stat().st_size}\0".encode())
            _hash(frame, result)
    else:
        _hash(clip, result)
    return result.hexdigest()


def _hash(path: Path, result: Any) -> None:
    gate.regular(path)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            result.update(block)


class Digests:
    """Remembers the digest of each path by size and time of change, so that clips are hashed once.

    Kept as JSON lines at `path`; the last line for a clip wins. A torn line is ignored, and so is one whose seal is not
    its own, as after an edit that gave it another clip's values: `altered` names the clips of those.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, tuple[int, int, str]] = {}
        self._unsealed: set[str] = set()
        self.altered: set[str] = set()
        if not path.exists():
            return
        gate.regular(path, error=StoreError)
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                row = _row(line)
                if row is None:
                    continue
                name = row["path"]
                if "seal" in row and row["seal"] != _line_seal(row):
                    self.altered.add(name)
                    continue
                self.altered.discard(name)  # hashed anew since
                self._known[name] = (row["bytes"], row["mtime_ns"], row["sha256"])
                (self._unsealed.discard if "seal" in row else self._unsealed.add)(name)

    def verify(self) -> tuple[int, dict[str, str], list[str]]:
        """Looks at every line: how many, clip -> what is wrong, and clips of which nobody can tell any more.

        Lines of older versions have no seal: they are checked by hashing the clip, as long as it is what it was.
        """
        damaged = dict.fromkeys(sorted(self.altered), "the line's seal is not its own")
        gone = []
        for name in sorted(self._unsealed):
            clip = Path(name)
            try:
                if _stat(clip) != self._known[name][:2]:
                    continue  # it changed since: hashed anew when it is used
                if digest(clip) != self._known[name][2]:
                    damaged[name] = "has another sha256 than its line says"
            except (OSError, DataError):
                gone.append(name)
        return len(self._known) + len(self.altered), damaged, gone

    def heal(self, damaged: Iterable[str]) -> None:
        """Writes the lines anew, without those of these clips; a seal is given to none that had not one."""
        for name in damaged:
            self._known.pop(name, None)
        rows = [
            {"path": name, "bytes": size, "mtime_ns": changed, "sha256": sha256}
            for name, (size, changed, sha256) in self._known.items()
        ]
        lines = [json.dumps(row if row["path"] in self._unsealed else _sealed(row)) + "\n" for row in rows]
        with disk(self._path):
            write_atomic(self._path, "".join(lines).encode())

    def of(self, clips: Iterable[Path], remembered: bool = False) -> list[str]:
        """Digest of each clip; an empty string for one that cannot be opened. New ones are remembered on disk.

        remembered: do not look at the clips, tell what was last known of their paths (the videos may be gone).
        """
        if remembered:
            return [self._known.get(os.path.abspath(clip), (0, 0, ""))[2] for clip in clips]
        digests: list[str] = []
        fresh: list[dict[str, Any]] = []
        for clip in clips:
            digests.append(self._look(clip, fresh))
            if len(fresh) == DIGESTS_AT_ONCE:
                self._write(fresh)
        self._write(fresh)
        return digests

    def _look(self, clip: Path, fresh: list[dict[str, Any]]) -> str:
        name = os.path.abspath(clip)
        try:
            size, changed = _stat(clip)
            known = self._known.get(name)
            if known is None or known[:2] != (size, changed):
                known = self._known[name] = (size, changed, digest(clip))
                fresh.append({"path": name, "bytes": size, "mtime_ns": changed, "sha256": known[2]})
        except (OSError, DataError):
            return ""
        return known[2]

    def _write(self, rows: list[dict[str, Any]]) -> None:
        if rows:
            lines = [json.dumps(_sealed(row)) + "\n" for row in rows]
            with disk(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a", encoding="utf-8") as file:
                    file.writelines(["\n", *lines])  # an empty line closes what a kill tore
            rows.clear()


def _row(line: str) -> dict[str, Any] | None:
    """A line of digests.jsonl; None where it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    kinds = {"path": str, "bytes": int, "mtime_ns": int, "sha256": str}
    if not isinstance(row, dict) or not all(type(row.get(name)) is kind for name, kind in kinds.items()):
        return None
    return row


def _line_seal(row: Mapping[str, Any]) -> str:
    told = json.dumps([row["path"], row["bytes"], row["mtime_ns"], row["sha256"]])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _sealed(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"seal": _line_seal(row)}


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
        check: first hash what is there and drop damaged shards, so that their clips count as missing.

    Nothing is created before something is written.

    Raises:
        StoreError: the folder holds the same name for another key, or a damaged manifest.
    """

    def __init__(self, root: Path, key: dict[str, Any], made_with: str = "", check: bool = False) -> None:
        self.root, self.key = Path(root), key
        text = json.dumps(key, sort_keys=True)
        self.folder = self.root / hashlib.sha256(text.encode()).hexdigest()[:16]
        self._rows: dict[str, tuple[int, int]] = {}
        self._by_number: set[str] = set()
        self._shards: list[tuple[str, int]] = []
        self._open: dict[int, _Shard] = {}
        self.made_with = made_with
        if check and (self.damaged() or not self._named()):
            with self._lock():
                self.drop(self.damaged())
        if not self._named():
            raise StoreError(f"{self._keyfile} is damaged; run `kshot extract` again: it writes what is damaged only")
        self.refresh()

    def __getstate__(self) -> dict[str, Any]:
        """Without the files that are open: a copy opens its own."""
        return self.__dict__ | {"_open": {}}

    @property
    def _keyfile(self) -> Path:
        return self.folder / "key.json"

    def _named(self) -> bool:
        """Whether `key.json` is whole, or was never written. The folder's name tells the key, so it can be mended.

        Raises:
            StoreError: it is whole, and of another key.
        """
        about = _about(self._keyfile)
        if about and about["key"] != self.key:
            raise StoreError(f"store {self.folder} belongs to another key; move it away or use another --store")
        return bool(about) or not self._keyfile.exists()

    def refresh(self) -> None:
        """Reads the manifests of all complete shards."""
        self._rows.clear()
        self._by_number.clear()
        self._shards.clear()
        self._open.clear()
        for path in sorted(self.folder.glob("shard-*.json")):
            try:
                about = _manifest(path)
                clips, timed = about["clips"], about.get("chosen") == CHOSEN
                rows = {clip: (len(self._shards), row) for row, clip in enumerate(clips)}
                if timed:
                    self._rows |= rows
                    self._by_number -= rows.keys()
                else:
                    self._by_number |= rows.keys() - self._rows.keys()
                    self._rows = rows | self._rows
            except ValueError as error:
                raise StoreError(
                    f"manifest {path} is damaged ({error}); run `kshot extract` again: it rewrites damaged shards only"
                ) from None
            self._rows.update({clip: (len(self._shards), row) for row, clip in enumerate(clips)})
            self._shards.append((path.stem, len(clips)))

    def __contains__(self, clip: str) -> bool:
        return clip in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def by_number(self, clip: str) -> bool:
        """Whether what is stored of a clip was chosen by the numbers of its frames: right for a constant rate only."""
        return clip in self._by_number

    def forget(self, clips: Iterable[str]) -> None:
        """Lets clips count as missing, until they are written anew."""
        for clip in clips:
            self._rows.pop(clip, None)

    def gather(self, clips: Sequence[str]) -> Array:
        """(n, ...) activations of the clips with these digests (at least one), read from disk into fresh memory.

        Raises:
            StoreError: a shard is truncated or gone.
        """
        places = [self._rows[clip] for clip in clips]
        first = self._shard(places[0][0])
        out = np.empty((len(places), *first.shape), first.dtype)
        for i, (number, row) in enumerate(places):
            shard = self._shard(number)
            if (shard.shape, shard.dtype) != (first.shape, first.dtype) or not shard.read(row, out[i]):
                raise self._torn(number, "a clip is cut off or of another shape")
        return out

    def _shard(self, number: int) -> _Shard:
        if number not in self._open:
            name, clips = self._shards[number]
            try:
                shard = _Shard(self.folder / f"{name}.npy")
                if shard.clips != clips:
                    raise ValueError(f"{shard.clips} clips, its manifest says {clips}")
            except Exception as error:  # a damaged header fails in many ways
                raise self._torn(number, error) from None
            if len(self._open) >= OPEN_SHARDS:
                del self._open[next(iter(self._open))]
            self._open[number] = shard
        return self._open[number]

    def _torn(self, number: int, reason: object) -> StoreError:
        return StoreError(
            f"shard {self.folder / self._shards[number][0]}.npy is damaged ({reason}); run `kshot extract` again: it "
            f"rewrites damaged shards only"
        )

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """A writer that holds the lock; what it was given is complete on disk when the block is left, also by an
        exception or Ctrl-C.

        Raises:
            StoreError: another process writes here, or the disk is full or read-only.
        """
        with self._lock():
            self.refresh()
            writer = Writer(self)
            try:
                yield writer
            finally:
                try:
                    writer.flush()
                finally:
                    writer.close()
                    self.refresh()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Holds the folder for this process, made where absent and freed from what a killed writer left."""
        busy = StoreError(f"another kshot is writing to {self.folder}; wait for it to end or use another --store")
        with locked(self.folder, "lock", busy):  # the name it always had: older versions are kept out, too
            with disk(self.folder):
                for path in (*self.folder.glob("*.tmp"), *self.folder.glob("shard-*.npy")):
                    if not path.with_suffix(".json").exists():  # data whose manifest was never written
                        path.unlink()
                if not _about(self._keyfile):
                    about = {"key": self.key, "made_with": self.made_with}
                    write_atomic(self._keyfile, json.dumps(about, indent=1).encode())
            yield

    def noted(self, kind: str) -> dict[str, Any]:
        """Digest -> what was noted of clips: of kind "unreadable" why, of kind "damaged" what is lost of those stored;
        only a note, gone if it is damaged."""
        try:
            found = gate.read_json(self.folder / f"{kind}.json")
        except DataError:
            return {}
        return found if isinstance(found, dict) else {}

    def note(self, kind: str, found: dict[str, Any]) -> None:
        """Adds to what `noted` tells; for the holder of the lock."""
        if found:
            with disk(self.folder):
                text = json.dumps(self.noted(kind) | found, indent=1)
                write_atomic(self.folder / f"{kind}.json", text.encode())

    def damaged(self) -> dict[str, str]:
        """Shard name -> what is wrong with it, after hashing every complete shard."""
        return {path.stem: fault for path in sorted(self.folder.glob("shard-*.json")) if (fault := _fault(path))}

    def drop(self, shards: Iterable[str]) -> None:
        """Removes shards (manifest first, so that a kill in between leaves no broken shard behind)."""
        with disk(self.folder):
            for name in shards:
                (self.folder / f"{name}.json").unlink(missing_ok=True)
                (self.folder / f"{name}.npy").unlink(missing_ok=True)


class _Shard:
    """The rows of a shard's file, which stays open. clips: how many; shape, dtype: of one."""

    def __init__(self, path: Path) -> None:
        gate.regular(path)
        # A memory map made and let go: NumPy checks the header and the length of the file.
        rows: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        if not rows.flags.c_contiguous:
            raise ValueError("its clips do not lie one after the other")
        if not rows.dtype.isnative or rows.dtype.kind not in "fiu" or rows.dtype.itemsize > 8:
            raise ValueError(f"its numbers are {rows.dtype}")
        self.clips, self.shape, self.dtype = len(rows), rows.shape[1:], rows.dtype
        self._start = int(rows.offset)
        self._file = path.open("rb", buffering=0)

    def read(self, row: int, out: Array) -> bool:
        """Fills `out` with a row; False where the file has become too short since."""
        data, place = out.data.cast("B"), self._start + row * out.nbytes
        while data:
            count = system.read_at(self._file, data, place)
            if not count:
                return False
            data, place = data[count:], place + count
        return True


class Writer:
    """Writes clips as shards of about 64 MB, or what came in 20 seconds. A shard counts once it is complete."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._clips: list[str] = []
        self._file: io.FileIO | None = None
        self._row: tuple[tuple[int, ...], np.dtype[Any]] = ((), np.dtype(np.uint8))
        self._start = 0
        self._since = time.monotonic()

    def add(self, clip: str, activations: Array) -> None:
        """Takes one clip's activations (any shape, the same for all clips of a key)."""
        with disk(self._store.folder):
            if self._file is None:
                self._row = (activations.shape, activations.dtype)
                self._file = io.FileIO(self._part, "w+")
                self._start = self._file.write(self._header(0))
            if (activations.shape, activations.dtype) != self._row:
                raise ValueError(f"a clip of {activations.shape} {activations.dtype} among ones of {self._row}")
            place = self._start + len(self._clips) * activations.nbytes
            _write(self._file, place, np.ascontiguousarray(activations).data.cast("B"))
        self._clips.append(clip)  # only now: what Ctrl-C cuts off is written over, or cut off in the end
        size = activations.nbytes * len(self._clips)
        if size >= SHARD_BYTES or time.monotonic() - self._since > SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Completes the shard at hand: data, then its manifest."""
        self._since = time.monotonic()
        if self._file is None:
            return
        with disk(self._store.folder):
            try:
                if self._clips:
                    self._complete(self._file)
            except OSError:
                self.close()
                raise
        self.close()  # not after Ctrl-C: the shard is completed when the writer is left

    def close(self) -> None:
        """Lets go of the shard at hand."""
        if self._file is not None:
            self._file.close()
            self._part.unlink(missing_ok=True)
        self._file, self._clips = None, []

    def _complete(self, file: io.FileIO) -> None:
        (shape, dtype), count = self._row, len(self._clips)
        _write(file, 0, memoryview(self._header(count)))  # as long as the first one: NumPy leaves room for the number
        file.truncate(self._start + count * math.prod(shape) * dtype.itemsize)
        os.fsync(file.fileno())
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        about = {"sha256": sha256, "bytes": os.fstat(file.fileno()).st_size, "clips": self._clips}
        about["chosen"] = CHOSEN
        manifest = json.dumps(about).encode()
        path = self._store.folder / f"{_name(manifest)}.npy"
        try:
            if not path.exists():  # it does where Ctrl-C came before the manifest
                system.move_open(self._part, path)
            write_atomic(path.with_suffix(".json"), manifest)
        except OSError:
            path.unlink(missing_ok=True)  # data without a manifest would only take room
            raise

    @property
    def _part(self) -> Path:
        return self._store.folder / f"shard.{os.getpid()}.tmp"

    def _header(self, clips: int) -> bytes:
        shape, dtype = self._row
        about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (clips, *shape)}
        text = io.BytesIO()
        np.lib.format.write_array_header_1_0(text, about)
        return text.getvalue()


def _write(file: io.FileIO, place: int, data: memoryview) -> None:
    """Writes all of the data at a place of the file."""
    while data:
        count = system.write_at(file, data, place)
        data, place = data[count:], place + count


def _name(manifest: bytes) -> str:
    """A shard is named after its manifest: one name never means two contents, however old a reader's list of them."""
    return f"shard-{hashlib.sha256(manifest).hexdigest()[:16]}"


def holders(root: Path) -> list[str]:
    """Names of the backbones whose activations a store folder holds."""
    return sorted({str(about["made_with"]) for path in Path(root).glob("*/key.json") if (about := _about(path))})


def _about(path: Path) -> dict[str, Any] | None:
    """What `key.json` says, {"key": ..., "made_with": ...}; None where it is missing or damaged."""
    try:
        about = gate.read_json(path)
    except DataError:
        return None
    if not isinstance(about, dict) or not isinstance(about.get("key"), dict) or "made_with" not in about:
        return None
    return {"key": about["key"], "made_with": str(about["made_with"])}


def _manifest(path: Path) -> dict[str, Any]:
    """A shard's manifest: sha256, bytes, clips.

    Raises:
        ValueError: it is not the one that the shard is named after, or damaged in another way.
    """
    try:
        text = gate.read_bytes(path)
        about = json.loads(text)
    except (DataError, ValueError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if _name(text) != path.stem:
        raise ValueError("its manifest was altered: the name of a shard is the hash of its manifest")
    clips = about.get("clips") if isinstance(about, dict) else None
    whole = isinstance(clips, list) and all(isinstance(clip, str) for clip in clips) and len(set(clips)) == len(clips)
    if not whole or type(about.get("bytes")) is not int or not isinstance(about.get("sha256"), str):
        raise ValueError("it does not name its clips, bytes and sha256")
    return dict(about)


def verify(store: str | Path, heal: bool = False) -> dict[str, Any]:
    """Hashes every shard of a store folder (all keys) against its manifest, and looks at what is known of the clips.

    Args:
        store: the store folder.
        heal: also remove damaged shards, so that the next `kshot extract` writes them again.

    Returns:
        shards, digests: number checked; damaged: path -> what is wrong; unsealed: path -> what cannot be checked;
        healed: whether the damaged ones were removed.

    Raises:
        DataError: `store` is not a folder of a kshot store.
        StoreError: what is damaged cannot be removed.
    """
    root = Path(store)
    keyfiles = sorted(root.glob("*/key.json"))
    if not keyfiles:
        raise DataError(f"{root} is not a kshot store: expected <key>/key.json in it; pass the --store of extract")
    manifests = [path for keyfile in keyfiles for path in sorted(keyfile.parent.glob("shard-*.json"))]
    damaged = {path: "is no JSON with a key" for path in keyfiles if not _about(path)}
    damaged |= {path.with_suffix(".npy"): fault for path in manifests if (fault := _fault(path))}
    known = Digests(root / "digests.jsonl")
    digests, wrong, gone = known.verify()
    if heal:
        with disk(root):
            for path in damaged:
                path.with_suffix(".json").unlink(missing_ok=True)
                path.with_suffix(".npy").unlink(missing_ok=True)
        if wrong:
            known.heal(wrong)
    told = f"{len(gone):,} lines of an older version, whose clips are gone: they cannot be checked"
    return {
        "store": str(root),
        "shards": len(manifests),
        "digests": digests,
        "damaged": {str(path): fault for path, fault in damaged.items()}
        | {f"{root / 'digests.jsonl'}: {clip}": fault for clip, fault in wrong.items()},
        "unsealed": {str(root / "digests.jsonl"): told} if gone else {},
        "healed": heal and bool(damaged or wrong),
    }


def _fault(manifest: Path) -> str | None:
    try:
        expected = _manifest(manifest)
        gate.regular(manifest.with_suffix(".npy"))
        with manifest.with_suffix(".npy").open("rb") as data:
            if (size := os.fstat(data.fileno()).st_size) != expected["bytes"]:
                return f"has {size} bytes, its manifest says {expected['bytes']}"
            if hashlib.file_digest(data, "sha256").hexdigest() != expected["sha256"]:
                return "its sha256 differs from its manifest"
    except (OSError, ValueError, DataError) as error:
        return f"cannot be read ({error})" if isinstance(error, OSError) else str(error)
    return None
