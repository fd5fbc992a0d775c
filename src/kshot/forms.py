"""What kshot's own files hold, field by field: anything else is refused at the door (`kshot.gate.typed`).

Only what is read again is here; further keys are let through. Importing this takes a tenth of a second: do it late.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from kshot import gate
from kshot.errors import DataError, KshotError
from kshot.settings import bounds

Count = Annotated[int, Field(ge=0, lt=2**63)]
Seed = Annotated[int, Field(ge=0, le=bounds("seed")[1])]
Frames = Annotated[int, Field(ge=1, le=bounds("frames")[1])]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Names = list[str]


class Form(BaseModel):
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


class Named(Form):
    """A strategy, tuning method or head, and its options."""

    name: str
    options: dict[str, Any]


class Spine(Form):
    """A backbone, known by its fingerprint."""

    name: str
    fingerprint: str


class RunResult(Form):
    trained_parameters: Count
    best_step: Count
    steps: Count
    val_accuracy: Finite | None
    training_seconds: Finite
    weights_sha256: str
    chosen: dict[str, Any]
    missing: Names = []


class Run(Form):
    """`config.json` of `kshot train`; `result` comes when it is finished."""

    backbone: Spine
    strategy: Named
    tuning: Named
    head: Named
    frames: Frames
    resize: Literal["short", "short-256", "squash-256"] = "short"
    schedule: dict[str, Any]
    base_classes: Names
    val_classes: Names
    result: RunResult | None = None


class Checkpoint(Form):
    """What a training that goes on needs beside its weights."""

    step: Count
    best_step: Count
    best_val: Finite | None
    seconds: Finite
    stale: Count
    history: list[dict[str, Any]]
    step_seconds: Finite | None = None


class Arguments(Form):
    """Arguments of a `Recognizer` that its folder keeps."""

    method: str
    frames: Frames
    prompts: Names
    reject: bool | dict[str, Finite]
    background: str | None
    seed: Seed
    precision: str


class Taught(Form):
    """A taught clip."""

    name: str
    label: str
    group: str
    digest: str
    seconds: Finite | None


class Decider(Form):
    scorer: str
    background: bool


class Model(Form):
    """`config.json` of `kshot fit`."""

    backbone: Spine
    arguments: Arguments
    classes: Names
    method: str
    decider: Decider
    threshold: Finite | None
    clip_seconds: Finite
    clips: list[Taught]
    report: dict[str, Any]
    files: dict[str, str]
    adapted: str | None


class Expected(Form):
    """Split -> label -> clips, as published."""

    train: dict[str, Count]
    val: dict[str, Count]
    test: dict[str, Count]


class Prepared(Form):
    """`prepared.json` of a benchmark."""

    format: int
    benchmark: str
    found: Count
    expected: Expected
    missing: dict[str, Names]
