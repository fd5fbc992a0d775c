"""A shard: a .npy of some clips' activations and its manifest; written clip by clip, read row by row.

A shard is named after its manifest, so one name never means two contents. Neither side holds more than the clips at
hand: a shard grows on disk, and rows are read rather than mapped, since every page of a map that was touched counts as
memory until the system wants it back.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kshot import gate, system
from kshot.activations.packing import is_packed
from kshot.errors import DataError, StoreError
from kshot.files import disk, write_atomic

Array = NDArray[Any]
"""Activations: float16, float32, packed (see `kshot.activations.packing`), or uint8 for frames."""

SHARD_BYTES = 64 << 20
SHARD_SECONDS = 20.0
FORMAT = 1
"""Of shards and their manifests, which say so only where it is another."""
BY_TIME = "time"
"""How the frames of a shard's clips were chosen, in its manifest; shards without it are older: by number."""


@dataclass(frozen=True)
class Manifest:
    """What a shard holds.

    Attributes:
        sha256: of the .npy, in hexadecimal.
        size: of the .npy, in bytes.
        clips: digests of its clips, in the order of its rows, no two the same.
        chosen: how frames were chosen: `BY_TIME`, or "" for by number, as older versions did.
        planned: which shard of which plan it is, see `kshot.activations.plan`; "" for one that was not planned.
    """

    sha256: str
    size: int
    clips: tuple[str, ...]
    chosen: str = BY_TIME
    planned: str = ""

    @property
    def by_time(self) -> bool:
        """Whether frames were chosen by the time at which they are on show, which is right for any rate."""
        return self.chosen == BY_TIME

    def text(self) -> bytes:
        """The file's content."""
        about = {"sha256": self.sha256, "bytes": self.size, "clips": self.clips, "chosen": self.chosen}
        return json.dumps(about | ({"plan": self.planned} if self.planned else {})).encode()


def read_manifest(path: Path) -> Manifest:
    """The manifest of a shard.

    Raises:
        ValueError: it is not the one that the shard is named after, or damaged in another way.
        StoreError: it is whole, and of a newer kshot.
    """
    try:
        text = gate.read_bytes(path)
        about = json.loads(text)
    except (DataError, ValueError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if name_of(text) != path.stem:
        raise ValueError("its manifest was altered: the name of a shard is the hash of its manifest")
    about = about if isinstance(about, dict) else {}
    if (found := about.get("format", FORMAT)) != FORMAT:
        raise StoreError(
            f"{path} is of format {found}, this kshot reads format {FORMAT}: update kshot, or use another --store"
        )
    clips, size, sha256 = about.get("clips"), about.get("bytes"), about.get("sha256")
    named = isinstance(clips, list) and all(isinstance(clip, str) for clip in clips) and len(set(clips)) == len(clips)
    if not isinstance(clips, list) or not named or type(size) is not int or not isinstance(sha256, str):
        raise ValueError("it does not name its clips, bytes and sha256")
    chosen, planned = about.get("chosen"), about.get("plan")
    return Manifest(
        sha256, size, tuple(clips), BY_TIME if chosen == BY_TIME else "", planned if isinstance(planned, str) else ""
    )


def name_of(manifest: bytes) -> str:
    """The name of a shard, without a suffix, from its manifest's content."""
    return f"shard-{hashlib.sha256(manifest).hexdigest()[:16]}"


def fault(manifest: Path, data: Path | None = None) -> str | None:
    """What is wrong with a shard, by hashing all of it; None for nothing.

    Args:
        manifest: its path.
        data: its .npy, where that does not lie beside.

    Raises:
        StoreError: it is of a newer kshot.
    """
    try:
        expected = read_manifest(manifest)
        data = data or manifest.with_suffix(".npy")
        gate.regular(data)
        with data.open("rb") as file:
            if (size := os.fstat(file.fileno()).st_size) != expected.size:
                return f"has {size} bytes, its manifest says {expected.size}"
            if hashlib.file_digest(file, "sha256").hexdigest() != expected.sha256:
                return "its sha256 differs from its manifest"
    except (OSError, ValueError, DataError) as error:
        return f"cannot be read ({error})" if isinstance(error, OSError) else str(error)
    return None


class Shard:
    """The rows of a shard's file, which stays open.

    Args:
        path: of the .npy.

    Attributes:
        clips: how many rows it has.
        shape: of the activations of one clip.
        dtype: of its numbers.

    Raises:
        DataError: it is missing or no regular file.
        ValueError: it is no array of numbers in the order and bytes of this machine. A damaged header fails in more
            ways.
    """

    def __init__(self, path: Path) -> None:
        gate.regular(path)
        # A memory map made and let go: NumPy checks the header and the length of the file.
        rows: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        if not rows.flags.c_contiguous:
            raise ValueError("its clips do not lie one after the other")
        plain = rows.dtype.kind in "fiu" and rows.dtype.itemsize <= 8
        if not rows.dtype.isnative or not (plain or is_packed(rows.dtype)):
            raise ValueError(f"its numbers are {rows.dtype}")
        self.clips, self.shape, self.dtype = len(rows), rows.shape[1:], rows.dtype
        self._start = int(rows.offset)
        self._file = path.open("rb", buffering=0)

    def read(self, row: int, out: Array) -> bool:
        """Fills `out` (of `shape` and `dtype`) with a row; False where the file has become too short since."""
        data, place = _bytes(out), self._start + row * out.nbytes
        while data:
            count = system.read_at(self._file, data, place)
            if not count:
                return False
            data, place = data[count:], place + count
        return True


def beside(data: Path, manifest: Manifest) -> None:
    """Writes a shard's manifest beside its data."""
    write_atomic(data.with_suffix(".json"), manifest.text())


class ShardWriter:
    """Writes clips as shards of about 64 MB, or what came in 20 seconds. A shard counts once it is complete.

    Args:
        folder: of a key of a store, which exists and is locked.
        planned: name of the one planned shard that is written, which ends where its clips do, however large it is and
            however long it takes; "" for shards as they come.
        complete: makes a shard count whose data are whole, by its manifest.
    """

    def __init__(self, folder: Path, planned: str = "", complete: Callable[[Path, Manifest], None] = beside) -> None:
        self._folder, self._planned, self._count = folder, planned, complete
        self._clips: list[str] = []
        self._file: io.FileIO | None = None
        self._row: tuple[tuple[int, ...], np.dtype[Any]] = ((), np.dtype(np.uint8))
        self._start = 0
        self._since = time.monotonic()

    def add(self, clip: str, activations: Array) -> None:
        """Takes one clip.

        Args:
            clip: its digest.
            activations: any shape and type of number, the same for all clips.

        Raises:
            ValueError: another shape or type than the clips before.
            StoreError: the disk refuses.
        """
        with disk(self._folder):
            if self._file is None:
                self._row = (activations.shape, activations.dtype)
                self._file = io.FileIO(self._part, "w+")
                self._start = self._file.write(self._header(0))
            if (activations.shape, activations.dtype) != self._row:
                raise ValueError(f"a clip of {activations.shape} {activations.dtype} among ones of {self._row}")
            place = self._start + len(self._clips) * activations.nbytes
            _write(self._file, place, _bytes(np.ascontiguousarray(activations)))
        self._clips.append(clip)  # only now: what Ctrl-C cuts off is written over, or cut off in the end
        size = activations.nbytes * len(self._clips)
        if not self._planned and (size >= SHARD_BYTES or time.monotonic() - self._since > SHARD_SECONDS):
            self.flush()

    def flush(self) -> None:
        """Completes the shard at hand: data, then its manifest.

        Raises:
            StoreError: the disk refuses.
        """
        self._since = time.monotonic()
        if self._file is None:
            return
        with disk(self._folder):
            try:
                if self._clips:
                    self._complete(self._file)
            except OSError:
                self.close()
                raise
        self.close()  # not after Ctrl-C: the shard is completed when the writer is left

    def close(self) -> None:
        """Drops the shard at hand, as far as it is not complete."""
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
        manifest = Manifest(sha256, os.fstat(file.fileno()).st_size, tuple(self._clips), planned=self._planned)
        path = self._folder / f"{name_of(manifest.text())}.npy"
        try:
            if not path.exists():  # it does where Ctrl-C came before the manifest
                system.move_open(self._part, path)
            self._count(path, manifest)
        except OSError:
            path.unlink(missing_ok=True)  # data without a manifest would only take room
            raise

    @property
    def _part(self) -> Path:
        return self._folder / (f"plan-{self._planned}.part" if self._planned else f"shard.{os.getpid()}.tmp")

    def _header(self, clips: int) -> bytes:
        shape, dtype = self._row
        about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (clips, *shape)}
        text = io.BytesIO()
        np.lib.format.write_array_header_1_0(text, about)
        return text.getvalue()


def _bytes(values: Array) -> memoryview:
    """The memory of a contiguous array."""
    return values.reshape(-1).view(np.uint8).data


def _write(file: io.FileIO, place: int, data: memoryview) -> None:
    """Writes all of the data at a place of the file."""
    while data:
        count = system.write_at(file, data, place)
        data, place = data[count:], place + count
