"""Writes src/kshot/backbones/published.json: what published backbones need, see `kshot.catalogue.Sizes`.

Those that are installed are loaded; the others are built in their published sizes without memory, as `tuning_table.py`
does.

    python scripts/backbone_sizes.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import torch
from tuning_table import REAL

from kshot.backbones import clip
from kshot.backbones.backbone import Backbone, load
from kshot.backbones.published import PUBLISHED
from kshot.catalogue import SIZES, place, sizes_of

BUILT: dict[str, Callable[[], Backbone]] = {
    "ViT-B/32": lambda: Backbone(clip.CLIP(clip.Config(vision_config=clip.VisionConfig(patch_size=32)))),
    "ViT-B/16": REAL["clip"]["ViT-B/16"],
    "ViT-L/14": lambda: Backbone(
        clip.CLIP(
            clip.Config(clip.TextConfig(768, 3072, 12, 12), clip.VisionConfig(1024, 4096, 24, 16, patch_size=14), 768)
        )
    ),
    "timm/resnet50_clip.openai": REAL["open_clip"]["RN50"],
    "facebook/metaclip-2-worldwide-huge-quickgelu": REAL["metaclip_2"]["H/14"],
    "google/siglip-base-patch16-224": REAL["siglip"]["B/16"],
    "google/siglip2-base-patch16-224": REAL["siglip"]["B/16"],  # more words, which what sees does not have
    "facebook/dinov2-base": REAL["dinov2"]["B/14"],
    "facebook/dinov2-with-registers-base": REAL["dinov2_with_registers"]["B/14"],
    "facebook/dinov3-vitb16-pretrain-lvd1689m": REAL["dinov3_vit"]["B/16"],
    "MCG-NJU/videomae-base": REAL["videomae"]["B/16"],
    "MCG-NJU/videomae-base-finetuned-kinetics": REAL["videomae"]["B/16"],
    "facebook/vjepa2-vitl-fpc64-256": REAL["vjepa2"]["L/16"],
    "google/videoprism-base-f16r288": REAL["videoprism_vision_model"]["B/18"],
    "google/videoprism-lvt-base-f16r288": REAL["videoprism"]["B/18"],
}


def sizes() -> str:
    """What the file holds."""
    found = {}
    for one in PUBLISHED:
        if place(one.name)[0] in ("bundled", "installed"):
            backbone = load(one.name)
        else:
            with torch.device("meta"):
                backbone = BUILT[one.name]()
        found[one.name] = asdict(sizes_of(backbone))
    return json.dumps(found, indent=1) + "\n"


if __name__ == "__main__":
    SIZES.write_text(sizes(), "utf-8")
