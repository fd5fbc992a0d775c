"""Frames are exact: whatever is chosen equals the same frame of a plain decode of the whole file."""

from __future__ import annotations

import csv
import doctest
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from kshot import video
from kshot.errors import OptionError, VideoError
from kshot.video import container
from scenes import COUNT, everything, scene, write

FILES: dict[str, dict[str, str]] = {
    "short-gop.mp4": {"g": "12", "bf": "3"},
    "long-gop.mkv": {"g": "250"},
    "no-b-frames.flv": {"g": "12", "bf": "0"},
    "open-gop.mp4": {"g": "12", "bf": "3", "x264_params": "open-gop=1:scenecut=0"},
    "intra-refresh.mp4": {"g": "12", "x264_params": "intra-refresh=1"},
    "interlaced.mp4": {"g": "12", "x264_params": "interlaced=1"},
    "h264.avi": {"g": "12", "bf": "3"},
    "h264.ts": {"g": "12", "bf": "3"},
    "hevc-open-gop.mp4": {"codec": "libx265", "x265_params": "keyint=12:log-level=none:open-gop=1"},
    "hidden-frames.webm": {"codec": "libvpx", "g": "12", "auto_alt_ref": "1", "lag_in_frames": "10", "b": "100k"},
    "vp9.webm": {"codec": "libvpx-vp9", "g": "12", "lag_in_frames": "16", "auto_alt_ref": "1", "cpu_used": "8"},
    "mpeg4.avi": {"codec": "mpeg4", "g": "12"},
    "mpeg4-b-frames.avi": {"codec": "mpeg4", "g": "12", "bf": "2"},
    "mpeg4-b-frames.mp4": {"codec": "mpeg4", "g": "12", "bf": "2"},
    "mpeg2.mpg": {"codec": "mpeg2video", "g": "12", "bf": "2"},
    "mjpeg.avi": {"codec": "mjpeg"},
    "wmv.asf": {"codec": "wmv2", "g": "12"},
    "animation.gif": {"codec": "gif"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_any_frame_alone_equals_the_same_frame_of_a_full_decode(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, **FILES[name])
    truth = everything(path)
    assert len(truth) == COUNT
    for index in range(COUNT):
        np.testing.assert_array_equal(video.frames_at(path, [index])[0], truth[index], err_msg=f"frame {index}")
    np.testing.assert_array_equal(video.frames_at(path, [40, 3, 3, 17]), truth[[40, 3, 3, 17]])
    np.testing.assert_array_equal(video.read(path, 8), truth[video.choose(COUNT, 8)])
    streamed = list(video.iterate(path))
    np.testing.assert_array_equal(np.stack([image for _, image in streamed]), truth)
    if path.suffix != ".gif":  # which counts in hundredths of a second
        np.testing.assert_allclose([seconds for seconds, _ in streamed], np.arange(COUNT) / 25, atol=1e-3)


def test_packed_b_frames_stay_exact_in_any_container(tmp_path: Path, shared: Path) -> None:
    """DivX packs two frames into one packet and leaves the next one empty; some muxers carry that over."""
    source = shared / "odd-videos" / "mmaction2--test.avi"
    path = remux(source, tmp_path / "packed.mkv")
    for clip in (source, path):
        truth = everything(clip)
        for index in (0, 1, 2, 3, 80, 163):
            np.testing.assert_array_equal(video.frames_at(clip, [index])[0], truth[index])


def test_timestamps_that_contradict_the_decoder_are_not_believed(tmp_path: Path) -> None:
    """Without B-frames the order of decoding is that of presentation, whatever a broken muxer wrote."""
    good = write(tmp_path / "good.mp4", bf="0", g="12")
    bad = remux(good, tmp_path / "bad.mkv", lambda index: index + (1, -1)[index % 2])
    truth = everything(bad)
    for index in range(COUNT):
        np.testing.assert_array_equal(video.frames_at(bad, [index])[0], truth[index])


def remux(source: Path, target: Path, order: Callable[[int], int] | None = None) -> Path:
    """Copy the packets into another container; `order` gives packet i the time of another one."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.size]
        times = [packet.pts for packet in packets]
        for index, packet in enumerate(packets):
            packet.stream = stream
            if order:
                packet.pts, packet.dts = times[order(index)], times[index] - 2 * times[1]
            new.mux(packet)
    return target


def test_files_too_large_to_hold_are_read_again_and_give_the_same_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write(tmp_path / name, **FILES[name]) for name in ("short-gop.mp4", "mpeg4-b-frames.avi")]
    before = [video.read(path, 5) for path in paths]
    monkeypatch.setattr(container, "HELD_PACKETS", 0)
    monkeypatch.setattr(container, "HELD_FRAMES", 0)
    for path, frames in zip(paths, before, strict=True):
        np.testing.assert_array_equal(video.read(path, 5), frames)


def test_scan_counts_times_and_keyframes(tmp_path: Path) -> None:
    scan = video.scan(write(tmp_path / "clip.mp4", g="12", bf="3", sc_threshold="0"))
    assert (scan.frames, scan.exact, scan.width, scan.height) == (48, True, 64, 48)
    assert scan.keyframes.tolist() == [0, 12, 24, 36]
    assert scan.seconds == pytest.approx(48 / 25)
    assert scan.fps == pytest.approx(25)
    np.testing.assert_allclose(scan.times, np.arange(48) / 25)


def test_times_of_a_variable_frame_rate(tmp_path: Path) -> None:
    times = np.cumsum([0, *[1, 5, 2] * 5]).tolist()
    path = write(tmp_path / "clip.mkv", scene(16), times=times)
    expected = np.array(times) / 25
    np.testing.assert_allclose(video.scan(path).times, expected, atol=2e-3)
    np.testing.assert_allclose([seconds for seconds, _ in video.iterate(path)], expected, atol=2e-3)
    assert [seconds for seconds, _ in video.iterate(path, step=5)] == pytest.approx(expected[::5], abs=2e-3)


def test_only_what_is_needed_is_decoded(tmp_path: Path) -> None:
    """The first GOP is destroyed; a frame of a later one is still exact."""
    path = write(tmp_path / "clip.mp4", g="12", bf="0", sc_threshold="0")
    truth = everything(path)
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for position, size in packets[4:12]:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    assert 1 <= len(list(video.iterate(path))) < 12
    np.testing.assert_array_equal(video.frames_at(path, [12, 30]), truth[[12, 30]])


def test_a_damaged_tail_costs_the_tail_only(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", g="250", bf="0")
    truth = everything(path)
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for position, size in packets[30:]:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    good = len(list(video.iterate(path)))
    assert 28 <= good <= 30
    with pytest.raises(VideoError, match=rf"damaged, \d+% of it is there: decoding stopped after {good} of 48 frames"):
        video.read(path, 8)
    left = video.take(path, 8, allow_damaged=True)
    np.testing.assert_array_equal(left.frames, truth[video.choose(good, 8)])
    assert left.damage and left.damage.fatal and left.damage.kept == good / 48
    with pytest.raises(VideoError, match=f"expected frame indices from 0 to {good - 1}, found 40"):
        video.frames_at(path, [5, 40])


def test_a_cut_off_file_gives_the_frames_it_still_has(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", muxer={"movflags": "faststart"}, g="12", bf="0")
    truth = everything(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    left, promised = len(list(video.iterate(path))), video.scan(path).frames
    assert 10 < left < 40
    assert promised in (left, left + 1)  # the last packet may be cut through
    np.testing.assert_array_equal(video.read(path, 8, allow_damaged=True), truth[video.choose(promised, 8)])
    every = video.read(path, promised, allow_damaged=True)
    np.testing.assert_array_equal(every, truth[video.choose(left, promised)])


def test_a_random_choice_on_a_wrong_count_draws_once(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.avi", **FILES["mpeg4-b-frames.avi"])
    expected = video.choose(COUNT, 8, "random", np.random.default_rng(5))
    rng = np.random.default_rng(5)
    np.testing.assert_array_equal(video.read(path, 8, "random", rng), everything(path)[expected])
    after = np.random.default_rng(5)
    after.random(8)
    assert rng.random() == after.random()


def test_choose_middle_by_hand() -> None:
    assert video.choose(40, 8).tolist() == [2, 7, 12, 17, 22, 27, 32, 37]
    assert video.choose(8, 8).tolist() == list(range(8))
    assert video.choose(1, 4).tolist() == [0, 0, 0, 0]
    assert video.choose(10, 1).tolist() == [5]
    assert doctest.testmod(video).failed == 0


def test_choose_random_stays_in_its_segment_and_reaches_all_of_it() -> None:
    rng = np.random.default_rng(0)
    draws = np.stack([video.choose(40, 8, "random", rng) for _ in range(400)])
    assert (draws // 5 == np.arange(8)).all()
    assert all(len(np.unique(draws[:, segment])) == 5 for segment in range(8))
    again = video.choose(40, 8, "random", np.random.default_rng(0))
    assert again.tolist() == draws[0].tolist()


def test_choose_refuses_what_it_cannot_do() -> None:
    with pytest.raises(OptionError, match="did you mean 'middle'"):
        video.choose(10, 8, "midle")
    with pytest.raises(OptionError, match="random frames need a generator"):
        video.choose(10, 8, "random")
    with pytest.raises(OptionError, match="at least 1 frame"):
        video.choose(10, 0)
    with pytest.raises(VideoError, match="no frame"):
        video.choose(0, 8)


TURNS: dict[str, tuple[tuple[int, int, int, int], Callable[[np.ndarray], np.ndarray]]] = {
    "as it is": ((1, 0, 0, 1), lambda x: x),
    "quarter right": ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),
    "half": ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)),
    "quarter left": ((0, -1, 1, 0), lambda x: np.rot90(x)),
    "mirrored": ((-1, 0, 0, 1), np.fliplr),
    "upside down": ((1, 0, 0, -1), np.flipud),
    "mirrored and turned": ((0, 1, 1, 0), lambda x: np.swapaxes(x, 0, 1)),
    "broken": ((0, 0, 0, 0), lambda x: x),
}


@pytest.mark.parametrize("turn", TURNS)
def test_display_matrix_is_applied(tmp_path: Path, turn: str) -> None:
    """The matrix is written into the track header: a, b, u, c, d, v, x, y, w from byte 40 of its content on."""
    (a, b, c, d), expected = TURNS[turn]
    path = write(tmp_path / "clip.mp4", scene(4))
    plain = video.read(path, 1)[0]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    struct.pack_into(">9i", data, at, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    np.testing.assert_array_equal(video.read(path, 1)[0], expected(plain))


def test_real_rotation_tags(shared: Path) -> None:
    assert video.read(shared / "odd-videos" / "decord--video_0.mov", 1).shape == (1, 320, 568, 3)
    assert video.read(shared / "odd-videos" / "decord--video_270.mov", 1).shape == (1, 568, 320, 3)


WRONG_PACKETS = {  # damaged, or with packets that hold no frame: only decoding tells
    "decord--corrupted.mp4",
    "mp4parse--no_timescale.mp4",
    "torchvision--TrumanShow_wave_f_nm_np1_fr_med_26.avi",
    "torchvision--hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi",
}


DAMAGED = {"decord--corrupted.mp4", "mp4parse--no_timescale.mp4"}  # their decoders stop with an error


@pytest.mark.slow
def test_every_odd_file_agrees_with_its_record_or_says_why_not(shared: Path) -> None:
    folder = shared / "odd-videos"
    with (folder / "odd.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 38
    for row in rows:
        path, decoded = folder / row["file"], int(row["decoded_frames"])
        if not decoded:
            with pytest.raises(VideoError, match=r"^[^\n]+: [^\n]+$") as caught:
                video.read(path)
            assert row["file"] in str(caught.value)
            continue
        shape = (int(row["height"]), int(row["width"]), 3)
        if abs(int(row["rotation"])) == 90:
            shape = (shape[1], shape[0], 3)
        assert video.frames_at(path, [0, decoded - 1]).shape == (2, *shape), row["file"]
        refused = row["file"] in DAMAGED
        with pytest.raises(VideoError, match="damaged, ") if refused else nullcontext():
            assert video.take(path, 8, size=32).damage is None
        if row["file"] in WRONG_PACKETS:
            assert video.scan(path).frames > decoded, row["file"]
            assert video.read(path, 8, size=32, allow_damaged=True).shape == (8, 32, 32, 3), row["file"]
            assert sum(1 for _ in video.iterate(path)) == decoded, row["file"]
        else:
            assert video.scan(path).frames == decoded, row["file"]


def folder_of_frames(path: Path, count: int = 12, suffix: str = ".png", width: int = 64) -> np.ndarray:
    path.mkdir()
    frames = scene(count, width=width)
    for index, image in enumerate(frames):
        Image.fromarray(image).save(path / f"frame{index}{suffix}")
    return frames


def test_frame_folder_in_natural_order(tmp_path: Path) -> None:
    frames = folder_of_frames(tmp_path / "clip")
    (tmp_path / "clip" / ".hidden.png").write_bytes(b"no image")
    (tmp_path / "clip" / "notes.txt").write_text("no image")
    scan = video.scan(tmp_path / "clip")
    assert (scan.frames, scan.width, scan.height, scan.fps) == (12, 64, 48, 25.0)
    np.testing.assert_array_equal(video.frames_at(tmp_path / "clip", range(12)), frames)
    np.testing.assert_array_equal(video.read(tmp_path / "clip", 4), frames[[1, 4, 7, 10]])
    assert [round(seconds, 2) for seconds, _ in video.iterate(tmp_path / "clip", step=5)] == [0.0, 0.2, 0.4]


def test_frame_folder_with_images_of_other_kinds(tmp_path: Path) -> None:
    """Grey, transparent, turned by EXIF, and of another size: all become RGB of the first one's size."""
    frames = folder_of_frames(tmp_path / "clip", 1)
    Image.fromarray(frames[0]).convert("L").save(tmp_path / "clip" / "frame1.png")
    Image.fromarray(frames[0]).convert("RGBA").save(tmp_path / "clip" / "frame2.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter to the right to see it upright
    Image.fromarray(np.ascontiguousarray(np.rot90(frames[0]))).save(tmp_path / "clip" / "frame3.png", exif=exif)
    Image.fromarray(frames[0]).resize((128, 96), Image.Resampling.NEAREST).save(tmp_path / "clip" / "frame4.png")
    read = video.frames_at(tmp_path / "clip", range(5))
    assert read.shape == (5, 48, 64, 3)
    assert (read[1] == read[1][..., :1]).all()
    np.testing.assert_array_equal(read[2], frames[0])
    np.testing.assert_array_equal(read[3], frames[0])
    assert np.abs(read[4].astype(int) - frames[0]).mean() < 4


def test_frame_folder_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match=r"empty: expected JPEG or PNG frames in the folder, found none"):
        video.read(tmp_path / "empty")
    folder_of_frames(tmp_path / "clip", 3, ".jpg")
    file = tmp_path / "clip" / "frame1.jpg"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(VideoError, match=r"clip: frame1\.jpg is not a readable JPEG or PNG"):
        video.read(tmp_path / "clip", 3)
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    with pytest.raises(VideoError, match=r"frame1\.jpg is not a readable"):
        video.read(tmp_path / "clip", 3)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(VideoError, match=r"frame1\.jpg is a pipe: expected a regular file"):
        video.read(tmp_path / "clip", 3)
    (tmp_path / "clip" / "frame0.jpg").unlink()
    with pytest.raises(VideoError, match=r"frame1\.jpg is a pipe"):
        video.scan(tmp_path / "clip")


@pytest.mark.parametrize(
    "name", ["-dash.mp4", "a@b#c.mp4", "with space & [x] (1)!.mp4", "http:x.mp4", "späß.mp4", "100%d.mp4", "a\nb.mp4"]
)
def test_any_name_is_only_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.move(write(tmp_path / "plain.mp4", scene(6)), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert video.read(name, 2).shape == (2, 48, 64, 3)
    Path(name).write_bytes(b"nothing")
    with pytest.raises(VideoError) as caught:
        video.read(name)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.mp4")
    shutil.move(write(tmp_path / "plain.mp4", scene(6)), path)
    assert video.read(os.fsdecode(path), 2).shape == (2, 48, 64, 3)


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "Invalid data"),
    "text": (b"this is no video\n" * 50, "Invalid data"),
    "noise": (np.random.default_rng(0).bytes(20_000), "Invalid data"),
    "concat": (b"ffconcat version 1.0\nfile good.mp4\n", "not a kind of video that kshot reads"),
    "hls": (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\ngood.mp4\n#EXT-X-ENDLIST\n", "Invalid data"),
    "dash": (b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>', "Invalid data|not a kind"),
    "subtitles": (b"WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n", "Invalid data|not a kind"),
    "raw": (b"YUV4MPEG2 W16 H16 F25:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(384), "not a kind of video"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_video_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A playlist must not open the video it names, even where that is a good one beside it."""
    write(tmp_path / "good.mp4", scene(6))
    content, reason = BAD[kind]
    (tmp_path / "bad.mp4").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    for use in (video.scan, video.read, lambda path: list(video.iterate(path))):
        with pytest.raises(VideoError, match=f"^bad.mp4: .*({reason})"):
            use("bad.mp4")  # type: ignore[operator]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"nothing\.mp4: no such file or folder$"):
        video.read(tmp_path / "nothing.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match="expected a video file or a folder of frames, found a pipe"):
        video.read(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match="found a device"):
        video.read("/dev/zero")
    with pytest.raises(VideoError, match=r"http://127\.0\.0\.1:1/a\.mp4: no such file"):
        video.read("http://127.0.0.1:1/a.mp4")


def test_audio_alone_is_no_clip(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match=r"sound\.mp4: no video stream"):
        video.read(tmp_path / "sound.mp4")


def test_a_pixel_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """8192 x 8192 in a few hundred kilobytes; the whole process stays below 400 MB."""
    with av.open(str(tmp_path / "bomb.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 8192, 8192, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        container.mux(stream.encode(av.VideoFrame(8192, 8192, "yuv420p")))
        container.mux(stream.encode(None))
    Image.new("P", (8192, 8192)).save(tmp_path / "bomb.gif")
    (tmp_path / "frames").mkdir()
    Image.new("1", (8192, 8192)).save(tmp_path / "frames" / "bomb.png")
    program = (
        "import sys\nfrom kshot import video\nfrom kshot.errors import VideoError\n"
        "for path in sys.argv[1:]:\n"
        "    try: video.read(path)\n    except VideoError as error: print(error)\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    paths = [str(tmp_path / name) for name in ("bomb.mp4", "bomb.gif", "frames")]
    done = subprocess.run(
        [sys.executable, "-c", program, *paths],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(video.__file__).parents[2])},
    )
    in_mp4, in_gif, in_frames, peak = done.stdout.splitlines()
    limit = r"33,177,600 pixels \(MAX_PIXELS\)"
    assert re.search(rf"bomb\.mp4: expected frames of at most {limit}, found 8192x8192$", in_mp4)
    assert re.search(rf"bomb\.gif: expected frames of at most {limit}, found larger ones", in_gif)
    assert re.search(rf"frames: bomb\.png has more than {limit}", in_frames)
    assert int(peak) < 400_000


def test_a_frame_bomb_names_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "clip.mp4")
    folder_of_frames(tmp_path / "frames", 11)
    monkeypatch.setattr(container, "MAX_FRAMES", 10)
    for clip in (path, tmp_path / "frames"):
        with pytest.raises(VideoError, match=r"expected at most 10 frames \(MAX_FRAMES\)"):
            video.read(clip)
        with pytest.raises(VideoError, match="MAX_FRAMES"):
            list(video.iterate(clip))


def test_size_changes_within_a_file_are_scaled_to_the_first_frame(tmp_path: Path) -> None:
    """Two streams of different size, one after the other in a transport stream."""
    small = write(tmp_path / "small.ts", scene(8), bf="0")
    large = write(tmp_path / "large.ts", scene(8, 128, 96), bf="0")
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    frames = np.stack([image for _, image in video.iterate(both)])
    assert frames.shape == (16, 48, 64, 3)
    assert video.read(both, 4).shape == (4, 48, 64, 3)


SHAPES = [
    (240, 320),
    (320, 240),
    (224, 224),
    (48, 64),
    (360, 640),
    (251, 333),
    (1, 1),
    (3, 2),
    (500, 225),
    (225, 500),
    (100, 999),
    (999, 100),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [224, 65])
def test_preprocess_equals_the_image_processor_of_transformers(shape: tuple[int, int], size: int) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor: Any = CLIPImageProcessorPil(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        do_rescale=False,
        do_normalize=False,
    )
    frames = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    expected = processor(list(frames), input_data_format="channels_last", return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(video.preprocess(frames, size), expected.transpose(0, 2, 3, 1))


def test_preprocess_refuses_a_strip() -> None:
    with pytest.raises(VideoError, match="a frame of 9000x2 is too narrow"):
        video.preprocess(np.zeros((1, 2, 9000, 3), np.uint8), 224)


def test_reading_at_a_size_preprocesses(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4")
    np.testing.assert_array_equal(video.read(path, 4, size=32), video.preprocess(video.read(path, 4), 32))
    expected = video.preprocess(video.frames_at(path, [20]), 32)
    np.testing.assert_array_equal([image for _, image in video.iterate(path, 20, size=32)][1], expected[0])


def test_bad_arguments(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", scene(4))
    with pytest.raises(VideoError, match="from 0 to 3, found 4, -1"):
        video.frames_at(path, [4, 0, -1])
    with pytest.raises(OptionError, match="list of frame indices"):
        video.frames_at(path, [])
    with pytest.raises(OptionError, match="step of at least 1"):
        next(video.iterate(path, step=0))
