"""What stands in which cell of the page's tables, and whom its first lines name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import studies
from kshot.report import tables
from kshot.report.comparison import Comparison, compared
from kshot.report.findings import finding, findings
from kshot.report.tables import NONE, Cell
from kshot.report.words import SPACE
from kshot.study import words
from kshot.study.estimates import SEEDS
from kshot.study.file import Compare, Row, Study
from kshot.study.results import Line, StudyResult

ROWS = (Row("base"), Row("better", strategy="meta"), Row("inside", strategy="direct", episodes=30), Row("lost"))
SKILL = {"base": 0.4, "better": 0.8, "inside": 0.6}


def comparison(folder: Path, lost_seed: bool = False, rows: tuple[Row, ...] = ROWS, **values: Any) -> Comparison:
    """Of four methods, at two shots with two seeds; "lost" fails, and "better" with the second seed if asked for."""
    settings = {"shots": (1, 5), "seeds": (0, 1), "episodes": 60, "baseline": "base"} | values
    plan = Study("s", rows, ("d",), ("b",), **settings)

    def failed(row: Row, seed: int) -> str:
        return "no room" if row.name == "lost" or (lost_seed and (row.name, seed) == ("better", 1)) else ""

    found = studies.write(
        folder, plan, lambda row, data, shot: SKILL[row.name] + shot / 50, failed=failed,
        cost=lambda row: (0, 0.0) if row.name == "base" else (1234, 61.44),
    )  # fmt: skip
    return compared(StudyResult.parse(found, "study.json"), folder)[0]


def test_the_main_table_has_two_columns_a_shot_and_the_costs_of_training(tmp_path: Path) -> None:
    made = comparison(tmp_path)
    table = tables.main(made)
    assert table.groups == [("1 shot", 2), ("5 shots", 2), ("cost of training", 2)]
    assert len(table.head) == 7 and table.head[0] == "method" and table.label == "d with b"
    assert [row.name for row in table.rows] == ["base", "better", "inside", "lost"]
    assert [row.tag for row in table.rows] == ["baseline", "", "", ""]
    base, better, inside, lost = (row.cells for row in table.rows)
    assert lost == [Cell("failed: no room", shade="failed", span=6)]
    assert base[1] == base[3] == Cell() and base[4:] == [NONE, NONE]
    assert better[4:] == [Cell("1,234"), Cell("61.4")]
    assert inside[4:] == [Cell("1,234"), Cell("61.4", notes=("per episode too",))]
    assert [cells[0].look for cells in (base, better, inside)] == ["", "best", ""]
    assert inside[0].notes == ("30 episodes",) and better[0].notes == ()
    line = made.lines_of("better")[5]
    assert better[2].text == f"{line.accuracy:.1f}" and better[2].half == f"{SPACE}±{line.ci95:.1f}"


def test_without_a_baseline_there_are_no_differences(tmp_path: Path) -> None:
    table = tables.main(comparison(tmp_path, baseline=""))
    assert table.groups == [("1 shot", 1), ("5 shots", 1), ("cost of training", 2)]
    assert [len(row.cells) for row in table.rows] == [4, 4, 4, 1] and not any(row.tag for row in table.rows)


def test_a_method_that_lost_a_seed_says_so_and_is_not_the_best(tmp_path: Path) -> None:
    made = comparison(tmp_path, lost_seed=True)
    better = next(row for row in tables.main(made).rows if row.name == "better").cells
    assert better[0].notes == ("1 of 2 seeds",) and better[0].look == ""
    assert [line.name for line in made.ranked(1)] == ["inside", "base", "better"]
    assert made.best() == "inside"


def difference(
    value: float | None,
    half: float = 0.5,
    seeds: int = 1,
    name: str = "m",
    compare: tuple[Compare, ...] = (),
    **known: Any,
) -> Cell:
    line = Line(data="d", backbone="b", name=name, shot=1, seeds=seeds, agree=1, difference_estimand=SEEDS, **known)
    line.difference, line.difference_ci95 = value, half
    made = SimpleNamespace(baseline="base", settings=Study("s", ROWS, compare=compare))
    return tables._difference(made, line)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "half", "text", "look"),
    [
        (2.0, 0.5, "▲ +2.0", "up"), (-2.0, 0.5, "▼ −2.0", "down"), (0.4, 0.5, "+0.4", "unclear"),
        (-0.4, 0.5, "−0.4", "unclear"), (0.5, 0.5, "+0.5", "unclear"), (0.004, 0.001, "0.00", "unclear"),
        (0.006, 0.001, "▲ +0.01", "up"), (-0.005, 0.001, "▼ −0.01", "down"),
    ],
)  # fmt: skip
def test_a_difference_is_marked_where_it_is_clear(value: float, half: float, text: str, look: str) -> None:
    found = difference(value, half)
    assert (found.text, found.look) == (text, look)
    assert found.notes == () and found.half.startswith(f"{SPACE}±")


def test_differences_that_are_none() -> None:
    assert difference(None) == NONE and difference(None, name="base") == Cell()
    assert difference(0.0, 0.0) == Cell("same answers", shade="none")
    assert difference(0.0, 0.5).text == "0.0" and difference(2.0, seeds=2).notes == ("1 of 2 seeds",)


def test_a_row_that_kept_its_start_is_shown_as_that() -> None:
    assert difference(0.0, 0.0, seeds=3, kept=3) == Cell("kept its start", shade="none")
    found = difference(0.45, 1.94, seeds=3, kept=2)
    assert found.text == "+0.5" and found.notes == ("1 of 3 seeds", "kept its start in 2 of 3 seeds")
    assert difference(-0.01, 0.004, seeds=3, kept=3).text == "kept its start", "rounded otherwise at another cut"
    assert difference(1.0, 0.2, seeds=3, kept=3).notes == ("1 of 3 seeds", "kept its start"), (
        "the baseline's head is another"
    )


def test_where_comparisons_are_declared_no_other_difference_is_marked() -> None:
    found = difference(2.0, 0.5, compare=(Compare("q", "better", "base"),))
    assert (found.text, found.look) == ("+2.0", "unclear") and difference(2.0, 0.5).look == "up"


def test_intervals_of_an_older_version_mark_nothing_over_several_seeds() -> None:
    """They are over the episodes of all seeds, and leave out what differs between trainings."""
    line = Line(data="d", backbone="b", name="m", shot=1, seeds=3, agree=3, difference=2.0, difference_ci95=0.1)
    assert not words.clear(line) and words.clear(line.model_copy(update={"seeds": 1}))
    assert not words.clear(line.model_copy(update={"difference_estimand": SEEDS, "difference": 0.1}))


def test_every_run_has_a_row(tmp_path: Path) -> None:
    table = tables.runs(comparison(tmp_path))
    assert list(table.head) == ["method", "seed", "1 shot", "5 shots", "val", "seconds"]
    assert [(row.name, row.cells[0].text) for row in table.rows[:4]] == [
        ("base", "0"), ("better", "0"), ("inside", "0"), ("lost", "0"),
    ]  # fmt: skip
    better, lost = table.rows[1].cells, table.rows[3].cells
    assert [cell.text for cell in better[3:]] == ["50.0", "61.4"]
    assert table.rows[0].cells[3].text == "–", "no weights, no validation"
    assert better[1].half.startswith(f"{SPACE}±") and len(better[1].half.split(".")[1]) == 2
    assert lost[1] == Cell("failed: no room", shade="failed", span=4)


def test_methods_are_told_with_what_they_tune(tmp_path: Path) -> None:
    rows = (
        Row("base", head="otam", head_options={"smooth": 0.1}),
        Row("better", strategy="meta", layers="proj", train={"lr": 0.1}),
    )
    made = comparison(tmp_path, rows=rows)
    told = {row.name: [cell.text for cell in row.cells] for row in tables.methods(made.settings, [made]).rows}
    assert told["base"] == ["frozen", "nothing", "otam", "smooth = 0.1"]
    assert told["better"] == ["meta", "partial proj", "prototype", "lr = 0.1"]


def test_a_method_that_never_ran_is_told_as_it_was_asked_for(tmp_path: Path) -> None:
    made = comparison(tmp_path)
    lost = tables.methods(made.settings, [made]).rows[-1]
    assert [cell.text for cell in lost.cells] == ["frozen", "partial", "–", "–"]


def test_the_best_is_named_with_its_lead_over_the_next_that_is_no_baseline(tmp_path: Path) -> None:
    made = comparison(tmp_path, seeds=(0, 1, 2))
    found = finding(made, 5)
    assert (found.best.name, found.rival, found.baseline, found.shot) == ("better", "inside", "base", 5)
    assert (found.lead, found.half) == made.paired("better", "inside", 5)
    assert found.lead > 10 > found.half > 0


def test_no_rival_no_lead(tmp_path: Path) -> None:
    alone = comparison(tmp_path, rows=ROWS[:2])
    assert finding(alone, 1).rival == "" and finding(alone, 1).best.name == "better"
    for run in alone.finished("base"):
        (alone.folder / run.folder / "1-shot.json").unlink()
    unnamed = Comparison("d", "b", Study("s", ROWS[:2]), alone.lines, alone.runs, alone.folder)
    found = finding(unnamed, 1)
    assert (found.best.name, found.rival, found.baseline) == ("better", "", ""), "no files, no pair"


def test_many_findings_are_of_the_highest_shot_only(tmp_path: Path) -> None:
    made = comparison(tmp_path)
    assert [(one.where, one.shot) for one in findings([made])] == [("", 1), ("", 5)]
    two = findings([made, made])
    assert [(one.where, one.shot) for one in two] == [("d with b", 1), ("", 5), ("d with b", 1), ("", 5)]
    three = findings([made, made, made])
    assert [(one.where, one.shot) for one in three] == [("d with b", 5)] * 3
