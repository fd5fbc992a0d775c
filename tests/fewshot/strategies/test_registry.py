"""The family of strategies: none is forgotten, and wrong names are answered with the right ones."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

import kshot.fewshot.strategies as family
from kshot.errors import OptionError
from kshot.fewshot.strategies import STRATEGIES, get_strategy
from kshot.fewshot.strategies.frozen import Frozen, ZeroShot
from kshot.fewshot.strategies.meta import Meta


def test_every_file_of_the_folder_is_listed() -> None:
    files = {path.stem for path in Path(family.__path__[0]).glob("*.py")} - {"__init__", "base"}
    assert {place.partition(":")[0].rpartition(".")[2] for place in STRATEGIES.values()} == files


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_knows_its_name_and_what_it_learns_from(name: str) -> None:
    strategy = get_strategy(name)
    assert strategy.name == name
    assert strategy.learns_from in ("nothing", "base", "support")
    assert type(strategy).__doc__
    wanted = {"base": "objective", "support": "scores"}.get(strategy.learns_from)
    assert wanted is None or wanted in vars(type(strategy))


def test_options_reach_the_strategy() -> None:
    assert get_strategy("meta", way=3, loss="both") == Meta(way=3, loss="both")
    assert get_strategy("zero-shot").default_head == "text" == ZeroShot.default_head
    assert get_strategy("frozen").default_head == "prototype" == Frozen.default_head


def test_unknown_names_and_options_are_answered_with_the_known_ones() -> None:
    with pytest.raises(OptionError, match="unknown strategy 'mata': did you mean 'meta'\\? Known: zero-shot, frozen"):
        get_strategy("mata")
    with pytest.raises(OptionError, match="strategy 'frozen' has no option 'lr'; its options: none"):
        get_strategy("frozen", lr=1)
    known = ", ".join(f"{field.name}={field.default!r}" for field in fields(Meta))
    with pytest.raises(OptionError, match=f"'meta' has no option 'shots'; its options: {known}; did you mean 'shot'"):
        get_strategy("meta", shots=1)
