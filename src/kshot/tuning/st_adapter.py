"""ST-Adapter: a bottleneck that looks across space and time before a block's attention (Pan et al., NeurIPS 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kshot.backbones.backbone import Backbone, rows
from kshot.errors import OptionError
from kshot.tuning import deepest_cut
from kshot.tuning.adapters import Bottleneck, alongside, last_blocks, positive, swap


def apply(backbone: Backbone, width: int = 384, time: int = 3, space: int = 1, blocks: str | int = "all") -> int:
    """Patches x of a clip become x + up(convolve(down(x))) before they enter a block.

    The convolution is depthwise, over the patches' places in frames, rows and columns; what it misses outside the clip
    is zero. The class token, and registers where there are any, pass by. `up` starts at zero, so nothing changes at
    first. Any number of frames will do.

    Args:
        backbone: changed in place; the image tower alone has adapters.
        width: of the bottleneck.
        time: the convolution's extent over frames; odd.
        space: its extent over rows and columns of patches; odd.
        blocks: "all", or how many last blocks.

    Returns:
        The deepest cut of the image tower that it allows.

    Raises:
        OptionError: an option with a value that it cannot take.
    """
    tower = backbone.image
    width, time, space = positive("width", width), positive("time", time), positive("space", space)
    if not (time % 2 and space % 2):
        raise OptionError(f"time {time} and space {space}: expected odd numbers, so that a patch is in the middle")
    for block in last_blocks(tower, blocks):
        adapter = Bottleneck(tower.width, width, Convolution(width, time, space))
        swap(tower, block, Preceded(block, alongside(block, adapter), tower.first))
    backbone.across = time > 1
    return deepest_cut(tower)


class Convolution(nn.Module):
    """A depthwise convolution over a clip's patches: (clips * frames, patches, channels) -> the same shape."""

    def __init__(self, channels: int, time: int, space: int):
        super().__init__()
        padding = (time // 2, space // 2, space // 2)
        self.convolve = nn.Conv3d(channels, channels, (time, space, space), padding=padding, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        side = math.isqrt(x.shape[1])
        video = x.view(-1, rows().frames, side, side, x.shape[2]).permute(0, 4, 1, 2, 3)
        out: Tensor = self.convolve(video)
        return out.permute(0, 2, 3, 4, 1).reshape(x.shape)


class Preceded(nn.Module):
    """A frozen block before which an adapter adds to the patches; first: tokens that come before them."""

    def __init__(self, block: nn.Module, adapter: nn.Module, first: int = 1):
        super().__init__()
        self.block = block
        self.adapter = adapter
        self.first = first

    def forward(self, x: Tensor, mask: Tensor | None = None, **options: bool) -> Tensor:
        patches = x[:, self.first :]
        out: Tensor = self.block(torch.cat([x[:, : self.first], patches + self.adapter(patches)], 1), mask, **options)
        return out
