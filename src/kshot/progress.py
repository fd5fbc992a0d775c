"""One way to show long work: a rich bar on stderr with rate and time left, silent unless asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Step = Callable[..., None]
"""`step(done=1, note="")`: moves a bar on by `done` units and may change its note."""

Progress = Callable[[str, float, str], AbstractContextManager[Step]]
"""Opens a bar: `with progress("extracting", total, "clips") as step: step()`."""


@contextmanager
def quiet(title: str, total: float, unit: str) -> Iterator[Step]:
    """Shows nothing."""

    def step(done: float = 1, note: str = "") -> None:
        pass

    yield step


@contextmanager
def bars(title: str, total: float, unit: str) -> Iterator[Step]:
    """Shows a bar on stderr: title, done / total, rate, time left and a note (loss, accuracy ...)."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as progress:
        task = progress.add_task(title, total=total, unit=unit, rate="", note="")

        def step(done: float = 1, note: str = "") -> None:
            speed = progress.tasks[0].speed
            rate = f"{speed:.3g}/s" if speed else ""
            progress.update(task, advance=done, rate=rate, note=note or progress.tasks[0].fields["note"])

        yield step
