"""Results: their intervals, comparisons in pairs, and what is written and read back."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kshot import system
from kshot.errors import DataError, OptionError
from kshot.fewshot.intervals import interval
from kshot.fewshot.result import ClipScore, Conditions, Costs, Result, machine, read_result


def result(accuracy: list[float], **values: Any) -> Result:
    every = {"way": 3, "shot": 1, "query": 2, "seed": 0, "data": "d", "split": "test", "clips": 20} | values
    return Result(
        accuracy=float(np.mean(accuracy)), episodes=len(accuracy), episode_accuracy=accuracy, version="1.0", **every
    )


def test_an_interval_is_that_of_a_mean() -> None:
    values = [10.0, 30.0, 35.0, 75.0]
    assert interval(np.array(values)) == pytest.approx(3.182446305 * statistics.stdev(values) / math.sqrt(4))
    assert interval(np.array([0.0, 2.0])) == pytest.approx(12.70620474)  # deviation sqrt(2), over sqrt(2)
    assert interval(np.array([5.0, 5.0, 5.0])) == 0
    assert math.isnan(interval(np.array([5.0]))) and math.isnan(interval(np.zeros(0)))


def test_results_are_compared_in_pairs() -> None:
    one, other = result([50.0, 60.0, 90.0]), result([40.0, 70.0, 60.0])
    difference, half = one.minus(other)
    assert difference == pytest.approx(10)  # 10, -10, 30
    assert half == pytest.approx(4.302652730 * 20 / math.sqrt(3))
    back, same = other.minus(one)
    assert (back, same) == (pytest.approx(-10), pytest.approx(half))


def test_the_shorter_one_says_how_many_episodes_are_compared() -> None:
    few, many = result([50.0, 60.0]), result([40.0, 40.0, 0.0, 0.0])
    assert few.minus(many)[0] == pytest.approx(15) == -many.minus(few)[0]
    assert few.minus(many)[1] == pytest.approx(12.70620474 * 5 * math.sqrt(2) / math.sqrt(2))


@pytest.mark.parametrize(
    ("name", "value"),
    [("data", "e"), ("split", "val"), ("way", 4), ("shot", 5), ("query", 1), ("seed", 1), ("clips", 21)],
)
def test_results_on_other_episodes_are_not_compared(name: str, value: object) -> None:
    one, other = result([50.0, 60.0]), result([50.0, 60.0], **{name: value})
    with pytest.raises(OptionError, match=f"their {name} differs: {getattr(one, name)} and {value}$"):
        one.minus(other)


def test_nor_are_those_whose_queries_share_sources_with_those_whose_do_not() -> None:
    apart = result([50.0, 60.0], options=Conditions(shared_group=False))
    with pytest.raises(OptionError, match="their shared_group differs: True and False"):
        result([50.0, 60.0]).minus(apart)
    assert apart.minus(result([49.0, 59.0], options=Conditions(shared_group=False)))[0] == 1


def test_a_saved_result_is_read_back_whole(tmp_path: Path) -> None:
    made = result(
        [100 / 3, 200 / 3], per_class={"wave": 50.0}, confusion={"wave": {"wave": 50.0, "bow": 50.0}},
        per_clip=[ClipScore(clip="a", label="wave", queries=4, right=2, taken_for={"bow": 2})],
        cost=Costs(stored_bytes=7), unreadable={"b.mp4": "torn"}, notes=["one clip"],
    )  # fmt: skip
    made.save(tmp_path / "deep" / "result.json")
    found = read_result(tmp_path / "deep" / "result.json")
    assert found.plain() == made.plain()
    assert found.episode_accuracy.tolist() == [33.3333, 66.6667], "four decimals of a percent"
    assert found.episode_accuracy.dtype == np.float64
    assert found.machine == machine(), "what numbers may depend on is told by files"


def test_a_machine_that_is_known_is_not_asked_again(tmp_path: Path) -> None:
    made = result([1.0, 2.0], machine={"python": "3.0"})
    made.save(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["machine"] == {"python": "3.0"}


def test_a_summary_leaves_out_what_is_long() -> None:
    made = result([1.0, 2.0], machine={"python": "3.0"}, unreadable={"b.mp4": "torn"})
    short = made.summary()
    assert not {"cost", "per_clip", "episode_accuracy", "machine", "format"} & set(short)
    assert short["accuracy"] == 1.5 and short["unreadable"] == {"b.mp4": "torn"}


def test_older_files_call_queries_otherwise() -> None:
    values = {"clip": "a", "label": "wave", "right": 2, "taken_for": {}}
    assert ClipScore.model_validate(values | {"asked": 4}).queries == 4
    assert ClipScore.model_validate(values | {"queries": 4}).queries == 4


@pytest.mark.parametrize(
    "change", [{"accuracy": "high"}, {"episodes": -1}, {"confusion": {"wave": 3}}, {"version": None}]
)
def test_a_file_that_is_no_result_is_refused_in_one_line(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    result([1.0, 2.0]).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=next(iter(change))) as refused:
        read_result(path)
    assert "\n" not in str(refused.value) and str(path) in str(refused.value)


def test_memory_is_told_where_the_system_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "memory", lambda: 16_800_000_000)
    assert machine()["memory"] == "16.8 GB"
    monkeypatch.setattr(system, "memory", lambda: None)
    assert "memory" not in machine()
