from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import studies
from kshot.fewshot.intervals import student
from kshot.report.comparison import Comparison, compared, trains_in_episodes
from kshot.study.file import Row, Study
from kshot.study.results import StudyResult

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


def episodes(comparison: Comparison, name: str, seed: int) -> np.ndarray:
    run = next(run for run in comparison.runs if (run.name, run.seed) == (name, seed))
    path = comparison.folder / run.folder / "1-shot.json"
    return np.array(json.loads(path.read_text())["episode_accuracy"])


def test_a_pair_is_compared_on_the_episodes_that_both_took(comparison: Comparison) -> None:
    wanted = np.concatenate(
        [episodes(comparison, "meta", seed)[:30] - episodes(comparison, "direct", seed) for seed in (0, 1)]
    )
    found = comparison.paired("meta", "direct", 1)
    assert found == pytest.approx((wanted.mean(), student(59) * wanted.std(ddof=1) / np.sqrt(60)))


def test_without_result_files_or_common_seeds_there_is_no_pair(comparison: Comparison) -> None:
    assert comparison.paired("meta", "lost", 1) is None
    run = comparison.finished("meta")[0]
    (comparison.folder / run.folder / "1-shot.json").write_text("{")
    assert comparison.paired("meta", "direct", 1) is None


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
