"""Which frames are chosen, against slow readings of the rules; and squares cut out of frames."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kshot import video
from kshot.errors import OptionError, VideoError
from kshot.video import FRAMINGS, Framing, Grid, choose, preprocess
from kshot.video import frames as frames_module
from kshot.video.clock import Clock, Scan, clock


def test_the_middle_of_each_segment_in_whole_numbers() -> None:
    for count in (1, 2, 3, 7, 8, 9, 100, 301, 4097):
        for frames in (1, 2, 3, 8, 16, 32):
            slow = [int(Fraction(2 * i + 1, 2) * count / frames) for i in range(frames)]
            assert choose(count, frames).tolist() == slow, (count, frames)


def test_random_frames_lie_in_their_segments_and_come_everywhere() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        found = choose(24, 4, "random", rng)
        assert (found // 6).tolist() == [0, 1, 2, 3]
        seen |= set(found.tolist())
    assert seen == set(range(24))


def test_moments_are_those_of_the_frames_on_show() -> None:
    """Against a search through all frames, in exact numbers."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        count = int(rng.integers(2, 12))
        times = np.append(0, np.cumsum(rng.integers(1, 9, count)))
        frames = int(rng.integers(1, 9))
        slow = []
        for i in range(frames):
            moment = Fraction(2 * i + 1, 2 * frames) * int(times[-1])
            slow.append(max(k for k in range(count) if times[k] <= moment))
        found = frames_module._moments(Clock(count, times, 1.0), np.full(frames, 0.5))
        assert found.tolist() == slow, (times, frames)


def test_a_rate_is_constant_up_to_rounding_and_no_further() -> None:
    second = Fraction(1, 1000)
    even = np.rint(np.arange(60) * 1000 / 29.97).astype(np.int64)
    assert clock(even, 33, second).times is None
    dropped = np.delete(even, 30)
    assert clock(dropped, 33, second).times is None, "cameras drop a frame"
    paused = even.copy()
    paused[30:] += 200
    found = clock(paused, 33, second)
    assert found.times is not None and found.base == 0.001 and found.count == 60
    assert found.times.tolist() == [*(paused - paused[0]).tolist(), paused[-1] - paused[0] + 33]
    assert clock(np.array([5]), 1, second) == Clock(1)


def test_a_scan_tells_seconds_from_its_first_frame() -> None:
    pts = np.array([100, 140, 180, 260])
    scan = Scan(4, True, pts, np.array([0]), Fraction(1, 100), 8, 8, seconds=2.0, length=40)
    assert scan.times.tolist() == pytest.approx([0, 0.4, 0.8, 1.6]) and scan.fps == 2.0


@pytest.mark.parametrize(
    ("count", "frames", "options", "error"),
    [
        (0, 8, {}, VideoError),
        (5, 0, {}, OptionError),
        (5, 2, {"mode": "last"}, OptionError),
        (5, 2, {"mode": "random"}, OptionError),
    ],
)
def test_what_cannot_be_chosen_is_refused(count: int, frames: int, options: dict[str, Any], error: type) -> None:
    with pytest.raises(error):
        choose(count, frames, **options)


def slow_grid(seconds: list[float], end: float, interval: float) -> list[tuple[int, int]]:
    """Interval -> the frame on show in its middle; of intervals that show the same frame, the first."""
    found: list[tuple[int, int]] = []
    number = 0
    while (number + 0.5) * interval < end:
        middle = (number + 0.5) * interval
        shown = [k for k, start in enumerate(seconds) if start <= middle + 1e-9]
        if shown and (not found or found[-1][1] != shown[-1]):
            found.append((number, shown[-1]))
        number += 1
    return found


def test_a_grid_shows_what_is_on_show_in_the_middle_of_its_intervals() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        seconds = [0.0, *np.cumsum(rng.uniform(0.01, 0.5, rng.integers(1, 30))).tolist()]
        end = seconds[-1] + 0.1
        interval = float(rng.uniform(0.05, 0.6))
        grid = Grid(interval)
        due = [grid.add(second, k) for k, second in enumerate(seconds)]
        due.append(grid.end(end))
        assert [one for one in due if one] == slow_grid(seconds, end, interval)
        assert grid.count(end) == sum((k + 0.5) * interval < end for k in range(10_000))


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (32, 32), (33, 100)])
@pytest.mark.parametrize("resize", FRAMINGS)
def test_squares_are_those_of_a_plain_resize_and_crop(size: tuple[int, int], resize: str) -> None:
    """Against the whole picture resized at once by the same filter, then cropped: not a bit differs."""
    framing, side = FRAMINGS[resize], 16
    frames = np.random.default_rng(3).integers(0, 256, (2, size[1], size[0], 3), np.uint8)
    short = round(side * framing.margin)
    long = short if framing.squash else int(short * max(size) / min(size))
    new = (short, long) if size[0] <= size[1] else (long, short)
    for found, frame in zip(preprocess(frames, side, framing), frames, strict=True):
        by = Image.Resampling.BILINEAR if framing.bilinear else Image.Resampling.BICUBIC
        whole = Image.fromarray(frame).resize(new, by)
        left, top = (new[0] - side) // 2, (new[1] - side) // 2
        np.testing.assert_array_equal(found, np.asarray(whole)[top : top + side, left : left + side])


def test_places_of_a_square_reach_both_ends_and_a_mirror_is_a_mirror() -> None:
    frame = np.random.default_rng(4).integers(0, 256, (1, 20, 30, 3), np.uint8)
    first, last = (preprocess(frame, 10, Framing(margin=1.5, place=(p, p))) for p in (0.0, math.nextafter(1, 0)))
    whole = np.asarray(Image.fromarray(frame[0]).resize((22, 15), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(first[0], whole[:10, :10])
    np.testing.assert_array_equal(last[0], whole[5:, 12:])
    np.testing.assert_array_equal(preprocess(frame, 10, Framing(flip=True)), preprocess(frame, 10)[:, :, ::-1])


def test_a_frame_like_a_thread_is_refused() -> None:
    with pytest.raises(VideoError, match="100000x1 is too narrow"):
        preprocess(np.zeros((1, 1, 100_000, 3), np.uint8), 224)


@pytest.mark.parametrize("indices", [[], [[0]], 3])
def test_indices_have_to_be_a_list(indices: Any) -> None:
    with pytest.raises(OptionError, match="expected a list of frame indices"):
        video.frames_at("never-opened.mp4", indices)
