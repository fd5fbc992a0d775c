"""From taught clips to a decider and a report: all of `fit` behind the reading of videos."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kshot.errors import OptionError, unknown
from kshot.progress import Progress, quiet
from kshot.recognizer import advice, calibrate, suspects
from kshot.recognizer.choose import HeldOut, candidates, curve, flattery, folds, held_out, pick, strangers
from kshot.recognizer.decider import UNKNOWN, Decider
from kshot.recognizer.methods import FINE_TUNING, METHODS, Support, learn

Array = NDArray[Any]
Indices = NDArray[np.int64]

AUTO = "auto"
NEVER = -2.0  # a threshold that no cosine is below
FINE_TUNING_WORK = 1.5e10  # numbers read by the lessons of a comparison: about two minutes on two cores
CURVE_DRAWS = 5


@dataclass(frozen=True)
class Taught:
    """What came of teaching. weights: the backbone's tuned ones, if the method tunes any. report: see `Recognizer`."""

    method: str
    decider: Decider
    threshold: float
    weights: dict[str, Tensor]
    report: dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """What methods said of clips that they were not shown, the simplest method first.

    judged: (n,) the clips that could be asked. heats: temperature of each method. costs, right: (methods, judged) loss
    and rightness of the likeliest class.
    """

    support: Support
    heard: dict[str, HeldOut]
    judged: Indices
    heats: dict[str, float]
    costs: Array
    right: NDArray[np.bool_]

    @classmethod
    def of(cls, support: Support, heard: dict[str, HeldOut]) -> Trial:
        judged = np.flatnonzero(next(iter(heard.values())).judged)
        labels = support.labels[judged]
        logits = {name: said.logits[judged] for name, said in heard.items()}
        heats = {name: calibrate.temperature(found, labels) for name, found in logits.items()}
        costs = [calibrate.losses(found, labels, heats[name]) for name, found in logits.items()]
        right = [found.argmax(1) == labels for found in logits.values()]
        return cls(support, heard, judged, heats, np.array(costs), np.array(right))

    @property
    def groups(self) -> Array:
        """(judged,) what was filmed together."""
        return self.support.groups[self.judged]

    def chosen(self) -> str:
        """The method to take: the simplest of those that are not clearly worse than the best."""
        if len(self.judged):
            _, which = np.unique(self.groups, return_inverse=True)
            return list(self.heard)[pick(self.costs, which, np.ones(int(which.max()) + 1))]
        return "prototype" if "prototype" in self.heard else next(iter(self.heard))


def teach(
    support: Support,
    method: str = AUTO,
    reject: bool | Mapping[str, float] = True,
    seed: int = 0,
    progress: Progress = quiet,
) -> Taught:
    """Compares methods on the clips, learns the chosen one from all of them, and says what to expect.

    Args:
        support: two classes or more, none without clips.
        method: "auto", or the one to take.
        reject: whether "unknown" may be an answer; a mapping says what it is weighed by, see `calibrate.Costs`.
        seed: of the bootstrap and of the learning curve's draws.

    Raises:
        OptionError: no such method, or one that these clips do not allow.
    """
    notes: list[str] = []
    costs = calibrate.Costs.of(reject)
    methods = _methods(support, method)
    pairs = suspects.twins(support)
    support = replace(support, groups=suspects.joined(support.groups, pairs))
    parts = folds(support.labels, support.groups)
    if method == AUTO and "partial" in methods and _work(support, len(parts)) > FINE_TUNING_WORK:
        methods.remove("partial")
        notes.append(
            f"Fine-tuning of the last layer was not compared: with {len(support)} clips that takes minutes. "
            "method='partial' asks for it."
        )
    with progress("comparing methods", len(methods) * len(parts) + 3, "lessons") as step:
        trial = Trial.of(support, {name: held_out(name, support, parts, step=step) for name in methods})
        chosen = trial.chosen()
        step(note=METHODS[chosen].words)
        final = learn(chosen, support, np.arange(len(support)), np.arange(0))
        step()
        doubt = _doubt(trial, chosen, parts, costs, notes)
        bends = _curve(trial, chosen, parts, seed)
        step()
    heat = trial.heats[chosen]
    decider = Decider(final.scorer, final.means[: taught(support)], heat, support.background).eval()
    answers = _answers(trial, chosen, doubt["threshold"])
    report = {
        "method": chosen,
        "methods": _compared(trial),
        **_expected(trial, answers, parts, seed),
        "classes": advice.classes(support, trial.judged, answers),
        "confusions": advice.confusions(support, trial.judged, answers),
        "suspects": _suspects(trial, chosen, pairs),
        "curve": bends,
        "unknown": doubt,
    }
    report["notes"] = [*advice.notes(report, support), *notes, *support.text_notes]
    return Taught(chosen, decider, _limit(doubt["threshold"], support), final.weights, report)


def taught(support: Support) -> int:
    """Number of classes besides the background."""
    return len(support.classes) - support.background


def _methods(support: Support, method: str) -> list[str]:
    if method != AUTO and method not in METHODS:
        raise unknown("method", method, [AUTO, *METHODS])
    able = candidates(support)
    if method != AUTO and method not in able:
        missing = "class texts, and there is no text tower" if METHODS[method].needs_text else "weights it may tune"
        raise OptionError(f"method '{method}' needs {missing}: use one of {', '.join(able)}")
    return able if method == AUTO else [method]


def _work(support: Support, parts: int) -> float:
    """Numbers that fine-tuning reads in the lessons of a comparison."""
    assert support.tokens is not None
    each = support.tokens(np.arange(1)).size
    return float(each * len(support) * FINE_TUNING.steps * (parts + 1))


def _limit(threshold: float | None, support: Support) -> float:
    if threshold is not None:
        return threshold
    return NEVER if support.background else -math.inf


def _doubt(
    trial: Trial, chosen: str, parts: Sequence[Indices], costs: calibrate.Costs | None, notes: list[str]
) -> dict[str, Any]:
    """The threshold for "unknown", what it costs and buys, and how well known and unknown are told apart."""
    support, said = trial.support, trial.heard[chosen]
    actions = taught(support)
    clips = trial.judged[support.labels[trial.judged] < actions]
    told: dict[str, Any] = {"auroc": None, "fpr95": None, "threshold": None, "refused": None, "caught": None}
    told |= {"costs": costs and costs.told(), "clips": len(clips), "trade": [], "how": ""}
    if actions < 3 or not len(clips):
        why = "fewer than three actions" if actions < 3 else "no clip that others can be asked about"
        told["clips"], told["how"] = (
            0,
            (f"cannot be set with {why}: an action is left out to see how strange its clips look"),
        )
        if costs and not support.background:
            notes.append(
                f'With {why}, kshot cannot learn when to answer "{UNKNOWN}": every video gets one of the labels. '
                "Add actions, or clips of anything else as a background class."
            )
        return told
    strange = strangers(chosen, support) if METHODS[chosen].learn is None else said.strange
    odd, weights = calibrate.unseen(strange[clips], actions)
    told["auroc"] = round(calibrate.auroc(said.known[clips], odd, weights), 4)
    told["fpr95"] = round(calibrate.fpr95(said.known[clips], odd, weights), 4)
    told["trade"] = calibrate.trade(said.known[clips], odd, weights)
    told["how"] = (
        f"{len(clips)} clips, each asked of the other clips, with and without its own action among them, "
        "and as if among one more"
    )
    if costs:
        place, told["refused"], told["caught"] = _threshold(trial, chosen, parts, costs, strange, clips)
        told["threshold"] = place if math.isfinite(place) else None
        if told["threshold"] is None and not support.background:
            notes.append(
                f'"{UNKNOWN}" is no answer of this recognizer: its clips and those of an action left out look too much '
                f"alike (AUROC {told['auroc']:.2f} on {len(clips)} clips) for it to be worth what it would cost."
            )
    return told


def _threshold(
    trial: Trial, chosen: str, parts: Sequence[Indices], costs: calibrate.Costs, strange: Array, clips: Indices
) -> tuple[float, float, float]:
    """The threshold, and the shares of clips of taught and of other actions that are refused by one which was set
    without the clip's part: that refuses others of those that it was set on."""
    support, said = trial.support, trial.heard[chosen]
    actions, right = taught(support), said.logits.argmax(1) == support.labels

    def place(some: Indices) -> float:
        odd, weights = calibrate.unseen(strange[some], actions)
        return calibrate.threshold(said.known[some], right[some], odd, weights, costs, support.groups[some])

    whole = place(clips)
    places = np.full(len(clips), whole)
    for part in parts:
        there = np.isin(clips, part)
        if there.any() and not there.all():
            places[there] = place(clips[~there])
    odd, weights = calibrate.unseen(strange[clips], actions)
    caught = float(((odd < np.repeat(places, 2).reshape(-1, 2).T.ravel()) * weights).sum())
    return whole, round(float((said.known[clips] < places).mean()), 4), round(min(1.0, max(0.0, caught)), 4)


def _answers(trial: Trial, chosen: str, threshold: float | None) -> Array:
    """(judged,) what would have been answered: indices of classes, -1 for "unknown"."""
    said, support = trial.heard[chosen], trial.support
    answers = said.logits[trial.judged].argmax(1)
    known = said.known[trial.judged]
    refused = (answers == taught(support)) | (known < (NEVER if threshold is None else threshold))
    return np.where(refused, -1, answers)


def _expected(trial: Trial, answers: Array, parts: Sequence[Indices], seed: int) -> dict[str, Any]:
    """The share of new clips that will get their label, and how sure that is; also with all classes alike frequent."""
    support = trial.support
    if not len(trial.judged):
        smallest = np.bincount(support.labels, minlength=len(support.classes)).min()
        why = (
            "There is one clip of some actions, and to judge the answer for a clip, another must have taught its action"
            if smallest < 2
            else "All clips of an action were filmed together, and to judge the answer for a clip, another group must "
            "have taught its action"
        )
        return {"accuracy": None, "why": f"The accuracy cannot be estimated. {why}."}
    labels = support.labels[trial.judged]
    right = answers == np.where(labels == taught(support), -1, labels)
    lost = flattery(trial.costs, trial.right, trial.groups, seed) if len(trial.heard) > 1 else 0.0
    left = _left_out(support, parts, trial.judged)

    def promised(weights: Array | None) -> tuple[dict[str, float], float]:
        plain = max(0.0, float(np.average(right, weights=weights)) - lost)
        value = calibrate.grown(plain, left, len(support.classes))
        low, high = calibrate.interval(right, trial.groups, lost, value - plain, weights)
        return {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4)}, value - plain

    numbers, gained = promised(None)
    how = f"{len(trial.judged)} clips, each answered by what the clips outside its group taught ({len(parts)} rounds)"
    if len(trial.heard) > 1:
        how += f", less {100 * lost:.1f} points because the best of {len(trial.heard)} methods was chosen on them"
    if gained:
        how += f", plus {100 * gained:.1f} points because {100 * left:.0f} % of an action's groups taught nothing then"
    about = {"clips": len(trial.judged), "how": how, "balanced": promised(calibrate.balanced(labels))[0]}
    return {"accuracy": numbers | about | {"left_out": round(left, 4), "gained": round(gained, 4)}}


def _left_out(support: Support, parts: Sequence[Indices], judged: Indices) -> float:
    """Share of the groups of a clip's class that did not teach when it was asked about, on average over clips."""
    part = np.zeros(len(support), np.int64)
    for number, clips in enumerate(parts):
        part[clips] = number
    shares = []
    for clip in judged:
        own = support.labels == support.labels[clip]
        away = np.unique(support.groups[own & (part == part[clip])])
        shares.append(len(away) / len(np.unique(support.groups[own])))
    return float(np.mean(shares))


def _compared(trial: Trial) -> list[dict[str, Any]]:
    """Each method's share of right answers, none refused."""
    rows = []
    for name, right in zip(trial.heard, trial.right, strict=True):
        row: dict[str, Any] = {"name": name, "accuracy": None, "low": None, "high": None}
        if len(right):
            low, high = calibrate.interval(right, trial.groups)
            row |= {"accuracy": round(float(right.mean()), 4), "low": round(low, 4), "high": round(high, 4)}
        rows.append(row)
    return rows


def _suspects(trial: Trial, chosen: str, pairs: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    support, said = trial.support, trial.heard[chosen]
    found = []
    if len(trial.judged):
        proba = calibrate.softmax(said.logits, trial.heats[chosen])
        votes = np.array([heard.logits.argmax(1) for name, heard in trial.heard.items() if name != "text"])
        votes = votes if len(votes) else said.logits.argmax(1)[None]
        for clip, other in suspects.misfits(proba, support.labels, said.judged, votes):
            found.append(_suspect(support, clip, support.classes[other], "mislabelled", None))
    for one, other in pairs:
        found.append(_suspect(support, other, support.classes[support.labels[one]], "duplicate", support.names[one]))
    return found


def _suspect(support: Support, clip: int, looks_like: str, reason: str, other: str | None) -> dict[str, Any]:
    label = support.classes[support.labels[clip]]
    return {"clip": support.names[clip], "label": label, "looks_like": looks_like, "reason": reason, "other": other}


def _curve(trial: Trial, chosen: str, parts: Sequence[Indices], seed: int) -> list[dict[str, Any]]:
    """Accuracy, none refused, by clips a class to learn from."""
    if not len(trial.judged):
        return []
    support, index = trial.support, list(trial.heard).index(chosen)
    rest = [np.delete(support.labels, part) for part in parts]
    most = round(float(np.median([np.bincount(labels, minlength=len(support.classes)) for labels in rest])))
    counts = [2**power for power in range(12) if 2**power < most]
    if METHODS[chosen].learn is None and len(counts) > 2:  # each point costs a fine-tuning a part
        counts = counts[-2:]
    shares = curve(chosen, support, parts, counts, 1 if METHODS[chosen].learn is None else CURVE_DRAWS, seed)
    values = [float(row[trial.judged].mean()) for row in shares] + [float(trial.right[index].mean())]
    return [
        {"clips": int(clips), "accuracy": round(value, 4)} for clips, value in zip([*counts, most], values, strict=True)
    ]
