"""What each clip holds: a digest of its bytes, and the digests of a store's clips, remembered by their paths."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kshot import gate, remote
from kshot.errors import DataError, StoreError, VideoError
from kshot.files import append, disk, write_atomic

DIGESTS_AT_ONCE = 64  # clips hashed before their digests are written down


def digest(clip: Path) -> str:
    """sha256 of a clip's bytes, in hexadecimal; of names and bytes in order for a folder of frames.

    Raises:
        DataError: it is neither a folder nor a regular file: a pipe would be waited for, for ever.
    """
    result = hashlib.sha256()
    if remote.address(clip):
        with remote.local(clip) as file:
            _hash(file, result)
    elif clip.is_dir():
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


@dataclass(frozen=True)
class Hashed:
    """What a path held when it was hashed; a line of digests.jsonl.

    Attributes:
        path: of the clip, absolute.
        bytes: its size; of a folder of frames, of all its files.
        mtime_ns: when it changed last, in nanoseconds since 1970; of a folder, the latest of its files.
        sha256: `digest` of the clip.
    """

    path: str
    bytes: int
    mtime_ns: int
    sha256: str

    @property
    def seal(self) -> str:
        """16 hexadecimal digits that no other values have."""
        values = json.dumps([self.path, self.bytes, self.mtime_ns, self.sha256])
        return hashlib.sha256(values.encode()).hexdigest()[:16]

    def line(self, sealed: bool = True) -> str:
        """The line of the file."""
        row = {"path": self.path, "bytes": self.bytes, "mtime_ns": self.mtime_ns, "sha256": self.sha256}
        return json.dumps(row | ({"seal": self.seal} if sealed else {})) + "\n"

    def unchanged(self, clip: Path) -> bool:
        """Whether size and time of change are still those of the clip.

        Raises:
            OSError: it cannot be reached.
        """
        return (self.bytes, self.mtime_ns) == _size_and_time(clip)


@dataclass(frozen=True)
class DigestsReport:
    """What a check of digests.jsonl found.

    Attributes:
        lines: number of clips that it knows.
        damaged: clip -> what is wrong with its line.
        gone: clips whose lines cannot be checked: without a seal, and the clip is not there any more.
    """

    lines: int
    damaged: dict[str, str]
    gone: list[str]


class Digests:
    """Remembers the digest of each path by size and time of change, so that clips are hashed once.

    Kept as JSON lines; the last line for a clip wins. A torn line is ignored, and so is one whose seal is not its own,
    as after an edit that gave it another clip's values.

    Args:
        path: of the file, which may not exist yet.

    Attributes:
        altered: clips whose line has a seal that is not its own.

    Raises:
        StoreError: there is something else than a regular file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Hashed] = {}
        self._unsealed: set[str] = set()
        self.altered: set[str] = set()
        if not path.exists():
            return
        gate.regular(path, error=StoreError)
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                self._take(line)

    def _take(self, line: str) -> None:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return
        kinds = {"path": str, "bytes": int, "mtime_ns": int, "sha256": str}
        if not isinstance(row, dict) or not all(type(row.get(name)) is kind for name, kind in kinds.items()):
            return
        known = Hashed(**{name: row[name] for name in kinds})
        if "seal" in row and row["seal"] != known.seal:
            self.altered.add(known.path)
            return
        self.altered.discard(known.path)  # hashed anew since
        self._known[known.path] = known
        (self._unsealed.discard if "seal" in row else self._unsealed.add)(known.path)

    def verify(self) -> DigestsReport:
        """Checks every line by its seal; one of an older version, without a seal, by hashing the clip if that is still
        what it was."""
        damaged = dict.fromkeys(sorted(self.altered), "the line's seal is not its own")
        gone = []
        for name in sorted(self._unsealed):
            try:
                if not self._known[name].unchanged(Path(name)):
                    continue  # hashed anew when it is used
                if digest(Path(name)) != self._known[name].sha256:
                    damaged[name] = "has another sha256 than its line says"
            except (OSError, DataError):
                gone.append(name)
        return DigestsReport(len(self._known) + len(self.altered), damaged, gone)

    def heal(self, damaged: Iterable[str]) -> None:
        """Writes the file anew without the lines of these clips; no line gets a seal that it did not have.

        Raises:
            StoreError: it cannot be written.
        """
        for name in damaged:
            self._known.pop(name, None)
        lines = [known.line(sealed=name not in self._unsealed) for name, known in self._known.items()]
        with disk(self._path):
            write_atomic(self._path, "".join(lines).encode())

    def of(self, clips: Iterable[Path], remembered: bool = False) -> list[str]:
        """Digest of each clip; an empty string for one that cannot be opened. New ones are remembered on disk.

        Args:
            clips: paths of clips.
            remembered: open no clip, give what was last known of their paths (the videos may be gone).

        Raises:
            StoreError: new digests cannot be written.
        """
        if remembered:
            known = (self._known.get(remote.name(clip)) for clip in clips)
            return [one.sha256 if one else "" for one in known]
        digests: list[str] = []
        fresh: list[Hashed] = []
        for clip in clips:
            digests.append(self._hashed(clip, fresh))
            if len(fresh) == DIGESTS_AT_ONCE:
                self._write(fresh)
        self._write(fresh)
        return digests

    def _hashed(self, clip: Path, fresh: list[Hashed]) -> str:
        name = remote.name(clip)
        try:
            size, changed = _size_and_time(clip)
            known = self._known.get(name)
            if known is None or (known.bytes, known.mtime_ns) != (size, changed):
                known = self._known[name] = Hashed(name, size, changed, digest(clip))
                fresh.append(known)
        except (OSError, VideoError):
            return ""
        except DataError:
            if remote.address(clip):  # the store does not answer: that says nothing about the clip
                raise
            return ""
        return known.sha256

    def _write(self, fresh: list[Hashed]) -> None:
        if fresh:
            with disk(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                append(self._path, (known.line() for known in fresh))
            fresh.clear()


def _size_and_time(clip: Path) -> tuple[int, int]:
    """Bytes of a clip and when it changed last, in nanoseconds; of a folder, of all files in it; of an object, a number
    in place of the time, see `remote.size_and_version`."""
    if place := remote.address(clip):
        return remote.size_and_version(place)
    if clip.is_dir():
        stats = [p.stat() for p in clip.iterdir() if p.is_file()]
        return sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)
    stat = clip.stat()
    return stat.st_size, stat.st_mtime_ns
