"""Progress: silent unless asked for, and on stderr alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from rich import progress as rich_progress

from kshot import progress
from kshot.progress import Bars, bars, clock, lines, quiet, span
from kshot.terminal import console


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet("working", 3, "clips") as step:
        step()
        step(2, note="a note")
    assert capsys.readouterr() == ("", "")


def test_bars_show_count_unit_and_note_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with bars("extracting x", 4, "clips") as step:
        step()
        step(2, note="1 unreadable")
        step()
    out, err = capsys.readouterr()
    assert out == ""
    assert "extracting x" in err and "4/4 clips" in err and "1 unreadable" in err, "a note stays until the next"


def test_bars_within_bars_end_with_the_outer_one(capsys: pytest.CaptureFixture[str]) -> None:
    with bars("outer", 2, "rows") as outer:
        for _ in range(2):
            with bars("inner", 3, "steps") as inner:
                inner(3)
            outer()
    assert "2/2 rows" in capsys.readouterr().err
    with bars("again", 1, "rows") as step:
        step()
    assert "1/1 rows" in capsys.readouterr().err


def test_bars_close_when_the_work_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), bars("outer", 2, "rows"), bars("inner", 2, "steps"):
        raise KeyboardInterrupt
    capsys.readouterr()
    with bars("again", 1, "rows") as step:
        step()
    assert "1/1 rows" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00.0"), (59.96, "1:00.0"), (3725.25, "1:02:05.2")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Bars, list[float]]]:
    """Bars whose clock stands still until it is moved, on a screen that only keeps what it is told."""
    now = [0.0]
    made = Bars()

    def opened() -> Any:
        assert made._screen is None, "one screen for all bars that are open"
        return rich_progress.Progress(get_time=lambda: now[0], console=console(stderr=True), auto_refresh=False)

    monkeypatch.setattr(progress, "_screen", opened)
    yield made, now


def test_the_rate_is_over_all_of_the_time_so_far(screen: tuple[Bars, list[float]]) -> None:
    made, now = screen
    with made("extracting", 10, "clips") as step:
        (bar,) = made._screen.tasks
        assert (bar.description, bar.total, bar.fields) == (
            "extracting", 10, {"unit": "clips", "rate": "", "note": ""},
        )  # fmt: skip
        step()
        assert (bar.completed, bar.fields["rate"]) == (1, ""), "no time, no rate"
        now[0] = 2.0
        step(4)
        assert (bar.completed, bar.fields["rate"]) == (5, "2.5/s")
        now[0] = 9.0
        step(1, note="1 unreadable")
        assert (bar.fields["rate"], bar.fields["note"]) == ("0.667/s", "1 unreadable")
        step()
        assert (bar.completed, bar.fields["note"]) == (7, "1 unreadable"), "a note stays until the next"


def test_an_inner_bar_goes_away_and_the_outer_one_moves_on(screen: tuple[Bars, list[float]]) -> None:
    made, _ = screen
    with made("outer", 2, "rows") as outer:
        with made("inner", 3, "steps") as inner:
            inner(2)
            outer()
            assert [(bar.description, bar.completed) for bar in made._screen.tasks] == [("outer", 1), ("inner", 2)]
        assert [bar.description for bar in made._screen.tasks] == ["outer"]
        outer()
        assert made._screen.tasks[0].completed == 2
    assert made._screen is None and made._open == 0


def test_what_a_bar_shows_is_text_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with bars("[red]title", 4, "clips") as step:
        step(3, note="[bold]note")
        (bar,) = bars._screen.tasks
        shown = console(width=200)
        shown.print(bars._screen.make_tasks_table([bar]))
    out, _ = capsys.readouterr()
    assert "[red]title" in out and "[bold]note" in out and " 3/4 clips " in out and " left " in out
    assert "━" * 12 in out and "━" * 25 not in out, "24 characters wide"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (9.94, "0:09.9"),
        (9.96, "0:10.0"),
        (60, "1:00.0"),
        (3599.9, "59:59.9"),
        (3599.96, "1:00:00.0"),
        (36_000, "10:00:00.0"),
    ],
)
def test_tenths_carry_over_to_seconds_minutes_and_hours(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("note", ["", "the mean clip of each class and how it changes"])
def test_count_and_time_left_are_whole_at_any_width(
    width: int, note: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 80 columns the time left was cut to "0:..."."""
    now = [0.0]
    with bars("comparing methods of a data set with a long name", 1210, "lessons") as step:
        (bar,) = bars._screen.tasks
        monkeypatch.setattr(type(bar), "get_time", lambda self: now[0], raising=False)
        bar._get_time, bar.start_time = (lambda: now[0]), 0.0
        for second in range(1, 6):
            now[0] = float(second)
            step(80, note)
        shown = console(width=width)
        capsys.readouterr()
        shown.print(bars._screen.make_tasks_table([bar]))
        line = capsys.readouterr().out.splitlines()
        bars._screen.remove_task(bar.id)
    assert len(line) == 1 and len(line[0]) <= width and " 400/1210 lessons " in line[0]
    assert re.search(r" 0:00:05 left \d:\d\d:\d\d( |$)", line[0]), line
    assert "comparing" in line[0] and (width < 80 or "80/s" in line[0])
    assert width < 120 or note[:20] in line[0]


def test_piped_work_is_told_in_lines_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with lines("extracting clips", 200, "clips") as step:
        for second in range(1, 401):
            now[0] += 1
            step(0.5, "3 unreadable" if second == 150 else "")
    out, err = capsys.readouterr()
    told = err.splitlines()
    assert out == "" and told[0] == "extracting clips: 20/200 clips, 0.5/s, 0:06:00 left"
    assert told[2].endswith(" left") and told[3].endswith("80/200 clips, 0.5/s, 0:04:00 left, 3 unreadable")
    assert told[-1] == "extracting clips: 200/200 clips, 0.5/s, 3 unreadable" and len(told) == 10


def test_slow_work_is_told_each_minute_and_quick_work_not_at_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with lines("training", 1000, "steps") as step:
        for _ in range(11):
            now[0] += 11
            step()
    assert capsys.readouterr().err.splitlines() == [
        "training: 6/1000 steps, 0.0909/s, 3:02:14 left",
        "training: 11/1000 steps in 0:02:01",
    ]
    with lines("quick", 10, "steps") as step:
        for _ in range(10):
            now[0] += 0.9
            step()
    assert capsys.readouterr() == ("", "")
    assert [span(s) for s in (0.4, 59.9, 3600)] == ["0:00:00", "0:00:59", "1:00:00"]
