"""What the studio does in the background: draws the example, teaches, recognises. One of each at a time."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kshot.errors import DataError, KshotError, OptionError, VideoError
from kshot.files import disk
from kshot.progress import Step
from kshot.studio.project import UNKNOWN, Label, Project, Video
from kshot.studio.reader import Reader, even, write_video
from kshot.workers import Job, decode

if TYPE_CHECKING:
    from kshot.recognizer import Recognizer
    from kshot.studio.live import Live

EXAMPLE = ("wave", "jumping jacks", "bow", "push-ups")
EXAMPLE_CLIPS = 5
EXAMPLE_FILM = ("jumping jacks", "punch", "bow", "wave", "push-ups")  # "punch" is not among those taught
LONG = 1.75  # times the length of a taught clip: what is longer may show more than one action
UNTAUGHT = "nothing has been taught yet: press Teach first"
UNSEEN = 20  # number of the first drawn clip that is used for trying, by a performer whom no taught clip shows


class Cancelled(BaseException):
    """Ends a teaching from within: no handler of errors may take it for one."""


class Busy(KshotError):
    """Something that can be done once at a time is being done."""


class Meter:
    """A `kshot.progress.Progress` that the page shows, and through which it can stop the work.

    Attributes:
        shown: {"title", "done", "total", "unit", "note", "since"} of the innermost bar; None before the first.
    """

    def __init__(self, notify: Callable[[], None]) -> None:
        self.shown: dict[str, Any] | None = None
        self.stop = threading.Event()
        self._notify = notify

    @contextmanager
    def __call__(self, title: str, total: float, unit: str) -> Iterator[Step]:
        outer = self.shown
        bar: dict[str, Any] = {"title": title, "done": 0.0, "total": total, "unit": unit, "note": ""}
        self._show(bar)

        def step(done: float = 1, note: str = "") -> None:
            bar["done"] += done
            bar["note"] = note or bar["note"]
            self._show(bar)

        yield step
        self._show(outer or bar)

    def _show(self, bar: dict[str, Any]) -> None:
        if self.stop.is_set():
            raise Cancelled
        self.shown = dict(bar)
        self._notify()


class Engine:
    """Works on a project in threads of its own.

    Args:
        project: what to work on.
        notify: called, from any thread, whenever there is something new to show.
        device: where the backbone computes.
        store: folder of stored activations; the project's own by default.
    """

    def __init__(self, project: Project, notify: Callable[[], None], device: str = "cpu") -> None:
        self.project = project
        self.device = device
        self.reader = Reader()
        self.meter: Meter | None = None
        self._notify = notify
        self._gate = threading.Lock()
        self._teacher: threading.Thread | None = None
        self._asked = ThreadPoolExecutor(1, "kshot-recognise")
        self._loaded: tuple[str, Recognizer] | None = None
        self._live: Live | None = None
        self._closing = False
        self._unseen = int(time.time())

    def begin(self, example: bool = True) -> None:
        """Opens the project: a new one begins with the example, what was cut off before is taken up."""
        if self.project.fresh and example:
            self.draw_example()
        elif self.project.state.drawing:
            self._start_drawing()
        for video in self.project.tried():
            if video.answer is None and not video.error:
                self.recognise(video.id)
        threading.Thread(target=_warm, name="kshot-warm", daemon=True).start()

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
        clips = {one["label"]: one["clips"] for one in model.report_.get("classes", [])}
        with self.project.change() as state:
            names = [str(name) for name in model.classes_]
            state.labels = [Label(f"base-{at}", name, at, max(1, clips.get(name, 1))) for at, name in enumerate(names)]
            state.base = own.name
            state.taught = self._lesson(own, model, {label.id: label.name for label in state.labels}, 0.0)

    def clear(self) -> None:
        """Puts everything away for an empty project. Raises Busy while the example is being drawn."""
        if self.project.state.drawing:
            raise Busy("the example is still being drawn: a moment")
        self.cancel()
        if self._teacher is not None:
            self._teacher.join(30)
        self.project.clear()

    def folder(self) -> Path:
        """The folder of the taught model. Raises OptionError if there is none."""
        taught = self.project.state.taught
        if taught is None:
            raise OptionError(UNTAUGHT)
        return self.project.folder / "models" / str(taught["model"])

    def pack(self, folder: Path) -> None:
        """Writes the taught model as it may be given away: without the places of its clips. Raises KshotError."""
        from kshot.recognizer import artefact

        artefact.save(self.model(), folder, thumbnails=False, bare=True)

    def close(self) -> None:
        """Stops what is going on. A teaching that is cut off can be started again after the next start."""
        self._closing = True
        self.cancel()
        self.reader.close()
        self._asked.shutdown(wait=False, cancel_futures=True)
        if self._teacher is not None:
            self._teacher.join(10)

    # Videos

    def receive(
        self, id: str, path: Path, name: str, source: str, label: str | None, group: str = "", truth: str = ""
    ) -> Video:
        """Takes in a file that has been put in place: a clip if it has a label, else a video to be recognised.

        Raises:
            KshotError: it cannot be read, or has no place; it is removed then.
        """
        try:
            found = self.reader.look(path, self.project.strip(id, 8))
            video = Video(id, name, path.name, found["seconds"], source, group, label, truth=truth)
            video = self.project.add_video(video)
        except BaseException:
            path.unlink(missing_ok=True)
            self.project.strip(id, 8).unlink(missing_ok=True)
            raise
        if label is None:
            self.recognise(id)
        return video

    def strip(self, id: str, frames: int) -> Path:
        """The JPEG strip of a video, made where it is missing. Raises KshotError if that cannot be done."""
        video, path = self.project.video(id), self.project.strip(id, frames)
        if not path.exists():
            self.reader.look(self.project.path(video), path, frames)
        return path

    def correct(self, id: str, label: str, start: float | None = None, end: float | None = None) -> None:
        """What was recognised wrongly becomes a clip of the action it shows: the video, or a stretch of it.

        Raises:
            KshotError: no such video or action, or nothing to be seen there.
        """
        video = self.project.video(id)
        self.project.label(label)
        if start is None or end is None:
            self.project.set_video(id, label=label, answer=None, error="", truth="", source="correction")
            return
        new, path = self.project.place(".mp4")
        self.reader.cut(self.project.path(video), start, end, path)
        self.receive(new, path, f"{video.name}, {start:.1f} to {end:.1f} s", "correction", label, video.id)

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
        threading.Thread(target=self._draw_clips, name="kshot-draw", daemon=True).start()

    def _draw_clips(self) -> None:
        """Draws the clips of the example that are missing."""
        labels = {label.name: label.id for label in self.project.state.labels}
        there = {video.name for video in self.project.clips()}
        fault = None
        try:
            for number in range(EXAMPLE_CLIPS):
                for name in EXAMPLE:
                    if self._closing:
                        return
                    if name in labels and (called := f"{name} {number + 1}") not in there:
                        self._draw([(name, number)], called, labels[name], f"performer {number // 2}")
        except KshotError as error:
            fault = {"status": "failed", "error": str(error)}
        with self.project.change() as state:
            state.drawing = False
            state.teaching = fault

    def _draw(
        self, parts: list[tuple[str, int]], name: str, label: str | None = None, group: str = "", truth: str = ""
    ) -> Video:
        from kshot.datasets import motion

        id, path = self.project.place(".mp4")
        motion.draw(path, parts)
        return self.receive(id, path, name, "example", label, group, truth)

    def draw_unseen(self, film: bool) -> Video:
        """Puts in a drawn video that no taught clip shows: one action, or a film of several.

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

    # Teaching

    def teach(self) -> None:
        """Teaches the clips that are there now, in the background.

        Raises:
            Busy: that is being done.
        """
        with self._gate:
            if self._teacher is not None and self._teacher.is_alive():
                raise Busy("the model is being taught already: wait, or cancel it")
            if self.project.state.drawing:
                raise Busy("the example is still being drawn: a moment")
            with self.project.change() as state:
                state.teaching = {"status": "running"}
            self.meter = Meter(self._notify)
            self._teacher = threading.Thread(target=self._teach, args=(self.meter,), name="kshot-teach", daemon=True)
            self._teacher.start()

    def cancel(self) -> None:
        """Stops a teaching at its next step; what was taught before stays."""
        if self.meter is not None:
            self.meter.stop.set()
        self._notify()

    def _teach(self, meter: Meter) -> None:
        started, ended = time.monotonic(), dict[str, str]()
        folder = self.project.new_model()
        try:
            recognizer, lesson = self._taught(meter)
            recognizer.save(folder, thumbnails=False)
            self._loaded = (folder.name, recognizer)
            self.project.set_taught(self._lesson(folder, recognizer, lesson, time.monotonic() - started))
        except Cancelled:
            # Ctrl-C of the server leaves it running on disk: the next start says that it was cut off
            ended = {"status": "running"} if self._closing else {"status": "cancelled"}
        except KshotError as error:
            ended = {"status": "failed", "error": self._named(str(error))}
        except Exception as error:
            ended = {
                "status": "failed",
                "error": f"teaching failed by a fault of kshot: {type(error).__name__}: {error}",
            }
        finally:
            self.meter = None
        if ended:
            shutil.rmtree(folder, ignore_errors=True)
            with self.project.change() as state:
                state.teaching = ended
        else:
            for video in self.project.tried():
                self.recognise(video.id)

    def _lesson(self, folder: Path, recognizer: Recognizer, lesson: dict[str, str], seconds: float) -> dict[str, Any]:
        """What the project keeps of a model, see `State.taught`."""
        return {
            "model": folder.name,
            "at": time.time(),
            "seconds": seconds,
            "clips": lesson,
            "classes": [str(name) for name in recognizer.classes_],
            "report": self._plain(recognizer.report_),
        }

    def _taught(self, meter: Meter) -> tuple[Recognizer, dict[str, str]]:
        from kshot.recognizer import Recognizer

        store = self.project.folder / "store"
        with meter("getting ready", 1, ""):
            base, before, lesson = self.project.state.base, self.project.before(), self.project.lesson()
            videos = {video.id: video for video in self.project.clips()}
            if base:
                made = Recognizer.load(self.project.folder / "models" / base, device=self.device).set_params(
                    store=store
                )
                kept = {*before.values(), made.background}
                made.clips_ = [clip for clip in made.clips_ if clip.label in kept]
            else:
                made = Recognizer(**self.project.state.settings, store=store, device=self.device)
        paths = [str(self.project.path(videos[id])) for id in lesson]
        groups = [videos[id].group or id for id in lesson]
        made.partial_fit(paths, list(lesson.values()), groups=groups, progress=meter)
        return made, lesson | before

    def _named(self, text: str) -> str:
        """A message with the videos called what the person calls them."""
        for video in self.project.state.videos:
            text = text.replace(str(self.project.path(video)), f"“{video.name}”").replace(video.file, f"“{video.name}”")
        return text

    def _plain(self, report: dict[str, Any]) -> dict[str, Any]:
        """A report as plain JSON, with clips called by their ids where they are of this project."""
        import json

        ids = {str(self.project.path(video)): video.id for video in self.project.state.videos}

        def called(name: str) -> str:
            return ids.get(name, Path(name).name)

        plain: dict[str, Any] = json.loads(json.dumps(report, default=float))
        for suspect in plain.get("suspects", []):
            suspect |= {key: called(suspect[key]) for key in ("clip", "other") if suspect.get(key)}
        plain["unreadable"] = {called(name): self._named(why) for name, why in plain.get("unreadable", {}).items()}
        return plain

    # Recognising

    def recognise(self, id: str) -> None:
        """Asks the taught model what a video shows, in the background."""
        if self.project.state.taught and not self._closing:
            self._asked.submit(self._recognise, id)

    def _recognise(self, id: str) -> None:
        taught = self.project.state.taught
        try:
            video = self.project.video(id)
        except DataError:
            return
        if taught is None or video.label is not None:
            return
        try:
            answer, error = self._answer(self.model(), self.project.path(video)) | {"model": taught["model"]}, ""
        except KshotError as failed:
            answer, error = None, self._named(str(failed))
        except Exception as failed:
            answer, error = None, f"a fault of kshot: {type(failed).__name__}: {failed}"
        try:
            self.project.set_video(id, answer=answer, error=error)
        except DataError:
            return

    def model(self) -> Recognizer:
        """The taught model. Raises KshotError if there is none, or it is damaged."""
        folder = self.folder()
        from kshot.recognizer import Recognizer

        loaded = self._loaded
        if loaded is None or loaded[0] != folder.name:
            loaded = self._loaded = (folder.name, Recognizer.load(folder, device=self.device))
        return loaded[1]

    def _answer(self, recognizer: Recognizer, path: Path) -> dict[str, Any]:
        """What a video shows, as plain JSON: one label for what is about as long as a clip, else segments."""
        backbone = recognizer.learner_.backbone
        assert backbone is not None
        seconds = self.project.video(path.stem).seconds
        if seconds > LONG * recognizer.clip_seconds_:
            seen = recognizer.timeline(path)
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

    # The camera

    def start_live(self) -> Live:
        """Begins a stream of camera frames; an earlier one ends. Raises KshotError if nothing was taught."""
        model = self.model()
        from kshot.studio.live import Live

        self._live = Live(model)
        return self._live

    def live(self, id: str) -> Live:
        """The stream of that id. Raises DataError if another has begun since."""
        if self._live is None or self._live.id != id:
            raise DataError("the camera is in use in another tab, or was stopped: start it again")
        return self._live

    def stop_live(self, id: str) -> None:
        if self._live is not None and self._live.id == id:
            self._live = None

    def keep_live(self, id: str, label: str) -> None:
        """What the camera showed last becomes a clip of an action. Raises KshotError if that cannot be."""
        frames, rate = self.live(id).recent()
        self.project.label(label)
        new, path = self.project.place(".mp4")
        write_video(path, (even(frame) for frame in frames), rate)
        self.receive(new, path, time.strftime("camera, %H:%M:%S"), "correction", label)


def _warm() -> None:
    """Imports what teaching needs, while the person looks at the page."""
    from kshot.recognizer import Recognizer  # noqa: F401
