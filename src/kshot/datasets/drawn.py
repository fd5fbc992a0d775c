"""Drawn clips are known by a mark in their files.

It is the comment of the MP4 file, so it stays when a clip is copied, renamed or listed in a CSV.
"""

from __future__ import annotations

from pathlib import Path

from kshot import gate
from kshot.errors import DataError
from kshot.paths import home

MARK = "a figure drawn by kshot"
TAIL = 4096  # bytes at the end of a file; what describes it stands there


def is_drawn(path: Path) -> bool:
    """Whether a clip was drawn by kshot: it has the mark, or lies where `motion` is kept. False where it is missing."""
    if path.suffix.lower() != ".mp4":
        return False
    if path.is_relative_to(home() / "motion"):  # drawn, maybe before there was a mark
        return True
    try:
        length = gate.regular(path)
        with path.open("rb") as file:
            file.seek(max(0, length - TAIL))
            return MARK.encode() in file.read(TAIL)
    except (DataError, OSError):
        return False
