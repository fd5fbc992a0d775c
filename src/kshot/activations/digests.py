"""What each clip holds: a digest of its bytes, and the digests of a store's clips, remembered by their paths."""

from __future__ import annotations

import hashlib
import io
import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kshot import addresses, gate, remote
from kshot.activations import index
from kshot.activations.index import DigestList, Index, Pairs, mark
from kshot.compact import BLOCK
from kshot.errors import DataError, StoreError, VideoError
from kshot.excerpts import Clip, Excerpt, file_of
from kshot.files import disk

DIGESTS_AT_ONCE = 64  # clips hashed before their digests are written down
CHECKED = 4096  # bytes before the end of what an index covers, by which the file is known again
KIND = "digests"  # of the index
LINE = 1024  # bytes of the file that hold most lines


def digest(clip: Path) -> str:
    """sha256 of a clip's bytes, in hexadecimal; of names and bytes in order for a folder of frames.

    Raises:
        DataError: it is neither a folder nor a regular file: a pipe would be waited for, for ever.
    """
    result = hashlib.sha256()
    if addresses.of(clip):
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


def hashed(clip: Path) -> Hashed | None:
    """What a path holds now, by reading it; None for one that cannot be opened."""
    try:
        size, changed = _size_and_time(clip)
        return Hashed(addresses.name(clip), size, changed, digest(clip))
    except (OSError, VideoError):
        return None
    except DataError:
        if addresses.of(clip):  # the store does not answer: that says nothing about the clip
            raise
        return None


class Digests:
    """Remembers the digest of each path by size and time of change, so that clips are hashed once.

    Kept as JSON lines; the last line for a clip wins. A torn line is ignored, and so is one whose seal is not its own,
    as after an edit that gave it another clip's values. In memory is only where the lines stand, see
    `kshot.activations.index`; a line is read when its clip is asked for.

    Args:
        path: of the file, which may not exist yet.

    Raises:
        StoreError: there is something else than a regular file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fresh: list[Hashed] = []
        self._file: io.FileIO | None = None
        if path.exists():
            gate.regular(path, error=StoreError)
        self._find()

    def _find(self) -> None:
        """Finds the lines: by the index that is kept, and by reading what came since."""
        self._close()
        self._kept, self._covered = self._saved()
        self._since: tuple[array[int], array[int]] = array("Q"), array("Q")
        for place, line in self._lines(self._covered):
            if (name := _path_of(line)) is not None:
                self._since[0].append(mark(name))
                self._since[1].append(place)
            self._covered = place + len(line) if line.endswith(b"\n") else place
        if self._many:
            where, version = self._path.parent, self._version(self._covered)
            self._kept = Index.keep(where, KIND, version, self._kept.pairs, self._columns)
            self._since = array("Q"), array("Q")
        self._settle()

    def _settle(self) -> None:
        """Lets what was written since be found."""
        self._new = Index(*self._columns)

    @property
    def _columns(self) -> Pairs:
        """Marks and places of the lines that the index does not know."""
        marks, places = (np.asarray(part, np.uint64) for part in self._since)
        return marks, places

    @property
    def _many(self) -> bool:
        """Whether so many lines came since that it is time for another index."""
        return len(self._since[0]) >= max(index.INDEXED, len(self._kept) // 4)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def _saved(self) -> tuple[Index, int]:
        """The index that is kept of the file, and how many bytes of it that covers."""
        best, covered = Index(np.empty(0, np.uint64), np.empty(0, np.uint64)), 0
        for path in self._path.parent.glob(f"{KIND}-*.npy"):
            version = path.stem.removeprefix(f"{KIND}-")
            end = int(text) if (text := version.split("-")[0]).isdigit() else 0
            if end > covered and version == self._version(end) and (found := Index.load(path.parent, KIND, version)):
                best, covered = found, end
        return best, covered

    def _version(self, end: int) -> str:
        """A name for the first bytes of the file, by their number and by the last of them."""
        start = max(0, end - CHECKED)
        return f"{end}-{hashlib.sha256(self._read(start, end - start)).hexdigest()[:16]}"

    def _read(self, place: int, size: int) -> bytes:
        if self._file is None:
            self._file = self._path.open("rb", buffering=0)
        self._file.seek(place)
        return self._file.read(size)

    def _lines(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Place and content of every line from a place on."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(start)
                for line in file:
                    yield start, line
                    start += len(line)

    def _known(self, name: str) -> _Line | None:
        """The line that counts for a path."""
        own = mark(name)
        for places in (self._new.places(own), self._kept.places(own)):
            for place in places:
                line = self._line(place)
                if line is not None and line.says.path == name and line.whole:
                    return line
        return None

    def _line(self, place: int) -> _Line | None:
        text = self._read(place, LINE)
        while b"\n" not in text and len(text) % LINE == 0 and (more := self._read(place + len(text), LINE)):
            text += more
        return parsed(text.partition(b"\n")[0], place)

    def of(self, clips: Sequence[Clip], remembered: bool = False, reading: bool = True) -> Sequence[str]:
        """Digest of each clip; an empty string for one that cannot be opened. New ones are remembered on disk.

        A video is hashed once, however many parts of it are clips; theirs follow from it, see `Excerpt.digest`.

        Args:
            clips: whole videos or parts of them.
            remembered: open no clip, give what was last known of their paths (the videos may be gone).
            reading: read clips whose size or time is another than known; else their digest is an empty string.

        Returns:
            They fit into 32 bytes each, see `kshot.activations.index.DigestList`.

        Raises:
            StoreError: new digests cannot be written.
        """
        if len(self._new) < len(self._since[0]):
            self._settle()
        parts: dict[Path, str] = {}  # digests of videos of which parts are clips, which are asked for once

        def each() -> Iterator[str]:
            for number, clip in enumerate(clips):
                yield self._of(clip, parts, remembered, reading)
                if number % BLOCK == BLOCK - 1:
                    self._kept.let_go()

        digests = DigestList.collected(len(clips), each())
        self.flush()
        self._kept.let_go()
        if self._many:
            self._find()  # others may have written lines between those of this process
        return digests

    def _of(self, clip: Clip, parts: dict[Path, str], remembered: bool, reading: bool) -> str:
        """Digest of a clip, that of a part by its video's."""
        video = file_of(clip)
        found = parts.get(video)
        if found is None:
            known = self._known(addresses.name(video)) if remembered else None
            found = (known.says.sha256 if known else "") if remembered else self._digest(video, reading)
        if not isinstance(clip, Excerpt):
            return found
        parts[video] = found
        return clip.digest(found)

    def _digest(self, clip: Path, reading: bool) -> str:
        """Of a clip, remembered or made."""
        name = addresses.name(clip)
        try:
            known = self._known(name)
            if known is not None and known.says.unchanged(clip):
                return known.says.sha256
        except OSError:
            return ""
        if reading and (made := hashed(clip)):
            self.add(made)
            return made.sha256
        return ""

    def add(self, made: Hashed) -> None:
        """Remembers a digest; it is written down with others, see `flush`.

        Raises:
            StoreError: those before it cannot be written.
        """
        self._fresh.append(made)
        if len(self._fresh) >= DIGESTS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Writes down what was remembered.

        Raises:
            StoreError: it cannot be written.
        """
        if not self._fresh:
            return
        lines = [known.line().encode() for known in self._fresh]
        with disk(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(b"\n" + b"".join(lines))  # an empty line closes what a kill tore
                file.flush()
                place = file.tell() - sum(map(len, lines))
        for one, line in zip(self._fresh, lines, strict=True):
            self._since[0].append(mark(one.path))
            self._since[1].append(place)
            place += len(line)
        self._fresh.clear()


@dataclass(frozen=True)
class _Line:
    """A line of the file. place: where it begins. seal: as it stands there, "" for none. whole: whether it fits."""

    says: Hashed
    place: int
    seal: str
    whole: bool


def parsed(text: bytes, place: int) -> _Line | None:
    """What a line says; None for a torn one, or one of another form."""
    try:
        row = json.loads(text.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return None
    kinds = {"path": str, "bytes": int, "mtime_ns": int, "sha256": str}
    if not isinstance(row, dict) or not all(type(row.get(name)) is kind for name, kind in kinds.items()):
        return None
    says = Hashed(**{name: row[name] for name in kinds})
    return _Line(says, place, str(row.get("seal", "")), "seal" not in row or row["seal"] == says.seal)


def _path_of(line: bytes) -> str | None:
    """The path in a line, as quickly as can be: of one that kshot wrote without looking at the rest of it."""
    begin = b'{"path": "'
    if line.startswith(begin):
        path = line[len(begin) : line.find(b'"', len(begin))]
        if b"\\" not in path and path.isascii():
            return path.decode()
    found = parsed(line, 0)
    return found.says.path if found else None


def _size_and_time(clip: Path) -> tuple[int, int]:
    """Bytes of a clip and when it changed last, in nanoseconds; of a folder, of all files in it; of an object, a number
    in place of the time, see `remote.size_and_version`."""
    if place := addresses.of(clip):
        return remote.size_and_version(place)
    if clip.is_dir():
        stats = [p.stat() for p in clip.iterdir() if p.is_file()]
        return sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)
    stat = clip.stat()
    return stat.st_size, stat.st_mtime_ns
