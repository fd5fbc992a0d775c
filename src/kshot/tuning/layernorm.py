"""LayerNorm tuning: the norms' scales and shifts learn and nothing else (Basu et al., AAAI 2024, among others).

A convolutional network has batch norms in their place: their scales and shifts learn, their statistics stay.
"""

from __future__ import annotations

from torch import nn

from kshot.backbones.backbone import Backbone
from kshot.backbones.batch_norm import BatchNorm
from kshot.errors import OptionError
from kshot.tuning import Towers, deepest_cut, unfreeze
from kshot.tuning.adapters import ends_of


def apply(backbone: Backbone, blocks: str | int = "all", tower: Towers = "image") -> int:
    """Lets the norms learn.

    Args:
        backbone: changed in place.
        blocks: "all" is every norm of the tower, that of the image tower before block 1 included; a number is those of
            as many last blocks, with the final norm.
        tower: "image", "text" or "both".

    Returns:
        The deepest cut of the image tower that it allows.

    Raises:
        OptionError: an option with a value that it cannot take, or blocks without a norm.
    """
    parts = [module for end in ends_of(backbone, tower, blocks) for module in end.modules()]
    norms = [module for module in parts if isinstance(module, nn.LayerNorm | BatchNorm)]
    if not norms:
        raise OptionError(f"blocks '{blocks}': the last blocks of backbone '{backbone.name}' have no norm; take more")
    for module in norms:
        unfreeze(module.parameters())
    return deepest_cut(backbone.image)
