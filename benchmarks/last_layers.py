"""The last layer of each family on stored tokens: as kshot runs it, whole, and by one plain query.

240 frames of float16 tokens at the family's real width, random weights; forward, a cheap loss, backward. Whole is the
layer as its library runs it: keys and values of all tokens are saved, and in a block or in CLIP's attention pool every
token asks too. The fair rival is one query, that of the token that is read out, with plain keys and values of all
tokens, and the MLP for that one token. Pooling heads of SigLIP, V-JEPA 2 and VideoPrism have one query as it is, so
their whole layer is that rival.

    python benchmarks/last_block.py --families [--repeats 5] [--busy] [--json]

The slow ways run on 24 frames; all numbers are for one frame. Ratios are taken within a round, and their median is
shown.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot import tuning
from kshot.backbones import clip, last_block, resnet, units
from kshot.backbones.backbone import Backbone
from kshot.backbones.families import dinov2, dinov3, open_clip, siglip, videoprism, vjepa2
from kshot.backbones.preprocessing import AS_CLIP
from kshot.backbones.videoprism import VisionConfig

FRAMES, FEW = 240, 24
WAYS = ("kshot", "whole", "rival")
Layer = Callable[[Any, Tensor], Tensor]


def every_query(pool: Any, t: Tensor) -> Tensor:
    """CLIP's attention pool as open_clip runs it: every token asks, the first is read out."""
    x = torch.cat([t.mean(1, keepdim=True), t], 1) + pool.positional_embedding
    apart = (*x.shape[:2], pool.heads, -1)
    q, k, v = (f(x).view(apart).transpose(1, 2) for f in (pool.q_proj, pool.k_proj, pool.v_proj))
    out: Tensor = pool.c_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))[:, 0]
    return out


def every_token(block: Any, x: Tensor) -> Tensor:
    """A block as its library runs it, the first token read out."""
    out: Tensor = block(x)[:, 0]
    return out


def one_query(block: Any, x: Tensor) -> Tensor:
    """A block for its first token alone, with plain keys and values of all tokens."""
    attention, n = block.self_attn, block.layer_norm1(x)
    apart = (len(x), -1, attention.num_heads, attention.head_dim)
    pairs = ((attention.q_proj, n[:, :1]), (attention.k_proj, n), (attention.v_proj, n))
    q, k, v = (f(y).view(apart).transpose(1, 2) for f, y in pairs)
    if isinstance(attention, dinov3.Attention):
        k = attention.turned(k)
    seen = F.scaled_dot_product_attention(q, k, v).flatten(1)
    return last_block.behind(block, x[:, 0], attention.out_proj(seen))


def plain(layer: Any, x: Tensor) -> Tensor:
    """A pooling layer for its one query, with plain keys and values of all tokens."""
    out: Tensor = layer(x)
    return out


def families() -> dict[str, tuple[Backbone, Layer, Layer]]:
    """Family -> a backbone whose last layer has its real width, and that layer whole and by one plain query."""
    base: dict[str, Any] = {"hidden_size": 768, "num_hidden_layers": 1, "num_attention_heads": 12}
    words = clip.TextConfig(num_hidden_layers=1)
    b16 = clip.CLIP(clip.Config(words, clip.VisionConfig(**base, patch_size=16)))
    rn50 = open_clip.Parts(resnet.Config((1, 1, 1, 1), 64, 32, 224, 1024), words, 1024)
    head = siglip.Vision(siglip.VisionConfig(num_hidden_layers=1))
    v2 = dinov2.Vision(dinov2.Config(**base, num_register_tokens=0), 224)
    v3 = dinov3.Vision(dinov3.Config(**base, intermediate_size=3072, num_register_tokens=4))
    long = vjepa2.Config(num_hidden_layers=1, num_pooler_layers=1)
    pooled = units.UnitBackbone(vjepa2._tower(vjepa2.Parts(long, True, True), long), "V-JEPA 2", AS_CLIP)
    one_each = VisionConfig(num_spatial_layers=1, num_temporal_layers=1, num_auxiliary_layers=0)
    form = videoprism.Form(videoprism.VIDEO, one_each, 18)
    prism = videoprism.VideoPrism(videoprism.Parts(form), form, "VideoPrism", None, AS_CLIP, ())
    made: dict[str, tuple[Backbone, Layer, Layer]] = {
        "CLIP ViT-B/16": (Backbone(b16), every_token, one_query),
        "CLIP RN50, attention pool": (open_clip.ClipResNet(rn50, "RN50", None, AS_CLIP), every_query, plain),
        "SigLIP B/16, pooling head": (siglip.SiglipPictures(head), plain, plain),
        "V-JEPA 2 L/16, pooler": (pooled, plain, plain),
        "VideoPrism B/18, head": (prism, plain, plain),
        "DINOv2 B/14": (dinov2.Dinov2(v2), every_token, one_query),
        "DINOv3 B/16": (dinov3.Dinov3(v3), every_token, one_query),
    }
    torch.manual_seed(0)
    with torch.no_grad():
        for backbone, *_ in made.values():
            for name, value in backbone.named_parameters():
                value.normal_(0, 0.02) if value.ndim > 1 else value.fill_(float("bias" not in name))
    return made


def ways(frozen: Backbone, whole: Layer, rival: Layer) -> list[tuple[Callable[[], None], int]]:
    """The three ways, each a call that goes forward and backward, with the number of its frames.

    Raises:
        AssertionError: they do not give the same.
    """
    tuned = frozen.copy()
    cut = tuning.apply("partial", tuned)
    image: Any = tuned.image
    many, few = FRAMES // tuned.unit, max(1, FEW // tuned.unit)  # rows
    tokens = torch.randn(many, image.tokens, image.width).half()
    quick = image.exact or not isinstance(image.blocks[-1], clip.Layer)
    stored = (tuned.condense(tokens).half() if image.exact else tokens)[: many if quick else few]

    def ended(layer: Layer) -> Callable[[], Tensor]:
        return lambda: image.projection(image.norm(layer(image.blocks[-1], tokens[:few].float())))

    made = [lambda: tuned.encode_from(stored, cut), ended(whole), ended(rival)]
    first, *others = (way()[:few].detach() for way in made)
    assert all(float((other - first).norm() / first.norm()) < 1e-2 for other in others)  # stored ones are rounded

    def step(way: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            tuned.zero_grad()
            way().square().mean().backward()

        return run

    return list(zip(map(step, made), (tuned.unit * count for count in (len(stored), few, few)), strict=True))


def measure(repeats: int, clock: Callable[[], float]) -> list[dict[str, float | str]]:
    """Milliseconds a frame of each way, and the ratio of each to the first, for each family."""
    rows: list[dict[str, float | str]] = []
    for name, parts in families().items():
        runs, rounds = ways(*parts), list[list[float]]()
        for number in range(repeats + 1):
            seconds = []
            for run, count in runs:
                start = clock()
                run()
                seconds.append((clock() - start) / count)
            if number:  # the first round warms up
                rounds.append(seconds)
        row: dict[str, float | str] = {"family": name}
        for i, way in enumerate(WAYS):
            row[f"{way}_ms"] = 1e3 * statistics.median(times[i] for times in rounds)
            row[f"{way}_ratio"] = statistics.median(times[i] / times[0] for times in rounds)
        rows.append(row)
    return rows


def show(rows: list[dict[str, float | str]]) -> None:
    """The table."""
    print(f"{'last layer, stored tokens':28}{'kshot ms':>10}{'whole ms':>10}{'ratio':>8}{'rival ms':>10}{'ratio':>8}")
    for row in rows:
        numbers = "".join(f"{row[f'{way}_ms']:>10.3f}{row[f'{way}_ratio']:>8.1f}" for way in WAYS[1:])
        print(f"{row['family']:28}{row['kshot_ms']:>10.3f}{numbers}")
