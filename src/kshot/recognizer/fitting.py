"""From labelled clips to a classifier and a report: all of `fit` behind the reading of videos."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kshot.errors import OptionError
from kshot.fewshot.cost import multiply_adds
from kshot.progress import Progress, quiet
from kshot.recognizer import advice, calibrate, methods, suspects
from kshot.recognizer.choose import (
    HeldOut,
    candidates,
    curve,
    folds,
    held_out,
    missing,
    optimism,
    out_of_class_scores,
    pick,
    rivals,
)
from kshot.recognizer.classifier import UNKNOWN, Classifier
from kshot.recognizer.costs import ErrorCosts
from kshot.recognizer.methods import AUTO, FINE_TUNING, Support, learn
from kshot.recognizer.report import Accuracy, CurvePoint, MethodAccuracy, Report, Share, Suspect, Unknown
from kshot.terminal import percent

Array = NDArray[Any]
Indices = NDArray[np.int64]

NEVER = -2.0  # a threshold that no cosine is below
FINE_TUNING_WORK = 5e11  # multiply-adds of the lessons of a comparison: ten to fifteen seconds on two cores
CURVE_DRAWS = 5


@dataclass(frozen=True)
class FittedMethod:
    """What came of fitting.

    Attributes:
        method: the one taken.
        classifier: what it learned, calibrated.
        threshold: of `Decision.known`, below it "unknown".
        weights: the backbone's tuned ones by name, if the method tunes any.
        report: what to expect.
    """

    method: str
    classifier: Classifier
    threshold: float
    weights: dict[str, Tensor]
    report: Report


@dataclass(frozen=True)
class Trial:
    """Scores of methods on held-out clips, the simplest method first.

    Attributes:
        support: all n clips.
        results: of each method, by its name.
        parts: the clips that were left out together.
        scored: (s,) the clips that could be scored.
        temperatures: of each method.
        costs: (methods, s) loss of each scored clip; all of a background's count at most as much as an action's.
        right: (methods, s) whether its likeliest class is its own.
    """

    support: Support
    results: dict[str, HeldOut]
    parts: Sequence[Indices]
    scored: Indices
    temperatures: dict[str, float]
    costs: Array
    right: NDArray[np.bool_]

    @classmethod
    def of(cls, support: Support, results: dict[str, HeldOut], parts: Sequence[Indices]) -> Trial:
        scored = np.flatnonzero(next(iter(results.values())).scored)
        labels = support.labels[scored]
        logits = {name: found.logits[scored] for name, found in results.items()}
        temperatures = {name: calibrate.temperature(found, labels) for name, found in logits.items()}
        costs = np.array([calibrate.losses(found, labels, temperatures[name]) for name, found in logits.items()])
        right = [found.argmax(1) == labels for found in logits.values()]
        return cls(support, results, parts, scored, temperatures, costs * _shares(support, scored), np.array(right))

    @property
    def groups(self) -> Array:
        """(s,) what was filmed together."""
        return self.support.groups[self.scored]

    def chosen(self) -> str:
        """The method to take: the simplest of those that are not clearly worse than the best."""
        if len(self.scored):
            _, which = np.unique(self.groups, return_inverse=True)
            return list(self.results)[pick(self.costs, which, np.ones(int(which.max()) + 1), rivals([*self.results]))]
        return "prototype" if "prototype" in self.results else next(iter(self.results))


def fit(
    support: Support,
    method: str = AUTO,
    reject: bool | Mapping[str, float] = True,
    seed: int = 0,
    progress: Progress = quiet,
) -> FittedMethod:
    """Compares methods on the clips, learns the chosen one from all of them, and says what to expect.

    Args:
        support: two classes or more, none without clips.
        method: "auto", or the one to take.
        reject: whether "unknown" may be an answer; a mapping says what it is weighed by, see `ErrorCosts`.
        seed: of the bootstrap and of the learning curve's draws.
        progress: how to show progress.

    Raises:
        OptionError: no such method, or one that these clips do not allow.
        CheckpointError: a method whose head must be trained before.
    """
    notes: list[str] = []
    costs = ErrorCosts.of(reject)
    names = _methods(support, method)
    pairs = suspects.twins(support)
    support = replace(support, groups=suspects.joined(support.groups, pairs))
    parts = folds(support.labels, support.groups)
    if method == AUTO and "partial" in names and _work(support, len(parts)) > FINE_TUNING_WORK:
        names.remove("partial")
        notes.append(
            f"Fine-tuning of the last layer was not compared: with {len(support)} clips and this backbone that takes "
            "longer than all else. Method 'partial' takes it."
        )
    with progress("comparing methods", len(names) * len(parts) + 3, "lessons") as step:
        trial = Trial.of(support, {name: held_out(name, support, parts, step=step) for name in names}, parts)
        chosen = trial.chosen()
        step(note=methods.method(chosen).words)
        final = learn(chosen, support, np.arange(len(support)), np.arange(0))
        step()
        unknown = _unknown(trial, chosen, costs, notes)
        bends = _curve(trial, chosen, seed)
        step()
    classifier = Classifier(
        final.scorer, final.means[: support.actions], trial.temperatures[chosen], support.background
    ).eval()
    report = _report(trial, chosen, pairs, bends, unknown, seed)
    report.notes.extend([*_behind(trial, chosen), *notes, *support.text_notes])
    return FittedMethod(chosen, classifier, _limit(unknown.threshold, support), final.weights, report)


def _report(
    trial: Trial,
    chosen: str,
    pairs: Sequence[tuple[int, int]],
    bends: list[CurvePoint],
    unknown: Unknown,
    seed: int,
) -> Report:
    """All that is known of the chosen method; pairs: of near-duplicates."""
    support, answers = trial.support, _answers(trial, chosen, unknown.threshold)
    accuracy = _expected(trial, answers, seed)
    rows = advice.classes(support, trial.scored, answers)
    found = _suspects(trial, chosen, pairs)
    return Report(
        method=chosen,
        methods=_compared(trial),
        accuracy=accuracy,
        why=_why(support) if accuracy is None else None,
        classes=rows,
        confusions=advice.confusions(support, trial.scored, answers),
        suspects=found,
        curve=bends,
        unknown=unknown,
        notes=advice.notes(support, accuracy, rows, bends, found),
    )


def _behind(trial: Trial, chosen: str) -> list[str]:
    """Why a method was taken although another was right more often; nothing where none was."""
    if not len(trial.scored):
        return []
    names = list(trial.results)
    right, own = trial.right.mean(1), names.index(chosen)
    best = int(right.argmax())
    if right[best] <= right[own]:
        return []
    why = (
        "the difference is less than so few clips can show, and the simpler method is taken then"
        if trial.costs[own].mean() > trial.costs[best].mean()
        else "methods are compared by their log loss, in which sure answers that are wrong weigh more"
    )
    return [
        f"Method '{chosen}' is taken, with {percent(right[own])} of held-out clips right (none refused), although "
        f"'{names[best]}' had {percent(right[best])}: {why}."
    ]


def _methods(support: Support, name: str) -> list[str]:
    """The methods to compare."""
    able = candidates(support)
    if name == AUTO:
        return able
    if lack := missing(name, support):
        raise OptionError(f"method '{name}' needs {lack}: use one of {', '.join(able)}")
    if not methods.method(name).tunes:
        support.head_of(name)  # raises where there is no such head
    return [name]


def _work(support: Support, parts: int) -> float:
    """Multiply-adds of fine-tuning in the lessons of a comparison, counted on one clip."""
    learner, tokens = support.learner, support.tokens
    assert learner is not None and tokens is not None

    def once() -> None:
        with torch.enable_grad():
            learner.embed(tokens(np.arange(1))).sum().backward()  # type: ignore[no-untyped-call]

    each = multiply_adds(once)
    for weight in learner.weights().values():
        weight.grad = None
    return float(each) * len(support) * FINE_TUNING.steps * (parts + 1)


def _shares(support: Support, clips: Indices) -> Array:
    """(s,) how much each clip counts where methods are compared. Of a background there may be any number of clips, and
    a method that calls everything by its name would look good."""
    actions = support.labels[clips] < support.actions
    rest = max(1, int((~actions).sum()))
    usual = int(actions.sum()) / support.actions
    return np.where(actions, 1.0, min(1.0, usual / rest))


def _limit(threshold: float | None, support: Support) -> float:
    if threshold is not None:
        return threshold
    return NEVER if support.background else -math.inf


def _unknown(trial: Trial, chosen: str, costs: ErrorCosts | None, notes: list[str]) -> Unknown:
    """How well clips of untrained actions can be told apart, and the threshold for it; adds to the notes."""
    support, found = trial.support, trial.results[chosen]
    clips = trial.scored[support.labels[trial.scored] < support.actions]
    if support.actions < 3 or not len(clips):
        why = "fewer than three actions" if support.actions < 3 else "no clip that others could be scored by"
        if costs and not support.background:
            notes.append(
                f'With {why}, kshot cannot learn when to answer "{UNKNOWN}": every video gets one of the labels. '
                + (
                    "Add actions, or clips of anything else as a background class."
                    if support.actions < 3
                    else "Add a second clip of each action, filmed at another time."
                )
            )
        return Unknown(
            costs=costs, how=f"cannot be set with {why}: an action is left out to see how different its clips score"
        )
    outside = out_of_class_scores(chosen, support) if methods.method(chosen).tunes else found.out_of_class
    known, (other, weights) = found.known[clips], calibrate.out_of_class(outside[clips], support.actions)
    unknown = Unknown(
        auroc=round(calibrate.auroc(known, other, weights), 4),
        fpr95=round(calibrate.fpr95(known, other, weights), 4),
        costs=costs,
        clips=len(clips),
        trade=calibrate.trade(known, other, weights),
        how=f"{len(clips)} clips, each scored by the other clips, with and without its own action among them, "
        "and as if among one more",
    )
    if costs is None:
        return unknown
    place, refused, caught = _threshold(trial, chosen, costs, outside, clips)
    right = found.logits[clips].argmax(1) == support.labels[clips]
    odds = calibrate.odds(known, right, other, weights, costs, support.groups[clips])
    if not math.isfinite(place) and not support.background:
        notes.append(
            f'"{UNKNOWN}" is no answer of this recognizer to a single clip: its clips and those of an action left out '
            f"look too much alike (AUROC {unknown.auroc:.2f} on {len(clips)} clips) for it to be worth its cost."
        )
    threshold = place if math.isfinite(place) else None
    return replace(unknown, threshold=threshold, refused=refused, caught=caught, odds=odds)


def _threshold(
    trial: Trial, chosen: str, costs: ErrorCosts, outside: Array, clips: Indices
) -> tuple[float, float, float]:
    """The threshold, and the shares of clips of trained and of other actions that are refused by one which was set
    without the clip's part: that refuses others of those that it was set on."""
    support, found = trial.support, trial.results[chosen]
    right = found.logits.argmax(1) == support.labels

    def place(some: Indices) -> float:
        other, weights = calibrate.out_of_class(outside[some], support.actions)
        return calibrate.threshold(found.known[some], right[some], other, weights, costs, support.groups[some])

    whole = place(clips)
    places = np.full(len(clips), whole)
    for part in trial.parts:
        there = np.isin(clips, part)
        if there.any() and not there.all():
            places[there] = place(clips[~there])
    other, weights = calibrate.out_of_class(outside[clips], support.actions)
    caught = float(((other < np.repeat(places, 2).reshape(-1, 2).T.ravel()) * weights).sum())
    return whole, round(float((found.known[clips] < places).mean()), 4), round(min(1.0, max(0.0, caught)), 4)


def _answers(trial: Trial, chosen: str, threshold: float | None) -> Array:
    """(s,) what would have been answered: indices of classes, -1 for "unknown"."""
    found, support = trial.results[chosen], trial.support
    answers = found.logits[trial.scored].argmax(1)
    known = found.known[trial.scored]
    refused = (answers == support.actions) | (known < (NEVER if threshold is None else threshold))
    return np.where(refused, -1, answers)


def _expected(trial: Trial, answers: Array, seed: int) -> Accuracy | None:
    """The share of new clips that will get their label, and how sure that is; also with all classes alike frequent."""
    support, compared = trial.support, len(trial.results)
    if not len(trial.scored):
        return None
    labels = support.labels[trial.scored]
    right = answers == np.where(labels == support.actions, -1, labels)
    lost = optimism(trial.costs, trial.right, trial.groups, seed, rivals([*trial.results])) if compared > 1 else 0.0
    left = _left_out(trial)

    def promised(weights: Array | None) -> tuple[Share, float]:
        plain = max(0.0, float(np.average(right, weights=weights)) - lost)
        value = calibrate.grown(plain, left, len(support.classes))
        low, high = calibrate.interval(right, trial.groups, lost, value - plain, weights)
        return Share(round(value, 4), round(low, 4), round(high, 4)), value - plain

    numbers, gained = promised(None)
    how = (
        f"{len(trial.scored)} clips, each answered after training on the clips outside its group "
        f"({len(trial.parts)} rounds)"
    )
    if compared > 1:
        how += f", less {100 * lost:.1f} points because the best of {compared} methods was chosen on them"
    if gained:
        how += f", plus {100 * gained:.1f} points because {100 * left:.0f} % of an action's groups were left out then"
    return Accuracy(
        **numbers.plain(),
        clips=len(trial.scored),
        how=how,
        balanced=promised(calibrate.balanced(labels))[0],
        left_out=round(left, 4),
        gained=round(gained, 4),
    )


def _why(support: Support) -> str:
    """Why the accuracy cannot be estimated, where no clip could be scored."""
    smallest = np.bincount(support.labels, minlength=len(support.classes)).min()
    why = (
        "There is one clip of some actions, and to score the answer for a clip, another of its action is needed: add a "
        "second clip of each, filmed at another time"
        if smallest < 2
        else "All clips of an action were filmed together, and to score the answer for a clip, another group with its "
        "action is needed: add clips that were filmed at another time"
    )
    return f"The accuracy cannot be estimated. {why}."


def _left_out(trial: Trial) -> float:
    """Share of the groups of a clip's class that were left out when it was scored, on average over clips."""
    support, part = trial.support, np.zeros(len(trial.support), np.int64)
    for number, clips in enumerate(trial.parts):
        part[clips] = number
    shares = []
    for clip in trial.scored:
        own = support.labels == support.labels[clip]
        away = np.unique(support.groups[own & (part == part[clip])])
        shares.append(len(away) / len(np.unique(support.groups[own])))
    return float(np.mean(shares))


def _compared(trial: Trial) -> list[MethodAccuracy]:
    """Each method's share of right answers, none refused."""
    if not len(trial.scored):
        return [MethodAccuracy(name) for name in trial.results]
    rows = []
    for name, right in zip(trial.results, trial.right, strict=True):
        low, high = calibrate.interval(right, trial.groups)
        rows.append(MethodAccuracy(name, round(float(right.mean()), 4), round(low, 4), round(high, 4)))
    return rows


def _suspects(trial: Trial, chosen: str, pairs: Sequence[tuple[int, int]]) -> list[Suspect]:
    support, result = trial.support, trial.results[chosen]
    found = []
    if len(trial.scored):
        proba = calibrate.softmax(result.logits, trial.temperatures[chosen])
        votes = np.array([one.logits.argmax(1) for name, one in trial.results.items() if name != "text"])
        votes = votes if len(votes) else result.logits.argmax(1)[None]
        for clip, other in suspects.misfits(proba, support.labels, result.scored, votes):
            found.append(_suspect(support, clip, support.classes[other], "mislabelled", None))
    for one, other in pairs:
        found.append(_suspect(support, other, support.classes[support.labels[one]], "duplicate", support.names[one]))
    return found


def _suspect(support: Support, clip: int, looks_like: str, reason: str, other: str | None) -> Suspect:
    return Suspect(support.names[clip], support.classes[support.labels[clip]], looks_like, reason, other)


def _curve(trial: Trial, chosen: str, seed: int) -> list[CurvePoint]:
    """Accuracy, none refused, by clips a class to learn from."""
    if not len(trial.scored):
        return []
    support, index, tunes = trial.support, list(trial.results).index(chosen), methods.method(chosen).tunes
    rest = [np.delete(support.labels, part) for part in trial.parts]
    most = round(float(np.median([np.bincount(labels, minlength=len(support.classes)) for labels in rest])))
    counts = [2**power for power in range(12) if 2**power < most]
    if tunes and len(counts) > 2:  # each point costs a fine-tuning a part
        counts = counts[-2:]
    shares = curve(chosen, support, trial.parts, counts, 1 if tunes else CURVE_DRAWS, seed)
    values = [float(row[trial.scored].mean()) for row in shares] + [float(trial.right[index].mean())]
    return [CurvePoint(int(clips), round(value, 4)) for clips, value in zip([*counts, most], values, strict=True)]
