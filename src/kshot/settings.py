"""Every setting once: its name, type, default, limits and the sentence that explains it.

Settings that belong together travel together, as small frozen dataclasses. Command-line options and their help, the
keys of study files and their checks, protocols, run configs and forecasts are derived from the fields. So is
`kshot.settings_types`, from which editors complete keyword arguments; `python scripts/settings_types.py` writes it.

A new setting is one field here and the place where it is used.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self, get_type_hints

from kshot import options
from kshot.errors import OptionError, unknown
from kshot.gate import shortened

PROMPTS: tuple[str, ...] = ("a video of a person doing {}",)
"""Templates of class texts where none are given."""

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine")
SELECTIONS = ("val", "none")

COUNTS: dict[str, tuple[int, int]] = {
    "rows": (0, 1_000),
    "seeds": (0, 1_000),
    "shots": (0, 100),
    "searched": (0, 1_000),
}
"""Least and most of what is counted in a study and is no setting; searched: combinations of the values of a search."""


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float = math.inf,
    above: float | None = None,
    among: Sequence[str] = (),
    option: str = "",
    flag: bool = False,
    formerly: str = "",
) -> Any:
    """A field of a settings class.

    Args:
        default: its value where none is given.
        help: one sentence for `--help`, docs and editors.
        low: the least value that it may have.
        high: the largest one. Beyond it lies a slip of the keyboard, or a file made to fill memory or disk.
        above: a value that it must exceed.
        among: the texts that it may be.
        option: what the command line calls it, where that is not its own name.
        flag: whether the command line can only switch it on.
        formerly: its name in files of older versions, which are still read.
    """
    about = {
        "help": help, "low": low, "high": high, "above": above, "among": tuple(among), "option": option, "flag": flag,
        "formerly": formerly,
    }  # fmt: skip
    return field(default=default, metadata=about)


class Settings:
    """Base of the settings classes. Making one checks the type and the limits of every field."""

    def __post_init__(self) -> None:
        for name in self.names():
            value = getattr(self, name)
            if hasattr(value, "dtype") and hasattr(value, "item"):  # NumPy's numbers are numbers
                object.__setattr__(self, name, value := value.item())
            if isinstance(value, list):  # what is frozen has no lists
                object.__setattr__(self, name, value := tuple(value))
            self.expect(name, value)

    @classmethod
    def expect(cls, name: str, value: Any) -> None:
        """Refuses a value of another type than the setting's annotation, or outside of its limits.

        Raises:
            OptionError: says what was expected and what was found.
        """
        one = cls.__dataclass_fields__[name]  # type: ignore[attr-defined]
        _check(cls, one, value)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From a mapping that may hold other things too. What it lacks, or says is None, has its default."""
        return cls(**{name: values[name] for name in cls.names() if values.get(name) is not None})

    @classmethod
    def fields(cls) -> tuple[Field[Any], ...]:
        """Its settings as fields; their metadata is what `setting` was told."""
        return fields(cls)  # type: ignore[arg-type]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of its settings."""
        return tuple(one.name for one in cls.fields())

    def values(self) -> dict[str, Any]:
        """Name -> value."""
        return {name: getattr(self, name) for name in self.names()}

    def record(self) -> dict[str, Any]:
        """Name -> value, ready for JSON."""
        return {name: _plain(value) for name, value in self.values().items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return list(map(_plain, value)) if isinstance(value, tuple | list) else value


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _check(kind: type[Settings], one: Field[Any], value: Any) -> None:
    """Refuses a value of another type than the field's annotation, or outside of its limits."""
    name, about = one.name, one.metadata
    if about.get("among") and value not in about["among"]:
        raise unknown(name, value, about["among"])
    low, high, above = about.get("low"), about.get("high", math.inf), about.get("above")
    whole = one.type == "int"  # annotations are texts in this module
    if low is None and above is None:
        if problem := options.problem(_hints(kind)[name], value):  # type: ignore[arg-type]
            raise OptionError(f"{name}: {problem}, found {shortened(value)}")
    elif whole:
        expect_whole(name, value, low, high)
    elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise OptionError(f"{name} must be a finite number, found {shortened(value)}")
    elif low is not None and value < low:
        raise OptionError(f"{name} must be at least {low}, found {value}")
    elif value > high:
        raise OptionError(f"{name} must be at most {high:,}, found {value}")
    elif above is not None and value <= above:
        raise OptionError(f"{name} must be above {above}, found {value}")


def expect_whole(name: str, value: Any, low: float | None = None, high: float = math.inf) -> None:
    """Refuses what is no whole number, or outside of its limits.

    Raises:
        OptionError: names the value, the limit and what was found.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise OptionError(f"{name} must be a whole number, found {shortened(value)}") from None
    if isinstance(value, bool):
        raise OptionError(f"{name} must be a whole number, found {value}")
    if low is not None and number < low:
        raise OptionError(f"{name} must be at least {low}, found {shortened(number)}")
    if number > high:
        raise OptionError(f"{name} must be at most {high:,}, found {shortened(number)}")


@dataclass(frozen=True, kw_only=True)
class View(Settings):
    """How clips and class names are shown to a backbone.

    Attributes:
        frames: frames a clip.
        resize: what is done to a frame before the crop.
        prompts: templates of class texts, each with one {} for the class name.
    """

    frames: int = setting(8, "frames a clip", low=1, high=1_024)
    resize: str = setting("short", "before the crop: short, short-256 or squash-256; see docs/data.md")
    prompts: str | Sequence[str] = setting(
        PROMPTS, "template of class texts with one {}; may be repeated", option="prompt"
    )


@dataclass(frozen=True, kw_only=True)
class Augmentation(Settings):
    """Stored views of each base clip, one of which is drawn at each visit. Val and test clips have one view.

    Attributes:
        views: of each base clip: the one that tests see, and views - 1 draws.
        augment: what the draws change: some of "time" (random frames within the segments), "crop" and "flip", joined by
            commas or as a sequence.
        no_flip: classes whose clips are never mirrored; None for those with left, right or clockwise in their name.
    """

    views: int = setting(1, "stored views of a base clip, one drawn a visit", low=1, high=1_000)
    augment: str | Sequence[str] = setting("time", "what views change: some of time,crop,flip")
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
    seed: int = setting(0, "names the draws; the same seed, the same table", low=0, high=2**63 - 1)

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
class Compute(Settings):
    """On what device, and where activations are stored.

    Attributes:
        store: folder of stored activations; None for $KSHOT_HOME/store.
        stored_only: whether to open no video, and take what is stored alone.
        device: cpu, cuda, cuda:N or auto.
        precision: of the backbone: float32, bfloat16 or float16.
    """

    store: str | Path | None = setting(None, "folder of stored activations; $KSHOT_HOME/store by default")
    stored_only: bool = setting(False, "never open a video", flag=True)
    device: str = setting("cpu", "cpu, cuda, cuda:N or auto")
    precision: str = setting("float32", "float32, bfloat16 or float16")


@dataclass(frozen=True, kw_only=True)
class Testing(Settings):
    """What an evaluation looks at.

    Attributes:
        episodes: random episodes.
        split: test (novel classes), val, train (base) or all.
        center: whether to subtract the mean embedding of the clips that are evaluated, as the field's reference does.
    """

    episodes: int = setting(10_000, "random episodes", low=1, high=10_000_000)
    split: str = setting("test", "test (novel), val, train (base) or all")
    center: bool = setting(False, "subtract the mean of the clips evaluated", flag=True)


@dataclass(frozen=True, kw_only=True)
class Evaluation(Testing):
    """One evaluation.

    Attributes:
        seed: of the sequence of episodes.
    """

    seed: int = setting(0, "names the draws; the same seed, the same table", low=0, high=2**63 - 1)


class Front:
    """Base of the settings of a public function: a group of settings classes, one an attribute.

    Attributes:
        function: the function's name, for messages.
        undecided: settings whose default depends on the call's other arguments; None stands for it.
    """

    function: ClassVar[str] = ""
    undecided: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @functools.cache
    def groups(cls) -> dict[str, type[Settings]]:
        """Attribute -> settings class."""
        found = get_type_hints(cls)
        return {one.name: found[one.name] for one in fields(cls)}  # type: ignore[arg-type]

    @classmethod
    @functools.cache
    def fields(cls) -> dict[str, Field[Any]]:
        """Name -> field of all its groups."""
        return {one.name: one for group in cls.groups().values() for one in group.fields()}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Name -> default."""
        return {name: one.default for name, one in cls.fields().items()}

    @classmethod
    def chosen(cls, given: Iterable[Settings], keywords: Mapping[str, Any]) -> dict[str, Any]:
        """What a caller gave: name -> value. Keywords beat objects; None, where it may stand, was not given.

        Raises:
            OptionError: the function has no such settings, or they cannot have these values.
        """
        values: dict[str, Any] = {}
        for group in given:
            if not isinstance(group, tuple(cls.groups().values())):
                listed = ", ".join(kind.__name__ for kind in cls.groups().values())
                raise OptionError(
                    f"{cls.function} takes settings ({listed}) and keyword arguments after its first ones, found "
                    f"{shortened(group)}"
                )
            values |= group.values()
        for name, value in renamed(keywords).items():
            if name not in cls.fields():
                raise unknown(f"argument of {cls.function}", name, cls.fields())
            if value is not None:
                values[name] = value
            elif name not in cls.undecided:
                next(group for group in cls.groups().values() if name in group.names()).expect(name, value)
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From a mapping that may hold other things too; what it lacks has its default."""
        return cls(**{name: group.of(values) for name, group in cls.groups().items()})

    def values(self) -> dict[str, Any]:
        """Name -> value of all its groups."""
        found: dict[str, Any] = {}
        for name in self.groups():
            found |= getattr(self, name).values()
        return found


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
    undecided: ClassVar[tuple[str, ...]] = ("frames", "resize")

    scoring: Scoring
    shape: EpisodeShape
    evaluation: Evaluation
    view: View
    compute: Compute


FRONTS: tuple[type[Front], ...] = (Training, Evaluating)


def expect(**values: Any) -> None:
    """Refuses what is no whole number within the limits of the setting, or count of a study, of that name.

    Raises:
        OptionError: names the value, the limit and what was found.
    """
    for name, value in values.items():
        expect_whole(name, value, *bounds(name))


def bounds(name: str) -> tuple[int, int]:
    """Least and most of a whole number: of a setting, or of what is counted in a study."""
    if name in COUNTS:
        return COUNTS[name]
    about = next(front.fields()[name].metadata for front in FRONTS if name in front.fields())
    return about["low"], about["high"]


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings from a file of any version, under today's names."""
    every = [one for front in FRONTS for one in front.fields().values()]
    today = {one.metadata["formerly"]: one.name for one in every if one.metadata["formerly"]}
    return {today.get(name, name): value for name, value in values.items()}
