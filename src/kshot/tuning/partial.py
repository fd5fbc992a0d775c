"""Partial tuning: only the end of a tower learns, by default its last block, final norm and projection."""

from __future__ import annotations

from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from kshot.tuning import Towers, deepest_cut, towers, unfreeze

LAYERS = ("proj", "block", "block+ln_post+proj")


def apply(backbone: Backbone, layers: str | int = "block+ln_post+proj", tower: Towers = "image") -> int:
    """Lets the last layers learn.

    Args:
        backbone: changed in place.
        layers: "proj" (the projection alone), "block" (the last block alone), "block+ln_post+proj", or a number k: the
            last k blocks with final norm and projection.
        tower: "image", "text" or "both".

    Returns:
        The deepest cut of the image tower that it allows.

    Raises:
        OptionError: layers or a tower that do not exist.
    """
    for part in towers(backbone, tower):
        blocks = _blocks(layers, part.depth)
        if blocks:
            unfreeze(part.blocks[-blocks:].parameters())
        if layers != "block":
            unfreeze(part.projection.parameters())
        if layers not in ("proj", "block"):
            unfreeze(part.norm.parameters())
        if not any(weight.requires_grad for weight in part.parameters()):
            raise OptionError(f"layers '{layers}': backbone '{backbone.name}' has no projection; take block")
    return deepest_cut(backbone.image)


def _blocks(layers: str | int, depth: int) -> int:
    """How many of the last blocks learn."""
    if layers in LAYERS:
        return 0 if layers == "proj" else 1
    text = str(layers)
    if isinstance(layers, bool) or not text.isdigit() or not 1 <= int(text) <= depth:
        raise OptionError(f"layers '{layers}': expected {', '.join(LAYERS)}, or how many last blocks, 1 to {depth}")
    return int(text)
