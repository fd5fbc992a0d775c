"""The model: training it on the clips, and taking it away."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from kshot.studio import choices
from kshot.studio.routes.context import Here, Text

router = APIRouter()


class ChoicesBody(BaseModel):
    """What a person has chosen.

    Attributes:
        backbone: a name, folder or hub id; "" for that of the clips, None for as before.
        adapted: a run folder; "" for none, None for as before.
        threshold: of likeness; None for the model's own.
    """

    backbone: Text | None = None
    adapted: Text | None = None
    threshold: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] | None = None


@router.patch("/api/choices")
def choose(body: ChoicesBody, here: Here) -> dict[str, list[str]]:
    """Takes what a person has chosen in place of what kshot would, and says which films to look through again."""
    return {"look_again": choices.choose(here.engine, body.backbone, body.adapted, body.threshold)}


@router.post("/api/teach")
def train(here: Here) -> None:
    """Begins to train on the clips that are there."""
    here.engine.train()


@router.delete("/api/teach")
def cancel(here: Here) -> None:
    """Stops a training at its next step."""
    here.engine.cancel()


@router.get("/api/model.zip")
def download(here: Here) -> Response:
    """The model folder as an archive."""
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="kshot-studio-") as place:
        folder = Path(place) / "kshot-model"
        here.engine.pack(folder)
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                archive.write(path, path.relative_to(place))
    name = {"content-disposition": 'attachment; filename="kshot-model.zip"'}
    return Response(packed.getvalue(), media_type="application/zip", headers=name)
