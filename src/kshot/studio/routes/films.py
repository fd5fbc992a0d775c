"""Films: long videos in which actions are marked, by hand and after what the model finds."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from kshot.errors import KshotError
from kshot.studio import annotations as files
from kshot.studio import choices, marks
from kshot.studio.routes.context import Here, Seconds, Text, TooLarge
from kshot.studio.state import Mark

ANNOTATIONS = "/api/annotations"
ANNOTATIONS_BYTES = 64 << 20
AT_ONCE = 500  # stretches of a request

Shown = Annotated[int, Query(ge=1, le=16)]

router = APIRouter()


class StretchBody(BaseModel):
    """Seconds of a film that show an action.

    Attributes:
        label: id of the action.
        start: first second.
        end: second at which it ends.
    """

    label: Text
    start: Seconds
    end: Seconds


class StretchesBody(BaseModel):
    """Several of them.

    Attributes:
        stretches: all of one step that can be undone.
    """

    stretches: Annotated[list[StretchBody], Field(min_length=1, max_length=AT_ONCE)]


class MarkBody(BaseModel):
    """What is to be another of a mark.

    Attributes:
        label: id of the action; None for the same.
        start: first second; None for the same.
        end: second at which it ends; None for the same.
    """

    label: Text | None = None
    start: Seconds | None = None
    end: Seconds | None = None


class FilmBody(BaseModel):
    """What is said of a film.

    Attributes:
        exhaustive: whether all that shows an action is marked.
    """

    exhaustive: bool


@router.post("/api/videos/{id}/film")
def open_film(id: str, here: Here) -> dict[str, Any]:
    """Makes a long video one to mark actions in."""
    return {"id": here.engine.open_film(id).id, "version": here.engine.project.version}


@router.patch("/api/films/{id}")
def change_film(id: str, body: FilmBody, here: Here) -> None:
    """Whether all that shows an action is marked in a film."""
    marks.set_exhaustive(here.engine.project, id, body.exhaustive)


@router.post("/api/films/{id}/look")
def look(id: str, here: Here) -> None:
    """Has the model look through a film."""
    choices.look_through(here.engine, id)


@router.delete("/api/films/{id}/look")
def stop_looking(id: str, here: Here) -> None:
    """Has it looked through no further."""
    here.engine.predictions.cancel(id)


@router.post("/api/films/{id}/marks")
def add_marks(id: str, body: StretchesBody, here: Here) -> list[Mark]:
    """Marks stretches of a film, in one step."""
    stretches = [marks.Stretch(one.label, one.start, one.end) for one in body.stretches]
    return marks.add_marks(here.engine.project, id, stretches)


@router.patch("/api/marks/{id}")
def change_mark(id: str, body: MarkBody, here: Here) -> Mark:
    """Moves a mark's ends, or gives it another action."""
    return marks.change_mark(here.engine.project, id, body.label, body.start, body.end)


@router.delete("/api/marks/{id}")
def remove_mark(id: str, here: Here) -> None:
    """Takes a mark away."""
    marks.remove_mark(here.engine.project, id)


@router.get("/api/films/{id}/moments")
def moments(id: str, here: Here, start: Seconds, end: Seconds, frames: Shown = 8) -> Response:
    """A JPEG strip of what a film shows between two moments."""
    span = max(end - start, 0.0)
    times = [start + (at + 0.5) * span / frames for at in range(frames)]
    return _picture(here, id, lambda path, out: here.engine.reader.moments(path, times, out))


@router.get("/api/films/{id}/still")
def still(id: str, here: Here, time: Seconds) -> Response:
    """The frame that is on show at a moment, for browsers that do not play the film."""
    return _picture(here, id, lambda path, out: here.engine.reader.still(path, time, out))


def _picture(here: Here, id: str, write: Any) -> Response:
    project = here.engine.project
    try:
        path = project.path(marks.film_of(project, id))
        with tempfile.TemporaryDirectory(prefix="kshot-studio-") as place, here.engine.work.here():
            out = Path(place) / "picture.jpg"
            write(path, out)
            data = out.read_bytes()
    except KshotError as error:
        raise HTTPException(404, str(error)) from None
    return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


@router.post(ANNOTATIONS)
async def read_annotations(request: Request, here: Here, film: Text, name: Text = "annotations") -> dict[str, Any]:
    """Takes a file of annotations of any format: what it says of the film becomes marks in it."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > ANNOTATIONS_BYTES:
            raise TooLarge(f"expected a file of annotations of at most {ANNOTATIONS_BYTES >> 20} MB")
    added, notes = await run_in_threadpool(files.read_into, here.engine.project, film, name, bytes(data))
    return {"added": added, "notes": notes}


@router.get("/api/films/{id}/annotations")
def write_annotations(
    id: str, here: Here, format: Annotated[Text, Query()] = "csv", proposed: bool = False
) -> Response:
    """The marks in a film, or what the model found in it, as a file of a format of annotations."""
    name, text = files.written(here.engine.project, id, format, proposed)
    quoted = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in name)
    true = quote(name, safe="", errors="replace")  # RFC 5987, which every browser reads
    headers = {"content-disposition": f"attachment; filename=\"{quoted}\"; filename*=UTF-8''{true}"}
    return Response(text.encode(errors="backslashreplace"), media_type="application/octet-stream", headers=headers)
