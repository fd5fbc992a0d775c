"""The project that is open, and those in the folders beside it: another can be opened in its place.

A project is named by its folder's name, never by a path: the page reaches no other place of this computer.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kshot import names
from kshot.errors import DataError, KshotError, OptionError
from kshot.studio.engine import GRACE, Busy, StudioEngine
from kshot.studio.project import Project
from kshot.studio.state import read_state

NAME = re.compile(r"\w[\w .-]{0,58}\w|\w")  # of a new folder, on any system


@dataclass(frozen=True)
class ProjectEntry:
    """A project in the list of them.

    Attributes:
        name: of its folder.
        about: what is in it, or why it cannot be opened.
        open: whether it is the one that this server has open.
        saved: seconds since 1970 of its last change.
    """

    name: str
    about: str
    open: bool
    saved: float


class Projects:
    """The project that is open, and those beside it.

    Args:
        engine: of the first one; whoever starts another asks `open`.
        notify: called, from any thread, whenever there is something new to show.

    Attributes:
        engine: of the one that is open.
    """

    def __init__(self, engine: StudioEngine, notify: Callable[[], None] = lambda: None) -> None:
        self.engine = engine
        self._notify = notify
        self._gate = threading.Lock()
        self._ending: list[StudioEngine] = []  # of projects that were open, and at which something is still at work

    @property
    def folder(self) -> Path:
        """Of the project that is open."""
        return self.engine.project.folder

    def listed(self) -> list[ProjectEntry]:
        """All of them, the one changed last first."""
        found = [self._entry(file) for file in self.folder.parent.glob("*/project.json")]
        return sorted(found, key=lambda one: (-one.saved, one.name))

    def open(self, name: str, new: bool = False) -> None:
        """Opens another project, which may be an empty new one, and gives up the one that was open.

        What is going on in that one ends at its next step, as when the studio closes.

        Args:
            name: of its folder.
            new: whether to make it.

        Raises:
            OptionError: no name for a folder.
            DataError: there is no such project, or there is one already, another server has it open, or it is damaged.
            Busy: another is being opened.
        """
        folder = self.folder.parent / _fitting(name, new)
        there = (folder / "project.json").exists()
        if new:
            self._expect_free(folder.name)
        if not (new or there):
            raise DataError(f"there is no project “{folder.name}” any more beside this one")
        if not self._gate.acquire(blocking=False):
            raise Busy("a project is being opened already: a moment")
        try:
            before = self.engine
            if folder.resolve() == before.project.folder.resolve():
                return
            project = Project(folder, {})  # refuses what cannot be opened while the other is still open
            project.on_change = self._notify
            engine = StudioEngine(project, self._notify, before.device)
            engine.begin(example=False)
            self.engine = engine
            self._notify()
            self._ending.append(before)
            self._give_up(GRACE)
        finally:
            self._gate.release()

    def stop(self) -> None:
        """Lets nothing new begin, and what is going on end at its next step. Does not wait."""
        self.engine.stop()

    def close(self) -> bool:
        """Stops what is going on and gives up every project at which nothing is at work any more.

        Returns:
            Whether that is all of them, and nothing computes. If not, the rest stays locked until the process ends,
            which should be at once.
        """
        self._ending.append(self.engine)
        return self._give_up(GRACE) and not self.engine.computes

    def _expect_free(self, name: str) -> None:
        """Refuses a name that another disk, or a reader, cannot tell from a project's. Raises DataError."""
        for file in self.folder.parent.glob("*/project.json"):
            if names.plain(file.parent.name) == names.plain(name):
                raise DataError(f"there is a project “{file.parent.name}” already: open it, or choose another name")

    def _give_up(self, patience: float) -> bool:
        """Ends projects that are open no more; whether nothing is at work at any of them."""
        self._ending = [one for one in self._ending if not _ended(one, patience)]
        return not self._ending

    def _entry(self, file: Path) -> ProjectEntry:
        try:
            state = read_state(file)[0]
            films = sum(video.film for video in state.videos)
            clips = sum(video.label is not None for video in state.videos) + len(state.marks)
            counts = {"action": len(state.labels), "clip": clips, "long video": films}
            said = [f"{count} {what}{'s' * (count != 1)}" for what, count in counts.items() if count]
            about = ", ".join(said) or "empty"
            saved = file.stat().st_mtime
        except (KshotError, OSError):
            about, saved = "damaged, or of a newer kshot", 0.0
        return ProjectEntry(file.parent.name, about, file.parent == self.folder, saved)


def _ended(engine: StudioEngine, patience: float) -> bool:
    """Whether a project could be given up: it stays locked while something is at work."""
    if ended := engine.close(patience):
        engine.project.close()
    return ended


def _fitting(name: str, new: bool) -> str:
    """A name of a folder; of a new one, on any system. Raises OptionError."""
    name = " ".join(name.split())
    if not NAME.fullmatch(name):
        raise OptionError(
            "a project is called by 1 to 60 letters, digits, spaces, points, dashes and underlines, and begins and "
            f"ends with a letter or digit, found “{name[:60]}”"
        )
    if new and name.partition(".")[0].rstrip().casefold() in names.RESERVED:
        raise OptionError(f"“{name}” is the name of a device on Windows: choose another name for the project")
    return name
