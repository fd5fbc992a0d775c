"""Annotations of videos in the formats of other programs: one file a format, found by what is in the file.

A format is a module with `mine(source)`, whether a file is of it, `read(source, places)`, and, where it is written,
`write(annotations)`. What is read becomes clips in `kshot.datasets.annotations.loading`.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from kshot import gate
from kshot.datasets.annotations.forms import Annotations, Film, Segment, Source, at
from kshot.datasets.annotations.places import Places
from kshot.errors import DataError, unknown

__all__ = ["FORMATS", "Annotations", "Places", "Segment", "find", "read", "writable", "write"]


class Format(NamedTuple):
    """A format of annotations.

    Attributes:
        module: in this folder.
        title: what it is, for people.
        suffix: of the files that kshot writes; "" where it writes none.
        keeps: what of a segment, besides label and times, it has a place for.
        names_video: whether it says which video it is of; else that is known by the name of the file.
        of_one: whether a file is of one video.
    """

    module: str
    title: str
    suffix: str = ""
    keeps: frozenset[str] = frozenset()
    names_video: bool = True
    of_one: bool = False


FORMATS = {
    "kshot": Format("timeline", "timeline that kshot wrote (JSON)"),
    "boris": Format("boris", "BORIS project, or its exported events", ".boris", frozenset({"subject"})),
    "elan": Format("elan", "ELAN document (EAF)", ".eaf", frozenset({"subject"}), of_one=True),
    "cvat": Format("cvat", "CVAT for video 1.1 (XML)", ".xml", of_one=True),
    "datumaro": Format("datumaro", "Datumaro (JSON) of CVAT", names_video=False),
    "label-studio": Format("label_studio", "Label Studio tasks (JSON)", ".json", frozenset({"score"})),
    "via": Format("via", "VIA 3 project (JSON)", ".json"),
    "activitynet": Format("activitynet", "ActivityNet JSON, also of THUMOS", ".json", frozenset({"split", "score"})),
    "thumos": Format("thumos", "THUMOS text, a file a class"),
    "charades": Format("charades", "Charades CSV"),
    "kinetics": Format("kinetics", "Kinetics CSV"),
    "vtt": Format("webvtt", "WebVTT", ".vtt", frozenset({"score"}), False, True),
    "srt": Format("srt", "SubRip", ".srt", frozenset({"score"}), False, True),
    "audacity": Format("audacity", "Audacity labels", ".txt", names_video=False, of_one=True),
    "csv": Format("table", "CSV of segments", ".csv", frozenset({"group", "split", "subject", "score"})),
}
"""A line a format. A file is of the first whose module says that it is."""


def writable() -> list[str]:
    """Names of the formats that can be written."""
    return [name for name, one in FORMATS.items() if one.suffix]


def foreign(path: Path) -> bool:
    """Whether a table is one of another program.

    Raises:
        DataError: see `find`.
    """
    found = find(path)
    return found is not None and found[0] != "csv"


def find(path: Path) -> tuple[str, Source] | None:
    """The format of a file, by its content, and the file as it was read; None where it is none of `FORMATS`.

    Raises:
        DataError: it looks like JSON, XML or a table and is broken, hostile or too large.
    """
    source = _source(path)
    if source is None:
        return None
    try:
        for name, one in FORMATS.items():
            if _module(one).mine(source):
                return name, source
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table ({error}): is a quotation mark left open?") from None
    return None


def read(path: Path, places: Places | None = None) -> tuple[str, Annotations]:
    """The format of a file of annotations, and what it says.

    Args:
        path: of the file.
        places: where its videos are; beside it by default.

    Raises:
        DataError: no known format, or a file that is not as its format wants it, with the place.
    """
    found = find(path)
    if found is None:
        raise DataError(f"{path} is in no format of annotations that kshot reads: expected one of {', '.join(FORMATS)}")
    name, source = found
    try:
        said: Annotations = _module(FORMATS[name]).read(source, places or Places(path))
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path} looks like {FORMATS[name].title}, but is not built as one ({type(error).__name__}: "
            f"{gate.shortened(str(error))})"
        ) from None
    said.expect_kinds(path.name)
    said.expect_listed()
    return name, said


def write(said: Annotations, format: str) -> tuple[str, list[str]]:
    """A file of annotations as text, and a sentence on each thing of the segments that its format has no place for.

    Args:
        said: the segments, and what is known of their videos.
        format: one of `writable`.

    Raises:
        OptionError: unknown format.
        DataError: a segment that the format cannot say, or several videos where it is of one.
    """
    if format not in writable():
        raise unknown("format", format, writable())
    lost = []
    for what in ("subject", "group", "split"):
        count = sum(bool(getattr(segment, what)) for segment in said.segments)
        if count and what not in FORMATS[format].keeps:
            lost.append(f"{format} has no place for a {what}: those of {count:,} segments are not written")
    videos = {segment.path for segment in said.segments}
    if FORMATS[format].of_one and videos:
        said = replace(said, films={path: film for path, film in said.films.items() if path in videos})
    if FORMATS[format].of_one and len(videos) > 1:
        raise DataError(
            f"a file of {FORMATS[format].title} is of one video, found segments of {len(videos):,}: write one "
            f"for each, as `kshot data import` does into a folder that is there"
        )
    written: str = _module(FORMATS[format]).write(said if format == "csv" else replace(said, segments=_ended(said)))
    return written, lost


def _ended(said: Annotations) -> list[Segment]:
    """The segments with a start and an end, those of their videos where they have none."""
    ended = []
    for segment in said.segments:
        end = segment.end if segment.end is not None else said.films.get(segment.path, Film()).seconds
        if end is None:
            raise DataError(f"{at(segment)}: the format wants an end, and nobody says how long the video is")
        ended.append(replace(segment, start=segment.start or 0.0, end=end))
    return ended


def _module(format: Format) -> Any:
    return import_module(f"kshot.datasets.annotations.{format.module}")


def _source(path: Path) -> Source | None:
    """A file as JSON, XML or text, whichever it begins as; None where it is none of them."""
    start = gate.beginning(path)
    if not start or "\0" in start:
        return None
    if start[0] in "{[":
        return Source(path, "json", gate.read_json(path))
    if start[0] == "<":
        return Source(path, "xml", gate.read_xml(path))
    return Source(path, "text", gate.read_text(path))
