"""What the studio does in the background: draws the example, trains, recognises. One of each at a time."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kshot.errors import DataError, KshotError
from kshot.files import disk
from kshot.studio.annotations import expecting_video
from kshot.studio.doubts import LONG
from kshot.studio.meter import Cancelled, Meter
from kshot.studio.predictions import Predictions
from kshot.studio.project import Project
from kshot.studio.reader import Reader, even, write_video
from kshot.studio.state import Label, ModelRecord, TrainingProgress, Video
from kshot.studio.teaching import CannotTeach, teach
from kshot.studio.trained import TrainedModel
from kshot.studio.words import named, plain
from kshot.studio.work import Jobs

if TYPE_CHECKING:
    from kshot.recognizer import Recognizer
    from kshot.studio.browser_camera import BrowserCamera

EXAMPLE = ("wave", "jumping jacks", "bow", "push-ups")
EXAMPLE_CLIPS = 5
EXAMPLE_FILM = ("jumping jacks", "punch", "bow", "wave", "push-ups")  # "punch" is not among those to train on
GRACE = 10.0  # seconds that what runs has to end in, once the studio closes
UNSEEN = 20  # number of the first drawn clip that is used for trying, by a performer whom no clip of the example shows


class Busy(KshotError):
    """Something that can be done once at a time is being done."""


class StudioEngine:
    """Works on a project in threads of its own.

    Args:
        project: what to work on.
        notify: called, from any thread, whenever there is something new to show.
        device: where the backbone computes.

    Attributes:
        project: as given.
        device: as given.
        reader: reads videos.
        meter: how far the training is; None while nothing is trained.
        work: who is writing to the project.
        trained: the model.
        predictions: what it says of the queries.
        doubtful: id -> a video that waits until a person says whether it becomes a clip, and what speaks against it.
    """

    def __init__(self, project: Project, notify: Callable[[], None], device: str = "cpu") -> None:
        self.project = project
        self.device = device
        self.reader = Reader()
        self.meter: Meter | None = None
        self.work = Jobs()
        self.trained = TrainedModel(project, device)
        self.predictions = Predictions(project, self.work, self.trained, lambda: self._notify())
        self.doubtful: dict[str, tuple[Video, str]] = {}
        self._notify = notify
        self._gate = threading.Lock()
        self._training: threading.Thread | None = None
        self._ready: threading.Thread | None = None
        self._camera: BrowserCamera | None = None
        self._unseen = int(time.time())

    def begin(self, example: bool = True) -> None:
        """Opens the project: a new one begins with the example, and the drawing of one that was cut off goes on.

        A video whose turn it was when the server ended is not taken up by itself, as it may have been what
        ended it: the page offers to try again.
        """
        if self.project.fresh and example:
            self.draw_example()
        elif self.project.state.drawing:
            self._start_drawing()
        self._ready = threading.Thread(target=self._get_ready, name="kshot-ready", daemon=True)
        self._ready.start()

    def _get_ready(self) -> None:
        """Imports what training needs, while the person looks at the page, and checks whether the model still fits."""
        from kshot.recognizer import Recognizer  # noqa: F401

        if self.trained.check():
            self._notify()

    def begin_with(self, folder: Path, model: Recognizer) -> None:
        """Begins a new project with a model and its folder; one that began with it goes on.

        Raises:
            DataError: the project is not new, and began otherwise.
        """
        if not self.project.fresh:
            base = self.project.folder / "models" / (self.project.state.base or "none") / "config.json"
            if not base.exists() or base.read_bytes() != (folder / "config.json").read_bytes():
                raise DataError(
                    f"the project {self.project.folder} did not begin with the model {folder}: name another folder "
                    f"with --project, or leave the model out"
                )
            return
        own = self.project.new_model()
        with disk(own):
            shutil.copytree(folder, own)
        clips = {one.label: one.clips for one in model.report_.classes}
        with self.project.change() as state:
            names = [str(name) for name in model.classes_]
            state.labels = [Label(f"base-{at}", name, at, max(1, clips.get(name, 1))) for at, name in enumerate(names)]
            state.base = own.name
            state.trained = self._kept(own, model, {label.id: label.name for label in state.labels}, 0.0)

    def clear(self) -> None:
        """Puts everything away for an empty project. Raises Busy while the example is being drawn."""
        self._rest()
        self.project.clear()

    def redo(self) -> str:
        """Makes the edit again that was undone last, in words. Raises Busy where that needs what is being drawn."""
        if any(edit.trained or edit.example for edit in self.project.state.undone[:1]):
            self._rest()
        return self.project.redo()

    def _rest(self) -> None:
        """Ends a training, before all that it works on is put away. Raises Busy while the example is being drawn."""
        if self.project.state.drawing:
            raise Busy("the example is still being drawn: a moment")
        self.cancel()
        if self._training is not None:
            self._training.join(30)

    def pack(self, folder: Path) -> None:
        """Writes the trained model as it may be given away: without the places of its clips. Raises KshotError."""
        from kshot.recognizer import artefact

        artefact.save(self.trained.model(), folder, thumbnails=False, bare=True)

    def stop(self) -> None:
        """Lets nothing new begin, and what is going on end at its next step. Does not wait."""
        self.work.ending.set()
        self.cancel()
        self.reader.close()

    def close(self, patience: float = GRACE) -> bool:
        """Stops what is going on. A training that is cut off can be started again after the next start.

        Returns:
            Whether all of it has ended. If not, the project must not be given up before the process ends.
        """
        self.stop()
        return self.work.end(patience)

    @property
    def computes(self) -> bool:
        """Whether a thread is still at it that writes nothing, but would be cut off within its libraries."""
        return self._ready is not None and self._ready.is_alive()

    # Videos

    def receive(
        self, id: str, path: Path, name: str, source: str, label: str | None, group: str = "", truth: str = ""
    ) -> Video:
        """Takes in a file that has been put in place: a clip if it has a label, else a video to be recognised.

        An odd clip waits among `doubtful` until a person says whether it is one.

        Raises:
            KshotError: it cannot be read, or has no place; it is removed then.
        """
        with self._placing(id, path), expecting_video(path):
            facts = self.reader.strip(path, self.project.strip(id, 8))
            video = Video(id, name, path.name, facts.seconds, source, group, label, truth=truth)
            video = replace(video, rate=facts.rate, late=facts.late)
            if label is None and facts.seconds > LONG:
                return self.project.add_video(replace(video, film=True))
            if label is not None and facts.doubt:
                self.doubtful[id] = video, facts.doubt
                self._notify()
                return video
            if label is None:
                self.predictions.announce(id)
            video = self.project.add_video(video)
        if label is None:
            self.predictions.add(id)
        return video

    def answer(self, id: str, keep: bool) -> None:
        """Whether a doubtful video becomes a clip. Raises DataError if it is not there any more."""
        video = self.doubtful.pop(id, (None, ""))[0]
        if video is None or not self.project.path(video).exists():
            raise DataError("that video does not wait for an answer any more: add it once more")
        with self._placing(id, self.project.path(video), keep):
            if keep:
                self.project.add_video(video)
        self._notify()

    def open_film(self, id: str) -> Video:
        """Makes a long video one to mark actions in: a query, or one that waits for an answer whether it is a clip.

        Raises:
            KshotError: there is no such video, or it is a clip.
        """
        waits = self.doubtful.pop(id, (None, ""))[0]
        if waits is not None:
            with self._placing(id, self.project.path(waits)):
                return self.project.add_video(replace(waits, label=None, film=True))
        video = self.project.video(id)
        if video.label is not None:
            raise DataError(f"“{video.name}” is a clip already: remove it, and put it in as a film")
        if not video.rate:  # of a version that did not count
            facts = self.reader.strip(self.project.path(video), self.project.strip(id, 8))
            self.project.set_video(id, rate=facts.rate, late=facts.late)
        self.project.set_video(id, film=True)
        return self.project.video(id)

    @contextmanager
    def _placing(self, id: str, path: Path, keep: bool = True) -> Iterator[None]:
        """Takes a new file away again where it cannot, or is not to, be taken in."""
        taken = False
        try:
            with self.work.here():
                yield
                taken = keep
        finally:
            if not taken:
                path.unlink(missing_ok=True)
                self.project.strip(id, 8).unlink(missing_ok=True)

    def strip(self, id: str, frames: int) -> Path:
        """The JPEG strip of a video, made where it is missing. Raises KshotError if that cannot be done."""
        waits = self.doubtful.get(id)
        video, path = waits[0] if waits else self.project.video(id), self.project.strip(id, frames)
        if not path.exists():
            with self.work.here():
                self.reader.strip(self.project.path(video), path, frames)
        return path

    def correct(self, id: str, label: str, start: float | None = None, end: float | None = None) -> bool:
        """What was recognised wrongly becomes a clip of the action it shows: the video, or a stretch of it.

        Returns:
            Whether it is one now, and does not wait among `doubtful`.

        Raises:
            KshotError: no such video or action, or nothing to be seen there.
        """
        video = self.project.video(id)
        self.project.label(label)
        if start is None or end is None:
            self.project.move_video(id, label, prediction=None, error="", truth="", source="correction")
            return True
        new, path = self.project.place(".mp4")
        with self._placing(new, path):
            self.reader.cut(self.project.path(video), start, end, path)
            name = f"{video.name}, {start:.1f} to {end:.1f} s"
            self.receive(new, path, name, "correction", label, video.id)
        return new not in self.doubtful

    # The example

    def draw_example(self) -> None:
        """Fills the project with drawn clips of a few actions, in the background; each appears when it is there.

        Raises:
            Busy: that is being done.
            DataError: there is something in the project.
        """
        with self._gate:
            if self.project.state.drawing:
                raise Busy("the example is being drawn already")
            if self.project.state.labels:
                raise DataError("the example needs an empty project: put away what is there first")
            with self.project.change() as state:
                state.example = state.drawing = True
        for name in EXAMPLE:
            self.project.add_label(name)
        self._start_drawing()

    def _start_drawing(self) -> None:
        self.work.start("draw", self._draw_clips)

    def _draw_clips(self) -> None:
        """Draws the clips of the example that are missing."""
        labels = {label.name: label.id for label in self.project.state.labels}
        there = {video.name for video in self.project.clips()}
        fault = None
        try:
            for number in range(EXAMPLE_CLIPS):
                for name in EXAMPLE:
                    if self.work.ending.is_set():
                        return
                    if name in labels and (called := f"{name} {number + 1}") not in there:
                        self._draw([(name, number)], called, labels[name], f"performer {number // 2}")
        except KshotError as error:
            if self.work.ending.is_set():
                return
            fault = TrainingProgress("failed", str(error))
        with self.project.change() as state:
            state.drawing, state.training = False, fault

    def _draw(
        self, parts: list[tuple[str, int]], name: str, label: str | None = None, group: str = "", truth: str = ""
    ) -> Video:
        from kshot.datasets import motion

        id, path = self.project.place(".mp4")
        with self._placing(id, path):
            motion.draw(path, parts)
            return self.receive(id, path, name, "example", label, group, truth)

    def draw_unseen(self, film: bool) -> Video:
        """Puts in a drawn video that no clip of the example shows: one action, or a film of several.

        Raises:
            KshotError: the project is not the example, or the disk is full.
        """
        if not self.project.state.example:
            raise DataError("drawn videos belong to the example: load it first")
        self._unseen = (self._unseen + 1) % 10
        one = UNSEEN + 2 * self._unseen  # and the next are of one performer
        if film:
            parts = [(name, one + take) for name in EXAMPLE_FILM for take in (0, 1)]
            return self._draw(parts, f"a film, {one + 1}", truth=", ".join(EXAMPLE_FILM))
        name = EXAMPLE[int(np.random.default_rng().integers(len(EXAMPLE)))]
        return self._draw([(name, one)], f"an unseen performer, {one + 1}", truth=name)

    # TrainingProgress

    def train(self) -> None:
        """Trains a model on the clips that are there now, in the background.

        Raises:
            Busy: that is being done.
        """
        with self._gate:
            if self._training is not None and self._training.is_alive():
                raise Busy("the model is being taught already: wait, or cancel it")
            if self.project.state.drawing:
                raise Busy("the example is still being drawn: a moment")
            with self.work.here():
                with self.project.change() as state:
                    state.training = TrainingProgress("running")
                self.meter = Meter(self._notify)
                self._training = self.work.start("train", self._train, self.meter)

    def cancel(self) -> None:
        """Stops a training at its next step; the model from before stays."""
        if self.meter is not None:
            self.meter.stop.set()
        self._notify()

    def _train(self, meter: Meter) -> None:
        started, queries = time.monotonic(), list[str]()
        ended: TrainingProgress | None = None
        folder = self.project.new_model()
        try:
            recognizer, clips = teach(self.project, self.device, meter)
            recognizer.save(folder, thumbnails=False)
            queries = [video.id for video in self.project.queries()]
            self.predictions.announce(*queries)
            self.project.set_trained(self._kept(folder, recognizer, clips, time.monotonic() - started))
            self.trained.put(folder, recognizer)
        except Cancelled:
            ended = TrainingProgress("cancelled")
        except KshotError as error:
            why = str(error) if isinstance(error, CannotTeach) else named(self.project, str(error))
            ended = TrainingProgress("failed", why)
        except Exception as error:
            ended = TrainingProgress("failed", f"teaching failed by a fault of kshot: {type(error).__name__}: {error}")
        finally:
            self.meter = None
        if ended:
            self.predictions.waiting.difference_update(queries)
            shutil.rmtree(folder, ignore_errors=True)
            if self.work.ending.is_set():
                return  # it stays running on disk: the next start says that it was cut off
            with self.project.change() as state:
                state.training = ended
        else:
            self.predictions.add(*queries)

    def _kept(self, folder: Path, recognizer: Recognizer, clips: dict[str, str], seconds: float) -> ModelRecord:
        """What the project keeps of a model."""
        classes = [str(name) for name in recognizer.classes_]
        report = plain(self.project, recognizer.report_)
        actions = {label.id: label.name for label in self.project.state.labels if label.name in classes}
        return ModelRecord(folder.name, time.time(), clips, classes, report, seconds, actions)

    # The camera

    def start_camera(self) -> BrowserCamera:
        """Begins a stream of camera frames; an earlier one ends. Raises KshotError if nothing was trained."""
        model = self.trained.model()
        from kshot.studio.browser_camera import BrowserCamera

        self._camera = BrowserCamera(model)
        return self._camera

    def camera(self, id: str) -> BrowserCamera:
        """The stream of that id. Raises DataError if another has begun since."""
        if self._camera is None or self._camera.id != id:
            raise DataError("the camera is in use in another tab, or was stopped: start it again")
        return self._camera

    def stop_camera(self, id: str) -> None:
        """Ends the stream of that id, where it is the one that runs."""
        if self._camera is not None and self._camera.id == id:
            self._camera = None

    def keep_camera(self, id: str, label: str) -> bool:
        """What the camera showed last becomes a clip of an action, see `correct`. Raises KshotError if it cannot."""
        frames, rate = self.camera(id).recent()
        self.project.label(label)
        new, path = self.project.place(".mp4")
        with self._placing(new, path):
            write_video(path, (even(frame) for frame in frames), rate)
            self.receive(new, path, time.strftime("camera, %H:%M:%S"), "correction", label)
        return new not in self.doubtful
