"""How tables of a study write figures, and what their intervals are over: in the terminal, in files, on the page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from kshot.study.estimates import EPISODES, ONE_TRAINING, ROUNDING, SEEDS, START
from kshot.study.file import Study
from kshot.study.results import FORMERLY, Contrast, Line

SCOPES = {
    SEEDS: "over seeds, by Student's t, where a row trains",
    ONE_TRAINING: "over episodes where a row trains",
    START: "over all episodes where a row kept its untrained start with every seed",
    EPISODES: "over all episodes where nothing trains",
    FORMERLY: "over the episodes of all seeds, as an older version had it (run the study again for seeds)",
}
SAME = "same answers"
KEPT = "kept its start"
STUCK = "no seed left the start"


def digits(half: float) -> int:
    """Decimals of a difference: one more where its interval would read ±0.0."""
    return 2 if 0 < half < 0.05 else 1


def figure(value: float, half: float | None) -> str:
    """A difference with its sign and half of its interval, where there is one: "+0.4 ± 0.2"."""
    decimals = digits(half or 0.0)
    shown = f"{value:+.{decimals}f}" if round(value, decimals) else f"{0:.{decimals}f}"
    return shown if half is None or math.isnan(half) else f"{shown} ± {half:.{decimals}f}"


def accuracy(line: Line) -> str:
    """An accuracy with half of its interval, where there is one."""
    return f"{line.accuracy:.1f}" + ("" if math.isnan(line.ci95) else f" ± {line.ci95:.1f}")


def kept(line: Line) -> str:
    """In how many seeds val chose the untrained start; "" where in none."""
    if not line.kept:
        return ""
    return KEPT if line.kept == line.seeds else f"{KEPT} in {line.kept} of {line.seeds} seeds"


def same(line: Line) -> bool:
    """Whether a method gave the baseline's answers, or kept its start and differs by rounding alone."""
    by = abs(line.difference or 0.0)
    return by == line.difference_ci95 == 0 or (line.kept == line.seeds and by < ROUNDING)


def difference(line: Line) -> str:
    """The difference to the baseline; in words where both gave the same answers; "" for the baseline itself."""
    if line.difference is None:
        return kept(line)
    if same(line):
        return kept(line) or SAME
    seeds = line.paired or line.seeds
    parts = [figure(line.difference, line.difference_ci95)]
    parts += [f"{line.agree} of {seeds} seeds"] if seeds > 1 else []
    return ", ".join(part for part in (*parts, kept(line)) if part)


def clear(line: Line) -> bool:
    """Whether the interval of a method's difference to the baseline excludes 0, over seeds where there are several."""
    value, half = line.difference or 0.0, line.difference_ci95
    over = line.seeds == 1 or line.difference_estimand != FORMERLY
    # what is written as 0.00 is no gain, however sure
    return over and abs(value) > half and abs(value) >= 0.005 and not same(line)


def marked(line: Line, study: Study) -> bool:
    """Whether tables mark the difference to the baseline: where comparisons are declared, they mark these alone."""
    return not study.compare and clear(line)


def scopes(lines: Sequence[Line]) -> str:
    """A sentence on what the intervals of these lines are over and what they speak of."""
    found = {line.estimand for line in lines if line.shot is not None}
    said = "; ".join(f"{how} ({estimand})" for estimand, how in SCOPES.items() if estimand in found)
    return f"± is half of a 95 % interval: {said}. None speaks of other classes." if said else ""


def marks(study: Study, mark: str) -> str:
    """A sentence on which differences are marked, and how."""
    if not study.baseline and not study.compare:
        return ""
    if study.compare:
        return "Only the declared comparisons are marked; all other differences are description."
    return f"{mark}: the interval of the difference excludes 0, not corrected for many of them."


def pairs(study: Study) -> str:
    """A sentence on differences to the baseline."""
    if not study.baseline:
        return ""
    over = "; over seeds where either row trains" if len(study.every_seed) > 1 else ""
    return f"Differences are to {study.baseline}, on the same seeds and episodes{over}."


def seeds(study: Study) -> str:
    """The seeds of a study, and those of rows that have their own."""
    own = Counter(row.seeds for row in study.rows if row.seeds and row.seeds != study.seeds)
    parts = [", ".join(map(str, study.seeds))]
    parts += [f"{', '.join(map(str, some))} for {count} of {len(study.rows)} rows" for some, count in own.items()]
    return "; ".join(parts)


def p_value(value: float | None) -> str:
    """A probability as tables write it."""
    return "–" if value is None else "below 0.001" if value < 0.001 else f"{value:.3f}"


def outcome(one: Contrast) -> str:
    """The difference of a declared comparison; in words where there is none to tell of."""
    if one.difference is None:
        return "no seed finished both"
    if one.same:
        return STUCK if one.estimand == START else SAME
    return figure(one.difference, one.ci95)


DECLARED = ["comparison", "shots", "difference", "seeds of that sign", "p", "p by Holm"]


def declared(one: Contrast) -> list[str]:
    """A declared comparison under the headings of `DECLARED`, unmarked."""
    agree = "–" if one.difference is None or one.same else f"{one.agree} of {one.paired}"
    return [f"{one.name} {one.of} - {one.to}", str(one.shot), outcome(one), agree, p_value(one.p), p_value(one.holm)]


def family(mine: Sequence[Contrast]) -> str:
    """What the figures of a data set's and backbone's declared comparisons are over and speak of; "" without any."""
    if not mine:
        return ""
    over = " or ".join(dict.fromkeys(one.over for one in mine if one.over)) or "nothing"
    estimands = " or ".join(dict.fromkeys(one.estimand for one in mine if one.estimand)) or "nothing"
    return (
        f"Declared before anything was run; on the same seeds and episodes. ± is half of a 95 % interval and p by the "
        f"same Student's t, over {over}: {estimands}. Marked where p stays below 0.05 after Holm's correction (1979) "
        f"for {len(mine)} comparisons."
    )
