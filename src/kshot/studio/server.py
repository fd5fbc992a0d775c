"""The server of the studio: who may use it, what it serves, and how it says no."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from kshot.errors import KshotError
from kshot.studio.engine import Busy, StudioEngine
from kshot.studio.feed import Feed
from kshot.studio.guard import Guard
from kshot.studio.keys import Keys
from kshot.studio.routes import LARGE, ROUTERS
from kshot.studio.routes.context import RouteContext, TooLarge

FILE_BYTES = 500_000_000
PROJECT_BYTES = 20_000_000_000
# Newer releases of FastAPI report to OpenTelemetry where the environment asks for it; this page reports to nobody.
SILENT: dict[str, Any] = {"telemetry": {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}}


def create_app(
    engine: StudioEngine,
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
        feed: announces changes.
        hosts: "name:port" under which the server may be addressed.
        keys: what opens the page.
        file_bytes: bytes of one video, at most.
        project_bytes: bytes of all videos, at most.
        ending: whether the server is about to end, and streams should too.

    Returns:
        An application whose every route is guarded, see `Guard`.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, **SILENT)
    app.state.context = RouteContext(engine, feed, file_bytes, project_bytes, ending)
    app.add_middleware(Guard, keys=keys, hosts=hosts, large=LARGE, ending=ending)
    app.add_exception_handler(KshotError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _nothing)
    app.add_exception_handler(ClientDisconnect, _gone)
    for router in ROUTERS:
        app.include_router(router)
    return app


async def _refused(_: Request, error: Exception) -> Response:
    status = 413 if isinstance(error, TooLarge) else 409 if isinstance(error, Busy) else 422
    return JSONResponse({"error": str(error)}, status)


async def _malformed(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"error": f"the request cannot be read: {error.errors()[0]['msg']}"}, 422)


async def _nothing(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


async def _gone(_: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody is there to read it
