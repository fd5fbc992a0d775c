"""LoRA: linear layers stay frozen and learn a low-rank difference (Hu et al., ICLR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from kshot.backbones.backbone import Backbone
from kshot.errors import unknown
from kshot.options import Count, Share
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
    scaling: Literal["rank", "root"] = "rank",
    dropout: Share = 0.0,
) -> int:
    """Adds alpha / rank * B A to the weights named; A is random, B starts at zero, so nothing changes at first.

    The last block stays exact on its class token alone: its weights are put together where it needs them. With
    dropout it runs whole.

    Args:
        backbone: changed in place.
        rank: of the difference.
        alpha: its scale, times rank.
        targets: linear layers of a block, a list or text with commas: q_proj, k_proj, v_proj, out_proj (attention),
            fc1, fc2 (MLP).
        blocks: "all", or how many last blocks.
        tower: "image", "text" or "both".
        scaling: what alpha is divided by: "rank" (Hu et al.) or its "root" (Kalajdzievski, rsLoRA, 2023, arXiv
            2312.03732; CLIP-LoRA's code).
        dropout: share of a layer's inputs that B A does not see, in training.

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
    root = scaling == "root"
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=names, use_rslora=root, lora_dropout=dropout)
    for block in blocks_of(backbone, tower, blocks):
        inject_adapter_in_model(config, block)
    return deepest_cut(backbone.image)
