"""AIM: adapters make a frozen image block see space, time and both (Yang et al., ICLR 2023)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kshot.backbones.backbone import Backbone, rows
from kshot.errors import OptionError, unknown
from kshot.options import Count
from kshot.tuning import deepest_cut
from kshot.tuning.adapters import Bottleneck, alongside, last_blocks, swap

PARTS = ("spatial", "temporal", "joint")
TIMES = ("input", "block")
BEFORE = {"time": "block"}
STD = 0.02  # of the first weights of a bottleneck, as in the authors' code


def apply(
    backbone: Backbone,
    parts: str | Sequence[str] = "spatial,temporal,joint",
    reduction: Count = 4,
    scale: float = 0.5,
    frames: Count = 8,
    time: Literal["input", "block"] = "input",
    blocks: str | int = "all",
) -> int:
    """Gives blocks the adapters named; all start at zero, so nothing changes at first.

    With A the frozen attention, x the tokens of all frames and B a bottleneck of its own each time:

        temporal    x + B(A(LN1(x) across frames, each place in the picture by itself)) comes first; before all of it a
                    learned vector for each frame's number is added to the tokens, see `time`
        spatial     x + a + B(a) with a = A(LN1(x)), where the plain block has x + a
        joint       x + MLP(n) + scale * B(n) with n = LN2(x), where the plain block has x + MLP(n)

    Args:
        backbone: changed in place; the image tower alone has adapters.
        parts: which adapters, a list or text with commas.
        reduction: channels of the tower over those of a bottleneck.
        scale: of what the joint adapter adds.
        frames: frames a clip; `kshot train` fills it in. The temporal adapter allows no other number.
        time: where the vectors of the frames' numbers are added: "input", before the norm in front of block 1, as in
            the authors' code (taoyang1122/adapt-image-models at b3580d2), if all blocks have adapters, else before the
            first that has; or "block", before the first that has in any case, so that less is computed in each step.
        blocks: "all", or how many last blocks.

    Returns:
        The deepest cut of the image tower that it allows.

    Raises:
        OptionError: an option with a value that it cannot take.
    """
    tower = backbone.image
    named = [part.strip() for part in parts.split(",")] if isinstance(parts, str) else list(parts)
    for part in named or [""]:
        if part not in PARTS:
            raise unknown("part", part, PARTS)
    width = tower.width // reduction
    if width < 1:
        raise OptionError(f"reduction '{reduction}': a tower of {tower.width} channels allows no more")
    at_input = time == "input" and blocks == "all"
    if at_input and "temporal" in named:
        tower.embeddings = alongside(tower.embeddings, Timed(tower.embeddings, frames, tower.width))
    for i, block in enumerate(last_blocks(tower, blocks)):
        numbered = frames if i == 0 and not at_input else 0
        swap(tower, block, alongside(block, Adapted(block, named, width, scale, numbered)))
    backbone.across = "temporal" in named
    return deepest_cut(tower)


class Adapted(nn.Module):
    """A frozen block with AIM's adapters.

    Args:
        block: the block.
        parts: which adapters it has.
        width: channels of a bottleneck.
        scale: of what the joint adapter adds.
        frames: how many frames have learned vectors, 0 for none.
    """

    def __init__(self, block: Any, parts: Collection[str], width: int, scale: float, frames: int):
        super().__init__()
        self.block = block
        self.scale = scale

        def adapter(part: str) -> Bottleneck | None:
            if part not in parts:
                return None
            made = Bottleneck(block.embed_dim, width, nn.GELU())
            nn.init.trunc_normal_(made.down.weight, std=STD)
            return made

        self.spatial, self.temporal, self.joint = adapter("spatial"), adapter("temporal"), adapter("joint")
        when = torch.zeros(frames, 1, block.embed_dim)
        self.when = nn.Parameter(when) if "temporal" in parts and frames else None

    def forward(self, x: Tensor, mask: Tensor | None = None, **options: bool) -> Tensor:
        block: Any = self.block
        if self.when is not None:
            x = numbered(x, self.when)
        if self.temporal is not None:
            across = by_clip(block.layer_norm1(x)).transpose(1, 2)  # (clips, tokens, frames, D)
            seen, _ = block.self_attn(across.flatten(0, 1), None, **options)
            x = x + self.temporal(seen.view(across.shape).transpose(1, 2).flatten(0, 1))
        seen, _ = block.self_attn(block.layer_norm1(x), mask, **options)
        x = x + seen + (self.spatial(seen) if self.spatial is not None else 0)
        n = block.layer_norm2(x)
        out: Tensor = x + block.mlp(n) + (self.scale * self.joint(n) if self.joint is not None else 0)
        return out


class Timed(nn.Module):
    """Frozen embeddings of frames, to which a learned vector for each frame's number in its clip is added.

    Args:
        embeddings: frames (N, 3, S, S) -> tokens (N, T, D).
        frames: a clip.
        width: D.
    """

    def __init__(self, embeddings: nn.Module, frames: int, width: int) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.when = nn.Parameter(torch.zeros(frames, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        return numbered(self.embeddings(x), self.when)


def numbered(x: Tensor, when: Tensor) -> Tensor:
    """Tokens (clips * frames, T, D) with the vectors (frames, 1, D) of their frames' numbers added.

    Raises:
        OptionError: clips of another number of frames.
    """
    if rows().frames != len(when):
        raise OptionError(
            f"AIM was set up for clips of {len(when)} frames, found {rows().frames}: give both the same frames"
        )
    return by_clip(x).add(when).flatten(0, 1)


def by_clip(x: Tensor) -> Tensor:
    """(clips * frames, tokens, D) -> (clips, frames, tokens, D)."""
    return x.view(-1, rows().frames, *x.shape[1:])
