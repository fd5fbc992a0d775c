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

    Args:
        notify: called whenever there is something new to show.

    Attributes:
        shown: the innermost bar; None before the first.
        stop: set to end the work at its next step.
    """

    def __init__(self, notify: Callable[[], None]) -> None:
        self.shown: Bar | None = None
        self.stop = threading.Event()
        self._notify = notify

    @contextmanager
    def __call__(self, title: str, total: float, unit: str) -> Iterator[Step]:
        outer = self.shown
        bar = Bar(title, total, unit)
        self._show(bar)

        def step(done: float = 1, note: str = "") -> None:
            nonlocal bar
            bar = replace(bar, done=bar.done + done, note=note or bar.note)
            self._show(bar)

        yield step
        self._show(outer or bar)

    def _show(self, bar: Bar) -> None:
        if self.stop.is_set():
            raise Cancelled
        self.shown = bar
        self._notify()
