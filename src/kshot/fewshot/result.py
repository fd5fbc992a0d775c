"""What an evaluation found and how it was made: types of what is saved, and read back from there."""

from __future__ import annotations

import json
import math
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, Field, PlainSerializer, PlainValidator

from kshot import gate, system
from kshot.errors import OptionError
from kshot.fewshot.intervals import interval
from kshot.files import disk, write_atomic
from kshot.forms import Count, Finite, Form, Saved


def _numbers(values: Any) -> NDArray[np.float64]:
    """A list of finite numbers as an array."""
    if isinstance(values, list) and not all(type(value) in (int, float) for value in values):
        raise ValueError("Input should be a list of numbers")
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("Input should be a list of numbers") from None
    if found.ndim != 1 or not np.isfinite(found).all():
        raise ValueError("Input should be a list of finite numbers")
    return found


Accuracies = Annotated[
    NDArray[np.float64],
    PlainValidator(_numbers),
    PlainSerializer(lambda values: np.round(values, 4).tolist()),
]


class Named(Form):
    """A head, tuning method or strategy.

    Attributes:
        name: its name.
        options: its options by name.
    """

    name: str
    options: dict[str, Any]


class Followed(Form):
    """The protocol that was followed.

    Attributes:
        name: as it was asked for.
        changed: settings that were otherwise -> their values.
    """

    name: str
    changed: dict[str, Any]


class File(Form):
    """A file that an accuracy depends on.

    Attributes:
        file: its path, as it was given.
        sha256: of its bytes.
    """

    file: str
    sha256: str


class TextAlone(Form):
    """What the class texts say without a support clip: head `text` on the same episodes.

    Attributes:
        accuracy: mean over episodes, percent.
        ci95: half-width of its 95 % interval, percent, as `Result.ci95`; None for a single episode.
    """

    accuracy: Finite
    ci95: Finite | None = None

    @classmethod
    def of(cls, right: NDArray[np.bool_]) -> TextAlone:
        """From (episodes, queries) whether each was given its own class."""
        values = right.mean(1) * 100
        return cls(accuracy=float(values.mean()), ci95=interval(values) if len(values) > 1 else None)


class Conditions(Form):
    """Under which conditions an accuracy was measured, beside way, shot, query and seed.

    Attributes:
        shared_group: whether a query may share its source with a support clip.
        center: which mean was subtracted, in words; None for none.
        scale: by what each channel was scaled, in words; None for nothing.
        head_options: options of the head.
        prompts: templates of class texts, where the head reads them.
        texts: the file of texts that stood in place of class names, if any.
        keep_copies: whether clips stayed that hold the bytes of another.
        least_shot: support clips that a class had at least, where each drew its own number; else None.
        frames: frames a clip.
        resize: what was done to frames before the crop.
        deinterlace: whether the fields of interlaced video were taken apart.
        dtype: how activations were stored, where it was not float16.
        protocol: the protocol that was followed, if any.
        adapted: the run folder that was evaluated, if any.
        tuning: the tuning method of that run.
        weights: sha256 of its weights.
    """

    shared_group: bool = True
    center: str | None = None
    scale: str | None = None
    head_options: dict[str, Any] = Field(default_factory=dict)
    prompts: list[str] | None = None
    texts: File | None = None
    keep_copies: bool = False
    least_shot: int | None = None
    frames: int | None = None
    resize: str | None = None
    deinterlace: bool = False
    dtype: str | None = None
    protocol: Followed | None = None
    adapted: str | None = None
    tuning: Named | None = None
    weights: str | None = None


class Damaged(Form):
    """A clip that counts although something of it is lost.

    Attributes:
        clip: its path.
        kept: the share of it that is left, 0 to 1.
        reason: what is wrong with it.
    """

    clip: str
    kept: Finite
    reason: str


class ClipScore(Form):
    """How often a clip was a query, and what came of it.

    Attributes:
        clip: its path.
        label: its class.
        queries: how often it was a query; files of older versions say "asked".
        right: how often it was given its own class.
        taken_for: other class -> how often it was given that one, the most frequent first.
    """

    clip: str
    label: str
    queries: Count = Field(validation_alias=AliasChoices("queries", "asked"))
    right: Count
    taken_for: dict[str, Count]


class Costs(Form):
    """What something cost; see `kshot.fewshot.cost`. What is not known, or does not apply, is None.

    Attributes:
        trained_parameters: weights that learned.
        stored_parameters: weights that a run keeps.
        multiply_adds_per_clip: of the whole backbone, for a clip.
        multiply_adds_per_step: of a training step.
        stored_bytes: activations on disk.
        peak_memory: bytes, of the GPU or else of the process.
        seconds_per_step: of training.
        training_seconds: in all, validation included.
        evaluation_seconds: of the episodes.
        extraction_seconds: of decoding and encoding.
        device: on which it ran.
        precision: of the backbone.
        encoder: that ran the blocks which nothing has altered.
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
    encoder: str | None = None


class Result(Saved):
    """Accuracy over episodes and how it was made.

    Attributes:
        accuracy: mean over episodes, percent.
        chance: percent that guessing would get right, 100 / way; None in files of older versions.
        ci95: half-width of its 95 % interval, t * std / sqrt(episodes) with Student's t, percent (1.96 for t in files
            of versions before 2026-11-27). It covers the draw of episodes only, and is None for a single one.
        episodes: how many.
        way: classes an episode.
        shot: support clips a class.
        query: query clips a class.
        seed: of the sequence of episodes.
        split: of the data: test, val, train or all.
        head: what scored them.
        strategy: of the run that was evaluated; "frozen" without one.
        backbone: its name.
        data: the data set.
        clips: how many were at hand.
        text_alone: what the class texts say without clips, where the head reads texts and clips.
        per_class: class -> percent of its queries that were right, for the classes that were drawn.
        confusion: class -> class answered -> percent.
        fingerprint: of the backbone, or of ready-made features.
        seconds: in all.
        version: of kshot.
        options: further conditions.
        unreadable: clip -> why it was left out.
        damaged: clips that count although something of them is lost.
        cost: what it took. Not in `summary`.
        per_clip: of each clip that was a query. Not in `summary`.
        missing: clips of a benchmark's split that this copy of it lacks, and those that the run was trained without.
        notes: sentences on what was passed over, left out or kept apart, with counts.
        episode_accuracy: (episodes,) percent of each, for comparisons in pairs. Not in `summary`.
        machine: what a number may depend on beside the code; in files.
    """

    FORMAT: ClassVar[int] = 1
    LONG: ClassVar[set[str]] = {"cost", "per_clip", "episode_accuracy", "machine", "format"}

    accuracy: Finite = math.nan
    chance: Finite | None = None
    ci95: Finite | None = None
    episodes: Count = 0
    way: Count = 0
    shot: Count = 0
    query: Count = 0
    seed: Count = 0
    split: str = ""
    head: str = ""
    strategy: str = ""
    backbone: str = ""
    data: str = ""
    clips: Count = 0
    text_alone: TextAlone | None = None
    per_class: dict[str, Finite] = Field(default_factory=dict)
    confusion: dict[str, dict[str, Finite]] = Field(default_factory=dict)
    fingerprint: str = ""
    seconds: Finite = 0.0
    version: str
    options: Conditions = Field(default_factory=Conditions)
    unreadable: dict[str, str] = Field(default_factory=dict)
    damaged: list[Damaged] = Field(default_factory=list)
    cost: Costs = Field(default_factory=Costs)
    per_clip: list[ClipScore] = Field(default_factory=list)
    missing: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    episode_accuracy: Accuracies
    machine: dict[str, str] = Field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """All but costs, clips and episodes, ready for JSON: the same seed gives the same, but for seconds."""
        return self.plain(exclude=self.LONG)

    def save(self, path: str | Path) -> None:
        """Writes the whole result as JSON, episodes included."""
        self.machine = self.machine or machine()
        with disk(Path(path)):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(Path(path), json.dumps(self.plain(), indent=1).encode())

    def minus(self, other: Result) -> tuple[float, float]:
        """Difference of two results on the same episodes and the half-width of its paired 95 % interval, percent.

        Where one took fewer episodes, the first of the other are compared.

        Raises:
            OptionError: the two did not draw the same episodes.
        """
        for name in ("data", "split", "way", "shot", "query", "seed", "clips", "shared_group", "least_shot"):
            mine, others = (getattr(one, name, getattr(one.options, name, None)) for one in (self, other))
            if mine != others:
                raise OptionError(
                    f"results can be compared in pairs on the same episodes only; their {name} differs: "
                    f"{mine} and {others}"
                )
        count = min(self.episodes, other.episodes)
        difference = self.episode_accuracy[:count] - other.episode_accuracy[:count]
        return float(difference.mean()), interval(difference)


def read_result(path: str | Path) -> Result:
    """A result from its file.

    Raises:
        DataError: it is gone, damaged, no result, or of a later version of kshot.
    """
    return Result.parse(gate.read_json(Path(path)), path)


def machine() -> dict[str, str]:
    """What a number may depend on beside the code."""
    import torch

    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": metadata.version("transformers"),  # importing it would take seconds
        "system": f"{platform.system()} {platform.machine()}",
        "processor": system.processor(),
        "cores": str(os.cpu_count() or 1),
        "threads": str(torch.get_num_threads()),
    }
    if (memory := system.memory()) is not None:
        found["memory"] = f"{memory / 1e9:.1f} GB"
    if torch.cuda.is_available():
        found["gpu"] = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
    return found
