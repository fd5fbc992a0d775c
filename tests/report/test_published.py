"""Published results: what the file holds, which rows stand beside a study's own, and how they are marked."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

import pytest

import studies
from kshot.report import page, published, tables
from kshot.report.comparison import Comparison, compared
from kshot.report.filmstrips import Reel
from kshot.study.file import Row, Study
from kshot.study.results import StudyResult


def test_every_row_has_a_known_data_set_a_source_and_figures_that_rise_with_the_shots() -> None:
    rows = published.rows()
    assert len({(row.method, row.backbone, row.data, row.source.name) for row in rows}) == len(rows)
    for row in rows:
        values = [row.accuracy[shot] for shot in sorted(row.accuracy)]
        assert row.data in published.SETS and values == sorted(values) and 20 < values[0] <= values[-1] < 100, row
        assert row.source.link.startswith("https://github.com/") and row.source.read and row.source.protocol
    assert {row.data for row in rows} == set(published.SETS)


def test_what_could_not_be_read_has_no_figure() -> None:
    file = tomllib.loads(resources.files("kshot.report").joinpath("published.toml").read_text("utf-8"))
    absent = {name for entry in file["absent"] for name in entry["names"]}
    sources = {row.source.name for row in published.rows()}
    assert absent and not absent & sources


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("hmdb51", "hmdb51"), ("clips/HMDB51.csv", "hmdb51"), ("/data/ssv2_full.csv?split=test", "ssv2-full"),
        ("kinetics100-clipfsar", "kinetics100"), ("motion", ""), ("motion:12", ""), ("my-hmdb51.csv", ""), ("hmdb", ""),
    ],
)  # fmt: skip
def test_a_data_set_is_known_by_its_name(data: str, name: str) -> None:
    assert published.known_as(data) == name


def test_rows_match_on_data_way_shots_and_number_of_novel_classes() -> None:
    found = published.matching("hmdb51", 5, [1, 5], 10)
    assert {row.data for row in found} == {"hmdb51"}
    assert [row.accuracy.get(5, 0) for row in found] == sorted((row.accuracy.get(5, 0) for row in found), reverse=True)
    assert {row.method for row in published.matching("ssv2-full", 5, [2], 24)} == {"HCL"}
    nothing = [("hmdb51", 5, [1], 9), ("hmdb51", 10, [1], 10), ("hmdb51", 5, [7], 10), ("motion", 5, [1], 10)]
    assert not any(published.matching(*arguments) for arguments in nothing)


def comparison(folder: Path, data: str, classes: int, split: str = "test") -> Comparison:
    names = [f"class {number}" for number in range(classes)]
    plan = Study("s", (Row("frozen"), Row("meta")), (data,), ("kshot-tiny",), (1, 5), episodes=9, split=split)
    found = studies.write(folder, plan, lambda row, *_: 0.9 if row.name == "meta" else 0.1, classes=names)
    return compared(StudyResult.parse(found, "study.json"), folder)[0]


def test_the_report_sets_them_below_the_best_row_and_marks_them(tmp_path: Path) -> None:
    found = comparison(tmp_path, "clips/hmdb51.csv", 10)
    part = page.Part(found, [], Reel([], [], False, []))
    html = page.template("comparison.html", part=part, settings=found.settings).split("<h3>Published on")[1]
    own, *others = html.split("<tbody>")[1].split("</tbody>")[0].split("</tr>")[:-1]
    assert "meta<span" in own and "this study" in own and "kshot-tiny" in own
    assert others and all(
        '<span class="tag">published</span>' in row and "https://github.com/" in row for row in others
    )
    assert "78.2" in html and "88.6" in html and "not the same test" in html and "1,292" in html


@pytest.mark.parametrize(
    ("data", "classes", "split"), [("motion", 10, "test"), ("hmdb51", 6, "test"), ("hmdb51", 10, "val")]
)
def test_the_report_shows_none_where_the_test_is_another(tmp_path: Path, data: str, classes: int, split: str) -> None:
    assert tables.matching(comparison(tmp_path, data, classes, split)) is None
