"""Teaching: from the clips of a project, and what is marked in its films, to a model."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kshot.activations.default import Default
from kshot.activations.digests import digest
from kshot.datasets.annotations.places import header
from kshot.datasets.rest import name_of, told
from kshot.errors import DataError
from kshot.studio.marks import marks_of, place_of, rest_of
from kshot.studio.meter import Meter
from kshot.studio.project import Project
from kshot.studio.state import Mark, Video

if TYPE_CHECKING:
    from kshot.recognizer import Recognizer


class CannotTeach(DataError):
    """What a person has to mend before anything can be taught, in the words of the page."""


def teach(project: Project, device: str, meter: Meter) -> tuple[Recognizer, dict[str, str]]:
    """A model trained on the clips of a project and the marks in its films.

    Args:
        project: whose clips they are.
        device: where the backbone computes.
        meter: shows the progress.

    Returns:
        The model, and what it was trained on: id or key of a clip -> name of the action.

    Raises:
        CannotTeach: a person has to mend something first.
        KshotError: what cannot be learned from, and why.
        Cancelled: it was stopped.
    """
    from kshot.recognizer import Recognizer

    _expect_files(project)
    _expect_one_action(project)
    store = project.folder / "store"
    with meter("getting ready", 1, ""):
        default = Default("")
        base, before, clips = project.state.base, project.base_labels(), project.clip_labels()
        videos = {video.id: video for video in project.clips()}
        if base:
            made = Recognizer.load(project.folder / "models" / base, device=device).set_params(store=store)
            kept = {*before.values(), made.background}
            made.clips_ = [clip for clip in made.clips_ if clip.label in kept]
        else:
            settings, default = project.state.settings, project.default_backbone()
            named = {} if "adapted" in settings else {"backbone": default.name}
            made = Recognizer(**named | settings, store=store, device=device)
    marks = {mark.key: mark for mark in project.state.marks}
    paths = [place_of(project, marks[id]) if id in marks else str(project.path(videos[id])) for id in clips]
    groups = ["" if id in marks else videos[id].group or id for id in clips]  # of a film's parts: see `grouped`
    labels = list(clips.values())
    rest = rest_of(project) if made.background is None else []
    if rest:
        nothing = name_of(labels)
        made.set_params(background=nothing)
        paths, labels, groups = [*paths, *map(str, rest)], labels + [nothing] * len(rest), groups + [""] * len(rest)
    try:
        made.partial_fit(paths, labels, groups=groups, progress=meter)
    except DataError as error:
        _expect_lengths(project, str(error))
        raise
    _expect_lengths(project, "\n".join(made.report_.unreadable))
    made.report_.notes.extend(f"{note}." for note in default.notes)
    if rest:
        made.report_.notes.append(f"{told(len(rest))}.")
    return made, clips | before | project.exhaustive_films()


def _expect_files(project: Project) -> None:
    """Refuses marks in films that are not there, before anything is learned without them. Raises CannotTeach."""
    for film, marks in _marked(project):
        if not project.path(film).exists():
            raise CannotTeach(
                f"the file of “{film.name}” is missing, and {_count(len(marks), 'mark')} in it cannot be taught: put "
                f"{project.path(film)} back, or remove the film"
            )


def _expect_lengths(project: Project, unread: str) -> None:
    """Refuses marks behind the end of a film that has become shorter: its file is another one by now.

    Args:
        project: whose films they are.
        unread: text that names the clips that could not be read.

    Raises:
        CannotTeach: there are some.
    """
    for film, marks in _marked(project):
        seconds = header(project.path(film)).seconds if str(project.path(film)) in unread else None
        behind = [mark for mark in marks if mark.start >= (seconds or film.seconds)]
        if behind:
            lie = "lies" if len(behind) == 1 else "lie"
            raise CannotTeach(
                f"{len(behind)} of {_count(len(marks), 'mark')} in “{film.name}” {lie} behind the end of its file, "
                f"which lasts {_stamp(seconds or 0)} now, and {_stamp(film.seconds)} when it was put in: put the "
                f"former {project.path(film)} back, or remove what is marked from {_stamp(behind[0].start)} on"
            )


def _marked(project: Project) -> list[tuple[Video, list[Mark]]]:
    """The films in which something is marked, each with its marks, the earliest first."""
    every = [(film, marks_of(project, film.id)) for film in project.state.videos if film.film]
    return [(film, marks) for film, marks in every if marks]


def _count(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


def _expect_one_action(project: Project) -> None:
    """Refuses the same pictures as clips of two actions: one of the two is wrong. Raises CannotTeach."""
    state, actions = project.state, {label.id: label.name for label in project.state.labels}
    videos = {video.id: video for video in state.videos if project.path(video).exists()}
    sizes = {id: project.path(video).stat().st_size for id, video in videos.items()}
    alike = Counter(sizes.values())
    # a film may be large: only what is as large as another is read
    held = {id: digest(project.path(videos[id])) if alike[size] > 1 else id for id, size in sizes.items()}
    found = [
        ((held[id], 0.0, 0.0), actions[video.label], f"“{video.name}”")
        for id, video in videos.items()
        if video.label is not None
    ]
    found += [
        (
            (held[mark.video], mark.start, mark.end),
            actions[mark.label],
            f"{_stamp(mark.start)} to {_stamp(mark.end)} of “{videos[mark.video].name}”",
        )
        for mark in state.marks
        if mark.video in videos
    ]
    seen: dict[tuple[str, float, float], tuple[str, str]] = {}
    pairs = []
    for key, action, place in found:
        other, before = seen.setdefault(key, (action, place))
        if other != action:
            pairs.append(f"“{other}” ({before}) and “{action}” ({place})")
    if pairs:
        rest = len(pairs) - 1
        more = f", and {rest} more such pair{'s' * (rest > 1)}" if rest else ""
        raise CannotTeach(f"{pairs[0]} are the same pictures{more}: remove one of the two")


def _stamp(seconds: float) -> str:
    """A moment as the page writes it: 0:12.48, 1:02:03.00."""
    minutes, rest = divmod(round(seconds * 100), 6000)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02}" if hours else f"{minutes}") + f":{rest / 100:05.2f}"
