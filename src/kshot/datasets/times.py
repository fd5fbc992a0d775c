"""Moments of a video as tables write them: seconds, m:ss or h:mm:ss."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"\d{1,12}(?:[.,]\d*)?|[.,]\d+")
_CLOCK = re.compile(r"(?:(\d{1,8}):)?(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)")


def read_time(text: str) -> float:
    """Seconds of a moment written as seconds or as [h:]mm:ss; decimals follow a point or a comma.

    Raises:
        ValueError: it is neither, or lies before the beginning; says why, as the end of a sentence.

    >>> read_time("12.5"), read_time("1:02"), read_time("1:02:03,250")
    (12.5, 62.0, 3723.25)
    """
    plain = text.strip()
    if plain.startswith("-") and any(character.isdigit() for character in plain):
        raise ValueError("lies before the video's beginning")
    if _PLAIN.fullmatch(plain):
        return float(plain.replace(",", "."))
    found = _CLOCK.fullmatch(plain)
    if not found:
        raise ValueError("is no time: expected seconds (12.5), m:ss (1:02.5) or h:mm:ss (1:02:03.25)")
    hours, minutes, rest = int(found[1] or 0), int(found[2]), float(found[3].replace(",", "."))
    if rest >= 60 or (found[1] and minutes >= 60):
        raise ValueError("is no time: minutes and seconds go up to 59")
    return 3600.0 * hours + 60.0 * minutes + rest
