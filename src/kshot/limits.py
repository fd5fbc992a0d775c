"""The least and the most that numbers may be: beyond is a slip of the keyboard, or a file made to fill the memory."""

from __future__ import annotations

import operator

from kshot.errors import OptionError
from kshot.gate import shortened

LIMITS: dict[str, tuple[int, int]] = {
    "seed": (0, 2**63 - 1),
    "frames": (1, 1_024),
    "views": (1, 1_000),
    "way": (2, 10_000),
    "shot": (1, 10_000),
    "query": (1, 10_000),
    "episodes": (1, 10_000_000),
    "val_episodes": (1, 10_000_000),
    "steps": (1, 100_000_000),
    "rows": (0, 1_000),  # of a study, after lists were crossed
    "seeds": (0, 1_000),
    "shots": (0, 100),
    "searched": (0, 1_000),  # combinations of the values that a search tries
}
"""Name -> least and most."""


def expect(**values: int) -> None:
    """Refuses what is no whole number within its limits.

    Args:
        values: names from `LIMITS` with the numbers that were given.

    Raises:
        OptionError: names the value, the limit and what was found.
    """
    for name, value in values.items():
        least, most = LIMITS[name]
        try:
            number = operator.index(value)
        except TypeError:
            raise OptionError(f"{name} must be a whole number, found {shortened(value)}") from None
        if isinstance(value, bool):
            raise OptionError(f"{name} must be a whole number, found {value}")
        if number < least:
            raise OptionError(f"{name} must be at least {least}, found {shortened(number)}")
        if number > most:
            raise OptionError(f"{name} must be at most {most:,}, found {shortened(number)}")
