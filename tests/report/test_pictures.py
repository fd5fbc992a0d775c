from __future__ import annotations

from pathlib import Path

import pytest

import studies
from kshot.report import pictures
from kshot.report.comparison import Comparison, compared
from kshot.study.file import Row, Study
from kshot.study.results import StudyResult


def comparison(folder: Path, *rows: Row, shots: tuple[int, ...] = (1, 5), cost: float = 100) -> Comparison:
    plan = Study("s", rows, ("d",), ("b",), shots, episodes=20, baseline=rows[0].name)
    weights = {"proj": 10, "block": 300, 1: 400, 2: 800}

    def costs(row: Row) -> tuple[int, float]:
        if row.strategy == "frozen":
            return 0, 0.0
        return int(weights.get(row.layers or "", 5000) * cost / 100), cost

    skill = {row.name: 0.4 + 0.05 * place for place, row in enumerate(rows)}
    found = studies.write(folder, plan, lambda row, data, shot: skill[row.name], costs)
    return compared(StudyResult.parse(found, "study.json"), folder)[0]


META = [Row(f"Meta, {layers}, trx", strategy="meta", layers=layers, head="trx") for layers in (2, "proj", 1)]
FULL = Row("Meta, whole, trx", strategy="meta", tuning="full", head="trx")


def test_choices_of_layers_are_ordered_by_weights_and_end_with_full(tmp_path: Path) -> None:
    points, variants = pictures._ablation(comparison(tmp_path, Row("frozen"), *META, FULL, shots=(1,)))
    assert variants == ["proj", "1", "2", "full"]
    assert {p.name for p in points} == {"Meta, trx"}  # what the rows' names have in common
    assert [variants[int(p.cost)] for p in points] == ["2", "proj", "1", "full"]


@pytest.mark.parametrize(
    "rows",
    [
        [META[0]],  # one choice is no series
        [META[1], Row("block", strategy="meta", layers="block", head="trx")],  # no number of blocks
        [META[0], Row("other head", strategy="meta", layers=1, head="otam")],  # differs in more than layers
    ],
)
def test_no_figure_of_layers_without_a_series(tmp_path: Path, rows: list[Row]) -> None:
    assert pictures._ablation(comparison(tmp_path, Row("frozen"), *rows))[0] == []


def test_figures_follow_from_what_there_is(tmp_path: Path) -> None:
    drawn = pictures.draw(comparison(tmp_path, Row("frozen"), *META, Row("direct", strategy="direct")), "1-")
    assert [p.name for p in drawn] == [
        "1-accuracy", "1-shots", "1-weights-1-shot", "1-seconds-1-shot", "1-weights-5-shot", "1-seconds-5-shot",
        "1-layers", "1-classes", "1-confusion",
    ]  # fmt: skip
    seconds = next(p for p in drawn if p.name == "1-seconds-1-shot")
    assert "Without direct, trained within each episode." in seconds.caption
    assert b"direct" not in seconds.svg and b"Meta, 2, trx" in seconds.svg
    assert drawn[0].alt.startswith("Accuracy in percent. 1 shot: direct ")


def test_without_cost_or_further_shots_these_figures_are_left_out(tmp_path: Path) -> None:
    drawn = pictures.draw(comparison(tmp_path, Row("frozen"), Row("text", strategy="zero-shot"), shots=(1,), cost=0))
    assert [p.name for p in drawn] == ["accuracy", "classes", "confusion"]


def test_work_is_drawn_once_and_not_for_what_trains_in_episodes(tmp_path: Path) -> None:
    rows = (Row("frozen"), META[0], Row("direct", strategy="direct"))
    plan = Study("s", rows, ("d",), ("b",), (1, 5), episodes=20, baseline="frozen")

    def costs(row: Row, shot: int) -> dict[str, int]:
        return {"multiply_adds_per_step": 0 if row.strategy == "frozen" else 10**9 * shot}

    made = studies.write(tmp_path, plan, lambda *_: 0.5, lambda row: (5, 0.0), costs=costs)
    drawn = [
        p
        for p in pictures.draw(compared(StudyResult.parse(made, "study.json"), tmp_path)[0])
        if p.name.startswith("work")
    ]
    assert [p.name for p in drawn] == ["work-5-shot"]
    assert b"direct" not in drawn[0].svg and b"multiply-adds of a training step" in drawn[0].svg
