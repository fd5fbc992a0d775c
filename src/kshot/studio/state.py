"""What `project.json` holds, and how it is read: checked, since whoever has the folder can write to it.

A file that does not fit is refused in one line and left as it is. Names of files are names, never paths, so that no
project can point outside its folder.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, FiniteFloat, TypeAdapter, ValidationError

from kshot import __version__, gate
from kshot.errors import DataError

WIDEST = 1024  # pixels of a side of a camera's frame
FORMAT = 1

Plain = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$")]
"""An id or the name of a file; no path."""


@dataclass(frozen=True)
class Label:
    """An action. colour: number of its colour on the page. before: clips that the model begun with was taught."""

    id: Plain
    name: str
    colour: Annotated[int, Field(ge=0, lt=1 << 20)]
    before: Annotated[int, Field(ge=0)] = 0


class _Segment(BaseModel):
    start: FiniteFloat
    end: FiniteFloat
    label: str
    score: FiniteFloat | None


class _Answer(BaseModel):
    """As much of an answer as the page relies on."""

    kind: Literal["clip", "film"]
    seconds: FiniteFloat
    classes: list[str]
    segments: list[_Segment]
    times: list[FiniteFloat]
    proba: list[list[FiniteFloat]]
    notes: list[str]
    model: str


def _answer(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """An answer, or None where it cannot be shown: the video can be asked again."""
    try:
        return found if found is None else found | _Answer.model_validate(found).model_dump()
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
        label: id of the action that it shows; None for one that was put in to be recognised.
        answer: what the recognizer said of it; None if it was not asked yet.
        error: why it could not be asked.
        truth: what an example really shows, for the page to tell afterwards.
    """

    id: Plain
    name: str
    file: Plain
    seconds: FiniteFloat
    source: str = "file"
    group: str = ""
    label: str | None = None
    answer: Annotated[dict[str, Any] | None, AfterValidator(_answer)] = None
    error: str = ""
    truth: str = ""


class _Taught(BaseModel):
    model: Plain
    at: FiniteFloat
    clips: dict[str, str]
    classes: list[str]
    report: dict[str, Any]


def _taught(found: dict[str, Any] | None) -> dict[str, Any] | None:
    if found is not None:
        _Taught.model_validate(found)
    return found


Taught = Annotated[dict[str, Any] | None, AfterValidator(_taught)]
Base = Annotated[str, Field(pattern=r"^([A-Za-z0-9_-][A-Za-z0-9._-]{0,99})?$")]


class _Removed(BaseModel):
    what: str
    labels: list[Label]
    videos: list[Video]
    taught: Taught = None
    example: bool = False
    base: Base = ""


def _removed(found: dict[str, Any]) -> dict[str, Any]:
    made = _Removed.model_validate(found)
    return {name: getattr(made, name) for name in _Removed.model_fields if name in made.model_fields_set}


def _texts(*known: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Checks that a dictionary has these keys alone, and texts."""

    def check(found: dict[str, Any]) -> dict[str, Any]:
        for name, value in found.items():
            if name not in known or not isinstance(value, str):
                raise ValueError(f"expected texts for {', '.join(known)}, found {str(name)[:40]}")
        return found

    return check


@dataclass
class State:
    """All that `project.json` holds.

    example: whether it is the drawn one. drawing: whether some of its clips are still to come.
    taught: {"model": folder, "at": seconds since 1970, "clips": {id of a video, or of an action that came with the
        model: name of the action}, "classes", "report": see `Recognizer`}.
    teaching: {"status": "running", "done", "failed", "cancelled" or "interrupted", "error": why}.
    base: folder of the model that the project began with; "" if with none.
    removed: what can be taken back, the last first: {"what": words, "labels", "videos"} and, where all
        was removed, "taught", "example" and "base".
    """

    example: bool = False
    drawing: bool = False
    settings: Annotated[dict[str, Any], AfterValidator(_texts("backbone", "adapted", "method"))] = field(
        default_factory=dict
    )
    labels: list[Label] = field(default_factory=list)
    videos: list[Video] = field(default_factory=list)
    taught: Taught = None
    teaching: Annotated[dict[str, Any], AfterValidator(_texts("status", "error"))] | None = None
    base: Base = ""
    removed: list[Annotated[dict[str, Any], AfterValidator(_removed)]] = field(default_factory=list)


_STATE = TypeAdapter(State)


def written(state: State, generation: int) -> bytes:
    """What goes into the file. generation: how many changes there have been."""
    head = {"kshot": __version__, "format": FORMAT, "generation": generation, "saved": time.time()}
    return json.dumps(head | {"state": asdict(state)}, ensure_ascii=False, indent=1).encode(errors="backslashreplace")


def read(file: Path) -> tuple[State, int]:
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
    for kind, ids in (("action", [x.id for x in state.labels]), ("video", [x.id for x in state.videos])):
        if twice := [id for id, count in Counter(ids).items() if count > 1]:
            raise ValueError(f"two of one id: {kind} {twice[0]}")
    for video in state.videos:
        if video.label is not None and video.label not in labels:
            raise ValueError(f"video {video.id} shows an action that is not there")
