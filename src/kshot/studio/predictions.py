"""What the model says of the queries: one after the other, in the background."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from kshot.errors import DataError, KshotError, OptionError, VideoError
from kshot.progress import Step
from kshot.studio.meter import Cancelled
from kshot.studio.project import UNKNOWN, Closed, Project
from kshot.studio.state import PredictedSegment, Prediction, Video
from kshot.studio.trained import TrainedModel
from kshot.studio.work import Closing, Jobs
from kshot.video.workers import Job, decode

WINDOWS = 2400  # of a film, whose scores are kept and drawn: an hour has more
LONG = 1.75  # times the length of a clip that the model was trained on: what is longer may show more than one action


class Predictions:
    """Has the trained model say what videos show.

    Args:
        project: where they are.
        work: who is at work.
        trained: the model.
        named: a message with the videos called what the person calls them.
        notify: called whenever there is something new to show.

    Attributes:
        project: as given.
        work: as given.
        trained: as given.
        waiting: ids of the videos whose turn it is, or soon will be.
        progress: id of a long video that is being looked through -> share that was.
    """

    def __init__(
        self,
        project: Project,
        work: Jobs,
        trained: TrainedModel,
        named: Callable[[str], str],
        notify: Callable[[], None],
    ) -> None:
        self.project, self.work, self.trained = project, work, trained
        self.waiting: set[str] = set()
        self.progress: dict[str, float] = {}
        self._named, self._notify = named, notify
        self._mutex = threading.Lock()
        self._queue: deque[str] = deque()
        self._runs = False

    def announce(self, *ids: str) -> None:
        """Lets the page say that these are on their way, before that can begin: `add` follows."""
        with self._mutex:
            self.waiting.update(ids)

    def add(self, *ids: str) -> None:
        """Queues videos. Where nothing was trained, or the studio is closing, nothing happens."""
        with self._mutex:
            self.waiting.difference_update(ids)
            if not self.project.state.trained:
                return
            with contextlib.suppress(Closing):
                if not self._runs:
                    self.work.start("recognise", self._run)
                    self._runs = True
                self._queue += [id for id in ids if id not in self._queue]
                self.waiting.update(ids)
        self._notify()

    def cancel(self, id: str) -> None:
        """Has a long video looked through no further."""
        with self._mutex:
            self.waiting.discard(id)
            if id in self._queue:
                self._queue.remove(id)
        self._notify()

    def retry(self, id: str) -> None:
        """Queues a video once more, such as one whose turn it was when the server ended.

        Raises:
            KshotError: there is no such video, it is a clip, or nothing was trained.
        """
        self.trained.folder  # noqa: B018  (raises)
        if self.project.video(id).label is not None:
            raise OptionError("that video is a clip of an action: only what was put in to be tried is asked about")
        self.announce(id)
        self.project.set_video(id, prediction=None, error="")
        self.add(id)

    def _run(self) -> None:
        while True:
            with self._mutex:
                if not self._queue or self.work.ending.is_set():
                    self._runs = False
                    return
                id = self._queue.popleft()
            try:
                self._predict(id)
            except (Cancelled, Closed):
                continue  # no prediction: to be tried again
            except KshotError as error:  # the disk may be full
                with contextlib.suppress(KshotError):
                    self.project.set_video(id, prediction=None, error=str(error))
            finally:
                self.progress.pop(id, None)
                with self._mutex:
                    if id not in self._queue:
                        self.waiting.discard(id)
                self._notify()

    def _predict(self, id: str) -> None:
        trained = self.project.state.trained
        try:
            video = self.project.video(id)
        except DataError:
            return
        if trained is None or video.label is not None:
            return
        prediction, error = None, ""
        try:
            prediction = self._prediction(trained.model, self.project.path(video), video)
        except KshotError as failed:
            error = self._named(str(failed))
        except Exception as failed:
            error = f"a fault of kshot: {type(failed).__name__}: {failed}"
        if error and self.work.ending.is_set():
            return  # it was the end of the decoder, no fault of the video
        with contextlib.suppress(DataError):  # it was removed meanwhile
            self.project.set_video(id, prediction=prediction, error=error)

    def _prediction(self, model: str, path: Path, video: Video) -> Prediction:
        """What a video shows: one label for what is about as long as a clip, else segments.

        Args:
            model: name of the model's folder.
            path: its file.
            video: the video.
        """
        threshold = self.project.state.threshold
        recognizer = self.trained.model()
        backbone = recognizer.learner_.backbone
        assert backbone is not None
        if video.film or video.seconds > LONG * recognizer.clip_seconds_:
            seen = recognizer.timeline(path, progress=partial(self._stoppable, video.id))
            shown = np.unique(np.linspace(0, len(seen.times) - 1, min(len(seen.times), WINDOWS)).round().astype(int))
            return Prediction(
                kind="film",
                seconds=seen.duration,
                classes=[str(name) for name in seen.classes],
                segments=[PredictedSegment(**segment.plain()) for segment in seen.segments],
                times=np.round(seen.times[shown], 3).tolist(),
                proba=np.round(seen.proba[shown].astype(float), 3 if len(shown) == WINDOWS else 4).tolist(),
                notes=[self._named(note) for note in seen.notes],
                model=model,
                threshold=threshold,
            )
        job = Job(path, recognizer.frames_, size=backbone.size, framing=recognizer.framing, allow_damaged=True)
        taken = next(decode([job], workers=1))[1]
        if isinstance(taken, VideoError):
            raise taken
        decided = recognizer.decide(recognizer.states(taken.frames)[None])
        label = str(decided.labels[0])
        score = None if label == UNKNOWN else round(float(decided.proba[0].max()), 4)
        return Prediction(
            kind="clip",
            seconds=video.seconds,
            classes=[str(name) for name in recognizer.classes_],
            segments=[PredictedSegment(0.0, video.seconds, label, score)],
            times=[video.seconds / 2],
            proba=np.round(decided.proba.astype(float), 4).tolist(),
            notes=[str(taken.damage)] * bool(taken.damage) + [f"It is {', '.join(taken.looks)}."] * bool(taken.looks),
            model=model,
            threshold=threshold,
        )

    @contextmanager
    def _stoppable(self, id: str, title: str, total: float, unit: str) -> Iterator[Step]:
        """A `kshot.progress.Progress` of a video, which ends the work when the studio closes or the video goes."""
        seen, told = 0.0, 0.0

        def step(done: float = 1, note: str = "") -> None:
            nonlocal seen, told
            if self.work.ending.is_set() or id not in self.waiting:
                raise Cancelled
            seen += done
            self.progress[id] = min(1.0, seen / total) if total else 0.0
            if time.monotonic() - told > 0.5:
                told = time.monotonic()
                self._notify()

        yield step
