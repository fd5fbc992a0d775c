"""From a file of annotations to clips: videos found, segments checked, and what is not taken said in a line each."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kshot import names
from kshot.datasets.annotations import read
from kshot.datasets.annotations.forms import Annotations, Film, Segment, at, many
from kshot.datasets.annotations.places import Places
from kshot.datasets.dataset import Dataset, build
from kshot.errors import DataError, OptionError

LATE = 1.0  # seconds by which a segment may run over the end of its video before that is said: lengths are rounded
SHOWN = 3
FILTERS = ("label", "group", "split", "subject")


@dataclass(frozen=True)
class Found:
    """Segments whose videos were found.

    Attributes:
        segments: checked, with the paths of this machine.
        films: path of this machine -> what is known of the video.
        formats: the format of each file.
        notes: what was not taken as it stood, a sentence each.
    """

    segments: list[Segment]
    films: dict[str, Film]
    formats: list[str]
    notes: list[str]


def load(
    path: Path, where: Mapping[str, str] | None = None, check_files: bool = True, name: str | None = None
) -> Dataset:
    """The clips of a file of annotations; see `kshot.datasets.load`.

    Args:
        path: of the file.
        where: `videos` (a folder or a video) and `fps`, and column -> value of the segments wanted, see `FILTERS`.
        check_files: whether a video that is missing is an error; otherwise its segments keep the path as it is written.
        name: of the data set; that of the file by default.

    Raises:
        DataError: the file, or what it says, cannot be used.
        OptionError: `where` names something else.
    """
    given = dict(where or {})
    videos, fps = given.pop("videos", None), given.pop("fps", None)
    if other := set(given) - set(FILTERS):
        raise OptionError(
            f"{path.name}: no column '{min(other)}' to filter by: annotations have {', '.join(FILTERS)}, and videos "
            f"and fps say where the videos are and how many frames a second they have"
        )
    found = gather([path], videos, _rate(fps), "refuse" if check_files else "keep")
    segments = [one for one in found.segments if all(getattr(one, key) == value for key, value in given.items())]
    if not segments:
        wanted = " and ".join(f"{key} = '{value}'" for key, value in given.items())
        why = f" with {wanted}" if wanted else ""
        raise DataError(
            f"{path.name} holds no segment{why} that can be taken: {'; '.join(found.notes) or 'it is empty'}"
        )
    spans = np.array(
        [[np.nan if value is None else value for value in (one.start, one.end)] for one in segments], dtype=np.float64
    )
    return build(
        name=name or path.stem,
        paths=[Path(one.path) for one in segments],
        labels=[one.label for one in segments],
        splits=[one.split for one in segments],
        groups=[one.group for one in segments],
        place=lambda index: at(segments[index]),
        notes=found.notes,
        alone=lambda index: f"{path}?split={segments[index].split}",
        spans=None if np.isnan(spans).all() else spans,
    )


def gather(
    paths: Sequence[Path],
    videos: str | os.PathLike[str] | None = None,
    fps: float | None = None,
    missing: str = "refuse",
) -> Found:
    """The segments of files of annotations, checked, with the paths at which their videos were found.

    Args:
        paths: of the files.
        videos: a folder in which videos are looked for by name, or one video.
        fps: frames a second, where the user says so.
        missing: what becomes of segments of videos that are missing: "refuse" is an error, "leave" leaves them out and
            says so, "keep" keeps them, with the path as it is written.

    Raises:
        DataError: a file that cannot be read, or videos that are missing.
        OptionError: `videos` or `fps` cannot be used.
    """
    segments: list[Segment] = []
    films: dict[str, Film] = {}
    formats, notes = [], []
    for path in paths:
        places = Places(path, videos, fps)
        format, said = read(path, places)
        kept = _located(said, places, missing)
        kept = _inside(said, kept, places)
        kept = once(said, kept)
        formats.append(format)
        segments += kept
        for name, film in said.films.items():
            where = places.find(name)
            header = places.film(name)
            if where or missing == "keep":
                films[str(where or name)] = replace(
                    header, fps=film.fps or header.fps, seconds=header.seconds or film.seconds
                )
        before = f"{path.name}: " if len(paths) > 1 else ""
        notes += [before + note for note in said.sentences()]
    whole = Annotations()
    segments = once(whole, segments) if len(paths) > 1 else segments
    return Found(segments, films, formats, [*notes, *whole.notes, *alike(one.label for one in segments)])


def alike(labels: Iterable[str]) -> list[str]:
    """A sentence on labels that a reader cannot tell apart; none where there are none."""
    spellings: dict[str, list[str]] = {}
    for label in dict.fromkeys(labels):
        spellings.setdefault(names.plain(label), []).append(label)
    told = [" and ".join(map(repr, each)) for each in spellings.values() if len(each) > 1]
    return [f"labels look alike and are taken for different actions: {'; '.join(told)}"] if told else []


def _rate(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"expected fps as a number of frames a second, found '{text}'") from None


def _located(said: Annotations, places: Places, missing: str) -> list[Segment]:
    """The segments with the paths at which their videos are; see `gather` for those that are not there."""
    if missing == "keep":
        return [replace(one, path=str(places.find(one.path) or one.path)) for one in said.segments]
    names = dict.fromkeys(segment.path for segment in said.segments)
    absent = [name for name in names if places.find(name) is None]
    if absent:
        lost = sum(segment.path in set(absent) for segment in said.segments)
        few = ", ".join(absent[:SHOWN]) + (f" and {len(absent) - SHOWN} more" if len(absent) > SHOWN else "")
        what = f"{'video' if len(names) == 1 else 'videos'} {'is' if len(absent) == 1 else 'are'} missing"
        parts = "segment" if lost == 1 else "segments"
        story = f"{len(absent):,} of {len(names):,} {what}, with {lost:,} {parts}: {few}"
        if missing == "refuse":
            where = f" or below {places.videos}" if places.videos else ""
            raise DataError(
                f"{places.source.name}: {story}: looked for from {places.source.parent.resolve()}{where}; name their "
                f"folder with --videos (in Python and in DATA: '{places.source.name}?videos=FOLDER')"
            )
        said.notes.append(f"{story}; left out")
    found = []
    for segment in said.segments:
        path = places.find(segment.path)
        if path is not None:
            found.append(replace(segment, path=str(path)))
    return found


def _inside(said: Annotations, segments: list[Segment], places: Places) -> list[Segment]:
    """As `inside`, with the lengths of the files themselves, where they are there: annotations round them."""
    lengths = {
        str(places.find(name) or name): places.film(name).seconds if places.find(name) else film.seconds
        for name, film in said.films.items()
    }
    return inside(said, segments, lengths)


def inside(said: Annotations, segments: Sequence[Segment], lengths: Mapping[str, float | None]) -> list[Segment]:
    """Segments that have a length and lie in their video; one that runs over its end is cut there.

    Args:
        said: counts what is not taken as it stands.
        segments: of any videos.
        lengths: path of a video -> its seconds, where they are known.
    """
    kept = []
    for segment in segments:
        start, end = segment.start or 0.0, segment.end
        length = lengths.get(segment.path)
        if end is not None and end <= start:
            what = "of no length left out" if end == start else "with its end before its start left out"
            said.leave("segment", what, at(segment))
            continue
        if start < 0:
            said.leave("segment", "that begins before its video cut there", at(segment))
            segment = replace(segment, start=0.0)
            if end is not None and end <= 0:
                continue
        if length and start >= length:
            said.leave("segment", "behind the end of its video left out", f"{at(segment)}, which lasts {length:g} s")
            continue
        if length and end is not None and end > length:
            if end > length + LATE:
                said.leave("segment", "over the end of its video cut there", f"{at(segment)}, of {length:g} s")
            segment = replace(segment, end=length)
        kept.append(segment)
    return kept


def once(said: Annotations, segments: list[Segment]) -> list[Segment]:
    """Segments less those that stand there twice, which `said` counts."""
    kept = list(dict.fromkeys(replace(segment, score=None) for segment in segments))
    if len(kept) < len(segments):
        many_ = len(segments) - len(kept)
        said.notes.append(f"{many_:,} {'segment stands' if many_ == 1 else 'segments stand'} there twice, taken once")
    return kept


def overlaps(segments: Sequence[Segment]) -> list[str]:
    """A sentence on segments that overlap another of their video, label and subject; none where there are none."""
    said = Annotations()
    ends: dict[tuple[str, str, str], float] = {}
    for segment in sorted(segments, key=lambda one: one.start or 0.0):
        key = (segment.path, segment.label, segment.subject)
        start, end = segment.start or 0.0, math.inf if segment.end is None else segment.end
        if start < ends.get(key, 0.0):
            said.leave("segment", "overlapping another of its label and subject kept", at(segment))
        ends[key] = max(end, ends.get(key, 0.0))
    return said.sentences()


def relative(found: Found, folder: Path) -> Annotations:
    """Segments to be written into a file of a folder: their paths as seen from it.

    Args:
        found: what was gathered.
        folder: where the file will lie.
    """
    names = {
        path: beside(path, folder) for path in dict.fromkeys([*found.films, *(one.path for one in found.segments)])
    }
    return Annotations(
        segments=[replace(one, path=names[one.path]) for one in found.segments],
        films={names[path]: film for path, film in found.films.items()},
    )


def beside(path: str | os.PathLike[str], folder: Path) -> str:
    """A path as seen from a folder, with forward slashes; an absolute one where there is no way between them."""
    try:
        return Path(os.path.relpath(os.path.abspath(path), os.path.abspath(folder))).as_posix()
    except ValueError:  # another drive of Windows
        return Path(os.path.abspath(path)).as_posix()


def counted(segments: Sequence[Segment]) -> str:
    """ "12 segments of 3 actions in 2 videos"."""
    parts = [(len(segments), "segment")]
    parts += [(len({one.label for one in segments}), "action"), (len({one.path for one in segments}), "video")]
    shown = [f"{count:,} {word if count == 1 else many(word)}" for count, word in parts]
    return f"{shown[0]} of {shown[1]} in {shown[2]}"
