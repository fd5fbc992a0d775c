"""What a studio knows, in one folder that outlives the server.

    PROJECT/project.json    actions, videos, predictions, what was trained; replaced in one piece at every change
    PROJECT/project.before.json    the same, before the last change
    PROJECT/videos/         the videos, under names that the server chose
    PROJECT/strips/         a strip of frames of each, made again where it is missing
    PROJECT/models/         the trained model
    PROJECT/lock            held by the server that has the project open

A video with a label is a clip that shows an action; one without is a query, which was put in to be recognised.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from kshot import gate, names
from kshot.activations.default import Default, default_backbone
from kshot.errors import DataError, KshotError, OptionError
from kshot.files import disk, locked, write_atomic
from kshot.studio import history
from kshot.studio.state import Edit, Label, Mark, ModelRecord, State, TrainingProgress, Video, read_state, written
from kshot.video.container import SUFFIXES

NAME = 60  # characters of an action's name, at most
ACTIONS, CLIPS, QUERIES = 100, 5000, 8  # kept at most; older queries give way
UNKNOWN, LOCK = "unknown", "lock"  # the lock is kept by a version that is still serving, and by older ones
_new_id = partial(secrets.token_hex, 6)
Item = TypeVar("Item", "Label", "Video", "Mark")


class Closed(KshotError):
    """Nothing can be changed any more: the folder may be another server's by now."""


class Project:
    """A project's folder. Any thread may read or change it; a change is on disk before the call returns.

    Args:
        folder: made if it is missing.
        settings: arguments of `Recognizer` that are added to those it keeps, see `State.settings`.

    Attributes:
        folder: as given.
        version: how many changes this server has made.
        fresh: whether there was no project before.
        state: all that is kept; changed within `change` alone.
        on_change: called after each change.

    Raises:
        DataError: the folder is in use by another server, or holds something else or damage.
        StoreError: it cannot be written.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.version = 0
        self.on_change: Callable[[], None] = lambda: None
        self._mutex = threading.RLock()
        self._closed = self._changing = False
        self._generation = 0  # of the file, as this server knows it
        self._mark: tuple[int, ...] | None = None  # of the same file, to see whether it is still that one
        _check(folder)
        self._held = contextlib.ExitStack()
        self._held.enter_context(_lock(folder))
        try:
            with disk(folder):
                for part in ("videos", "strips", "models"):
                    (folder / part).mkdir(exist_ok=True)
            self.fresh = not self._file.exists()
            self.state = State() if self.fresh else self._read()
            (self.folder / "session").unlink(missing_ok=True)  # earlier versions kept a key for ever
            self._keep_backbone()
            self.state.settings |= settings
            if self.state.training and self.state.training.status == "running":
                self.state.training = TrainingProgress("interrupted")
            self._sweep(models=True)
            self._save()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets another server have the folder. A change under way is written first; later ones are refused."""
        with self._mutex:
            if not self._closed:
                self._closed = True
                self._held.close()

    @contextlib.contextmanager
    def change(self) -> Iterator[State]:
        """The state, to be changed: written when the block ends, and left as it was if the block or the disk fails.

        A change within another is a part of it: both are written, or neither.

        Raises:
            Closed: the folder was given up.
            DataError: another server has written to it since.
        """
        with self._mutex:
            if self._changing:
                yield self.state
                return
            if self._closed:
                raise Closed("the studio is closed: start it again with the same command")
            before = replace(self.state, labels=[*self.state.labels], videos=[*self.state.videos])
            before = replace(before, done=[*self.state.done], undone=[*self.state.undone], marks=[*self.state.marks])
            self._changing = True
            try:
                yield self.state
                self._save()
            except BaseException:
                self.state = before
                raise
            finally:
                self._changing = False
            self.version += 1
        self.on_change()

    # Actions

    def add_label(self, name: str) -> Label:
        """A new action.

        Raises:
            OptionError: the name is empty, too long, taken or means something else.
        """
        with self.change() as state:
            if len(state.labels) >= ACTIONS:
                raise OptionError(f"expected at most {ACTIONS} actions: remove one first")
            taken = {label.colour for label in state.labels}
            colour = next(i for i in range(len(taken) + 1) if i not in taken)
            label = Label(_new_id(), self._fitting(name), colour)
            state.labels.append(label)
        return label

    def rename_label(self, id: str, name: str) -> None:
        """Calls an action something else. Raises OptionError as `add_label`, DataError if there is no such action."""
        with self.change() as state:
            old = self.label(id)
            if old.before:
                raise OptionError(f"“{old.name}” came with the model and keeps its name: add a new action instead")
            new = replace(old, name=self._fitting(name, id))
            state.labels[state.labels.index(old)] = new
            history.record(state, Edit(f"renaming “{old.name}”", [old], [], new_labels=[new]))

    def remove_label(self, id: str) -> None:
        """Removes an action and its clips. Raises DataError if there is none."""
        label = self.label(id)
        clips = [video for video in self.state.videos if video.label == id]
        marks = [mark for mark in self.state.marks if mark.label == id]
        count = _clips(len(clips) + len(marks))
        with self.change() as state:
            self._remove(state, Edit(f"removing “{label.name}” and its {count}", [label], clips, marks=marks))

    def label(self, id: str) -> Label:
        """The action of that id. Raises DataError if there is none."""
        return _one(self.state.labels, id, "action")

    def _fitting(self, name: str, own: str = "") -> str:
        name = _printable(name)
        if not 0 < len(name) <= NAME:
            raise OptionError(f"expected a name of 1 to {NAME} characters, such as wave, found {len(name)}")
        names.label(name, "an action", "name", OptionError)
        if names.plain(name) == UNKNOWN:
            raise OptionError("“unknown” is the answer for what shows none of the actions: choose another name")
        if any(names.plain(label.name) == names.plain(name) and label.id != own for label in self.state.labels):
            raise OptionError(f"there is an action “{name}” already: choose another name")
        return name

    # Videos

    def bytes(self) -> int:
        """Of all videos, those that can be taken back included."""
        return sum(path.stat().st_size for path in (self.folder / "videos").iterdir())

    def place(self, suffix: str) -> tuple[str, Path]:
        """An id for a new video and where its file goes; of the sender's name only a known suffix is kept."""
        id = _new_id()
        return id, self.folder / "videos" / f"{id}{suffix if suffix in SUFFIXES else '.video'}"

    def path(self, video: Video) -> Path:
        """Where the file of a video is."""
        return self.folder / "videos" / video.file

    def strip(self, id: str, frames: int) -> Path:
        """Where the strip of a video is, or goes."""
        return self.folder / "strips" / f"{id}-{frames}.jpg"

    def video(self, id: str) -> Video:
        """The video of that id. Raises DataError if there is none."""
        return _one(self.state.videos, id, "video")

    def add_video(self, video: Video) -> Video:
        """A video whose file is in place. Of the queries, the oldest gives way to it."""
        video = replace(video, name=_printable(video.name)[:120] or "video")
        with self.change() as state:
            if sum(other.label is not None for other in state.videos) >= CLIPS:
                raise OptionError(f"expected at most {CLIPS} clips: remove some first")
            if video.label is not None:
                self.label(video.label)
            state.videos.append(video)
            queries = [other for other in state.videos if other.label is None and not other.film]
            for old in queries[:-QUERIES]:
                state.videos.remove(old)
        self._sweep()
        return video

    def set_video(self, id: str, **changes: Any) -> None:
        """Changes what is known of a video, such as its prediction. Raises DataError if there is no such video."""
        with self.change() as state:
            place = state.videos.index(self.video(id))
            state.videos[place] = replace(state.videos[place], **changes)

    def move_video(self, id: str, label: str, **changes: Any) -> None:
        """Makes a video a clip of an action. Raises DataError if there is no such video or action."""
        with self.change() as state:
            name, old = self.label(label).name, self.video(id)
            new = replace(old, label=label, **changes)
            state.videos[state.videos.index(old)] = new
            history.record(state, Edit(f"moving “{old.name}” to “{name}”", [], [old], new_videos=[new]))

    def remove_video(self, id: str) -> None:
        """Removes a video. Raises DataError if there is none."""
        video = self.video(id)
        marks = [mark for mark in self.state.marks if mark.video == id]
        also = f" and {len(marks)} marks in it" if marks else ""
        with self.change() as state:
            self._remove(state, Edit(f"removing “{video.name}”{also}", [], [video], marks=marks))

    def clear(self) -> None:
        """Removes everything: an empty project to begin with."""
        with self.change() as state:
            clips = sum(video.label is not None for video in state.videos)
            what = f"the example, {_clips(clips)}" if state.example else _clips(clips)
            old = (state.trained, state.example, state.base)
            away = Edit(f"putting away {what}", [*state.labels], [*state.videos], *old, marks=[*state.marks])
            self._remove(state, away)
            state.trained, state.training, state.example, state.base = None, None, False, ""

    def undo(self) -> str:
        """Takes the last edit back, see `kshot.studio.history`: what it was, in words; "" with nothing to undo."""
        with self.change() as state:
            edit = history.undo(state)
        return edit.what if edit else ""

    def redo(self) -> str:
        """Makes the edit again that was undone last: what it was, in words; "" with nothing undone."""
        with self.change() as state:
            edit = history.redo(state)
        return edit.what if edit else ""

    def _remove(self, state: State, removal: Edit) -> None:
        removal = replace(removal, places=[state.labels.index(label) for label in removal.labels])
        state.labels = [label for label in state.labels if label not in removal.labels]
        state.videos = [video for video in state.videos if video not in removal.videos]
        state.marks = [mark for mark in state.marks if mark not in removal.marks]
        history.record(state, removal)

    # What is trained on

    def clips(self) -> list[Video]:
        """The videos that show an action."""
        with self._mutex:
            return [video for video in self.state.videos if video.label is not None]

    def queries(self) -> list[Video]:
        """The videos that were put in to be recognised, the oldest first."""
        with self._mutex:
            return [video for video in self.state.videos if video.label is None and not video.film]

    def clip_labels(self) -> dict[str, str]:
        """Video id, or `Mark.key`, -> name of the action that it shows: what a training now would be on."""
        with self._mutex:
            names = {label.id: label.name for label in self.state.labels}
            clips = {video.id: names[video.label] for video in self.state.videos if video.label is not None}
            return clips | {mark.key: names[mark.label] for mark in self.state.marks}

    def exhaustive_films(self) -> dict[str, str]:
        """A key for each film in which all is marked -> "": what lies between its marks is trained on, too."""
        with self._mutex:
            return {f"{video.id}@rest": "" for video in self.state.videos if video.film and video.exhaustive}

    def base_labels(self) -> dict[str, str]:
        """Label id -> name of the actions that the model begun with knows, and that are still there."""
        with self._mutex:
            return {label.id: label.name for label in self.state.labels if label.before}

    def default_backbone(self) -> Default:
        """The backbone of a training now: the one that the project keeps, else that of its clips."""
        if named := self.state.settings.get("backbone"):
            return Default(named)
        marked = {mark.video for mark in self.state.marks}
        clips = [video for video in self.state.videos if video.label is not None or video.id in marked]
        paths = [self.path(video) for video in clips]
        # those of the example are drawn, also where they were written before there was a mark
        known = {path for path, video in zip(paths, clips, strict=True) if video.source == "example"}
        return default_backbone(paths, known=known)

    def new_model(self) -> Path:
        """A folder for the model about to be trained."""
        return self.folder / "models" / _new_id()

    def set_trained(self, trained: ModelRecord) -> None:
        """A new model is in place; the one before it goes, unless it can be taken back."""
        with self.change() as state:
            state.trained, state.training = trained, TrainingProgress("done")
        self._sweep(models=True)

    # On disk

    @property
    def _file(self) -> Path:
        return self.folder / "project.json"

    @property
    def _before(self) -> Path:
        return self.folder / "project.before.json"

    def _read(self) -> State:
        self._mark = _mark(self._file)
        try:
            state, self._generation = read_state(self._file)
        except DataError as error:
            if "newer than" in str(error):
                raise
            way = "name another folder with --project"
            with contextlib.suppress(DataError):
                read_state(self._before)
                way = f"{self._before} is what it held before the last change, copy it over the damaged one"
            raise DataError(f"{error}: its videos are in {self.folder / 'videos'}; {way}") from None
        return state

    def _keep_backbone(self) -> None:
        """A project that an older version has trained goes on with the backbone that its model names."""
        state = self.state
        if state.trained is None or "backbone" in state.trained.report or state.base or "adapted" in state.settings:
            return
        if all(video.source == "example" for video in self.clips()):
            return
        with contextlib.suppress(DataError, KeyError, TypeError):
            config = gate.read_json(self.folder / "models" / state.trained.model / "config.json")
            state.settings.setdefault("backbone", str(config["backbone"]["name"]))

    def _save(self) -> None:
        self._refuse_older()
        data = written(self.state, self._generation + 1)
        with disk(self._file):
            with contextlib.suppress(OSError):  # a disk without links keeps none
                self._before.unlink(missing_ok=True)
                os.link(self._file, self._before)
            write_atomic(self._file, data)
        self._generation += 1
        self._mark = _mark(self._file)

    def _refuse_older(self) -> None:
        """Raises DataError where the file is of a later generation than this server knows.

        That cannot be while the lock holds, which not every network drive keeps.
        """
        if (found := _mark(self._file)) == self._mark or found is None:
            return
        generation = 0
        with contextlib.suppress(DataError):  # what is damaged is better replaced
            generation = read_state(self._file)[1]
        if generation > self._generation:
            raise DataError(
                f"another `kshot serve` has changed the project {self.folder} since: nothing was written; close this "
                f"one and start it again"
            )

    def _sweep(self, models: bool = False) -> None:
        """Removes files that belong to nothing: of videos that gave way, and what a kill left.

        Args:
            models: whether folders of models go, too; not while one is being written.
        """
        with self._mutex:
            state = self.state
            holders: list[State | Edit] = [state, *state.done, *state.undone]
            videos = [video for one in holders for video in one.videos]
            files, ids = {video.file for video in videos}, {video.id for video in videos}
            kept = {one.base for one in holders} | {one.trained.model for one in holders if one.trained}
        old = time.time() - 3600
        with contextlib.suppress(OSError):
            for path in (self.folder / "videos").iterdir():
                # what is young may be on its way in
                if path.name not in files and (self.version == 0 or path.stat().st_mtime < old):
                    path.unlink(missing_ok=True)
            for path in (self.folder / "strips").iterdir():
                if path.name.split("-")[0] not in ids and (self.version == 0 or path.stat().st_mtime < old):
                    path.unlink(missing_ok=True)
            for path in (self.folder / "models").iterdir():
                if models and path.name not in kept:
                    shutil.rmtree(path, ignore_errors=True)
            for path in self.folder.glob("*.tmp"):
                path.unlink(missing_ok=True)


def _check(folder: Path) -> None:
    """Refuses a folder that serves something else."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file: name a folder for the project with --project")
    known = any((folder / name).exists() for name in ("project.json", LOCK))
    if folder.is_dir() and not known and any(folder.iterdir()):
        raise DataError(f"{folder} holds other files and is no project: name a new folder with --project")


def _lock(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Keeps other servers from the folder, which ends with the process at the latest."""
    busy = DataError(
        f"the project {folder} is open in another `kshot serve`: close that one, or name another folder with --project"
    )
    return locked(folder, LOCK, busy)


def _mark(file: Path) -> tuple[int, ...] | None:
    """What differs between a file and another that took its place; None if there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _one(items: Sequence[Item], id: str, kind: str) -> Item:
    for item in items:
        if item.id == id:
            return item
    raise DataError(f"there is no such {kind} any more: it was removed in the meantime")


def _clips(count: int) -> str:
    return f"{count} clip" + "s" * (count != 1)


def _printable(text: str) -> str:
    """Text on one line, without characters that are not shown."""
    return " ".join("".join(c if c.isprintable() or c in names.JOINERS else " " for c in names.tidy(text)).split())
