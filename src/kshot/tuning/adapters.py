"""Small modules that tuning methods put into a tower, and the blocks that they go into."""

from __future__ import annotations

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


def positive(name: str, value: object) -> int:
    """An option that must be a whole number of at least 1.

    Raises:
        OptionError: it is not.
    """
    if isinstance(value, bool) or not str(value).isdigit() or int(str(value)) < 1:
        raise OptionError(f"{name} '{value}': expected a whole number, 1 or more")
    return int(str(value))


def number(name: str, value: object) -> float:
    """An option that must be a finite number.

    Raises:
        OptionError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise OptionError(f"{name} '{value}': expected a number")
    return float(value)


def alongside(module: nn.Module, new: nn.Module) -> nn.Module:
    """A new module on the device of an old one; drawn on the CPU, so that a seed gives the same values anywhere."""
    return new.to(next(module.parameters()).device)


class Bottleneck(nn.Module):
    """Down, activation, up: (..., D) -> (..., D), zero as long as nothing was learned."""

    def __init__(self, channels: int, width: int, activation: nn.Module, bias: bool = True):
        super().__init__()
        self.down = nn.Linear(channels, width, bias)
        self.activation = activation
        self.up = nn.Linear(width, channels, bias)
        nn.init.zeros_(self.up.weight)
        if bias:
            nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.up(self.activation(self.down(x)))
        return out


class Beside(nn.Module):
    """A frozen module with an adapter in parallel: module(x) + scale * adapter(x)."""

    def __init__(self, module: nn.Module, adapter: nn.Module, scale: float):
        super().__init__()
        self.module = module
        self.adapter = alongside(module, adapter)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.module(x) + self.scale * self.adapter(x)
        return out
