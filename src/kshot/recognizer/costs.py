"""What "unknown" is weighed by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from kshot.errors import OptionError, unknown
from kshot.recognizer.record import Record


@dataclass(frozen=True)
class ErrorCosts(Record):
    """What "unknown" is weighed by; the unit is a clip of a trained action that would get its label and is refused.

    With the defaults, one video in five shows something else and either error is as bad as the other: what refuses four
    of a hundred clips of trained actions has to catch 16 of a hundred others to be worth it.

    Attributes:
        cost: of giving a label to a clip that shows none of the actions.
        share: of the videos to come, how many show none (0 to 1).
        most: of the clips of trained actions, how many may be called unknown, whatever that buys (0 to 1).
    """

    cost: float = 1.0
    share: float = 0.2
    most: float = 0.1

    def __post_init__(self) -> None:
        for name, top in (("cost", math.inf), ("share", 1.0), ("most", 1.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= top:
                raise OptionError(f"expected {name} of an unknown clip from 0 to {top:g}, found {value!r}")
        if self.share == 1 or math.isinf(self.cost):
            raise OptionError(
                "expected some videos of trained actions and a finite cost: else no answer would be given"
            )

    @classmethod
    def of(cls, reject: bool | Mapping[str, float]) -> Self | None:
        """What the argument `reject` of a recognizer says; None where "unknown" is no answer.

        Raises:
            OptionError: a name or value that there cannot be.
        """
        if isinstance(reject, Mapping):
            names = [field.name for field in fields(cls)]
            wrong = [name for name in reject if name not in names]
            if wrong:
                raise unknown("cost of an unknown clip", wrong[0], names)
            return cls(**reject)
        return cls() if reject else None

    @property
    def stake(self) -> float:
        """Cost of naming all clips that show none of the actions, where refusing all of trained ones costs 1."""
        return self.cost * self.share / (1 - self.share)
