"""The label of what a camera sees now, from the same engine that long files go through.

One thread takes frames from the camera as they come and keeps the newest one that the model needs; the other
encodes. A slow encoder therefore misses frames, but is never late by more than the frame in its hands: the interval of
a missed frame shows the one before it.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av

from kshot.errors import OptionError, VideoError
from kshot.recognizer.stream.contract import Array, WindowClassifier
from kshot.recognizer.stream.windows import Answer, Engine, Scores, WindowSettings
from kshot.recognizer.thresholds import Threshold
from kshot.video import FRAMINGS, Framing, Grid, preprocess
from kshot.video.workers import Stream

GAP = 30.0  # seconds without a frame that are filled by the one before
PATIENCE = 10.0  # seconds without a frame until a camera counts as gone

Clock = Callable[[], float]


@dataclass(frozen=True)
class Sample:
    """A frame that the model needs.

    Attributes:
        interval: which one it is of.
        frame: (S, S, 3) uint8.
        arrived: when it came, in seconds on the clock.
    """

    interval: int
    frame: Array
    arrived: float


@dataclass(frozen=True)
class Sighting:
    """What is known after one more frame.

    Attributes:
        seconds: since the beginning.
        about: seconds of the moment that the label is about, somewhat earlier; None until a window is full.
        label: of that moment.
        score: probability of its likeliest class.
        answer: all that has become certain with this frame, segments included.
        latency: seconds from the arrival of the frame to this answer; None for what is left in the end.
        frames: how many were encoded so far.
        skipped: how many made way for newer ones.
    """

    seconds: float
    about: float | None
    label: str
    score: float
    answer: Answer
    latency: float | None
    frames: int
    skipped: int


class Newest:
    """Holds one sample; a newer one takes its place."""

    def __init__(self) -> None:
        self.skipped = 0
        self._sample: Sample | None = None
        self._ended: BaseException | bool = False
        self._change = threading.Condition()

    def put(self, sample: Sample) -> None:
        with self._change:
            self.skipped += self._sample is not None
            self._sample = sample
            self._change.notify()

    def end(self, error: BaseException | None = None) -> None:
        """No more samples come; an error is raised where they are taken, after the last one."""
        with self._change:
            self._ended = error or True
            self._change.notify()

    def take(self, patience: float | None = None) -> Sample | None:
        """The newest sample, waiting for it; None where the stream ends.

        Raises:
            VideoError: none came for so many seconds.
        """
        with self._change:
            if not self._change.wait_for(lambda: self._sample is not None or self._ended, patience):
                raise VideoError(f"the camera has given no frame for {patience:g} seconds: is it in use elsewhere?")
            sample, self._sample = self._sample, None
        if sample is None and isinstance(self._ended, BaseException):
            raise self._ended
        return sample


class Course:
    """The engine for a stream that may stand still: after a gap of more than `GAP` seconds it begins anew.

    A shorter gap shows the frame before it. What a longer one hides is not made up, and costs neither time nor memory.

    Attributes:
        intervals: how many have had a frame since the last gap.
    """

    def __init__(self, recognizer: WindowClassifier, settings: WindowSettings) -> None:
        self._recognizer, self._settings = recognizer, settings
        self._engine, self._begin, self._next = Engine(recognizer, settings), 0, 0
        self._longest = max(recognizer.frames_, math.ceil(GAP / settings.interval))

    @property
    def intervals(self) -> int:
        return self._engine.intervals

    def add(self, interval: int, frame: Array) -> Answer:
        """Takes the frame (S, S, 3) of an interval, ascending."""
        ended = None
        if interval - self._next > self._longest:
            if self._engine.intervals:
                ended = self.end(self._next * self._settings.interval)
            self._engine, self._begin = Engine(self._recognizer, self._settings), interval
        self._next = interval + 1
        answer = self._shifted(self._engine.add([interval - self._begin], frame[None]))
        return answer if ended is None else _joined(ended, answer)

    def end(self, seconds: float) -> Answer:
        """Ends a stream of that length: all that is left."""
        return self._shifted(self._engine.end(seconds - self._begin * self._settings.interval))

    def _shifted(self, answer: Answer) -> Answer:
        """In seconds since the beginning of the stream."""
        if not self._begin:
            return answer
        by = self._begin * self._settings.interval
        segments = [replace(one, start=one.start + by, end=one.end + by) for one in answer.segments]
        return replace(answer, scores=replace(answer.scores, times=answer.scores.times + by), segments=segments)


def _joined(one: Answer, other: Answer) -> Answer:
    scores = Scores.joined([one.scores, other.scores])
    return Answer(scores, one.labels + other.labels, one.segments + other.segments)


class Live:
    """The engine, fed one sample at a time."""

    def __init__(self, recognizer: WindowClassifier, settings: WindowSettings, clock: Clock = time.monotonic) -> None:
        self.interval = settings.interval
        self.clock = clock
        self._course, self._frames = Course(recognizer, settings), 0
        self._about: float | None = None
        self._label, self._score = "", 0.0

    def take(self, sample: Sample, skipped: int = 0) -> Sighting:
        """The answer after one more sample."""
        answer = self._course.add(sample.interval, sample.frame)
        self._frames += 1
        seconds = (sample.interval + 0.5) * self.interval
        return self._sighting(seconds, answer, self.clock() - sample.arrived, skipped)

    def end(self, seconds: float, skipped: int = 0) -> Sighting:
        """The answer that is left where a stream of that length ends."""
        return self._sighting(seconds, self._course.end(seconds), None, skipped)

    def _sighting(self, seconds: float, answer: Answer, latency: float | None, skipped: int) -> Sighting:
        if answer.labels:
            self._about = float(answer.scores.times[-1])
            self._label, self._score = answer.labels[-1], float(answer.scores.proba[-1].max())
        return Sighting(seconds, self._about, self._label, self._score, answer, latency, self._frames, skipped)


class Playback:
    """A file played at its own speed, as if it were seen live. Its samples come when they are due."""

    patience = None  # the decoder has its own

    def __init__(
        self,
        path: str | os.PathLike[str],
        interval: float,
        size: int,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        framing: Framing = FRAMINGS["short"],
    ) -> None:
        self.interval, self.clock, self.sleep = interval, clock, sleep
        self._stream = Stream(path, interval, size, framing=framing)

    @property
    def seconds(self) -> float:
        return self._stream.seconds

    @property
    def failure(self) -> str:
        return self._stream.failure

    def samples(self) -> Generator[Sample]:
        begin: float | None = None
        with closing(self._stream.samples()) as samples:
            for interval, frame in samples:
                begin = self.clock() if begin is None else begin  # not before the decoder has started
                due = begin + (interval + 0.5) * self.interval
                self.sleep(max(0.0, due - self.clock()))
                yield Sample(interval, frame, due)

    def stop(self) -> None:
        self._stream.stop()


class Camera:
    """Frames of a camera, or of anything else that PyAV has opened, by the clock on the wall."""

    failure = ""
    patience = PATIENCE

    def __init__(
        self,
        container: Any,
        interval: float,
        size: int,
        clock: Clock = time.monotonic,
        framing: Framing = FRAMINGS["short"],
    ) -> None:
        self.container, self.size, self.clock, self.framing = container, size, clock, framing
        self.seconds = 0.0
        self._grid = Grid(interval)
        self._stopped = False

    def samples(self) -> Generator[Sample]:
        begin: float | None = None
        with closing(self.container):
            try:
                for frame in self.container.decode(video=0):
                    now = self.clock()
                    begin = now if begin is None else begin
                    self.seconds = now - begin
                    due = self._grid.add(self.seconds, (frame, now))
                    if self._stopped:
                        return
                    if due:
                        yield self._sample(*due)
            except av.error.FFmpegError as error:
                self.failure = f"the camera has stopped ({error.strerror or error})"
            if begin is not None:
                self.seconds = self.clock() - begin
                due = self._grid.end(self.seconds)
                if due:
                    yield self._sample(*due)

    def _sample(self, interval: int, taken: tuple[Any, float]) -> Sample:
        frame, arrived = taken
        picture = frame.to_ndarray(format="rgb24")[None]
        return Sample(interval, preprocess(picture, self.size, self.framing)[0], arrived)

    def stop(self) -> None:
        self._stopped = True


def open_camera(name: str) -> Any:
    """Opens a camera by number or name.

    Raises:
        VideoError: there is none of that name, or it cannot be used.
        OptionError: a name that cannot be a camera's.
    """
    kind, target, options = _device(name)
    try:
        return av.open(target, format=kind, options=options)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(
            f"no camera '{name}' ({reason}): connect one, name {_found()} with --camera, or play a file with --file"
        ) from None


def _device(name: str) -> tuple[str, str, dict[str, str]]:
    """How FFmpeg calls a camera: its kind of device, the name, and options."""
    if sys.platform == "darwin":
        return "avfoundation", f"{name}:none", {"framerate": "30"}
    if sys.platform == "win32":
        return "dshow", f"video={name}", {}
    path = f"/dev/video{name}" if name.isdecimal() else name
    if not path.startswith("/dev/"):
        raise OptionError(f"a camera is a number or a device such as /dev/video0, found '{name}'")
    return "video4linux2", path, {"video_size": "640x480"}


def _found() -> str:
    found = sorted(str(path) for path in Path("/dev").glob("video*")) if sys.platform == "linux" else []
    return f"one of {', '.join(found)}" if found else "another"


def watch(
    recognizer: WindowClassifier,
    camera: str | int = "0",
    file: str | os.PathLike[str] | None = None,
    window: float | None = None,
    stride: int | None = None,
    smooth: float | None = None,
    shortest: float | None = None,
    threshold: Threshold = None,
) -> Watch:
    """What a camera sees, or a file that is played at its own speed.

    Args:
        recognizer: a fitted one.
        camera: number or name of the device.
        file: played in place of a camera.
        window: as in `Recognizer.timeline`.
        stride: as there.
        smooth: as there.
        shortest: as there.
        threshold: as there.

    Raises:
        VideoError: there is no such camera.
        OptionError: an impossible value.
    """
    settings = WindowSettings.of(recognizer, window, stride, smooth, shortest, threshold)
    size, framing = recognizer.size, recognizer.framing
    if file is not None:
        return Watch(recognizer, settings, Playback(file, settings.interval, size, framing=framing))
    return Watch(recognizer, settings, Camera(open_camera(str(camera)), settings.interval, size, framing=framing))


class Watch:
    """Iterating gives a sighting for each frame that is encoded, until the stream ends or `stop` is called.

    Raises:
        VideoError: while iterating: a file that cannot be read, or a camera that is gone; what was seen stays seen.
    """

    def __init__(self, recognizer: WindowClassifier, settings: WindowSettings, source: Playback | Camera) -> None:
        self.settings, self.source = settings, source
        self._live, self._newest = Live(recognizer, settings), Newest()
        self._stopped = False

    def __iter__(self) -> Iterator[Sighting]:
        feeder = threading.Thread(target=self._feed, name="kshot-watch", daemon=True)
        feeder.start()
        seconds = 0.0
        try:
            while (sample := self._newest.take(self.source.patience)) is not None and not self._stopped:
                sighting = self._live.take(sample, self._newest.skipped)
                seconds = sighting.seconds
                yield sighting
            yield self._live.end(seconds if self._stopped else self.source.seconds, self._newest.skipped)
        finally:
            self.source.stop()
            feeder.join(1.0)
        if self.source.failure and not self._stopped:
            raise VideoError(self.source.failure)

    def stop(self) -> None:
        """Ends the iteration with all that is known by then; safe in a signal handler and in another thread."""
        self._stopped = True
        self._newest.end()

    def _feed(self) -> None:
        try:
            for sample in self.source.samples():
                self._newest.put(sample)
            self._newest.end()
        except BaseException as error:
            self._newest.end(error)
