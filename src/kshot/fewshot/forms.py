"""What run folders hold, field by field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from kshot.forms import Count, Finite, Form, Names
from kshot.settings import bounds

Seed = Annotated[int, Field(ge=0, le=bounds("seed")[1])]
Frames = Annotated[int, Field(ge=1, le=bounds("frames")[1])]


class Choice(Form):
    """A strategy, tuning method or head, and its options.

    Attributes:
        name: of it.
        options: name -> value.
    """

    name: str
    options: dict[str, Any]


class BackboneName(Form):
    """A backbone, known by its fingerprint.

    Attributes:
        name: as it was loaded.
        fingerprint: sha256 over everything that changes an embedding.
    """

    name: str
    fingerprint: str


class RunResult(Form):
    """What a finished training came to.

    Attributes:
        trained_parameters: how many numbers learned.
        best_step: step whose weights were kept.
        steps: steps that were taken.
        val_accuracy: of the kept weights, 0 to 1; None without validation.
        training_seconds: that it took.
        weights_sha256: of the weights file.
        chosen: settings that validation chose -> their values.
        missing: clips that the benchmark lacks.
    """

    trained_parameters: Count
    best_step: Count
    steps: Count
    val_accuracy: Finite | None
    training_seconds: Finite
    weights_sha256: str
    chosen: dict[str, Any]
    missing: Names = Field(default_factory=list)


class RunFile(Form):
    """`config.json` of `kshot train`; `result` comes when it is finished.

    Attributes:
        backbone: that was tuned.
        strategy: and its options.
        tuning: and its options.
        head: and its options.
        frames: a clip.
        resize: what is done to a frame before its square is cut out.
        deinterlace: whether the fields of interlaced video are taken apart.
        schedule: how it descended.
        base_classes: to learn from.
        val_classes: to choose with.
        result: None until the training is finished.
    """

    backbone: BackboneName
    strategy: Choice
    tuning: Choice
    head: Choice
    frames: Frames
    resize: Literal[
        "short", "short-256", "squash-256", "squash-257", "squash", "squash-bilinear", "short-bilinear",
        "short-256-bilinear",
    ] = "short"  # fmt: skip
    deinterlace: bool = False
    schedule: dict[str, Any]
    base_classes: Names
    val_classes: Names
    result: RunResult | None = None


class TrainingState(Form):
    """What a training that goes on needs beside its weights.

    Attributes:
        step: number of the next step.
        best_step: step with the best validation so far.
        best_val: its accuracy, 0 to 1; None before the first.
        seconds: that were spent.
        stale: validations since the best one.
        history: what was measured, a row a validation.
        step_seconds: seconds a step; None where it was not measured.
    """

    step: Count
    best_step: Count
    best_val: Finite | None
    seconds: Finite
    stale: Count
    history: list[dict[str, Any]]
    step_seconds: Finite | None = None
