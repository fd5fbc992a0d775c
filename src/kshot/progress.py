"""One way to show long work: a rich bar on stderr with rate and time left, or nothing, which is the default."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from kshot.terminal import console, harmless

Step = Callable[..., None]
"""`step(done=1, note="")`: moves a bar on by `done` units and may change its note."""

Progress = Callable[[str, float, str], AbstractContextManager[Step]]
"""Opens a bar: `with progress("extracting", total, "clips") as step: step()`."""


@contextmanager
def quiet(title: str, total: float, unit: str) -> Iterator[Step]:
    """Shows nothing; a `Progress`.

    Args:
        title: of the bar.
        total: units of work.
        unit: what they are.
    """

    def step(done: float = 1, note: str = "") -> None:
        pass

    yield step


class Bars:
    """Shows bars on stderr: title, done / total, rate, time left and a note (loss, accuracy ...).

    Bars opened while another is open appear below it and go away when they are done.
    """

    def __init__(self) -> None:
        self._screen: Any = None
        self._open = 0

    @contextmanager
    def __call__(self, title: str, total: float, unit: str) -> Iterator[Step]:
        if self._screen is None:
            self._screen = _screen()
            self._screen.start()
        screen, self._open = self._screen, self._open + 1
        task = screen.add_task(harmless(title), total=total, unit=unit, rate="", note="")

        def step(done: float = 1, note: str = "") -> None:
            bar = screen.tasks[screen.task_ids.index(task)]
            # Over all of it: the bar's own speed is nonsense when several are done at once.
            rate = f"{(bar.completed + done) / bar.elapsed:.3g}/s" if bar.elapsed else ""
            screen.update(task, advance=done, rate=rate, note=harmless(note) or bar.fields["note"])

        try:
            yield step
        finally:
            self._open -= 1
            if self._open:
                screen.remove_task(task)
            else:
                screen.stop()
                self._screen = None


bars = Bars()


def clock(seconds: float) -> str:
    """Minutes and seconds, hours where there are some: 1:02.5.

    >>> clock(62.5), clock(3661.04)
    ('1:02.5', '1:01:01.0')
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest / 10:04.1f}"


def _screen() -> Any:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    return Progress(*columns, console=console(stderr=True), refresh_per_second=4)
