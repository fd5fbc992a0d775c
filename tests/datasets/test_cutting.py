"""Segments as files of their own: the very frames, where they belong, and what is not written is said."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kshot import load_data, video
from kshot.datasets import cutting
from kshot.datasets.cutting import cut
from kshot.datasets.dataset import build
from kshot.errors import OptionError, VideoError
from kshot.video import Framing
from kshot.video.fields import deinterlaced
from kshot.video.opening import opened
from kshot.video.workers import Stream
from numbered_films import FPS, number_of, write_film
from scenes import write


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("films") / "a.mp4", 4)


def segments(paths: list[Path], labels: list[str], spans: list[tuple[float, float]], **more):
    blank = [""] * len(labels)
    given = {"splits": blank, "groups": blank} | more
    return build("set", paths, labels, given["splits"], given["groups"], spans=np.array(spans, dtype=np.float64))


def frames(path: Path) -> list[int]:
    return [number_of(picture) for _, picture in video.iterate(path)]


def test_the_very_frames_of_a_segment(film: Path, tmp_path: Path) -> None:
    """Also where times are rounded to milliseconds, where segments overlap, and where one is shorter than a frame."""
    spans = [(1.0, 2.0), (1.52, 1.56), (1.199, 1.521), (3.001, 3.002), (3.52, np.nan), (np.nan, 0.2)]
    data = segments([film] * 6, ["x", "y", "x", "y", "x", "x"], spans)
    report = cut(data, tmp_path / "out")
    assert (report["clips"], report["labels"], report["notes"], report["unreadable"]) == (6, 2, list(data.notes), {})
    wanted = {
        "x/a-1.00-2.00": range(25, 50), "y/a-1.52-1.56": range(38, 39), "x/a-1.20-1.52": range(30, 38),
        "y/a-3.00-3.00": range(75, 76), "x/a-3.52-end": range(88, 100), "x/a-0.00-0.20": range(5),
    }  # fmt: skip
    assert {f"{path.parent.name}/{path.stem}" for path in (tmp_path / "out").rglob("*.mp4")} == wanted.keys()
    for name, numbers in wanted.items():
        assert frames(tmp_path / "out" / f"{name}.mp4") == list(numbers), name
    scan = video.scan(tmp_path / "out" / "x" / "a-1.00-2.00.mp4")
    assert scan.fps == pytest.approx(FPS) and scan.clock.times is None, "of constant rate, as the film is"


def test_what_stays_on_show_is_cut_as_long_as_it_is_seen(tmp_path: Path) -> None:
    """A frame may be shown for seconds, as recorders of screens write it."""
    pictures = np.stack([np.full((48, 64, 3), 4 * number, np.uint8) for number in range(60)])
    times = [number if number < 30 else number + 200 for number in range(60)]  # the thirtieth from 1.16 to 9.2 s
    held = write(tmp_path / "held.mp4", pictures, times=times, bf="0", crf="1")
    spans = [(0.4, 0.8), (3.0, 7.0), (1.0, 9.6), (9.32, 9.72)]
    report = cut(segments([held] * 4, ["x"] * 4, spans), tmp_path / "out")
    assert report["clips"] == 4
    for (start, end), first, last in zip(spans, (10, 29, 25, 33), (19, 29, 39, 42), strict=True):
        path = tmp_path / "out" / "x" / f"held-{start:.2f}-{end:.2f}.mp4"
        shown = [float(picture.mean()) / 4 for _, picture in video.iterate(path)]
        assert (shown[0], shown[-1]) == (pytest.approx(first, abs=0.6), pytest.approx(last, abs=0.6)), path
        assert video.scan(path).seconds == pytest.approx(end - start, abs=0.03), path


def test_what_is_cut_is_data_of_the_same_labels_and_groups(film: Path, tmp_path: Path) -> None:
    data = segments(
        [film] * 4, ["a/b", "wave", "a/b", "wave"], [(0, 1), (1, 2), (2, 3), (3, 4)],
        groups=["", "Anna", "", "Ben"], splits=["train"] * 4,
    )  # fmt: skip
    report = cut(data, tmp_path / "out")
    back = load_data(report["table"])
    assert back.counts == {"a/b": 2, "wave": 2} and set(back.splits) == {"train"}
    assert back.groups.tolist() == data.groups.tolist() and {"Anna", "Ben"} < set(back.groups)
    assert report["notes"][-1].startswith("1 action has another name as a folder, such as 'a-b-")
    assert all(path.parent.parent == tmp_path / "out" for path in back.paths)


def test_pre_roll_and_post_roll_stay_in_the_video(film: Path, tmp_path: Path) -> None:
    cut(segments([film] * 2, ["x", "x"], [(0.4, 1.0), (3.6, 3.8)]), tmp_path / "out", before=1, after=2)
    found = sorted((tmp_path / "out" / "x").iterdir())
    assert [path.name for path in found] == ["a-0.00-3.00.mp4", "a-2.60-5.80.mp4"]
    assert frames(found[0]) == list(range(75)) and frames(found[1]) == list(range(65, 100))


def test_videos_of_one_name_and_odd_sizes(tmp_path: Path) -> None:
    paths = []
    for number in range(2):
        path = tmp_path / str(number) / "a.mp4"
        path.parent.mkdir()
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(30000, 1001))
            stream.width, stream.height, stream.pix_fmt = 33, 31, "yuv444p"
            for shade in range(40, 70):
                picture = np.full((31, 33, 3), shade, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode())
        paths.append(path)
    cut(segments(paths, ["x", "x"], [(0.5, 0.8), (0.5, 0.8)]), tmp_path / "out")
    found = sorted((tmp_path / "out" / "x").iterdir())
    assert [path.name for path in found] == ["a-0.50-0.80-2.mp4", "a-0.50-0.80.mp4"]
    pictures = [picture for _, picture in video.iterate(found[0])]
    assert len(pictures) == 9 and pictures[0].shape == (31, 33, 3)


def test_what_cannot_be_cut(film: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video at all" * 100)
    data = segments([tmp_path / "bad.mp4", film, film], ["x", "x", "x"], [(0, 1), (0, 1), (8, 9)])
    report = cut(data, tmp_path / "out")
    assert report["clips"] == 1 and list(report["unreadable"]) == [str(tmp_path / "bad.mp4")]
    assert report["notes"][-1] == "1 segment without a frame not written: the video ends before"
    with pytest.raises(OptionError, match="out exists already"):
        cut(data, tmp_path / "out")
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        cut(data.subset([0]), tmp_path / "none")
    with pytest.raises(OptionError, match="holds whole files: there are no segments to cut"):
        cut(build("set", [film], ["x"], [""], [""]), tmp_path / "none")
    with pytest.raises(OptionError, match="expected 0 seconds or more before and after, found -1 and 0"):
        cut(data, tmp_path / "none", before=-1)


def test_the_command(command, film: Path, tmp_path: Path) -> None:
    (tmp_path / "a.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nwave\n")
    data = f"{tmp_path / 'a.vtt'}?videos={film}"
    code, told, err = command("data", "cut", data, "--out", tmp_path / "out", "--before", "0.5", "--json")
    report = json.loads(told)
    assert code == 0 and report["clips"] == 1, err
    assert frames(next((tmp_path / "out" / "wave").iterdir())) == list(range(12, 50))
    code, _, err = command("data", "cut", data, "--out", tmp_path / "out")
    assert code == 2 and "exists already" in err


# Interlaced video


def write_interlaced(path: Path, count: int = 12) -> Path:
    """A bar that moves from left to right; the lower lines of a frame show it half a frame later."""
    options = {"preset": "ultrafast", "crf": "10", "x264-params": "interlaced=1:tff=1"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 96, 64, "yuv420p", 1
        for number in range(count):
            picture = np.zeros((64, 96, 3), np.uint8)
            for half in range(2):
                left = 3 * (2 * number + half)
                picture[half::2, left : left + 14] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


def combs(picture: np.ndarray) -> float:
    """How much a line differs from the mean of those beside it."""
    grey = picture.mean(-1)
    return float(np.abs(2 * grey[1:-1] - grey[:-2] - grey[2:]).mean())


def test_fields_are_taken_apart(tmp_path: Path) -> None:
    path = write_interlaced(tmp_path / "i.mp4")
    as_stored = [combs(picture) for _, picture in video.iterate(path)]
    clip = opened(path)
    found = [(seconds, clip.image(frame)) for seconds, frame in deinterlaced(clip.stream())]
    clip.close()
    assert [round(seconds * 25) for seconds, _ in found] == list(range(12)), "a frame for each frame, at its time"
    assert min(as_stored) > 10 and max(combs(picture) for _, picture in found[1:]) < 0.1 * min(as_stored)
    cut(segments([path], ["x"], [(0.2, 0.4)]), tmp_path / "out", deinterlace=True)
    pictures = [picture for _, picture in video.iterate(next((tmp_path / "out" / "x").iterdir()))]
    assert len(pictures) == 5 and max(map(combs, pictures)) < 0.2 * min(as_stored)


def test_predictions_see_fields_taken_apart(tmp_path: Path) -> None:
    """Frames that are picked, also of a part, and those of a stream are the same as if all were deinterlaced."""
    path = write_interlaced(tmp_path / "i.mp4")
    clip = opened(path)
    whole = [clip.image(frame) for _, frame in deinterlaced(clip.stream())]
    clip.close()
    how = Framing(deinterlace=True)
    taken = video.take(path, 4, framing=how)
    assert taken.looks == () and video.take(path, 4).looks == ("interlaced",)
    assert [np.abs(a.astype(int) - whole[b]).max() for a, b in zip(taken.frames, (1, 4, 7, 10), strict=True)] == [0] * 4
    source = Stream(path, 2 / 25, 48, framing=how)
    streamed = [picture for _, picture in source.samples()]
    plain = [video.preprocess(whole[number][None], 48)[0] for number in range(1, 12, 2)]
    assert not source.looks and len(streamed) == 6
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(streamed, plain, strict=True))


def test_whole_files_may_be_deinterlaced(tmp_path: Path) -> None:
    path = write_interlaced(tmp_path / "i.mp4")
    cut(build("set", [path], ["x"], [""], [""]), tmp_path / "out", deinterlace=True)
    pictures = [picture for _, picture in video.iterate(tmp_path / "out" / "x" / "i-0.00-end.mp4")]
    assert len(pictures) == 12 and max(map(combs, pictures[1:])) < 2


def test_video_that_is_not_interlaced_passes_as_it_is(film: Path) -> None:
    clip, other = opened(film), opened(film)
    plain = [clip.image(frame) for _, frame in clip.stream()]
    passed = [other.image(frame) for _, frame in deinterlaced(other.stream())]
    clip.close()
    other.close()
    assert len(plain) == len(passed) == 100
    assert all((a == b).all() for a, b in zip(plain, passed, strict=True))


def test_what_is_interrupted_leaves_nothing(command, film: Path, tmp_path: Path, monkeypatch) -> None:
    """A clip that is cut short would be taught from; the same command then begins anew."""
    table, out = tmp_path / "clips.csv", tmp_path / "out"
    table.write_text(f"path,label,start,end\n{film},x,0.2,1\n{film},y,1.5,3\n")
    real, seen = cutting.Piece.write, []

    def write(piece, seconds, picture, rate) -> None:
        real(piece, seconds, picture, rate)
        seen.append({path.suffix for path in out.rglob("*") if path.is_file()})
        if seconds > 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cutting.Piece, "write", write)
        code, _, error = command("data", "cut", table, "--out", out)
    assert (code, error) == (130, "kshot: stopped; nothing was written\n")
    assert {".mp4", ".part"} <= set().union(*seen), "one was whole and one was not"
    assert not [path for path in out.rglob("*") if path.suffix != ".lock" and not path.name.startswith(".kshot")]
    code, told, error = command("data", "cut", table, "--out", out)
    assert code == 0 and "2 clips of 2 actions" in told, error
    assert {path.suffix for path in out.rglob("*") if path.is_file()} == {".mp4", ".csv"}


def test_a_label_without_a_clip_has_no_folder(command, film: Path, tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_text(f"path,label,start,end\n{film},x,1,2\n{film},late,40,41\n")
    code, told, error = command("data", "cut", table, "--out", tmp_path / "out")
    assert code == 0 and "1 clip of 1 action, listed in" in told, error
    assert "note: 1 segment without a frame not written: the video ends before" in error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clips.csv", "x"]
