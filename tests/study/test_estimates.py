"""What a study's means speak of, their intervals' coverage by simulation, and comparisons that are declared."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from kshot.errors import OptionError
from kshot.fewshot.intervals import interval, student
from kshot.fewshot.result import Result
from kshot.study import words
from kshot.study.estimates import EPISODES, ONE_TRAINING, SEEDS, START, estimate, holm
from kshot.study.file import Compare, Row, Study, read_study
from kshot.study.results import Contrast, Outcome, RowResult, StudyResult
from kshot.study.runner import planned
from kshot.study.summary import contrasts, summarise
from kshot.study.tables import as_markdown


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    """The script that simulates coverage, which is no part of the package."""
    path = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_of_intervals", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    __import__("sys").modules[spec.name] = module  # its dataclasses look for it there
    spec.loader.exec_module(module)
    return module


GAINS = [np.array([1.0, 1.7]), np.array([0.0, 0.0]), np.array([0.0, 0.0])]


def test_three_seeds_of_which_two_gained_nothing() -> None:
    """The very case: a gain in one of three trainings. Over all episodes the interval would exclude 0 at any number."""
    found = estimate(GAINS, [True, False, False])
    assert (found.mean, found.over, found.estimand) == (pytest.approx(0.45), "seeds", SEEDS)
    assert found.ci95 == pytest.approx(student(2) * 1.35 / 3) == pytest.approx(1.936, abs=1e-3)
    assert found.p == pytest.approx(0.4226, abs=1e-4), "t = 1 with 2 degrees of freedom"


def test_what_nothing_changed_is_over_all_episodes() -> None:
    pooled = interval(np.concatenate(GAINS))
    for altered, trains, estimand in ((False, False, EPISODES), (False, True, START)):
        found = estimate(GAINS, [altered] * 3, trains)
        assert (found.ci95, found.over, found.estimand) == (pytest.approx(pooled), "episodes", estimand)
    assert estimate(GAINS[:1], [True]).estimand == ONE_TRAINING
    assert estimate([np.zeros(3)], [False]).p == 1 and estimate([np.ones(3)], [True]).p == 0
    assert math.isnan(estimate([np.ones(1)], [True]).p) and math.isnan(estimate([np.ones(1)], [True]).ci95)


def test_probabilities_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    seeds = [np.array([x]) for x in (0.3, 1.1, 0.8, -0.2, 0.9)]
    assert estimate(seeds, [True] * 5).p == pytest.approx(stats.ttest_1samp(np.concatenate(seeds), 0).pvalue)


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.5]) == [1.0, 1.0] and holm([]) == []
    found = holm([math.nan, 0.01])
    assert math.isnan(found[0]) and found[1] == 0.02, "a test that could not be made counts"


@pytest.mark.parametrize(
    ("effect", "seeds", "episodes"),
    [("normal, 1 +- 0.2", 3, 80), ("uniform, 0 to 2", 5, 80), ("normal, 1 +- 1", 1, 80), ("nothing trained", 3, 80)],
)
def test_intervals_hold_the_truth_as_often_as_they_say(
    coverage: ModuleType, effect: str, seeds: int, episodes: int
) -> None:
    """1,000 small studies each: their share is known to 0.7 points. The script itself has the sizes that ship."""
    found = coverage.simulate(coverage.EFFECTS[effect], seeds, episodes, 1000)
    assert 0.93 <= found.difference <= 0.97 and 0.93 <= found.accuracy <= 0.97 and found.none == 0


def test_pooled_episodes_would_not_hold_it(coverage: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """What tables printed before: the simulation tells the difference."""
    pooled = lambda seeds, altered, trains: estimate(seeds, [False] * len(seeds), trains)  # noqa: E731
    monkeypatch.setattr(coverage, "estimate", pooled)
    monkeypatch.setattr(coverage, "START", "")
    found = coverage.simulate(coverage.EFFECTS["normal, 1 +- 1"], 3, 2000, 100)
    assert found.difference < 0.5


def test_a_start_that_some_seeds_keep_is_no_sure_gain(coverage: ModuleType) -> None:
    """Where training often keeps its start, coverage falls short, as the docs say; no mark has the wrong sign."""
    found = coverage.simulate(coverage.EFFECTS["kept in two thirds, else 1.35 +- 0.3"], 3, 500, 500)
    assert found.none == pytest.approx(8 / 27, abs=0.06) and found.wrong < 0.01 and found.marked < 0.2


def run(folder: Path, name: str, gains: Sequence[float], **values: Any) -> list[RowResult]:
    """A run for each seed, that much better than 50 % in each episode."""
    made = []
    for seed, gain in enumerate(gains):
        every = np.array([40.0, 60.0 + seed]) + gain
        result = Result(
            accuracy=float(every.mean()), episodes=2, version="1", episode_accuracy=every, machine={"x": "y"}
        )
        result.save(folder / f"{name}-{seed}" / "1-shot.json")
        made.append(
            RowResult(
                data="d",
                backbone="b",
                seed=seed,
                name=name,
                strategy="meta",
                tuning="partial",
                layers=None,
                head=None,
                folder=f"{name}-{seed}",
                results={"1": Outcome(accuracy=50.0, episodes=2, per_class={}, confusion={})},
                **values,
            )
        )
    return made


def made(folder: Path, *compare: Compare, **gains: Sequence[float]) -> StudyResult:
    plan = Study("s", tuple(map(Row, gains)), ("d",), ("b",), shots=(1,), seeds=(0, 1, 2, 3, 4), compare=compare)
    rows = [row for name, values in gains.items() for row in run(folder, name, values)]
    return StudyResult(
        title="s", version="1", date="2026-11-27", settings=plan, machine={}, rows=rows,
        summary=summarise(folder, rows, ""), comparisons=contrasts(folder, rows, plan),
    )  # fmt: skip


GOOD, SOME, NONE = (10.0, 11.0, 10.5, 9.5, 9.0), (1.0, -0.1, 1.3, 0.9, 2.0), (0.0, 0.0, 0.0, 0.0, 0.0)


def test_declared_comparisons_are_paired_and_corrected(tmp_path: Path) -> None:
    stats = pytest.importorskip("scipy.stats")
    asked = [Compare("base?", "good", "none"), Compare("meta?", "some", "none"), Compare("full?", "gone", "none")]
    found = made(tmp_path, *asked, good=GOOD, some=SOME, none=NONE, gone=()).comparisons
    p = [stats.ttest_1samp(gains, 0).pvalue for gains in (GOOD, SOME)]
    assert [one.p for one in found] == [pytest.approx(p[0]), pytest.approx(p[1]), None]
    assert [one.holm for one in found] == [pytest.approx(3 * p[0]), pytest.approx(2 * p[1]), None]
    assert 0.025 < p[1] < 0.05, "without the correction the second one would pass"
    assert [one.differs for one in found] == [True, False, False]
    assert (found[0].paired, found[0].agree, found[0].episodes, found[0].over) == (5, 5, 2, "seeds")
    assert found[0].difference == 10 and found[0].ci95 == pytest.approx(interval(np.array(GOOD)))
    assert found[1].agree == 4 and found[2].difference is None


def test_only_seeds_that_both_finished_are_compared(tmp_path: Path) -> None:
    (one,) = made(tmp_path, Compare("q", "a", "b"), a=GOOD, b=NONE[:3]).comparisons
    assert one.paired == 3 and one.difference == pytest.approx(10.5)


def test_the_table_of_declared_comparisons(tmp_path: Path) -> None:
    report = made(
        tmp_path, Compare("base?", "good", "none"), Compare("same?", "as", "none"), good=GOOD, none=NONE, **{"as": NONE}
    )
    rows = [line for line in as_markdown(report).splitlines() if line.startswith("| ")]
    assert rows[0] == "| comparison | shots | difference | seeds of that sign | p | p by Holm |"
    assert rows[2:4] == [
        "| base? good - none | 1 | **+10.0 ± 1.0** | 5 of 5 | below 0.001 | below 0.001 |",
        "| same? as - none | 1 | same answers | – | 1.000 | 1.000 |",
    ]
    assert "over seeds: these classes, new episodes, new seeds. Marked" in as_markdown(report)


def test_two_rows_that_kept_their_start_are_told() -> None:
    one = Contrast(data="d", backbone="b", name="q", of="a", to="b", shot=1, paired=3, difference=0.0, ci95=0.0, kept=3)
    one.estimand = START
    assert words.outcome(one) == "no seed left the start" and not one.differs
    rounded = one.model_copy(update={"difference": -0.01, "ci95": 0.004, "holm": 0.001})
    assert words.outcome(rounded) == "no seed left the start" and not rounded.differs
    assert words.outcome(Contrast(data="d", backbone="b", name="q", of="a", to="b", shot=1)) == "no seed finished both"


FILE = """\
title = "t"
shots = [1, 5]
seeds = [0, 1, 2]

[[row]]
name = "frozen"
seeds = [0, 1, 2, 3, 4]

[[row]]
name = "meta"
strategy = "meta"
tuning = ["partial", "full"]

[[compare]]
name = "What to tune?"
of = "meta, partial"
to = ["meta, full", "frozen"]
shots = [1]
"""


def read(folder: Path, text: str) -> Study:
    (folder / "s.toml").write_text(text)
    return read_study(folder / "s.toml")


def test_a_file_declares_comparisons_and_seeds_of_rows(tmp_path: Path) -> None:
    study = read(tmp_path, FILE)
    assert study.compare == (
        Compare("What to tune?", "meta, partial", "meta, full", (1,)),
        Compare("What to tune?", "meta, partial", "frozen", (1,)),
    )
    assert study.seeds_of("frozen") == study.every_seed == (0, 1, 2, 3, 4) and study.seeds_of("meta, full") == (0, 1, 2)
    assert words.seeds(study) == "0, 1, 2; 0, 1, 2, 3, 4 for 1 of 3 rows"


def test_seeds_that_are_given_stand_for_those_of_rows_too(tmp_path: Path) -> None:
    plan = planned(read(tmp_path, FILE), seeds=(7,))
    assert plan.seeds_of("frozen") == plan.seeds_of("meta, full") == plan.every_seed == (7,)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"meta, partial"', '"meta, partail"', "line 16: comparison 'What to tune.': unknown row.*'meta, partial'"),
        ('"frozen"]', '"frosen"]', r"s.toml, line 17: .*unknown row 'frosen': did you mean 'frozen'"),
        ('"frozen"]', '"meta, partial"]', "line 17: .*a row cannot be compared to itself"),
        ('"frozen"]', '"meta, full"]', "line 16: .*the same two rows at the same shot are compared twice"),
        ("shots = [1]", "shots = [3]", r"line 18: .*the study has no 3-shot, only \[1, 5\]"),
        ("shots = [1]", "shot = 1", "line 18: unknown key of a comparison 'shot': did you mean 'shots'"),
        ('to = ["meta, full", "frozen"]', "to = []", "to must name at least one row"),
        ('of = "meta, partial"\n', "", r"every \[\[compare\]\] needs name, of and to; number 1 lacks of"),
        ('of = "meta, partial"\n', "of = 3\n", "of: input should be a valid string, found 3"),
        ("seeds = [0, 1, 2, 3, 4]", "seeds = [0, 0]", r"line 7: row 'frozen': seeds must differ"),
        ("seeds = [0, 1, 2, 3, 4]", "seeds = [-1]", "line 7: row 'frozen': seed must be"),
        ("[[compare]]", "[compare]", r"compare must be tables, \[\[compare\]\]"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_at_the_door(before: str, after: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=message):
        read(tmp_path, FILE.replace(before, after, 1) if before != '"frozen"]' else after.join(FILE.rsplit(before, 1)))
