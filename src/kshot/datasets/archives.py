"""Unpacking archives that came from elsewhere: nothing they say decides where a file is written.

The caller gives each member a place by its name, or None. tar (plain, gzip, bzip2, xz, also
cut into parts) and zip are read in Python. rar needs an outside tool, which unpacks into an empty folder first; what it
left there is checked before a file is taken.

An archive is refused as a whole if a member has an absolute name, leads upwards, or is a link or device, if it holds
too many members, or if it grows beyond its limit.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Any

from kshot import gate
from kshot.datasets import rar_tools
from kshot.errors import DataError
from kshot.files import disk
from kshot.progress import Progress, Step, quiet

Take = Callable[[PurePosixPath, int], Path | None]
"""`take(name, bytes)`: where to write a member, or None to pass it over. The folder is made."""

SUFFIXES = (".rar", ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
BLOCK = 1 << 20

_PART = re.compile(r"(.+-)(\d\d)|(.+(?:\.tar|\.tgz|\.gz|\.zip)\.)(\d\d\d?|[a-z][a-z])")
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may hold.

    Attributes:
        members: most files and folders.
        growth: bytes written, as a multiple of its own size ...
        floor: ... but this many bytes in any case.
    """

    members: int = 1_000_000
    growth: int = 100
    floor: int = 1 << 30


def is_archive(path: Path | PurePosixPath) -> bool:
    """Whether a name is one of an archive or of a part of one."""
    return path.name.lower().endswith(SUFFIXES) or is_part(path)


def is_part(path: Path | PurePosixPath) -> bool:
    """Whether a name is one of a part of an archive that was cut."""
    return not path.name.lower().endswith(SUFFIXES) and _PART.fullmatch(path.name) is not None


def whole(path: Path) -> list[Path]:
    """The files of the archive that `path` is or is a part of, in order: `name-00, name-01, ...` or just itself.

    Raises:
        DataError: a part in the middle is missing.
    """
    if not is_part(path):
        return [path]
    stem = _stem(path)
    parts = sorted(other for other in path.parent.iterdir() if is_part(other) and _stem(other) == stem)
    for number, part in enumerate(parts):
        last = part.name[len(stem) :]
        expected = f"{number:0{len(last)}d}" if last.isdigit() else chr(97 + number // 26) + chr(97 + number % 26)
        if last != expected:
            raise DataError(f"{part}: the part {stem}{expected} before it is missing: download all parts")
    return parts


def _stem(part: Path) -> str:
    match = _PART.fullmatch(part.name)
    return (match[1] or match[3]) if match else ""


def unpack(
    archive: Path, take: Take, scratch: Path, limits: ArchiveLimits | None = None, progress: Progress = quiet
) -> list[Path]:
    """Writes the members of an archive that `take` has a place for.

    Args:
        archive: a tar, zip or rar file, or any part of one that was cut.
        take: see `Take`.
        scratch: a folder on the disk of the places, for what an outside tool unpacks.
        limits: of what it may hold.
        progress: how to show it.

    Returns:
        The files written. After an error there are none.

    Raises:
        DataError: no archive, damaged, cut short, not to be trusted, or a rar and no tool that reads it.
        StoreError: the disk refuses.
    """
    parts = whole(archive)
    size = sum(gate.regular(part) for part in parts)
    kind = _kind(parts[0])
    bounds = limits or ArchiveLimits()
    guard = _Guard(archive, take, bounds, max(bounds.floor, bounds.growth * size))
    if len(parts) > 1:
        guard.parts = f"; there are {len(parts)} parts, the last is {parts[-1].name}: is one missing after it?"
    try:
        with progress(f"unpacking {archive.name}", size / 1e6, "MB") as step:
            if kind == "rar":
                _rar(archive, guard, scratch, step, size)
            elif kind == "zip":
                _zip(parts, guard, step)
            else:
                _tar(parts, guard, step)
    except BaseException:
        for path in guard.written:
            path.unlink(missing_ok=True)
        raise
    return guard.written


class _Guard:
    """Checks members and writes them.

    Attributes:
        archive: for messages.
        take: see `Take`.
        limits: of what it may hold.
        room: bytes that may still be written.
        written: files that are whole.
        members: counted so far.
        parts: a remark for an archive in parts, "" for one file.
    """

    def __init__(self, archive: Path, take: Take, limits: ArchiveLimits, room: int) -> None:
        self.archive, self.take, self.limits, self.room = archive, take, limits, room
        self.written: list[Path] = []
        self.members = 0
        self.parts = ""

    def place(self, name: str, size: int) -> Path | None:
        """Where a member of this name and size in bytes is to go, if anywhere."""
        return self.take(self.check(name), size)

    def check(self, name: str) -> PurePosixPath:
        """The name of a member that may be in an archive.

        Raises:
            DataError: it leads out of its folder, or there are too many members.
        """
        self.members += 1
        if self.members > self.limits.members:
            raise self.refused(f"more than {self.limits.members:,} members")
        clean = name.replace("\\", "/")
        if clean.startswith("/") or re.match(r"[A-Za-z]:", clean) or ".." in clean.split("/") or "\0" in clean:
            raise self.refused(f"member '{name}' would be written outside its folder")
        return PurePosixPath(clean)

    def write(self, source: IO[bytes], place: Path, size: int) -> None:
        """Copies a member to its place, under another name until it is whole.

        Args:
            source: gives its bytes.
            place: where it goes.
            size: bytes that it has.

        Raises:
            EOFError: it ends early.
            DataError: the archive grows beyond its limits.
            StoreError: the disk refuses.
        """
        temporary, done = place.with_name(f"{place.name}.tmp"), 0
        with disk(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            file = temporary.open("wb")
        try:
            with file:
                while block := source.read(BLOCK):
                    done += len(block)
                    self.spend(len(block))
                    with disk(place):
                        file.write(block)
            if done != size:
                raise EOFError(f"'{place.name}' ends after {done} of {size} bytes")
            with disk(place):
                os.replace(temporary, place)
        finally:
            temporary.unlink(missing_ok=True)
        self.written.append(place)

    def spend(self, size: int) -> None:
        """Takes so many bytes from the room that is left.

        Raises:
            DataError: there is none.
        """
        self.room -= size
        if self.room < 0:
            raise self.refused(
                f"it grows to more than {self.limits.growth} times its size and {self.limits.floor / 1e9:.3g} GB"
            )

    def refused(self, why: str) -> DataError:
        """The error for an archive that is not to be trusted."""
        return DataError(f"{self.archive}: refused, nothing of it was kept: {why}")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turns what a damaged archive makes Python raise into a DataError."""
        try:
            yield
        except (*_BROKEN, OSError, RuntimeError) as error:
            why = str(error) or type(error).__name__
            raise DataError(
                f"{self.archive}: damaged or cut short ({why}{self.parts}); compare its size with the original, "
                f"download it again"
            ) from None


class _Joined:
    """Parts read one after the other; a bar shows the share that was read."""

    def __init__(self, parts: Sequence[Path], step: Step) -> None:
        self._files = [part.open("rb") for part in parts]
        self._at, self._step, self.done = 0, step, 0

    def read(self, size: int = BLOCK) -> bytes:
        """The next bytes, at most `size`; none at the end of the last part."""
        while self._at < len(self._files):
            if block := self._files[self._at].read(size):
                self.done += len(block)
                self._step(len(block) / 1e6)
                return block
            self._at += 1
        return b""

    def close(self) -> None:
        """Closes all parts."""
        for file in self._files:
            file.close()


def _kind(first: Path) -> str:
    """rar, zip or tar, by its first bytes: what a name promises is not always what was downloaded."""
    with first.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"Rar!\x1a\x07"):
        return "rar"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")) or head[257:262] == b"ustar":
        return "tar"
    found = "nothing" if not head else "a web page" if head.lstrip()[:1] == b"<" else f"{head[:8]!r}..."
    raise DataError(f"{first}: expected a rar, zip or tar archive, found {found}: download it again")


def _tar(parts: Sequence[Path], guard: _Guard, step: Step) -> None:
    joined = _Joined(parts, step)
    with guard.reading(), closing(joined), closing(_decompressed(joined, parts)) as stream:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK) as archive:
            for member in archive:
                if member.isdir():
                    continue
                place = guard.place(member.name, member.size)
                if not member.isreg():
                    raise guard.refused(f"member '{member.name}' is a link or a device")
                if place is not None:
                    source = archive.extractfile(member)
                    assert source is not None
                    guard.write(source, place, member.size)
        while stream.read(BLOCK):  # to the end, where a checksum stands
            pass
        if joined.done % 512 and isinstance(stream, _Joined):
            raise EOFError("its size is no multiple of 512 bytes")


def _decompressed(joined: Any, parts: Sequence[Path]) -> Any:
    """A reader of the tar inside. Those of Python say when a stream ends too early; that of tarfile is silent."""
    with parts[0].open("rb") as file:
        head = file.read(3)
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=joined)
    if head == b"BZh":
        return bz2.BZ2File(joined)
    return lzma.LZMAFile(joined) if head == b"\xfd7z" else joined


def _zip(parts: Sequence[Path], guard: _Guard, step: Step) -> None:
    if len(parts) > 1:
        raise DataError(f"{parts[0]}: a zip in parts cannot be read; join the parts, or give the unpacked folder")
    with guard.reading(), zipfile.ZipFile(parts[0]) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            place = guard.place(member.filename, member.file_size)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise guard.refused(f"member '{member.filename}' is a link")
            if place is not None:
                with archive.open(member) as source:
                    guard.write(source, place, member.file_size)
            step(member.compress_size / 1e6)


def _rar(archive: Path, guard: _Guard, scratch: Path, step: Step, size: int) -> None:
    """Has a tool unpack into an empty folder, and takes from there what is wanted."""
    with disk(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
        folder = TemporaryDirectory(prefix="rar-", dir=scratch)
    with folder as name:
        root = Path(name)
        _run_tool(archive, guard, root, step, size)
        for path in sorted(p for p in root.rglob("*") if p.is_symlink() or not p.is_dir()):
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode):
                raise guard.refused(f"member '{path.relative_to(root)}' is a link or a device")
            place = guard.take(PurePosixPath(path.relative_to(root).as_posix()), found.st_size)
            if place is not None:
                with disk(place):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(path, place)
                guard.written.append(place)


def _run_tool(archive: Path, guard: _Guard, root: Path, step: Step, size: int) -> None:
    """Lists with the first tool that can read the archive, checks the names, and unpacks with it."""
    tools = [tool for tool in rar_tools.TOOLS if shutil.which(tool) and (tool != "unar" or shutil.which("lsar"))]
    if not tools:
        raise DataError(
            f"{archive}: a rar needs one of {', '.join(rar_tools.TOOLS)}: install one (on Debian `apt install unar`, "
            f"on macOS `brew install unar`), or unpack it yourself and give the folder"
        )
    faults = []
    for tool in tools:
        try:
            names, links = rar_tools.list_members(tool, archive)
        except rar_tools.ToolFailed as error:
            faults.append(f"{tool}: {error}")
            continue
        for name in names:
            guard.check(name)
        if links:
            raise guard.refused("it holds links")
        with _counted(root, guard, step, size) as watch:
            try:
                rar_tools.extract(tool, archive, root, watch)
            except rar_tools.ToolFailed as error:
                raise DataError(
                    f"{archive}: damaged or cut short ({tool}: {str(error).replace(f'{root}', '.')}); compare its size "
                    f"with the original, download it again"
                ) from None
        return
    raise DataError(f"{archive}: damaged, or a rar that {' and '.join(tools)} cannot read ({'; '.join(faults)})")


@contextmanager
def _counted(root: Path, guard: _Guard, step: Step, size: int) -> Iterator[Callable[[], None]]:
    """A function that measures what a tool has written so far, moves the bar and stops what grows without bound."""
    room, shown = guard.room, 0.0

    def measure() -> None:
        nonlocal shown
        written = 0
        for folder, _, files in os.walk(root):
            for name in files:
                try:
                    written += os.lstat(os.path.join(folder, name)).st_size
                except OSError:  # the tool has just renamed it
                    continue
        if written > room:
            guard.spend(written)
        done = min(written, size) / 1e6
        step(max(0.0, done - shown))
        shown = max(shown, done)

    yield measure
