"""Heads: from the clips of an episode to one score a class. Adding one: a file here, a line in `HEADS`, a test."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from kshot.errors import unknown
from kshot.options import declared
from kshot.options import expect as check

if TYPE_CHECKING:
    from kshot.heads.base import Head

__all__ = ["HEADS", "Head", "Shots", "expect", "find", "get_head", "named", "of_record", "options"]

Shots: TypeAlias = Literal["features", "distances"]
"""What is averaged over the support clips of a class, by heads that align frames."""

HEADS: dict[str, str] = {
    "nearest": "kshot.heads.nearest:Nearest",
    "prototype": "kshot.heads.prototype:Prototype",
    "change": "kshot.heads.change:Change",
    "both": "kshot.heads.both:Both",
    "where": "kshot.heads.where:Where",
    "otam": "kshot.heads.otam:OTAM",
    "bimhm": "kshot.heads.bimhm:BiMHM",
    "trx": "kshot.heads.trx:TRX",
    "clip-fsar": "kshot.heads.clip_fsar:ClipFSAR",
    "linear-probe": "kshot.heads.linear_probe:LinearProbe",
    "baseline++": "kshot.heads.baseline_pp:BaselinePP",
    "meta-baseline": "kshot.heads.meta_baseline:MetaBaseline",
    "tip-adapter": "kshot.heads.tip_adapter:TipAdapter",
    "tip-adapter-f": "kshot.heads.tip_adapter_f:TipAdapterF",
    "text": "kshot.heads.text:Text",
    "fusion": "kshot.heads.fusion:Fusion",
    "product": "kshot.heads.product:Product",
}


def get_head(name: str, **chosen: Any) -> Head:
    """A new head by its name on the command line, with options of its own.

    Raises:
        OptionError: no such head, an option that it does not have, or a value that it cannot take.
    """
    expect(name, chosen)
    head = find(name)(**chosen)
    head.name = name
    return head


def expect(name: str, chosen: Mapping[str, Any]) -> None:
    """Raises OptionError unless there is such a head with these options, of the right kind."""
    check(f"head '{name}'", options(name), chosen, declared(_place(name)))


def options(name: str) -> dict[str, Any]:
    """The options of a head with their defaults."""
    parameters = inspect.signature(declared(_place(name))).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}


def named(name: str) -> dict[str, Any]:
    """Those options of a head, with their defaults, that what is saved must name; see `of_record`."""
    known = options(name)
    return {option: known[option] for option in find(name).before}


def of_record(name: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A head's options from a saved file: what it does not name is as it was when nothing else existed."""
    return {**(find(name).before if name in HEADS else {}), **chosen}


def find(name: str) -> type[Head]:
    """The class of a head.

    Raises:
        OptionError: no such head.
    """
    module, _, attribute = _place(name).partition(":")
    found: type[Head] = getattr(import_module(module), attribute)
    return found


def _place(name: str) -> str:
    if name not in HEADS:
        raise unknown("head", name, HEADS)
    return HEADS[name]


def __getattr__(name: str) -> Any:
    if name == "Head":  # late: the names of heads are asked for where torch would take too long
        from kshot.heads.base import Head

        return Head
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
