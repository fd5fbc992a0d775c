"""The server of the studio: a page, a few routes, and a stream of what changes."""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from kshot.errors import KshotError
from kshot.studio.engine import Busy, Engine
from kshot.studio.guard import Guard
from kshot.studio.keys import Keys
from kshot.studio.state import WIDEST

FILE_BYTES = 500_000_000
PROJECT_BYTES = 20_000_000_000
FRAME_BYTES = 3 << 20
PAGE = {"/": "index.html", "/style.css": "style.css", "/app.js": "app.js"}
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
PLAYABLE = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".ogv": "video/ogg"}
# Newer releases of FastAPI report to OpenTelemetry where the environment asks for it; this page reports to nobody.
SILENT: dict[str, Any] = {"telemetry": {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}}
LATEST = 1e9  # seconds that any time may be
LONGEST = 1000  # characters of a name that is sent; what is kept of it is shorter
HEARTBEAT = 10.0  # seconds after which a silent stream says that it is alive


class TooLarge(KshotError):
    """More bytes than are taken."""


Text = Annotated[str, Field(max_length=LONGEST)]
Seconds = Annotated[float, Field(ge=0, le=LATEST, allow_inf_nan=False)]
Side = Annotated[int, Query(ge=1, le=WIDEST)]


class Name(BaseModel):
    """The name of an action."""

    name: Text


class Move(BaseModel):
    """The action that a video shows; from `start` to `end` seconds, where these are given."""

    label: Text
    start: Seconds | None = None
    end: Seconds | None = None


class Draw(BaseModel):
    """What to draw: one action, or a film of several."""

    film: bool = False


class Feed:
    """Wakes those who wait for changes; any thread may tell of one."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def tell(self) -> None:
        for event, loop in list(self._waiting.items()):
            with suppress(RuntimeError):  # its loop has ended
                loop.call_soon_threadsafe(event.set)

    @contextmanager
    def listen(self) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._waiting[event] = asyncio.get_running_loop()
        try:
            yield event
        finally:
            del self._waiting[event]


def view(engine: Engine) -> dict[str, Any]:
    """All that the page shows but the progress of teaching."""
    project = engine.project
    state, lesson = project.state, project.lesson() | project.before()
    changed, waiting = engine.taught.changed, engine.tries.waiting
    taught = state.taught and {
        **{key: state.taught[key] for key in ("model", "at", "classes", "report")},
        "stale": bool(changed) or state.taught["clips"] != lesson,
        "changed": changed,
    }
    fields = ("id", "name", "seconds", "source", "label")
    return {
        "version": project.version,
        "folder": str(project.folder),
        "example": state.example,
        "drawing": state.drawing,
        "labels": [vars(label) for label in state.labels],
        "clips": [{name: getattr(video, name) for name in fields} for video in project.clips()],
        "tried": [
            {name: getattr(video, name) for name in (*fields, "answer", "error", "truth")}
            | {"waiting": video.id in waiting}
            for video in reversed(project.tried())
        ],
        "taught": taught,
        "teaching": state.teaching,
        "removed": state.removed[0]["what"] if state.removed else None,
    }


def create_app(
    engine: Engine,
    feed: Feed,
    hosts: list[str],
    keys: Keys,
    file_bytes: int = FILE_BYTES,
    project_bytes: int = PROJECT_BYTES,
    ending: Callable[[], bool] = lambda: False,
) -> FastAPI:
    """The application.

    Args:
        engine: does the work.
        feed: is told of changes.
        hosts: "name:port" under which the server may be addressed.
        keys: what opens the page.
        file_bytes, project_bytes: how much is taken, of one file and in all.
        ending: whether the server is about to end, and streams should too.
    """
    project = engine.project
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, **SILENT)
    large = ("/api/videos", "/api/live/frame")
    app.add_middleware(Guard, keys=keys, hosts=hosts, large=large, ending=ending)

    @app.exception_handler(KshotError)
    async def refused(_: Request, error: KshotError) -> JSONResponse:
        status = 413 if isinstance(error, TooLarge) else 409 if isinstance(error, Busy) else 422
        return JSONResponse({"error": str(error)}, status)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": f"the request cannot be read: {error.errors()[0]['msg']}"}, 422)

    @app.exception_handler(HTTPException)
    async def nothing(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody is there to read it

    def asset(path: str) -> Callable[[], Response]:
        def page() -> Response:
            name = PAGE[path]
            text = resources.files("kshot.studio").joinpath(name).read_bytes()
            return Response(text, media_type=KINDS[Path(name).suffix])

        return page

    for path in PAGE:
        app.get(path)(asset(path))

    @app.get("/api/state")
    def state() -> dict[str, Any]:
        return view(engine) | {"limits": {"bytes": file_bytes}}

    @app.get("/api/events")
    async def events() -> StreamingResponse:
        async def stream() -> AsyncIterator[str]:
            said, measured, quiet = "", "", 0.0
            with feed.listen() as changed:
                yield "retry: 1000\n\n"
                while not ending():
                    changed.clear()
                    now, meter = json.dumps(state(), ensure_ascii=False), engine.meter
                    progress = json.dumps(meter.shown if meter else None, ensure_ascii=False)
                    if now != said:
                        yield f"event: state\ndata: {now}\n\n"
                    if progress != measured:
                        yield f"event: progress\ndata: {progress}\n\n"
                    quiet = 0.0 if (now, progress) != (said, measured) else quiet + 0.5
                    said, measured = now, progress
                    if quiet >= HEARTBEAT:
                        yield ": alive\n\n"
                        quiet = 0.0
                    with suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), 0.5)
                        await asyncio.sleep(0.1)  # what comes in quick succession is told at once

        return StreamingResponse(stream(), media_type="text/event-stream")

    @app.post("/api/labels")
    def add_label(body: Name) -> dict[str, Any]:
        return vars(project.add_label(body.name))

    @app.patch("/api/labels/{id}")
    def rename_label(id: str, body: Name) -> None:
        project.rename_label(id, body.name)

    @app.delete("/api/labels/{id}")
    def remove_label(id: str) -> None:
        project.remove_label(id)

    @app.post("/api/videos")
    async def add_video(
        request: Request, name: Text = "video", label: Text | None = None, source: Text = "file", group: Text = ""
    ) -> dict[str, Any]:
        if label is not None:
            project.label(label)
        room = min(file_bytes, project_bytes - await run_in_threadpool(project.bytes))
        id, path = project.place(Path(name).suffix.lower())
        part = path.with_suffix(".part")
        try:
            await _store(request, part, room, file_bytes)
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)
        kind = source if source in ("file", "camera") else "file"
        try:
            video = await run_in_threadpool(engine.receive, id, path, name, kind, label, group[:60])
        except KshotError as error:
            raise type(error)(str(error).replace(str(path), name)) from None
        return {"id": video.id, "version": project.version}

    @app.patch("/api/videos/{id}")
    def move_video(id: str, body: Move) -> None:
        engine.correct(id, body.label, body.start, body.end)

    @app.delete("/api/videos/{id}")
    def remove_video(id: str) -> None:
        project.remove_video(id)

    @app.post("/api/videos/{id}/again")
    def ask_again(id: str) -> None:
        engine.tries.again(id)

    @app.get("/api/videos/{id}/strip")
    def strip(id: str, frames: int = 8) -> Response:
        try:
            path = engine.strip(id, 8 if frames <= 8 else 16)
        except KshotError as error:
            return JSONResponse({"error": str(error)}, 404)
        return FileResponse(path, media_type="image/jpeg", headers={"cache-control": "private, max-age=31536000"})

    @app.get("/api/videos/{id}/file")
    def file(id: str) -> Response:
        try:
            path = project.path(project.video(id))
        except KshotError as error:
            return JSONResponse({"error": str(error)}, 404)
        kind = PLAYABLE.get(path.suffix)
        if kind is None or not path.exists():
            return JSONResponse({"error": "browsers do not play this kind of video"}, 404)
        return FileResponse(path, media_type=kind)

    @app.post("/api/live")
    def start_live() -> dict[str, Any]:
        live = engine.start_live()
        return {"id": live.id, "side": live.side, "interval": live.settings.interval, "classes": live.classes}

    @app.post("/api/live/frame")
    async def live_frame(request: Request, id: Text, t: Seconds, width: Side, height: Side) -> dict[str, Any]:
        pixels = bytearray()
        async for chunk in request.stream():
            pixels += chunk
            if len(pixels) > FRAME_BYTES:
                raise TooLarge(f"expected a frame of at most {FRAME_BYTES:,} bytes")
        return await run_in_threadpool(engine.live(id).add, t, bytes(pixels), width, height)

    @app.post("/api/live/{id}/keep")
    def keep_live(id: str, body: Move) -> None:
        engine.keep_live(id, body.label)

    @app.delete("/api/live/{id}")
    def stop_live(id: str) -> None:
        engine.stop_live(id)

    @app.post("/api/teach")
    def teach() -> None:
        engine.teach()

    @app.delete("/api/teach")
    def cancel() -> None:
        engine.cancel()

    @app.post("/api/example")
    def example() -> None:
        engine.draw_example()

    @app.post("/api/unseen")
    def unseen(body: Draw) -> dict[str, str]:
        return {"id": engine.draw_unseen(body.film).id}

    @app.post("/api/clear")
    def clear() -> None:
        engine.clear()

    @app.post("/api/undo")
    def undo() -> None:
        project.undo()

    @app.get("/api/model.zip")
    def download() -> Response:
        packed = io.BytesIO()
        with tempfile.TemporaryDirectory(prefix="kshot-studio-") as place:
            folder = Path(place) / "kshot-model"
            engine.pack(folder)
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                    archive.write(path, path.relative_to(place))
        name = {"content-disposition": 'attachment; filename="kshot-model.zip"'}
        return Response(packed.getvalue(), media_type="application/zip", headers=name)

    return app


async def _store(request: Request, path: Path, room: int, file_bytes: int) -> None:
    """Writes a request's body to a file, as far as there is room. Raises TooLarge, KshotError for a full disk."""
    fault = TooLarge(
        f"expected a file of at most {file_bytes / 1e6:,.0f} MB: cut the video into shorter ones"
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
