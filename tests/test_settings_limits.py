"""Limits of settings, each at its last allowed and first refused value, and options of heads and methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal

import numpy as np
import pytest

from kshot import options, settings
from kshot.errors import OptionError
from kshot.settings import (
    COUNTS,
    FRONTS,
    EpisodeShape,
    Evaluating,
    Method,
    Schedule,
    Selection,
    Settings,
    Training,
    View,
    bounds,
    expect_whole,
)

LIMITED = [
    pytest.param(group, one, id=f"{group.__name__}.{one.name}")
    for group in dict.fromkeys(group for front in FRONTS for group in front.groups().values())
    for one in group.fields()
    if one.metadata["low"] is not None or one.metadata["above"] is not None
]


def least(one: Any) -> float:
    low: float | None = one.metadata["low"]
    return low if low is not None else math.nextafter(one.metadata["above"], math.inf)


@pytest.mark.parametrize(("group", "one"), LIMITED)
def test_a_setting_may_have_its_limits_and_nothing_beyond(group: type[Settings], one: Any) -> None:
    low, high, above = (one.metadata[name] for name in ("low", "high", "above"))
    kind = int if one.type.startswith("int") else float
    step = 1 if kind is int else 1e-9
    group.expect(one.name, kind(least(one)))
    with pytest.raises(OptionError, match=f"^{one.name} must be (at least {low}|above {above}), found "):
        group.expect(one.name, kind(low - step) if low is not None else above)
    if high < math.inf:
        group.expect(one.name, kind(high))
        with pytest.raises(OptionError, match=f"^{one.name} must be at most {high:,}, found {high + 1}$"):
            group.expect(one.name, kind(high + 1))


@pytest.mark.parametrize(("group", "one"), LIMITED)
@pytest.mark.parametrize("value", [True, "1", None, [1]])
def test_a_number_is_a_number(group: type[Settings], one: Any, value: object) -> None:
    wanted = "a whole number" if one.type.startswith("int") else "a finite number"
    if value is None and one.default is None:  # it depends on others: of a clip's frames, on the backbone
        group.expect(one.name, value)
        return
    with pytest.raises(OptionError, match=f"^{one.name} must be {wanted}, found "):
        group.expect(one.name, value)


@pytest.mark.parametrize("value", [2.0, 2.5, math.nan, np.float32(2)])
def test_a_whole_number_has_no_point(value: float) -> None:
    with pytest.raises(OptionError, match="steps must be a whole number"):
        expect_whole("steps", value)


def test_whole_numbers_of_any_kind_and_without_limits() -> None:
    for value in (2, np.int8(2), np.uint64(2)):
        expect_whole("steps", value, 2, 2)
    expect_whole("steps", -(10**30))
    with pytest.raises(OptionError, match=r"^n must be at least 3, found 2$"):
        expect_whole("n", 2, 3)
    with pytest.raises(OptionError, match=r"^n must be at most 1,000, found 1001$"):
        expect_whole("n", 1001, high=1000)


def test_bounds_are_those_of_the_setting_or_of_what_is_counted() -> None:
    assert bounds("way") == (2, 10_000) and bounds("seed") == (0, 2**63 - 1) and bounds("episodes") == (1, 10_000_000)
    for name, limits in COUNTS.items():
        assert bounds(name) == limits
        settings.expect(**{name: limits[1]})
        with pytest.raises(OptionError, match=f"{name} must be at most"):
            settings.expect(**{name: limits[1] + 1})


def test_several_values_are_checked_at_once() -> None:
    settings.expect(way=2, shot=1, query=1)
    with pytest.raises(OptionError, match="query must be at least 1, found 0"):
        settings.expect(way=2, shot=1, query=0)


@pytest.mark.parametrize(
    ("plan", "wanted"),
    [
        (Schedule(steps=4), [1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0]),
        (Schedule(steps=6, warmup=2), [0.5, 1, 1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0]),
        (Schedule(steps=4, schedule="constant"), [1, 1, 1, 1, 1]),
        (Schedule(steps=4, schedule="constant", warmup=4), [0.25, 0.5, 0.75, 1, 1]),
        (Schedule(steps=2, warmup=2), [0.5, 1, 1]),
    ],
)
def test_the_learning_rate_by_hand(plan: Schedule, wanted: list[float]) -> None:
    assert [plan.factor(step) for step in range(len(wanted))] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("select", ["test", "train", ""])
def test_the_best_weights_are_never_chosen_on_other_classes(select: str) -> None:
    with pytest.raises(OptionError, match=f"chosen on val classes only, found select='{select}'"):
        Selection(select=select)
    with pytest.raises(OptionError, match="to do without val, use select none"):
        Selection(val_episodes=0)
    assert Selection(select="none").select == "none"


def test_lists_become_tuples_and_records_are_ready_for_json() -> None:
    view = View(prompts=["a {}", "b {}"], frames=np.int32(4))
    assert view.prompts == ("a {}", "b {}") and type(view.frames) is int
    assert view.record() == {
        "frames": 4, "resize": "short", "deinterlace": False, "prompts": ["a {}", "b {}"], "texts": None,
    }  # fmt: skip
    method = Method(head_options={"sizes": (2, 3), "deep": {"x": (1,)}})
    assert method.record()["head_options"] == {"sizes": [2, 3], "deep": {"x": [1]}}
    assert method.values()["head_options"] == {"sizes": (2, 3), "deep": {"x": (1,)}}


def test_what_a_mapping_lacks_has_its_default() -> None:
    assert EpisodeShape.of({"way": 3, "query": None, "other": 7}) == EpisodeShape(way=3)
    plan = Training.of({"way": 3, "lr": 0.5, "frames": 4, "other": 7})
    assert (plan.shape.way, plan.schedule.lr, plan.view.frames) == (3, 0.5, 4)
    assert plan.values() == Training.defaults() | {"way": 3, "lr": 0.5, "frames": 4}
    assert Training.renamed({"clip": 1.0, "lr": 2.0}) == {"max_grad_norm": 1.0, "lr": 2.0}


def test_a_later_object_beats_an_earlier_one_as_a_whole() -> None:
    found = Training.chosen([Schedule(steps=7, lr=0.5), Schedule(steps=8)], {})
    assert (found["steps"], found["lr"]) == (8, Schedule().lr)
    assert set(found) == {one.name for one in fields(Schedule)}
    with pytest.raises(OptionError, match=r"kshot\.evaluate takes settings .*found "):
        Evaluating.chosen([Schedule()], {})


KINDS: Any = [
    (int, 3, None), (int, 3.0, "it should be a valid integer"), (int, True, "it should be a valid integer"),
    (float, 3, None), (float, "3", "it should be a valid number"), (bool, 1, "it should be a valid boolean"),
    (str | int, "x", None), (str | int, 1.5, "it should be a valid string or be a valid integer"),
    (int | None, None, None), (Sequence[str], ("a",), None), (Mapping[str, Any], {"a": 1}, None),
    (Literal["a", "b"], "c", "it should be 'a' or 'b'"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "problem"), KINDS)
def test_kinds_are_strict_and_told_in_words(annotation: Any, value: object, problem: str | None) -> None:
    assert options.problem(annotation, value) == (problem or "")


class Inner:
    def __init__(self, rank: int = 2, tower: str = "image", anything=None) -> None:  # type: ignore[no-untyped-def]
        self.rank, self.tower, self.anything = rank, tower, anything


KNOWN = {"rank": 2, "tower": "image", "anything": None}


def test_options_that_can_be_are_let_through() -> None:
    options.expect("it", KNOWN, {"rank": 3, "anything": object()}, Inner)
    options.expect("it", KNOWN, {"rank": "three"})  # the target looks at values itself
    options.expect("it", {}, {})


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        ({"rnk": 3}, "it has no option 'rnk'; its options: rank=2, tower='image', anything=None; did you mean 'rank'?"),
        ({"zzz": 3}, "it has no option 'zzz'; its options: rank=2, tower='image', anything=None"),
        ({"rank": 2.5}, "it: option 'rank': it should be a valid integer, found 2.5"),
        ({"rank": math.nan}, "it: option 'rank': expected a finite number, found nan"),
        ({"tower": 3}, "it: option 'tower': it should be a valid string, found 3"),
        ({"rank": 3, "anything": math.inf}, "it: option 'anything': expected a finite number, found inf"),
    ],
)
def test_options_that_cannot_be_are_named(chosen: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError) as refused:
        options.expect("it", KNOWN, chosen, Inner)
    assert str(refused.value) == text


def test_what_has_no_options_says_so() -> None:
    with pytest.raises(OptionError, match=r"^it has no option 'x'; its options: none$"):
        options.expect("it", {}, {"x": 1})
