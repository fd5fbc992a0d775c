"""What the page is sent of a project: the names are those of its JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from kshot.studio.annotations import formats
from kshot.studio.engine import StudioEngine
from kshot.studio.meter import Bar
from kshot.studio.state import Label, Prediction, State, TrainingJson


@dataclass(frozen=True)
class ClipView:
    """A clip of an action.

    Attributes:
        id: as of its `Video`, like the others.
        name: what the person called it.
        seconds: how long it is.
        source: where it came from; "film" for a mark in one.
        label: id of its action; None for a query.
    """

    id: str
    name: str
    seconds: float
    source: str
    label: str | None


@dataclass(frozen=True)
class MarkView(ClipView):
    """A stretch of a film that was marked, which is a clip of its action.

    Attributes:
        film: id of the film.
        start: seconds.
        end: seconds.
    """

    film: str
    start: float
    end: float


@dataclass(frozen=True)
class QueryView(ClipView):
    """A video that was put in to be recognised.

    Attributes:
        answer: what the model says it shows; None if there is nothing yet.
        error: why there cannot be anything.
        truth: what an example really shows.
        waiting: whether its turn is now, or soon will be.
        late: seconds of sound before its first picture.
    """

    answer: Prediction | None
    error: str
    truth: str
    waiting: bool
    late: float


@dataclass(frozen=True)
class FilmView(QueryView):
    """A long video to mark actions in.

    Attributes:
        rate: frames a second; 0 where nobody has counted.
        exhaustive: whether all that shows an action is marked.
        aside: proposals that were put aside, see `Video.aside`.
        progress: share that the model has looked through; None while it does not.
        playable: whether browsers may play its kind.
        stale: whether its answer is of another model, or another threshold, than looking through it now would be by.
    """

    rate: float
    exhaustive: bool
    aside: list[str]
    progress: float | None
    playable: bool
    stale: bool


@dataclass(frozen=True)
class DoubtView:
    """A video that waits for a person's word before it becomes a clip.

    Attributes:
        id: as of its `Video`, like the others.
        name: what the person called it.
        label: id of its action.
        doubt: what speaks against it, as the second half of a sentence that begins with its name.
        seconds: how long it is.
    """

    id: str
    name: str
    label: str | None
    doubt: str
    seconds: float


@dataclass(frozen=True)
class ModelView:
    """The trained model.

    Attributes:
        model: name of its folder.
        at: seconds since 1970 of the end of its training.
        classes: names of the actions that it knows.
        report: what to expect of it, plain JSON.
        backbone: its name.
        threshold: of likeness, below it the answer is "unknown": the model's own, None for never.
        stale: whether training now would lead to another.
        changed: why that is so, where it is for another reason than the clips.
        renamed: name of a class -> what its action is called by now, where that is something else.
    """

    model: str
    at: float
    classes: list[str]
    report: dict[str, Any]
    backbone: str
    threshold: float | None
    stale: bool
    changed: str
    renamed: dict[str, str]


@dataclass(frozen=True)
class PageLimits:
    """What is taken.

    Attributes:
        bytes: of one video, at most.
        formats: name -> title of the formats of annotations that can be written.
    """

    bytes: int
    formats: dict[str, str]


@dataclass(frozen=True)
class ChoicesView:
    """What a person has chosen in place of what kshot would.

    Attributes:
        backbone: that teaching begins from; "" for that of the clips.
        adapted: the run of `kshot train` that teaching begins from; "" for none.
        threshold: of likeness, in place of the model's own; None for that.
        fixed: whether teaching begins from a model, which fixes backbone and run.
    """

    backbone: str
    adapted: str
    threshold: float | None
    fixed: bool


@dataclass(frozen=True)
class PageState:
    """All that the page shows but the progress of training.

    Attributes:
        version: how many changes this server has made.
        folder: the project's.
        example: whether it is the drawn example.
        drawing: whether some of its clips are still to come.
        labels: the actions.
        clips: their clips, and the marks in films.
        doubtful: what waits for an answer whether to become one.
        tried: the queries, the newest first.
        films: the long videos to mark actions in, the newest first.
        taught: the model; None before the first.
        teaching: how the last training went; None before the first.
        undo: what can be undone next, in words; None for nothing.
        redo: what can be done again next, in words; None for nothing.
        limits: what is taken.
        choices: what a training begins from, and what answers are weighed by.
    """

    version: int
    folder: str
    example: bool
    drawing: bool
    labels: list[Label]
    clips: list[MarkView | ClipView]
    doubtful: list[DoubtView]
    tried: list[QueryView]
    films: list[FilmView]
    taught: ModelView | None
    teaching: TrainingJson | None
    undo: str | None
    redo: str | None
    limits: PageLimits
    choices: ChoicesView


PLAYABLE = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".ogv": "video/ogg"}
"""Suffix -> kind of videos that browsers may play."""

_PAGE = TypeAdapter(PageState)
_BAR = TypeAdapter(Bar | None)


def page_state(engine: StudioEngine, file_bytes: int) -> PageState:
    """What the page shows now.

    Args:
        engine: of the project.
        file_bytes: bytes of one video, at most.
    """
    project, state = engine.project, engine.project.state
    waiting = engine.predictions.waiting
    return PageState(
        version=project.version,
        folder=str(project.folder),
        example=state.example,
        drawing=state.drawing,
        labels=state.labels,
        clips=[
            *(ClipView(one.id, one.name, one.seconds, one.source, one.label) for one in project.clips()),
            *_marks(state),
        ],
        doubtful=[
            DoubtView(id, one.name, one.label, why, one.seconds) for id, (one, why) in [*engine.doubtful.items()]
        ],
        tried=[
            QueryView(
                one.id, one.name, one.seconds, one.source, one.label,
                one.prediction, one.error, one.truth, one.id in waiting, one.late,
            )
            for one in reversed(project.queries())
        ],
        films=[
            FilmView(
                one.id, one.name, one.seconds, one.source, one.label,
                one.prediction, one.error, one.truth, one.id in waiting,
                one.late, one.rate, one.exhaustive, one.aside, engine.predictions.progress.get(one.id),
                project.path(one).suffix in PLAYABLE, one.prediction is not None and state.outdated(one.prediction),
            )
            for one in reversed(state.videos) if one.film
        ],
        taught=model_view(engine),
        teaching=state.training,
        undo=state.done[0].what if state.done else None,
        redo=state.undone[0].what if state.undone else None,
        limits=PageLimits(file_bytes, formats()),
        choices=ChoicesView(
            state.settings.get("backbone", ""), state.settings.get("adapted", ""), state.threshold, bool(state.base)
        ),
    )  # fmt: skip


def _marks(state: State) -> list[ClipView]:
    """The marks in films, the earliest of each film first."""
    named = {video.id: video.name for video in state.videos}
    return [
        MarkView(
            one.id, f"{one.start:.1f} to {one.end:.1f} s of {named[one.video]}", one.end - one.start, "film", one.label,
            one.video, one.start, one.end,
        )
        for one in sorted(state.marks, key=lambda one: (one.video, one.start))
    ]  # fmt: skip


def model_view(engine: StudioEngine) -> ModelView | None:
    """The trained model; None before the first."""
    project, trained = engine.project, engine.project.state.trained
    if trained is None:
        return None
    changed = engine.trained.changed
    stale = bool(changed) or trained.clips != project.clip_labels() | project.base_labels() | project.exhaustive_films()
    report = trained.report
    own = (report.get("unknown") or {}).get("threshold")
    named = str(report.get("backbone", ""))
    return ModelView(
        trained.model, trained.at, trained.classes, report, named, own, stale, changed, project.state.renamed
    )


def page_json(state: PageState) -> str:
    """As the page reads it."""
    return _PAGE.dump_json(state).decode()


def bar_json(bar: Bar | None) -> str:
    """As the page reads it."""
    return _BAR.dump_json(bar).decode()
