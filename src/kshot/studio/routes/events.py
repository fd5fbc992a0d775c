"""What the page shows: all of it at once, and a stream of what changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from kshot.studio.routes.context import Context, Here
from kshot.studio.view import view

HEARTBEAT = 10.0  # seconds after which a silent stream says that it is alive
PAUSE = 0.5  # seconds after which a stream looks for itself

router = APIRouter()


def _state(here: Context) -> dict[str, Any]:
    return view(here.engine) | {"limits": {"bytes": here.file_bytes}}


@router.get("/api/state")
def state(here: Here) -> dict[str, Any]:
    return _state(here)


@router.get("/api/events")
async def events(here: Here) -> StreamingResponse:
    return StreamingResponse(_changes(here), media_type="text/event-stream")


async def _changes(here: Context) -> AsyncIterator[str]:
    """The state and the progress of training as server-sent events, first as they are and then whenever they change."""
    sent, quiet = {"state": "", "progress": ""}, 0.0
    with here.feed.listen() as changed:
        yield "retry: 1000\n\n"
        while not here.ending():
            changed.clear()
            meter = here.engine.meter
            now = {
                "state": json.dumps(_state(here), ensure_ascii=False),
                "progress": json.dumps(meter.shown if meter else None, ensure_ascii=False),
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
