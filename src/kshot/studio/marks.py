"""Marks in films: what a person does to them, each a step that can be undone."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from kshot.datasets.rest import rest
from kshot.errors import DataError, OptionError
from kshot.excerpts import Excerpt
from kshot.studio import history
from kshot.studio.project import Project
from kshot.studio.state import Edit, Label, Mark, State, Video

MARKS = 20_000  # of a project, at most
LEAST = 0.04  # seconds that a mark lasts at least
SLACK = 0.5  # seconds that a mark may go on behind the film: sound ends later than pictures


class Stretch(NamedTuple):
    """Seconds of a film that show an action.

    Attributes:
        label: id of the action.
        start: seconds.
        end: seconds.
    """

    label: str
    start: float
    end: float


def film_of(project: Project, id: str) -> Video:
    """The film of that id. Raises DataError where it is none."""
    video = project.video(id)
    if not video.film:
        raise DataError(f"“{video.name}” is no film to mark in: open it as one first")
    return video


def marks_of(project: Project, film: str) -> list[Mark]:
    """The marks in a film, the earliest first."""
    return sorted((mark for mark in project.state.marks if mark.video == film), key=lambda mark: (mark.start, mark.end))


def place_of(project: Project, mark: Mark) -> str:
    """The clip of a mark as `Recognizer.fit` takes it: a part of the film."""
    return str(Excerpt(project.path(project.video(mark.video)), mark.start, mark.end))


def add_marks(
    project: Project, film: str, stretches: Iterable[Stretch], what: str = "", made: Sequence[Label] = ()
) -> list[Mark]:
    """Marks stretches of a film, all in one step; those that are marked just so already are left as they are.

    Args:
        project: of the film.
        film: its id.
        stretches: what shows which action when.
        what: the step in words; by default what was marked.
        made: actions that were added for this step, and go where it is undone.

    Raises:
        DataError: no such film or action.
        OptionError: a stretch outside the film, or of no length, or too many of them.
    """
    video = film_of(project, film)
    there = {(mark.label, mark.start, mark.end) for mark in project.state.marks if mark.video == film}
    new = []
    for label, start, end in stretches:
        name, (start, end) = project.label(label).name, _fitting(video, start, end)
        what = what or f"marking “{name}” at {start:.1f} s"
        if (label, start, end) not in there:
            there.add((label, start, end))
            new.append(Mark(secrets.token_hex(6), film, label, start, end))
    if len(project.state.marks) + len(new) > MARKS:
        raise OptionError(f"expected at most {MARKS:,} marks in a project: begin another with --project")
    if new:
        with project.change() as state:
            state.marks = [*state.marks, *new]
            history.record(state, Edit(what, [], [], new_labels=[*made], new_marks=new))
    return new


def change_mark(project: Project, id: str, label: str | None, start: float | None, end: float | None) -> Mark:
    """Moves a mark's ends, or gives it another action.

    Args:
        project: of the film.
        id: of the mark.
        label: id of the action; None for the same.
        start: seconds; None for the same.
        end: seconds; None for the same.

    Raises:
        DataError: no such mark or action.
        OptionError: a stretch outside the film, or of no length.
    """
    old = _mark(project.state, id)
    name = project.label(label or old.label).name
    start, end = old.start if start is None else start, old.end if end is None else end
    start, end = _fitting(project.video(old.video), start, end)
    new = replace(old, label=label or old.label, start=start, end=end)
    if new != old:
        what = f"calling a mark “{name}”" if new.label != old.label else f"moving a mark of “{name}”"
        with project.change() as state:
            state.marks = [new if mark == old else mark for mark in state.marks]
            history.record(state, Edit(what, [], [], marks=[old], new_marks=[new]))
    return new


def remove_mark(project: Project, id: str) -> None:
    """Takes a mark away. Raises DataError if there is none."""
    old = _mark(project.state, id)
    name = project.label(old.label).name
    with project.change() as state:
        state.marks = [mark for mark in state.marks if mark != old]
        history.record(state, Edit(f"removing a mark of “{name}”", [], [], marks=[old]))


def set_exhaustive(project: Project, film: str, exhaustive: bool) -> None:
    """Says whether all that shows an action is marked in a film. Raises DataError where it is none."""
    old = film_of(project, film)
    if old.exhaustive == exhaustive:
        return
    before = replace(old, prediction=None, error="")  # the history keeps what the model found elsewhere
    what = f"{'all' if exhaustive else 'not all'} is marked in “{old.name}”"
    with project.change() as state:
        project.set_video(film, exhaustive=exhaustive)
        history.record(state, Edit(what, [], [before], new_videos=[replace(before, exhaustive=exhaustive)]))


def lasts(start: float, end: float) -> bool:
    """Whether a stretch is long enough for a mark, to the millisecond."""
    return round(round(end, 3) - round(start, 3), 3) >= LEAST


def rest_of(project: Project) -> list[Excerpt]:
    """Stretches that show none of the actions, of films in which all is marked; see `kshot.datasets.rest`."""
    every = project.state.marks
    if not every:
        return []
    marked: dict[str, list[tuple[float, float]]] = {}
    for mark in every:
        marked.setdefault(mark.video, []).append((mark.start, mark.end))
    whole = {film.id: [(0.0, film.seconds)] for film in project.state.videos if film.film and film.exhaustive}
    found = rest(marked, whole, 2 * math.ceil(len(every) / len({mark.label for mark in every})))
    return [Excerpt(project.path(project.video(id)), *span) for id, span in found]


def _mark(state: State, id: str) -> Mark:
    for mark in state.marks:
        if mark.id == id:
            return mark
    raise DataError("there is no such mark any more: it was removed in the meantime")


def _fitting(video: Video, start: float, end: float) -> tuple[float, float]:
    """Start and end within a film, to the millisecond."""
    if not 0 <= start < video.seconds or end > video.seconds + SLACK:
        raise OptionError(f"{start:.2f} to {end:.2f} s lies outside “{video.name}”, which lasts {video.seconds:.2f} s")
    start, end = round(start, 3), round(min(end, video.seconds), 3)
    if not lasts(start, end):
        raise OptionError(f"a mark lasts {LEAST} seconds at least, found {start:.2f} to {end:.2f} s: set its end later")
    return start, end
