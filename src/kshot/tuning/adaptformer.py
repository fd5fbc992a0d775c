"""AdaptFormer: a bottleneck learns beside the frozen MLP of a block (Chen et al., NeurIPS 2022)."""

from __future__ import annotations

from torch import nn

from kshot.backbones.backbone import Backbone
from kshot.options import Count
from kshot.tuning import Towers, deepest_cut
from kshot.tuning.adapters import Beside, Bottleneck, blocks_of

BEFORE = {"norm": True}


def apply(
    backbone: Backbone,
    width: Count = 64,
    scale: float = 0.1,
    norm: bool = False,
    blocks: str | int = "all",
    tower: Towers = "image",
) -> int:
    """MLP(LN(x)) becomes MLP(LN(x)) + scale * up(ReLU(down(x))), as in the authors' code (ShoufaChen/AdaptFormer at
    6967d67, its shipped settings).

    `up` starts at zero, so nothing changes at first. Every token goes its own way through MLP and adapter, so the last
    block stays exact on its class token alone.

    Args:
        backbone: changed in place.
        width: of the bottleneck.
        scale: of what the bottleneck adds.
        norm: whether the bottleneck reads LN(x), as in the paper's formula, instead of x.
        blocks: "all", or how many last blocks.
        tower: "image", "text" or "both".

    Returns:
        The deepest cut of the image tower that it allows.

    Raises:
        OptionError: an option with a value that it cannot take.
    """
    for block in blocks_of(backbone, tower, blocks):
        adapter = Bottleneck(block.embed_dim, width, nn.ReLU())
        if norm:
            block.mlp = Beside(block.mlp, adapter, scale)
        else:  # the norm moves into the MLP's place, so that the adapter beside it reads what enters the norm
            block.mlp = Beside(block.mlp, adapter, scale, block.layer_norm2)
            block.layer_norm2 = nn.Identity()
    return deepest_cut(backbone.image)
