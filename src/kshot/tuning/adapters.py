"""Small modules that tuning methods put into a tower, and the blocks that they go into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from kshot.backbones.backbone import Backbone
from kshot.backbones.tower import Tower
from kshot.errors import OptionError
from kshot.tuning import towers


def last_blocks(tower: Tower, blocks: str | int) -> list[Any]:
    """The last `blocks` blocks of a tower, or "all" of them.

    Raises:
        OptionError: neither "all" nor a number from 1 to the tower's depth.
    """
    if blocks == "all":
        return list(tower.blocks)
    text = str(blocks)
    if isinstance(blocks, bool) or not text.isdigit() or not 1 <= int(text) <= tower.depth:
        raise OptionError(f"blocks '{blocks}': expected all, or how many last blocks, 1 to {tower.depth}")
    return list(tower.blocks[-int(text) :])


def blocks_of(backbone: Backbone, tower: str, blocks: str | int) -> list[Any]:
    """The last blocks of the towers that the option `tower` names."""
    return [block for part in towers(backbone, tower) for block in last_blocks(part, blocks)]


def ends_of(backbone: Backbone, tower: str, blocks: str | int) -> list[nn.Module]:
    """The last blocks of the towers named with the norm behind them; whole towers if "all" blocks are asked for."""
    parts = towers(backbone, tower)
    return [*parts] if blocks == "all" else [*blocks_of(backbone, tower, blocks), *(part.norm for part in parts)]


def swap(tower: Tower, block: nn.Module, new: nn.Module) -> None:
    """Puts a module in the place of one of the tower's blocks."""
    tower.blocks[list(tower.blocks).index(block)] = new


def alongside(module: nn.Module, new: nn.Module) -> nn.Module:
    """A new module on the device of an old one; drawn on the CPU, so that a seed gives the same values anywhere."""
    return new.to(next(module.parameters()).device)


def through(block: Any, x: Tensor, mask: Tensor | None, between: Callable[[Tensor], Tensor], **options: bool) -> Tensor:
    """A block whose tokens go through `between` behind the attention's residual, before its MLP.

    Args:
        block: (N, T, D) -> (N, T, D), with LayerScale or without.
        x: tokens.
        mask: of the attention.
        between: (N, T, D) -> (N, T, D).
        options: of the attention.
    """
    scales = [getattr(block, name, None) or nn.Identity() for name in ("layer_scale1", "layer_scale2")]
    seen, _ = block.self_attn(block.layer_norm1(x), mask, **options)
    x = between(x + scales[0](seen))
    out: Tensor = x + scales[1](block.mlp(block.layer_norm2(x)))
    return out


class Bottleneck(nn.Module):
    """Down, activation, up: (..., D) -> (..., D), zero as long as nothing was learned; biases start at zero.

    Args:
        channels: D.
        width: channels between down and up.
        activation: between them. If it gives zeros at first, `silent` is False.
        bias: whether both layers have one.
        silent: whether `up` starts at zero.
    """

    def __init__(
        self, channels: int, width: int, activation: nn.Module, bias: bool = True, silent: bool = True
    ) -> None:
        super().__init__()
        self.down = nn.Linear(channels, width, bias)
        self.activation = activation
        self.up = nn.Linear(width, channels, bias)
        if silent:
            nn.init.zeros_(self.up.weight)
        for layer in (self.down, self.up) if bias else ():
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.up(self.activation(self.down(x)))
        return out


class Beside(nn.Module):
    """A frozen module with an adapter in parallel: module(norm(x)) + scale * adapter(x).

    Args:
        module: the frozen one.
        adapter: beside it.
        scale: of what the adapter adds.
        norm: before the module alone, None for nothing.
    """

    def __init__(self, module: nn.Module, adapter: nn.Module, scale: float, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.norm = nn.Identity() if norm is None else norm
        self.module = module
        self.adapter = alongside(module, adapter)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.module(self.norm(x)) + self.scale * self.adapter(x)
        return out
