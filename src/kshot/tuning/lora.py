"""LoRA: linear layers stay frozen and learn a low-rank difference (Hu et al., ICLR 2022)."""

from __future__ import annotations

from collections.abc import Sequence

from kshot.backbones.backbone import Backbone
from kshot.errors import unknown
from kshot.options import Count
from kshot.tuning import Towers, deepest_cut
from kshot.tuning.adapters import blocks_of

TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


def apply(
    backbone: Backbone,
    rank: Count = 8,
    alpha: float = 16.0,
    targets: str | Sequence[str] = "q_proj,v_proj",
    blocks: str | int = "all",
    tower: Towers = "image",
) -> int:
    """Adds alpha / rank * B A to the weights named; A is random, B starts at zero, so nothing changes at first.

    The last block stays exact on its class token alone: its weights are put together where it needs them.

    Args:
        backbone: changed in place.
        rank: of the difference.
        alpha: its scale, times rank.
        targets: linear layers of a block, a list or text with commas: q_proj, k_proj, v_proj, out_proj (attention),
            fc1, fc2 (MLP).
        blocks: "all", or how many last blocks.
        tower: "image", "text" or "both".

    Returns:
        The deepest cut of the image tower that it allows.

    Raises:
        OptionError: an option with a value that it cannot take.
    """
    from peft import LoraConfig, inject_adapter_in_model

    names = [name.strip() for name in targets.split(",")] if isinstance(targets, str) else list(targets)
    for name in names or [""]:
        if name not in TARGETS:
            raise unknown("target", name, TARGETS)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=names)
    for block in blocks_of(backbone, tower, blocks):
        inject_adapter_in_model(config, block)
    return deepest_cut(backbone.image)
