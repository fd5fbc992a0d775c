"""A study's summary from hand-made rows: means over seeds, differences in pairs, and costs that may be unknown."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kshot import seals
from kshot.errors import DataError
from kshot.fewshot.intervals import interval
from kshot.fewshot.result import Costs, Result
from kshot.study import words
from kshot.study.file import Row, Study
from kshot.study.results import Line, Outcome, RowResult, Search, StudyResult, Tried
from kshot.study.summary import load_study, summarise
from kshot.study.tables import as_csv, as_markdown, lacking, noted

Episodes = dict[int, list[float]]
"""Shot -> percent of each episode."""


def row(folder: Path, name: str, seed: int, episodes: Episodes, best_step: int = -1, **values: Any) -> RowResult:
    """A row of data "d" with backbone "b", finished with these accuracies, and its result files."""
    where, results = f"{name}-{seed}", {}
    steps: dict[str, Any] = {} if best_step < 0 else {"best_step": best_step}
    for shot, every in episodes.items():
        mean = float(np.mean(every))
        results[str(shot)] = Outcome(accuracy=mean, episodes=len(every), per_class={}, confusion={}, **steps)
        result = Result(accuracy=mean, episodes=len(every), version="1", episode_accuracy=every, machine={"cores": "2"})
        result.save(folder / where / f"{shot}-shot.json")
    values = {"strategy": "meta"} | values
    return RowResult(
        data="d", backbone="b", seed=seed, name=name, tuning="partial", layers="proj",
        head="otam", folder=where, results=results, **values,
    )  # fmt: skip


def failed(name: str, seed: int, error: str = "out of memory") -> RowResult:
    return RowResult(
        data="d", backbone="b", seed=seed, name=name, strategy="meta", tuning="full", layers=None, head=None,
        error=error,
    )  # fmt: skip


def test_what_is_trained_has_an_interval_over_seeds(tmp_path: Path) -> None:
    rows = [row(tmp_path, "m", 0, {1: [10.0, 20.0]}), row(tmp_path, "m", 1, {1: [60.0, 70.0]})]
    (line,) = summarise(tmp_path, rows, "")
    assert (line.accuracy, line.seeds, line.episodes, line.shot) == (40.0, 2, 2, 1)
    assert line.ci95 == pytest.approx(interval(np.array([15.0, 65.0]))) == pytest.approx(12.706 * 25, rel=1e-4)
    assert (line.over, line.estimand) == ("seeds", "these classes, new episodes, new seeds") and line.kept is None
    assert line.difference is None and line.agree == 0
    assert (line.strategy, line.tuning, line.layers, line.head) == ("meta", "partial", "proj", "otam")


def test_differences_are_to_the_row_of_the_same_seed_on_the_episodes_that_both_took(tmp_path: Path) -> None:
    rows = [
        row(tmp_path, "base", 0, {1: [10.0, 20.0, 99.0]}), row(tmp_path, "base", 1, {1: [50.0, 50.0, 0.0]}),
        row(tmp_path, "few", 0, {1: [20.0, 26.0]}), row(tmp_path, "few", 1, {1: [49.0, 49.0]}),
    ]  # fmt: skip
    base, few = summarise(tmp_path, rows, "base")
    assert base.difference is None, "the baseline is not compared to itself"
    differences = np.array([10.0, 6.0, -1.0, -1.0])
    assert few.difference == pytest.approx(differences.mean()) == 3.5
    assert few.difference_ci95 == pytest.approx(interval(np.array([8.0, -1.0])))
    assert (few.difference_over, few.paired) == ("seeds", 2)
    assert few.agree == 1, "the second seed says the contrary"
    assert few.episodes == 2


def test_a_seed_that_the_baseline_lost_counts_for_accuracy_alone(tmp_path: Path) -> None:
    rows = [
        failed("base", 0), row(tmp_path, "base", 1, {1: [50.0, 50.0]}),
        row(tmp_path, "m", 0, {1: [0.0, 100.0]}), row(tmp_path, "m", 1, {1: [58.0, 62.0]}),
    ]  # fmt: skip
    base, line = summarise(tmp_path, rows, "base")
    assert (base.seeds, line.seeds) == (1, 2)
    assert line.accuracy == 55 and line.difference == 10 and line.agree == 1


def test_a_method_that_failed_with_every_seed_has_one_line_with_the_first_error(tmp_path: Path) -> None:
    rows = [failed("m", 0, "first"), failed("m", 1, "second"), row(tmp_path, "other", 0, {1: [1.0], 5: [3.0]})]
    lost, *others = summarise(tmp_path, rows, "m")
    assert (lost.name, lost.shot, lost.error, lost.seeds) == ("m", None, "first", 0)
    assert [(line.shot, line.accuracy, line.difference) for line in others] == [(1, 1.0, None), (5, 3.0, None)]
    assert all(math.isnan(line.ci95) for line in others), "a single episode has no interval"


def test_what_trains_nothing_has_an_interval_over_all_episodes(tmp_path: Path) -> None:
    """Seeds only draw further episodes."""
    rows = [
        *(row(tmp_path, "base", s, {1: [40.0 + s, 60.0]}, strategy="frozen") for s in (0, 1)),
        *(row(tmp_path, "names", s, {1: [30.0, 40.0]}, strategy="zero-shot") for s in (0, 1)),
        *(row(tmp_path, "meta", s, {1: [50.0, 72.0]}, best_step=10) for s in (0, 1)),
    ]
    base, names, meta = summarise(tmp_path, rows, "base")
    assert base.ci95 == pytest.approx(interval(np.array([40.0, 60, 41, 60]))) and base.over == "episodes"
    assert base.estimand == names.difference_estimand == "these classes, new episodes" and base.kept is None
    assert names.difference_ci95 == pytest.approx(interval(np.array([-10.0, -20, -11, -20])))
    assert meta.over == meta.difference_over == "seeds", "a difference is over seeds where either row is"
    assert meta.difference_ci95 == pytest.approx(interval(np.array([11.0, 10.5]))) and meta.kept == 0


def test_one_training_is_told_from_many(tmp_path: Path) -> None:
    rows = [row(tmp_path, "base", 0, {1: [1.0, 3.0]}, strategy="frozen"), row(tmp_path, "m", 0, {1: [2.0, 6.0]}, 5)]
    base, line = summarise(tmp_path, rows, "base")
    assert base.estimand == "these classes, new episodes" and line.over == line.difference_over == "episodes"
    assert line.estimand == line.difference_estimand == "these classes, this one training, new episodes"


@pytest.mark.parametrize("steps", [(0, 0, 0), (20, 0, 0)])
def test_a_row_that_kept_its_untrained_start_is_told(steps: tuple[int, ...], tmp_path: Path) -> None:
    """What seeds gained is 1.35, 0 and 0 where one left its start; without that there is nothing to speak of."""
    rows = []
    for seed, step in enumerate(steps):
        rows.append(row(tmp_path, "base", seed, {1: [50.0, 60.0, 70.0 + seed]}, strategy="frozen"))
        gain = 1.35 if step else 0.0
        rows.append(row(tmp_path, "m", seed, {1: [50.0 + gain, 60.0 + gain, 70.0 + seed + gain]}, best_step=step))
    base, line = summarise(tmp_path, rows, "base")
    assert line.kept == steps.count(0)
    if any(steps):
        assert line.difference == pytest.approx(0.45) and line.difference_ci95 == pytest.approx(1.936, abs=1e-3)
        assert words.difference(line) == "+0.4 ± 1.9, 1 of 3 seeds, kept its start in 2 of 3 seeds"
        assert not words.clear(line) and line.difference_over == "seeds"
    else:
        assert line.estimand == line.difference_estimand == "these classes, the untrained start, new episodes"
        assert words.difference(line) == "kept its start" and line.ci95 == base.ci95
        text = as_markdown(study(tmp_path, rows, shots=(1,), seeds=(0, 1, 2), episodes=3, baseline="base"))
        assert (
            "| kept its start |" in text and "0.0 ± 0.0" not in text and "(these classes, the untrained start" in text
        )


def test_seeds_that_kept_their_start_count_for_no_sign(tmp_path: Path) -> None:
    """Theirs is the sign of a rounding: what is stored at another cut differs in the last digit."""
    rows = [row(tmp_path, "base", s, {1: [50.0, 60.0]}, strategy="frozen") for s in (0, 1, 2)]
    for seed, (step, gain) in enumerate([(9, 1.35), (0, 0.01), (0, 0.0)]):
        rows.append(row(tmp_path, "m", seed, {1: [50.0 + gain, 60.0 + gain]}, best_step=step))
    _, line = summarise(tmp_path, rows, "base")
    assert (line.agree, line.paired, line.kept) == (1, 3, 2)


def test_a_kept_start_is_read_from_rows_of_older_versions_where_one_run_served_all_shots(tmp_path: Path) -> None:
    rows = [row(tmp_path, "m", s, {1: [1.0, 2.0], 5: [3.0, 4.0]}) for s in (0, 1)]
    for one in rows:
        one.best_step = 0
    assert [line.kept for line in summarise(tmp_path, rows, "")] == [2, 2]
    rows[1].train_shot = 0  # a run for each shot: the row says it of the last one alone
    assert [line.kept for line in summarise(tmp_path, rows, "")] == [None, None]


def test_a_rate_is_none_where_every_one_kept_the_start(tmp_path: Path) -> None:
    def searched(*steps: int) -> Search:
        tried = [Tried(arguments={"lr": 0.1}, val_accuracy=50.0, best_step=step, seconds=1.0) for step in steps]
        return Search(chosen={"lr": 0.1}, seed=0, tried=tried)

    rows = [row(tmp_path, "m", s, {1: [1.0, 3.0]}, best_step=0, chosen={"lr": 0.1}) for s in (0, 1)]
    rows[0].searched = searched(0, 0)
    assert summarise(tmp_path, rows, "")[0].chosen == "none"
    text = as_markdown(study(tmp_path, rows, shots=(1,), seeds=(0, 1), search={"lr": [0.1, 1.0]}))
    assert "m: none. None: every value tried kept the untrained start." in text
    rows[0].searched = searched(0, 10)
    assert summarise(tmp_path, rows, "")[0].chosen == "lr 0.1"


def test_rows_of_other_data_and_backbones_stay_apart(tmp_path: Path) -> None:
    rows = [row(tmp_path, "m", 0, {1: [1.0]}), row(tmp_path, "m", 1, {1: [2.0]}), row(tmp_path, "m", 2, {1: [4.0]})]
    rows[1].data, rows[2].backbone = "e", "c"
    found = summarise(tmp_path, rows, "m")
    assert [(one.data, one.backbone, one.accuracy) for one in found] == [("d", "b", 1), ("e", "b", 2), ("d", "c", 4)]


def test_costs_are_means_and_unknown_where_one_row_does_not_tell(tmp_path: Path) -> None:
    rows = [
        row(tmp_path, "m", 0, {1: [1.0], 5: [1.0]}, training_seconds=10.0, stored_bytes=100, device="cpu"),
        row(tmp_path, "m", 1, {1: [1.0], 5: [1.0]}, training_seconds=20.0, device="cuda"),
    ]  # fmt: skip
    rows[0].costs["5"] = Costs(training_seconds=30.0, precision="float16")
    rows[1].costs["5"] = Costs(training_seconds=None)
    one, five = summarise(tmp_path, rows, "")
    assert one.training_seconds == 15 and one.stored_bytes is None and one.device == "cpu"
    assert five.training_seconds is None, "what a shot says itself beats the row, even that it does not know"
    assert five.precision == "float16" and five.device == "cpu", "what it does not say is the row's"
    rows[1].costs["5"] = Costs()
    assert summarise(tmp_path, rows, "")[1].training_seconds == 25


def test_lacking_clips_are_counted_once_and_choices_are_the_first_seeds(tmp_path: Path) -> None:
    rows = [
        row(tmp_path, "m", 0, {1: [1.0]}, missing=["a", "b"], chosen={"lr": 0.1, "steps": 5}),
        row(tmp_path, "m", 1, {1: [1.0]}, missing=["b", "c"], chosen={"lr": 0.2}),
    ]  # fmt: skip
    (line,) = summarise(tmp_path, rows, "")
    assert line.missing == 3 and line.chosen == "lr 0.1, steps 5"


def study(tmp_path: Path, rows: list[RowResult], **settings: Any) -> StudyResult:
    plan = Study("A *study*", tuple(Row(name) for name in dict.fromkeys(one.name for one in rows)), **settings)
    return StudyResult(
        title=plan.title, version="1.0", date="2026-11-22", settings=plan, machine={}, rows=rows,
        summary=summarise(tmp_path, rows, plan.baseline),
    )  # fmt: skip


@pytest.fixture
def report(tmp_path: Path) -> StudyResult:
    """Two shots, two seeds, a baseline, a method with fewer episodes and one that failed."""
    rows = [
        row(tmp_path, "base", 0, {1: [39.0, 59.0], 5: [70.5, 72.5]}, training_seconds=0.0),
        row(tmp_path, "base", 1, {1: [38.0, 64.0], 5: [69.5, 71.5]}, training_seconds=0.0),
        row(tmp_path, "a|b", 0, {1: [67.5], 5: [59.5]}, training_seconds=61.44),
        row(tmp_path, "a|b", 1, {1: [69.5], 5: [60.5]}, training_seconds=61.44),
        *(failed("gone", s, "no <room>") for s in (0, 1)),
    ]  # fmt: skip
    return study(tmp_path, rows, shots=(1, 5), seeds=(0, 1), episodes=2, baseline="base", query=2)


def test_the_table_by_hand(report: StudyResult) -> None:
    assert as_markdown(report).splitlines() == [
        r"# A \*study\*",
        "",
        "2026-11-22, kshot 1.0: 5-way, 2 queries a class, split test, 2 episodes a seed, seeds 0, 1. "
        "Differences are to base, on the same seeds and episodes; over seeds where either row trains.",
        "",
        "",
        "## d, b",
        "",
        "| method | 1-shot, % | difference | 5-shot, % | difference |",
        "| --- | --- | --- | --- | --- |",
        "| base | 50.0 ± 12.7 |  | 71.0 ± 6.4 |  |",
        r"| a\|b | 68.5 ± 12.7 (first 1 episodes) | **+30.0 ± 19.1, 2 of 2 seeds** "
        "| 60.0 ± 6.4 (first 1 episodes) | -10.0 ± 12.7, 2 of 2 seeds |",
        "| gone | failed: no &lt;room&gt; |",
        "",
        "± is half of a 95 % interval: over seeds, by Student's t, where a row trains (these classes, new episodes, "
        "new seeds). None speaks of other classes. **Bold**: the interval of the difference excludes 0, not corrected "
        "for many of them.",
        "",
        "Cost, at 5-shot where it depends on the shots:",
        "",
        "| method | training, s |",
        "| --- | --- |",
        "| base | – |",
        r"| a\|b | 61.4 |",
    ]


def test_transductive_methods_have_a_table_of_their_own(tmp_path: Path) -> None:
    """By their head, or by a tuning that lets queries see each other."""
    rows = [row(tmp_path, name, 0, {1: [40.0, 60.0]}) for name in ("base", "together", "tuned")]
    rows[1] = rows[1].model_copy(update={"head": "transclip"})
    rows[2] = rows[2].model_copy(update={"tuning_options": {"transductive": "queries"}})
    found = study(tmp_path, rows, shots=(1,), seeds=(0,), episodes=2)
    before, _, after = as_markdown(found).partition("### Transductive\n\nThese methods see all queries of an episode")
    assert "| base |" in before and "| together |" not in before and "| tuned |" not in before
    assert "| base |" not in after and "| together |" in after and "| tuned |" in after
    other = found.model_copy(
        update={"summary": [*found.summary, *(one.model_copy(update={"backbone": "c"}) for one in found.summary)]}
    )
    assert [(table.methods, table.transductive) for table in other.across("d")] == [
        (["base"], False), (["together", "tuned"], True)
    ]  # fmt: skip
    assert "backbones side by side, 1-shot, transductive, %" in as_markdown(other)


def test_a_table_of_one_seed_without_a_baseline_says_less(tmp_path: Path) -> None:
    text = as_markdown(study(tmp_path, [row(tmp_path, "m", 3, {1: [1.0, 3.0]})], shots=(1,), seeds=(3,), episodes=2))
    assert "seeds 3.\n" in text and "Differences" not in text and "Cost" not in text and "Chosen" not in text
    assert "| m | 2.0 ± 12.7 |  |" in text


def test_a_single_seed_is_not_counted_beside_a_difference(tmp_path: Path) -> None:
    rows = [row(tmp_path, "base", 0, {1: [1.0, 3.0]}), row(tmp_path, "m", 0, {1: [2.0, 6.0]})]
    text = as_markdown(study(tmp_path, rows, shots=(1,), seeds=(0,), episodes=2, baseline="base"))
    assert "| +2.0 ± 12.7 |" in text and "of 1 seeds" not in text


def test_what_was_searched_and_chosen_is_told(tmp_path: Path) -> None:
    rows = [row(tmp_path, "m", 0, {1: [1.0, 3.0]}, chosen={"lr": 0.1})]
    common: dict[str, Any] = {"shots": (1,), "seeds": (0,), "episodes": 2}
    text = as_markdown(study(tmp_path, rows, search={"lr": [0.1, 0.01], "steps": [5]}, **common))
    assert "Chosen on val with the first seed, out of lr 0.1, 0.01 and steps 5: m: lr 0.1." in text
    assert "out of a row's own values: m: lr 0.1." in as_markdown(study(tmp_path, rows, **common))


def test_lacking_clips_are_named_up_to_three(tmp_path: Path) -> None:
    rows = [failed("m", 0), failed("m", 1)]
    assert lacking(rows, "d") == ""
    rows[0].missing, rows[1].missing = ["a", "b"], ["b", "c"]
    assert lacking(rows, "d") == "This copy of d lacks clips of the published split: a; b; c."
    rows[1].missing += ["x", "y"]
    assert lacking(rows, "d").endswith("split: a; b; c and 2 more, see study.json.") and lacking(rows, "e") == ""
    rows[0].notes, rows[1].notes = ["one", "two"], ["two", "three"]
    assert noted(rows, "d") == ["one", "two", "three"] and noted(rows, "e") == []


def test_the_csv_holds_what_the_summary_says(report: StudyResult) -> None:
    read = list(csv.DictReader(io.StringIO(as_csv(report))))
    assert [(one["name"], one["shot"]) for one in read] == [
        ("base", "1"), ("base", "5"), ("a|b", "1"), ("a|b", "5"), ("gone", ""),
    ]  # fmt: skip
    assert [float(one["accuracy"]) for one in read[:4]] == [50, 71, 68.5, 60]
    assert read[-1]["error"] == "no <room>" and as_csv(report).count("\r") == 0


def saved(folder: Path, report: StudyResult) -> dict[str, Any]:
    values = json.loads(json.dumps(report.plain()))
    (folder / "study.json").write_text(json.dumps(values))
    return values


def test_a_study_is_read_back_with_its_parts(report: StudyResult, tmp_path: Path) -> None:
    report.rows[4].folder = report.rows[5].folder = "gone"
    saved(tmp_path, report)
    found = load_study(tmp_path)
    assert found.plain() == report.plain() and asdict(found.settings) == asdict(report.settings)
    assert found.parts() == [("d", "b")] and len(found.lines("d", "b")) == 5 and found.lines("d", "c") == []


def forget_a_shot(values: dict[str, Any]) -> None:
    del values["rows"][0]["results"]["5"]


def forget_a_line(values: dict[str, Any]) -> None:
    del values["summary"][0]


def forget_a_failure(values: dict[str, Any]) -> None:
    del values["summary"][-1]


def invent_a_method(values: dict[str, Any]) -> None:
    values["summary"].append(values["summary"][0] | {"name": "invented"})


def score_a_failure(values: dict[str, Any]) -> None:
    values["summary"][-1] |= {"shot": 1, "accuracy": 99.0}


@pytest.mark.parametrize("spoil", [forget_a_shot, forget_a_line, forget_a_failure, invent_a_method, score_a_failure])
def test_a_summary_that_is_not_of_its_rows_is_damaged(spoil: Any, report: StudyResult, tmp_path: Path) -> None:
    report.rows[4].folder = report.rows[5].folder = "gone"
    values = saved(tmp_path, report)
    spoil(values)
    (tmp_path / "study.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"study\.json is damaged: its summary is not of its rows"):
        load_study(tmp_path)


def test_a_result_file_that_was_changed_after_its_row_was_sealed_is_damaged(tmp_path: Path) -> None:
    made = row(tmp_path, "m", 0, {1: [1.0, 3.0]})
    path = tmp_path / "m-0" / "1-shot.json"
    made.files = {"1-shot.json": seals.sha256(path)}
    assert made.result(tmp_path, 1).accuracy == 2 == made.result(tmp_path, "1").accuracy
    path.write_text(path.read_text().replace("2.0", "99.0"))
    with pytest.raises(DataError, match="its sha256 is not the one that its row sealed"):
        made.result(tmp_path, 1)
    made.folder = "../elsewhere"
    with pytest.raises(DataError):
        made.result(tmp_path, 1)


def test_a_line_is_short_where_little_is_known() -> None:
    assert Line(data="d", backbone="b", name="n", error="e").model_dump(exclude_unset=True) == {
        "data": "d", "backbone": "b", "name": "n", "error": "e",
    }  # fmt: skip
