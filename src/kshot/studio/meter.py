"""How far the teaching is, for the page, and the way to stop it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kshot.progress import Step


class Cancelled(BaseException):
    """Ends work from within: no handler of errors may take it for one."""


class Meter:
    """A `kshot.progress.Progress` that the page shows, and through which it can stop the work.

    Attributes:
        shown: {"title", "done", "total", "unit", "note", "since"} of the innermost bar; None before the first.
    """

    def __init__(self, notify: Callable[[], None]) -> None:
        self.shown: dict[str, Any] | None = None
        self.stop = threading.Event()
        self._notify = notify

    @contextmanager
    def __call__(self, title: str, total: float, unit: str) -> Iterator[Step]:
        outer = self.shown
        bar: dict[str, Any] = {"title": title, "done": 0.0, "total": total, "unit": unit, "note": ""}
        self._show(bar)

        def step(done: float = 1, note: str = "") -> None:
            bar["done"] += done
            bar["note"] = note or bar["note"]
            self._show(bar)

        yield step
        self._show(outer or bar)

    def _show(self, bar: dict[str, Any]) -> None:
        if self.stop.is_set():
            raise Cancelled
        self.shown = dict(bar)
        self._notify()
