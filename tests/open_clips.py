"""open_clip's networks, written here from the names and sizes that its files document, to compare kshot's with."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, act: type[nn.Module]) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        layers = {"c_fc": nn.Linear(width, 4 * width), "gelu": act(), "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        n = self.ln_1(x)
        x = x + self.attn(n, n, n, attn_mask=mask, need_weights=False)[0]
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Transformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, act: type[nn.Module]) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, act) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Text(nn.Module):
    def __init__(self, cfg: dict[str, Any], out: int, act: type[nn.Module]) -> None:
        super().__init__()
        width, self.cfg = cfg["width"], cfg
        self.token_embedding = nn.Embedding(cfg["vocab_size"], width)
        self.positional_embedding = nn.Parameter(torch.empty(cfg["context_length"], width))
        self.transformer = Transformer(width, cfg["layers"], cfg["heads"], act)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, out))

    def embed(self, ids: Tensor) -> Tensor:
        count = ids.shape[1]
        mask = torch.full((count, count), -torch.inf).triu(1)
        x = self.transformer(self.token_embedding(ids) + self.positional_embedding[:count], mask)
        ends = (ids == self.cfg["eos_id"]).int() if self.cfg.get("pool_type") == "eos" else ids
        out: Tensor = self.ln_final(x[torch.arange(len(ids)), ends.argmax(-1)]) @ self.text_projection
        return out


class ViT(nn.Module):
    def __init__(self, cfg: dict[str, Any], out: int, act: type[nn.Module]) -> None:
        super().__init__()
        width, patch = cfg["width"], cfg["patch_size"]
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty((cfg["image_size"] // patch) ** 2 + 1, width))
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, cfg["layers"], width // cfg.get("head_width", 64), act)
        self.proj = nn.Parameter(torch.empty(width, out))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv1(x).flatten(2).mT
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), patches], 1) + self.positional_embedding
        out: Tensor = self.ln_post(self.transformer(self.ln_pre(x)))[:, 0] @ self.proj
        return out


class Bottleneck(nn.Module):
    def __init__(self, into: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(into, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3, self.bn3 = nn.Conv2d(planes, planes * 4, 1, bias=False), nn.BatchNorm2d(planes * 4)
        if stride > 1 or into != planes * 4:
            parts = [("-1", nn.AvgPool2d(stride)), ("0", nn.Conv2d(into, planes * 4, 1, bias=False))]
            self.downsample = nn.Sequential(OrderedDict([*parts, ("1", nn.BatchNorm2d(planes * 4))]))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn3(self.conv3(self.pool(self.bn2(self.conv2(y)).relu())))
        return (y + (self.downsample(x) if hasattr(self, "downsample") else x)).relu()


class Pool(nn.Module):
    def __init__(self, places: int, width: int, heads: int, out: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.empty(places + 1, width))
        self.k_proj, self.q_proj, self.v_proj = (
            nn.Linear(width, width),
            nn.Linear(width, width),
            nn.Linear(width, width),
        )
        self.c_proj, self.heads = nn.Linear(width, out), heads

    def forward(self, x: Tensor) -> Tensor:
        """The whole layer, all tokens as queries, the first read out."""
        x = x.flatten(2).permute(2, 0, 1)
        x = torch.cat([x.mean(0, keepdim=True), x]) + self.positional_embedding[:, None]
        seen, _ = F.multi_head_attention_forward(
            x, x, x, x.shape[-1], self.heads, None, torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias]),
            None, None, False, 0.0, self.c_proj.weight, self.c_proj.bias, need_weights=False,
            use_separate_proj_weight=True, q_proj_weight=self.q_proj.weight, k_proj_weight=self.k_proj.weight,
            v_proj_weight=self.v_proj.weight,
        )  # fmt: skip
        return seen[0]


class ResNet(nn.Module):
    def __init__(self, cfg: dict[str, Any], out: int) -> None:
        super().__init__()
        width = cfg["width"]
        into = width
        for number, (a, b, stride) in enumerate(
            [(3, width // 2, 2), (width // 2, width // 2, 1), (width // 2, width, 1)]
        ):
            self.add_module(f"conv{number + 1}", nn.Conv2d(a, b, 3, stride, 1, bias=False))
            self.add_module(f"bn{number + 1}", nn.BatchNorm2d(b))
        for stage, count in enumerate(cfg["layers"]):
            units = []
            for number in range(count):
                units.append(Bottleneck(into, width << stage, 2 if stage and not number else 1))
                into = 4 * (width << stage)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*units))
        self.attnpool = Pool((cfg["image_size"] // 32) ** 2, into, into // cfg.get("head_width", 64), out)

    def forward(self, x: Tensor) -> Tensor:
        for number in range(1, 4):
            x = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x)).relu()
        x = F.avg_pool2d(x, 2)
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
        out: Tensor = self.attnpool(x)
        return out


class OpenClip(Text):
    """With the text tower at the top level, as most files have it, or under "text."."""

    def __init__(self, model_cfg: dict[str, Any]) -> None:
        vision, text, out = model_cfg["vision_cfg"], model_cfg["text_cfg"], model_cfg["embed_dim"]
        act = QuickGELU if model_cfg.get("quick_gelu") else nn.GELU
        super().__init__(text, out, act)
        self.model_cfg = model_cfg
        self.visual: nn.Module = ResNet(vision, out) if isinstance(vision["layers"], list) else ViT(vision, out, act)
        self.logit_scale = nn.Parameter(torch.tensor(4.0))
        self.eval()

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        pixels = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
        values = {"model_cfg": self.model_cfg, "preprocess_cfg": pixels}
        (folder / "open_clip_config.json").write_text(json.dumps(values))
        apart = "text." if self.model_cfg.get("custom_text") else ""
        at_top = ("visual.", "logit_")
        save_file(
            {n if n.startswith(at_top) else apart + n: v.contiguous() for n, v in self.state_dict().items()},
            folder / "open_clip_model.safetensors",
        )

    @classmethod
    def from_pretrained(cls, folder: Path) -> OpenClip:
        made = cls(json.loads((folder / "open_clip_config.json").read_text())["model_cfg"])
        weights = load_file(folder / "open_clip_model.safetensors")
        made.load_state_dict({name.removeprefix("text."): value for name, value in weights.items()})
        return made
