"""The camera of the page: a stream of frames, each a request of its own."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool

from kshot.studio.camera_answer import CameraAnswer
from kshot.studio.routes.context import Here, LabelBody, Seconds, Text, TooLarge
from kshot.studio.state import WIDEST

FRAME = "/api/live/frame"
FRAME_BYTES = 3 << 20

Side = Annotated[int, Query(ge=1, le=WIDEST)]

router = APIRouter()


@router.post("/api/live")
def start(here: Here) -> dict[str, Any]:
    """Begins a stream of frames."""
    camera = here.engine.start_camera()
    return {"id": camera.id, "side": camera.side, "interval": camera.settings.interval, "classes": camera.classes}


@router.post(FRAME, response_model_exclude_none=True)
async def add_frame(request: Request, here: Here, id: Text, t: Seconds, width: Side, height: Side) -> CameraAnswer:
    """Takes a frame: its pixels are the body, RGB; `t` is its time in seconds."""
    pixels = bytearray()
    async for chunk in request.stream():
        pixels += chunk
        if len(pixels) > FRAME_BYTES:
            raise TooLarge(f"expected a frame of at most {FRAME_BYTES:,} bytes")
    return await run_in_threadpool(here.engine.camera(id).add, t, bytes(pixels), width, height)


@router.post("/api/live/{id}/keep")
def keep(id: str, body: LabelBody, here: Here) -> dict[str, bool]:
    """Makes the last window a clip of an action, and says whether it is one or waits for an answer."""
    return {"kept": here.engine.keep_camera(id, body.label)}


@router.delete("/api/live/{id}")
def stop(id: str, here: Here) -> None:
    """Ends the stream."""
    here.engine.stop_camera(id)
