"""Comparisons that a study declares, in the terminal, in files and on the page: they alone are marked."""

from __future__ import annotations

import csv
import html
import io
from pathlib import Path

import pytest

import studies
from kshot.cli.study_tables import tell_study
from kshot.report import page, tables
from kshot.report.comparison import Comparison, compared
from kshot.report.findings import answers
from kshot.study.file import Compare, Row, Study
from kshot.study.results import StudyResult
from kshot.study.summary import load_study
from kshot.study.tables import as_csv

FIVE = (0, 1, 2, 3, 4)
ROWS = (
    Row("frozen", seeds=FIVE),
    Row("novel alone", strategy="direct", episodes=30, seeds=FIVE),
    Row("tuned", strategy="meta", seeds=FIVE),
    Row("stuck", strategy="meta"),
    Row("by luck", strategy="meta"),
)
SKILL = {"frozen": 0.5, "novel alone": 0.52, "tuned": 0.7, "stuck": 0.5, "by luck": 0.6}
ASKED = (Compare("Base <data>?", "tuned", "novel alone"), Compare("Stuck?", "stuck", "frozen", (1,)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds, five for compared rows; one row keeps its start with all seeds and one with two of three."""
    folder = tmp_path_factory.mktemp("declared")
    plan = Study("s", ROWS, ("d",), ("b",), (1, 5), (0, 1, 2), episodes=200, baseline="frozen", compare=ASKED)
    kept = {"stuck": lambda seed: 0, "by luck": lambda seed: 0 if seed else 20}
    studies.write(
        folder, plan, lambda row, data, shot: SKILL[row.name],
        steps=lambda row, seed: kept.get(row.name, lambda seed: None if row.name == "frozen" else 10)(seed),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def study(folder: Path) -> StudyResult:
    return load_study(folder)


@pytest.fixture(scope="module")
def comparison(study: StudyResult, folder: Path) -> Comparison:
    return compared(study, folder)[0]


def test_each_is_a_row_of_a_table_of_its_own(comparison: Comparison) -> None:
    table = tables.declared(comparison)
    assert table is not None and [row.name for row in table.rows] == ["Base <data>?", "Base <data>?", "Stuck?"]
    first, _, stuck = (row.cells for row in table.rows)
    assert [cell.text for cell in first[:2]] == ["tuned − novel alone", "1"]
    assert first[2].look == "up" and first[2].text.startswith("▲ +1") and first[3].text == "5 of 5"
    assert stuck[2].text == "no seed left the start" and stuck[2].look == "" and stuck[3].text == "–"
    assert tables.declared(Comparison("d", "b", Study("s", ROWS), [], [], Path())) is None


def test_no_other_difference_is_marked_and_no_row_is_bold(comparison: Comparison) -> None:
    rows = {row.name: row.cells for row in tables.main(comparison).rows}
    assert {cell.look for cells in rows.values() for cell in cells} == {"", "unclear"}
    assert rows["stuck"][1].text == "kept its start" and rows["stuck"][1].half == ""
    assert "kept its start in 2 of 3 seeds" in rows["by luck"][1].notes
    assert not any("seeds" in note for cells in rows.values() for note in cells[0].notes), "none lost a seed"
    assert comparison.ranked(1)[0].name == "tuned", "three seeds are all that were asked of the others"


def test_the_first_lines_of_the_page_answer_what_was_asked(comparison: Comparison) -> None:
    said = [
        html.unescape(page.template("answer.html", one=one)).replace("\N{NO-BREAK SPACE}", " ")
        for _, one in answers([comparison])
    ]
    assert said[0].startswith("<b>Base <data>?</b> With 1 shot, <em>tuned</em> is 1")
    assert said[0].endswith(" points above <em>novel alone</em>, in 5 of 5 seeds.")
    assert said[2].endswith(
        "<em>stuck</em> and <em>frozen</em> give the same answers: no seed left the untrained start."
    )


def test_the_terminal_says_what_intervals_are_over(study: StudyResult, capsys: pytest.CaptureFixture[str]) -> None:
    tell_study(study)
    said = capsys.readouterr().out
    assert "* +1" in said and said.count("* +") == 2, "the declared comparison at both shots"
    for part in (
        "over seeds, by Student's t, where a row trains (these classes, new episodes, new seeds)",
        "over all episodes where nothing trains (these classes, new episodes)",
        "None speaks of other classes",
        "Only the declared comparisons are marked",
        "Holm's correction (1979) for 3 comparisons",
        "kept its start",
    ):
        assert part in " ".join(said.split()), part


def test_the_csv_has_what_each_interval_is_over(study: StudyResult) -> None:
    read = {(one["name"], one["shot"]): one for one in csv.DictReader(io.StringIO(as_csv(study)))}
    assert (read["tuned", "1"]["over"], read["tuned", "1"]["kept"]) == ("seeds", "0")
    assert read["frozen", "5"]["estimand"] == "these classes, new episodes" and read["frozen", "5"]["kept"] == ""
    assert read["by luck", "1"]["difference_over"] == "seeds" and read["by luck", "1"]["paired"] == "3"
