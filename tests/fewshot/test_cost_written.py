"""How costs are written: units change where the rounded figure would have a digit too many, not before."""

from __future__ import annotations

import pytest

from kshot.fewshot import cost
from kshot.fewshot.result import Costs


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.4, "0 s"), (8.3, "8 s"), (99.4, "99 s"),
        (99.5, "2 min"), (600, "10 min"), (99.4 * 60, "99 min"),
        (99.5 * 60, "1.7 h"), (9.94 * 3600, "9.9 h"), (9.96 * 3600, "10 h"), (47.4 * 3600, "47 h"),
        (47.5 * 3600, "2.0 days"), (9.94 * 86400, "9.9 days"), (16.2 * 86400, "16 days"), (1e9, "11574 days"),
    ],
)  # fmt: skip
def test_times_are_written_in_the_unit_that_reads_best(seconds: float, text: str) -> None:
    assert cost.as_time(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (0, "0 B"), (999, "999 B"), (999.4, "999 B"), (999.5, "1.00 kB"), (1_000, "1.00 kB"),
        (9_994, "9.99 kB"), (9_995, "10.0 kB"), (99_949, "99.9 kB"), (99_951, "100 kB"), (999_499, "999 kB"),
        (999_500, "1.00 MB"), (1.27e9, "1.27 GB"), (4.5e12, "4.50 TB"), (1.2345e16, "12,345 TB"),
    ],
)  # fmt: skip
def test_bytes_have_three_digits(value: float | None, text: str) -> None:
    assert cost.as_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(5, "5.00"), (12, "12.0"), (345, "345"), (999, "999"), (1_270_000_000, "1.27 G")]
)
def test_multiply_adds_have_three_digits_and_a_unit_only_from_a_thousand(value: float, text: str) -> None:
    assert cost.written(Costs(multiply_adds_per_clip=value), "multiply_adds_per_clip") == text


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1"), (9_999_999, "9,999,999"), (1e7, "10.0 M"), (1.234e9, "1,234.0 M")]
)
def test_weights_are_written_whole_below_ten_million(value: float, text: str) -> None:
    assert cost.written(Costs(stored_parameters=value), "stored_parameters") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (0.00123, "0.0012"), (0.0949, "0.095"), (0.095, "0.10"), (1.0, "1.00"), (9.94, "9.94"),
     (9.95, "9.9"), (10.06, "10.1")],
)  # fmt: skip
def test_seconds_keep_two_digits(value: float, text: str) -> None:
    assert cost.written(Costs(evaluation_seconds=value), "evaluation_seconds") == text


def test_what_trains_nothing_has_no_cost_of_training_but_may_take_no_time_otherwise() -> None:
    nothing = Costs(**dict.fromkeys(cost.COLUMNS, 0.0))
    shown = {key: cost.written(nothing, key) for key in cost.COLUMNS}
    assert {key for key, text in shown.items() if text == "–"} == set(cost.TRAINING)
    assert shown["stored_bytes"] == "0 B" and shown["evaluation_seconds"] == "0.00"
    assert all(cost.written(Costs(), key) == "–" for key in cost.COLUMNS)


def test_a_column_is_there_where_a_line_knows_it_in_the_order_of_the_columns() -> None:
    assert cost.present([]) == [] and cost.present([Costs(), Costs(stored_bytes=0)]) == []
    lines = [Costs(training_seconds=3.0), Costs(trained_parameters=0, peak_memory=5)]
    assert cost.present(lines) == ["peak_memory", "training_seconds"]
