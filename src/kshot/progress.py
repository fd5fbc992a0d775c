"""One way to show long work: a bar or now and then a line on stderr, with rate and time left; by default nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from kshot import interrupt
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
        interrupt.expect_none()
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

SOONEST, LATEST, SHARE = 10.0, 60.0, 0.1
"""A line comes when so many seconds and so much of the work went by since the last one, or so many seconds alone."""


@contextmanager
def lines(title: str, total: float, unit: str) -> Iterator[Step]:
    """Shows long work as lines on stderr, for logs and pipes: what is done within ten seconds has none; a `Progress`.

    Args:
        title: of the work.
        total: units of work.
        unit: what they are.
    """
    interrupt.expect_none()
    begun = last = time.monotonic()
    done, shown, said = 0.0, 0.0, ""

    def step(more: float = 1, note: str = "") -> None:
        nonlocal done, shown, last, said
        done, said, now = done + more, note or said, time.monotonic()
        if now - last >= LATEST or (now - last >= SOONEST and done - shown >= SHARE * total):
            rate = done / (now - begun)
            left = f", {span((total - done) / rate)} left" if rate and done < total else ""
            parts = f"{title}: {done:.0f}/{total:.0f} {unit}, {rate:.3g}/s{left}"
            print(f"{parts}, {said}" if said else parts, file=sys.stderr, flush=True)
            last, shown = now, done

    yield step
    if shown and shown < done:
        print(
            f"{title}: {done:.0f}/{total:.0f} {unit} in {span(time.monotonic() - begun)}", file=sys.stderr, flush=True
        )


def span(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> span(62.5), span(36_000)
    ('0:01:02', '10:00:00')
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def clock(seconds: float) -> str:
    """Minutes and seconds, hours where there are some: 1:02.5.

    >>> clock(62.5), clock(3661.04)
    ('1:02.5', '1:01:01.0')
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest / 10:04.1f}"


BAR = 24  # characters of a bar, where there is room
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class _Line:
    """A bar as one line that fits: count and time left are whole at any width, all else makes room.

    Args:
        task: rich's.
    """

    def __init__(self, task: Any) -> None:
        self.task = task

    def __rich_measure__(self, console: Any, options: Any) -> Any:
        from rich.measure import Measurement

        return Measurement(options.max_width, options.max_width)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        task, width = self.task, options.max_width
        remaining = task.time_remaining
        left = f"{span(task.elapsed or 0)} left {'-:--:--' if remaining is None else span(remaining)}"
        count = f"{task.completed:.0f}/{task.total:.0f} {task.fields['unit']}"
        spare = width - len(count) - len(left) - 4
        title = _shortened(task.description, max(spare - 8, 8))
        spare -= len(title) + 1
        rate = task.fields["rate"] if len(task.fields["rate"]) < spare else ""
        spare -= len(rate) + bool(rate)
        note = _shortened(task.fields["note"], spare - 2)
        bar = min(BAR, spare - len(note) - 2)
        line = Text(_spin(task, options.ascii_only), "progress.spinner", no_wrap=True, overflow="crop").append(
            f" {title} ", "default"
        )
        if bar > 2:
            full, sign = round(bar * task.percentage / 100), "-" if options.ascii_only else "━"
            line.append(sign * full, "bar.complete" if full < bar else "bar.finished")
            line.append(sign * (bar - full), "bar.back").append(" ")
        line.append(" ".join(filter(None, (count, rate, left, note))), "default")
        yield line


def _spin(task: Any, plain: bool) -> str:
    signs = "-\\|/" if plain else SPINNER
    return " " if task.finished else signs[int(12.5 * task.get_time()) % len(signs)]


def _shortened(text: str, most: int) -> str:
    """A text of so many characters at most; "" where that is too few to say anything."""
    if len(text) <= most:
        return text
    return f"{text[: most - 3].rstrip()}..." if most >= 8 else ""


def _screen() -> Any:
    from rich.progress import Progress, ProgressColumn

    class Column(ProgressColumn):
        def render(self, task: Any) -> Any:
            return _Line(task)

    return Progress(Column(), console=console(stderr=True), refresh_per_second=4, expand=True)
