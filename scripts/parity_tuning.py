"""Tuned image towers written a second time, from papers and published codes: plain products, one block after another.

Nothing here uses `kshot.tuning` but for the weights: the frozen ones of a plain backbone, the new ones of a tuned one.
Letters in shapes: N frames of all clips, T tokens, D channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Reference = Callable[[Any, Any, Tensor, int, int], Tensor]
"""(plain backbone, tuned backbone, frames (N, 3, S, S), frames a clip, support clips) -> embeddings (N, P)."""


def norm(x: Tensor, own: Any) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], own.weight, own.bias, own.eps)


def linear(x: Tensor, own: Any, extra: Tensor | None = None) -> Tensor:
    return F.linear(x, own.weight if extra is None else own.weight + extra, own.bias)


def attend(x: Tensor, own: Any, sees: Tensor | None = None, extra: dict[str, Tensor] | None = None) -> Tensor:
    """Attention among the rows of x (..., n, D); sees: (n, n) who sees whom; extra: differences of weights."""
    extra = extra or {}
    q, k, v = (
        linear(x, getattr(own, name), extra.get(name)).unflatten(-1, (own.num_heads, -1)).transpose(-2, -3)
        for name in ("q_proj", "k_proj", "v_proj")
    )
    logits = q @ k.mT / math.sqrt(q.shape[-1])
    if sees is not None:
        logits = logits.masked_fill(~sees, -torch.inf)
    return linear((logits.softmax(-1) @ v).transpose(-2, -3).flatten(-2), own.out_proj, extra.get("out_proj"))


def mlp(x: Tensor, own: Any, extra: dict[str, Tensor] | None = None) -> Tensor:
    extra, inner = extra or {}, linear(x, own.fc1, (extra or {}).get("fc1"))
    return linear(own.activation_fn(inner), own.fc2, extra.get("fc2"))


def bottleneck(x: Tensor, own: Any, act: Callable[[Tensor], Tensor]) -> Tensor:
    return linear(act(linear(x, own.down)), own.up)


def begin(plain: Any, frames: Tensor, add: Tensor | None = None) -> Tensor:
    """Tokens before block 1: patches and class token with their places, what is added, the first norm."""
    own = plain.image.embeddings
    patches = F.conv2d(frames, own.patch_embedding.weight, stride=own.patch_size).flatten(2).mT
    tokens = torch.cat([own.class_embedding.expand(len(frames), 1, -1), patches], 1) + own.position_embedding.weight
    return norm(tokens if add is None else tokens + add, plain.image.pre)


def end(plain: Any, x: Tensor) -> Tensor:
    return norm(x[:, 0], plain.image.norm) @ plain.image.projection.weight.T


def frozen(plain: Any, tuned: Any, frames: Tensor, clip: int, support: int) -> Tensor:
    x = begin(plain, frames)
    for own in plain.image.blocks:
        x = x + attend(norm(x, own.layer_norm1), own.self_attn)
        x = x + mlp(norm(x, own.layer_norm2), own.mlp)
    return end(plain, x)


def itself(plain: Any, tuned: Any, *rest: Any) -> Tensor:
    """Methods that change numbers alone: the plain computation with the tuned numbers."""
    return frozen(tuned, tuned, *rest)


def lora(plain: Any, tuned: Any, frames: Tensor, clip: int, support: int) -> Tensor:
    x = begin(plain, frames)
    for own, new in zip(plain.image.blocks, tuned.image.blocks, strict=True):
        layers = {name: getattr(new.self_attn, name) for name in ("q_proj", "v_proj")}
        extra = {n: 2 * m.lora_B["default"].weight @ m.lora_A["default"].weight for n, m in layers.items()}
        x = x + attend(norm(x, own.layer_norm1), own.self_attn, extra=extra)
        x = x + mlp(norm(x, own.layer_norm2), own.mlp)
    return end(plain, x)


def adaptformer(plain: Any, tuned: Any, frames: Tensor, clip: int, support: int, *, normed: bool = False) -> Tensor:
    x = begin(plain, frames)
    for own, new in zip(plain.image.blocks, tuned.image.blocks, strict=True):
        x = x + attend(norm(x, own.layer_norm1), own.self_attn)
        n = norm(x, own.layer_norm2)
        x = x + mlp(n, own.mlp) + 0.1 * bottleneck(n if normed else x, new.mlp.adapter, torch.relu)
    return end(plain, x)


def adaptformer_of_the_paper(*given: Any) -> Tensor:
    return adaptformer(*given, normed=True)


def st_adapter(plain: Any, tuned: Any, frames: Tensor, clip: int, support: int) -> Tensor:
    """Before the attention where a block has such an adapter, before the MLP where it has one."""

    def adapted(x: Tensor, adapter: Any) -> Tensor:
        if adapter is None:
            return x
        down, own = linear(x[:, 1:], adapter.down), adapter.activation.convolve
        side = math.isqrt(down.shape[1])
        video = down.view(-1, clip, side, side, down.shape[2]).permute(0, 4, 1, 2, 3)
        made = F.conv3d(video, own.weight, own.bias, padding=(1, 0, 0), groups=len(own.weight))
        added = linear(made.permute(0, 2, 3, 4, 1).reshape(down.shape), adapter.up)
        return torch.cat([x[:, :1], x[:, 1:] + added], 1)

    x = begin(plain, frames)
    for own, new in zip(plain.image.blocks, tuned.image.blocks, strict=True):
        x = adapted(x, new.adapter)
        x = x + attend(norm(x, own.layer_norm1), own.self_attn)
        x = adapted(x, new.before_mlp)
        x = x + mlp(norm(x, own.layer_norm2), own.mlp)
    return end(plain, x)


def aim(plain: Any, tuned: Any, frames: Tensor, clip: int, support: int, *, early: bool = True) -> Tensor:
    when = (tuned.image.embeddings if early else tuned.image.blocks[0]).when.repeat(len(frames) // clip, 1, 1)
    x = begin(plain, frames, when) if early else begin(plain, frames) + when
    for own, new in zip(plain.image.blocks, tuned.image.blocks, strict=True):
        over_time = norm(x, own.layer_norm1).unflatten(0, (-1, clip)).transpose(1, 2)
        x = x + bottleneck(attend(over_time, own.self_attn).transpose(1, 2).flatten(0, 1), new.temporal, F.gelu)
        seen = attend(norm(x, own.layer_norm1), own.self_attn)
        x = x + seen + bottleneck(seen, new.spatial, F.gelu)
        n = norm(x, own.layer_norm2)
        x = x + mlp(n, own.mlp) + 0.5 * bottleneck(n, new.joint, F.gelu)
    return end(plain, x)


def aim_at_the_block(*given: Any) -> Tensor:
    return aim(*given, early=False)


def vpt(plain: Any, tuned: Any, frames: Tensor, clip: int, support: int) -> Tensor:
    x = begin(plain, frames)
    for own, new in zip(plain.image.blocks, tuned.image.blocks, strict=True):
        x = torch.cat([x[:, :1], new.prompts.expand(len(x), -1, -1), x[:, 1:]], 1)
        x = x + attend(norm(x, own.layer_norm1), own.self_attn)
        x = x + mlp(norm(x, own.layer_norm2), own.mlp)
        x = torch.cat([x[:, :1], x[:, 1 + len(new.prompts) :]], 1)
    return end(plain, x)


def clip_adapter(plain: Any, tuned: Any, frames: Tensor, clip: int, support: int) -> Tensor:
    x, own = frozen(plain, tuned, frames, clip, support), tuned.image.feature.adapter
    return 0.8 * x + 0.2 * torch.relu(x @ own.down.weight.T) @ own.up.weight.T


def task_adapter(
    plain: Any, tuned: Any, frames: Tensor, clip: int, support: int, *, first: bool = False, apart: bool = False
) -> Tensor:
    """Across clips, token by token and frame by frame; first: before the block, as kshot had it; apart: queries see
    queries alone."""
    count = len(frames) // clip
    sees = torch.eye(count, dtype=torch.bool)
    sees[:, :support] = True
    if apart:
        sees[support:, :support], sees[support:, support:] = False, True

    def across(x: Tensor, own: Any, adapter: Any) -> Tensor:
        clips = norm(x, own.layer_norm1).unflatten(0, (count, clip)).permute(1, 2, 0, 3)
        seen = attend(clips, own.self_attn, sees).permute(2, 0, 1, 3).flatten(0, 1)
        return x + bottleneck(seen, adapter, F.gelu)

    x = begin(plain, frames)
    for own, new in zip(plain.image.blocks, tuned.image.blocks, strict=True):
        adapter = getattr(new, "adapter", None)
        x = across(x, own, adapter) if adapter is not None and first else x
        x = x + attend(norm(x, own.layer_norm1), own.self_attn)
        x = across(x, own, adapter) if adapter is not None and not first else x
        x = x + mlp(norm(x, own.layer_norm2), own.mlp)
    return end(plain, x)


def task_adapter_before_the_block(*given: Any) -> Tensor:
    return task_adapter(*given, first=True)


def task_adapter_of_the_code(*given: Any) -> Tensor:
    return task_adapter(*given, apart=True)


def coop(plain: Any, tuned: Any, names: list[str], stop: str = ".") -> Tensor:
    """Texts: start, the learned vectors, the name, a full stop, end; read where the text ends, at unit length."""
    text, vectors = plain.text, tuned.text.embeddings.token_embedding.vectors
    out = []
    for name in names:
        ids = plain.tokenize([name + stop])[0]
        table = text.embeddings.token_embedding.weight
        last = int((ids == text.end).int().argmax())
        x = torch.cat([table[ids[:1]], vectors, table[ids[1 : last + 1]]])
        x = (x + text.embeddings.position_embedding.weight[: len(x)])[None]
        sees = torch.ones(x.shape[1], x.shape[1]).tril().bool()
        for own in text.blocks:
            x = x + attend(norm(x, own.layer_norm1), own.self_attn, sees)
            x = x + mlp(norm(x, own.layer_norm2), own.mlp)
        out.append(norm(x[0, -1], text.norm) @ text.projection.weight.T)
    return F.normalize(torch.stack(out), dim=1)


def coop_without_a_stop(plain: Any, tuned: Any, names: list[str]) -> Tensor:
    return coop(plain, tuned, names, "")
