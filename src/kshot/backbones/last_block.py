"""The exact last block: the class token alone, from normalised tokens, without forming keys and values.

Only one token leaves the last block of a CLIP or DINOv2: the class token (image) or the end-of-text token (text). With
n_i the tokens after LayerNorm without its affine part (g, b), one query per head is enough, and both the keys' and the
values' projections move, by associativity, from all tokens to that one query:

    u = g * (W_k^T q)       a = softmax_i(u . n_i)       c = g * sum_i a_i n_i + b       v = W_v c + b_v

(the keys' bias and b add the same number to every logit of a head, which softmax ignores; c uses sum_i a_i = 1). The
rest of the block, residual, MLP and LayerScale where there is one, sees that one token. Output and gradients are those
of the whole block to rounding, at about a hundredth of its work: what remains is reading n twice forward and twice
back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK = {"cpu": 4 * 2**20, "cuda": 256 * 2**20}  # bytes of tokens worked on at once: a CPU's stay in its cache

# Known by name, so that transformers, which is slow to import, need not be there
LAYERS = {
    ("kshot.backbones.clip", "Layer"),
    ("kshot.backbones.families.dinov2", "Layer"),
    ("transformers.models.clip.modeling_clip", "CLIPEncoderLayer"),
}
ATTENTIONS = {("kshot.backbones.clip", "Attention"), ("transformers.models.clip.modeling_clip", "CLIPAttention")}
TURNING = {("kshot.backbones.families.dinov3", "Attention")}  # keys by their places


def exact(block: nn.Module) -> bool:
    """Whether `forward` may stand in for this block: it is unaltered, and keys are one linear map of all tokens."""
    return unaltered(block) and _kind(block.self_attn) not in TURNING


def unaltered(block: nn.Module) -> bool:
    """Whether attention of a block and the norm before it compute what they always did, so that `attend` may be used.

    Linear layers replaced, hooks or a patched forward anywhere in the block make it False; the whole block has to run
    then. Changed numbers (tuned weights, LoRA's differences to them) are fine, and so is another MLP: it must work on
    every token by itself.
    """
    if _kind(block) not in LAYERS or _kind(block.self_attn) not in ATTENTIONS | TURNING:
        return False
    attention: Any = block.self_attn
    linear = (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
    plain = all(map(_plain, linear)) and type(block.layer_norm1) is nn.LayerNorm
    dropout = block.training and attention.dropout > 0
    return plain and not dropout and not any(map(_altered, block.modules()))


def _kind(module: object) -> tuple[str, str]:
    return type(module).__module__, type(module).__qualname__


def _plain(linear: Any) -> bool:
    """Whether a layer is one matrix and a bias: a linear layer, or peft's LoRA of one without any of its extras."""
    if type(linear) is nn.Linear:
        return True
    if _kind(linear) != ("peft.tuners.lora.layer", "Linear"):
        return False
    extras = linear.lora_variant or linear.merged or linear.disable_adapters or any(linear.lora_bias.values())
    dropout = any(type(part) is not nn.Identity for part in linear.lora_dropout.values())
    return type(linear.base_layer) is nn.Linear and not extras and not dropout


def _weight(linear: Any) -> Tensor:
    """The (out, in) matrix of a layer for which `_plain` holds."""
    if type(linear) is nn.Linear:
        return linear.weight
    total: Tensor = linear.base_layer.weight + sum(map(linear.get_delta_weight, linear.active_adapters))
    return total


def _altered(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return "forward" in module.__dict__ or any(hooks)


def arithmetic(device: torch.device, precision: torch.dtype = torch.float32) -> AbstractContextManager[Any]:
    """Runs matrix products in `precision`; float32 also shields from an autocast that is on outside."""
    if not torch.amp.is_autocast_available(device.type):  # the meta device, where operations are only counted
        return nullcontext()
    return torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32)


def normalise(tokens: Tensor, eps: float) -> Tensor:
    """LayerNorm without its affine part: (..., D) -> (..., D)."""
    return F.layer_norm(tokens, tokens.shape[-1:], eps=eps)


def forward(block: Any, n: Tensor, x: Tensor, read: Tensor | None = None, causal: bool = False) -> Tensor:
    """What the whole block would give at one token of each row.

    Args:
        block: a `clip.Layer` for which `exact` holds; its own parameters are used, so gradients land on them.
        n: (N, T, D) normalised tokens, in any floating type; half precision is read as it is stored.
        x: (N, D) the raw token that is read out.
        read: (N,) positions of x among the T tokens; None for 0, the class token.
        causal: tokens see only themselves and earlier ones, as in the text tower.

    Returns:
        (N, D) in the type of the block's parameters, whatever autocast asks for: the work is too small to save on.
    """
    with arithmetic(n.device):
        attention, norm = block.self_attn, block.layer_norm1
        heads, width, dtype = attention.num_heads, attention.head_dim, norm.weight.dtype
        first = n[:, 0] if read is None else n[torch.arange(len(n), device=n.device), read]
        q = attention.q_proj(first.to(dtype) * norm.weight + norm.bias) * attention.scale
        q = q + 0 * attention.k_proj.bias.sum()  # exactly no gradient, but one that weight decay can see
        keep = None
        if causal:
            last = torch.zeros(len(n), dtype=torch.long, device=n.device) if read is None else read
            keep = torch.arange(n.shape[1], device=n.device) <= last[:, None]
        # g goes into the weights, which are smaller than the heads' queries and means (N, heads, D)
        keys = (_weight(attention.k_proj) * norm.weight).view(heads, width, -1)
        values = (_weight(attention.v_proj) * norm.weight).view(heads, width, -1)
        u = torch.einsum("nhd,hdc->nhc", q.view(-1, heads, width), keys)
        mean = look(u, n, keep)
        v = torch.einsum("nhc,hdc->nhd", mean, values).flatten(1) + attention.v_proj(norm.bias)
        return behind(block, x.to(dtype), attention.out_proj(v))


def attend(block: Any, n: Tensor, x: Tensor, weights: Tensor) -> Tensor:
    """What the whole block would give at one token of each row, if all its heads attended with these weights.

    Args:
        block: as for `forward`.
        n: (N, M, D) normalised tokens, in the type of the block's parameters.
        x: (N, D) the raw token that is read out.
        weights: (N, M) of the tokens, in all 1 for each row.

    Returns:
        (N, D).
    """
    attention, norm = block.self_attn, block.layer_norm1
    mean = torch.einsum("nm,nmd->nd", weights, n)
    return behind(block, x, attention.out_proj(attention.v_proj(mean * norm.weight + norm.bias)))


def behind(block: Any, x: Tensor, seen: Tensor) -> Tensor:
    """What a block makes of a token (N, D) and of what its attention has seen: residuals, scaled where it has
    LayerScale, and the MLP."""
    scales = [getattr(block, name, None) for name in ("layer_scale1", "layer_scale2")]
    y = x + (seen if scales[0] is None else scales[0](seen))
    made = block.mlp(block.layer_norm2(y))
    out: Tensor = y + (made if scales[1] is None else scales[1](made))
    return out


def look(u: Tensor, n: Tensor, keep: Tensor | None = None) -> Tensor:
    """softmax(u n^T) n: the mean tokens that each head's query sees, read as they are stored and a few rows at a time.

    Args:
        u: (N, H, D) queries, the keys' projection moved to them.
        n: (N, T, D) tokens, in any floating type.
        keep: (N, T) which tokens are seen; None for all.

    Returns:
        (N, H, D).
    """
    out: Tensor = _Attend.apply(u, n, keep)  # type: ignore[no-untyped-call]
    return out


class _Attend(torch.autograd.Function):
    """softmax(u n^T) n: each head's query (N, H, D) attends to the tokens (N, T, D), chunk by chunk of N."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, n: Tensor, keep: Tensor | None) -> Tensor:
        weights = u.new_empty(u.shape[0], u.shape[1], n.shape[1])
        out = torch.empty_like(u, memory_format=torch.contiguous_format)
        for part, tokens in _chunks(n, u.dtype):
            logits = u[part] @ tokens.mT
            if keep is not None:
                logits.masked_fill_(~keep[part, None], -torch.inf)
            torch.softmax(logits, -1, out=weights[part])
            torch.bmm(weights[part], tokens, out=out[part])
        ctx.save_for_backward(u, n, weights)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        u, n, weights = ctx.saved_tensors
        grad_u = torch.empty_like(u, memory_format=torch.contiguous_format)
        grad_n = torch.empty_like(n) if ctx.needs_input_grad[1] else None
        for part, tokens in _chunks(n, u.dtype):
            a = weights[part]
            d = grad[part] @ tokens.mT
            d = a * (d - (a * d).sum(-1, keepdim=True))
            torch.bmm(d, tokens, out=grad_u[part])
            if grad_n is not None:
                grad_n[part] = d.mT @ u[part] + a.mT @ grad[part]
        return grad_u, grad_n, None


def _chunks(n: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Slices of the rows with their tokens in `dtype`, converted where need be into one buffer used again."""
    rows = len(n)
    step = max(1, CHUNK.get(n.device.type, CHUNK["cuda"]) // max(1, n[:1].numel() * dtype.itemsize))
    buffer = None if n.dtype == dtype else n.new_empty(min(step, rows), *n.shape[1:], dtype=dtype)
    for start in range(0, rows, step):
        part = slice(start, min(start + step, rows))
        yield part, n[part] if buffer is None else buffer[: part.stop - start].copy_(n[part])
