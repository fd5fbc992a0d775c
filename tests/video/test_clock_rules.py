"""When frames appear: the rule of a constant rate against a slow reading of it, wherever a clip's times begin."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from kshot.video import frames as frames_module
from kshot.video.clock import Clock, Scan, clock

MILLISECOND = Fraction(1, 1000)


def is_constant(pts: list[int]) -> bool:
    """The rule in exact numbers: less than an interval from its place, and no interval beyond two of the least."""
    if len(pts) < 2:
        return True
    mean = Fraction(pts[-1] - pts[0], len(pts) - 1)
    steps = [later - earlier for earlier, later in pairwise(pts)]
    drift = max(abs(time - pts[0] - mean * number) for number, time in enumerate(pts))
    return drift < mean and max(steps) <= 2 * min(steps) + 1


def series(*steps: int, first: int = 0) -> np.ndarray:
    return first + np.cumsum([0, *steps], dtype=np.int64)


def test_a_constant_rate_is_what_the_slow_rule_calls_so() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(500):
        jitter = int(rng.integers(1, 40))
        pts = series(*rng.integers(20, 20 + jitter, rng.integers(1, 25)).tolist(), first=int(rng.integers(-500, 500)))
        constant = clock(pts, 20, MILLISECOND).times is None
        assert constant == is_constant(pts.tolist()), pts.tolist()
        seen.add(constant)
    assert seen == {True, False}


@pytest.mark.parametrize("first", [-90_000, 0, 1, 90_000])
def test_it_does_not_matter_when_a_clip_begins(first: int) -> None:
    assert clock(series(40, 40, 40, 40, first=first), 40, MILLISECOND) == Clock(5)
    uneven = clock(series(40, 400, 40, first=first), 70, MILLISECOND)
    assert uneven.times is not None and uneven.times.tolist() == [0, 40, 440, 480, 550]


@pytest.mark.parametrize(
    ("steps", "constant"),
    [
        ((10, 21, 10, 21), True),  # two intervals and the rounding of one unit
        ((10, 22, 10, 22), False),
        ((1, 3), True),
        ((1, 4), False),
        ((50,), True),  # two frames have one interval
    ],
)
def test_the_longest_interval_may_be_two_of_the_shortest_and_a_unit(steps: tuple[int, ...], constant: bool) -> None:
    assert (clock(series(*steps), 1, MILLISECOND).times is None) == constant


def test_a_slow_drift_of_a_whole_interval_is_a_variable_rate() -> None:
    faster = series(*[20] * 10, *[30] * 10)  # each interval is near the others, their sum is not
    found = clock(faster, 25, MILLISECOND)
    assert found.times is not None and found.times[10] == 200 and found.times[-1] == 525
    assert clock(series(*[20, 30] * 10), 25, MILLISECOND).times is None


@pytest.mark.parametrize(("length", "last"), [(33, 33), (1, 1), (0, 1), (-5, 1)])
def test_the_last_frame_is_on_show_for_a_moment_at_least(length: int, last: int) -> None:
    times = clock(series(10, 500, 10), length, MILLISECOND).times
    assert times is not None and times[-1] - times[-2] == last


def test_a_scan_hands_its_own_length_and_base_to_its_clock() -> None:
    about = {"exact": True, "keyframes": np.array([0]), "width": 8, "height": 6, "seconds": 1.0}
    uneven = Scan(frames=3, pts=series(10, 80), time_base=Fraction(1, 50), length=7, **about)  # type: ignore[arg-type]
    assert uneven.clock.times is not None
    assert (uneven.clock.times.tolist(), uneven.clock.base, uneven.clock.count) == ([0, 10, 90, 97], 0.02, 3)
    even = Scan(frames=3, pts=series(10, 10), time_base=Fraction(1, 50), **about)  # type: ignore[arg-type]
    assert even.clock == Clock(3, None, 1.0) and even.fps == 3.0


def test_a_clock_of_a_constant_rate_says_the_place_of_each_frame_alone() -> None:
    """The same choice of frames with and without times, where the times are even."""
    rng = np.random.default_rng(1)
    for _ in range(100):
        count, frames = int(rng.integers(1, 40)), int(rng.integers(1, 12))
        at = rng.uniform(0, 1, frames)
        plain = frames_module._moments(Clock(count), at)
        timed = frames_module._moments(Clock(count, np.arange(count + 1) * 512, 1 / 12_800), at)
        assert plain.tolist() == timed.tolist()


def test_clocks_and_scans_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Clock(3).count = 4  # type: ignore[misc]
    scan = Scan(1, True, np.array([0]), np.array([0]), Fraction(1), 8, 8, 1.0)
    with pytest.raises(AttributeError):
        scan.frames = 4  # type: ignore[misc]
    assert scan.length == 1
