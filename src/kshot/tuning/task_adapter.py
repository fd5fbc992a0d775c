"""Task-Adapter: the clips of an episode look at each other in the last blocks (Cao et al., ACM MM 2024)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kshot.backbones.backbone import Backbone, rows
from kshot.errors import OptionError
from kshot.tuning import deepest_cut
from kshot.tuning.adapters import Bottleneck, alongside, last_blocks, positive, swap


def apply(backbone: Backbone, blocks: str | int = 2, reduction: int = 4, transductive: bool = False) -> int:
    """Before a block, tokens x become x + B(A(LN1(x))): the block's frozen attention A across clips, a bottleneck B.

    A token sees those at its own place in the picture and at its own frame's number in the other clips. B starts at
    zero, so nothing changes at first. Labels are never seen. Nothing else of the paper is done here.

    Embeddings now depend on the episode, so every episode is embedded by itself, and clips that are embedded outside
    of one see only themselves: train it by strategy `meta`.

    Args:
        backbone: changed in place; the image tower alone has adapters.
        blocks: how many last blocks, or "all".
        reduction: channels of the tower over those of a bottleneck.
        transductive: False: support clips see the support, a query clip sees the support and itself, so its scores do
            not depend on the other queries. True: queries see the other queries too.

    Returns:
        The deepest cut of the image tower that it allows.

    Raises:
        OptionError: an option with a value that it cannot take.
    """
    tower = backbone.image
    chosen, width = last_blocks(tower, blocks), tower.width // positive("reduction", reduction)
    if width < 1:
        raise OptionError(f"reduction '{reduction}': a tower of {tower.width} channels allows no more")
    if not isinstance(transductive, bool):
        raise OptionError(f"transductive '{transductive}': expected True or False")
    for block in chosen:
        swap(tower, block, alongside(block, Consulting(block, width, transductive)))
    backbone.episodic = True
    return deepest_cut(tower)


class Consulting(nn.Module):
    """A frozen block that first looks across the clips of an episode."""

    def __init__(self, block: Any, width: int, transductive: bool):
        super().__init__()
        self.block = block
        self.adapter = Bottleneck(block.embed_dim, width, nn.GELU())
        self.transductive = transductive

    def forward(self, x: Tensor, mask: Tensor | None = None, **options: bool) -> Tensor:
        block: Any = self.block
        clips = len(x) // rows().frames
        across = block.layer_norm1(x).view(clips, -1, x.shape[-1]).transpose(0, 1)  # (frames * tokens, clips, D)
        seen, _ = block.self_attn(across, self._mask(clips, x), **options)
        out: Tensor = block(x + self.adapter(seen.transpose(0, 1).reshape(x.shape)), mask, **options)
        return out

    def _mask(self, clips: int, x: Tensor) -> Tensor:
        """(1, 1, clips, clips): 0 where the clip of a row may look at that of a column, minus infinity elsewhere."""
        support = rows().support
        sees = torch.eye(clips, dtype=torch.bool, device=x.device)
        sees[:, :support] = True
        if self.transductive and support:
            sees[support:, support:] = True
        return torch.zeros(1, 1, clips, clips, dtype=x.dtype, device=x.device).masked_fill(~sees, -torch.inf)
