"""What kshot's own files hold, field by field: anything else is refused at the door (`kshot.gate.typed`).

Only what is read again is here; further keys are let through. Importing this takes a tenth of a second: do it late.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kshot.settings import bounds

Count = Annotated[int, Field(ge=0, lt=2**63)]
Seed = Annotated[int, Field(ge=0, le=bounds("seed")[1])]
Frames = Annotated[int, Field(ge=1, le=bounds("frames")[1])]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Names = list[str]


class Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


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


class Costs(Form):
    """What a row, or a shot of it, cost: `kshot.fewshot.cost.COLUMNS`, and with which means."""

    trained_parameters: Finite | None = None
    stored_parameters: Finite | None = None
    multiply_adds_per_clip: Finite | None = None
    multiply_adds_per_step: Finite | None = None
    stored_bytes: Finite | None = None
    peak_memory: Finite | None = None
    seconds_per_step: Finite | None = None
    training_seconds: Finite | None = None
    evaluation_seconds: Finite | None = None
    extraction_seconds: Finite | None = None
    device: str | None = None
    precision: str | None = None


class Shot(Form):
    """What a row of a study found at a shot."""

    accuracy: Finite
    episodes: Count
    per_class: dict[str, Finite]
    confusion: dict[str, dict[str, Finite]]


class Row(Costs):
    """`row.json` of a study: a finished row, or a failed one with its error."""

    data: str
    backbone: str
    seed: Seed
    name: str
    strategy: str
    tuning: str
    layers: str | int | None
    head: str | None
    results: dict[Annotated[str, Field(pattern=r"^\d{1,9}$")], Shot] = {}
    costs: dict[str, Costs] = {}
    chosen: dict[str, Any] | None = None
    clips: Count = 0
    fingerprint: str = ""
    missing: Names = []
    error: str = ""
    files: dict[str, str] = {}


class Placed(Row):
    """A row as `study.json` has it, with its folder."""

    folder: str


class Line(Costs):
    """A line of a study's summary; one without a shot is of a row that failed."""

    data: str
    backbone: str
    name: str
    shot: Count | None = None
    seeds: Count = 0
    accuracy: Finite = 0.0
    ci95: float = 0.0
    episodes: Count = 0
    difference: Finite = 0.0
    difference_ci95: float = 0.0
    agree: Count = 0
    error: str = ""
    chosen: str = ""


class Settings(Form):
    way: Count
    query: Count
    frames: Count
    episodes: Count
    split: str
    shots: list[Count]
    seeds: list[Seed]
    baseline: str
    shared_group: bool
    center: bool
    rows: list[dict[str, Any]]
    search: dict[str, list[Any]] = {}
    about: str = ""


class Study(Form):
    """`study.json`."""

    title: str
    version: str
    date: str
    settings: Settings
    machine: dict[str, Any]
    rows: list[Placed]
    summary: list[Line]


class Asked(Form):
    """How often a clip was a query, and what came of it."""

    clip: str
    label: str
    asked: Count
    right: Count
    taken_for: dict[str, Count]


class Result(Form):
    """What `kshot evaluate --out` writes."""

    version: str
    episode_accuracy: list[Finite]
    unreadable: dict[str, str] = {}
    missing: Names = []
    per_clip: list[Asked] = []


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
