"""Videos: how they come in, what they show, and how they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from kshot.errors import KshotError
from kshot.studio.routes.context import Here, LabelBody, Text, TooLarge
from kshot.studio.view import PLAYABLE

UPLOAD = "/api/videos"
YEAR = 31_536_000  # seconds that a browser may keep a strip of frames: it never changes

router = APIRouter()


@router.post(UPLOAD)
async def add_video(
    request: Request,
    here: Here,
    name: Text = "video",
    label: Text | None = None,
    source: Text = "file",
    group: Text = "",
) -> dict[str, Any]:
    """Takes in a file: a clip of an action if it has a label, else a query. An odd clip waits for an answer."""
    project = here.engine.project
    if label is not None:
        project.label(label)
    room = min(here.file_bytes, here.project_bytes - await run_in_threadpool(project.bytes))
    id, path = project.place(Path(name).suffix.lower())
    part = path.with_suffix(".part")
    try:
        await _store(request, part, room, here.file_bytes)
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    kind = source if source in ("file", "camera") else "file"
    try:
        video = await run_in_threadpool(here.engine.receive, id, path, name, kind, label, group[:60])
    except KshotError as error:
        raise type(error)(str(error).replace(str(path), name)) from None
    return {"id": video.id, "version": project.version}


async def _store(request: Request, path: Path, room: int, file_bytes: int) -> None:
    """Writes a request's body to a file, as far as there is room.

    Args:
        request: whose body it is.
        path: the file.
        room: bytes that may be written.
        file_bytes: bytes that one video may have, for the words of the refusal.

    Raises:
        TooLarge: there is more than room for.
        KshotError: the disk is full.
    """
    fault = TooLarge(
        f"expected a file of at most {file_bytes / 1e6:,.0f} MB: cut the video into shorter ones, or start "
        f"kshot serve with a larger --limit"
        if room == file_bytes
        else "the project is full: remove some videos, or begin another with --project"
    )
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > room:
        raise fault
    taken = 0
    try:
        with path.open("wb") as out:
            async for chunk in request.stream():
                taken += len(chunk)
                if taken > room:
                    raise fault
                out.write(chunk)
    except OSError as error:
        raise KshotError(f"cannot write the video: {error.strerror or error}; make room, then try again") from None


@router.patch("/api/videos/{id}")
def move_video(id: str, body: LabelBody, here: Here) -> dict[str, bool]:
    """Makes a video, or a stretch of it, a clip of an action, and says whether it is one or waits for an answer."""
    return {"kept": here.engine.correct(id, body.label, body.start, body.end)}


@router.delete("/api/videos/{id}")
def remove_video(id: str, here: Here) -> None:
    """Removes a video."""
    here.engine.project.remove_video(id)


@router.post("/api/videos/{id}/keep")
def keep_doubtful(id: str, here: Here) -> None:
    """Makes an odd video a clip all the same."""
    here.engine.answer(id, keep=True)


@router.delete("/api/videos/{id}/keep")
def drop_doubtful(id: str, here: Here) -> None:
    """Leaves an odd video out."""
    here.engine.answer(id, keep=False)


@router.post("/api/videos/{id}/again")
def retry(id: str, here: Here) -> None:
    """Has the model say once more what a query shows."""
    here.engine.predictions.retry(id)


@router.get("/api/videos/{id}/strip")
def strip(id: str, here: Here, frames: int = 8) -> Response:
    """The JPEG strip of 8 or 16 frames."""
    try:
        path = here.engine.strip(id, 8 if frames <= 8 else 16)
    except KshotError as error:
        raise HTTPException(404, str(error)) from None
    return FileResponse(path, media_type="image/jpeg", headers={"cache-control": f"private, max-age={YEAR}"})


@router.get("/api/videos/{id}/file")
def file(id: str, here: Here) -> Response:
    """The video itself, where browsers play its kind."""
    project = here.engine.project
    try:
        path = project.path(project.video(id))
    except KshotError as error:
        raise HTTPException(404, str(error)) from None
    kind = PLAYABLE.get(path.suffix)
    if kind is None or not path.exists():
        raise HTTPException(404, "browsers do not play this kind of video")
    return FileResponse(path, media_type=kind)
