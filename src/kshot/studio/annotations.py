"""Files of annotations of a film: what they say becomes marks, and marks are written as such files."""

from __future__ import annotations

import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

from kshot.datasets import annotations as known
from kshot.datasets.annotations.forms import Film
from kshot.errors import DataError, OptionError
from kshot.names import plain
from kshot.studio.marks import Stretch, add_marks, film_of, marks_of
from kshot.studio.project import UNKNOWN, Project


@cache
def formats() -> dict[str, str]:
    """Name -> title of the formats that can be written."""
    return {name: known.FORMATS[name].title for name in known.writable()}


def read_into(project: Project, film: str, name: str, data: bytes) -> tuple[int, list[str]]:
    """Marks in a film what a file says of it; actions that there are not are added.

    Args:
        project: of the film.
        film: its id.
        name: of the file, whose end some formats are known by.
        data: the file.

    Returns:
        How many marks were added, and a sentence on each thing that was not taken as it stood.

    Raises:
        DataError: no known format, broken, or of other videos.
        OptionError: a stretch outside the film, an impossible name, or too many marks.
    """
    video = film_of(project, film)
    with tempfile.TemporaryDirectory(prefix="kshot-studio-") as place:
        path = Path(place) / (Path(name.replace("\\", "/")).name or "annotations")
        path.write_bytes(data)
        format, said = known.read(path, known.Places(path, project.path(video)))
    notes = said.sentences()
    mine = _of_this_film(said.segments, video.name, name)
    if others := len(said.segments) - len(mine):
        notes.append(f"{others} segments of other videos left out")
    stretches = []
    there = {plain(label.name): label.id for label in project.state.labels}
    for one in mine:
        if plain(one.label) == UNKNOWN:
            continue
        start, end = one.start or 0.0, video.seconds if one.end is None else one.end
        if start >= video.seconds:
            raise OptionError(
                f"{name} ({format}): “{one.label}” at {start:.2f} s lies behind the end of “{video.name}”, which lasts "
                f"{video.seconds:.2f} s: is it of another video, or does it count frames of another rate?"
            )
        if end > video.seconds:
            notes.append(f"“{one.label}” at {start:.2f} s ends behind the film: it ends with it now")
        if plain(one.label) not in there:
            there[plain(one.label)] = project.add_label(one.label).id
        stretches.append(Stretch(there[plain(one.label)], start, min(end, video.seconds)))
    return len(add_marks(project, film, stretches, f"reading {len(stretches)} marks from {name}")), notes


def written(project: Project, film: str, format: str, proposed: bool = False) -> tuple[str, str]:
    """The name and the text of a file with the marks in a film.

    Args:
        project: of the film.
        film: its id.
        format: one of `formats`.
        proposed: write what the model found in place of what was marked.

    Raises:
        DataError: no such film, or the model has not looked through it.
        OptionError: no such format.
    """
    video = film_of(project, film)
    if proposed:
        if video.prediction is None:
            raise DataError(f"the model has not looked through “{video.name}” yet")
        found = [
            known.Segment(video.name, one.start, one.end, one.label, score=one.score)
            for one in video.prediction.segments
            if one.label != UNKNOWN
        ]
    else:
        names = {label.id: label.name for label in project.state.labels}
        found = [known.Segment(video.name, mark.start, mark.end, names[mark.label]) for mark in marks_of(project, film)]
    about = {video.name: Film(video.rate or None, video.seconds)}
    labels = tuple(label.name for label in project.state.labels)
    text, _ = known.write(known.Annotations(found, about, labels), format)
    return f"{Path(video.name).stem}{known.FORMATS[format].suffix}", text


def _of_this_film(segments: list[known.Segment], film: str, name: str) -> list[known.Segment]:
    """The segments of a film, of a file that may name several videos; one that names a single one is meant for it.

    Raises:
        DataError: it names several, and not this one.
    """
    named = Counter(one.path for one in segments)
    if len(named) <= 1:
        return segments
    wanted = [path for path in named if Path(path.replace("\\", "/")).stem.casefold() == Path(film).stem.casefold()]
    if len(wanted) != 1:
        few = ", ".join(sorted(Path(path).name for path in named)[:4])
        raise DataError(f"{name} is of {len(named)} videos ({few}, ...), and “{film}” is not one of them")
    return [one for one in segments if one.path == wanted[0]]
