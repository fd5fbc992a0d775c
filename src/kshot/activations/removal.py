"""Clips taken out of a store for good: shards are written anew without them, and every note on them goes."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kshot import gate
from kshot.activations.shards import Manifest, name_of, read_manifest
from kshot.activations.store import NOTES, located, note_files
from kshot.errors import StoreError
from kshot.files import disk, locked, write_atomic


@dataclass
class StoreRemoval:
    """What was taken out of a store, or would be.

    Attributes:
        clips: activations of clips, counted once for each key that had them.
        shards: written anew without them, or removed with their last clip.
        notes: entries on what a clip looks like, what is lost of it, or why it cannot be read.
        rates: lines on frame rates.
        paths: lines on what a path held.
    """

    clips: int = 0
    shards: int = 0
    notes: int = 0
    rates: int = 0
    paths: int = 0

    def plain(self) -> dict[str, int]:
        """As JSON."""
        return asdict(self)


def known_digests(root: Path, paths: Collection[str]) -> set[str]:
    """Digests that a store remembers of these absolute paths."""
    return {value for value in located(root).digests().of([Path(path) for path in paths], remembered=True) if value}


def held_digests(root: Path) -> set[str]:
    """Digests of all clips whose activations a store holds.

    Raises:
        StoreError: a manifest is damaged.
    """
    return {clip for path in Path(root).glob("*/shard-*.json") for clip in _manifest(path).clips}


def remove_from_store(root: Path, digests: Collection[str], paths: Collection[str], dry: bool = False) -> StoreRemoval:
    """Takes clips out of all keys of a store. A kill leaves shards whole, and the same call goes on.

    Args:
        root: the store folder.
        digests: of the clips.
        paths: absolute ones, whose lines of digests.jsonl go.
        dry: count only.

    Raises:
        StoreError: a shard is damaged, of a newer kshot, or being written to, or the disk refuses.
    """
    found, digests = StoreRemoval(), frozenset(digests)
    for keyfile in sorted(Path(root).glob("*/key.json")):
        if dry:
            _clean_key(keyfile.parent, digests, found, dry)
            continue
        busy = StoreError(f"another kshot is writing to {keyfile.parent}; wait for it to end, then run this again")
        with locked(keyfile.parent, "lock", busy), disk(keyfile.parent):
            _clean_key(keyfile.parent, digests, found, dry)
    with disk(root):
        if not dry:  # a cache of where lines stand
            _remove(Path(root).glob("digests-*.npy"))
        found.rates = _drop_lines(Path(root) / "rates.jsonl", lambda row: row.get("sha256") in digests, dry)
        gone = {os.path.abspath(path) for path in paths}
        found.paths = _drop_lines(
            Path(root) / "digests.jsonl", lambda row: row.get("sha256") in digests or row.get("path") in gone, dry
        )
    return found


def _clean_key(folder: Path, digests: frozenset[str], found: StoreRemoval, dry: bool) -> None:
    """Shards and notes of one key."""
    before = found.shards
    if not dry:
        _remove(folder.glob("*.tmp"))
    for path in sorted(folder.glob("shard-*.json")):
        manifest = _manifest(path)
        rows = [row for row, clip in enumerate(manifest.clips) if clip not in digests]
        if len(rows) < len(manifest.clips):
            found.clips += len(manifest.clips) - len(rows)
            found.shards += 1
            if not dry:
                _rewrite(path, manifest, rows)
    if found.shards > before and not dry:
        _remove(folder.glob("index-*.npy"))  # a cache of where clips stand
    for kind in NOTES:
        own, *others = note_files(folder, kind)
        noted = {clip: value for path in (own, *others) for clip, value in gate.glimpse(path).items()}
        kept = {clip: value for clip, value in noted.items() if clip not in digests}
        found.notes += len(noted) - len(kept)
        if len(kept) < len(noted) and not dry:
            write_atomic(own, json.dumps(kept, indent=1).encode())
            _remove(others)


def _manifest(path: Path) -> Manifest:
    try:
        return read_manifest(path)
    except ValueError as error:
        raise StoreError(f"manifest {path} is damaged ({error}); run `kshot verify --heal` first") from None


def _rewrite(path: Path, manifest: Manifest, rows: list[int]) -> None:
    """A shard with some of its rows in the place of one with all; its name follows from what it holds."""
    if rows:
        values: Any = np.load(path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        part = path.with_name(f"shard.{os.getpid()}.tmp")
        with part.open("wb+") as file:
            header = io.BytesIO()
            about = {"descr": np.lib.format.dtype_to_descr(values.dtype), "fortran_order": False}
            np.lib.format.write_array_header_1_0(header, about | {"shape": (len(rows), *values.shape[1:])})
            file.write(header.getvalue())
            for row in rows:  # one at a time: a shard of any size in the memory of a clip
                file.write(values[row : row + 1].tobytes())
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        text = replace(manifest, sha256=sha256, size=size, clips=tuple(manifest.clips[row] for row in rows)).text()
        new = path.with_name(f"{name_of(text)}.npy")
        os.replace(part, new)
        write_atomic(new.with_suffix(".json"), text)
    path.unlink()
    path.with_suffix(".npy").unlink(missing_ok=True)


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        path.unlink()


def _drop_lines(path: Path, wanted: Any, dry: bool) -> int:
    """Writes a file of JSON lines anew without some; how many they were. Lines that are none stay, seals as well."""
    if not path.exists():
        return 0
    lines = list(_lines(path))
    kept = [line for line, row in lines if not wanted(row)]
    if len(kept) < len(lines) and not dry:
        write_atomic(path, "".join(kept).encode(errors="surrogateescape"))
    return len(lines) - len(kept)


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    gate.regular(path, error=StoreError)
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            row: Any = None
            with suppress(ValueError, RecursionError):
                row = json.loads(line)
            yield line, row if isinstance(row, dict) else {}
