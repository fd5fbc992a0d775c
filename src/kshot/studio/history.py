"""The history of a project: what was removed, moved or renamed is undone, and done again, one edit after the other.

A clip that is added needs no history: it can be removed. Marks in films are drawn and drawn again, so all that is
done to them is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from kshot.studio.state import Edit, Label, Mark, State, Video

EDITS = 100  # that can be undone
Item = TypeVar("Item", Label, Video, Mark)


def record(state: State, edit: Edit) -> None:
    """Puts an edit that was made on top of the history; what was undone before cannot be done again any more.

    Args:
        state: of the project, already changed.
        edit: what was changed; one that changed nothing is left out.
    """
    if edit.labels or edit.videos or edit.marks or edit.new_marks:
        state.done.insert(0, edit)
        del state.done[EDITS:]
        state.undone.clear()


def undo(state: State) -> Edit | None:
    """Takes the last edit back.

    An action comes back to its place, as its number is a key on the page, and beside one of its name it is numbered;
    a clip whose action is gone comes back as a query. One that the edit has made goes, unless other clips show it.

    Args:
        state: of the project, which is changed.

    Returns:
        What was undone; None with nothing to undo.
    """
    if not state.done:
        return None
    edit, alone = state.done.pop(0), not state.labels
    own = {mark.id for mark in edit.new_marks}
    shown = {video.label for video in state.videos} | {mark.label for mark in state.marks if mark.id not in own}
    made = [label for label in edit.new_labels if label.id not in shown]
    _exchange(state, made, edit.new_videos, edit.labels, edit.videos, edit.places)
    _exchange_marks(state, edit.new_marks, edit.marks)
    if edit.trained and not state.trained:
        state.trained, state.base = edit.trained, edit.base
    state.example = state.example or (edit.example and alone)
    state.undone.insert(0, edit)
    return edit


def redo(state: State) -> Edit | None:
    """Makes the edit again that was undone last.

    Args:
        state: of the project, which is changed.

    Returns:
        What was done again; None with nothing undone.
    """
    if not state.undone:
        return None
    edit = state.undone.pop(0)
    _exchange(state, edit.labels, edit.videos, edit.new_labels, edit.new_videos)
    _exchange_marks(state, edit.marks, edit.new_marks)
    if edit.trained and state.trained == edit.trained:
        state.trained, state.training, state.base = None, None, ""
    state.example = state.example and not edit.example
    state.done.insert(0, edit)
    return edit


def _exchange(
    state: State,
    labels: Sequence[Label],
    videos: Sequence[Video],
    new_labels: Sequence[Label],
    new_videos: Sequence[Video],
    places: Sequence[int] = (),
) -> None:
    """Puts new actions and videos in the place of those of the same ids, or behind all others; the rest goes.

    Actions of which `places` are given go there.

    A clip whose action is not there any more becomes a query.
    """
    gone = {label.id for label in labels} - {label.id for label in new_labels}
    gone |= {video.id for video in videos} - {video.id for video in new_videos}
    state.labels = [label for label in state.labels if label.id not in gone]
    state.videos = [video for video in state.videos if video.id not in gone]
    for at, label in enumerate(new_labels):
        taken = {other.name.casefold() for other in state.labels if other.id != label.id}
        _put(state.labels, replace(label, name=_free(label.name, taken)), places[at] if at < len(places) else None)
    films = {video.id: video for video in state.videos if video.film}
    for video in new_videos:
        if video.film and (now := films.get(video.id)):  # what the model has found in it since is no part of the edit
            video = replace(video, prediction=now.prediction, error=now.error)
        _put(state.videos, video)
    have = {None, *(label.id for label in state.labels)}
    state.videos = [video if video.label in have else replace(video, label=None) for video in state.videos]


def _exchange_marks(state: State, marks: Sequence[Mark], new_marks: Sequence[Mark]) -> None:
    """Puts marks in the place of others; one whose film or action is not there any more goes."""
    gone = {mark.id for mark in marks} - {mark.id for mark in new_marks}
    state.marks = [mark for mark in state.marks if mark.id not in gone]
    for mark in new_marks:
        _put(state.marks, mark)
    films, labels = {video.id for video in state.videos if video.film}, {label.id for label in state.labels}
    state.marks = [mark for mark in state.marks if mark.video in films and mark.label in labels]


def _put(items: list[Item], item: Item, place: int | None = None) -> None:
    there = [at for at, other in enumerate(items) if other.id == item.id]
    at = there[0] if there else len(items) if place is None else place
    items[at : at + len(there)] = [item]


def _free(name: str, taken: set[str]) -> str:
    """The name, with the first number behind it that makes it another than those."""
    names = (name, *(f"{name} {number}" for number in range(2, 3 + len(taken))))
    return next(one for one in names if one.casefold() not in taken)
