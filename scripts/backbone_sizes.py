"""Writes src/kshot/backbones/published.json: what published backbones need, see `kshot.catalogue.Sizes`.

    python scripts/backbone_sizes.py [NAME ...]

A checkpoint that is not on this machine is made first: the published configuration with zeros for weights, written by
transformers itself, and then read as any other. Needs 5 GB of memory and 4 GB of disk; minutes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from kshot.backbones.backbone import load
from kshot.backbones.published import PUBLISHED
from kshot.catalogue import SIZES, place, sizes_of

CONFIGS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "ViT-B/32": ("CLIPModel", {"vision_config": {"patch_size": 32}}),
    "ViT-B/16": ("CLIPModel", {"vision_config": {"patch_size": 16}}),
    "ViT-L/14": (
        "CLIPModel",
        {
            "projection_dim": 768,
            "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
            "vision_config": {
                "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
                "patch_size": 14,
            },
        },
    ),
    "facebook/metaclip-2-worldwide-huge-quickgelu": (
        "MetaClip2Model",
        {
            "projection_dim": 1024,
            "text_config": {
                "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
                "vocab_size": 901629, "eos_token_id": 2,
            },
            "vision_config": {
                "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16,
                "patch_size": 14,
            },
        },
    ),
    "google/siglip-base-patch16-224": ("SiglipModel", {}),
    "google/siglip2-base-patch16-224": ("SiglipModel", {"text_config": {"vocab_size": 256000}}),
    "facebook/dinov2-base": ("Dinov2Model", {"image_size": 518, "patch_size": 14}),
    "facebook/dinov2-with-registers-base": ("Dinov2WithRegistersModel", {"image_size": 518, "patch_size": 14}),
    "facebook/dinov3-vitb16-pretrain-lvd1689m": (
        "DINOv3ViTModel",
        {
            "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_register_tokens": 4,
            "key_bias": False,
        },
    ),
    "MCG-NJU/videomae-base": ("VideoMAEModel", {}),
    "MCG-NJU/videomae-base-finetuned-kinetics": (
        "VideoMAEForVideoClassification", {"num_labels": 400, "use_mean_pooling": True},
    ),
    "facebook/vjepa2-vitl-fpc64-256": ("VJEPA2Model", {}),
    "google/videoprism-base-f16r288": ("VideoPrismVisionModel", {}),
    "google/videoprism-lvt-base-f16r288": ("VideoPrismClipModel", {}),
}  # fmt: skip
"""name -> class of transformers, and where the published configuration differs from the class's own."""

BIT = {
    "image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256},
    "crop_size": {"height": 224, "width": 224}, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
}  # fmt: skip


def write(name: str, folder: Path) -> None:
    """A checkpoint of the published shape in a folder."""
    import transformers

    transformers.logging.disable_progress_bar()
    kind, values = CONFIGS[name]
    made = getattr(transformers, kind)
    with torch.device("meta"):
        model = made(made.config_class(**values))
    model.to_empty(device="cpu")
    with torch.no_grad():
        for value in model.parameters():
            value.zero_()
    model.save_pretrained(folder)
    if kind.startswith("Dinov2"):  # whose pictures are smaller than its table of positions
        Path(folder, "preprocessor_config.json").write_text(json.dumps(BIT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="those to write anew; all by default")
    options = parser.parse_args()
    found = json.loads(SIZES.read_text("utf-8")) if SIZES.exists() else {}
    for one in PUBLISHED:
        if options.names and one.name not in options.names:
            continue
        if place(one.name)[1]:
            found[one.name] = asdict(sizes_of(load(one.name)))
        elif one.name in CONFIGS:
            with tempfile.TemporaryDirectory() as folder:
                write(one.name, Path(folder))
                found[one.name] = asdict(sizes_of(load(folder)))
        print(one.name, found.get(one.name), flush=True)
    ordered = {one.name: found[one.name] for one in PUBLISHED if one.name in found}
    SIZES.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
