"""What a person chooses in place of what kshot would, and asks of the model."""

from __future__ import annotations

from pathlib import Path

from kshot.studio.engine import StudioEngine
from kshot.studio.marks import film_of


def choose(engine: StudioEngine, backbone: str | None, adapted: str | None, threshold: float | None) -> list[str]:
    """Takes what a person has chosen: what the next training begins from, and what answers are weighed by.

    What was put in to be tried is answered anew at once. Films take longer, and wait until a person asks for it.

    Args:
        engine: of the project.
        backbone: a name, folder or hub id; "" for that of the clips, None for as before.
        adapted: a run folder of `kshot train`; "" for none, None for as before.
        threshold: of likeness; None for the model's own.

    Returns:
        Ids of the films whose proposals were weighed by another threshold: they have to be looked through again.

    Raises:
        KshotError: there is no such backbone or run.
    """
    from kshot.backbones import hub
    from kshot.fewshot import runs

    if backbone:
        hub.resolve(backbone)
    if adapted:
        runs.read_run(adapted)
    with engine.project.change() as state:
        settings = dict(state.settings)
        for name, value in (("backbone", backbone), ("adapted", adapted and str(Path(adapted).absolute()))):
            if value is not None:
                settings.pop(name, None)
                settings |= {name: value} if value else {}
        state.settings, moved = settings, state.threshold != threshold
        state.threshold = threshold
    if engine.project.state.trained and moved:
        engine.predictions.add(*(video.id for video in engine.project.queries()))
    if engine.trained.check():
        engine.project.on_change()
    model = state.trained.model if state.trained else ""
    return [
        video.id
        for video in state.videos
        if video.film and video.prediction and video.prediction.model == model and state.outdated(video.prediction)
    ]


def look_through(engine: StudioEngine, id: str) -> None:
    """Has the model say what a film shows when, in the background. Raises KshotError if nothing was trained."""
    engine.trained.folder  # noqa: B018  (raises)
    film_of(engine.project, id)
    engine.predictions.announce(id)
    engine.project.set_video(id, error="")
    engine.predictions.add(id)
