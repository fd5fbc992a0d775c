"""A part of a video as a clip: its file, and the seconds at which it begins and ends.

Written as text it is a media fragment (W3C, Media Fragments URI 1.0): `film.mp4#t=12.5,14`, which also names it in
messages, results and models. Seconds count from the first frame, as those of a timeline do.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kshot.errors import DataError

_FRAGMENT = re.compile(r"(.+)#t=(\d+(?:\.\d+)?)?(?:,(\d+(?:\.\d+)?))?", re.DOTALL)
DIGITS = 6  # of seconds: times are kept to the microsecond


@dataclass(frozen=True)
class Excerpt:
    """What a video shows from one moment to another.

    Attributes:
        path: of the video, a file or a folder of frames.
        start: seconds from its first frame; None for its beginning.
        end: seconds from its first frame; None for its end.

    Raises:
        DataError: a time that there cannot be, or none between the two.
    """

    path: Path
    start: float | None = None
    end: float | None = None

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise DataError(f"{self.path}: expected a {name} of 0 seconds or more, found {value:g}")
            object.__setattr__(self, name, None if value is None else round(float(value), DIGITS))
        if not self.begin < self.stop:
            raise DataError(
                f"{self.path}: a segment from {seconds(self.begin)} to {seconds(self.stop)} s has no length"
            )

    @property
    def begin(self) -> float:
        """Seconds at which it begins."""
        return self.start or 0.0

    @property
    def stop(self) -> float:
        """Seconds at which it ends; infinite for the video's end."""
        return math.inf if self.end is None else self.end

    @property
    def times(self) -> str:
        """Start and end, as in `12.5,14`; an end of the video's own stays empty."""
        end = "" if self.end is None else f",{seconds(self.end)}"
        return f"{'' if self.start is None else seconds(self.start)}{end}"

    @property
    def name(self) -> str:
        """As its text, without the folder."""
        return f"{self.path.name}#t={self.times}"

    def __str__(self) -> str:
        return f"{self.path}#t={self.times}"

    def digest(self, whole: str) -> str:
        """sha256 of the excerpt, from that of its video and its times alone; "" where there is none of the video."""
        return whole and hashlib.sha256(f"{whole}#t={self.times}".encode()).hexdigest()


Clip = Path | Excerpt
"""What a clip is: a whole video, or a part of one."""

ClipName = str | os.PathLike[str] | Excerpt
"""What `clip_of` takes for one."""


def clip_of(path: ClipName, span: Sequence[float] | None = None) -> Clip:
    """A clip, given by its path or its text; what exists under the very name is meant by it.

    Args:
        path: of a video, or the text of an excerpt.
        span: (start, end) in seconds of a part of it, NaN for the video's own.

    Raises:
        DataError: times that there cannot be.
    """
    if isinstance(path, Excerpt):
        return path
    if span is not None:
        start, end = (None if math.isnan(value) else float(value) for value in span)
        return Path(path) if start is None and end is None else Excerpt(Path(path), start, end)
    found = _FRAGMENT.fullmatch(os.fspath(path))
    if not found or found[2] is found[3] is None or os.path.lexists(path):
        return Path(path)
    return Excerpt(Path(found[1]), *(None if text is None else float(text) for text in found.groups()[1:]))


def file_of(clip: ClipName) -> Path:
    """The video of a clip, given as `clip_of` takes it."""
    found = clip_of(clip)
    return found.path if isinstance(found, Excerpt) else found


def span_of(clip: ClipName) -> tuple[float, float]:
    """Start and end of a clip in seconds, NaN for its video's own."""
    found = clip_of(clip)
    times = (found.start, found.end) if isinstance(found, Excerpt) else (None, None)
    start, end = (math.nan if value is None else value for value in times)
    return start, end


def seconds(value: float) -> str:
    """Seconds as short as they can be written: 12.5, 14."""
    return f"{value:.{DIGITS}f}".rstrip("0").rstrip(".")


def shared(sources: Sequence[str], spans: Sequence[tuple[float, float]]) -> list[int]:
    """Which clips show the same moments of the same video: a number for each, equal for those that do.

    Clips of a video that overlap one after the other make one chain, and share its number.

    Args:
        sources: what tells the video of each clip.
        spans: (begin, stop) of each in seconds, the end of a whole video infinite.

    >>> shared(["a", "a", "b", "a"], [(0, 2), (1, 3), (0, 2), (3, 4)])
    [0, 0, 2, 3]
    """
    number = list(range(len(sources)))
    last: dict[str, tuple[float, int]] = {}
    for i in sorted(number[:], key=lambda i: spans[i]):
        reach, first = last.get(sources[i], (-math.inf, i))
        if spans[i][0] < reach - 10**-DIGITS:
            number[i] = first
            last[sources[i]] = max(reach, spans[i][1]), first
        else:
            last[sources[i]] = spans[i][1], i
    return number
