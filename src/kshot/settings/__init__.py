"""Every setting once: its name, type, default, limits and the sentence that explains it.

Settings that belong together travel together, as small frozen dataclasses. Command-line options and their help, the
keys of study files and their checks, protocols, run configs and forecasts are derived from the fields. So is
`kshot.settings.types`, from which editors complete keyword arguments; `python scripts/settings_types.py` writes it.

A new setting is one field here and the place where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from kshot.errors import OptionError, unknown
from kshot.settings.fields import Front, Settings, expect_whole, setting

PROMPTS: tuple[str, ...] = ("a video of a person doing {}",)
"""Templates of class texts where none are given."""
FRAMES = 8
"""Frames a clip where nobody says how many and the backbone sees one at a time."""

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine")
PER_SHOT = "1/N"
"""The penalty of ProLIP: one over the support clips a class."""
SELECTIONS = ("val", "none")
TORCH = "torch"
PRECISIONS = ("float32", "bfloat16", "float16")
DTYPES = ("float16", "float32", "int8", "float8")
"""Types in which activations are stored; those of 8 bits with a scale for each token."""
COMPILE = "compile"
ENCODERS = (TORCH, "onnx", "onnx-int8", COMPILE)
LOCAL, RAY = "local", "ray"
ENGINES = (LOCAL, RAY)
"""Who writes planned shards, see `kshot.activations.plan`."""

COUNTS: dict[str, tuple[int, int]] = {
    "rows": (0, 1_000),
    "seeds": (0, 1_000),
    "shots": (0, 100),
    "searched": (0, 1_000),
}
"""Least and most of what is counted in a study and is no setting; searched: combinations of the values of a search."""


@dataclass(frozen=True, kw_only=True)
class View(Settings):
    """How clips and class names are shown to a backbone.

    Attributes:
        frames: frames a clip; None for 8, or the unit of a backbone that sees clips.
        resize: what is done to a frame before the crop.
        deinterlace: whether to take the fields of interlaced video apart, see `kshot.video.fields`.
        prompts: templates of class texts, each with one {} for the class name, or {spelled} for it as it is spelled, or
            names of published ensembles of them; see `kshot.backbones.ensembles`.
        texts: a file of texts that describe classes, which stand in place of their names; see `kshot.datasets.texts`.
    """

    frames: int | None = setting(
        None, "frames a clip; 8 by default, or the unit of a backbone that sees clips", low=1, high=1_024
    )
    resize: str = setting(
        "short",
        "before the crop: short, short-256, squash, squash-256, squash-257, ...-bilinear; docs/data.md",
    )
    deinterlace: bool = setting(False, "take the fields of interlaced video apart (yadif)", flag=True)
    prompts: str | Sequence[str] = setting(
        PROMPTS, "template of class texts with one {}, or clip for CLIP's own; may be repeated", option="prompt"
    )
    texts: str | Path | None = setting(None, "CSV label,text: texts that describe classes, in place of their names")


@dataclass(frozen=True, kw_only=True)
class Augmentation(Settings):
    """Stored views of each base clip, one of which is drawn at each visit. Val and test clips have one view.

    Attributes:
        views: of each base clip: the one that tests see, and views - 1 draws.
        augment: what the draws change: some of "time" (random frames within the segments), "crop" (a random square for
            the clip) or "crops" (one for each frame), and "flip", joined by commas or as a sequence.
        no_flip: classes whose clips are never mirrored; None for those with left, right or clockwise in their name.
    """

    views: int = setting(1, "stored views of a base clip, one drawn a visit", low=1, high=1_000)
    augment: str | Sequence[str] = setting(
        "time", "what views change: some of time,crop,flip; crops: a square for each frame"
    )
    no_flip: Sequence[str] | None = setting(
        None, "a class never mirrored, or none; else those with left, right or clockwise in their name"
    )


@dataclass(frozen=True, kw_only=True)
class EpisodeRules(Settings):
    """What all episodes of a comparison share.

    Attributes:
        way: classes an episode.
        query: query clips a class.
        shared_group: whether a query may share its source with a support clip of its class.
        keep_copies: whether clips stay that hold the same bytes as another; see `kshot.activations.copies`.
    """

    way: int = setting(5, "classes an episode", low=2, high=10_000)
    query: int = setting(5, "query clips a class", low=1, high=10_000)
    shared_group: bool = setting(True, "a query may share its source with a support clip")
    keep_copies: bool = setting(False, "let clips stay that hold the same bytes as another", flag=True)


@dataclass(frozen=True, kw_only=True)
class EpisodeShape(EpisodeRules):
    """The shape of an episode.

    Attributes:
        shot: support clips a class.
    """

    shot: int = setting(1, "support clips a class", low=1, high=10_000)


@dataclass(frozen=True, kw_only=True)
class Scoring(Settings):
    """The head that scores episodes.

    Attributes:
        head: its name; None for the strategy's own, or the adapted run's.
        head_options: its options by name.
    """

    head: str | None = setting(None, "the head that scores episodes; prototype, or the adapted run's, by default")
    head_options: Mapping[str, Any] | None = setting(
        None, "NAME=VALUE of the head; may be repeated", option="head-option"
    )


@dataclass(frozen=True, kw_only=True)
class Method(Scoring):
    """What learns, from what, and how it is scored.

    Attributes:
        strategy: how base classes are used, a strategy of `kshot.fewshot.strategies`.
        tuning: which parameters learn, a method of `kshot.tuning`.
        layers: what partial fine-tuning changes; None for its own default.
        strategy_options: options of the strategy by name.
        tuning_options: options of the tuning method by name.
    """

    strategy: str = setting("meta", "meta, finetune, finetune-meta or direct")
    tuning: str = setting("partial", "partial, full, lora, ...; see docs/tuning.md")
    layers: str | int | None = setting(None, "partial: proj, block, block+ln_post+proj, or last k")
    strategy_options: Mapping[str, Any] | None = setting(
        None, "NAME=VALUE of the strategy; may be repeated", option="strategy-option"
    )
    tuning_options: Mapping[str, Any] | None = setting(
        None, "NAME=VALUE of the tuning; may be repeated", option="tuning-option"
    )


@dataclass(frozen=True, kw_only=True)
class Schedule(Settings):
    """How to descend.

    Attributes:
        steps: optimiser steps.
        lr: learning rate.
        optimizer: adam, adamw or sgd.
        schedule: of the learning rate: cosine (to zero) or constant.
        weight_decay: as PyTorch's optimiser of that name understands it.
        momentum: of sgd.
        warmup: steps over which the learning rate rises to `lr` in a straight line.
        accumulate: batches or episodes a step (the field's "tasks per update").
        max_grad_norm: largest norm of the gradient, which is scaled down to it; 0 for none.
        penalty: weight of the squared distance of what learns in the backbone from where it began; see `penalty_of`.
        exact: train from frames, storing nothing of the trunk, with the batch's own statistics in batch norms, whose
            running ones drift with it, as a network in PyTorch's training mode does.
        seed: of batches and new weights.
    """

    steps: int = setting(400, "optimiser steps", low=1, high=100_000_000)
    lr: float = setting(1e-4, "learning rate", above=0)
    optimizer: str = setting("adam", "adam, adamw or sgd", among=OPTIMIZERS)
    schedule: str = setting("cosine", "cosine or constant", among=SCHEDULES)
    weight_decay: float = setting(0.0, "weight decay", low=0)
    momentum: float = setting(0.9, "momentum of sgd", low=0)
    warmup: int = setting(0, "steps of linear warm-up", low=0, high=100_000_000)
    accumulate: int = setting(1, "batches or episodes a step", low=1, high=1_000_000)
    max_grad_norm: float = setting(0.0, "largest gradient norm, 0 for none", low=0, formerly="clip")
    exact: bool = setting(False, "train from frames, batch norms in training mode", flag=True)
    penalty: float | str = setting(0.0, "pull of what learns to where it began: a number, or 1/N for N shots")
    seed: int = setting(0, "names the draws; the same seed, the same table", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.penalty != PER_SHOT:
            object.__setattr__(self, "penalty", penalty_of(self.penalty, 1))

    def factor(self, step: int) -> float:
        """Learning rate at a step, relative to `lr`."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.schedule == "constant":
            return 1.0
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True, kw_only=True)
class Selection(Settings):
    """How the best weights are chosen: by validation on the val classes, never on novel ones.

    Attributes:
        select: which classes choose the best weights: "val", or "none" for the last weights.
        val_every: steps between two validations.
        val_episodes: episodes of a validation.
        patience: validations without a gain after which training ends; 0 for never.
    """

    select: str = setting("val", "classes that choose the best weights: val, or none")
    val_every: int = setting(50, "steps between validations on the val classes", low=1, high=100_000_000)
    val_episodes: int = setting(500, "episodes of a validation", low=1, high=10_000_000)
    patience: int = setting(0, "validations without a gain until the end, 0 for never", low=0, high=100_000_000)

    def __post_init__(self) -> None:
        if self.select not in SELECTIONS:
            raise OptionError(
                f"the best weights are chosen on val classes only, found select='{self.select}': "
                f"choosing on test or base classes would make every figure worthless; use val or none"
            )
        if self.val_episodes == 0:
            raise OptionError("val_episodes must be at least 1, found 0: to do without val, use select none")
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class Arithmetic(Settings):
    """Where, in which numbers and by what a backbone computes.

    Attributes:
        device: cpu, cuda, cuda:N, mps (Apple's GPU) or auto.
        precision: of the backbone: float32, bfloat16 or float16.
        encoder: what runs the blocks that nothing has altered, one of `ENCODERS`.
    """

    device: str = setting("cpu", "cpu, cuda, cuda:N, mps (Apple's GPU) or auto")
    precision: str = setting("float32", "float32, bfloat16 or float16")
    encoder: str = setting(
        TORCH, "what runs the frozen blocks: torch, compile, or on the CPU onnx or onnx-int8; see docs"
    )


@dataclass(frozen=True, kw_only=True)
class Compute(Arithmetic):
    """How a backbone computes, and where activations are stored.

    Attributes:
        store: folder of stored activations, or an address such as s3://bucket/store; None for $KSHOT_HOME/store.
        stored_only: whether to open no video, and take what is stored alone.
        dtype: how activations are stored, one of `DTYPES`; see `kshot.activations.packing`.
    """

    store: str | Path | None = setting(None, "folder or address of stored activations; $KSHOT_HOME/store by default")
    stored_only: bool = setting(False, "never open a video", flag=True)
    dtype: str = setting("float16", "as activations are stored: float16, float32, int8 or float8", among=DTYPES)


@dataclass(frozen=True, kw_only=True)
class Spread(Settings):
    """How an extraction is spread over processes and machines.

    Attributes:
        shard: "i/n" for share i of n of the planned shards, from 0/n to n-1/n; None for all clips.
        engine: who writes planned shards, one of `ENGINES`; "" for an extraction without a plan.
        address: of a Ray cluster, host:port or "auto"; None for a Ray of this machine's own.
        actors: of Ray; None for one a core, or one a GPU.
    """

    shard: str | None = setting(None, "i/n: one of n shares, 0/n to n-1/n, for processes side by side")
    engine: str = setting("", "local: all shards, in this process; ray: all, by actors of Ray")
    address: str | None = setting(None, "of a Ray cluster, host:port or auto; one on this machine by default")
    actors: int | None = setting(None, "of Ray; by default one for each core, or each GPU", low=1, high=100_000)


@dataclass(frozen=True, kw_only=True)
class Testing(Settings):
    """What an evaluation looks at.

    Attributes:
        episodes: random episodes.
        split: test (novel classes), val, train (base) or all.
        center: whether to subtract the mean embedding of the clips that are evaluated, as the field's reference does.
        scale: whether to centre and scale each channel by the support clips of its episode; no query plays a part.
        least_shot: support clips that a class has at least: each class of an episode draws its own number, from this up
            to the shot. None for the same number in every class.
    """

    episodes: int = setting(10_000, "random episodes", low=1, high=10_000_000)
    split: str = setting("test", "test (novel), val, train (base) or all")
    center: bool = setting(False, "subtract the mean of the clips evaluated", flag=True)
    scale: bool = setting(False, "centre and scale each channel by the support clips of its episode", flag=True)
    least_shot: int | None = setting(
        None, "support clips that a class has at least; as many as shot by default", low=1, high=10_000
    )


@dataclass(frozen=True, kw_only=True)
class Evaluation(Testing):
    """One evaluation.

    Attributes:
        seed: of the sequence of episodes.
    """

    seed: int = setting(0, "names the draws; the same seed, the same table", low=0, high=2**63 - 1)


@dataclass(frozen=True)
class Training(Front):
    """The settings of `kshot.train`.

    Attributes:
        method: what learns, from what, and how it is scored.
        shape: of training episodes, and of the val episodes of every strategy.
        schedule: how to descend.
        selection: how the best weights are chosen.
        view: how clips and class names are shown.
        augmentation: stored views of base clips.
        compute: device and store.
    """

    function: ClassVar[str] = "kshot.train"

    method: Method
    shape: EpisodeShape
    schedule: Schedule
    selection: Selection
    view: View
    augmentation: Augmentation
    compute: Compute


@dataclass(frozen=True)
class Evaluating(Front):
    """The settings of `kshot.evaluate`.

    Attributes:
        scoring: the head.
        shape: of the episodes.
        evaluation: how many, of which split and seed.
        view: how clips and class names are shown.
        compute: device and store.
    """

    function: ClassVar[str] = "kshot.evaluate"
    undecided: ClassVar[tuple[str, ...]] = ("frames", "resize", "deinterlace")

    scoring: Scoring
    shape: EpisodeShape
    evaluation: Evaluation
    view: View
    compute: Compute


@dataclass(frozen=True)
class Exporting(Front):
    """The settings of `export_features`.

    Attributes:
        view: how clips are shown.
        compute: device and store.
    """

    function: ClassVar[str] = "export_features"
    undecided: ClassVar[tuple[str, ...]] = ("frames", "resize", "deinterlace")

    view: View
    compute: Compute


FRONTS: tuple[type[Front], ...] = (Training, Evaluating, Exporting)


def penalty_of(penalty: float | str, shots: float) -> float:
    """The factor on the squared distance of weights from where they began (ProLIP, arXiv 2410.05270).

    Args:
        penalty: a number from 0, which may be a text, or "1/N".
        shots: support clips a class, the N of "1/N".

    Raises:
        OptionError: another penalty.
    """
    if penalty == PER_SHOT:
        return 1 / shots
    try:
        found = float(penalty)
    except ValueError:
        found = -1.0
    if isinstance(penalty, bool) or not 0 <= found < math.inf:
        raise OptionError(f"penalty must be a number from 0, or {PER_SHOT}, found {penalty!r}")
    return found


def expect(**values: Any) -> None:
    """Refuses what is no whole number within the limits of the setting, or count of a study, of that name.

    Raises:
        OptionError: names the value, the limit and what was found.
    """
    for name, value in values.items():
        expect_whole(name, value, *bounds(name))


def expect_device(name: str) -> None:
    """Refuses what is no name of a device; whether there is such a one is PyTorch's to say.

    Raises:
        OptionError: names those that there are.
    """
    kind, _, number = name.partition(":")
    if name != "auto" and (kind not in ("cpu", "cuda", "mps") or (number and not number.isdigit())):
        raise unknown("device", name, ["cpu", "cuda", "mps", "auto"])


def bounds(name: str) -> tuple[int, int]:
    """Least and most of a whole number: of a setting, or of what is counted in a study."""
    if name in COUNTS:
        return COUNTS[name]
    about = next(front.fields()[name].metadata for front in FRONTS if name in front.fields())
    return about["low"], about["high"]
