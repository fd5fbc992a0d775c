"""What kshot says of a project's files, with the videos called what the person calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kshot.studio.marks import place_of
from kshot.studio.project import Project

if TYPE_CHECKING:
    from kshot.recognizer.report import Report


def named(project: Project, text: str) -> str:
    """A message with names in place of files."""
    for video in project.state.videos:
        text = text.replace(str(project.path(video)), f"“{video.name}”").replace(video.file, f"“{video.name}”")
    return text


def plain(project: Project, report: Report) -> dict[str, Any]:
    """A report as plain JSON, with clips called by their ids where they are of this project."""
    ids = {str(project.path(video)): video.id for video in project.state.videos}
    ids |= {place_of(project, mark): mark.id for mark in project.state.marks}

    def called(name: str) -> str:
        return ids.get(name, Path(name).name)

    made: dict[str, Any] = json.loads(json.dumps(report.plain(), default=float), parse_constant=lambda _: None)
    for suspect in made.get("suspects", []):
        suspect |= {key: called(suspect[key]) for key in ("clip", "other") if suspect.get(key)}
    made["unreadable"] = {called(name): named(project, why) for name, why in made.get("unreadable", {}).items()}
    return made
