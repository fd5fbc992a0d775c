"""ST-Adapter: a bottleneck that looks across space and time inside a block (Pan et al., NeurIPS 2022)."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kshot.backbones.backbone import Backbone, rows
from kshot.errors import OptionError
from kshot.options import Count
from kshot.tuning import deepest_cut
from kshot.tuning.adapters import Bottleneck, alongside, last_blocks, swap, through

PLACES = ("mlp", "attention", "both")
BEFORE = {"place": "attention"}


def apply(
    backbone: Backbone,
    width: Count = 384,
    time: Count = 3,
    space: Count = 1,
    place: Literal["mlp", "attention", "both"] = "mlp",
    blocks: str | int = "all",
) -> int:
    """Patches x of a clip become x + up(convolve(down(x))) before a block's MLP, its attention, or both.

    As in the authors' code (linziyi96/st-adapter at b914b38), whose models for ViT-B/16 are 12 adapters before the MLPs
    ("adapter12x384") or 24 before both ("adapter24x384"), the convolution starts at zero, so that nothing changes at
    first. It is depthwise, over the patches' places in frames, rows and columns; what it misses outside the clip is
    zero. The class token, and registers where there are any, pass by. Any number of frames will do.

    Args:
        backbone: changed in place; the image tower alone has adapters.
        width: of the bottleneck.
        time: the convolution's extent over frames; odd.
        space: its extent over rows and columns of patches; odd.
        place: "mlp", "attention" or "both". Before the MLP of the last block an adapter changes patches that nothing
            reads any more: it is there, as in the authors' code, and never learns.
        blocks: "all", or how many last blocks.

    Returns:
        The deepest cut of the image tower that it allows.

    Raises:
        OptionError: an option with a value that it cannot take.
    """
    tower = backbone.image
    if not (time % 2 and space % 2):
        raise OptionError(f"time {time} and space {space}: expected odd numbers, so that a patch is in the middle")
    chosen = last_blocks(tower, blocks)
    if place == "mlp" and len(chosen) == 1:
        raise OptionError(
            f"place mlp with blocks '{blocks}': what is added to patches before the last block's MLP is not read; take "
            "place attention or both, or more blocks"
        )

    def adapter() -> Bottleneck:
        return Bottleneck(tower.width, width, Convolution(width, time, space), silent=False)

    for block in chosen:
        attention, mlp = (adapter() if place in (one, "both") else None for one in ("attention", "mlp"))
        swap(tower, block, alongside(block, Preceded(block, attention, mlp, tower.first)))
    backbone.across = time > 1
    return deepest_cut(tower)


class Convolution(nn.Module):
    """A depthwise convolution over a clip's patches: (clips * frames, patches, channels) -> the same shape."""

    def __init__(self, channels: int, time: int, space: int):
        super().__init__()
        padding = (time // 2, space // 2, space // 2)
        self.convolve = nn.Conv3d(channels, channels, (time, space, space), padding=padding, groups=channels)
        for weight in self.convolve.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> Tensor:
        side = math.isqrt(x.shape[1])
        video = x.view(-1, rows().frames, side, side, x.shape[2]).permute(0, 4, 1, 2, 3)
        out: Tensor = self.convolve(video)
        return out.permute(0, 2, 3, 4, 1).reshape(x.shape)


class Preceded(nn.Module):
    """A frozen block in which adapters add to the patches.

    Args:
        block: the block.
        attention: the adapter before its attention, or None.
        mlp: the adapter before its MLP, or None.
        first: tokens that come before the patches.
    """

    def __init__(self, block: Any, attention: nn.Module | None, mlp: nn.Module | None, first: int = 1) -> None:
        super().__init__()
        self.block = block
        self.adapter, self.before_mlp = attention, mlp
        self.first = first

    def forward(self, x: Tensor, mask: Tensor | None = None, **options: bool) -> Tensor:
        x = self._add(self.adapter, x)
        if self.before_mlp is None:
            out: Tensor = self.block(x, mask, **options)
            return out
        return through(self.block, x, mask, partial(self._add, self.before_mlp), **options)

    def _add(self, adapter: nn.Module | None, x: Tensor) -> Tensor:
        if adapter is None:
            return x
        patches = x[:, self.first :]
        return torch.cat([x[:, : self.first], patches + adapter(patches)], 1)
