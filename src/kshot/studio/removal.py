"""Videos taken out of a studio project for good: their files, strips and places in the history, and models of them."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from kshot.errors import DataError
from kshot.files import disk
from kshot.recognizer import removal as models
from kshot.studio.project import Project
from kshot.studio.state import Edit, State, Video, read_state


@dataclass
class ProjectRemoval:
    """What was taken out of a project, or would be.

    Attributes:
        clips: videos that show an action.
        queries: videos that were put in to be recognised, and films.
        marks: stretches of those films that were marked.
        kept_to_undo: videos that were removed before and could be taken back.
        edits: places in the history that speak of them.
        models: trained models that were removed, as they were taught with them.
        base: clips of the model that the project began with.
        notes: what has to be taught again.
    """

    clips: int = 0
    queries: int = 0
    marks: int = 0
    kept_to_undo: int = 0
    edits: int = 0
    models: int = 0
    base: int = 0
    notes: tuple[str, ...] = ()

    def plain(self) -> dict[str, int]:
        """What was removed, as JSON."""
        values = asdict(self)
        del values["notes"]
        return values


def videos_of(folder: Path) -> list[Video]:
    """All videos that a project keeps, those that can be taken back included, once each.

    Raises:
        DataError: it is damaged.
    """
    state = read_state(folder / "project.json")[0]
    holders: list[State | Edit] = [state, *state.done, *state.undone]
    found = [video for holder in holders for video in holder.videos]
    return list({video.id: video for video in found}.values())


def remove_from_project(folder: Path, ids: set[str], chosen: models.Chosen, dry: bool = False) -> ProjectRemoval:
    """Takes videos out of a project that no server has open.

    Args:
        folder: the project's.
        ids: of the videos.
        chosen: which clips of the model that it began with go.
        dry: count only.

    Raises:
        DataError: a server has it open, or it is damaged.
        StoreError: the disk refuses.
    """
    state = read_state(folder / "project.json")[0]
    found, kept = _counted(state, ids), set[str]()
    base = folder / "models" / state.base if state.base else None
    if base is not None:
        found.base = models.remove_from_model(base, chosen, dry=True).clips
    taught = _taught_with(folder, state, chosen, ids)
    found.models = len(taught)
    if taught or found.clips or found.marks or found.base:
        found.notes = ("open it with `kshot serve` and press Teach",)
    if base is not None and found.base and state.trained and state.trained.model == base.name:
        taught.add(base.name)
    if dry or not (ids or taught or found.base):
        return found
    with closing(Project(folder, {})) as project:
        if base is not None:
            models.remove_from_model(base, chosen)
        with project.change() as now:
            _clean(now, ids, taught)
            now_held: list[State | Edit] = [now, *now.done, *now.undone]
            kept = {video.file for holder in now_held for video in holder.videos}
    with disk(folder):
        for path in (folder / "videos").iterdir():
            if path.name not in kept:
                path.unlink()
        for path in (folder / "strips").iterdir():
            if path.name.split("-")[0] in ids:
                path.unlink()
        for name in taught - {state.base}:
            shutil.rmtree(folder / "models" / name, ignore_errors=True)
        (folder / "project.before.json").unlink(missing_ok=True)
    return found


def _counted(state: State, ids: set[str]) -> ProjectRemoval:
    now = [video for video in state.videos if video.id in ids]
    edits = [edit for edit in (*state.done, *state.undone) if _speaks_of(edit, ids)]
    past = {video.id for edit in edits for video in edit.videos} & ids
    clips = sum(video.label is not None for video in now)
    marks = sum(mark.video in ids for mark in state.marks)
    return ProjectRemoval(clips, len(now) - clips, marks, len(past - {video.id for video in now}), len(edits))


def _speaks_of(edit: Edit, ids: set[str]) -> bool:
    videos = {video.id for video in (*edit.videos, *edit.new_videos)}
    return not ids.isdisjoint(videos | {mark.video for mark in (*edit.marks, *edit.new_marks)})


def _taught_with(folder: Path, state: State, chosen: models.Chosen, ids: set[str]) -> set[str]:
    """Names of the models of a project, but for the one that it began with, that were taught with clips that go."""
    result = set()
    for path in sorted((folder / "models").iterdir()):
        if path.name == state.base or not (path / "config.json").exists():
            continue
        try:
            clips = models.clips_of_model(path)
        except DataError:
            continue
        if any(chosen(clip) or Path(clip["name"]).name.partition(".")[0] in ids for clip in clips):
            result.add(path.name)
    return result


def _clean(state: State, ids: set[str], taught: set[str]) -> None:
    """Takes videos and models out of a state and its history."""
    state.videos = [video for video in state.videos if video.id not in ids]
    state.marks = [mark for mark in state.marks if mark.video not in ids]
    for name in ("done", "undone"):
        edits = [edit for edit in getattr(state, name) if not _speaks_of(edit, ids)]
        gone = [
            replace(edit, trained=None) if edit.trained and edit.trained.model in taught else edit for edit in edits
        ]
        setattr(state, name, gone)
    if state.trained and state.trained.model in taught:
        state.trained, state.training = None, None
        state.videos = [replace(video, prediction=None) for video in state.videos]
