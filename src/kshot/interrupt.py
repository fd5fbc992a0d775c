"""Ctrl-C pressed more than once: the first stops the work, and the next ones do not disturb it while it ends in order.

A second KeyboardInterrupt in the middle of the first one's clearing up could leave half of it undone, and would come
out as a traceback from wherever it struck.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

GRACE = 2.0  # seconds for ending in order, in which further Ctrl-Cs are passed over
_since: list[float] = []


def once(number: int, frame: object) -> None:
    """A handler: interrupts once; later than `GRACE` seconds after that, the process ends where it is.

    Everything on disk is written whole or not at all, so that an end at any moment loses only what was being done.
    """
    if not _since:
        _since.append(time.monotonic())
        raise KeyboardInterrupt
    if time.monotonic() - _since[0] > GRACE:
        os.write(2, b"\nkshot: ended at once; what was written is kept\n")
        os._exit(130)


def usual() -> bool:
    """Whether Ctrl-C means what it usually does, in the thread that sees it."""
    known = signal.getsignal(signal.SIGINT) in (signal.default_int_handler, once)
    return known and threading.current_thread() is threading.main_thread()


@contextmanager
def only_once(last: bool) -> Iterator[None]:
    """Inside, Ctrl-C interrupts once; where it did, the process is to end, and this goes on until it has.

    Args:
        last: whether the process ends afterwards.
    """
    if not usual():
        yield
        return
    _since.clear()
    before = signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        if not (last and _since):
            signal.signal(signal.SIGINT, before)
        if not last:
            _since.clear()


def expect_none() -> None:
    """Interrupts again where the work goes on although Ctrl-C was pressed: some library has passed over the first one.

    Python itself drops what is raised in a finalizer, and C code may drop what is raised while it looks up a name. For
    where new work begins, which nothing that ends in order does.
    """
    if _since and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def tell() -> None:
    """Says that Ctrl-C ended the work."""
    print("kshot: stopped; what was done is kept, the same command goes on (train: with --resume)", file=sys.stderr)


def stopped() -> int:
    """Exit code of Ctrl-C before `only_once` was there, while Python still imports: said once, further ones are passed
    over."""
    deaf = False
    while not deaf:
        try:
            signal.signal(signal.SIGINT, lambda *_: None)  # takes one that is on its way
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # and this lasts while Python ends
            deaf = True
        except KeyboardInterrupt:  # the next one was quicker
            continue
        except ValueError:  # only the main thread may say what a signal does
            deaf = True
    tell()
    return 130
