"""Towers of frames whose last block is a pooling head with one query, as those of SigLIP and of CLIP's ResNet.

A head has three ways from what enters it, tokens or places (N, M, D), to (N, P): `forward` computes keys and values of
all of them, `pool` gives the same for its one query without, and `attend(x, weights)` takes weights (N, M) in place of
the query's.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from kshot.backbones import last_block, places
from kshot.backbones.tower import Tower, widen
from kshot.errors import OptionError


class PoolingTower(Tower):
    """A tower that ends in a pooling head, its last block. Its other attributes are those of `Tower`.

    Attributes:
        exact: whether the last block runs on condensed tokens: never, as it needs no others than what enters it.
        changes: whether frames can be pooled by change, see `Tower.encode_changing`.
    """

    exact = False
    changes = True
    first = 0

    def enter_head(self, x: Tensor, cut: int) -> Tensor:
        """What enters the head (N, M, D), in single precision, from what block `cut` (0..L) receives."""
        raise NotImplementedError(f"{type(self).__name__} must define enter_head()")

    def encode_to(self, x: Tensor, cut: int) -> Tensor:
        """What block `cut` receives; see `Tower.encode_to`. Before the head these are its tokens (N, M, D)."""
        return self.enter_head(x, 0) if cut == self.depth else super().encode_to(x, cut)

    def encode_changing(self, x: Tensor, cut: int, frames: int) -> Tensor:
        """The embedding, the head looking at tokens by how much each changes; see `Tower.encode_changing`."""
        self._check(cut)
        if cut > self.depth:
            raise OptionError(
                "frames cannot be pooled by change here, only the embedding was kept of them: take another head or "
                "tuning method"
            )
        tokens = self.enter_head(x, cut)
        head: Any = self.blocks[-1]
        with last_block.arithmetic(tokens.device):
            out: Tensor = self.feature(head.attend(tokens, places.weights(tokens, frames)))
            return out

    def condense(self, tokens: Tensor, read: Tensor | None = None) -> Tensor:
        raise OptionError("a pooling head needs the tokens themselves, so there is nothing to condense")

    def _project(self, x: Tensor, cut: int, read: Tensor | None, condensed: bool | None) -> Tensor:
        tokens = x if cut == self.depth else self.enter_head(x, cut)
        head: Any = self.blocks[-1]
        with last_block.arithmetic(tokens.device):
            out: Tensor = head(widen(tokens)) if self.plain else head.pool(tokens)
            return out
