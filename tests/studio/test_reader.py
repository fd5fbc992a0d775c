"""Videos are looked at in a child process, whatever they do to it."""

from __future__ import annotations

import io
import struct
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clips import draw, write_video
from kshot import video
from kshot.errors import KshotError, VideoError
from kshot.studio.reader import CUT_SIDE, SIDE, Reader, VideoFacts, even, sheet
from kshot.studio.reader import write_video as write


@pytest.fixture(scope="module")
def reader():  # type: ignore[no-untyped-def]
    with closing(Reader()) as made:
        yield made


def test_a_strip_shows_the_frames_that_a_model_is_given(reader: Reader, clip: Path, tmp_path: Path) -> None:
    facts = reader.strip(clip, tmp_path / "strip.jpg")
    assert facts == VideoFacts(pytest.approx(0.4), width=32, height=32, frames=10)  # type: ignore[arg-type]
    with Image.open(tmp_path / "strip.jpg") as strip:
        assert strip.size == (8 * SIDE, SIDE)
        shown = np.asarray(strip).astype(int)
    given = np.concatenate(list(video.read(clip, 8, size=SIDE)), axis=1).astype(int)
    assert np.abs(shown - given).mean() < 6


def test_a_sheet_is_as_wide_as_its_frames() -> None:
    frames = np.zeros((3, 10, 10, 3), np.uint8)
    assert Image.open(io.BytesIO(sheet(frames))).size == (30, 10)


def test_a_cut_shows_what_the_video_shows_then(reader: Reader, tmp_path: Path) -> None:
    frames = np.zeros((50, 32, 48, 3), np.uint8)
    frames[25:, :, :] = 255  # white from second 1
    source = write_video(tmp_path / "long.mp4", frames)
    out = tmp_path / "cut.mp4"
    reader.cut(source, 0.8, 1.6, out)
    found = video.scan(out)
    assert (found.frames, found.width, found.height) == (20, 48, 32)
    assert found.seconds == pytest.approx(0.8, abs=0.01)
    means = video.frames_at(out, range(20)).mean((1, 2, 3))
    assert (means[:5] < 20).all() and (means[5:] > 235).all()


def test_a_film_that_was_filmed_on_edge_is_shown_upright(reader: Reader, tmp_path: Path) -> None:
    """As it is taught: stills and strips of moments are turned as the display matrix of the file says."""
    frames = np.zeros((25, 64, 64, 3), np.uint8)
    frames[:, :32] = 255  # the upper half is white, turned to the right the right one
    film = write_video(tmp_path / "film.mp4", frames)
    data = bytearray(film.read_bytes())
    matrix = (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 4 + 40, *matrix)
    film.write_bytes(data)
    taught = video.read(film, 1, size=SIDE)[0].mean(2)
    assert taught[:, : SIDE // 2 - 8].mean() < 10 and taught[:, SIDE // 2 + 8 :].mean() > 245
    reader.still(film, 0.5, tmp_path / "still.jpg")
    reader.moments(film, [0.2, 0.6], tmp_path / "near.jpg")
    reader.moments(film, [0.0, 40.0], tmp_path / "far.jpg")
    for name in ("still", "near", "far"):
        shown = np.asarray(Image.open(tmp_path / f"{name}.jpg").convert("L"))
        side = shown.shape[0]
        assert shown[:, : side // 2 - 8].mean() < 10 and shown[:, side // 2 + 8 : side].mean() > 245, name


def test_a_cut_outside_the_video(reader: Reader, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"expected a stretch within its 0\.4 seconds, found 3\.0 to 4\.0"):
        reader.cut(clip, 3, 4, tmp_path / "cut.mp4")
    assert not list(tmp_path.iterdir())


def test_pictures_get_even_sides_that_fit() -> None:
    assert even(np.zeros((33, 31, 3), np.uint8)).shape == (32, 30, 3)
    assert even(np.zeros((1000, 2000, 3), np.uint8)).shape == (CUT_SIDE // 2, CUT_SIDE, 3)
    same = np.zeros((32, 48, 3), np.uint8)
    assert even(same) is same


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Invalid data"),
        (b"hello", "Invalid data"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "not a kind of video"),
    ],
)
def test_what_is_no_video_is_told(reader: Reader, tmp_path: Path, content: bytes, reason: str) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(content)
    with pytest.raises(VideoError, match=f"bad.mp4: .*{reason}"):
        reader.strip(bad, tmp_path / "strip.jpg")
    assert not (tmp_path / "strip.jpg").exists()


def test_a_disk_that_refuses_the_strip_costs_this_video_only(reader: Reader, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="FileNotFoundError"):
        reader.strip(clip, tmp_path / "nowhere" / "strip.jpg")
    reader.strip(clip, tmp_path / "strip.jpg")


def pretend(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """The child is a shell script."""
    program = folder / "child"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(program))


def test_a_decoder_that_crashes_or_hangs_costs_one_video(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Reader(timeout=60)) as reader:
        pretend(tmp_path, monkeypatch, "printf +; head -c 4 >/dev/null; kill -SEGV $$")
        with pytest.raises(VideoError, match=r"clip.mp4: the decoder crashed \(SIGSEGV\)$"):
            reader.strip(clip, tmp_path / "strip.jpg")
        reader._child.timeout = 0.3
        pretend(tmp_path, monkeypatch, "printf +; exec sleep 60")
        with pytest.raises(VideoError, match=r"clip.mp4: not decoded within 0\.3 seconds, given up"):
            reader.strip(clip, tmp_path / "strip.jpg")
        reader._child.timeout = 60
        pretend(tmp_path, monkeypatch, "exit 1")
        with pytest.raises(KshotError, match="cannot start"):
            reader.strip(clip, tmp_path / "strip.jpg")
        monkeypatch.undo()
        assert reader.strip(clip, tmp_path / "strip.jpg").frames == 10
    with pytest.raises(KshotError, match="closing"):
        reader.strip(clip, tmp_path / "strip.jpg")


def test_written_video_appears_when_complete(tmp_path: Path) -> None:
    def frames():  # type: ignore[no-untyped-def]
        yield np.zeros((16, 16, 3), np.uint8)
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        write(tmp_path / "a.mp4", frames(), 10)
    assert not list(tmp_path.iterdir())
    write(tmp_path / "a.mp4", draw(0, 3, np.random.default_rng(0)), 12.5)
    assert video.scan(tmp_path / "a.mp4").fps == pytest.approx(12.5)
