"""Frames of a long video at a steady rate: the right ones, each once, in this process or out of reach of a crash."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from test_workers import named, sabotage  # noqa: F401  (a fixture)

from kshot import video
from kshot.errors import OptionError, VideoError
from kshot.excerpts import Excerpt
from kshot.video import container
from kshot.video.workers import Stream
from scenes import scene, write


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 frames, 25 a second, with B-frames."""
    return write(tmp_path_factory.mktemp("samples") / "clip.mp4", g="12", bf="3")


@pytest.mark.parametrize("count", [1, 3, 8, 16, 48, 100])
def test_a_clip_as_long_as_its_intervals_gives_the_frames_that_a_clip_gives(clip: Path, count: int) -> None:
    samples = video.Samples(clip, 48 / 25 / count)
    found = dict(samples)
    assert (samples.frames, samples.failure) == (48, "")
    assert samples.seconds == pytest.approx(48 / 25) and samples.fps == 25
    assert samples.announced == pytest.approx(48 / 25)
    held = [max(k for k in found if k <= interval) for interval in range(count)]  # what an interval shows
    np.testing.assert_array_equal(np.stack([found[k] for k in held]), video.read(clip, count))
    assert len(found) == min(count, 48)  # a frame that is on show for long comes once


def test_intervals_are_those_of_the_clock_whatever_the_rate_of_the_file(tmp_path: Path) -> None:
    times = [0, 1, 2, 10, 11, 30, 31, 32]  # in 25ths of a second
    path = write(tmp_path / "halting.mkv", scene(8), times=times, bf="0")
    samples = video.Samples(path, 0.2)  # five of them; their middles at 2.5, 7.5, 12.5, ...
    found = list(samples)
    assert [interval for interval, _ in found] == [0, 2, 6]
    shown = video.frames_at(path, [2, 4, 7])
    for (_, image), expected in zip(found, shown, strict=True):
        np.testing.assert_array_equal(image, expected)


def test_a_frame_folder_and_preprocessing(tmp_path: Path) -> None:
    from clips import write_folder

    folder = write_folder(tmp_path / "frames", scene(20))
    found = list(video.Samples(folder, 0.2, size=16))
    assert [interval for interval, _ in found] == [0, 1, 2, 3]
    np.testing.assert_array_equal(np.stack([image for _, image in found]), video.read(folder, 4, size=16))


def test_damage_ends_the_frames_and_is_told(tmp_path: Path, clip: Path) -> None:
    whole = write(tmp_path / "whole.mkv", g="12", bf="0").read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) // 2])
    samples = video.Samples(cut, 0.1)
    assert 3 < len(list(samples)) < 15 and 10 < samples.frames < 40 and samples.failure
    folder = tmp_path / "frames"
    folder.mkdir()
    from PIL import Image

    for number in range(4):
        Image.fromarray(scene(1)[0]).save(folder / f"{number}.png")
    (folder / "3.png").write_bytes(b"no picture")
    samples = video.Samples(folder, 0.04)
    assert [interval for interval, _ in samples] == [0, 1, 2]
    assert "3.png is not a readable" in samples.failure


def test_a_file_that_ends_before_its_header_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "front.mp4", scene(200), muxer={"movflags": "faststart"}, g="12")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    samples = video.Samples(path, 0.1)
    assert 20 < len(list(samples)) < 70
    assert samples.announced == pytest.approx(8) and samples.seconds < 7 and samples.failure


def test_sound_that_goes_on_behind_the_picture_is_no_film_cut_short(tmp_path: Path) -> None:
    """MKV gives one length for both."""
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as file:
        picture, sound = file.add_stream("libx264", rate=25), file.add_stream("aac", rate=8000)
        picture.height, picture.width, picture.pix_fmt = 48, 64, "yuv420p"
        for image in scene(50):
            file.mux(picture.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        file.mux(picture.encode())
        for at in range(0, 8000 * 12, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, at, Fraction(1, 8000)
            file.mux(sound.encode(frame))
        file.mux(sound.encode())
    samples = video.Samples(path, 0.1)
    assert len(list(samples)) == 20 and samples.announced > 11 and not samples.failure


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_what_holds_no_frame_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"bad\.mp4: "):
        list(video.Samples(path, 0.1))
    with pytest.raises(VideoError, match=r"missing\.mp4: no such file"):
        list(video.Samples(tmp_path / "missing.mp4", 0.1))


def test_times_that_jump_away_end_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "jump.mkv", scene(6), times=[0, 1, 2, 3, 10**9, 10**9 + 1], bf="0")
    samples = video.Samples(path, 0.04)
    assert len(list(samples)) == 3 and "its times are wrong" in samples.failure


def test_a_film_may_have_more_frames_than_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "film.mkv", scene(30))
    monkeypatch.setattr(container, "MAX_FRAMES", 10)
    samples = video.Samples(path, 0.04)
    assert len(list(samples)) == 30 and not samples.failure
    assert len(video.read(Excerpt(path, 0.8, 1.0), 4)) == 4


@pytest.mark.parametrize("interval", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_interval_is_refused(interval: float) -> None:
    with pytest.raises(OptionError, match="interval above 0"):
        video.Samples("x.mp4", interval)


def test_another_process_gives_the_same(clip: Path, tmp_path: Path) -> None:
    here, there = video.Samples(clip, 0.1, 16), Stream(clip, 0.1, 16)
    for (one, image), (other, same) in zip(here, there.samples(), strict=True):
        assert one == other
        np.testing.assert_array_equal(image, same)
    for name in ("announced", "fps", "seconds", "frames", "failure"):
        assert getattr(here, name) == getattr(there, name)
    with pytest.raises(VideoError, match="no such file"):
        list(Stream(tmp_path / "missing.mp4", 0.1).samples())


# Put on the path of the child: the decoder fails as real ones do, in the middle of a file.
CRASH = """
import os, kshot.video.container
real = kshot.video.container.File.image
def image(self, frame):
    if frame.time > 1:
        os.abort() if "abort" in str(self.path) else __import__("time").sleep(60)
    return real(self, frame)
kshot.video.container.File.image = image
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reason"), [("abort", "crashed (SIGABRT)"), ("sleep", "not decoded within 3 seconds")]
)
def test_a_decoder_that_crashes_or_hangs_leaves_what_came_before(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    import kshot

    (tmp_path / "sitecustomize.py").write_text(CRASH)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(kshot.__file__).parents[1]}")
    stream = Stream(named(clip, tmp_path, name)[0], 0.1, 16, timeout=3)
    assert [interval for interval, _ in stream.samples()] == list(range(10))
    assert reason in stream.failure and stream.seconds == pytest.approx(1, abs=0.1)


def test_a_stream_can_be_stopped_from_another_thread(clip: Path) -> None:
    stream = Stream(clip, 0.04, 224)  # more than a pipe holds
    samples = stream.samples()
    next(samples)
    threading.Timer(0.1, stream.stop).start()
    time.sleep(0.3)
    assert len(list(samples)) < 40 and stream.failure == ""


@pytest.mark.slow
def test_a_child_waits_for_a_slow_reader_without_losing_patience(clip: Path) -> None:
    samples = Stream(clip, 0.04, 224, timeout=1.5).samples()  # more than a pipe holds
    next(samples)
    time.sleep(4)  # longer than the alarm of a child that decodes
    assert len(list(samples)) == 47


def test_the_header_of_an_mp4_is_read_before_any_frame(clip: Path) -> None:
    samples = video.Samples(clip, 0.1)
    next(iter(samples))
    assert samples.announced == pytest.approx(48 / 25)
