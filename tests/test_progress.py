"""Progress: silent unless asked for, and on stderr alone."""

from __future__ import annotations

import pytest

from kshot.progress import bars, clock, quiet


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
