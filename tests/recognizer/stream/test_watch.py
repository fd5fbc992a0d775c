"""Live is the same engine: the same answers as for a file, and no lag that grows."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest

from clips import write_video
from kshot.errors import OptionError, VideoError
from kshot.recognizer.stream import watch as live
from kshot.recognizer.stream.timeline import Timeline, timeline
from kshot.recognizer.stream.watch import Camera, Live, Newest, Playback, Sample, Sighting, Watch, watch
from kshot.recognizer.stream.windows import Scores, Segments, WindowSettings
from kshot.video import Samples
from recognizers import BLUE, DARK, GREEN, RED, SIZE, Colours, paint

FRAMES = paint((RED, 150), (DARK, 100), (GREEN, 100), (BLUE, 150), side=32)  # 20 seconds


class Clock:
    """Time goes on only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", FRAMES)


@pytest.fixture(scope="module")
def whole(film: Path) -> Timeline:
    return timeline(Colours(), film)


def assert_same(sightings: list[Sighting], whole: Timeline) -> None:
    """The answers, put together, have the scores and labels of the file's timeline, and the segments that the rule for
    cameras makes of these. A file's own segments follow its shots as well, which a camera cannot know yet."""
    scores = Scores.joined([s.answer.scores for s in sightings])
    assert np.array_equal(scores.times, whole.times)
    assert np.allclose(scores.proba, whole.proba, atol=1e-9) and np.allclose(scores.known, whole.known, atol=1e-9)
    assert [label for s in sightings for label in s.answer.labels] == whole.labels.tolist()
    segments = [segment for s in sightings for segment in s.answer.segments]
    rule = Segments(whole.classes, whole.settings)
    expected = rule.add(Scores(whole.times, whole.proba, whole.known), whole.labels.tolist()) + rule.end(whole.duration)
    assert [x.label for x in segments] == [x.label for x in expected] == [x.label for x in whole.segments]
    assert [x.end for x in segments] == pytest.approx([x.end for x in expected], abs=0.001)
    assert [x.score for x in segments] == pytest.approx([x.score for x in expected])
    assert [x.end for x in segments] == pytest.approx([x.end for x in whole.segments], abs=0.6)


def test_a_file_played_live_is_the_file_itself(film: Path, whole: Timeline) -> None:
    clock, judge = Clock(), Colours()
    settings = WindowSettings.of(judge)
    player, engine = Playback(film, settings.interval, SIZE, clock, clock.sleep), Live(judge, settings, clock)
    sightings = []
    for sample in player.samples():
        due = (sample.interval + 0.5) * settings.interval
        assert sample.arrived - 1000 == pytest.approx(due)  # at its own speed
        sightings.append(engine.take(sample))
    sightings.append(engine.end(player.seconds))
    assert_same(sightings, whole)
    assert len(judge.encoded) == 40
    first = next(s for s in sightings if s.about is not None)
    assert first.about == 1.0 and first.seconds - first.about == pytest.approx(settings.delay, abs=settings.interval)
    assert (first.label, sightings[-1].label) == ("red", "blue") and 0.9 < first.score < 1


class Container:
    """Frames that come one by one as the clock goes on, as from a camera."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path, self.clock, self.closed = path, clock, False

    def decode(self, video: int):
        with av.open(str(self.path)) as file:
            for number, frame in enumerate(file.decode(video=video)):
                self.clock.now = 1000 + number / 25
                yield frame
        self.clock.now = 1020.0

    def close(self) -> None:
        self.closed = True


def test_a_camera_that_shows_a_film_is_the_film(film: Path, whole: Timeline) -> None:
    clock, judge = Clock(), Colours()
    settings = WindowSettings.of(judge)
    camera, engine = Camera(Container(film, clock), settings.interval, SIZE, clock), Live(judge, settings, clock)
    sightings = [engine.take(sample) for sample in camera.samples()]
    sightings.append(engine.end(camera.seconds))
    assert_same(sightings, whole)
    assert camera.seconds == pytest.approx(20) and camera.container.closed


def test_through_its_threads_a_film_is_the_same(film: Path, whole: Timeline) -> None:
    """As fast as it comes: the feeder waits until a sample was taken, so none is skipped."""
    judge = Colours()
    settings = WindowSettings.of(judge)
    watching = Watch(judge, settings, Playback(film, settings.interval, SIZE, sleep=lambda _: None))
    put = watching._newest.put

    def patient(sample: Sample) -> None:
        while watching._newest._sample is not None:
            time.sleep(0.001)
        put(sample)

    watching._newest.put = patient  # type: ignore[method-assign]
    sightings = list(watching)
    assert_same(sightings, whole)
    assert sightings[-1].skipped == 0 and all(s.latency is None or s.latency < 5 for s in sightings)


@pytest.mark.parametrize("cost", [0.3, 0.8, 2.7])
def test_a_slow_encoder_skips_frames_and_is_never_late_by_more_than_one(film: Path, cost: float) -> None:
    """`cost` seconds a frame, a frame each half second: what comes meanwhile makes way for the newest."""
    clock, newest = Clock(), Newest()
    waiting = [Sample(k, f, 1000 + (k + 0.5) * 0.5) for k, f in Samples(film, 0.5, SIZE)]

    def pass_time(seconds: float) -> None:
        clock.now += seconds
        while waiting and waiting[0].arrived <= clock.now + 1e-9:
            newest.put(waiting.pop(0))

    class Slow(Colours):
        def states(self, frames: np.ndarray) -> np.ndarray:
            pass_time(cost)
            return super().states(frames)

    judge = Slow()
    engine, sightings = Live(judge, WindowSettings.of(judge), clock), []
    while waiting or newest._sample is not None:
        if newest._sample is None:
            pass_time(waiting[0].arrived - clock.now)
        sample = newest.take()
        assert sample is not None
        sightings.append(engine.take(sample, newest.skipped))
    latest = max(s.latency for s in sightings)
    assert latest <= cost + (cost if cost > 0.5 else 0) + 1e-6  # its own turn, and what was in hand when it came
    assert len(judge.encoded) + newest.skipped == 40
    assert (newest.skipped == 0) == (cost < 0.5)
    assert sightings[-1].seconds > 19.7 - cost  # nothing piles up
    if cost < 1:
        assert [s.label for s in engine.end(20).answer.segments][-1] == "blue"


def test_the_newest_wins_and_errors_come_through() -> None:
    newest, frame = Newest(), np.zeros((8, 8, 3), np.uint8)
    for number in range(4):
        newest.put(Sample(number, frame, 0.0))
    taken = newest.take()
    assert taken is not None and taken.interval == 3 and newest.skipped == 3
    with pytest.raises(VideoError, match=r"no frame for 0\.01 seconds"):
        newest.take(0.01)
    newest.put(Sample(4, frame, 0.0))
    newest.end(VideoError("broken"))
    assert newest.take() is not None  # what came before
    with pytest.raises(VideoError, match="broken"):
        newest.take()


def test_stopping_gives_all_that_is_known(film: Path) -> None:
    judge = Colours()
    settings = WindowSettings.of(judge)
    watching = Watch(judge, settings, Playback(film, settings.interval, SIZE, sleep=lambda _: time.sleep(0.01)))
    sightings = []
    for sighting in watching:
        sightings.append(sighting)
        if len(sightings) == 12:
            watching.stop()
    assert 12 <= len(sightings) <= 14
    found = [segment for s in sightings for segment in s.answer.segments]
    assert found[-1].end == sightings[-1].seconds and found[0].start == 0
    assert threading.active_count() < 10


def test_a_film_broken_in_the_middle_shows_what_came_before(tmp_path: Path) -> None:
    path = write_video(tmp_path / "broken.mkv", np.repeat(np.repeat(FRAMES, 2, 1), 2, 2))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    judge, sightings = Colours(), []
    settings = WindowSettings.of(judge)
    with pytest.raises(VideoError, match=r"broken\.mkv"):
        for sighting in Watch(judge, settings, Playback(path, settings.interval, SIZE, sleep=lambda _: None)):
            sightings.append(sighting)
    assert sightings and sightings[-1].answer.segments[-1].end == sightings[-1].seconds > 3
    with pytest.raises(VideoError, match="no such file"):
        list(watch(judge, file=tmp_path / "gone.mp4"))


def test_no_camera_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.sys, "platform", "linux")
    with pytest.raises(
        VideoError, match=r"no camera '97' \(No such file or directory\): connect one.*--camera.*--file"
    ):
        watch(Colours(), camera=97)
    with pytest.raises(OptionError, match="a number or a device such as /dev/video0, found 'http://x'"):
        watch(Colours(), camera="http://x")
    with pytest.raises(OptionError, match="stride of 1 to 4"):
        watch(Colours(), camera=97, stride=9)


def test_a_real_device_is_read_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's test picture in place of a camera: 25 frames a second, as fast as time goes."""
    monkeypatch.setattr(live, "_device", lambda name: ("lavfi", "testsrc=size=64x48:rate=25:duration=1,realtime", {}))
    judge = Colours()
    judge.clip_seconds_ = 0.4
    begin = time.monotonic()
    sightings = list(watch(judge))
    assert 0.8 < time.monotonic() - begin < 60
    assert len(judge.encoded) + sightings[-1].skipped == pytest.approx(10, abs=1)
    assert sightings[-1].about is not None


def test_a_long_gap_begins_anew_and_a_short_one_shows_the_frame_before() -> None:
    """After a pause of days no window is made up; what was certain before is told, and times go on."""
    judge = Colours()
    settings = WindowSettings.of(judge)
    step, course = settings.interval, live.Course(judge, settings)
    red, blue = (paint((colour, 1))[0] for colour in (RED, BLUE))
    for interval in range(20):
        course.add(interval, red)
    asked = judge.windows
    late = int(1e7 / step)
    gap = course.add(late, blue)
    assert judge.windows - asked <= judge.frames and gap.scores.times.max() < 20 * step
    (segment,) = gap.segments
    assert (segment.label, segment.start, segment.end) == ("red", 0.0, pytest.approx(20 * step))
    answers = [course.add(late + at, blue) for at in range(1, 20)]
    times = np.concatenate([one.scores.times for one in answers])
    assert len(times) and times.min() > late * step and (np.diff(times) > 0).all()
    last = course.end((late + 20) * step)
    assert [(one.label, one.start) for one in last.segments] == [("blue", pytest.approx(late * step))]
    short = live.Course(judge, settings)
    short.add(0, red)
    asked = judge.windows
    short.add(int(live.GAP / step) - 1, blue)
    assert judge.windows - asked > live.GAP / step - 2 * judge.frames, "a slow encoder still gives answers"
