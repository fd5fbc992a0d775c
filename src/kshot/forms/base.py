"""What all forms are made of: their base, and the kinds of their values."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from kshot.limits import LIMITS

Count = Annotated[int, Field(ge=0, lt=2**63)]
Seed = Annotated[int, Field(ge=0, le=LIMITS["seed"][1])]
Frames = Annotated[int, Field(ge=1, le=LIMITS["frames"][1])]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Names = list[str]


class Form(BaseModel):
    """Strict: no value is turned into another kind; further keys are let through."""

    model_config = ConfigDict(strict=True, extra="ignore")
