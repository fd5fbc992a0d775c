"""The project as a whole: which is open, the example, an empty beginning, and undoing what was done to it."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from kshot.studio.projects import ProjectEntry
from kshot.studio.routes.context import Here, Text

router = APIRouter()


class DrawBody(BaseModel):
    """What to draw.

    Attributes:
        film: whether a film of several actions; else a clip of one.
    """

    film: bool = False


class OpenBody(BaseModel):
    """Which project to open.

    Attributes:
        name: of its folder, beside that of the one that is open.
        new: whether to make it.
    """

    name: Text
    new: bool = False


@router.get("/api/projects")
def projects(here: Here) -> list[ProjectEntry]:
    """The projects that there are."""
    return here.projects.listed()


@router.post("/api/projects")
def open_project(body: OpenBody, here: Here) -> None:
    """Opens another project in place of the one that is open."""
    here.projects.open(body.name, body.new)


@router.post("/api/example")
def example(here: Here) -> None:
    """Fills an empty project with drawn clips."""
    here.engine.draw_example()


@router.post("/api/unseen")
def unseen(body: DrawBody, here: Here) -> dict[str, str]:
    """Draws a query for the example."""
    return {"id": here.engine.draw_unseen(body.film).id}


@router.post("/api/clear")
def clear(here: Here) -> None:
    """Puts everything away."""
    here.engine.clear()


@router.post("/api/undo")
def undo(here: Here) -> dict[str, str]:
    """Takes the last edit back, and says which that was."""
    return {"what": here.engine.project.undo()}


@router.post("/api/redo")
def redo(here: Here) -> dict[str, str]:
    """Makes the edit again that was undone last, and says which that was."""
    return {"what": here.engine.redo()}
