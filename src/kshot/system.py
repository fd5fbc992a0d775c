"""What only some systems have, and what is done without it: alarms, `/proc`, pipes to wait for, files at a place.

Nothing else in kshot asks which system it runs on. Windows has no `signal.alarm`, `os.preadv` or `os.pwrite`, and
cannot wait for a pipe; `/proc` is Linux alone. Locks are filelock's business, see `kshot.files`.
"""

from __future__ import annotations

import mmap
import os
import platform
import selectors
import shutil
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

PROC = Path("/proc")
WINDOWS = sys.platform == "win32"
_places = threading.Lock()  # of files whose place must be set before they are read or written
_timer: threading.Timer | None = None


def leave_ctrl_c_to_the_parent() -> None:
    """In a child process: Ctrl-C is the parent's business, and an alarm ends the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def end_after(seconds: float) -> None:
    """Ends this process once so many seconds have gone by, whatever it is doing then; 0 takes that back.

    Where the kernel has no alarm a thread watches the clock. It cannot end what never lets another thread run.
    """
    global _timer
    whole = int(min(seconds, 1e6))
    if hasattr(signal, "alarm"):
        signal.alarm(whole)
        return
    if _timer is not None:
        _timer.cancel()
    _timer = threading.Timer(whole, os._exit, (1,)) if whole else None
    if _timer is not None:
        _timer.daemon = True
        _timer.start()


def read_some(pipe: Any, view: memoryview, deadline: float) -> int:
    """Reads what a raw pipe has into a buffer, and waits for it until a moment.

    Args:
        pipe: a raw file.
        view: the buffer.
        deadline: the moment, as `time.monotonic()` counts.

    Returns:
        Bytes read; 0 at the end of the pipe.

    Raises:
        TimeoutError: nothing came. Where a pipe cannot be waited for, a thread goes on reading: close the other end.
    """
    left = max(0.0, deadline - time.monotonic())
    if not WINDOWS:  # there only sockets can be waited for
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            if not selector.select(left):
                raise TimeoutError
        return int(pipe.readinto(view) or 0)
    counts: list[int] = []

    def fill() -> None:
        try:
            counts.append(int(pipe.readinto(view[: 1 << 20]) or 0))
        except (OSError, ValueError):  # closed meanwhile
            counts.append(0)

    reading = threading.Thread(target=fill, daemon=True)
    reading.start()
    reading.join(left)
    if not counts:
        raise TimeoutError
    return counts[0]


def read_at(file: Any, view: memoryview, place: int) -> int:
    """Reads bytes at a place of a file, as several threads may at once.

    Args:
        file: unbuffered.
        view: the buffer that is filled.
        place: in the file, in bytes.

    Returns:
        Bytes read; 0 at the end of the file.
    """
    if hasattr(os, "preadv"):
        return os.preadv(file.fileno(), [view], place)
    with _places:
        file.seek(place)
        return int(file.readinto(view) or 0)


def write_at(file: Any, data: memoryview, place: int) -> int:
    """Writes bytes at a place of a file.

    Args:
        file: unbuffered.
        data: the bytes.
        place: in the file, in bytes.

    Returns:
        How many of them were written.
    """
    if hasattr(os, "pwrite"):
        return os.pwrite(file.fileno(), data, place)
    with _places:
        file.seek(place)
        return int(file.write(data) or 0)


def let_go(pages: mmap.mmap) -> None:
    """Lets pages of a mapped file that were looked at no longer count as memory; they are read again when needed."""
    if hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def move_open(path: Path, target: Path) -> None:
    """Moves a file that is open; where no such file can be moved, its content is copied."""
    try:
        os.replace(path, target)
    except PermissionError:
        if not WINDOWS:
            raise
        shutil.copyfile(path, target)


def forget_peak_memory() -> bool:
    """Sets the most memory that this process used back to what it uses now; False where that cannot be done."""
    with suppress(OSError):
        (PROC / "self/clear_refs").write_text("5")
        return True
    return False


def peak_memory() -> int | None:
    """The most bytes that this process used at a time; None where the system does not tell."""
    return _status("VmHWM:")


def used_memory() -> int | None:
    """Bytes that this process uses now; None where the system does not tell."""
    return _status("VmRSS:")


def _status(name: str) -> int | None:
    with suppress(OSError):
        for line in (PROC / "self/status").read_text("utf-8").splitlines():
            if line.startswith(name):
                return 1024 * int(line.split()[1])
    return None


def memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not tell."""
    with suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def processor() -> str:
    """The processor's model where the system tells it, else what Python knows."""
    with suppress(OSError):
        for line in (PROC / "cpuinfo").read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
