"""How the report writes figures, days and names."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kshot.study.words import digits

SPACE = "\N{NO-BREAK SPACE}"


def in_shots(shot: int) -> str:
    """The number in words: "1 shot", "5 shots"."""
    return f"{shot} shot" + "s" * (shot != 1)


def within(half: float | None, decimals: int | None = None) -> str:
    """Half of an interval as text that follows a figure; "" for NaN or None, which a single episode has."""
    return (
        "" if half is None or math.isnan(half) else f"{SPACE}±{half:.{digits(half) if decimals is None else decimals}f}"
    )


def signed(value: float, half: float) -> str:
    """A difference with its sign, which it has unless it rounds to nothing."""
    decimals = digits(half)
    rounded = round(value, decimals)
    return f"{rounded:+.{decimals}f}".replace("-", "−") if rounded else f"{0:.{decimals}f}"


def number(value: float, half: float) -> str:
    """A difference and half of its interval."""
    return f"{value:.{digits(half)}f}{within(half)}"


def either(numbers: Sequence[int]) -> str:
    """Numbers in words: "1, 2 or 5"."""
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last


def day(text: str) -> str:
    """A date such as 2026-11-22 in words."""
    date = datetime.date.fromisoformat(text)
    return f"{date.day} {date:%B %Y}"


def as_toml(settings: Mapping[str, Any]) -> str:
    """A study's settings as a file that `kshot study` reads."""
    tables = ("rows", "compare")
    lines = [f"{key} = {_toml(value)}" for key, value in settings.items() if key not in tables and value is not None]
    for name, some in (("row", settings["rows"]), ("compare", settings.get("compare", []))):
        for table in some:
            lines += ["", f"[[{name}]]"]
            lines += [f"{key} = {_toml(value)}" for key, value in table.items() if value not in (None, {}, [])]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items() if v is not None) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)
