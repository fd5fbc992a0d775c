"""Words and numbers of the page, and the settings it prints."""

from __future__ import annotations

import html
import json
import math
import re
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import studies
from kshot.report import page, tables, words
from kshot.report.comparison import compared
from kshot.report.filmstrips import Reel, Single, Strip
from kshot.report.findings import finding
from kshot.study import file as study_file
from kshot.study.file import Row, Study
from kshot.study.results import StudyResult
from kshot.study.summary import load_study, summarise
from kshot.study.tables import as_markdown

if TYPE_CHECKING:
    from forks import Command

NO_CLIPS = Reel([], [], False, [])


def settings(plan: Study) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(asdict(plan)))
    return values


def test_printed_settings_are_a_study_file_that_reads_back_the_same(tmp_path: Path) -> None:
    nasty = Row(
        'a "name" \\ with [odd] = signs, ünd 漢字', strategy="meta", tuning="partial", layers="block", head="trx",
        strategy_options={"loss": "both"}, tuning_options={"tower": "both"},
        head_options={"sizes": [1, 2], "width": 8}, train={"lr": 1e-5}, search={"lr": [1e-5, 1e-3]}, episodes=7,
        train_shot=0,
    )  # fmt: skip
    for plan in (
        study_file.read_study("quick"),
        replace(study_file.read_study("quick"), rows=(nasty,), baseline=nasty.name, center=True),
    ):
        path = tmp_path / "study.toml"
        path.write_text(words.as_toml(settings(plan)), "utf-8")
        assert study_file.read_study(path) == plan
    odd = {"train": {"a b": [1, 2.5], "c": True}}  # keys that no option has need quotes all the same
    assert tomllib.loads(words.as_toml(settings(plan) | odd))["train"] == odd["train"]


def test_a_row_whose_options_were_lists_reads_back_as_it_ran(tmp_path: Path) -> None:
    source = tmp_path / "grid.toml"
    source.write_text('title = "grid"\n[[row]]\nname = "meta"\nstrategy = "meta"\nlayers = ["proj", 1, 2]\n')
    plan = study_file.read_study(source)
    (tmp_path / "again.toml").write_text(words.as_toml(settings(plan)))
    assert [row.layers for row in study_file.read_study(tmp_path / "again.toml").rows] == ["proj", 1, 2]
    assert study_file.read_study(tmp_path / "again.toml") == plan


@pytest.mark.parametrize(
    ("value", "half", "text"),
    [(1.84, 0.9, "+1.8"), (-0.46, 0.8, "−0.5"), (-0.004, 0.01, "0.00"), (-0.04, 0.4, "0.0"), (0.126, 0.02, "+0.13")],
)
def test_a_difference_has_a_sign_unless_it_rounds_to_nothing(value: float, half: float, text: str) -> None:
    assert words.signed(value, half) == text


def test_a_single_episode_has_no_interval() -> None:
    assert words.within(math.nan) == "" and words.number(2.0, math.nan) == "2.0"


def said(tmp_path: Path, episodes: dict[str, list[float]]) -> str:
    """What the page says about methods with these accuracies in each episode; "base" is the baseline."""
    plan = Study("s", tuple(map(Row, episodes)), ("d",), ("b",), (1,), episodes=9, baseline="base")
    found = studies.write(tmp_path, plan, lambda *_: 0.5)
    for row in found["rows"]:
        path = tmp_path / row["folder"] / "1-shot.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"episode_accuracy": episodes[row["name"]]}))
    read = StudyResult.parse(found, "study.json")
    read.summary = summarise(tmp_path, read.rows, "base")
    one = finding(compared(read, tmp_path)[0], 1)
    return html.unescape(page.template("finding.html", one=one).strip()).replace("\N{NO-BREAK SPACE}", " ")


def test_a_clear_winner_leads_the_next(tmp_path: Path) -> None:
    text = said(tmp_path, {"base": [40, 50] * 50, "good": [50, 60] * 50, "better": [60, 72] * 50})
    assert text == (
        "With <b>1 shot</b>, <b>better</b> is the most accurate: 66.0 ±1.2 %, 21.0 ±0.2 points above base. "
        "The next, good, is 11.0 ±0.2 behind."
    )


def test_the_baseline_may_win(tmp_path: Path) -> None:
    text = said(tmp_path, {"base": [80, 82] * 50, "worse": [60, 60] * 50})
    assert text.endswith("81.0 ±0.2 %, and it is the baseline. The next, worse, is 21.0 ±0.2 behind.")


def test_methods_that_answer_alike_are_not_ranked(tmp_path: Path) -> None:
    text = said(tmp_path, {"base": [50, 40] * 50, "first": [60, 44] * 50, "second": [60, 44] * 50})
    assert "not to be told from base" not in text and text.endswith(". second gives the same answers.")


def test_a_close_race_is_called_close(tmp_path: Path) -> None:
    text = said(tmp_path, {"base": [50, 60], "a": [50, 61], "b": [60, 50]})
    assert "55.5 ±69.9 %, not to be told from base (+0.5 ±6.4 points). The next, b, is too close to call (0.5 " in text


def test_a_winner_by_easier_episodes_is_told_apart(tmp_path: Path) -> None:
    early = {"base": [70, 70] * 50, "few": [80, 82] * 50, "all": [90, 90] * 50}
    text = said(tmp_path, early | {"base": early["base"] + [20] * 100, "all": early["all"] + [30] * 100})
    assert "<b>few</b> is the most accurate" in text
    assert text.endswith(". But on the episodes that both took, all is 9.0 ±0.2 ahead.")


def costs(row: Row, shot: int) -> dict[str, Any]:
    step = {"multiply_adds_per_step": 10**6 * shot, "seconds_per_step": 0.0123} if row.name != "base" else {}
    return {
        "multiply_adds_per_clip": 266_993_664, "stored_bytes": 221_184, "peak_memory": None, "device": "cpu",
        "precision": "float32", "multiply_adds_per_step": 0, "seconds_per_step": 0.0, "evaluation_seconds": 2.0, **step,
    }  # fmt: skip


def test_costs_have_a_table_of_their_own(tmp_path: Path) -> None:
    plan = Study("s", (Row("base"), Row("<new>", strategy="meta")), ("d",), ("b",), (1, 5), episodes=9, baseline="base")
    studies.write(tmp_path, plan, lambda *_: 0.5, lambda row: (7 * (row.name != "base"), 0.0), costs=costs)
    found = load_study(tmp_path)
    text = page.template(
        "comparison.html", part=page.Part(compared(found, tmp_path)[0], [], NO_CLIPS), settings=found.settings
    )
    text = text[text.index("What it costs") :]
    table = [re.sub(r"<[^>]+>", "|", row).strip("|") for row in re.findall(r"<tr.*?</tr>", text)]
    rows = [[cell for cell in row.split("|") if cell] for row in table]
    assert rows[0] == ["weights", "multiply-adds", "bytes", "seconds"]  # of the peak nothing is known
    assert rows[1] == ["method", "trained", "a clip", "a training step", "stored", "a step", "evaluation"]
    assert rows[2] == ["base", "–", "267 M", "–", "221 kB", "–", "2.00"]
    assert rows[3] == ["&lt;new&gt;", "7", "267 M", "5.00 M", "221 kB", "0.012", "2.00"]
    assert "Device: cpu, float32. With 5 shots where that matters." in text


def test_studies_of_older_versions_have_no_table_of_costs(tmp_path: Path) -> None:
    plan = Study("s", (Row("base"),), ("d",), ("b",), (1,), episodes=9)
    studies.write(tmp_path, plan, lambda *_: 0.5)
    found = json.loads((tmp_path / "study.json").read_text())
    assert tables.costs(compared(StudyResult.parse(found, "study.json"), tmp_path)[0]) is None
    for line in found["summary"]:  # as they were written then
        for key in [k for k in line if k.startswith(("multiply", "stored", "peak", "seconds", "extraction", "device"))]:
            del line[key]
    assert tables.costs(compared(StudyResult.parse(found, "study.json"), tmp_path)[0]) is None
    assert "multiply" not in as_markdown(StudyResult.parse(found, "study.json"))


def test_single_clips_tell_what_they_were_taken_for_and_how_often(tmp_path: Path) -> None:
    plan = Study("s", (Row("best"),), ("d",), ("b",), (1,), episodes=9)
    found = compared(StudyResult.parse(studies.write(tmp_path, plan, lambda *_: 0.5), "study.json"), tmp_path)[0]
    right = Single(Strip("wave", "a<b>.mp4", b"jpeg"), 1702, 1702, "", 0)
    wrong = Single(Strip("bow", "c.mp4", b"jpeg"), 1500, 3, "sit <down>", 1200)
    text = page.template("clips.html", part=page.Part(found, [], Reel([], [], False, [], [right], [wrong])))
    assert text.index("Typical successes") < text.index("a&lt;b&gt;.mp4") < text.index("Typical failures")
    assert "right 1,702 of 1,702 times" in text and "right 3 of 1,500 times" in text
    assert "mostly taken for <b>sit &lt;down&gt;</b>, 1,200 times" in text and text.count("taken for") == 1


def test_names_may_break_between_parts_and_not_within_a_sign() -> None:
    assert page._breakable("block+proj & baseline++") == "block+<wbr>proj &amp; baseline++"


def test_a_study_of_single_episodes_has_no_intervals_and_a_page_all_the_same(tmp_path: Path) -> None:
    plan = Study("s", (Row("base"), Row("other")), ("d",), ("b",), (1,), episodes=1, baseline="base")
    studies.write(tmp_path, plan, lambda *_: 0.5)
    found = load_study(tmp_path)
    assert found.rows[0].results["1"].ci95 is None and math.isnan(found.summary[0].ci95)
    text = page.compose(found, [page.Part(compared(found, tmp_path)[0], [], NO_CLIPS)])
    assert "averaged over 1 episodes" in text and '<span class="pm">' not in text


@pytest.mark.parametrize(
    ("shots", "seeds", "clips"), [((1,), (0,), "1 clip of it"), ((1, 5), (0, 1), "1 or 5 clips of it")]
)
def test_the_setting_counts_shots_and_seeds(
    tmp_path: Path, shots: tuple[int, ...], seeds: tuple[int, ...], clips: str
) -> None:
    plan = Study("t", (Row("a"), Row("b")), ("d",), shots=shots, seeds=seeds, episodes=9, baseline="a")
    study = StudyResult.parse(studies.write(tmp_path, plan, lambda row, data, shot: 0.5), "study.json")
    text = page.compose(study, [page.Part(one, [], NO_CLIPS) for one in compared(study, tmp_path)])
    assert f"seeing only {clips}" in text
    over_seeds = len(seeds) > 1
    assert ("over seeds where either row trains" in text) == over_seeds
    assert ("over seeds where either row trains" in as_markdown(study)) == over_seeds


def test_lost_result_files_are_told_on_the_page_and_on_stderr(tmp_path: Path, command: Command) -> None:
    plan = Study("s", (Row("a"), Row("b", strategy="meta")), ("d",), ("k",), (1, 5), (0, 1), episodes=20, baseline="a")
    found = studies.write(tmp_path, plan, lambda *_: 0.5)
    gone = tmp_path / found["rows"][0]["folder"] / "5-shot.json"
    gone.write_text(gone.read_text()[:100])
    told = f"d with k: 1 of 8 result files are lost or damaged, in {found['rows'][0]['folder']}: "
    code, _, err = command("report", tmp_path)
    assert code == 0 and f"note: {told}" in err
    assert told in html.unescape((tmp_path / "report.html").read_text("utf-8"))
