"""Files that are written whole or not at all, and what a disk can refuse, in words."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kshot.errors import StoreError


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


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turns what a disk can refuse while `path` is written into a StoreError of one line."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write to {path}: {error.strerror or error} ({_free(path)}); what was written before stays valid: "
            f"make room or name another place, then run the same command again"
        ) from None


def _free(path: Path) -> str:
    try:
        place = next(p for p in (path, *path.absolute().parents) if p.exists())
        return f"{shutil.disk_usage(place).free / 1e9:.1f} GB free"
    except OSError:
        return "free space unknown"
