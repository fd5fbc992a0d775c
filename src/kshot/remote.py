"""Files at addresses of object stores: known without reading them, opened as files, put there whole.

`fsspec` speaks to the stores, so whatever package of its family is installed adds addresses, and
keys and endpoints are where those packages look for them (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `~/.aws`,
`FSSPEC_*`).

An object is fetched whole into $KSHOT_HOME/objects when it is first opened. That folder is bounded: what was used
longest ago goes first. Whoever uses a file holds a second name of it, so that it cannot go meanwhile.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kshot import addresses
from kshot.errors import DataError, OptionError, StoreError, VideoError
from kshot.paths import home

CACHE_BYTES = 10 << 30  # of the folder, where $KSHOT_CACHE_BYTES says nothing else
VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created")
"""By which the packages say that an object is another, the best first."""
AT_ONCE = 512  # small objects that are asked for together
NO_BUCKET = "bucket does not exist"  # as S3 says it; an object that is not there is another error
Version = tuple[int, int]
"""Bytes of an object, and a number that another content would not have."""
ABANDONED = 24 * 3600.0  # seconds after which a second name is one of a process that was killed


class Refused(DataError):
    """An object that may not be read or written with the credentials that are set."""


def size_and_version(place: str) -> Version:
    """Bytes of an object, and a number that another content would not have: of its ETag, else of its time of change.

    Raises:
        OSError: there is no such object.
        DataError: the store does not answer, or wants credentials.
    """
    return _version(_about(place))


def _version(about: Mapping[str, Any]) -> Version:
    said = next((about[key] for key in VERSIONS if about.get(key)), "")
    return int(about.get("size") or 0), int(hashlib.sha256(str(said).encode()).hexdigest()[:15], 16)


def listed(place: str) -> dict[str, Version]:
    """Name -> size and version of the objects right below an address, and `name/` of the folders there; asked for
    anew. Nothing where there is nothing.

    Raises:
        DataError: the store does not answer, wants credentials, or has no such bucket.
    """
    try:
        with _answering(place):
            system, key = _system(place)
            system.invalidate_cache(key)
            found = system.ls(key, detail=True)
    except FileNotFoundError as error:
        if NO_BUCKET in str(error):
            raise _no_bucket(place) from None
        return {}
    names = {one["name"].strip("/"): one for one in found}
    names.pop(key.strip("/"), None)  # the folder itself, where it was made as an object
    return {
        name.rpartition("/")[2] + ("/" if one.get("type") == "directory" else ""): _version(one)
        for name, one in names.items()
    }


def read(places: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Small objects of one store, each with its address, several asked for at a time. One that is gone is left out.

    Raises:
        DataError: the store does not answer, or wants credentials.
    """
    for start in range(0, len(places), AT_ONCE):
        some = places[start : start + AT_ONCE]
        with _answering(some[0]):
            system, _ = _system(some[0])
            found = system.cat([_system(place)[1] for place in some], on_error="return")
            by_name = {name.strip("/"): content for name, content in found.items()}
            for place in some:
                content = by_name.get(_system(place)[1].strip("/"))
                if isinstance(content, Exception) and not isinstance(content, FileNotFoundError | KeyError):
                    raise content
                if isinstance(content, bytes):
                    yield place, content


def put(file: Path, place: str) -> None:
    """Makes an object of a file, in place of one that is there. Object stores show it once all of it has come.

    Raises:
        DataError: the store does not answer, does not let this user write, or has no such bucket.
        OSError: the file cannot be read.
    """
    try:
        with _answering(place, "written"):
            system, key = _system(place)
            system.put_file(str(file), key)
    except FileNotFoundError as error:
        if not file.exists():
            raise
        raise (_no_bucket(place) if NO_BUCKET in str(error) else DataError(f"{place}: {_line(error)}")) from None


def remove(place: str) -> None:
    """Removes an object, if it is there.

    Raises:
        DataError: the store does not answer, or does not let this user write.
    """
    with suppress(FileNotFoundError), _answering(place, "removed"):
        system, key = _system(place)
        system.rm_file(key)


def _no_bucket(place: str) -> DataError:
    return DataError(f"no such bucket: {'/'.join(place.split('/', 3)[:3])}: make it first, or name another")


def expect(places: Iterable[str]) -> None:
    """Refuses stores that do not answer: of each bucket, the first object is asked for.

    Raises:
        DataError: one does not answer, wants credentials, lacks that object, or its package is not installed.
    """
    firsts: dict[str, str] = {}
    for place in places:
        firsts.setdefault("/".join(place.split("/", 3)[:3]), place)
    for place in firsts.values():
        try:
            _about(place)
        except OSError:
            raise DataError(f"no such object: {place}") from None


@contextmanager
def local(path: str | os.PathLike[str], version: Version | None = None) -> Iterator[Path]:
    """The file of a path, fetched first where that is an address; it stays until the block is left.

    Args:
        path: of a file, or an address.
        version: size and version of the object where they are known, as of one that never changes: the store is not
            asked then, unless the object has to be fetched.

    Raises:
        VideoError: there is no such object.
        DataError: the store does not answer, or wants credentials.
        StoreError: the disk of the cache refuses, or the object is larger than the cache may be.
    """
    place = addresses.of(path)
    if place is None:
        yield Path(path)
        return
    try:
        known = version or size_and_version(place)
    except OSError:
        raise VideoError(f"{place}: no such object") from None
    cached = _cached(place, known)
    folder = cached.parent
    held = folder / "in-use" / f"{uuid.uuid4().hex}{Path(place).suffix}"
    try:
        try:
            held.parent.mkdir(parents=True, exist_ok=True)
            _hold(cached, held, place, known[0])
        except OSError as error:
            raise StoreError(
                f"cannot write to {folder}: {error.strerror or error}; what was stored stays valid: make room, set "
                f"KSHOT_CACHE_BYTES lower or KSHOT_HOME to a larger disk, then run the same command again"
            ) from None
        yield held
    finally:
        held.unlink(missing_ok=True)


def keep(file: Path, place: str, version: Version) -> None:
    """Makes a file that was put at an address the cached one of its object. It is moved, or removed if that cannot be.

    Args:
        file: in the file system of the cache, so that nothing is copied.
        place: its address.
        version: size and version by which `local` is asked for it.
    """
    cached = _cached(place, version)
    with suppress(OSError):
        if version[0] <= bound():
            (cached.parent / "in-use").mkdir(parents=True, exist_ok=True)
            _evict(cached.parent, version[0])
            os.replace(file, cached)
    file.unlink(missing_ok=True)


def _cached(place: str, version: Version) -> Path:
    size, number = version
    return home() / "objects" / hashlib.sha256(f"{place}\n{size}\n{number}".encode()).hexdigest()[:32]


def _hold(cached: Path, held: Path, place: str, size: int) -> None:
    """Makes `held` a name of the object's file, fetched where it is not there."""
    if size > bound():
        raise StoreError(
            f"{place} has {size:,} bytes, the cache of objects may have {bound():,}: set KSHOT_CACHE_BYTES higher"
        )
    try:
        os.link(cached, held)
        os.utime(cached)  # used now
        return
    except OSError:
        if cached.exists():  # a file system without second names
            held.write_bytes(cached.read_bytes())
            return
    _evict(cached.parent, size)
    _fetch(place, held, size)
    with suppress(OSError):
        os.link(held, cached)


def _fetch(place: str, target: Path, size: int) -> None:
    try:
        with _answering(place):
            system, key = _system(place)
            system.get_file(key, str(target))
    except FileNotFoundError:
        raise VideoError(f"{place}: no such object") from None
    if (found := target.stat().st_size) != size:
        raise DataError(f"{place} was cut off: {found:,} of {size:,} bytes came")


def _evict(folder: Path, room: int) -> None:
    """Removes what was used longest ago until there is room, and what processes that were killed have held."""
    files = []
    for entry in os.scandir(folder):
        with suppress(OSError):
            if entry.is_file():
                found = entry.stat()
                files.append((found.st_mtime_ns, found.st_size, entry.path))
    total = sum(size for _, size, _ in files) + room
    for _, size, path in sorted(files):
        if total <= bound():
            break
        with suppress(OSError):
            os.unlink(path)
        total -= size
    for entry in os.scandir(folder / "in-use"):
        with suppress(OSError):
            if time.time() - entry.stat().st_ctime > ABANDONED:
                os.unlink(entry.path)


def bound() -> int:
    """Bytes that fetched objects may take on disk.

    Raises:
        OptionError: $KSHOT_CACHE_BYTES is no number.
    """
    text = os.environ.get("KSHOT_CACHE_BYTES") or str(CACHE_BYTES)
    if not text.isdecimal():
        raise OptionError(f"KSHOT_CACHE_BYTES is a number of bytes such as {CACHE_BYTES}, found '{text}'")
    return int(text)


# fsspec


def _about(place: str) -> Mapping[str, Any]:
    with _answering(place):
        system, key = _system(place)
        found: Mapping[str, Any] = system.info(key)
    return found


def _system(place: str) -> tuple[Any, str]:
    """The file system of an address, and the object's name there."""
    from fsspec.core import url_to_fs

    system, key = url_to_fs(place)
    return system, key


@contextmanager
def _answering(place: str, done: str = "read") -> Iterator[None]:
    """Puts into one line what a store, or a package that is missing, can say; an object that is not there and a full
    disk stay errors of the system. `done` is what was to be done with the object."""
    try:
        yield
    except FileNotFoundError:
        raise
    except ImportError as error:
        raise DataError(f"{place}: {_line(error)} (pip install 'kshot[cloud]' for s3://)") from None
    except ValueError as error:
        raise DataError(f"{place} is no address that can be opened: {_line(error)}") from None
    except PermissionError as error:
        if error.filename is not None:
            raise  # of a file here
        raise Refused(f"{place} may not be {done}: {_line(error)}: are the right credentials set?") from None
    except Exception as error:  # each package has errors of its own
        if isinstance(error, OSError) and (error.filename is not None or error.errno in (errno.ENOSPC, errno.EDQUOT)):
            raise  # of a file here, or its disk is full
        credentials = "redential" in str(error) or "redential" in type(error).__name__
        what = "wants credentials" if credentials else "does not answer"
        raise DataError(f"{place} {what}: {_line(error)}") from None


def _line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
