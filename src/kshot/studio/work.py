"""Threads that write to a project, and how they end: the folder is given up when none is left, not before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kshot.errors import KshotError


class Closing(KshotError):
    """The studio is closing: nothing new begins."""


class Jobs:
    """Knows who is at work. The threads are daemons: a process that has to end does not wait for them.

    Attributes:
        ending: set once nothing new may begin; what runs checks it at each step.
    """

    def __init__(self) -> None:
        self.ending = threading.Event()
        self._changed = threading.Condition()
        self._running = 0

    def start(self, name: str, do: Callable[..., object], *arguments: Any) -> threading.Thread:
        """Does something in a thread of its own. Raises Closing."""
        self._enter()

        def run() -> None:
            try:
                do(*arguments)
            finally:
                self._leave()

        thread = threading.Thread(target=run, name=f"kshot-{name}", daemon=True)
        thread.start()
        return thread

    @contextmanager
    def here(self) -> Iterator[None]:
        """Counts the calling thread, such as that of a request, as long as the block lasts. Raises Closing."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def end(self, seconds: float) -> bool:
        """Lets nothing new begin and waits for what runs; whether all of it has ended."""
        self.ending.set()
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, seconds)

    def _enter(self) -> None:
        with self._changed:
            if self.ending.is_set():
                raise Closing("the studio is closing: start it again, then try again")
            self._running += 1

    def _leave(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()
