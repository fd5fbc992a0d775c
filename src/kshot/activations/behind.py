"""Work that goes on behind another's back: in a thread of its own, in order, a few things at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Queue
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

WAITING = 2  # things that may wait


class Behind(Generic[T]):
    """Does something with each thing that it is given. Leaving the block waits until all of it is done.

    Args:
        work: what to do with a thing. After its first error nothing more is done.
        waiting: how many things may wait; `put` waits for room.

    Attributes:
        waited: seconds that `put` waited for room.

    Raises:
        BaseException: what `work` raised, from the next `put`, or when the block is left without another error.
    """

    def __init__(self, work: Callable[[T], None], waiting: int = WAITING) -> None:
        self._work = work
        self._queue: Queue[tuple[T] | None] = Queue(waiting)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="kshot-behind", daemon=True)
        self.waited = 0.0

    def _run(self) -> None:
        while (given := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._work(*given)
                except BaseException as error:  # whatever it is, it belongs to the thread that waits for it
                    self._error = error
            del given  # the next one may need its memory

    def put(self, thing: T) -> None:
        """Gives it a thing."""
        if self._error is not None:
            raise self._error
        begin = time.monotonic()
        self._queue.put((thing,))
        self.waited += time.monotonic() - begin

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pressed: BaseException | None = None
        asked = False
        while self._thread.is_alive():
            try:
                if not asked:
                    self._queue.put(None)
                    asked = True
                self._thread.join()
            except KeyboardInterrupt as again:  # what was given is finished all the same
                pressed = again
        if kind is None and (pressed or self._error):
            raise pressed or self._error  # type: ignore[misc]
