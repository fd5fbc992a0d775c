"""What the page shows: all of it at once, and a stream of what changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from kshot.studio.routes.context import Here, RouteContext
from kshot.studio.view import bar_json, page_json, page_state

HEARTBEAT = 10.0  # seconds after which a silent stream says that it is alive
PAUSE = 0.5  # seconds after which a stream checks by itself

router = APIRouter()


def _state(here: RouteContext) -> str:
    return page_json(page_state(here.projects.engine, here.file_bytes))


@router.get("/api/state")
def state(here: Here) -> Response:
    """All that the page shows, once."""
    return Response(_state(here), media_type="application/json")


@router.get("/api/events")
async def events(here: Here) -> StreamingResponse:
    """The same and the progress of training, whenever they change."""
    return StreamingResponse(_changes(here), media_type="text/event-stream")


async def _changes(here: RouteContext) -> AsyncIterator[str]:
    """The state and the progress of training as server-sent events, first as they are and then whenever they change."""
    sent, quiet = {"state": "", "progress": ""}, 0.0
    with here.feed.listen() as changed:
        yield "retry: 1000\n\n"
        while not here.ending():
            changed.clear()
            meter = here.projects.engine.meter  # of whichever project is open by now
            now = {
                "state": _state(here),
                "progress": bar_json(meter.shown if meter else None),
            }
            for name, data in now.items():
                if data != sent[name]:
                    yield f"event: {name}\ndata: {data}\n\n"
            quiet = 0.0 if now != sent else quiet + PAUSE
            sent = now
            if quiet >= HEARTBEAT:
                yield ": alive\n\n"
                quiet = 0.0
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), PAUSE)
                await asyncio.sleep(0.1)  # what comes in quick succession is sent at once
