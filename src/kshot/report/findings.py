"""The first lines of the page: which method is the most accurate, and whether it stands apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kshot.report.comparison import Comparison
from kshot.study.results import Contrast, Line
from kshot.study.words import clear


@dataclass(frozen=True)
class Finding:
    """The winner of a comparison at a shot.

    Attributes:
        where: the comparison's title, where it is the first of one among several; else "".
        shot: support clips a class.
        best: the most accurate method.
        baseline: the method that others are compared to; "" for none.
        rival: the next that is no baseline; "" for none, or where the two share no episodes.
        lead: of `best` before `rival` on the episodes that both took, in points.
        half: half of the lead's 95 % interval.
        steady: whether the lead, or the rival's, is beyond that interval.
        clear: whether that holds of the difference between `best` and `baseline`.
    """

    where: str
    shot: int
    best: Line
    baseline: str
    rival: str = ""
    lead: float = 0.0
    half: float = 0.0
    steady: bool = False
    clear: bool = False


def findings(comparisons: Sequence[Comparison]) -> list[Finding]:
    """The winner of each comparison and shot; of the highest shot only, where there are many."""
    found = []
    many = sum(len(comparison.shots) for comparison in comparisons) > 4
    for comparison in comparisons:
        where = comparison.title if len(comparisons) > 1 else ""
        for shot in comparison.shots[-1:] if many else comparison.shots:
            found.append(finding(comparison, shot, where))
            where = ""
    return found


def answers(comparisons: Sequence[Comparison]) -> list[tuple[str, Contrast]]:
    """What came of the declared comparisons, each with its data and backbone where these change among several."""
    found = []
    for comparison in comparisons:
        where = comparison.title if len(comparisons) > 1 else ""
        for one in comparison.declared:
            found.append((where, one))
            where = ""
    return found


def finding(comparison: Comparison, shot: int, where: str = "") -> Finding:
    """The winner at a shot, and how far ahead it is."""
    best, *others = comparison.ranked(shot)
    rival = next((line.name for line in others if line.name != comparison.baseline), "")
    pair = comparison.paired(best.name, rival, shot) if rival else None
    if pair is None:
        return Finding(where, shot, best, comparison.baseline, clear=clear(best))
    steady = comparison.ahead(best.name, rival, shot) or comparison.ahead(rival, best.name, shot)
    return Finding(where, shot, best, comparison.baseline, rival, *pair, steady, clear(best))
