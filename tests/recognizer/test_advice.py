"""What a report says in words: advice for each class, confusions, and notes at the limits where they change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from kshot.recognizer import advice
from kshot.recognizer.methods import Support
from kshot.recognizer.report import Accuracy, ClassReport, Confusion, CurvePoint, Suspect

ESTIMATE = Accuracy(0.8, 0.6, 0.9, 10, "")


def support(labels: Sequence[int], background: bool = False) -> Support:
    """Clips of these classes; the last class is the background if asked for."""
    count, names = len(labels), ("bow", "sit", "wave", "else")[: max(labels) + 1]
    return Support(
        classes=names, labels=np.array(labels), groups=np.arange(count).astype(str),
        names=tuple(map(str, range(count))), embeddings=torch.zeros(count, 1, 2), background=background,
    )  # fmt: skip


def told(labels: Sequence[int], answers: Sequence[int], background: bool = False) -> list[tuple[float | None, str]]:
    """Accuracy and advice of each class, all clips having been scored."""
    rows = advice.classes(support(labels, background), np.arange(len(labels)), np.array(answers))
    assert [row.clips for row in rows] == np.bincount(labels).tolist()
    return [(row.accuracy, row.advice) for row in rows]


def test_a_class_that_is_recognised_needs_nothing() -> None:
    assert told([0] * 4 + [1] * 4, [0, 0, 0, 1] + [1] * 4) == [(0.75, ""), (1.0, "")]


def test_a_class_that_is_taken_for_another_is_told_which() -> None:
    bow, sit, wave = told([0] * 5 + [1] * 3 + [2] * 3, [0, 0, 1, 2, 2] + [1] * 3 + [-1, -1, 0])
    assert bow == (0.4, 'often taken for "wave": add clips, filmed in other ways')
    assert wave == (0.0, 'often "unknown": its clips differ much from one another: add clips, filmed in other ways')
    assert sit == (1.0, "")


def test_a_background_that_is_called_unknown_is_right() -> None:
    assert told([0, 0, 1, 1], [0, 0, -1, -1], background=True) == [(1.0, ""), (1.0, "")]
    assert told([0, 0, 1, 1], [0, 0, 1, 1], background=True)[1][0] == 0, "it has no label that can be given"
    assert told([0, 0, 1, 1], [0, 0, -1, -1])[1][0] == 0, "an action is not unknown"


def test_what_could_not_be_scored_is_told_why() -> None:
    clips = support([0, 0, 1, 2, 2])
    rows = advice.classes(clips, np.array([0, 1]), np.array([0, 0]))
    assert [row.accuracy for row in rows] == [1.0, None, None]
    assert rows[1].advice.startswith("one clip only: add another")
    assert rows[2].advice.startswith("all clips were filmed together")


def test_shares_are_rounded_to_four_decimals() -> None:
    assert told([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])[0][0] == 0.6667


def test_confusions_are_the_most_frequent_first() -> None:
    labels, answers = [0] * 4 + [1] * 2 + [2] * 8, [1, 1, 2, 0, 0, -1, 0, 0, 0, 0, 1, 1, 2, 2]
    rows = advice.confusions(support(labels), np.arange(14), np.array(answers))
    assert rows == [
        Confusion("wave", "bow", 4, 8), Confusion("bow", "sit", 2, 4),  # half of theirs
        Confusion("sit", "bow", 1, 2), Confusion("sit", "unknown", 1, 2),
        Confusion("wave", "sit", 2, 8), Confusion("bow", "wave", 1, 4),  # a quarter
    ]  # fmt: skip


def test_only_scored_clips_are_counted_among_confusions() -> None:
    rows = advice.confusions(support([0, 0, 0, 1, 1]), np.array([1, 4]), np.array([1, 1]))
    assert rows == [Confusion("bow", "sit", 1, 1)]


def test_a_refused_background_is_no_confusion_but_a_named_one_is() -> None:
    clips = support([0, 1, 1], background=True)
    rows = advice.confusions(clips, np.arange(3), np.array([-1, -1, 0]))
    assert rows == [Confusion("bow", "unknown", 1, 1), Confusion("sit", "bow", 1, 2)]


def notes(labels: Sequence[int] = (0, 0, 1, 1), **given: object) -> list[str]:
    values = {"accuracy": ESTIMATE, "rows": [], "curve": [], "suspects": []} | given
    return advice.notes(support(labels), **values)  # type: ignore[arg-type]


def test_there_may_be_nothing_to_say() -> None:
    assert notes() == []


def test_lone_clips_are_no_part_of_an_estimate() -> None:
    rows = [ClassReport("bow", 1, None, ""), ClassReport("sit", 2, 1.0, ""), ClassReport("wave", 1, None, "")]
    assert notes(rows=rows) == ["Not part of the estimate, as there is one clip only: bow, wave."]
    assert notes(rows=rows, accuracy=None) == []


@pytest.mark.parametrize(
    ("last", "begins"),
    [(0.53, "More clips should help: "), (0.529, "More clips of the same kind may add little: ")],
)
def test_a_curve_that_still_rises_asks_for_more(last: float, begins: str) -> None:
    curve = [CurvePoint(1, 0.2), CurvePoint(2, 0.5), CurvePoint(4, last)]
    path = "20 % with 1, 50 % with 2, 53 % with 4 clips an action to learn from."
    assert notes(curve=curve) == [begins + path]
    assert notes(curve=curve[:1]) == [], "one point is no curve"


def test_clips_are_needed_most_for_the_three_weakest() -> None:
    weak = {"a": 0.5, "b": 0.0, "c": 0.4, "d": 0.3}
    rows = [ClassReport(label, 5, share, "often") for label, share in weak.items()]
    rows += [ClassReport("fine", 5, 0.1, ""), ClassReport("unscored", 5, None, "filmed together")]
    assert notes(rows=rows) == ["Clips are needed most for: b, d, c."]


def test_near_duplicates_are_counted_once_each() -> None:
    def suspect(clip: str, reason: str = "duplicate") -> Suspect:
        return Suspect(clip, "bow", "bow", reason, None)

    assert notes(suspects=[suspect("x"), suspect("x"), suspect("y", "mislabelled")]) == [
        "1 clip is a near-duplicate of another; in the estimate such clips count as filmed together."
    ]
    assert notes(suspects=[suspect("x"), suspect("y")])[0].startswith("2 clips are near-duplicates of another;")


def test_uneven_numbers_are_told_from_four_to_one() -> None:
    assert notes([0] * 4 + [1]) == ['There are 4 clips of "bow" and 1 of "sit"; evener numbers teach better.']
    assert notes([0] * 7 + [1] * 2) == []


def test_the_same_advice_stands_once_with_its_labels() -> None:
    rows = [("bow", "add one"), ("sit", ""), ("wave", "film more"), ("run", "add one")]
    assert advice.together(rows) == {"add one": ["bow", "run"], "film more": ["wave"]}


def test_an_accuracy_says_of_which_actions_it_is() -> None:
    assert advice.scope([("a", 1.0), ("b", 0.0)]) == ("", "")
    assert advice.scope([("a", 1.0), ("b", None)]) == ("a", "b")
    rows = [*((f"a{n}", 0.5) for n in range(7)), *((f"b{n}", None) for n in range(8))]
    assert advice.scope(rows) == ("7 of the 15 actions", "b0, b1, b2, b3, b4, b5 and 2 more")
