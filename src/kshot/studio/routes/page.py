"""The page itself: its text, its style and its scripts."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import PurePath

from fastapi import APIRouter, Response

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}

FOLDER = resources.files("kshot.studio") / "page"
PAGE = {"/": "index.html"} | {
    f"/{name}": name for name in sorted(file.name for file in FOLDER.iterdir()) if name.endswith((".css", ".js"))
}
"""Path -> file of the folder: the page, and whatever it may load. No other file of this computer is served."""

router = APIRouter()


def _asset(name: str) -> Callable[[], Response]:
    def asset() -> Response:
        return Response((FOLDER / name).read_bytes(), media_type=KINDS[PurePath(name).suffix])

    return asset


for path, name in PAGE.items():
    router.get(path)(_asset(name))
