"""The progress that the page shows, and the way to stop the work."""

from __future__ import annotations

import pytest

from kshot.studio.meter import Bar, Cancelled, Meter


def test_a_bar_inside_moves_the_outer_one_on_and_never_back() -> None:
    seen: list[Bar | None] = []
    meter = Meter(lambda: seen.append(meter.shown))
    with meter("comparing", 4, "folds") as outer:
        outer(2, note="otam")
        with meter("learning", 10, "") as inner:
            inner(5)
        with meter("validating", 10, "") as inner:
            inner(1)
            inner(8)
        outer(2)
    assert seen == [
        Bar("comparing", 4, "folds"),
        Bar("comparing", 4, "folds", 2, "otam"),
        Bar("comparing", 4, "folds", 2, "learning"),
        Bar("comparing", 4, "folds", 2.5, "learning"),
        Bar("comparing", 4, "folds", 2.5, "otam"),
        Bar("comparing", 4, "folds", 2.5, "validating"),
        Bar("comparing", 4, "folds", 2.5, "validating"),
        Bar("comparing", 4, "folds", 2.9, "validating"),
        Bar("comparing", 4, "folds", 2.9, "otam"),
        Bar("comparing", 4, "folds", 4, "otam"),
    ]


def test_a_bar_after_another_starts_at_nothing() -> None:
    meter = Meter(lambda: None)
    with meter("extracting", 2, "clips") as step:
        step(2)
    with meter("comparing", 4, "folds"):
        assert meter.shown == Bar("comparing", 4, "folds")


def test_stopped_at_the_next_step() -> None:
    meter = Meter(lambda: None)
    with pytest.raises(Cancelled), meter("learning", 10, "steps") as step:
        step()
        meter.stop.set()
        step()
    assert meter.shown == Bar("learning", 10, "steps", 1) and not issubclass(Cancelled, Exception)
