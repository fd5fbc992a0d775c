"""The server of the studio: who may use it, what it serves, and how it says no."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from kshot.errors import KshotError
from kshot.studio.engine import Busy
from kshot.studio.feed import Feed
from kshot.studio.guard import Guard
from kshot.studio.keys import Keys
from kshot.studio.projects import Projects
from kshot.studio.refusal import refusal
from kshot.studio.routes import LARGE, ROUTERS
from kshot.studio.routes.context import Shared, TooLarge

FILE_BYTES = 4_000_000_000  # an hour of 1080p is a long video like any other
PROJECT_BYTES = 20_000_000_000
NOTHING = {  # in place of the server's own two words
    "Not Found": "there is nothing at this address: the page of the studio is at /",
    "Method Not Allowed": "this address is not for reading: the page of the studio is at /",
}
# Newer releases of FastAPI report to OpenTelemetry where the environment asks for it; this page reports to nobody.
SILENT: dict[str, Any] = {"telemetry": {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}}


def create_app(
    projects: Projects,
    feed: Feed,
    hosts: list[str],
    keys: Keys,
    file_bytes: int = FILE_BYTES,
    project_bytes: int = PROJECT_BYTES,
    ending: Callable[[], bool] = lambda: False,
) -> FastAPI:
    """The application.

    Args:
        projects: what is open, and what may be.
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
    app.state.shared = Shared(projects, feed, file_bytes, project_bytes, ending)
    app.add_middleware(Guard, keys=keys, hosts=hosts, large=LARGE, ending=ending)
    app.add_exception_handler(KshotError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _nothing)
    app.add_exception_handler(ClientDisconnect, _gone)
    for router in ROUTERS:
        app.include_router(router)
    return app


def _said(request: Request, why: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    body, kind = refusal(request.headers, why)
    return Response(body, status, {**(headers or {}), **kind})


async def _refused(request: Request, error: Exception) -> Response:
    status = 413 if isinstance(error, TooLarge) else 409 if isinstance(error, Busy) else 422
    return _said(request, str(error), status)


async def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _said(request, f"the request cannot be read: {error.errors()[0]['msg']}", 422)


async def _nothing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _said(request, NOTHING.get(str(error.detail), str(error.detail)), error.status_code, error.headers)


async def _gone(_: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody is there to read it
