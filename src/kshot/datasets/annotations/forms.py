"""The neutral form of annotations of videos: what every format is read into, and written from.

What a format says and kshot does not keep is counted here, so that it can be said in one line each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from kshot.datasets.times import read_time
from kshot.errors import DataError
from kshot.names import tidy

MOST = 1e12
"""No video has so many frames or seconds."""
HALF = re.compile("[\ud800-\udfff]")
"""Half of a sign, as JSON may name one."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a video that shows an action.

    Attributes:
        path: of the video, as the file of annotations writes it.
        start: seconds from the first frame; None for the video's own beginning.
        end: seconds from the first frame; None for the video's own end.
        label: the action.
        group: what was filmed together; "" where the file does not say.
        split: "train", "val", "test", or "".
        subject: who acts; "" where the file does not say.
        score: how sure the annotator is, 0 to 1; None for people.
    """

    path: str
    start: float | None
    end: float | None
    label: str
    group: str = ""
    split: str = ""
    subject: str = ""
    score: float | None = None


@dataclass(frozen=True)
class Film:
    """What is known of a video that annotations are of.

    Attributes:
        fps: frames a second; None where nobody says.
        seconds: its length; None where nobody says.
        size: (width, height) in pixels; None where nobody says.
    """

    fps: float | None = None
    seconds: float | None = None
    size: tuple[int, int] | None = None


@dataclass
class Annotations:
    """What a file says, or is to say.

    Attributes:
        segments: in the order of the file.
        films: path as in the segments -> what the file knows of that video; also of videos without a segment.
        labels: the file's own list of actions; empty where it has none.
        notes: sentences on what was passed over, without their full stops.
        left: (what, what became of it) -> where, for what is counted; see `leave`.
    """

    segments: list[Segment] = field(default_factory=list)
    films: dict[str, Film] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    left: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def leave(self, what: str, became: str, place: str = "") -> None:
        """Counts one thing that is not taken as it stands.

        Args:
            what: it is, in the singular ("point event").
            became: of it ("left out: they have no length").
            place: where it stands, for the first of them.
        """
        self.left.setdefault((what, became), []).append(place)

    def sentences(self) -> list[str]:
        """The notes, and a sentence for each kind of what was counted."""
        said = []
        for (what, became), places in self.left.items():
            first = f" (the first: {short(places[0])})" if places[0] else ""
            said.append(f"{len(places):,} {what if len(places) == 1 else many(what)} {became}{first}")
        return [*self.notes, *said]

    def expect_kinds(self, name: str) -> None:
        """Refuses what a reader took over as it stood, and is no text or number.

        Args:
            name: of the file.

        Raises:
            DataError: names the first of them.
        """
        for segment in self.segments:
            for what in ("path", "label", "subject"):
                expect(getattr(segment, what), str, f"{name}: the {what} of a segment")
            for time in (segment.start, segment.end):
                if time is not None:
                    number(time, f"{name}: start or end in seconds of a segment")
            if HALF.search(said := segment.label + segment.subject):  # no file and no page takes it
                raise DataError(f"{short(f'{name}: {said!a}')} is no text: expected letters of any script")
        for path, film in self.films.items():
            expect(path, str, f"{name}: a video")
            for value in (film.fps, film.seconds):
                if value is not None:
                    number(expect(value, (int, float), f"{name}: rate or length of '{path}'"), f"{name}: '{path}'")
        for label in self.labels:
            expect(label, str, f"{name}: its list of actions")

    def expect_listed(self) -> None:
        """Counts segments whose label is not in the file's own list of actions; they are kept."""
        known = {tidy(label) for label in self.labels}
        for segment in self.segments if known else ():
            if tidy(segment.label) not in known:
                self.leave("segment", "with a label that is not in the file's own list kept all the same", at(segment))


def many(what: str) -> str:
    """The plural of the noun at the head of a phrase.

    >>> many("point event"), many("box of a track"), many("segment of no length"), many("category")
    ('point events', 'boxes of a track', 'segments of no length', 'categories')
    """
    head, mark, rest = what.partition(" of ")
    if head.endswith("y"):
        head = f"{head[:-1]}ies"
    else:
        head += "es" if head.endswith(("x", "s")) else "s"
    return head + mark + rest


def at(segment: Segment) -> str:
    """Where a segment stands, for messages."""
    start, end = ("" if value is None else f"{value:.10g}" for value in (segment.start, segment.end))
    return f"'{segment.label}' at {start or 'the start'} to {end or 'the end'} s of {segment.path}"


def seconds(text: str) -> float | None:
    """A time as people and programs write it, see `kshot.datasets.times`; None where it is none.

    >>> seconds("83.5"), seconds("1:23.5"), seconds("0:01:23,500"), seconds("soon")
    (83.5, 83.5, 83.5, None)
    """
    try:
        return read_time(text)
    except ValueError:
        return None


def number(value: Any, place: str) -> float:
    """A number of a file, which may write it as text; of seconds or frames, none is `MOST` or more.

    Args:
        value: as it was read.
        place: for the message.

    Raises:
        DataError: it is none, or none that a video could have.
    """
    try:
        found = float(value)
    except (OverflowError, TypeError, ValueError):
        found = math.nan
    if isinstance(value, bool) or not abs(found) < MOST:
        raise DataError(f"{short(place)}: expected a number, found {shown(value)}")
    return found


def short(place: str) -> str:
    """A place for a message, in one line, however long the names are that the file gives."""
    place = " ".join(place.splitlines())
    return place if len(place) <= 200 else f"{place[:197]}..."


def shown(value: Any) -> str:
    """A value for a message, however large it is."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def expect(value: Any, kind: type | tuple[type, ...], place: str) -> Any:
    """A value of a file, if it is of its kind.

    Args:
        value: as JSON gave it.
        kind: what it should be.
        place: for the message.

    Raises:
        DataError: it is another.
    """
    if not isinstance(value, kind):
        words: dict[type, str] = {dict: "an object", list: "a list", str: "text", int: "a number", float: "a number"}
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(dict.fromkeys(words.get(one, one.__name__) for one in kinds))
        raise DataError(f"{short(place)}: expected {wanted}, found {shown(value)}")
    return value


def runs(frames: Iterable[int], step: int = 1) -> list[tuple[int, int]]:
    """Stretches (first, last) of successive numbers, `step` apart.

    >>> runs([3, 4, 5, 9])
    [(3, 5), (9, 9)]
    """
    found: list[tuple[int, int]] = []
    for frame in sorted(set(frames)):
        if found and frame <= found[-1][1] + step:
            found[-1] = (found[-1][0], frame)
        else:
            found.append((frame, frame))
    return found


def switched(shapes: Iterable[tuple[int, bool]], last: int, step: int = 1) -> Iterator[tuple[int, int]]:
    """Stretches (first frame, frame after) in which a track is on, as CVAT has it.

    Args:
        shapes: (frame, whether it is `outside`): the track is on from the first to the next that is outside. One of
            key frames alone that no such shape ends lasts to the end.
        last: frame of the video.
        step: frames from one that is annotated to the next.

    >>> list(switched([(3, False), (9, True), (12, False), (20, False)], last=99))
    [(3, 9), (12, 100)]
    """
    shapes = sorted(shapes)
    begun: int | None = None
    for frame, outside in shapes:
        if outside and begun is not None:
            yield begun, frame
            begun = None
        elif not outside and begun is None:
            begun = frame
    if begun is not None:
        shown = [frame for frame, outside in shapes if not outside and frame >= begun]
        gaps = any(after - before > step for before, after in pairwise(shown))
        end = max(last, shown[-1]) if gaps or len(shown) == 1 else shown[-1]
        yield begun, end + step


@dataclass
class Source:
    """A file of annotations, read but not understood yet.

    Attributes:
        path: of the file.
        kind: "json", "xml" or "text".
        value: as JSON gave it, the root element of XML, or the text.
    """

    path: Path
    kind: str
    value: Any

    def text(self) -> str:
        """The text of a file of text; "" for others."""
        return self.value if self.kind == "text" else ""

    def has(self, *keys: str) -> bool:
        """Whether it is a JSON object with these keys."""
        return self.kind == "json" and isinstance(self.value, dict) and all(key in self.value for key in keys)


Reader = Callable[..., Annotations]
