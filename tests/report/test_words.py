"""Figures, days and names as the report writes them, at the places where their form changes."""

from __future__ import annotations

import math
import tomllib
from typing import Any

import numpy as np
import pytest

from kshot.report import words
from kshot.report.labels import compact, shared, short, shorter, wrapped


def test_shots_are_counted_in_words() -> None:
    assert [words.in_shots(n) for n in (0, 1, 2, 5)] == ["0 shots", "1 shot", "2 shots", "5 shots"]


@pytest.mark.parametrize(
    ("half", "decimals"), [(0.0, 1), (0.001, 2), (0.0499, 2), (0.05, 1), (0.9, 1), (12.0, 1), (math.nan, 1)]
)
def test_a_narrow_interval_has_one_digit_more(half: float, decimals: int) -> None:
    assert words.digits(half) == decimals


@pytest.mark.parametrize(
    ("half", "decimals", "text"),
    [(None, None, ""), (math.nan, None, ""), (math.nan, 2, ""), (0.34, None, "±0.3"), (0.034, None, "±0.03"),
     (0.0, None, "±0.0"), (0.034, 1, "±0.0"), (1.2345, 0, "±1"), (1.2345, 3, "±1.234")],
)  # fmt: skip
def test_an_interval_follows_its_figure_on_the_same_line(half: float | None, decimals: int | None, text: str) -> None:
    found = words.within(half, decimals)
    assert found.lstrip(words.SPACE) == text and found.count(words.SPACE) == bool(text)


@pytest.mark.parametrize(
    ("value", "half", "text"),
    [(1.25, 0.3, "+1.2"), (-1.26, 0.3, "−1.3"), (0.04, 0.3, "0.0"), (-0.04, 0.3, "0.0"), (0.04, 0.03, "+0.04"),
     (-0.004, 0.03, "0.00"), (-0.006, 0.03, "−0.01"), (0.0, math.nan, "0.0"), (-12.0, math.nan, "−12.0")],
)  # fmt: skip
def test_a_difference_has_a_sign_unless_it_rounds_to_nothing(value: float, half: float, text: str) -> None:
    assert words.signed(value, half) == text


def test_a_number_has_as_many_digits_as_its_interval() -> None:
    assert words.number(3.14159, 0.5) == f"3.1{words.SPACE}±0.5"
    assert words.number(3.14159, 0.0123) == f"3.14{words.SPACE}±0.01"
    assert words.number(3.14159, math.nan) == "3.1"


def test_numbers_in_a_row() -> None:
    assert [words.either(n) for n in ([1], [1, 2], [1, 2, 5])] == ["1", "1 or 2", "1, 2 or 5"]


def test_days_in_words() -> None:
    assert words.day("2026-11-02") == "2 November 2026"
    with pytest.raises(ValueError, match="month must be"):
        words.day("2026-13-01")


def test_settings_become_a_file_that_reads_back_as_they_were() -> None:
    settings: dict[str, Any] = {
        "title": 'say "é" \\ \n', "shots": [1, 5], "center": True, "protocol": None, "about": "",
        "train": {"lr": 1e-05, "steps": 3, "odd key": [False], "gone": None}, "nested": [[1], ["x"]],
        "rows": [{"name": "a", "tuning": "lora", "train": {}, "search": None}, {"name": "b", "episodes": 0}],
    }  # fmt: skip
    found = tomllib.loads(words.as_toml(settings))
    assert found.pop("row") == [{"name": "a", "tuning": "lora"}, {"name": "b", "episodes": 0}]
    assert found.pop("train") == {"lr": 1e-05, "steps": 3, "odd key": [False]}
    assert found == {name: settings[name] for name in ("title", "shots", "center", "about", "nested")}
    assert words.as_toml({"rows": []}) == "\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "0.25"), (999, "999"), (1000, "1k"), (1500, "1.5k"), (999_999, "999.999k"), (1e6, "1M"), (1e9, "1G"),
     (2.5e12, "2500G")],
)  # fmt: skip
def test_axes_have_compact_numbers(value: float, text: str) -> None:
    assert compact(value) == text


@pytest.mark.parametrize(
    ("name", "most", "text"),
    [
        ("exactly ten", 11, "exactly ten"),
        ("one two three four", 17, "one … three four"),
        ("one two three four", 11, "one … four"),
        ("one two three four five six", 22, "one two … five six"),
        ("one two three four five six", 16, "one … five six"),
        ("abcdefghijklmnop", 9, "abcd…mnop"),
        ("abcdefghijklmnop", 10, "abcde…mnop"),
        ("abcdefghijkl mnopqrstuvwx", 9, "abcd…uvwx"),
        ("abcd efghijk lmno", 7, "abc…mno"),
    ],
)
def test_a_long_name_loses_its_middle(name: str, most: int, text: str) -> None:
    assert shorter(name, most) == text
    assert len(text) <= most


def test_no_name_passes_its_limit_and_short_ones_stay() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        name = "".join(rng.choice(list("abcdefg  "), rng.integers(1, 60))).strip() or "x"
        most = int(rng.integers(3, 40))
        found = shorter(name, most)
        assert len(found) <= most and ("…" in found) == (len(name) > most)
        assert found.partition("…")[0].rstrip()[:1] in ("", name[0]) and found[-1] in (name[-1], "…")
    assert short("x" * 28) == "x" * 28 and len(short("x" * 29)) == 28


def test_a_wrapped_name_keeps_its_beginning_and_end() -> None:
    assert wrapped("") == "" and wrapped("short") == "short"
    assert wrapped("aaaa bbbb", 4) == "aaaa\nbbbb"
    assert wrapped("aaaa bbbb cccc", 4) == "aaaa…\ncccc"
    assert wrapped("aaaa bbbb cccc dddd", 4, 3) == "aaaa…\ncccc\ndddd"
    assert wrapped("x" * 25) == "x" * 25 and wrapped("x" * 26) == "x" * 25 + "\nx"


def area(one: np.ndarray, other: np.ndarray) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return float(width * height) if width > 0 and height > 0 else 0.0


def test_shared_areas_are_sums_over_pairs() -> None:
    draw = np.random.default_rng(1)
    low, size = draw.random((12, 2)) * 4, draw.random((12, 2)) * 3
    boxes = np.hstack([low, low + size])
    wanted = [sum(area(box, other) for other in boxes[5:]) for box in boxes[:5]]
    np.testing.assert_allclose(shared(boxes[:5], boxes[5:]), wanted, rtol=1e-12)
    assert min(wanted) < max(wanted)
    assert shared(np.array([[0.0, 0, 1, 1]]), np.array([[1.0, 0, 2, 1], [-3, -3, -2, -2]])).tolist() == [0]
