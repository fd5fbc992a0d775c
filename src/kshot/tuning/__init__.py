"""Tuning methods: which weights learn. Adding one: a file here with `apply`, a line in `TUNING`, a test.

A method changes a frozen backbone in place and returns the deepest cut of the image tower that it allows, that is the
number of the first block it touches: activations may be read there, since everything before is a constant of the clip.
Afterwards `requires_grad` tells the truth.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from kshot.errors import OptionError, unknown
from kshot.options import declared
from kshot.options import expect as check

if TYPE_CHECKING:  # the names of methods are asked for where torch would take too long
    from torch import nn

    from kshot.backbones.backbone import Backbone
    from kshot.backbones.tower import Tower

__all__ = [
    "TUNING",
    "Towers",
    "apply",
    "deepest_cut",
    "expect",
    "lacking",
    "named",
    "of_record",
    "options",
    "towers",
    "unfreeze",
]

Towers: TypeAlias = Literal["image", "text", "both"]
"""Towers of a backbone that the option `tower` names."""

TUNING: dict[str, str] = {
    "partial": "kshot.tuning.partial",
    "full": "kshot.tuning.full",
    "lora": "kshot.tuning.lora",
    "adaptformer": "kshot.tuning.adaptformer",
    "bitfit": "kshot.tuning.bitfit",
    "layernorm": "kshot.tuning.layernorm",
    "clip-adapter": "kshot.tuning.clip_adapter",
    "vpt": "kshot.tuning.vpt",
    "st-adapter": "kshot.tuning.st_adapter",
    "aim": "kshot.tuning.aim",
    "coop": "kshot.tuning.coop",
    "task-adapter": "kshot.tuning.task_adapter",
}


def apply(name: str, backbone: Backbone, **chosen: Any) -> int:
    """Applies a tuning method, by its name on the command line, to a backbone of which nothing learns yet.

    Returns:
        The deepest cut of the image tower at which activations may be read: 0..L + 1.

    Raises:
        OptionError: no such method, one that does not fit the backbone, an option that it does not have, or a value
            that it cannot take.
    """
    expect(name, chosen)
    if backbone.tunings is not None and name not in backbone.tunings:
        raise OptionError(
            f"tuning '{name}' does not fit backbone '{backbone.name}', which has no {lacking(name, backbone)}: take "
            f"{', '.join(backbone.tunings[:-1])} or {backbone.tunings[-1]}"
        )
    cut: int = _find(name)(backbone, **chosen)
    return cut


def lacking(name: str, backbone: Backbone) -> str:
    """What a method that does not fit a backbone needs and it does not have."""
    if name != "coop":
        return backbone.lacks
    return "token before the first word of a text" if backbone.text.depth else "text tower that could learn"


def expect(name: str, chosen: Mapping[str, Any]) -> None:
    """Raises OptionError unless there is such a method with these options, of the right kind."""
    check(f"tuning '{name}'", options(name), chosen, declared(_place(name)))


def named(name: str) -> dict[str, Any]:
    """Those options of a method, with their defaults, that what is saved must name; see `of_record`."""
    known = options(name)
    return {option: known[option] for option in _before(name)}


def of_record(name: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A method's options from a saved file: what it does not name is as it was when nothing else existed."""
    return {**(_before(name) if name in TUNING else {}), **chosen}


def options(name: str) -> dict[str, Any]:
    """The options of a tuning method with their defaults."""
    parameters = list(inspect.signature(declared(_place(name))).parameters.values())[1:]
    return {parameter.name: parameter.default for parameter in parameters}


def unfreeze(weights: Iterable[nn.Parameter]) -> None:
    """Lets weights learn, in memory of their own: a copy of a backbone shares its frozen weights with the original."""
    for weight in weights:
        if not weight.requires_grad:
            weight.data = weight.data.clone()
            weight.requires_grad_(True)


def towers(backbone: Backbone, tower: str) -> list[Tower]:
    """The towers that the option `tower` names: "image", "text" or "both".

    Raises:
        OptionError: there is no text tower that could learn.
    """
    if tower in ("text", "both") and not backbone.text.depth:
        raise OptionError(f"backbone '{backbone.name}' has no text tower that could learn: tune tower image")
    known: dict[str, list[Tower]] = {
        "image": [backbone.image],
        "text": [backbone.text],
        "both": [backbone.image, backbone.text],
    }
    return known[tower]


def deepest_cut(tower: Tower) -> int:
    """The deepest cut of a tower with nothing that learns before it: 0..L, or L + 1 if nothing learns in it."""

    def learns(part: nn.Module) -> bool:
        return any(value.requires_grad for value in part.parameters())

    inner = (tower.blocks, tower.norm, tower.projection, tower.feature)
    if any(learns(part) for part in tower.children() if part not in inner):
        return 0
    first = (number for number, block in enumerate(tower.blocks, 1) if learns(block))
    return next(first, tower.depth if learns(tower.norm) or learns(tower.projection) else tower.depth + 1)


def _before(name: str) -> dict[str, Any]:
    """The constant BEFORE of a method's module: options whose default was another once, and that one."""
    _find(name)
    return dict(getattr(import_module(TUNING[name]), "BEFORE", {}))


def _find(name: str) -> Callable[..., int]:
    _place(name)
    found: Callable[..., int] = import_module(TUNING[name]).apply
    return found


def _place(name: str) -> str:
    if name not in TUNING:
        raise unknown("tuning method", name, TUNING)
    return f"{TUNING[name]}:apply"
