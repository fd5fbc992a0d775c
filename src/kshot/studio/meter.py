"""How far the training is, for the page, and the way to stop it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from kshot.progress import Step


class Cancelled(BaseException):
    """Ends work from within: no handler of errors may take it for one."""


@dataclass(frozen=True)
class Bar:
    """A bar of progress at one moment.

    Attributes:
        title: what is being done.
        total: units of all of it.
        unit: what is counted; "" for nothing that is worth a number.
        done: units that are done.
        note: what is special about the last step.
    """

    title: str
    total: float
    unit: str
    done: float = 0.0
    note: str = ""


class Meter:
    """A `kshot.progress.Progress` that the page shows, and through which it can stop the work.

    The outermost bar is shown; one that is opened inside it moves it on by a part of its next unit, and never back.

    Args:
        notify: called whenever there is something new to show.

    Attributes:
        shown: the outermost bar; None before the first.
        stop: set to end the work at its next step.
    """

    def __init__(self, notify: Callable[[], None]) -> None:
        self.shown: Bar | None = None
        self.stop = threading.Event()
        self._notify = notify
        self._open: list[Bar] = []

    @contextmanager
    def __call__(self, title: str, total: float, unit: str) -> Iterator[Step]:
        level = len(self._open)
        self._open.append(Bar(title, total, unit))
        self._show(anew=level == 0)

        def step(done: float = 1, note: str = "") -> None:
            bar = self._open[level]
            self._open[level] = replace(bar, done=bar.done + done, note=note or bar.note)
            self._show()

        yield step
        del self._open[level:]
        if self._open:
            self._show()

    def _show(self, anew: bool = False) -> None:
        if self.stop.is_set():
            raise Cancelled
        first, *inside = self._open
        done = first.done + sum(min(1.0, bar.done / bar.total) for bar in inside[:1] if bar.total)
        done = min(done, max(first.total, first.done))
        if self.shown is not None and not anew:
            done = max(done, self.shown.done)
        self.shown = replace(first, done=done, note=inside[-1].title if inside else first.note)
        self._notify()
