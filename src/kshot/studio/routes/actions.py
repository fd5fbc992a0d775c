"""The actions of the project."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from kshot.studio.routes.context import Here, Text
from kshot.studio.state import Label

router = APIRouter()


class NameBody(BaseModel):
    """The name of an action.

    Attributes:
        name: as the person writes it.
    """

    name: Text


@router.post("/api/labels")
def add_label(body: NameBody, here: Here) -> Label:
    """A new action."""
    return here.engine.project.add_label(body.name)


@router.patch("/api/labels/{id}")
def rename_label(id: str, body: NameBody, here: Here) -> None:
    """Another name for an action."""
    here.engine.project.rename_label(id, body.name)


@router.delete("/api/labels/{id}")
def remove_label(id: str, here: Here) -> None:
    """Removes an action and its clips."""
    here.engine.project.remove_label(id)
