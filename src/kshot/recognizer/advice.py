"""What a report says in plain words: which actions need clips, what is mixed up, what is worth knowing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kshot.recognizer.classifier import UNKNOWN
from kshot.recognizer.methods import Support
from kshot.recognizer.report import Accuracy, ClassReport, Confusion, CurvePoint, Suspect

Array = NDArray[Any]
Indices = NDArray[np.int64]

RISING = 0.03
"""Gain of the last doubling of clips from which more of them are called worth their while."""

NAMED = 6  # actions that a sentence names


def classes(support: Support, scored: Indices, answers: Array) -> list[ClassReport]:
    """For each class its clips, the share of them that was answered rightly, and what to do.

    Args:
        support: all clips.
        scored: (s,) held-out clips that were answered.
        answers: (s,) indices of classes, -1 for "unknown".
    """
    last = len(support.classes) - 1 if support.background else -1
    rows = []
    for number, label in enumerate(support.classes):
        clips = np.flatnonzero(support.labels == number)
        given = answers[support.labels[scored] == number]
        right = given == (-1 if number == last else number)
        accuracy = round(float(right.mean()), 4) if len(given) else None
        rows.append(ClassReport(label, len(clips), accuracy, _advice(support, number, clips, given, right)))
    return rows


def _advice(support: Support, number: int, clips: Indices, given: Array, right: Array) -> str:
    if len(clips) == 1:
        return "one clip only: add another, filmed at another time, to learn how well it is recognised"
    if not len(given):
        return "all clips were filmed together: add some filmed elsewhere, to learn how well it is recognised there"
    if right.mean() >= 0.75:
        return ""
    wrong = Counter(given[~right].tolist()).most_common(1)[0][0]
    if wrong == -1:
        taken = f'often "{UNKNOWN}": its clips differ much from one another'
    else:
        taken = f'often taken for "{support.classes[wrong]}"'
    return f"{taken}: add clips, filmed in other ways"


def together(rows: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The labels of each advice, so that the same words stand once; labels without any are left out.

    Args:
        rows: label and advice of each class.
    """
    said: dict[str, list[str]] = {}
    for label, text in rows:
        if text:
            said.setdefault(text, []).append(label)
    return said


def scope(rows: Sequence[tuple[str, float | None]]) -> tuple[str, str]:
    """Of which actions an accuracy speaks, and which of them no clip was scored of, in words; "" where it is all.

    Args:
        rows: label and accuracy of each class.

    >>> scope([("golf", 0.9), ("pour", 1.0), ("wave", None)])
    ('golf and pour', 'wave')
    """
    scored = [label for label, accuracy in rows if accuracy is not None]
    others = [label for label, accuracy in rows if accuracy is None]
    if not others:
        return "", ""
    of = _listed(scored) if len(scored) <= NAMED else f"{len(scored)} of the {len(rows)} actions"
    return of, _listed(others)


def _listed(labels: Sequence[str]) -> str:
    shown = [*labels[:NAMED], f"{len(labels) - NAMED} more"] if len(labels) > NAMED else labels
    return " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


def confusions(support: Support, scored: Indices, answers: Array) -> list[Confusion]:
    """What is taken for what, the most frequent first; a background that is answered "unknown" is right.

    Args:
        support: all clips.
        scored: (s,) held-out clips that were answered.
        answers: (s,) indices of classes, -1 for "unknown".
    """
    labels = support.labels[scored]
    of = Counter(labels.tolist())
    background = len(support.classes) - 1 if support.background else -2
    wrong = Counter(
        (true, answer)
        for true, answer in zip(labels.tolist(), answers.tolist(), strict=True)
        if true != answer and not (true == background and answer == -1)
    )
    rows = [
        Confusion(support.classes[true], UNKNOWN if answer == -1 else support.classes[answer], count, of[true])
        for (true, answer), count in wrong.items()
    ]
    return sorted(rows, key=lambda row: (-row.count / row.of, -row.count, row.label, row.taken_for))


def notes(
    support: Support,
    accuracy: Accuracy | None,
    rows: Sequence[ClassReport],
    curve: Sequence[CurvePoint],
    suspects: Sequence[Suspect],
) -> list[str]:
    """Plain sentences that belong to a report.

    Args:
        support: all clips.
        accuracy: of new clips, None where it cannot be estimated.
        rows: what `classes` gave.
        curve: accuracy by clips a class.
        suspects: clips to watch again.
    """
    said = []
    lone = [row.label for row in rows if row.clips == 1]
    if lone and accuracy is not None:
        said.append(f"Not part of the estimate, as there is one clip only: {', '.join(lone)}.")
    if len(curve) > 1:
        gain = curve[-1].accuracy - curve[-2].accuracy
        path = ", ".join(f"{100 * point.accuracy:.0f} % with {point.clips}" for point in curve)
        if gain >= RISING:
            said.append(f"More clips should help: {path} clips an action to learn from.")
        else:
            said.append(f"More clips of the same kind may add little: {path} clips an action to learn from.")
    weak = sorted((row for row in rows if row.accuracy is not None and row.advice), key=lambda row: row.accuracy or 0.0)
    if weak:
        said.append(f"Clips are needed most for: {', '.join(row.label for row in weak[:3])}.")
    count = len({row.clip for row in suspects if row.reason == "duplicate"})
    if count:
        said.append(
            f"{count} clip{'s are near-duplicates' if count > 1 else ' is a near-duplicate'} of another; in the "
            "estimate such clips count as filmed together."
        )
    counts = np.bincount(support.labels)
    if counts.max() >= 4 * counts.min():
        most, least = support.classes[int(counts.argmax())], support.classes[int(counts.argmin())]
        said.append(
            f'There are {counts.max()} clips of "{most}" and {counts.min()} of "{least}"; evener numbers teach better.'
        )
    return said
