"""Columns of a table that say where in its video a clip begins and ends."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kshot.datasets.times import read_time
from kshot.errors import DataError
from kshot.gate import shortened

_WHAT = "(?:t|times?|timestamp|s|secs?|seconds?|ms|f|frames?|idx|index|no|num|clip|video|segment|trim|action|event)"
_MOMENT = re.compile(rf"({_WHAT}{{0,3}})(start|end|begin|stop|onset|offset|duration|dur)({_WHAT}{{0,3}})")
"""A column, less all but its letters, that says where in a video a clip begins or ends, or how long it lasts."""

_FRAMES = re.compile(r"frame|idx|index|no$|num|^f$")
_KINDS = {"start": "start", "begin": "start", "onset": "start", "from": "start", "duration": "lasts", "dur": "lasts"}
RATES = ("fps", "frame_rate", "framerate")
"""Columns that say how many frames a second frame numbers count."""


@dataclass(frozen=True)
class Columns:
    """Where a table has start and end.

    Attributes:
        start: name of the column; None where it has none.
        end: name of the column; None where it has none.
        scale: seconds a unit of what stands there; None for frame numbers, which `rate` turns into seconds.
        rate: name of the column of frames a second; None where seconds stand there.
        lasts: whether `end` is a column of durations.
    """

    start: str | None = None
    end: str | None = None
    scale: float | None = 1.0
    rate: str | None = None
    lasts: bool = False

    def __bool__(self) -> bool:
        return bool(self.start or self.end)

    @property
    def used(self) -> set[str]:
        """Names of the columns that are read."""
        return {name for name in (self.start, self.end, self.rate) if name}

    def read(self, row: Mapping[str, str], place: str) -> tuple[float, float]:
        """Start and end of a row in seconds, NaN for the video's own.

        Args:
            row: name of a column -> value.
            place: where it stands, for messages.

        Raises:
            DataError: no time that is known, or frame numbers without a rate.
        """
        start, end = (self._moment(row, name, place) for name in (self.start, self.end))
        return start, end + (0.0 if math.isnan(start) or not self.lasts else start)

    def _moment(self, row: Mapping[str, str], name: str | None, place: str) -> float:
        if name is None or not row[name]:
            return float("nan")
        try:
            value = read_time(row[name])
        except ValueError as error:
            raise DataError(f"{place}: {name} {shortened(row[name])} {error}") from None
        if self.scale is not None:
            return value * self.scale
        rate = row[self.rate or ""]
        try:
            return value / read_time(rate)  # which takes no NaN, no minus and nothing endless
        except (ValueError, ZeroDivisionError):
            raise DataError(f"{place}: {self.rate} {shortened(rate)} is no number of frames a second") from None


def columns(table: str, header: Sequence[str]) -> Columns:
    """Which columns of a header say where clips begin and end.

    Seconds are taken before frame numbers, where a table has both. A duration stands for an end that is not there.

    Args:
        table: its name, for messages.
        header: names of the columns.

    Raises:
        DataError: two columns for one end, "offset" alone, which may be either, or frame numbers without a rate.
    """
    found: dict[tuple[str, str], list[str]] = {}  # ("start", "end" or "lasts", its unit) -> columns
    lower = {*map(str.lower, header)}
    for name in header:
        match = _MOMENT.fullmatch(re.sub(r"[^a-z]", "", name.lower()))
        if match and not re.match("video.*dur", match[0]):  # its own length is no clip's
            around = match[1] + match[3]
            counted = "frames" if _FRAMES.search(around) else "ms" if around.endswith("ms") else "s"
            found.setdefault((_KINDS.get(match[2], "end"), counted), []).append(name)
        elif name.lower() in ("from", "to") and {"from", "to"} <= lower:
            found.setdefault((_KINDS.get(name.lower(), "end"), "s"), []).append(name)
    units = [unit for unit in ("s", "ms", "frames") for kind in ("start", "end") if (kind, unit) in found]
    if not units:
        return Columns()
    unit = units[0]
    starts, ends = (found.get((kind, unit), []) for kind in ("start", "end"))
    lasts = not any(kind == "end" for kind, _ in found) and ("lasts", unit) in found
    ends = found["lasts", unit] if lasts else ends
    for names, which in ((starts, "begin"), (ends, "end")):
        if len(names) > 1:
            raise DataError(
                f"{table}: columns {', '.join(map(repr, names))} all say where clips {which}: remove all but one"
            )
    if not starts and "offset" in ends[0].lower():
        raise DataError(f"{table}: column '{ends[0]}' may be where clips begin or end: call it 'start' or 'end'")
    rate = next((name for name in header if name.lower() in RATES), None) if unit == "frames" else None
    if unit == "frames" and rate is None:
        given = ", ".join(map(repr, starts + ends))
        raise DataError(
            f"{table}: {given}: frame numbers tell no time without a rate: add a column 'fps', or write seconds"
        )
    scale = {"s": 1.0, "ms": 0.001, "frames": None}[unit]
    start, end = (names[0] if names else None for names in (starts, ends))
    return Columns(start, end, scale, rate, lasts)
