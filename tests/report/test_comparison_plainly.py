"""A comparison from hand-made runs: what it ranks, sums and leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kshot.fewshot.intervals import interval
from kshot.fewshot.result import ClipScore, Damaged, Result
from kshot.report.comparison import Comparison, compared
from kshot.study.file import Row, Study
from kshot.study.results import Line, Outcome, RowResult, StudyResult

PLAN = Study("s", (Row("a"), Row("b")), ("d",), ("k",), seeds=(0, 1), baseline="a")


def run(folder: Path, name: str, seed: int, episodes: list[float], shot: int = 1, **result: Any) -> RowResult:
    """A finished run of data "d" with backbone "k" with these percent right in each episode, and its result file."""
    where, mean = f"{name}-{seed}", sum(episodes) / len(episodes)
    made = Result(accuracy=mean, episodes=len(episodes), episode_accuracy=episodes, machine={"x": "y"},
                  **({"version": "1"} | result))  # fmt: skip
    made.save(folder / where / f"{shot}-shot.json")
    outcome = Outcome(
        accuracy=mean, episodes=len(episodes), per_class={"sit": mean, "wave": 2 * mean},
        confusion={"sit": {"sit": mean, "wave": 100 - mean}, "wave": {"wave": 2 * mean}},
    )  # fmt: skip
    return RowResult(
        data="d", backbone="k", seed=seed, name=name, strategy="meta", tuning="full", layers=None, head="otam",
        results={str(shot): outcome}, folder=where, clips=1234, fingerprint=f"print of {name}",
    )  # fmt: skip


def failed(name: str, seed: int = 0) -> RowResult:
    return RowResult(
        data="d", backbone="k", seed=seed, name=name, strategy="x", tuning="full", layers=None, head=None, error="e"
    )


def line(name: str, accuracy: float, shot: int | None = 1, seeds: int = 1) -> Line:
    return Line(data="d", backbone="k", name=name, shot=shot, seeds=seeds, accuracy=accuracy)


def comparison(folder: Path, runs: list[RowResult], lines: Sequence[Line] = ()) -> Comparison:
    return Comparison("d", "k", PLAN, list(lines), runs, folder)


def test_methods_are_ranked_by_accuracy_those_that_lost_seeds_last(tmp_path: Path) -> None:
    lines = [line("a", 50, seeds=2), line("b", 90, seeds=1), line("c", 60, seeds=2), line("a", 99, shot=5, seeds=2)]
    made = comparison(tmp_path, [], lines)
    assert [one.name for one in made.ranked(1)] == ["c", "a", "b"] and made.ranked(2) == []
    assert made.shots == [1, 5] and made.best() == "a", "at the highest shot"
    assert [one.shot for one in made.at(5)] == [5] and list(made.lines_of("a")) == [1, 5]


def test_where_all_failed_there_is_no_best(tmp_path: Path) -> None:
    made = comparison(tmp_path, [failed("a"), failed("b")])
    assert (made.best(), made.shots, made.baseline, made.classes, made.fingerprint) == (None, [], "", 0, "")
    assert made.clips == "nothing evaluated" and made.paired("a", "b", 1) is None
    assert made.versions == [] and made.names == ["a", "b"] and made.title == "d with k"


def test_the_first_finished_run_tells_of_data_and_backbone(tmp_path: Path) -> None:
    made = comparison(tmp_path, [failed("a"), run(tmp_path, "b", 0, [10.0])])
    assert made.clips == "1,234 clips of 2 classes" and made.fingerprint == "print of b"


def test_classes_and_confusions_are_means_over_seeds(tmp_path: Path) -> None:
    runs = [run(tmp_path, "a", 0, [10.0]), run(tmp_path, "a", 1, [30.0]), run(tmp_path, "b", 0, [50.0])]
    del runs[1].results["1"].per_class["wave"]  # never drawn with that seed
    made = comparison(tmp_path, runs, [line("a", 20), line("b", 50)])
    assert made.per_class("a") == {"sit": 20, "wave": 20}
    shares, classes = made.confusion("a")
    assert classes == ["sit", "wave"] and shares.tolist() == [[20, 80], [0, 40]]


def clip(name: str, queries: int, right: int, **taken_for: int) -> ClipScore:
    return ClipScore(clip=name, label="sit", queries=queries, right=right, taken_for=taken_for)


def test_clips_are_summed_over_seeds(tmp_path: Path) -> None:
    runs = [
        run(tmp_path, "a", 0, [10.0], per_clip=[clip("x", 3, 1, wave=2), clip("y", 1, 1)]),
        run(tmp_path, "a", 1, [10.0], per_clip=[clip("x", 4, 1, wave=1, bow=2)]),
        run(tmp_path, "b", 0, [10.0], per_clip=[clip("x", 9, 9)]),
    ]
    made = comparison(tmp_path, runs, [line("a", 10), line("b", 10)])
    assert made.per_clip("a") == [clip("x", 7, 2, wave=3, bow=2), clip("y", 1, 1)]
    assert made.lost == []
    (tmp_path / "a-1" / "1-shot.json").unlink()
    made = comparison(tmp_path, runs, made.lines)
    assert made.per_clip("a") == [] and made.per_clip("b") == [clip("x", 9, 9)], "a part is not shown as the whole"
    assert made.lost[0].startswith("d with k: 1 of 3 result files are lost or damaged, in a-1: figures of single clips")


def test_pairs_take_seeds_and_episodes_that_both_have(tmp_path: Path) -> None:
    runs = [
        run(tmp_path, "a", 0, [10.0, 20.0, 90.0]), run(tmp_path, "a", 1, [50.0, 50.0]), run(tmp_path, "a", 2, [0.0]),
        run(tmp_path, "b", 1, [49.0, 47.0]), run(tmp_path, "b", 0, [20.0, 50.0]), failed("b", 2),
    ]  # fmt: skip
    made = comparison(tmp_path, runs)
    wanted = np.array([-20.0, 2.0])  # over seeds, as both rows train
    assert made.paired("a", "b", 1) == pytest.approx((wanted.mean(), interval(wanted)))
    assert made.paired("a", "b", 5) is None


def test_what_is_odd_about_clips_is_told_once(tmp_path: Path) -> None:
    torn = Damaged(clip="t.mp4", kept=0.256, reason="its end is gone")
    runs = [
        run(tmp_path, "a", 0, [1.0], unreadable={"x": "torn"}, damaged=[torn], missing=["m", "n"], version="1"),
        run(tmp_path, "a", 1, [1.0], unreadable={"x": "torn", "y": "empty"}, missing=["n", "o"], version="2"),
    ]
    runs[0].notes, runs[1].notes = ["one", "two"], ["two", "three"]
    made = comparison(tmp_path, runs)
    assert made.unreadable == {"x": "torn", "y": "empty"} and made.missing == ["m", "n", "o"]
    assert made.damaged == {"t.mp4": "t.mp4: 26% of it is there: its end is gone"}
    assert made.versions == ["1", "2"] and made.notes == ["one", "two", "three"]


def test_a_study_is_parted_by_data_and_backbone_in_its_order(tmp_path: Path) -> None:
    first, second, third = (run(tmp_path, name, 0, [1.0]) for name in "abc")
    second.data = third.backbone = "e"
    lines = [line("a", 1), line("lost", 0, shot=None)]
    study = StudyResult(
        title="s", version="1", date="2026-11-22", settings=PLAN, machine={}, rows=[first, second, third, failed("a")],
        summary=lines,
    )  # fmt: skip
    found = compared(study, tmp_path)
    assert [(one.data, one.backbone) for one in found] == [("d", "k"), ("e", "k"), ("d", "e")]
    assert [run.name for run in found[0].runs] == ["a", "a"] and found[0].lines == lines[:1] and found[1].lines == []
    assert found[0].folder == tmp_path and found[0].baseline == "a" and found[1].baseline == ""
    assert [one.error for one in found[0].failures("a")] == ["e"] and found[0].finished("a") == [first]
