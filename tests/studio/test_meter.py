"""The progress that the page shows, and the way to stop the work."""

from __future__ import annotations

import pytest

from kshot.studio.meter import Bar, Cancelled, Meter


def test_the_innermost_bar_is_shown_and_the_outer_one_comes_back() -> None:
    seen: list[Bar | None] = []
    meter = Meter(lambda: seen.append(meter.shown))
    with meter("comparing", 4, "folds") as outer:
        outer(2, note="otam")
        with meter("learning", 10, "") as inner:
            inner()
            inner(3)
    assert seen == [
        Bar("comparing", 4, "folds"),
        Bar("comparing", 4, "folds", 2, "otam"),
        Bar("learning", 10, ""),
        Bar("learning", 10, "", 1),
        Bar("learning", 10, "", 4),
        Bar("comparing", 4, "folds", 2, "otam"),
        Bar("comparing", 4, "folds", 2, "otam"),
    ]


def test_stopped_at_the_next_step() -> None:
    meter = Meter(lambda: None)
    with pytest.raises(Cancelled), meter("learning", 10, "steps") as step:
        step()
        meter.stop.set()
        step()
    assert meter.shown == Bar("learning", 10, "steps", 1) and not issubclass(Cancelled, Exception)
