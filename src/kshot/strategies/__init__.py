"""Strategies: from which clips the weights learn, and by which loss. They own no loop.

To add one: a file with a frozen dataclass (its fields are its options) and its line here.
"""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import Any

from kshot.errors import unknown
from kshot.options import expect
from kshot.strategies.base import Strategy

STRATEGIES: dict[str, str] = {
    "zero-shot": "kshot.strategies.frozen:ZeroShot",
    "frozen": "kshot.strategies.frozen:Frozen",
    "direct": "kshot.strategies.direct:Direct",
    "finetune": "kshot.strategies.finetune:Finetune",
    "meta": "kshot.strategies.meta:Meta",
    "finetune-meta": "kshot.strategies.finetune_meta:FinetuneMeta",
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
