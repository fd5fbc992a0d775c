"""What `project.json` holds, and how it is read: checked, since whoever has the folder can write to it.

A file that does not fit is refused in one line and left as it is. Names of files are names, never paths, so that no
project can point outside its folder.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapSerializer,
    WrapValidator,
)

from kshot import __version__, gate
from kshot.errors import DataError

WIDEST = 1024  # pixels of a side of a camera's frame
FORMAT = 1
SETTINGS = ("backbone", "adapted", "method")

Plain = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$")]
"""An id or the name of a file; no path."""


@dataclass(frozen=True)
class Label:
    """An action.

    Attributes:
        id: names it on the page.
        name: as the person calls it.
        colour: number of its colour on the page.
        before: clips that the model begun with was trained on; 0 for an action of this project.
    """

    id: Plain
    name: str
    colour: Annotated[int, Field(ge=0, lt=1 << 20)]
    before: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class PredictedSegment:
    """A stretch of a video in which one action is seen.

    Attributes:
        start: its first second.
        end: the second at which it ends.
        label: name of the action, or "unknown".
        score: between 0 and 1; None where there is none.
    """

    start: FiniteFloat
    end: FiniteFloat
    label: str
    score: FiniteFloat | None


@dataclass(frozen=True)
class Prediction:
    """What the model says of a video.

    Attributes:
        kind: "clip" for one label for all of it, "film" for segments.
        seconds: how long the video is.
        classes: names of the actions that the model knows.
        segments: what is seen when, one after the other; one for a clip.
        times: seconds of the windows' middles.
        proba: for each window the probability of each class.
        notes: what else is to be said, such as damage.
        model: folder of the model.
        threshold: of likeness that was chosen then in place of the model's own; None for that.
    """

    kind: Literal["clip", "film"]
    seconds: FiniteFloat
    classes: list[str]
    segments: list[PredictedSegment]
    times: list[FiniteFloat]
    proba: list[list[FiniteFloat]]
    notes: list[str]
    model: str
    threshold: FiniteFloat | None = None


def _or_none(found: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """A prediction, or None where it cannot be shown: it can be made again."""
    try:
        return read(found)
    except ValidationError:
        return None


@dataclass(frozen=True)
class Video:
    """A file that was put in.

    Attributes:
        id: names it on the page.
        name: what the person called it.
        file: its name in the project's folder.
        seconds: how long it is.
        source: "example", "file", "camera" or "correction".
        group: what was filmed together; "" if nothing is known.
        label: id of the action that it shows; None for a query, which was put in to be recognised.
        prediction: what the model says it shows; None if there is none yet. "answer" in JSON.
        error: why there cannot be one.
        truth: what an example really shows, for the page to say afterwards.
        film: whether it is a long video to mark actions in: it stays, and gives way to no other.
        rate: frames a second of a film; 0 where nobody has counted.
        late: seconds of sound before its first picture.
        exhaustive: of a film, whether all that shows an action is marked, so that the rest shows none.
        aside: of a film, what the model proposed and a person does not want: "START-END-CLASS" of each.
    """

    id: Plain
    name: str
    file: Plain
    seconds: FiniteFloat
    source: str = "file"
    group: str = ""
    label: str | None = None
    prediction: Annotated[Prediction | None, Field(alias="answer"), WrapValidator(_or_none)] = None
    error: str = ""
    truth: str = ""
    film: bool = False
    rate: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    late: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    exhaustive: bool = False
    aside: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Mark:
    """A stretch of a film that shows an action, as a person has marked it: a clip to teach from.

    Attributes:
        id: names it on the page.
        video: id of the film.
        label: id of the action.
        start: seconds from the film's first frame.
        end: seconds at which it ends.
    """

    id: Plain
    video: Plain
    label: str
    start: Annotated[FiniteFloat, Field(ge=0)]
    end: FiniteFloat

    @property
    def key(self) -> str:
        """What tells it from the same mark with other ends: a model was trained on these seconds."""
        return f"{self.id}@{self.start:.3f}-{self.end:.3f}"


@dataclass(frozen=True)
class ModelRecord:
    """What the project keeps of a trained model.

    Attributes:
        model: name of its folder.
        at: seconds since 1970.
        clips: id of a video, or of an action that came with the model -> name of the action that it was trained on.
        classes: names of the actions that it knows.
        report: what to expect of it, plain JSON, see `Recognizer.report_`.
        seconds: how long the training took.
        actions: id of an action -> its name in this model: it may be called something else by now.
    """

    model: Plain
    at: FiniteFloat
    clips: dict[str, str]
    classes: list[str]
    report: dict[str, Any]
    seconds: FiniteFloat = 0.0
    actions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingProgress:
    """How the last training went.

    Attributes:
        status: "running", "done", "failed", "cancelled" or "interrupted", by the end of the server.
        error: why it failed.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    status: str
    error: str = ""


def _plain_training(found: Any, write: SerializerFunctionWrapHandler) -> dict[str, str]:
    """Without the error where there is none."""
    return {name: value for name, value in write(found).items() if name == "status" or value}


Base = Annotated[str, Field(pattern=r"^([A-Za-z0-9_-][A-Za-z0-9._-]{0,99})?$")]
TrainingJson = Annotated[TrainingProgress, WrapSerializer(_plain_training)]
ModelField = Annotated[ModelRecord | None, Field(alias="taught")]


@dataclass(frozen=True)
class Edit:
    """A removal, a move or another name: what it changed, so that it can be undone and done again.

    Attributes:
        what: in words, such as "removing “wave”".
        labels: the actions as they were before.
        videos: the videos as they were before.
        trained: the model before, where all was removed. "taught" in JSON.
        example: whether all was removed, and it was the example.
        base: as `State.base` before, where all was removed.
        new_labels: those of the actions that are there after it, as they are then.
        new_videos: those of the videos that are still there, as they are after it.
        marks: the marks as they were before.
        new_marks: those that are there after it, as they are then.
        places: of the actions in the row of all before it, where they were removed.
    """

    what: str
    labels: list[Label]
    videos: list[Video]
    trained: ModelField = None
    example: bool = False
    base: Base = ""
    new_labels: list[Label] = field(default_factory=list)
    new_videos: list[Video] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    new_marks: list[Mark] = field(default_factory=list)
    places: list[Annotated[int, Field(ge=0)]] = field(default_factory=list)


def _settings(found: dict[str, Any]) -> dict[str, str]:
    for name, value in found.items():
        if name not in SETTINGS or not isinstance(value, str):
            raise ValueError(f"expected texts for {', '.join(SETTINGS)}, found {str(name)[:40]}")
    return found


@dataclass
class State:
    """All that `project.json` holds.

    Attributes:
        example: whether it is the drawn one.
        drawing: whether some of its clips are still to come.
        settings: arguments of `Recognizer` for what is trained from now on: "backbone", "adapted", "method".
        labels: the actions.
        videos: clips of actions, and queries.
        trained: the model; None before the first. "taught" in JSON.
        training: how the last training went; None before the first. "teaching" in JSON.
        base: folder of the model that the project began with; "" if with none.
        done: edits that can be undone, the last first. "removed" in JSON.
        undone: edits that can be done again, the one undone last first.
        marks: in films.
        threshold: of likeness, in place of the model's own; None for that.
    """

    example: bool = False
    drawing: bool = False
    settings: Annotated[dict[str, Any], AfterValidator(_settings)] = field(default_factory=dict)
    labels: list[Label] = field(default_factory=list)
    videos: list[Video] = field(default_factory=list)
    trained: ModelField = None
    training: Annotated[TrainingJson | None, Field(alias="teaching")] = None
    base: Base = ""
    done: Annotated[list[Edit], Field(alias="removed")] = field(default_factory=list)
    undone: list[Edit] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    threshold: Annotated[FiniteFloat, Field(ge=-1, le=1)] | None = None

    @property
    def renamed(self) -> dict[str, str]:
        """Name of a class of the model -> what its action is called by now, where that is something else."""
        now = {label.id: label.name for label in self.labels}
        known = self.trained.actions if self.trained else {}
        return {name: now[id] for id, name in known.items() if now.get(id, name) != name}

    def outdated(self, found: Prediction) -> bool:
        """Whether a prediction is another model's, or was weighed by another threshold, than one would be now."""
        return self.trained is None or (found.model, found.threshold) != (self.trained.model, self.threshold)


_STATE = TypeAdapter(State)


def written(state: State, generation: int) -> bytes:
    """What goes into the file.

    Args:
        state: of the project.
        generation: how many changes there have been.
    """
    head = {"kshot": __version__, "format": FORMAT, "generation": generation, "saved": time.time()}
    plain = _STATE.dump_python(state, by_alias=True)
    for edit in (*plain["removed"], *plain["undone"]):
        _leave_out(edit, "new_labels", "new_videos", "marks", "new_marks", "places")
    for holder in (plain, *plain["removed"], *plain.get("undone", [])):
        if holder["taught"]:
            _leave_out(holder["taught"], "actions")
        for video in (*holder["videos"], *holder.get("new_videos", [])):
            _leave_out(video, "film", "rate", "late", "exhaustive", "aside")
            if video["answer"] and video["answer"]["threshold"] is None:
                del video["answer"]["threshold"]
    _leave_out(plain, "undone", "marks")
    if state.threshold is None:
        del plain["threshold"]
    return json.dumps(head | {"state": plain}, ensure_ascii=False, indent=1).encode(errors="backslashreplace")


def _leave_out(plain: dict[str, Any], *names: str) -> None:
    """Without what is empty, nought or false, and earlier versions do not know."""
    for name in names:
        if not plain[name]:
            del plain[name]


def read_state(file: Path) -> tuple[State, int]:
    """The state that a file holds, and its generation; 0 for one that was written before these were counted.

    Raises:
        DataError: it cannot be read, is damaged, or was written by a newer kshot.
    """
    data = gate.read_bytes(file)
    try:
        saved = json.loads(data, parse_constant=lambda _: None)  # NaN is no JSON, and browsers refuse it
        if saved["format"] > FORMAT:
            raise DataError(
                f"{file} was written by kshot {saved['kshot']}, newer than this one ({__version__}): "
                f"upgrade kshot, or name another folder with --project"
            )
        state = _STATE.validate_python(saved["state"])
        generation = int(saved.get("generation", 0))
        _check(state)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"{file} is damaged ({place}: {first['msg']})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise DataError(f"{file} is damaged ({str(error)[:80] or type(error).__name__})") from None
    return state, generation


def _check(state: State) -> None:
    """What holds between the parts. Raises ValueError."""
    labels = {label.id for label in state.labels}
    several = {"action": state.labels, "video": state.videos, "mark": state.marks}
    for kind, ids in ((kind, [one.id for one in items]) for kind, items in several.items()):  # type: ignore[attr-defined]
        if twice := [id for id, count in Counter(ids).items() if count > 1]:
            raise ValueError(f"two of one id: {kind} {twice[0]}")
    for video in state.videos:
        if video.label is not None and video.label not in labels:
            raise ValueError(f"video {video.id} shows an action that is not there")
    films = {video.id for video in state.videos if video.film}
    for mark in state.marks:
        if mark.label not in labels or mark.video not in films or not mark.start < mark.end:
            raise ValueError(f"mark {mark.id} is of no film, of no action or of no length")
