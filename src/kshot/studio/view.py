"""What the page shows of a project."""

from __future__ import annotations

from typing import Any

from kshot.studio.engine import Engine


def view(engine: Engine) -> dict[str, Any]:
    """All that the page shows but the progress of teaching."""
    project = engine.project
    state, lesson = project.state, project.lesson() | project.before()
    changed, waiting = engine.taught.changed, engine.tries.waiting
    taught = state.taught and {
        **{key: state.taught[key] for key in ("model", "at", "classes", "report")},
        "stale": bool(changed) or state.taught["clips"] != lesson,
        "changed": changed,
    }
    fields = ("id", "name", "seconds", "source", "label")
    return {
        "version": project.version,
        "folder": str(project.folder),
        "example": state.example,
        "drawing": state.drawing,
        "labels": [vars(label) for label in state.labels],
        "clips": [{name: getattr(video, name) for name in fields} for video in project.clips()],
        "tried": [
            {name: getattr(video, name) for name in (*fields, "answer", "error", "truth")}
            | {"waiting": video.id in waiting}
            for video in reversed(project.tried())
        ],
        "taught": taught,
        "teaching": state.teaching,
        "removed": state.removed[0]["what"] if state.removed else None,
    }
