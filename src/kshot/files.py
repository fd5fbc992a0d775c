"""What kshot writes: files whole or not at all, folders by one process at a time, and a disk's refusals in words."""

from __future__ import annotations

import errno
import functools
import inspect
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from kshot.errors import KshotError, OptionError, StoreError
from kshot.gate import kind

P = ParamSpec("P")
R = TypeVar("R")

LOCK = ".kshot-lock"
"""The file in an output folder while it is written to. A killed process leaves one behind, which holds nobody up."""


@dataclass(frozen=True)
class _Held:
    """How this process holds a folder.

    Attributes:
        folder: its real path.
        found: what the lock's file was when it was locked.
        thread: that locked it.
    """

    folder: str
    found: os.stat_result
    thread: int


_held: dict[str, _Held] = {}
"""By the path of the lock."""


# Files


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Writes a file so that a reader sees the old or the new content, never a part; see `whole`."""
    with whole(path) as part, part.open("wb") as file:
        file.write(data)


def append(path: Path, lines: Iterable[str]) -> None:
    """Adds lines to a file in one write, so that those of several processes do not mix where the file system appends
    whole writes. An empty line before them closes what a kill tore."""
    with path.open("ab", buffering=0) as file:
        file.write(("\n" + "".join(lines)).encode())


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """The path to write a file's new content to; it takes the file's place when the block ends without an error.

    A link is followed: what it leads to is replaced, the link stays.

    Raises:
        OptionError: there is something else than a plain file.
        StoreError: it lies in a folder that this process held, but which was removed or replaced since.
    """
    target = plain(path)
    part = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    ours(target)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        ours(target)
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def plain(path: str | os.PathLike[str]) -> Path:
    """Where a file of that name lies or will lie, links followed.

    Raises:
        OptionError: there is something else than a plain file.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        found = os.stat(path).st_mode
        if not stat.S_ISREG(found):
            raise OptionError(f"{os.fspath(path)} is {kind(found)}: expected the name of a file to write")
    return Path(os.path.realpath(path))


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turns what a disk can refuse while `path` is written into a StoreError of one line."""
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL
        raise StoreError(
            f"cannot write to {path}: {error.strerror or error}{f' ({_free(path)})' if full else ''}; what was written "
            f"before stays valid: {'make room or name' if full else 'see that you may write there, or name'} another "
            f"place, then run the same command again (train: with --resume)"
        ) from None


def _free(path: Path) -> str:
    try:
        place = next(p for p in (path, *path.absolute().parents) if p.exists())
        return f"{shutil.disk_usage(place).free / 1e9:.1f} GB free"
    except OSError:
        return "free space unknown"


# Folders


@contextmanager
def locked(folder: Path, name: str = LOCK, busy: KshotError | None = None, wait: float = False) -> Iterator[None]:
    """Holds a folder for this process alone, made where absent; at the end the lock is removed.

    Every `write_atomic` into the folder sees to it that it is still the one that was locked. The kernel frees the lock
    of a process that was killed. Where a file system has no such locks, the file itself is the lock, and Python warns
    of it: then a killed process may hold the folder until the file is removed by hand.

    Args:
        folder: to hold.
        name: of the lock's file.
        busy: the error where another holds it.
        wait: for the other to end, instead: True, or seconds.

    Raises:
        KshotError: `busy`.
        OptionError: the folder is a file.
        StoreError: it cannot be written.
    """
    from filelock import FileLock, Timeout  # not at the top: it takes a tenth of a second, and few commands lock

    if folder.exists() and not folder.is_dir():
        raise OptionError(f"--out {folder} is a file; name a folder")
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            place = os.path.realpath(folder)
            path = os.path.join(place, name)
            lock = FileLock(path, timeout=-1 if wait is True else float(wait), thread_local=False)
            try:
                lock.acquire()
            except Timeout:
                raise busy or StoreError(
                    f"another kshot is writing to {folder}: wait for it to end, or name another folder"
                ) from None
            _held[path] = _Held(place, os.stat(path), threading.get_ident())
        try:
            yield
        finally:
            if _stands(path):
                with suppress(OSError):  # Windows removes no open file; filelock does, thereafter
                    os.unlink(path)
            _held.pop(path, None)
            lock.release()
    finally:
        with suppress(OSError):  # what is not empty stays
            for one in made:
                one.rmdir()


def alone(parameter: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Lets a function run only while it holds the folder that its argument `parameter` names; see `locked`.

    Args:
        parameter: name of an argument of the function, which is a path.
    """

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with locked(Path(signature.bind(*args, **kwargs).arguments[parameter])):
                return function(*args, **kwargs)

        return call

    return wrap


def holding(folder: Path) -> bool:
    """Whether this thread holds a folder."""
    place, me = os.path.realpath(folder), threading.get_ident()
    return any((held.folder, held.thread) == (place, me) for held in list(_held.values()))


def ours(path: Path) -> None:
    """Sees to it that a path lies in no folder that was taken from this process.

    Raises:
        StoreError: the folder that this process held was removed or replaced since.
    """
    real = os.path.realpath(path)
    for lock, held in list(_held.items()):
        if (real + os.sep).startswith(held.folder + os.sep) and not _stands(lock):
            raise StoreError(
                f"{held.folder} was removed or replaced while it was written to; nothing more is written there: "
                f"run the same command again"
            )


def _stands(lock: str) -> bool:
    """Whether a lock's file is still the one that was locked."""
    try:
        return os.path.samestat(os.stat(lock), _held[lock].found)
    except OSError:
        return False


def occupied(folder: Path) -> bool:
    """Whether a folder holds anything but locks."""
    return folder.is_dir() and any(not entry.name.startswith(LOCK) for entry in folder.iterdir())
