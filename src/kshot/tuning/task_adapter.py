"""Task-Adapter: the clips of an episode look at each other in the last blocks (Cao et al., ACM MM 2024)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from kshot.backbones.backbone import Backbone, rows
from kshot.errors import OptionError
from kshot.options import Count
from kshot.tuning import deepest_cut
from kshot.tuning.adapters import Bottleneck, alongside, last_blocks, swap, through

PLACES = ("mlp", "attention")
BEFORE = {"place": "attention"}


def apply(
    backbone: Backbone,
    blocks: str | int = 2,
    reduction: Count = 4,
    transductive: bool | Literal["queries"] = False,
    place: Literal["mlp", "attention"] = "mlp",
) -> int:
    """Before a block's MLP, tokens x become x + B(A(LN1(x))): the block's frozen attention A across clips, a bottleneck
    B. That is the place in the authors' later code (Jaulin-Bage/Task-Adapter-pp at 3a29783); the paper's own is gone.

    A token sees those at its own place in the picture and at its own frame's number in the other clips. B starts at
    zero, so nothing changes at first. Labels are never seen. Nothing else of the paper is done here.

    Embeddings now depend on the episode, so every episode is embedded by itself, and clips that are embedded outside
    of one see only themselves: train it by strategy `meta`.

    Args:
        backbone: changed in place; the image tower alone has adapters.
        blocks: how many last blocks, or "all".
        reduction: channels of the tower over those of a bottleneck.
        transductive: False: support clips see the support, a query clip sees the support and itself, so its scores do
            not depend on the other queries. True: queries see the other queries too. "queries": a query sees the
            queries alone, as in the authors' code; its scores then depend on what else is classified with it.
        place: "mlp", or "attention": before the whole block.

    Returns:
        The deepest cut of the image tower that it allows.

    Raises:
        OptionError: an option with a value that it cannot take.
    """
    tower = backbone.image
    chosen, width = last_blocks(tower, blocks), tower.width // reduction
    if width < 1:
        raise OptionError(f"reduction '{reduction}': a tower of {tower.width} channels allows no more")
    for block in chosen:
        swap(tower, block, alongside(block, Consulting(block, width, transductive, place)))
    backbone.episodic = True
    return deepest_cut(tower)


class Consulting(nn.Module):
    """A frozen block that looks across the clips of an episode.

    Args:
        block: the block.
        width: of the bottleneck.
        transductive: see `apply`.
        place: see `apply`.
    """

    def __init__(self, block: Any, width: int, transductive: bool | str, place: str) -> None:
        super().__init__()
        self.block = block
        self.adapter = Bottleneck(block.embed_dim, width, nn.GELU())
        self.transductive, self.place = transductive, place

    def forward(self, x: Tensor, mask: Tensor | None = None, **options: bool) -> Tensor:
        if self.place == "mlp":
            return through(self.block, x, mask, self._consult, **options)
        out: Tensor = self.block(self._consult(x), mask, **options)
        return out

    def _consult(self, x: Tensor) -> Tensor:
        """Tokens (clips * frames, T, D) with what they see in the other clips."""
        block: Any = self.block
        clips = len(x) // rows().frames
        across = block.layer_norm1(x).view(clips, -1, x.shape[-1]).transpose(0, 1)  # (frames * tokens, clips, D)
        seen, _ = block.self_attn(across, self._mask(clips, x))
        out: Tensor = x + self.adapter(seen.transpose(0, 1).reshape(x.shape))
        return out

    def _mask(self, clips: int, x: Tensor) -> Tensor:
        """(1, 1, clips, clips): 0 where the clip of a row may look at that of a column, minus infinity elsewhere."""
        support = rows().support
        sees = torch.eye(clips, dtype=torch.bool, device=x.device)
        sees[:, :support] = True
        if self.transductive and support:
            sees[support:, support:] = True
        if self.transductive == "queries" and support:
            sees[support:, :support] = False
        return torch.zeros(1, 1, clips, clips, dtype=x.dtype, device=x.device).masked_fill(~sees, -torch.inf)
