"""Studies: their rows, tables and settings."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from kshot.forms.base import Count, Finite, Form, Names, Seed


class CostFields(Form):
    """What a row, or a shot of it, cost: `kshot.fewshot.cost.COLUMNS`, and with which means.

    Attributes:
        trained_parameters: how many numbers learned.
        stored_parameters: how many have to be kept.
        multiply_adds_per_clip: to classify one.
        multiply_adds_per_step: to learn from one batch.
        stored_bytes: of activations.
        peak_memory: bytes.
        seconds_per_step: of training.
        training_seconds: in all.
        evaluation_seconds: in all.
        extraction_seconds: in all.
        device: that was used.
        precision: of its arithmetic.
    """

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


class ShotResult(Form):
    """What a row of a study found at a shot.

    Attributes:
        accuracy: mean over episodes, 0 to 1.
        episodes: how many.
        per_class: class -> accuracy, 0 to 1.
        confusion: class -> class that it was taken for -> share.
    """

    accuracy: Finite
    episodes: Count
    per_class: dict[str, Finite]
    confusion: dict[str, dict[str, Finite]]


class RowFile(CostFields):
    """`row.json` of a study: a finished row, or a failed one with its error.

    Attributes:
        data: name of the data set.
        backbone: its name.
        seed: of all that is random.
        name: of the method.
        strategy: its name.
        tuning: its name.
        layers: that learn; None for the default.
        head: its name; None for the default.
        results: shot -> what was found.
        costs: shot -> what it cost.
        chosen: settings that validation chose -> their values.
        clips: queries that were scored.
        fingerprint: of the backbone.
        missing: clips that the benchmark lacks.
        error: of a failed row; "" for a finished one.
        files: name -> sha256 of the files beside it.
    """

    data: str
    backbone: str
    seed: Seed
    name: str
    strategy: str
    tuning: str
    layers: str | int | None
    head: str | None
    results: dict[Annotated[str, Field(pattern=r"^\d{1,9}$")], ShotResult] = Field(default_factory=dict)
    costs: dict[str, CostFields] = Field(default_factory=dict)
    chosen: dict[str, Any] | None = None
    clips: Count = 0
    fingerprint: str = ""
    missing: Names = Field(default_factory=list)
    error: str = ""
    files: dict[str, str] = Field(default_factory=dict)


class PlacedRow(RowFile):
    """A row as `study.json` has it, with its folder.

    Attributes:
        folder: inside the study.
    """

    folder: str


class SummaryLine(CostFields):
    """A line of a study's summary; one without a shot is of a row that failed.

    Attributes:
        data: name of the data set.
        backbone: its name.
        name: of the method.
        shot: support clips a class; None for a row that failed.
        seeds: how many.
        accuracy: mean over seeds, 0 to 1.
        ci95: half width of its 95 % interval.
        episodes: how many.
        difference: of accuracy to the baseline.
        difference_ci95: half width of its 95 % interval.
        agree: seeds whose difference has the same sign.
        error: of a row that failed.
        chosen: settings that validation chose, in words.
    """

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


class StudySettings(Form):
    """What was compared, and how.

    Attributes:
        way: classes of an episode.
        query: query clips a class.
        frames: a clip.
        episodes: a row and shot.
        split: that was measured.
        shots: support clips a class.
        seeds: of all that is random.
        baseline: name of the row that others are compared with.
        shared_group: whether support and query may share a group.
        center: whether embeddings are centred.
        rows: the methods.
        search: setting -> values to choose from.
        about: a sentence for readers.
    """

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
    search: dict[str, list[Any]] = Field(default_factory=dict)
    about: str = ""


class StudyFile(Form):
    """`study.json`.

    Attributes:
        title: of the study.
        version: of kshot.
        date: ISO 8601.
        settings: what was compared.
        machine: what it ran on.
        rows: one a method, data set, backbone and seed.
        summary: one line a method, data set, backbone and shot.
    """

    title: str
    version: str
    date: str
    settings: StudySettings
    machine: dict[str, Any]
    rows: list[PlacedRow]
    summary: list[SummaryLine]
