"""One clock: frames are chosen by the time at which they are on show, in clips as in timelines."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from kshot import video
from kshot.video import container
from kshot.video import frames as frames_module
from kshot.video.clock import Clock, clock
from kshot.video.opening import opened
from scenes import STILL, everything, scene, write


def chosen(path: Path, frames: int = 8) -> list[int]:
    clip = opened(path)
    try:
        return clip.frames(lambda clock: frames_module._moments(clock, np.full(frames, 0.5)))[0].tolist()
    finally:
        clip.close()


def test_constant_rates_give_the_frames_that_the_old_formula_gave(shared: Path) -> None:
    """All 420 clips of J-HMDB, for the frames of every benchmark: what stores hold of them stays valid."""
    with (shared / "clips" / "clips.csv").open(newline="") as file:
        paths = [shared / "clips" / row["path"] for row in csv.DictReader(file) if row["dataset"] == "jhmdb"]
    assert len(paths) == 420
    for path in paths:
        scan = video.scan(path)
        assert scan.clock.times is None and scan.clock.count == scan.frames, path
        for frames in (4, 8, 16):
            old = [int((2 * i + 1) * scan.frames / (2 * frames)) for i in range(frames)]
            assert frames_module._moments(scan.clock, np.full(frames, 0.5)).tolist() == old, path


def test_one_show_at_a_variable_and_at_a_constant_rate(tmp_path: Path) -> None:
    shown = scene(36)
    held = [max(j for j, tick in enumerate(STILL) if tick <= k) for k in range(120)]
    variable = write(tmp_path / "variable.mp4", shown, times=STILL)
    constant = write(tmp_path / "constant.mp4", shown[held])
    assert [held[k] for k in chosen(constant)] == chosen(variable) == [7, 22, 29, 30, 31, 32, 33, 34]
    by_number = video.choose(36, 8).tolist()
    assert chosen(variable) != by_number
    np.testing.assert_array_equal(video.read(variable), everything(variable)[chosen(variable)])


@pytest.mark.parametrize("name", ["variable.mp4", "variable.mkv", "variable.flv", "variable.webm"])
@pytest.mark.parametrize("frames", [1, 4, 8])
def test_clips_and_timelines_keep_the_same_time(tmp_path: Path, name: str, frames: int) -> None:
    codec = "libvpx" if name.endswith("webm") else "libx264"
    path = write(tmp_path / name, scene(36), codec, times=STILL)
    clip = opened(path)
    assert isinstance(clip, container.File)
    clocks: list[Clock] = []
    clip.frames(lambda told: clocks.append(told) or np.zeros(1, np.int64))  # type: ignore[func-returns-value]
    assert clocks[0].times is not None
    seconds = float(clocks[0].times[-1]) * clocks[0].base
    samples = video.Samples(path, seconds / frames)
    found = dict(samples)
    assert samples.seconds == pytest.approx(seconds, abs=0.01)
    held = [max(k for k in found if k <= interval) for interval in range(frames)]
    np.testing.assert_array_equal(np.stack([found[k] for k in held]), video.read(path, frames))


def test_random_moments_are_moments_too(tmp_path: Path) -> None:
    """Where one frame is on show for most of the time, most random choices fall on it."""
    path = write(tmp_path / "clip.mp4", scene(12), times=[*range(11), 100], bf="0")
    rng = np.random.default_rng(0)
    found = np.stack([video.read(path, 4, "random", rng) for _ in range(20)])
    truth = everything(path)
    numbers = [[int(np.abs(truth - image.astype(int)).sum((1, 2, 3)).argmin()) for image in clip] for clip in found]
    assert all(clip[1:3] == [10, 10] and clip[3] >= 10 for clip in numbers)
    assert len({clip[0] for clip in numbers}) > 3


def test_rounded_times_and_a_dropped_frame_are_of_constant_rate(tmp_path: Path) -> None:
    """Milliseconds of Matroska at 30 a second, and one frame that a camera dropped."""
    for times in (np.rint(np.arange(90) * 1000 / 30), np.delete(np.arange(90), 40)):
        pts = times.astype(np.int64)
        assert clock(pts, 1, Fraction(1, 1000)).times is None
    assert clock(np.array(STILL), 1, Fraction(1, 30)).times is not None
    assert clock(np.array([5]), 1, Fraction(1, 30)) == Clock(1)
    assert clock(np.array([0, 1, 5]), 1, Fraction(1, 30)).times is not None
