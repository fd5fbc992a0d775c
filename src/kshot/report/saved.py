"""What a study saved, as types: one function for each kind of record, from the plain JSON.

`kshot.study.runner` has checked the records when it hands them over. What older versions did not write has a default
here, so that nothing else in this room knows of versions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kshot.errors import DataError
from kshot.fewshot import cost


@dataclass(frozen=True)
class Method:
    """A row of the study's settings.

    Attributes:
        name: what tables call it.
        strategy: by its name.
        tuning: the tuning method, by its name.
        layers: which layers partial tuning changes; None for its default.
        head: by its name; None for the strategy's default.
        options: option -> value, of strategy, tuning, head and training together.
    """

    name: str
    strategy: str
    tuning: str
    layers: str | int | None
    head: str | None
    options: dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """The settings of a study; see `kshot.study.file.Study`.

    Attributes:
        way: classes in an episode.
        query: queries a class in an episode.
        frames: frames that a model is given of a clip.
        episodes: test episodes a seed.
        split: the classes that methods are scored on.
        shots: support clips a class.
        seeds: each draws episodes of its own.
        baseline: the method that others are compared to; "" for none.
        shared_group: whether a query may come from the same group as a support clip.
        center: whether embeddings are centred.
        about: a sentence on the study; "" for none.
        methods: its rows.
        values: all settings as they were saved.
    """

    way: int
    query: int
    frames: int
    episodes: int
    split: str
    shots: list[int]
    seeds: list[int]
    baseline: str
    shared_group: bool
    center: bool
    about: str
    methods: list[Method]
    values: dict[str, Any]


@dataclass(frozen=True)
class Line:
    """A line of the summary: a method at a shot, over its seeds.

    Attributes:
        data: the data set, as the study names it.
        backbone: its name.
        name: the method.
        shot: support clips a class.
        seeds: how many seeds finished.
        accuracy: mean, percent.
        ci95: half-width of its 95 % interval, percent; NaN for a single episode.
        episodes: episodes a seed.
        difference: to the baseline on the same episodes, percent; None where there is none.
        difference_ci95: half-width of its 95 % interval, percent; NaN where there is none.
        agree: seeds whose difference has the sign of the mean.
        strategy: by its name.
        tuning: the tuning method, by its name.
        layers: as in `Method`.
        costs: a key of `kshot.fewshot.cost.COLUMNS` -> mean over seeds, None where it is not known.
        device: what it ran on; "" where it is not known.
        precision: of the arithmetic; "" where it is not known.
    """

    data: str
    backbone: str
    name: str
    shot: int
    seeds: int
    accuracy: float
    ci95: float
    episodes: int
    difference: float | None
    difference_ci95: float
    agree: int
    strategy: str
    tuning: str
    layers: str | int | None
    costs: dict[str, float | None]
    device: str
    precision: str

    @property
    def weights(self) -> float:
        """How many weights were trained."""
        return self.costs["trained_parameters"] or 0


@dataclass(frozen=True)
class Outcome:
    """What a run found at a shot.

    Attributes:
        accuracy: mean over episodes, percent.
        ci95: half-width of its 95 % interval, percent; NaN for a single episode.
        per_class: class -> percent of its queries that were right.
        confusion: class -> class answered -> percent.
    """

    accuracy: float
    ci95: float
    per_class: dict[str, float]
    confusion: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Run:
    """A method with one seed.

    Attributes:
        data: the data set, as the study names it.
        backbone: its name.
        name: the method.
        seed: of its episodes and its training.
        error: why it failed; "" for a finished one.
        outcomes: shot -> what it found.
        head: by its name, as used; "" where it failed.
        same: what rows of a study of layers have in common: strategy, head, options.
        trained_parameters: how many weights learned.
        training_seconds: in all.
        val_accuracy: percent, of the chosen weights; None without validation.
        clips: how many were evaluated.
        fingerprint: of the backbone; "" where it is not known.
        notes: what of the data was passed over, left out or kept apart.
        place: folder of its result files below the study's, and their seals, for `result_of`.
    """

    data: str
    backbone: str
    name: str
    seed: int
    error: str
    outcomes: dict[int, Outcome]
    head: str
    same: str
    trained_parameters: int
    training_seconds: float
    val_accuracy: float | None
    clips: int
    fingerprint: str
    notes: list[str]
    place: dict[str, Any]


@dataclass
class ClipRecord:
    """How often a clip was a query, and what came of it.

    Attributes:
        clip: its path.
        label: its class.
        queries: how often it was one.
        right: how often it was recognised.
        taken_for: other class -> how often it was answered.
    """

    clip: str
    label: str
    queries: int = 0
    right: int = 0
    taken_for: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """A result file.

    Attributes:
        version: of kshot that wrote it.
        episode_accuracy: (episodes,) percent of each.
        unreadable: clip -> why it was left out.
        damaged: clip -> what is lost of it, where it counted all the same.
        missing: clips of the published split that were not there.
        per_clip: one record for each clip that was a query; none in files of older versions.
    """

    version: str
    episode_accuracy: NDArray[np.float64]
    unreadable: dict[str, str]
    damaged: dict[str, str]
    missing: list[str]
    per_clip: list[ClipRecord]


@dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
        title: its own.
        version: of kshot that wrote it.
        date: of its last run, as in 2026-11-22.
        machine: what a number may depend on beside the code, by name.
        settings: what was asked for.
        lines: the summary, without methods that failed altogether.
        runs: one for each method and seed, failed ones included.
        folder: where it is.
    """

    title: str
    version: str
    date: str
    machine: dict[str, str]
    settings: Settings
    lines: list[Line]
    runs: list[Run]
    folder: Path


def study(values: Mapping[str, Any], folder: Path) -> Study:
    """A study from what `kshot.study.runner.load` gives of its folder.

    Raises:
        DataError: a record that is not of the right kind.
    """
    try:
        return _study(values, folder)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder / 'study.json'} is damaged ({type(error).__name__}: {error}); run the study again, finished rows "
            "are kept"
        ) from None


def _study(values: Mapping[str, Any], folder: Path) -> Study:
    return Study(
        values["title"],
        values["version"],
        values["date"],
        {name: str(value) for name, value in values["machine"].items()},
        settings(values["settings"]),
        [line(one) for one in values["summary"] if one.get("shot") is not None],
        [run(one) for one in values["rows"]],
        folder,
    )


def settings(values: Mapping[str, Any]) -> Settings:
    """The settings of a study."""
    plain = ("way", "query", "frames", "episodes", "split", "shots", "seeds", "baseline", "shared_group", "center")
    return Settings(
        **{name: values[name] for name in plain},
        about=values.get("about", "").strip(),
        methods=[_method(row) for row in values["rows"]],
        values=dict(values),
    )


def _method(row: Mapping[str, Any]) -> Method:
    kinds = ("strategy_options", "tuning_options", "head_options", "train")
    options = {name: value for kind in kinds for name, value in row.get(kind, {}).items()}
    return Method(row["name"], row["strategy"], row["tuning"], row.get("layers"), row.get("head"), options)


def line(values: Mapping[str, Any]) -> Line:
    """A line of the summary that has a shot."""
    plain = ("data", "backbone", "name", "shot")
    return Line(
        **{name: values[name] for name in plain},
        seeds=values.get("seeds", 0),
        accuracy=values.get("accuracy", 0.0),
        ci95=_half(values.get("ci95", 0.0)),
        episodes=values.get("episodes", 0),
        difference=values.get("difference"),
        difference_ci95=_half(values.get("difference_ci95")),
        agree=values.get("agree", 0),
        strategy=values.get("strategy", ""),
        tuning=values.get("tuning", ""),
        layers=values.get("layers"),
        costs={name: values.get(name) for name in cost.COLUMNS},
        device=values.get("device") or "",
        precision=values.get("precision") or "",
    )


def run(values: Mapping[str, Any]) -> Run:
    """A row of the study, with its seed."""
    shared = ("strategy", "head", "strategy_options", "head_options", "tuning_options", "train_shot")
    return Run(
        **{name: values[name] for name in ("data", "backbone", "name", "seed")},
        error=values.get("error", ""),
        outcomes={int(shot): outcome(one) for shot, one in values.get("results", {}).items()},
        head=values.get("head") or "",
        same=repr([values.get(name) for name in shared]),
        trained_parameters=values.get("trained_parameters") or 0,
        training_seconds=values.get("training_seconds") or 0.0,
        val_accuracy=values.get("val_accuracy"),
        clips=values.get("clips", 0),
        fingerprint=values.get("fingerprint", ""),
        notes=values.get("notes", []),
        place={"folder": values["folder"], "files": values.get("files")},
    )


def outcome(values: Mapping[str, Any]) -> Outcome:
    """What a run found at a shot."""
    return Outcome(values["accuracy"], _half(values.get("ci95")), values["per_class"], values["confusion"])


def evaluation(values: Mapping[str, Any]) -> Evaluation:
    """A result file, from what `kshot.study.runner.result_of` gives."""
    return Evaluation(
        values["version"],
        np.array(values["episode_accuracy"]),
        values.get("unreadable", {}),
        {
            one["clip"]: f"{one['clip']}: {one['kept']:.0%} of it is there: {one['reason']}"
            for one in values.get("damaged", ())
        },
        values.get("missing", []),
        [
            ClipRecord(one["clip"], one["label"], one["asked"], one["right"], one["taken_for"])
            for one in values.get("per_clip", ())
        ],
    )


def _half(value: float | None) -> float:
    """Half of an interval; JSON has no NaN, so a single episode's may be null."""
    return math.nan if value is None else value
