"""Thresholds of likeness that a user sets in place of the trained one: one for all actions, or one an action."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kshot import names
from kshot.errors import OptionError, unknown

Threshold = float | Mapping[str, float] | None
"""One for all actions, or a mapping action -> threshold for some, in which `ALL` stands for the others; None for the
model's own."""

ALL = ""
"""Stands for all actions that have no threshold of their own."""


def read_thresholds(texts: Sequence[str]) -> dict[str, float]:
    """What `--threshold X` and `--threshold ACTION=X` say.

    Args:
        texts: of the options, in order.

    Returns:
        Action, or `ALL`, -> threshold.

    Raises:
        OptionError: no number between -1 and 1, or two for the same.
    """
    found: dict[str, float] = {}
    for text in texts:
        action, _, value = text.rpartition("=")
        if not action and text.startswith("="):
            raise OptionError(f"a threshold reads 0.4 or ACTION=0.4, found '{text}': name the action")
        try:
            number = float(value)
        except ValueError:
            raise OptionError(f"a threshold reads 0.4 or ACTION=0.4, found '{text}'") from None
        if action in found:
            of = f"action '{action}'" if action else "all actions"
            raise OptionError(f"expected one threshold for {of}, found two: give it once")
        found[action] = expect_likeness(number)
    return found


def expect_likeness(value: float) -> float:
    """The value; raises OptionError for one that no likeness can have."""
    if not -1 <= value <= 1:
        raise OptionError(f"a threshold is a likeness, a cosine between -1 and 1, found {value:g}")
    return float(value)


def thresholds_of(given: Threshold, trained: float, classes: Sequence[str]) -> NDArray[np.float64]:
    """The threshold (C,) of each action.

    Args:
        given: one for all, or for some actions by name (`ALL` for the others); None for what was trained.
        trained: the model's own.
        classes: (C,) the actions.

    Raises:
        OptionError: no such action, or no likeness.
    """
    if given is None:
        given = {}
    elif not isinstance(given, Mapping):
        given = {ALL: given}
    tidy = {names.tidy(name): place for place, name in enumerate(classes)}
    result = np.full(len(classes), expect_likeness(given[ALL]) if ALL in given else trained, np.float64)
    for action, value in given.items():
        if action != ALL:
            if names.tidy(action) not in tidy:
                raise unknown("action", action, list(classes))
            result[tidy[names.tidy(action)]] = expect_likeness(value)
    return result


def finite(value: float) -> float | None:
    """A threshold as JSON has it: None where nothing is "unknown"."""
    return float(value) if math.isfinite(value) else None
