"""Visual prompt tuning: extra tokens learn, every weight stays frozen (Jia et al., ECCV 2022)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from kshot.backbones.backbone import Backbone
from kshot.options import Count
from kshot.tuning import deepest_cut
from kshot.tuning.adapters import alongside, last_blocks, swap


def apply(backbone: Backbone, tokens: Count = 10, deep: bool = True, blocks: str | int = "all") -> int:
    """Puts learned tokens between the class token and the patches.

    They are random at first, so the embedding differs from the frozen one from the start.

    Args:
        backbone: changed in place; the image tower alone has prompts.
        tokens: learned tokens.
        deep: True gives each block tokens of its own, in place of what the block before made of its own (VPT-Deep).
            False puts tokens before the first of the blocks and lets the later ones see what became of them
            (VPT-Shallow); only that first block is altered.
        blocks: "all", or how many last blocks see prompts.

    Returns:
        The deepest cut of the image tower that it allows: the first block that sees prompts.

    Raises:
        OptionError: an option with a value that it cannot take.
    """
    tower = backbone.image
    chosen = last_blocks(tower, blocks)
    patch: Any = tower.embeddings.patch_size
    bound = math.sqrt(6 / (3 * patch**2 + tower.width))  # the authors' choice: Xavier's, as of the patch embedding
    for block in chosen if deep else chosen[:1]:
        prompts = torch.empty(tokens, tower.width).uniform_(-bound, bound)
        swap(tower, block, alongside(block, Prompted(block, prompts, keep=not deep)))
    return deepest_cut(tower)


class Prompted(nn.Module):
    """A frozen block that also sees prompts (tokens, D); keep: whether the next block gets to see them too."""

    def __init__(self, block: nn.Module, prompts: Tensor, keep: bool):
        super().__init__()
        self.block = block
        self.prompts = nn.Parameter(prompts)
        self.keep = keep

    def forward(self, x: Tensor, mask: Tensor | None = None, **options: bool) -> Tensor:
        prompts = self.prompts.to(x.dtype).expand(x.shape[0], -1, -1)
        out: Tensor = self.block(torch.cat([x[:, :1], prompts, x[:, 1:]], 1), mask, **options)
        return out if self.keep else torch.cat([out[:, :1], out[:, 1 + len(self.prompts) :]], 1)
