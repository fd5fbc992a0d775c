"""BORIS: projects (JSON) and exported events, tabular or aggregated, as CSV or TSV.

Read in the source of BORIS 9 and 10 (boris/export_events.py, export_observation.py, write_event.py,
project_functions.py) and in its user guide, https://www.boris.unito.it/user_guide. An event of a project is [time,
subject, behaviour, modifiers, comment, ...]; the time is that of the observation, whose videos follow one another,
plus its time offset or, where that is chosen, the moment at which the video was made. State events come in pairs of the
same subject, behaviour and modifiers, the first starts and the second stops.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kshot.datasets.annotations.forms import Annotations, Film, Segment, Source, expect, number, seconds, shown
from kshot.datasets.annotations.places import Places
from kshot.errors import DataError

NOBODY = ("", "NA", "No focal subject")
PAIRED = "left out: they have no end"
KEPT_NOT = "not kept"


class Event(NamedTuple):
    """One line of an observation.

    Attributes:
        time: seconds from the beginning of the observation's first video.
        subject: who acts, or "".
        behavior: its code.
        modifiers: as one text.
        kind: "START", "STOP", "POINT", or "" for the next of a pair.
    """

    time: float
    subject: str
    behavior: str
    modifiers: str
    kind: str


@dataclass(frozen=True)
class Reel:
    """The videos of an observation, one after the other.

    Attributes:
        name: of the observation.
        videos: their paths.
        begins: seconds at which each begins.
        ends: seconds at which each ends; infinity where nothing comes after it.
    """

    name: str
    videos: Sequence[str]
    begins: Sequence[float]
    ends: Sequence[float]

    def split(self, start: float, end: float) -> Iterator[tuple[str, float, float]]:
        """The parts (video, start, end) of a stretch of the observation, one for each video that it touches."""
        for video, begin, stop in zip(self.videos, self.begins, self.ends, strict=True):
            if start < stop and (end > begin or start == end == begin):
                yield video, max(start, begin) - begin, min(end, stop) - begin


def mine(source: Source) -> bool:
    """Whether it is a project, or a table with the columns of exported events."""
    if source.kind == "json":
        return source.has("observations", "behaviors_conf")
    return bool(source.text()) and _header(_rows(source.text())) is not None


def read(source: Source, places: Places) -> Annotations:
    """The state events as segments; point events, modifiers and comments are counted."""
    return _project(source, places) if source.kind == "json" else _table(source, places)


def _project(source: Source, places: Places) -> Annotations:
    said, value = Annotations(), source.value
    conf = expect(value["behaviors_conf"], dict, f"{source.path.name}: behaviors_conf").values()
    states = {one["code"]: "state" in str(one.get("type", "")).lower() for one in conf}
    said.labels = tuple(states)
    for name, one in expect(value["observations"], dict, f"{source.path.name}: observations").items():
        events = expect(one["events"], list, f"{source.path.name}: observation '{name}': events")
        files = one.get("file") or {}
        players = [list(files[player]) for player in sorted(files) if files[player]] if isinstance(files, dict) else []
        if not players:
            said.leave("observation", "without a video left out", f"'{name}' of {len(events)} events")
            continue
        for _ in players[1:]:
            said.leave("further player", "not kept: segments are of the first", f"in '{name}'")
        info = one.get("media_info") or {}
        lengths = [(info.get("length") or {}).get(video) for video in players[0]]
        if one.get("media_creation_date_as_offset"):
            made, place = (
                info.get("media_creation_time") or {},
                f"{source.path.name}: when a video of '{name}' was made",
            )
            begins = [number(made.get(video), place) for video in players[0]]
            ends = [begin + (length or float("inf")) for begin, length in zip(begins, lengths, strict=True)]
            reel = Reel(name, players[0], begins, ends)
        else:
            reel = _reel(source, name, players[0], lengths, places)
        for video, length in zip(players[0], lengths, strict=True):
            said.films[video] = Film((info.get("fps") or {}).get(video) or None, length or None)
        offset = number(one.get("time offset") or 0, f"{source.path.name}: time offset of '{name}'")
        found = []
        for event in events:
            time, subject, code, modifiers, comment = [*event, "", "", ""][:5]
            place = f"{source.path.name}: observation '{name}'"
            kind = "" if states.get(code, True) else "POINT"
            found.append(Event(number(time, place) - offset, _subject(subject), str(code), str(modifiers or ""), kind))
            _count(said, modifiers, comment, f"of '{code}' in '{name}'")
        _pair(said, reel, found)
    return said


def _table(source: Source, places: Places) -> Annotations:
    rows = _rows(source.text())
    at = _header(rows)
    assert at is not None
    columns = {name.strip(): place for place, name in reversed(list(enumerate(rows[at])))}
    said = Annotations()
    preamble = {row[0].strip(): row[1].strip() for row in rows[:at] if len(row) > 1}
    told = [row[1].strip() for row in rows[:at] if len(row) > 1 and row[0].startswith("Player #1") and row[1].strip()]
    observations: dict[str, list[tuple[int, list[str]]]] = {}
    name = preamble.get("Observation id", "")
    for line, row in enumerate(rows[at + 1 :], at + 2):
        if any(cell.strip() for cell in row):
            row += [""] * (len(rows[at]) - len(row))
            key = row[columns["Observation id"]] if "Observation id" in columns else name
            observations.setdefault(key, []).append((line, row))
    for key, lines in observations.items():
        _observation(said, source, places, key, lines, columns, told, preamble)
    return said


def _observation(
    said: Annotations,
    source: Source,
    places: Places,
    name: str,
    lines: list[tuple[int, list[str]]],
    columns: dict[str, int],
    told: list[str],
    preamble: dict[str, str],
) -> None:
    """Takes the rows of one observation of an exported table."""

    def cell(row: list[str], *names: str) -> str:
        text = next((row[columns[one]].strip() for one in names if one in columns), "")
        return "" if text == "NA" else text

    first = lines[0][1]
    videos, lengths = _listed(cell(first, "Source"), cell(first, "Media duration (s)"))
    named = list(dict.fromkeys(filter(None, (cell(row, *_MEDIA) for _, row in lines))))
    videos = videos or told or named
    if not videos or cell(first, "Observation type").startswith(("Live", "From pictures")):
        said.leave("observation", "without a video left out", f"'{name}' of {len(lines)} events")
        return
    if not lengths and len(videos) == 1:
        lengths = [seconds(cell(first, "Total length"))]
    reel = _reel(source, name, videos, lengths or [None] * len(videos), places)
    rates = cell(first, "FPS (frame/s)", "FPS").partition("|")[0].split(";")
    for index, video in enumerate(videos):
        rate = seconds(rates[index]) if index < len(rates) else None
        said.films[video] = Film(rate or None, lengths[index] if index < len(lengths) else None)
    offset = seconds(cell(first, "Time offset (s)") or preamble.get("Time offset (s)", "")) or 0.0
    modifiers = [column for column in columns if column.startswith("Modifier")]
    events = []
    for line, row in lines:
        place = f"{source.path.name}: line {line}"
        subject, behavior = _subject(cell(row, "Subject")), cell(row, "Behavior")
        change = "|".join(filter(None, (cell(row, column) for column in modifiers)))
        comments = [cell(row, column) for column in ("Comment", "Comment start", "Comment stop")]
        _count(said, change, "".join(comments), f"on line {line}")
        if "Start (s)" in columns:
            kind = cell(row, "Behavior type")
            start, end = (cell(row, column) for column in ("Start (s)", "Stop (s)"))
            begun = _time(start, place) - offset
            if kind.upper() == "POINT":
                events.append(Event(begun, subject, behavior, change, "POINT"))
            elif not end:
                said.leave("START without a STOP", PAIRED, f"'{behavior}' on line {line}")
            else:
                _take(said, reel, behavior, subject, begun, _time(end, place) - offset)
        else:
            kind = cell(row, "Behavior type", "Status").upper()
            events.append(Event(_time(cell(row, "Time"), place) - offset, subject, behavior, change, kind))
    _pair(said, reel, events)


_MEDIA = ("Media file name", "Media file path", "Media file")


def _listed(text: str, lengths: str) -> tuple[list[str], list[float | None]]:
    """The videos of the first player, from "player #1:a.mp4;b.mp4|player #2:...", and their lengths."""
    first = text.partition("|")[0]
    if not first.startswith("player #1:"):
        return [], []
    videos = [video.strip() for video in first.removeprefix("player #1:").split(";") if video.strip()]
    found = [seconds(one) for one in lengths.partition("|")[0].split(";")]
    return videos, found if len(found) == len(videos) else [None] * len(videos)


def _time(text: str, place: str) -> float:
    found = seconds(text.removeprefix("-"))
    if found is None:
        raise DataError(f"{place}: expected a time in seconds or h:mm:ss, found {shown(text)}")
    return -found if text.startswith("-") else found


def _reel(source: Source, name: str, videos: Sequence[str], lengths: Sequence[Any], places: Places) -> Reel:
    """The videos of an observation with the times at which they end."""
    ends: list[float] = []
    for video, told in zip(videos[:-1], lengths, strict=False):
        length = told or places.film(video).seconds
        if not length:
            raise DataError(
                f"{source.path.name}: observation '{name}' runs over {len(videos)} videos, and neither it nor "
                f"'{video}' says how long that one is, so times cannot be told apart: say where the videos are with "
                f"--videos"
            )
        ends.append((ends[-1] if ends else 0.0) + float(length))
    return Reel(name, videos, [0.0, *ends], [*ends, float("inf")])


def _pair(said: Annotations, reel: Reel, events: list[Event]) -> None:
    """Takes the pairs of an observation's events, and counts what is none."""
    begun: dict[tuple[str, str, str], float] = {}
    for event in sorted(events, key=lambda event: event.time):
        key = (event.subject, event.behavior, event.modifiers)
        place = f"'{event.behavior}' at {event.time:g} s of '{reel.name}'"
        if event.kind == "POINT":
            said.leave("point event", "left out: they have no length", place)
        elif event.kind == "START" and key in begun:
            said.leave("START without a STOP", PAIRED, f"'{event.behavior}' at {begun[key]:g} s of '{reel.name}'")
            begun[key] = event.time
        elif event.kind == "STOP" and key not in begun:
            said.leave("STOP without a START", "left out: they have no beginning", place)
        elif key in begun:
            _take(said, reel, event.behavior, event.subject, begun.pop(key), event.time)
        else:
            begun[key] = event.time
    for (_, behavior, _), start in begun.items():
        said.leave("START without a STOP", PAIRED, f"'{behavior}' at {start:g} s of '{reel.name}'")


def _take(said: Annotations, reel: Reel, label: str, subject: str, start: float, end: float) -> None:
    """Takes a segment of an observation, which its videos may cut."""
    parts = list(reel.split(start, end)) or [(reel.videos[0], start, end)]
    if len(parts) > 1:
        said.leave("segment", "over the end of a video cut there", f"'{label}' at {start:g} s of '{reel.name}'")
    said.segments += [Segment(video, begin, stop, label, subject=subject) for video, begin, stop in parts]


def _count(said: Annotations, modifiers: Any, comment: Any, place: str) -> None:
    if modifiers:
        said.leave("modifier", KEPT_NOT, place)
    if comment:
        said.leave("comment", KEPT_NOT, place)


def _subject(text: Any) -> str:
    return "" if text in NOBODY else str(text)


def _rows(text: str) -> list[list[str]]:
    """The cells of a table, separated by whatever the line of its header has most of."""
    headed = next((line for line in text.splitlines() if "Behavior" in line), "")
    mark = max("\t,;", key=headed.count)
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=mark)) if headed else []


def _header(rows: list[list[str]]) -> int | None:
    """Which row names the columns of exported events; None where none does."""
    for place, row in enumerate(itertools.islice(rows, 200)):
        names = {cell.strip() for cell in row}
        if {"Behavior", "Subject"} <= names and (
            {"Start (s)", "Stop (s)"} <= names or ("Time" in names and names & {"Status", "Behavior type"})
        ):
            return place
    return None


def write(said: Annotations) -> str:
    """A project with an observation for each video; segments of one subject and label that overlap become one."""
    by_video: dict[str, list[Segment]] = {video: [] for video in said.films}
    for segment in said.segments:
        by_video.setdefault(segment.path, []).append(segment)
    labels = list(dict.fromkeys([*said.labels, *(segment.label for segment in said.segments)]))
    subjects = sorted({segment.subject for segment in said.segments} - {""})
    observations: dict[str, Any] = {}
    for video, segments in by_video.items():
        film = said.films.get(video, Film())
        events = []
        for segment in united(segments):
            for time in (segment.start, segment.end):
                frame = round((time or 0) * film.fps) if film.fps else "NA"
                events.append([round(time or 0, 3), segment.subject, segment.label, "", "", frame])
        name = os.path.basename(video) or "observation"
        while name in observations:
            name += "'"
        observations[name] = {
            "file": {"1": [video], **{str(player): [] for player in range(2, 9)}},
            "type": "MEDIA",
            "date": "2000-01-01T00:00:00",
            "description": "",
            "time offset": 0.0,
            "events": sorted(events, key=lambda event: event[0]),
            "observation time interval": [0, 0],
            "independent_variables": {},
            "visualize_spectrogram": False,
            "visualize_waveform": False,
            "close_behaviors_between_videos": False,
            "media_info": {
                "length": {video: film.seconds} if film.seconds else {},
                "fps": {video: film.fps} if film.fps else {},
                "hasVideo": {video: True},
                "hasAudio": {video: False},
                "offset": {"1": 0.0},
            },
        }
    behavior = {"type": "State event", "key": "", "description": "", "category": "", "modifiers": "", "excluded": ""}
    project = {
        "time_format": "hh:mm:ss",
        "project_date": "2000-01-01T00:00:00",
        "project_name": "kshot",
        "project_description": "",
        "project_format_version": "7.0",
        "subjects_conf": {
            str(index): {"key": "", "name": name, "description": ""} for index, name in enumerate(subjects)
        },
        "behaviors_conf": {
            str(index): behavior | {"code": label, "coding map": ""} for index, label in enumerate(labels)
        },
        "observations": observations,
        "behavioral_categories": [],
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }
    return json.dumps(project, ensure_ascii=False, indent=1) + "\n"


def united(segments: Sequence[Segment]) -> list[Segment]:
    """Segments by start, those of one subject and label that overlap as one."""
    found: list[Segment] = []
    last: dict[tuple[str, str], int] = {}
    for segment in sorted(segments, key=lambda segment: segment.start or 0.0):
        key = (segment.subject, segment.label)
        before = found[last[key]] if key in last else None
        if before is not None and round(segment.start or 0.0, 3) < round(before.end or 0.0, 3):  # as they are written
            found[last[key]] = Segment(
                before.path, before.start, max(before.end or 0.0, segment.end or 0.0), before.label,
                subject=before.subject,
            )  # fmt: skip
        else:
            last[key] = len(found)
            found.append(segment)
    return found
