"""What happens when in a long video: segments with a label, and the scores they come from."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kshot import video as videos
from kshot.datasets.annotations import Annotations, write
from kshot.datasets.annotations import Segment as Annotated
from kshot.datasets.annotations.forms import Film
from kshot.datasets.annotations.loading import beside
from kshot.datasets.annotations.places import header as film_of
from kshot.errors import OptionError, VideoError
from kshot.excerpts import Clip
from kshot.files import disk, write_atomic
from kshot.progress import Progress, clock, quiet
from kshot.recognizer import videos as inputs
from kshot.recognizer.classifier import UNKNOWN
from kshot.recognizer.stream.contract import Array, WindowClassifier
from kshot.recognizer.stream.cutting import Footage
from kshot.recognizer.stream.formats import OWN, check_format, check_picture
from kshot.recognizer.stream.windows import Answer, Engine, Scores, Segment, WindowSettings
from kshot.recognizer.thresholds import Threshold, finite
from kshot.terminal import percent
from kshot.video.container import FOLDER_FPS
from kshot.video.looks import noted
from kshot.video.shots import Shots, grey
from kshot.video.workers import Stream

FRAMES_AT_ONCE = 16
STILLS = 32  # pictures kept for the filmstrip, at most


@dataclass(frozen=True)
class Timeline:
    """What a recognizer sees in a long video.

    Attributes:
        video: its path, or "" for an array.
        duration: seconds that were read.
        fps: frames a second of the video, not those encoded.
        frames: how many were decoded, each once.
        looked_at: how many of them were encoded, each once.
        classes: (C,) the trained labels, the columns of `proba`.
        times: (n,) seconds, the middle of each window.
        proba: (n, C) probabilities, smoothed over time.
        known: (n,) how much each window looks like a trained class, smoothed.
        labels: (n,) the label of each window; "unknown" below the threshold.
        segments: from 0 to `duration` without gaps, "unknown" where no label is believed.
        settings: how it was cut into windows, see `kshot.recognizer.stream.windows.WindowSettings`.
        notes: what one should know, such as where a broken file ended.
        complete: whether all of the video could be read.
        stills: a few (seconds, picture (S, S, 3) uint8) for the filmstrip.
    """

    video: str
    duration: float
    fps: float
    frames: int
    looked_at: int
    classes: Array
    times: Array
    proba: Array
    known: Array
    labels: Array
    segments: list[Segment]
    settings: WindowSettings
    notes: list[str] = field(default_factory=list)
    complete: bool = True
    stills: list[tuple[float, Array]] = field(default_factory=list, repr=False, compare=False)

    def as_table(self) -> str:
        """Lines of text for people: start, end, label, score."""
        rows = [("start", "end", "label", "score")]
        rows += [(clock(s.start), clock(s.end), s.label, _score(s)) for s in self.segments]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = (
            f"{start:>{widths[0]}}  {end:>{widths[1]}}  {label:<{widths[2]}}  {score:>{widths[3]}}".rstrip()
            for start, end, label, score in rows
        )
        return "\n".join(lines) + "\n"

    def plain(self) -> dict[str, Any]:
        """Everything but the stills, ready for JSON: segments in seconds, scores of every window."""
        classes = [str(name) for name in self.classes]
        limits = dict(zip(classes, map(finite, self.settings.limits(len(classes)).tolist()), strict=True))
        return {
            "video": self.video,
            "duration": round(self.duration, 3),
            "fps": round(self.fps, 3),
            "frames": self.frames,
            "looked_at": self.looked_at,
            "complete": self.complete,
            "notes": self.notes,
            "segments": [segment.plain() for segment in self.segments],
            "classes": classes,
            "times": _rounded(self.times),
            "labels": [str(label) for label in self.labels],
            "proba": [_rounded(row) for row in self.proba],
            "known": _rounded(self.known),
            "settings": asdict(self.settings) | {"threshold": finite(self.settings.threshold), "thresholds": limits},
        }

    def as_json(self) -> str:
        """`plain` as one JSON object."""
        return json.dumps(self.plain(), ensure_ascii=False) + "\n"

    def as_csv(self) -> str:
        """Rows path, label, start, end, score, in seconds, as a table of clips has them; "unknown" has no row."""
        return self.written("csv")

    def as_webvtt(self) -> str:
        """Subtitles that players and browsers show over the video; "unknown" stays without one."""
        return self.written("vtt")

    def as_label_studio(self) -> str:
        """A task with predictions to import into Label Studio: regions of its tag TimelineLabels, in frames from 1.

        The tags are called `video` (with `value="$video"` and `frameRate="$fps"`) and `videoLabels`.
        """
        return self.written("label-studio")

    def annotations(self, folder: Path | None = None) -> Annotations:
        """The segments of actions as `kshot.datasets.annotations` takes them; "unknown" is no action.

        Args:
            folder: where they are to be written, as seen from which the path of the video is; None for as it is.
        """
        path = self.video if folder is None or not self.video else beside(self.video, folder)
        header = film_of(Path(self.video)) if self.video else Film()
        segments = [
            Annotated(path, s.start, s.end, s.label, score=s.score) for s in self.segments if s.label != UNKNOWN
        ]
        film = Film(self.fps, self.duration, header.size)
        return Annotations(segments, {path: film}, labels=tuple(str(name) for name in self.classes))

    def written(self, format: str = "table", folder: Path | None = None) -> str:
        """The timeline as one of `FORMATS`.

        Args:
            format: its name.
            folder: as for `annotations`.

        Raises:
            OptionError: no such format.
        """
        check_format(format)
        if format in OWN:
            text: str = getattr(self, f"as_{format}")()
            return text
        return write(self.annotations(folder), format)[0]

    def picture(self, path: str | os.PathLike[str]) -> Path:
        """Draws filmstrip, segments and score curves into a PNG, SVG or PDF file, as its name says.

        Letters that no font of this machine has are told among `notes`.

        Raises:
            OptionError: another kind of file.
            StoreError: it cannot be written.
        """
        from kshot import fonts
        from kshot.recognizer.stream import picture

        target = Path(path)
        data, missing = picture.draw(self, check_picture(target))
        if missing and (note := fonts.advice(missing)) not in self.notes:
            self.notes.append(note)
        with disk(target):
            write_atomic(target, data)
        return target


def timeline(
    recognizer: WindowClassifier,
    video: Any,
    window: float | None = None,
    stride: int | None = None,
    smooth: float | None = None,
    shortest: float | None = None,
    fps: float = FOLDER_FPS,
    timeout: float = 60.0,
    progress: Progress = quiet,
    threshold: Threshold = None,
) -> Timeline:
    """What happens when in a video; see `Recognizer.timeline`."""
    item = _one(video)
    settings = WindowSettings.of(recognizer, window, stride, smooth, shortest, threshold)
    size, framing = recognizer.size, recognizer.framing
    source: Stream | _Pictures
    if isinstance(item, Clip):
        source = Stream(item, settings.interval, size, timeout, framing)
    else:
        source = _Pictures(item, settings.interval, size, fps, framing)
    engine, stills = Engine(recognizer, settings), _Stills(settings.interval)
    footage = Footage(recognizer, settings, recognizer.action_seconds if window is None else {})
    answers, looked_at = [], 0
    with _ahead(source) as batches:
        first = next(batches, None)  # by then the length that the header announces is known
        with progress(footage.title, source.announced, "seconds") as step:
            for intervals, frames in chain([first] if first else [], batches):
                before = engine.intervals
                states = recognizer.states(frames)
                answers.append(engine.take(intervals, states))
                footage.add(intervals, states, source.begins)
                stills.add(intervals, frames)
                looked_at += len(frames)
                step((engine.intervals - before) * settings.interval)
    answers.append(engine.end(source.seconds))
    notes = [f"read up to {clock(source.seconds)} only: {source.failure}"] if source.failure else []
    notes += [note.removeprefix("1 clip is ") for note in noted([source.looks])]
    if engine.intervals < recognizer.frames_:
        answers = [_whole(recognizer, item, source.seconds, settings)]
        notes.append(
            f"{source.seconds:.2f} seconds are less than a window of {settings.window:.2f}: answered as one clip, "
            "with frames from all of it"
        )
        segments = answers[0].segments
    else:
        limits = settings.limits(len(recognizer.classes_))
        segments = footage.segments(source.seconds, engine.intervals, source.begins, limits)
    scores = Scores.joined([answer.scores for answer in answers])
    return Timeline(
        video=str(item) if isinstance(item, Clip) else "",
        duration=source.seconds,
        fps=source.fps,
        frames=source.frames,
        looked_at=looked_at,
        classes=recognizer.classes_,
        times=scores.times,
        proba=scores.proba,
        known=scores.known,
        labels=np.array([label for answer in answers for label in answer.labels]),
        segments=segments,
        settings=settings,
        notes=notes,
        complete=not source.failure,
        stills=stills.kept,
    )


def _one(video: Any) -> Clip | Array:
    found = inputs.listed(video)
    if len(found) != 1:
        raise OptionError(f"expected one video, found {len(found)}: make a timeline of each")
    return found[0]


def _whole(recognizer: WindowClassifier, item: Clip | Array, seconds: float, settings: WindowSettings) -> Answer:
    """The answer for a video that is shorter than a window, the same as that of `predict`."""
    read = inputs.frames_of([item], recognizer.frames_, recognizer.size, 60.0, True, recognizer.framing)
    taken = next(read)  # its notes say what is lost
    if isinstance(taken, VideoError):
        raise taken
    decision = recognizer.decide(recognizer.states(taken.frames)[None])
    best = int(decision.proba[0].argmax())
    known = decision.known[0] >= settings.limits(len(recognizer.classes_))[best]
    label = str(recognizer.classes_[best]) if known else UNKNOWN
    score = None if label == UNKNOWN else float(decision.proba[0].max())
    scores = Scores(np.array([seconds / 2]), decision.proba.astype(np.float64), decision.known.astype(np.float64))
    return Answer(scores, [label], [Segment(0.0, seconds, label, score)])


class _Pictures:
    """An array of frames (T, H, W, 3) as a source like `kshot.video.workers.Stream`."""

    failure = ""
    looks: tuple[str, ...] = ()

    def __init__(self, frames: Array, interval: float, size: int, fps: float, framing: videos.Framing) -> None:
        if not 0 < fps < math.inf:
            raise OptionError(f"expected more than 0 frames a second, found {fps:g}")
        self.pictures, self.frames, self.size, self.fps = frames, len(frames), size, fps
        self.framing = framing
        self.grid = videos.Grid(interval)
        self.seconds = self.announced = len(frames) / fps
        self._shots = Shots()
        self.begins = self._shots.begins

    def samples(self) -> Generator[tuple[int, Array]]:
        for index in range(self.frames):
            self._shots.add(index / self.fps, grey(Image.fromarray(self.pictures[index])))
            yield from self._due(self.grid.add(index / self.fps, index))
        yield from self._due(self.grid.end(self.seconds))
        self._shots.end()

    def _due(self, due: tuple[int, int] | None) -> Iterator[tuple[int, Array]]:
        if due:
            yield due[0], videos.preprocess(self.pictures[due[1]][None], self.size, self.framing)[0]

    def stop(self) -> None:
        """Nothing runs."""


class _Stills:
    """A few frames at even distances of a video of any length: when there are too many, every other one goes."""

    def __init__(self, interval: float) -> None:
        self.interval, self.every = interval, 1  # one still each so many intervals
        self._found: dict[int, tuple[int, Array]] = {}

    def add(self, intervals: Sequence[int], frames: Array) -> None:
        for interval, frame in zip(intervals, frames, strict=True):
            if interval // self.every not in self._found:
                self._found[interval // self.every] = interval, frame.copy()  # not the whole batch
            if len(self._found) > STILLS:
                self.every *= 2
                later = {number // self.every: (number, still) for number, still in reversed(self._found.values())}
                self._found = dict(reversed(later.items()))

    @property
    def kept(self) -> list[tuple[float, Array]]:
        return [((number + 0.5) * self.interval, frame) for number, frame in self._found.values()]


@contextmanager
def _ahead(source: Stream | _Pictures) -> Iterator[Iterator[tuple[list[int], Array]]]:
    """Batches of samples; the next one is read while the encoder has this one. Stops the source in the end."""
    samples = source.samples()

    def read() -> tuple[list[int], Array] | None:
        batch = list(islice(samples, FRAMES_AT_ONCE))
        return ([interval for interval, _ in batch], np.stack([frame for _, frame in batch])) if batch else None

    def batches() -> Iterator[tuple[list[int], Array]]:
        coming = pool.submit(read)
        while batch := coming.result():
            coming = pool.submit(read)
            yield batch

    with closing(samples), ThreadPoolExecutor(1, thread_name_prefix="kshot-timeline") as pool:
        try:
            yield batches()
        finally:
            source.stop()


def _rounded(values: Array) -> list[float]:
    rounded: list[float] = np.round(values.astype(np.float64), 4).tolist()
    return rounded


def _score(segment: Segment) -> str:
    return "" if segment.score is None else percent(segment.score)
