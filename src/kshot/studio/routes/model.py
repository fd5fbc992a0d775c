"""The model: training it on the clips, and taking it away."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

from fastapi import APIRouter, Response

from kshot.studio.routes.context import Here

router = APIRouter()


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
