"""Writes a CLIP with random weights as a folder, to try a size out without a download.

    python scripts/random_clip.py --size ViT-B/32 --out random-b32
    python scripts/random_clip.py --size RN50 --out random-rn50

A ViT is in transformers format, RN50 in that of open_clip, as the hub has them.

It recognises nothing, but costs what the real one costs. Words are split by the tokenizer of kshot-tiny.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import kshot
from open_clips import OpenClip

# width, depth, heads, MLP, patch of the image tower; width, depth, heads, MLP of the text tower; projection
SIZES = {
    "ViT-B/32": ((768, 12, 12, 3072, 32), (512, 12, 8, 2048), 512),
    "ViT-B/16": ((768, 12, 12, 3072, 16), (512, 12, 8, 2048), 512),
    "ViT-L/14": ((1024, 24, 16, 4096, 14), (768, 12, 12, 3072), 768),
}
RN50: dict[str, Any] = {  # of open_clip's configuration of that name
    "embed_dim": 1024, "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": [3, 4, 6, 3], "width": 64, "patch_size": None},
    "text_cfg": {"context_length": 77, "width": 512, "heads": 8, "layers": 12},
}  # fmt: skip
TINY = Path(kshot.__file__).parent / "weights" / "kshot-tiny"
WORDS = ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def write(size: str, out: Path, seed: int = 0) -> None:
    """Writes the folder."""
    torch.manual_seed(seed)
    (width, depth, heads, mlp, patch), text, projection = SIZES[size]
    tiny = json.loads((TINY / "config.json").read_text())["text_config"]
    words = {k: tiny[k] for k in ("vocab_size", "eos_token_id", "bos_token_id", "pad_token_id") if k in tiny}
    vision = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
    vision |= {"intermediate_size": mlp, "patch_size": patch, "image_size": 224}
    keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    config = CLIPConfig(
        text_config=dict(zip(keys, text, strict=True)) | words, vision_config=vision, projection_dim=projection
    )
    CLIPModel(config).save_pretrained(out)
    for name in WORDS:
        if (TINY / name).exists():
            shutil.copy(TINY / name, out / name)
    preprocessing = json.loads((TINY / "preprocessor_config.json").read_text())
    preprocessing |= {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
    preprocessing |= {"image_mean": [0.48145466, 0.4578275, 0.40821073]}
    preprocessing |= {"image_std": [0.26862954, 0.26130258, 0.27577711]}
    (out / "preprocessor_config.json").write_text(json.dumps(preprocessing, indent=1))


def write_rn50(out: Path, seed: int = 0) -> None:
    """Writes the folder of a CLIP whose image tower is a ResNet-50."""
    torch.manual_seed(seed)
    vocabulary = json.loads((TINY / "config.json").read_text())["text_config"]["vocab_size"]
    net = OpenClip(RN50 | {"text_cfg": RN50["text_cfg"] | {"vocab_size": vocabulary}})
    with torch.no_grad():
        for weight in net.parameters():
            weight.normal_(0, 0.02)
    net.save_pretrained(out)
    shutil.copy(TINY / "tokenizer.json", out / "tokenizer.json")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=[*SIZES, "RN50"], default="ViT-B/32")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.size == "RN50":
        write_rn50(options.out, options.seed)
    else:
        write(options.size, options.out, options.seed)
