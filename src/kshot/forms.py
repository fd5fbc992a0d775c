"""What the forms of kshot's own files are made of: their base, and the kinds of their values.

A form says field by field what a file holds; anything else is refused at the door (`kshot.gate.typed`). Each room has
the forms of its files. Importing this takes a tenth of a second: do it late.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from kshot import gate
from kshot.errors import DataError, KshotError

Count = Annotated[int, Field(ge=0, lt=2**63)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Names = list[str]


class Form(BaseModel):
    """Strict: no value is turned into another kind; further keys are let through."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Saved(Form):
    """What kshot saves as a JSON object with a version of its format, and reads back.

    Attributes:
        FORMAT: the version that this kshot writes.
        format: the version of a file; those before there were versions count as the first.
    """

    FORMAT: ClassVar[int] = 1

    format: int = 1

    def plain(self, exclude: set[str] | None = None) -> dict[str, Any]:
        """Name -> value of all that was set, ready for JSON."""
        self.format = self.FORMAT
        return self.model_dump(exclude_unset=True, exclude=exclude)

    @classmethod
    def parse(cls, value: Any, source: object, error: type[KshotError] = DataError) -> Self:
        """From what a file says.

        Args:
            value: as JSON gave it.
            source: how a message begins: the file.
            error: which error to raise.

        Raises:
            KshotError: (as `error`) it is damaged, or of a later version.
        """
        found = value.get("format", 1) if isinstance(value, dict) else 1
        if isinstance(found, int) and found > cls.FORMAT:
            raise error(
                f"{source} is of a later kshot (format {gate.shortened(found)}, this one reads up to {cls.FORMAT}): "
                f"update kshot to read it"
            )
        return gate.parsed(value, cls, source, error)
