"""Strategies: from which clips the weights learn, and by which loss. They own no loop.

To add one: a file with a frozen dataclass (its fields are its options) and its line here.
"""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import Any

from kshot.errors import unknown
from kshot.fewshot.strategies.base import Strategy
from kshot.options import expect

STRATEGIES: dict[str, str] = {
    "zero-shot": "kshot.fewshot.strategies.frozen:ZeroShot",
    "frozen": "kshot.fewshot.strategies.frozen:Frozen",
    "direct": "kshot.fewshot.strategies.direct:Direct",
    "finetune": "kshot.fewshot.strategies.finetune:Finetune",
    "meta": "kshot.fewshot.strategies.meta:Meta",
    "finetune-meta": "kshot.fewshot.strategies.finetune_meta:FinetuneMeta",
}


def get_strategy(name: str, **options: Any) -> Strategy:
    """The strategy of that name.

    Raises:
        OptionError: an unknown name, an option that the strategy does not have, or a value that it cannot take.
    """
    if name not in STRATEGIES:
        raise unknown("strategy", name, STRATEGIES)
    module, _, attribute = STRATEGIES[name].partition(":")
    kind = getattr(import_module(module), attribute)
    expect(f"strategy '{name}'", {field.name: field.default for field in fields(kind)}, options, kind)
    strategy: Strategy = kind(**options)
    object.__setattr__(strategy, "name", name)
    return strategy
