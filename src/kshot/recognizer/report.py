"""What `Recognizer.fit` says to expect, as types; `Report.plain` is the JSON of model folders and of `--json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from kshot.recognizer.costs import ErrorCosts
from kshot.recognizer.record import Record


@dataclass(frozen=True)
class Share(Record):
    """A share with its interval.

    Attributes:
        value: 0 to 1.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Accuracy(Record):
    """The share of new clips that will get their label; "unknown" counts as wrong.

    Attributes:
        value: 0 to 1.
        low: lower end of the 95 % interval.
        high: upper end.
        clips: how many held-out clips it comes from.
        how: what it comes from and what was corrected, in words.
        balanced: the same with all classes equally frequent; None in models of older versions.
        left_out: share of the groups of a clip's class that it was scored without, on average.
        gained: points of 1 that were added for that.
    """

    value: float
    low: float
    high: float
    clips: int
    how: str
    balanced: Share | None = None
    left_out: float = 0.0
    gained: float = 0.0

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> Self:
        balanced = values.get("balanced")
        return super().of_plain({**values, "balanced": balanced and Share.of_plain(balanced)})


@dataclass(frozen=True)
class MethodAccuracy(Record):
    """A compared method.

    Attributes:
        name: of the method.
        accuracy: share of held-out clips whose likeliest class is theirs, none refused; None without such clips.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    name: str
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ClassReport(Record):
    """A class of the clips.

    Attributes:
        label: its text.
        clips: how many it has.
        accuracy: share of its held-out clips that get their label; None without any.
        advice: what to do about it, "" for nothing.
    """

    label: str
    clips: int
    accuracy: float | None
    advice: str


@dataclass(frozen=True)
class Confusion(Record):
    """What is taken for what.

    Attributes:
        label: of the clips.
        taken_for: the answer, a label or "unknown".
        count: how many held-out clips.
        of: held-out clips of the label.
    """

    label: str
    taken_for: str
    count: int
    of: int


@dataclass(frozen=True)
class Suspect(Record):
    """A clip to watch again.

    Attributes:
        clip: its name.
        label: its label.
        looks_like: the label that the other clips speak for.
        reason: "mislabelled" or "duplicate".
        other: the clip that it is nearly the same as; None for "mislabelled".
    """

    clip: str
    label: str
    looks_like: str
    reason: str
    other: str | None


@dataclass(frozen=True)
class CurvePoint(Record):
    """A point of the learning curve.

    Attributes:
        clips: a class to learn from.
        accuracy: share of held-out clips whose likeliest class is theirs, none refused.
    """

    clips: int
    accuracy: float


@dataclass(frozen=True)
class Trade(Record):
    """What a threshold would give.

    Attributes:
        threshold: of `known`.
        refused: share of clips of trained actions that are called unknown.
        caught: share of clips of other actions that are.
    """

    threshold: float
    refused: float
    caught: float


@dataclass(frozen=True)
class Odds(Record):
    """Logarithm of the odds that a clip shows none of the actions: level - slope * known.

    Attributes:
        level: where `known` is 0, costs included.
        slope: of `known`, 0 or more.
    """

    level: float
    slope: float


@dataclass(frozen=True)
class Unknown(Record):
    """How well "unknown" tells clips of other actions from those of trained ones.

    Attributes:
        auroc: area under the ROC curve; None where it cannot be estimated.
        fpr95: share of other actions' clips accepted where 95 % of trained ones are.
        threshold: of `known`; None if "unknown" is no answer.
        refused: share of clips of trained actions that the threshold calls unknown.
        caught: share of clips of other actions that it does.
        costs: what it was weighed by; None where "unknown" was declined.
        clips: how many held-out clips all of it comes from.
        trade: what other thresholds would give.
        how: what it comes from, in words.
        odds: what a film's moments are weighed by; None where "unknown" was declined, or cannot be told.
    """

    auroc: float | None = None
    fpr95: float | None = None
    threshold: float | None = None
    refused: float | None = None
    caught: float | None = None
    costs: ErrorCosts | None = None
    clips: int = 0
    trade: list[Trade] = field(default_factory=list)
    how: str = ""
    odds: Odds | None = None

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> Self:
        costs, odds = values.get("costs"), values.get("odds")
        inside = {"costs": costs and ErrorCosts.of_plain(costs), "odds": odds and Odds.of_plain(odds)}
        return super().of_plain({**values, **inside, "trade": [Trade.of_plain(one) for one in values.get("trade", [])]})


@dataclass(frozen=True)
class DamagedClip(Record):
    """A clip that counts although something of it is lost.

    Attributes:
        clip: its name.
        kept: share of it that is there.
        reason: what is lost.
    """

    clip: str
    kept: float
    reason: str


@dataclass(frozen=True)
class Report(Record):
    """What to expect of a recognizer.

    Attributes:
        method: the method taken.
        methods: each compared one.
        accuracy: of new clips; None where it cannot be estimated.
        why: why it cannot; None where it can.
        classes: each class, the background last.
        confusions: the most frequent first.
        suspects: clips to watch again.
        curve: accuracy by clips a class to learn from.
        unknown: about the answer "unknown".
        notes: sentences worth knowing.
        unreadable: name and reason of clips that were left out.
        damaged: clips that count although something of them is lost.
        backbone: name of the backbone; "" in models of older versions, like the next two.
        chance: share of new clips that guessing would get right: one by the number of classes.
        warning: a sentence to be read first, where it is not shown that the backbone can tell the actions apart, with
            what to do; no clip is called mislabelled then. "" for nothing to say.
    """

    method: str
    methods: list[MethodAccuracy]
    accuracy: Accuracy | None
    why: str | None
    classes: list[ClassReport]
    confusions: list[Confusion]
    suspects: list[Suspect]
    curve: list[CurvePoint]
    unknown: Unknown
    notes: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    damaged: list[DamagedClip] = field(default_factory=list)
    backbone: str = ""
    chance: float | None = None
    warning: str = ""

    def plain(self) -> dict[str, Any]:
        """Ready for JSON; `why` is there only where there is no accuracy."""
        values = super().plain()
        if self.why is None:
            del values["why"]
        return values

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> Self:
        parts: dict[str, type[Record]] = {
            "methods": MethodAccuracy, "classes": ClassReport, "confusions": Confusion, "suspects": Suspect,
            "curve": CurvePoint, "damaged": DamagedClip,
        }  # fmt: skip
        made = {name: [kind.of_plain(one) for one in values.get(name, [])] for name, kind in parts.items()}
        accuracy = values["accuracy"] and Accuracy.of_plain(values["accuracy"])
        unknown = Unknown.of_plain(values["unknown"])
        return super().of_plain({"why": None, **values, **made, "accuracy": accuracy, "unknown": unknown})
