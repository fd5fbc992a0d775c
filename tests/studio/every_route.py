"""The routes of an application, for tests that ask each of them."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import FastAPI
from fastapi.routing import APIRoute

from kshot.studio.routes import ROUTERS


def every_route(app: FastAPI) -> Iterator[APIRoute]:
    """Every route of an application; a kind of route that no test knows how to ask is a failure."""
    for one in app.routes:
        router = getattr(one, "original_router", None)  # newer releases of FastAPI keep routers as they are
        assert router is None or router in ROUTERS
        for route in [one] if router is None else router.routes:
            assert isinstance(route, APIRoute)
            yield route
