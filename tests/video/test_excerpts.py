"""Parts of videos: which frames, in whatever container, and how little of the file is read for them."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from kshot import video
from kshot.errors import DataError, VideoError
from kshot.excerpts import Clip, Excerpt, clip_of, file_of, shared
from kshot.video import part, workers
from kshot.video.container import File
from kshot.video.opening import opened
from kshot.video.part import Part
from scenes import STILL, everything, scene, write

COUNT = 250  # ten seconds
KINDS = [
    ("mp4", "libx264", {}),
    ("mp4", "libx264", {"bf": "0", "g": "10"}),
    ("mkv", "libx264", {"g": "12", "x264_params": "open-gop=1"}),
    ("ts", "libx264", {"g": "25"}),
    ("avi", "mpeg4", {"g": "12"}),  # B-frames or not: the times of the former are guesses
    ("avi", "mpeg4", {"g": "12", "bf": "2"}),
    ("mpg", "mpeg2video", {"g": "12", "bf": "2"}),
    ("webm", "libvpx", {"g": "25"}),
    ("gif", "gif", {}),
]


@pytest.mark.parametrize(("kind", "codec", "options"), KINDS)
def test_frames_are_those_on_show_in_the_part(tmp_path: Path, kind: str, codec: str, options: dict[str, str]) -> None:
    path = write(tmp_path / f"film.{kind}", scene(COUNT), codec, **options)
    all_of_it = everything(path)
    for start, end in [(0.0, 2.0), (1.0, 1.8), (3.02, 3.5), (7.9, 10.0), (9.0, None), (None, 0.6), (4.0, 4.04)]:
        found = video.read(Excerpt(path, start, end), 4)
        begin, stop = start or 0.0, 10.0 if end is None else end
        moments = begin + (np.arange(4) + 0.5) / 4 * (stop - begin)
        wanted = np.floor(moments * 25 + 1e-4).astype(int)
        np.testing.assert_array_equal(found, all_of_it[wanted], err_msg=f"{start} to {end}: {wanted}")


def test_a_part_that_is_all_of_a_file_gives_the_frames_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mp4", scene(47))
    for frames in (1, 5, 8, 60):
        whole = video.read(path, frames)
        np.testing.assert_array_equal(video.read(Excerpt(path, 0.0, 47 / 25), frames), whole)
        np.testing.assert_array_equal(video.read(Excerpt(path, 0.0), frames), whole)


def test_frames_of_a_variable_rate_are_chosen_by_time(tmp_path: Path) -> None:
    """36 pictures: 30 in 1.2 seconds, then one in each 0.6."""
    path = write(tmp_path / "still.mkv", scene(len(STILL)), times=STILL)
    all_of_it = everything(path)
    found = video.read(Excerpt(path, 1.0, 4.0), 3)  # at 1.5, 2.5 and 3.5 seconds
    np.testing.assert_array_equal(found, all_of_it[[29, 31, 32]])


def test_a_folder_has_parts(tmp_path: Path) -> None:
    from clips import write_folder

    pictures = scene(50)
    folder = write_folder(tmp_path / "frames", pictures)
    np.testing.assert_array_equal(video.read(Excerpt(folder, 1.0, 1.16), 4), pictures[25:29])
    with pytest.raises(VideoError, match="lasts 2 s, but the segment goes from 3 s"):
        video.read(Excerpt(folder, 3.0, 4.0), 4)


@pytest.mark.parametrize(("start", "end"), [(10.0, 11.0), (12.0, None), (2.0, 10.6), (500.0, 501.0)])
@pytest.mark.parametrize(("kind", "codec"), [("mp4", "libx264"), ("avi", "mpeg4"), ("webm", "libvpx")])
def test_parts_outside_their_video_are_told(tmp_path: Path, kind: str, codec: str, start: float, end: float) -> None:
    path = write(tmp_path / f"film.{kind}", scene(COUNT, 32, 16), codec)
    with pytest.raises(VideoError, match=rf"film\.{kind}#t=.*: the video lasts 10 s, but the segment goes from"):
        video.read(Excerpt(path, start, end), 4)


def test_what_players_show_too_much_is_let_pass(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mp4", scene(COUNT, 32, 16))
    np.testing.assert_array_equal(video.read(Excerpt(path, 9.0, 10.3), 4), video.read(Excerpt(path, 9.0), 4))


def test_only_the_part_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "film.mp4", scene(COUNT), g="25")
    decoded = 0
    marked = File._marked

    def counted(self: File, packet: object) -> object:
        nonlocal decoded
        decoded += packet is not None
        return marked(self, packet)

    monkeypatch.setattr(File, "_marked", counted)
    with closing(opened(Excerpt(path, 6.2, 6.6))) as clip:
        assert isinstance(clip, Part)
        assert len(list(clip.packets())) < 3 * 25
    video.read(Excerpt(path, 6.2, 6.6), 4)
    assert 0 < decoded <= 25


def test_another_process_gives_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mp4", scene(COUNT))
    jobs = [workers.Job(Excerpt(path, start, start + 1), 4, size=16) for start in (0.0, 3.3, 8.0, 9.9)]
    found = [result for _, result in workers.decode(jobs, 1)]
    for job, result in zip(jobs[:3], found, strict=False):
        assert isinstance(result, video.Taken)
        np.testing.assert_array_equal(result.frames, video.read(job.path, 4, size=16))
    assert str(found[3]).endswith(
        "film.mp4#t=9.9,10.9: the video lasts 10 s, but the segment goes from 9.9 s to 10.9 s"
    )


def test_a_stream_of_a_part_is_that_part(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mp4", scene(COUNT), g="25")
    all_of_it = everything(path)
    found = list(video.iterate(Excerpt(path, 2.0, 2.2)))
    assert [round(moment, 3) for moment, _ in found] == [0.0, 0.04, 0.08, 0.12, 0.16]
    np.testing.assert_array_equal(np.stack([image for _, image in found]), all_of_it[50:55])
    scanned = video.scan(Excerpt(path, 2.0, 2.2))
    assert scanned.frames == 5 and scanned.seconds == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("text", "clip"),
    [
        ("a/film.mp4", Path("a/film.mp4")),
        ("a/film.mp4#t=1.5,3", Excerpt(Path("a/film.mp4"), 1.5, 3.0)),
        ("film.mp4#t=2", Excerpt(Path("film.mp4"), 2.0)),
        ("film.mp4#t=,2.25", Excerpt(Path("film.mp4"), None, 2.25)),
        ("film.mp4#t=", Path("film.mp4#t=")),
        ("film.mp4#t=a,b", Path("film.mp4#t=a,b")),
    ],
)
def test_text_stands_for_a_clip_and_back(text: str, clip: Clip) -> None:
    assert clip_of(text) == clip and str(clip) == text and clip_of(clip) == clip
    assert file_of(text).name.startswith("film.mp4")


def test_a_file_of_such_a_name_is_itself(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4#t=1,2"
    path.touch()
    assert clip_of(path) == path


def test_times_that_there_cannot_be() -> None:
    for start, end in [(3.0, 3.0), (3.0, 2.0), (0.0, 0.0)]:
        with pytest.raises(DataError, match="has no length"):
            Excerpt(Path("film.mp4"), start, end)
    for bad in (-1.0, float("inf"), float("nan")):
        with pytest.raises(DataError, match="expected a start of 0 seconds or more"):
            Excerpt(Path("film.mp4"), bad)


def test_the_digest_says_the_file_and_the_times_and_nothing_else() -> None:
    one = Excerpt(Path("a.mp4"), 0.1 + 0.2, 2.0)
    assert one.digest("f00") == Excerpt(Path("b.mp4"), 0.3, 2.0).digest("f00") != one.digest("f01")
    assert one.digest("") == "" and len(one.digest("f00")) == 64
    assert len({Excerpt(Path("a"), *span).digest("x") for span in [(1.0, 2.0), (None, 1.0), (1.0, None)]}) == 3


def test_parts_that_overlap_are_one_source() -> None:
    spans = [(0.0, 2.0), (2.0, 3.0), (1.9, 2.1), (5.0, 9.0), (0.0, float("inf"))]
    numbers = shared(["a", "a", "a", "a", "b"], spans)
    assert numbers[0] == numbers[1] == numbers[2] and len(set(numbers)) == 3


def test_parts_of_one_file_share_one_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of time and against it, between parts of another file, and after the file has changed."""
    one, other = (write(tmp_path / f"{name}.mp4", scene(COUNT), g="25") for name in ("one", "other"))
    clips = [Excerpt(path, start, start + 0.5) for path, start in [(one, 1.0), (one, 8.0), (one, 0.0), (other, 2.0)]]
    clips += [Excerpt(one, 5.0, 5.3)]
    alone = [video.read(clip, 3) for clip in clips]
    opened_now = []
    start = File._start
    monkeypatch.setattr(File, "_start", lambda self: (opened_now.append(self.path.name), start(self)))
    monkeypatch.setattr(part, "_kept", threading.local())
    part.keep_open()
    for clip, wanted in zip(clips, alone, strict=True):
        np.testing.assert_array_equal(video.read(clip, 3), wanted)
    assert opened_now == ["one.mp4", "other.mp4", "one.mp4"]
    write(one, scene(COUNT)[::-1])
    assert not np.array_equal(video.read(clips[4], 3), alone[4]) and opened_now[3:] == ["one.mp4"]
