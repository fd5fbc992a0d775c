"""That clips may be parts of videos changes nothing for whole files: same bytes, same keys, same frames.

The aggregates were made by the code of f20d438, the last commit that knew no segments, from the 420 clips of J-HMDB
that may lie beside the repository.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kshot import video
from kshot.activations.digests import Digests
from kshot.activations.recipe import Recipe
from kshot.activations.store import Store
from kshot.excerpts import Excerpt
from kshot.video import frames as frames_module
from kshot.video.opening import opened
from scenes import everything, scene, write

pytestmark = pytest.mark.slow

DIGESTS = "d963175eca1c9cb6b1d6103711c00be74cbe3de2a34f80579785dba481487afc"
SCANS = "8b071a19b5726bc97e726336436fb798ba0b1462e07aae4b35188b08e162f1f4"
CHOICES = "ab46a115919c05081daa1857c26e4755bdd5c20d63ca9ee2832e90f0b052b2c2"
FOLDERS = "17a88fd71ce1294ef089af6da17c9eef90380bc1d58e7d039f8eda35d2524296"
FRAMES = (1, 4, 8, 16)


def aggregate(lines: Iterable[object]) -> str:
    return hashlib.sha256("\n".join(map(str, lines)).encode()).hexdigest()


@pytest.fixture(scope="module")
def clips(shared: Path) -> list[Path]:
    with (shared / "clips" / "clips.csv").open(newline="") as file:
        return [shared / "clips" / row["path"] for row in csv.DictReader(file) if row["dataset"] == "jhmdb"]


def places(frames: int) -> list[np.ndarray]:
    """Where in its stretch each frame is taken: by tests, and by two draws of training."""
    drawn = [frames_module._places(frames, "random", np.random.default_rng((frames, draw))) for draw in range(2)]
    return [frames_module._places(frames, "middle", None), *drawn]


def chosen(clip: Path | Excerpt, given: np.ndarray) -> list[int]:
    with closing(opened(clip)) as file:
        indices: list[int] = file.frames(lambda clock: frames_module._moments(clock, given))[0].tolist()
        return indices


def by_number(count: int, given: np.ndarray) -> list[int]:
    """The rule for a constant rate, in fractions: of each equal stretch of 0..count-1 the frame at its place."""
    return [int((i + Fraction(float(place))) * count / len(given)) for i, place in enumerate(given)]


def by_moment(times: list[Fraction], length: Fraction, given: np.ndarray) -> list[int]:
    """The rule for a segment, in fractions: the last frame that has appeared at each moment, to a millionth second."""
    moments = [(i + Fraction(float(place))) * length / len(given) for i, place in enumerate(given)]
    return [max(k for k, time in enumerate(times) if time <= moment + Fraction(1, 10**6)) for moment in moments]


def test_keys_of_whole_files_are_those_of_before(clips: list[Path], tmp_path: Path) -> None:
    found = Digests(tmp_path / "digests.jsonl").of(clips)
    assert len(clips) == len(set(found)) == 420 and aggregate(found) == DIGESTS
    backbone: Any = SimpleNamespace(size=224, depth=12, fingerprint="0" * 16, precision="float32", encoder="torch")
    recipes = [
        Recipe(cut, frames, view=view, augment=augment)
        for cut in (0, 6, 12)
        for frames in FRAMES
        for view, augment in ((0, ()), (1, ("time",)), (2, ("crop", "flip")))
    ]
    folders = [Store(tmp_path, recipe.key(backbone)).folder.name for recipe in recipes]
    drawn = Recipe(0, view=3, augment=("time",))
    seeds = [drawn.job(clip, 224, digest).seed for clip, digest in zip(clips, found, strict=True)]
    assert aggregate([*folders, *seeds]) == FOLDERS


def test_frames_of_whole_files_are_those_of_before(clips: list[Path]) -> None:
    """By their numbers; none of the clips counts as one of variable rate."""
    scans = [video.scan(clip) for clip in clips]
    assert aggregate((scan.frames, scan.pts.tolist(), scan.time_base, scan.length) for scan in scans) == SCANS
    lines = []
    for clip, scan in zip(clips, scans, strict=True):
        assert scan.clock.times is None
        for frames in FRAMES:
            for given in places(frames):
                lines.append(frames_module._moments(scan.clock, given).tolist())
                assert lines[-1] == by_number(scan.frames, given), clip
    assert aggregate(lines) == CHOICES


def test_pictures_of_whole_files_are_those_at_their_numbers(clips: list[Path]) -> None:
    """Every tenth clip, decoded from end to end by code that shares nothing with kshot."""
    for clip in clips[::10]:
        every = everything(clip)
        for frames in FRAMES:
            wanted = by_number(len(every), np.full(frames, 0.5))
            np.testing.assert_array_equal(video.read(clip, frames), every[wanted], str(clip))


def test_a_segment_of_all_goes_by_the_times_in_the_file(clips: list[Path]) -> None:
    """J-HMDB's files skip about every sixth time. Whole they are of constant rate all the same; a segment, which is cut
    by time, may take the frame before or after."""
    apart = 0
    for clip in clips[::10]:
        scan = video.scan(clip)
        times = [Fraction(int(time)) * scan.time_base for time in scan.pts - scan.pts[0]]
        length = times[-1] + scan.length * scan.time_base
        for frames in FRAMES:
            for given in places(frames)[:2]:
                found = chosen(Excerpt(clip, 0.0, float(length)), given)
                assert found == chosen(Excerpt(clip, 0.0), given) == by_moment(times, length, given), clip
                apart = max(apart, *(abs(a - b) for a, b in zip(found, chosen(clip, given), strict=True)))
    assert apart == 1


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "clip.mkv", "clip.webm"])
def test_a_segment_of_all_is_the_whole_file_at_a_constant_rate(name: str, tmp_path: Path) -> None:
    codec = {"clip.avi": "mpeg4", "clip.webm": "libvpx"}.get(name, "libx264")
    path = write(tmp_path / name, scene(37), codec)
    for frames in FRAMES:
        for given in places(frames):
            wanted = by_number(37, given)
            assert chosen(path, given) == chosen(Excerpt(path, 0.0, 37 / 25), given) == wanted
            assert chosen(Excerpt(path, 0.0), given) == wanted
        np.testing.assert_array_equal(video.read(path, frames), video.read(Excerpt(path, 0.0, 37 / 25), frames))
