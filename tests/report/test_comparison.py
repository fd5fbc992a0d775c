from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import studies
from kshot.fewshot.intervals import interval, student
from kshot.report import page, tables
from kshot.report.comparison import Comparison, compared, trains_in_episodes
from kshot.report.findings import finding
from kshot.study.file import Row, Study
from kshot.study.results import StudyResult
from kshot.study.summary import summarise
from kshot.study.words import clear

ROWS = (
    Row("frozen"),
    Row("meta", strategy="meta"),
    Row("direct", strategy="direct", episodes=30),
    Row("lost", strategy="meta"),
)


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    plan = Study("s", ROWS, ("d",), ("b",), (1, 5), (0, 1), episodes=100, baseline="frozen")
    found = studies.write(
        tmp_path, plan, lambda row, data, shot: {"frozen": 0.5, "meta": 0.7}.get(row.name, 0.6),
        failed=lambda row, seed: "lost" if row.name == "lost" else "",
    )  # fmt: skip
    return compared(StudyResult.parse(found, "study.json"), tmp_path)[0]


def test_transductive_methods_are_a_comparison_of_their_own(tmp_path: Path) -> None:
    """However accurate, they lead nothing that the others are in."""
    rows = (Row("frozen"), Row("together", head="transclip"), Row("meta", strategy="meta"))
    plan = Study("s", rows, ("hmdb51",), ("b",), (1,), (0,), episodes=60, baseline="frozen")
    found = studies.write(
        tmp_path, plan, lambda row, data, shot: {"frozen": 0.3, "meta": 0.5, "together": 0.9}[row.name]
    )
    apart, together = compared(StudyResult.parse(found, "study.json"), tmp_path)
    assert apart.names == ["frozen", "meta"] and apart.best() == apart.leader(1) == "meta"
    assert together.names == ["together"] and together.title == "hmdb51 with b, transductive methods"
    assert [row.name for row in tables.main(apart).rows] == ["frozen", "meta"]
    assert [row.name for row in tables.main(together).rows] == ["together"] and tables.matching(together) is None


def episodes(comparison: Comparison, name: str, seed: int) -> np.ndarray:
    run = next(run for run in comparison.runs if (run.name, run.seed) == (name, seed))
    path = comparison.folder / run.folder / "1-shot.json"
    return np.array(json.loads(path.read_text())["episode_accuracy"])


def test_a_pair_is_compared_on_the_episodes_that_both_took(comparison: Comparison) -> None:
    wanted = np.array(
        [(episodes(comparison, "meta", seed)[:30] - episodes(comparison, "direct", seed)).mean() for seed in (0, 1)]
    )
    found = comparison.paired("meta", "direct", 1)
    assert found == pytest.approx((wanted.mean(), student(1) * wanted.std(ddof=1) / np.sqrt(2)))


def test_without_result_files_or_common_seeds_there_is_no_pair(comparison: Comparison) -> None:
    assert comparison.paired("meta", "lost", 1) is None
    run = comparison.finished("meta")[0]
    (comparison.folder / run.folder / "1-shot.json").write_text("{")
    assert comparison.paired("meta", "direct", 1) is None


def seeded(folder: Path, **values: list[list[float]]) -> Comparison:
    """Of methods with these accuracies: a list of episodes a seed. The first is the baseline, the others train."""
    base, seeds = next(iter(values)), tuple(range(len(next(iter(values.values())))))
    rows = tuple(Row(name, strategy="frozen" if name == base else "meta") for name in values)
    plan = Study("s", rows, ("d",), ("b",), (1,), seeds, episodes=4, baseline=base)
    found = studies.write(folder, plan, lambda *_: 0.5)
    for run in found["rows"]:
        path = folder / run["folder"] / "1-shot.json"
        accuracy = values[run["name"]][run["seed"]]
        path.write_text(json.dumps(json.loads(path.read_text()) | {"episode_accuracy": accuracy}))
    read = StudyResult.parse(found, "study.json")
    read.summary = summarise(folder, read.rows, base)
    return compared(read, folder)[0]


def test_what_one_seed_of_three_shows_is_not_marked(tmp_path: Path) -> None:
    """An interval over all episodes would exclude zero; that over seeds does not."""
    base, lucky = [[50.0] * 4] * 3, [[70, 71, 72, 73], [49, 50, 50, 50], [50, 49, 50, 50]]
    made = seeded(tmp_path, base=base, lucky=lucky)
    line = made.lines_of("lucky")[1]
    pooled = np.concatenate([np.array(one) - 50 for one in lucky])
    assert line.difference == pytest.approx(pooled.mean()) and pooled.mean() > interval(pooled)
    assert (
        line.difference_ci95 == pytest.approx(interval(np.array([21.5, -0.25, -0.25])))
        and line.difference_over == "seeds"
    )
    assert (line.agree, line.paired, line.seeds) == (1, 3, 3)
    assert made.best() == "lucky" and made.leader(1) == "" and not clear(line)
    lucky_row = tables.main(made).rows[1].cells
    assert lucky_row[0].look == "" and lucky_row[1].look == "unclear" and lucky_row[1].text == f"+{line.difference:.1f}"
    assert lucky_row[1].notes == ("1 of 3 seeds",)
    one = finding(made, 1)
    assert not one.clear and "not to be told from base (" in page.template("finding.html", one=one)
    assert "1 of 3 seeds)" in page.template("finding.html", one=one)


def test_what_every_seed_shows_is_marked(tmp_path: Path) -> None:
    base, steady = [[50.0] * 4] * 3, [[55, 56, 57, 58], [56, 57, 56, 57], [55, 56, 57, 58]]
    made = seeded(tmp_path, base=base, steady=steady)
    assert made.leader(1) == "steady" and clear(made.lines_of("steady")[1])
    cells = tables.main(made).rows[1].cells
    assert (cells[0].look, cells[1].look) == ("best", "up") and finding(made, 1).clear


def test_of_two_that_lead_by_turns_none_is_bold(tmp_path: Path) -> None:
    """Though both are clearly above the baseline; nor is one of two with the same answers."""
    base, ahead = [[50.0, 51.0]] * 4, [[80.0, 81.0], [78.0, 79.0]] * 2
    made = seeded(tmp_path, base=base, first=ahead, second=ahead[::-1])
    assert made.leader(1) == "" and [row.cells[0].look for row in tables.main(made).rows] == ["", "", ""]
    assert [row.cells[1].look for row in tables.main(made).rows[1:]] == ["up", "up"]
    (tmp_path / "same").mkdir()
    assert seeded(tmp_path / "same", base=base, first=ahead, second=ahead).leader(1) == ""
    assert "too close to call" in page.template("finding.html", one=finding(made, 1))


def test_classes_are_means_over_seeds(comparison: Comparison) -> None:
    for run, value in zip(comparison.finished("meta"), (10.0, 40.0), strict=True):
        run.results["5"].per_class["bow"] = value
        run.results["5"].confusion["bow"] = {"bow": value, "climb": 100 - value}
    shares, classes = comparison.confusion("meta")
    assert comparison.per_class("meta")["bow"] == 25
    assert shares[0, :3].tolist() == [25, 75, 0] and classes == list(studies.CLASSES)


def test_what_it_tells_of_methods(comparison: Comparison) -> None:
    assert comparison.names == ["frozen", "meta", "direct", "lost"]
    assert comparison.shots == [1, 5] and comparison.best() == "meta" and comparison.baseline == "frozen"
    assert comparison.lines_of("lost") == {} and len(comparison.failures("lost")) == 2
    assert comparison.clips == "120 clips of 6 classes"
    assert [trains_in_episodes(comparison.lines_of(n)[1].strategy) for n in ("meta", "direct")] == [False, True]
    assert not trains_in_episodes("of another version")


def test_a_method_that_lost_seeds_does_not_win(tmp_path: Path) -> None:
    plan = Study("s", ROWS[:2], ("d",), ("b",), (1,), (0, 1), episodes=50)
    found = studies.write(
        tmp_path, plan, lambda row, *_: 0.9 if row.name == "meta" else 0.4,
        failed=lambda row, seed: "lost" if (row.name, seed) == ("meta", 1) else "",
    )  # fmt: skip
    assert compared(StudyResult.parse(found, "study.json"), tmp_path)[0].best() == "frozen"


def test_a_baseline_that_failed_is_none(tmp_path: Path) -> None:
    plan = Study("s", ROWS[:2], ("d",), ("b",), (1,), episodes=10, baseline="frozen")
    found = studies.write(
        tmp_path, plan, lambda *_: 0.5, failed=lambda row, seed: "gone" if row.name == "frozen" else ""
    )
    assert compared(StudyResult.parse(found, "study.json"), tmp_path)[0].baseline == ""
