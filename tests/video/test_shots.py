"""Where shots begin: hard cuts to the frame, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clips import write_video
from kshot.video import Samples
from kshot.video.shots import NEAR, Shots, grey
from kshot.video.workers import Stream


def scene(seed: int, frames: int, still: int = 1) -> np.ndarray:
    """A texture that drifts by two pixels a picture, with noise; each picture is shown for `still` frames."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    pictures = [texture[at : at + 64, at : at + 96] for at in range(0, 2 * frames, 2)]
    noisy = [(one + rng.integers(-4, 5, one.shape)).clip(0, 255).astype(np.uint8) for one in pictures]
    return np.stack(noisy).repeat(still, 0)[:frames]


def begins(frames: np.ndarray) -> list[float]:
    shots = Shots()
    for number, frame in enumerate(frames):
        shots.add(number / 25, grey(Image.fromarray(frame)))
    shots.end()
    return shots.begins


def test_a_cut_is_known_to_the_frame() -> None:
    assert begins(np.concatenate([scene(0, 30), scene(1, 20), scene(2, 25)])) == [30 / 25, 50 / 25]


@pytest.mark.parametrize("still", [2, 3])
def test_pictures_that_are_shown_for_several_frames_are_no_cuts(still: int) -> None:
    assert begins(scene(0, 50, still)) == []
    assert begins(np.concatenate([scene(0, 30, still), scene(1, 30, still)])) == [30 / 25]


def test_motion_noise_rest_and_dissolves_are_no_cuts() -> None:
    one, other = scene(0, 50), scene(1, 50)
    share = np.linspace(0, 1, 50)[:, None, None, None]
    assert begins(one) == begins(np.repeat(one[:1], 50, 0)) == []
    assert begins(((1 - share) * one + share * other).astype(np.uint8)) == []


def test_cuts_that_follow_soon_and_videos_of_a_few_frames() -> None:
    near = np.concatenate([scene(0, 30), scene(1, NEAR // 2), scene(2, 30)])
    assert begins(near) == [30 / 25, (30 + NEAR // 2) / 25]
    assert begins(scene(0, 1)) == begins(np.concatenate([scene(0, 1), scene(1, 1)])) == begins(scene(0, 5)) == []
    assert begins(np.concatenate([scene(0, 4), scene(1, 4)])) == [4 / 25]


def test_a_file_tells_its_cuts_also_through_a_child_and_a_folder(tmp_path: Path) -> None:
    frames = np.concatenate([scene(0, 30), scene(1, 40)])
    path = write_video(tmp_path / "film.mp4", frames)
    samples, stream = Samples(path, 0.2), Stream(path, 0.2)
    assert len(list(samples)) == len(list(stream.samples())) == 14
    assert samples.shots.begins == stream.begins == [30 / 25]
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:03}.png")
    samples = Samples(folder, 0.2)
    assert len(list(samples)) == 14
    assert samples.shots.begins == [30 / 25]
