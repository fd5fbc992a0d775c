"""AdaptFormer: a bottleneck learns beside the frozen MLP of a block (Chen et al., NeurIPS 2022)."""

from __future__ import annotations

from torch import nn

from kshot.backbones.backbone import Backbone
from kshot.tuning import deepest_cut
from kshot.tuning.adapters import Beside, Bottleneck, blocks_of, number, positive


def apply(
    backbone: Backbone, width: int = 64, scale: float = 0.1, blocks: str | int = "all", tower: str = "image"
) -> int:
    """MLP(LN(x)) becomes MLP(LN(x)) + scale * up(ReLU(down(LN(x)))) (the paper's formula, which norms what enters).

    `up` starts at zero, so nothing changes at first. Every token goes its own way through MLP and adapter, so the last
    block stays exact on its class token alone.

    Args:
        backbone: changed in place.
        width: of the bottleneck.
        scale: of what the bottleneck adds.
        blocks: "all", or how many last blocks.
        tower: "image", "text" or "both".

    Returns:
        The deepest cut of the image tower that it allows.

    Raises:
        OptionError: an option with a value that it cannot take.
    """
    width, scale = positive("width", width), number("scale", scale)
    for block in blocks_of(backbone, tower, blocks):
        block.mlp = Beside(block.mlp, Bottleneck(block.embed_dim, width, nn.ReLU()), scale)
    return deepest_cut(backbone.image)
