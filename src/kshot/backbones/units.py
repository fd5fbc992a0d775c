"""The tower of networks that see a clip of n frames at a time, a unit, and what their blocks share.

Its rows are units: pixels (N, n, 3, S, S), tokens of all tubelets (N, T, D), embeddings (N, P). There is no class
token, so no last block for one token alone; and no row shows a single frame, so nothing can be said of what changes
from frame to frame.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kshot.backbones import last_block
from kshot.backbones.backbone import Backbone, NoText
from kshot.backbones.preprocessing import Pixels
from kshot.backbones.tower import Tower, widen
from kshot.errors import OptionError


class UnitTower(Tower):
    """A tower of units; a subclass says what becomes of the tokens in the end. Its other attributes are `Tower`'s.

    Args:
        embeddings: pixels (N, n, 3, S, S) -> tokens (N, T, D), with `num_positions` T.
        encoder: with the blocks as `layers`.
        norm: of the end.
        unit: n, frames.
        size: S, in pixels.

    Attributes:
        unit: as given.
        size: as given.
        exact: whether the last block runs on condensed tokens: never.
        changes: whether frames can be pooled by change: never, as no row is one frame.
        heads: how many of the last blocks pool tokens, and are run by `end`.
    """

    exact = False
    changes = False
    first = 0
    heads = 0

    def __init__(self, embeddings: Any, encoder: Any, norm: Any, unit: int, size: int) -> None:
        nn.Module.__init__(self)
        self.embeddings, self.blocks, self.norm = embeddings, encoder.layers, norm
        self.projection: nn.Module = nn.Identity()
        self.feature: nn.Module = nn.Identity()
        self.depth, self.tokens = len(self.blocks), int(embeddings.num_positions)
        self.width = int(encoder.layers[0].embed_dim)
        self.unit, self.size = unit, size
        self.precision = torch.float32
        self.plain = False

    def encode_changing(self, x: Tensor, cut: int, frames: int) -> Tensor:
        raise OptionError(
            f"frames cannot be pooled by change here, as this backbone sees {self.unit} of them at a time: take "
            "another head"
        )

    def condense(self, tokens: Tensor, read: Tensor | None = None) -> Tensor:
        raise OptionError("a backbone that sees clips has no class token, so there is nothing to condense")

    def end(self, x: Tensor) -> Tensor:
        """The embeddings (N, P) of the tokens (N, T, D) that leave the blocks, in single precision."""
        raise NotImplementedError(f"{type(self).__name__} must define end()")

    def _project(self, x: Tensor, cut: int, read: Tensor | None, condensed: bool | None) -> Tensor:
        with last_block.arithmetic(x.device, self.precision):
            x = self._embed(x) if cut == 0 else widen(x)
            for block in self.blocks[max(cut, 1) - 1 : self.depth - self.heads]:
                x = self._run(block, x)
        with last_block.arithmetic(x.device):
            return self.end(widen(x))

    def _embed(self, x: Tensor) -> Tensor:
        if x.ndim != 5 or tuple(x.shape[1:]) != (self.unit, 3, self.size, self.size):
            expected = f"(N, {self.unit}, 3, {self.size}, {self.size})"
            raise OptionError(f"expected units of frames of shape {expected}, got {tuple(x.shape)}")
        out: Tensor = self.embeddings(x)
        return out


class MeanTower(UnitTower):
    """Ends in the mean of all tokens, before or behind the norm.

    Args:
        embeddings: see `UnitTower`, and so are all others but the last.
        encoder: see there.
        norm: of the end; a layer that gives back what it gets where there is none.
        unit: see there.
        size: see there.
        mean_first: whether the norm is that of the mean, and not of every token.
    """

    def __init__(
        self, embeddings: Any, encoder: Any, norm: nn.Module, unit: int, size: int, mean_first: bool = False
    ) -> None:
        super().__init__(embeddings, encoder, norm, unit, size)
        self.mean_first = mean_first

    def end(self, x: Tensor) -> Tensor:
        """The mean (N, D) of tokens (N, T, D)."""
        out: Tensor = self.norm(x.mean(1)) if self.mean_first else self.norm(x).mean(1)
        return out


class PooledTower(UnitTower):
    """Ends in a pooling head with one learnt query, its last block, and a norm.

    A head has `forward`, which computes keys and values of all tokens, and `pool`, which gives the same without them.

    Args:
        embeddings: see `UnitTower`, and so are all others but the head.
        encoder: the blocks before the head.
        head: tokens (N, T, D) -> (N, D).
        norm: behind the head.
        unit: see there.
        size: see there.
    """

    heads = 1

    def __init__(self, embeddings: Any, encoder: Any, head: nn.Module, norm: nn.Module, unit: int, size: int) -> None:
        super().__init__(embeddings, encoder, norm, unit, size)
        self.blocks.append(head)
        self.depth = len(self.blocks)

    def end(self, x: Tensor) -> Tensor:
        """What the head makes of tokens (N, T, D)."""
        head: Any = self.blocks[-1]
        out: Tensor = self.projection(self.norm(head(x) if self.plain else head.pool(x)))
        return out


def one_query(u: Tensor, n: Tensor) -> Tensor:
    """The mean tokens (N, heads, D) that the heads of one query see, without keys and values of the tokens.

    A learnt query q is the same for all rows, and by associativity the keys' projection moves to it, and the values' to
    the mean (see `kshot.backbones.families.siglip`): softmax_i(u . n_i) n_i with u = W_k^T q.

    Args:
        u: (heads, D).
        n: (N, T, D) tokens, as the projections get them.
    """
    return torch.softmax(n @ u.T, 1).mT @ n


class Tubelets(nn.Module):
    """Pixels (N, n, 3, S, S) -> tokens (N, T, D), one for each square of as many successive frames; time goes first."""

    def __init__(self, channels: int, width: int, frames: int, side: int) -> None:
        super().__init__()
        size = (frames, side, side)
        self.projection = nn.Conv3d(channels, width, size, size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (N, n, 3, S, S) -> tokens (N, T, D)."""
        out: Tensor = self.projection(pixels.transpose(1, 2)).flatten(2).transpose(1, 2)
        return out


POOLED = ("partial", "full", "bitfit", "layernorm", "clip-adapter")
"""Tuning methods that fit a tower whose last block is a pooling head."""


class UnitBackbone(Backbone):
    """A network of units with its preprocessing; it has no text side. The tuning methods that fit depend on its end.

    Args:
        tower: its network.
        name: as loaded.
        pixels: its preprocessing.
        notes: what was left out of its checkpoint, a sentence each.
    """

    tunings: tuple[str, ...] = ("partial", "full", "lora", "adaptformer", "bitfit", "layernorm", "clip-adapter")
    lacks = "class token and no tokens of single frames"

    def __init__(self, tower: UnitTower, name: str, pixels: Pixels, notes: tuple[str, ...] = ()) -> None:
        nn.Module.__init__(self)
        self.unit, self.notes = tower.unit, notes
        if tower.heads:
            self.tunings, self.lacks = POOLED, f"{self.lacks}, and whose last block is a pooling head"
        whole: Any = tower
        self._assemble(whole, NoText(), tower.width, name, None, pixels, 100.0)


def expect_units(config: Any, frames: str, tubelet: int) -> None:
    """Refuses a unit that is no whole number of tubelets.

    Args:
        config: of the network.
        frames: its name for the number of frames.
        tubelet: frames of one.

    Raises:
        ValueError: the unit is shorter than a tubelet, or no multiple of it.
    """
    unit = getattr(config, frames)
    if unit < tubelet or unit % tubelet:
        raise ValueError(f"{frames} is {unit}, no whole number of tubelets of {tubelet} frames")
