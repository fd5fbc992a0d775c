"""Which parts of an image tower work before a cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from kshot.backbones.tower import ImageTower


def frozen(tower: ImageTower, cut: int) -> bool:
    """Whether there are blocks before a cut, and nothing in them learns."""
    return cut > 0 and not any(value.requires_grad for _, part in before(tower, cut) for value in part.parameters())


def before(tower: ImageTower, cut: int) -> Iterator[tuple[str, nn.Module]]:
    """The parts of an image tower that work before a cut, by name; at cut L + 1 the last block's end as well."""
    for name, part in tower.named_children():
        if name == "blocks":
            yield from ((f"blocks.{number}", block) for number, block in enumerate(tower.blocks[: max(cut - 1, 0)]))
        elif name != "feature" and (cut > tower.depth or name not in ("norm", "projection")):
            yield name, part
