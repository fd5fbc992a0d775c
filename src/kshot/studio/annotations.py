"""Files of annotations of a film: what they say becomes marks, and marks are written as such files."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from kshot.datasets import annotations as known
from kshot.datasets.annotations.forms import Film, at
from kshot.datasets.annotations.loading import inside, once
from kshot.errors import DataError, KshotError, OptionError, VideoError
from kshot.names import plain
from kshot.studio.marks import LEAST, Stretch, add_marks, film_of, lasts, marks_of
from kshot.studio.project import UNKNOWN, Project


@cache
def formats() -> dict[str, str]:
    """Name -> title of the formats that can be written."""
    return {name: known.FORMATS[name].title for name in known.writable()}


def read_into(project: Project, film: str, name: str, data: bytes) -> tuple[int, list[str]]:
    """Marks in a film what a file says of it; actions that there are not are added. All of it is one step, or nothing.

    Args:
        project: of the film.
        film: its id.
        name: of the file, whose end some formats are known by.
        data: the file.

    Returns:
        How many marks were added, and a sentence on each thing that was not taken as it stood.

    Raises:
        DataError: no known format, broken, of other videos, or nothing in it that can be marked.
        OptionError: an impossible name, or too many actions or marks.
    """
    video = film_of(project, film)
    name = Path(name.replace("\\", "/")).name or "annotations"
    with tempfile.TemporaryDirectory(prefix="kshot-studio-") as place:
        path = Path(place) / name

        def named(text: str) -> str:
            return text.replace(str(path), name).replace(str(project.path(video)), video.name)

        path.write_bytes(data)
        try:
            said = known.read(path, known.Places(path, project.path(video)))[1]
        except KshotError as error:
            raise type(error)(named(str(error))) from None
    mine = _of_this_film(said.segments, video.name, name)
    if others := len(said.segments) - len(mine):
        said.notes.append(f"{others} segments of other videos left out")
    mine = [replace(one, path=video.name) for one in mine if plain(one.label) != UNKNOWN]
    found = []
    for one in once(said, inside(said, mine, {video.name: video.seconds})):
        start, end = one.start or 0.0, video.seconds if one.end is None else one.end
        if lasts(start, end):
            found.append((one, start, end))
        else:
            said.leave("segment", f"shorter than {LEAST} s left out", at(one))
    notes = [named(note) for note in said.sentences()]
    if not found:
        raise DataError(
            f"{name} holds no segment of “{video.name}” that can be marked: {'; '.join(notes) or 'it names no action'}"
        )
    what, made, stretches = f"reading {len(found)} marks from {name}", [], []
    with project.change() as state:
        ids = {plain(label.name): label.id for label in state.labels}
        for one, start, end in found:
            if plain(one.label) not in ids:
                try:
                    made.append(project.add_label(one.label))
                except OptionError as error:
                    raise OptionError(f"{name}: {at(one)}: {error}") from None
                ids[plain(one.label)] = made[-1].id
            stretches.append(Stretch(ids[plain(one.label)], start, end))
        return len(add_marks(project, film, stretches, what, made)), notes


@contextmanager
def expecting_video(path: Path) -> Iterator[None]:
    """Says of a file that cannot be read as a video what it is instead: a person may have meant to import it."""
    try:
        yield
    except VideoError as error:
        why = str(error).replace("Invalid data found when processing input", "no video that kshot reads, or damaged")
        if not path.stat().st_size:
            why = f"{path} is no video but an empty file: choose another"
        with suppress(KshotError):
            if found := known.find(path):
                kind = f"{path} is no video but annotations ({known.FORMATS[found[0]].title})"
                why = f"{kind}: open the film that they are of, and press Import there"
        raise VideoError(why) from None


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
        renamed = project.state.renamed
        found = [
            known.Segment(video.name, one.start, one.end, renamed.get(one.label, one.label), score=one.score)
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
