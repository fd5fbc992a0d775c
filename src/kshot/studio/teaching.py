"""Teaching: from the clips of a project, and what is marked in its films, to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kshot.activations.default import Default
from kshot.datasets.rest import name_of, told
from kshot.studio.marks import place_of, rest_of
from kshot.studio.meter import Meter
from kshot.studio.project import Project

if TYPE_CHECKING:
    from kshot.recognizer import Recognizer


def teach(project: Project, device: str, meter: Meter) -> tuple[Recognizer, dict[str, str]]:
    """A model trained on the clips of a project and the marks in its films.

    Args:
        project: whose clips they are.
        device: where the backbone computes.
        meter: shows the progress.

    Returns:
        The model, and what it was trained on: id or key of a clip -> name of the action.

    Raises:
        KshotError: what cannot be learned from, and why.
        Cancelled: it was stopped.
    """
    from kshot.recognizer import Recognizer

    store = project.folder / "store"
    with meter("getting ready", 1, ""):
        default = Default("")
        base, before, clips = project.state.base, project.base_labels(), project.clip_labels()
        videos = {video.id: video for video in project.clips()}
        if base:
            made = Recognizer.load(project.folder / "models" / base, device=device).set_params(store=store)
            kept = {*before.values(), made.background}
            made.clips_ = [clip for clip in made.clips_ if clip.label in kept]
        else:
            settings, default = project.state.settings, project.default_backbone()
            named = {} if "adapted" in settings else {"backbone": default.name}
            made = Recognizer(**named | settings, store=store, device=device)
    marks = {mark.key: mark for mark in project.state.marks}
    paths = [place_of(project, marks[id]) if id in marks else str(project.path(videos[id])) for id in clips]
    groups = ["" if id in marks else videos[id].group or id for id in clips]  # of a film's parts: see `grouped`
    labels = list(clips.values())
    rest = rest_of(project) if made.background is None else []
    if rest:
        nothing = name_of(labels)
        made.set_params(background=nothing)
        paths, labels, groups = [*paths, *map(str, rest)], labels + [nothing] * len(rest), groups + [""] * len(rest)
    made.partial_fit(paths, labels, groups=groups, progress=meter)
    made.report_.notes.extend(f"{note}." for note in default.notes)
    if rest:
        made.report_.notes.append(f"{told(len(rest))}.")
    return made, clips | before | project.exhaustive_films()
