"""Videos that were put in to be recognised: asked one after the other, in the background."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kshot.errors import DataError, KshotError, OptionError, VideoError
from kshot.progress import Step
from kshot.studio.meter import Cancelled
from kshot.studio.project import UNKNOWN, Closed, Project
from kshot.studio.taught import Taught
from kshot.studio.work import Closing, Work
from kshot.video.workers import Job, decode

if TYPE_CHECKING:
    from kshot.recognizer import Recognizer

LONG = 1.75  # times the length of a taught clip: what is longer may show more than one action


class Tries:
    """Asks the taught model about videos.

    Args:
        project, work, taught: where they are, who is at work, and the model.
        named: a message with the videos called what the person calls them.
        notify: called whenever there is something new to show.

    Attributes:
        waiting: ids of the videos that are being looked at, or soon will be.
    """

    def __init__(
        self, project: Project, work: Work, taught: Taught, named: Callable[[str], str], notify: Callable[[], None]
    ) -> None:
        self.project, self.work, self.taught = project, work, taught
        self.waiting: set[str] = set()
        self._named, self._notify = named, notify
        self._mutex = threading.Lock()
        self._asked: deque[str] = deque()
        self._runs = False

    def expect(self, *ids: str) -> None:
        """Lets the page say that these are looked at, before that can begin: `ask` follows."""
        with self._mutex:
            self.waiting.update(ids)

    def ask(self, *ids: str) -> None:
        """Asks what videos show. Where nothing was taught, or the studio is closing, nothing happens."""
        with self._mutex:
            self.waiting.difference_update(ids)
            if not self.project.state.taught:
                return
            with contextlib.suppress(Closing):
                if not self._runs:
                    self.work.start("recognise", self._run)
                    self._runs = True
                self._asked += [id for id in ids if id not in self._asked]
                self.waiting.update(ids)
        self._notify()

    def again(self, id: str) -> None:
        """Asks once more, such as about a video that was being looked at when the server ended.

        Raises:
            KshotError: there is no such video, it is a clip, or nothing was taught.
        """
        self.taught.folder  # noqa: B018  (raises)
        if self.project.video(id).label is not None:
            raise OptionError("that video is a clip of an action: only what was put in to be tried is asked about")
        self.expect(id)
        self.project.set_video(id, answer=None, error="")
        self.ask(id)

    def _run(self) -> None:
        while True:
            with self._mutex:
                if not self._asked or self.work.ending.is_set():
                    self._runs = False
                    return
                id = self._asked.popleft()
            try:
                self._answer(id)
            except (Cancelled, Closed):
                continue  # no answer: to be asked again
            except KshotError as error:  # the disk may be full
                with contextlib.suppress(KshotError):
                    self.project.set_video(id, answer=None, error=str(error))
            finally:
                with self._mutex:
                    if id not in self._asked:
                        self.waiting.discard(id)
                self._notify()

    def _answer(self, id: str) -> None:
        taught = self.project.state.taught
        try:
            video = self.project.video(id)
        except DataError:
            return
        if taught is None or video.label is not None:
            return
        answer, error = None, ""
        try:
            answer = self._seen(self.taught.model(), self.project.path(video), video.seconds)
        except KshotError as failed:
            error = self._named(str(failed))
        except Exception as failed:
            error = f"a fault of kshot: {type(failed).__name__}: {failed}"
        if error and self.work.ending.is_set():
            return  # it was the end of the decoder, no fault of the video
        if answer is not None:
            answer["model"] = taught["model"]
        with contextlib.suppress(DataError):  # it was removed meanwhile
            self.project.set_video(id, answer=answer, error=error)

    def _seen(self, recognizer: Recognizer, path: Path, seconds: float) -> dict[str, Any]:
        """What a video shows, as plain JSON: one label for what is about as long as a clip, else segments."""
        backbone = recognizer.learner_.backbone
        assert backbone is not None
        if seconds > LONG * recognizer.clip_seconds_:
            seen = recognizer.timeline(path, progress=self._stoppable)
            return {
                "kind": "film",
                "seconds": seen.duration,
                "classes": [str(name) for name in seen.classes],
                "segments": [segment.plain() for segment in seen.segments],
                "times": np.round(seen.times, 3).tolist(),
                "proba": np.round(seen.proba.astype(float), 4).tolist(),
                "notes": [self._named(note) for note in seen.notes],
            }
        taken = next(decode([Job(path, recognizer.frames, size=backbone.size, allow_damaged=True)], workers=1))[1]
        if isinstance(taken, VideoError):
            raise taken
        told = recognizer.decide(recognizer.states(taken.frames)[None])
        label = str(told.labels[0])
        score = None if label == UNKNOWN else round(float(told.proba[0].max()), 4)
        return {
            "kind": "clip",
            "seconds": seconds,
            "classes": [str(name) for name in recognizer.classes_],
            "segments": [{"start": 0.0, "end": seconds, "label": label, "score": score}],
            "times": [seconds / 2],
            "proba": np.round(told.proba.astype(float), 4).tolist(),
            "notes": [str(taken.damage)] if taken.damage else [],
        }

    @contextmanager
    def _stoppable(self, title: str, total: float, unit: str) -> Iterator[Step]:
        """A `kshot.progress.Progress` that shows nothing, and ends the work when the studio closes."""

        def step(done: float = 1, note: str = "") -> None:
            if self.work.ending.is_set():
                raise Cancelled

        yield step
