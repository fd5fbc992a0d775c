"""The demo: two shipped studies of one seed that keep sources apart, their tables and pages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forks import Command
from kshot import demo
from kshot.study import runner
from kshot.study.file import Study, read_study
from kshot.study.results import StudyResult

STUDIES = ("quick", "quick-shift")


@pytest.mark.parametrize("name", STUDIES)
def test_the_studies_keep_sources_apart_and_say_that_they_have_one_seed(name: str) -> None:
    study = read_study(name)
    assert not study.shared_group and study.seeds == (0,) and study.backbone == ("kshot-tiny",)
    assert "One seed, so an example, not a verdict" in " ".join(study.about.split())
    assert not study.search, "its rates were chosen beforehand, on val"
    assert all("lr" in row.train for row in study.rows if row.strategy not in ("frozen", "zero-shot"))


def test_the_shift_is_seen_on_some_of_the_same_rows() -> None:
    quick, shift = map(read_study, STUDIES)
    rows = {row.name: row for row in quick.rows}
    assert [row.name for row in shift.rows] == ["frozen", "direct, partial", "Meta-learning, partial"]
    for row in shift.rows:
        usual = rows[row.name]
        assert replace(row, train={}, episodes=None) == replace(usual, train={}, episodes=None)
        assert (row.episodes or 0) <= (usual.episodes or 0), "a look, in less time"
        assert {**row.train, "lr": 0} == {**usual.train, "lr": 0} or row.strategy == "frozen"
    assert shift.data == ("motion:12?camera=upside-down",) and shift.baseline == quick.baseline == "frozen"
    assert (shift.train, shift.query, shift.way) == (quick.train, quick.query, quick.way)


@pytest.mark.slow
def test_both_tables_and_pages(
    command: Command,
    clips_csv: Path,
    clip_folder: Path,
    warm_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The shipped studies in miniature: other clips, another network, few steps and episodes."""
    ran: list[str] = []

    def small(study: str, out: Path, **how: Any) -> StudyResult:
        ran.append(study)
        plan: Study = read_study(study)
        train = {"steps": 2, "val_every": 2, "val_episodes": 2}
        rows = tuple(replace(row, train=train | {"lr": 1e-3}) if row.strategy == "meta" else row for row in plan.rows)
        rows = tuple(row for row in rows if row.strategy in ("frozen", "meta") and row.tuning == "partial")
        plan = replace(plan, rows=rows, shots=(1,), way=2, query=2, episodes=5, train=plan.train | train)
        return runner.run(plan, out, data=[str(clips_csv)], backbone=[str(clip_folder)], store=warm_store, **how)

    monkeypatch.setattr(demo, "run", small)
    code, out, error = command("demo", "--out", tmp_path / "demo")
    assert code == 0 and "note: 4 val classes" in error
    assert ran == list(STUDIES)
    assert out.count("Meta-learning, partial") >= 2 and "Both tables are of one seed" in out
    assert "camera hangs upside down" in out
    for page in (tmp_path / "demo" / "report.html", tmp_path / "demo" / "upside-down" / "report.html"):
        assert str(page) in out and page.stat().st_size > 10_000
    code, out, _ = command("demo", "--out", tmp_path / "demo", "--json")
    found = json.loads(out)
    assert found["report"].endswith("demo/report.html") and found["shift"]["report"].endswith("upside-down/report.html")
    assert {row["name"] for row in found["shift"]["rows"]} == {"frozen", "Meta-learning, partial"}
