"""What the routes share: what they work on, and the kinds of values that they take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from pydantic import BaseModel, Field

from kshot.errors import KshotError
from kshot.studio.engine import StudioEngine
from kshot.studio.feed import Feed
from kshot.studio.projects import Projects

LATEST = 1e9  # seconds that any time may be
LONGEST = 1000  # characters of a name that is sent; what is kept of it is shorter

Text = Annotated[str, Field(max_length=LONGEST)]
Seconds = Annotated[float, Field(ge=0, le=LATEST, allow_inf_nan=False)]


class TooLarge(KshotError):
    """More bytes than are taken."""


@dataclass(frozen=True)
class Shared:
    """What the routes share.

    Attributes:
        projects: what is open, and what may be.
        feed: announces changes.
        file_bytes: bytes of one video, at most.
        project_bytes: bytes of all videos, at most.
        ending: whether the server is about to end, and streams should too.
    """

    projects: Projects
    feed: Feed
    file_bytes: int
    project_bytes: int
    ending: Callable[[], bool]


@dataclass(frozen=True)
class RouteContext(Shared):
    """What a request works on.

    Attributes:
        engine: of the project that was open when the request came.
    """

    engine: StudioEngine


async def _context(request: Request) -> RouteContext:
    shared: Shared = request.app.state.shared
    return RouteContext(**vars(shared), engine=shared.projects.engine)


Here = Annotated[RouteContext, Depends(_context)]
"""The context of the server, as an argument of a route."""


class LabelBody(BaseModel):
    """The action that a video shows.

    Attributes:
        label: id of the action.
        start: first second of the stretch that shows it; None for the whole video.
        end: second at which the stretch ends; None for the whole video.
    """

    label: Text
    start: Seconds | None = None
    end: Seconds | None = None
