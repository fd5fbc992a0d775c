"""BitFit: the biases learn and nothing else (Ben Zaken et al., ACL 2022)."""

from __future__ import annotations

from kshot.backbones.backbone import Backbone
from kshot.tuning import Towers, deepest_cut, unfreeze
from kshot.tuning.adapters import ends_of


def apply(backbone: Backbone, blocks: str | int = "all", tower: Towers = "image") -> int:
    """Lets the biases of linear layers and norms learn.

    Args:
        backbone: changed in place.
        blocks: "all" is every bias of the tower, that of the image tower's norm before block 1 included; a number is
            that of last blocks, with the final norm.
        tower: "image", "text" or "both".

    Returns:
        The deepest cut of the image tower that it allows.

    Raises:
        OptionError: an option with a value that it cannot take.
    """
    for part in ends_of(backbone, tower, blocks):
        unfreeze(value for name, value in part.named_parameters() if name.endswith("bias"))
    return deepest_cut(backbone.image)
