"""A transformer block of random weights, and tokens for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def make_block(width: int, heads: int, dtype: torch.dtype = torch.float32, dropout: float = 0.0) -> nn.Module:
    """A transformers block with random weights, biases and affine parts."""
    from transformers.models.clip.configuration_clip import CLIPVisionConfig
    from transformers.models.clip.modeling_clip import CLIPEncoderLayer

    config = CLIPVisionConfig(
        hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width, attention_dropout=dropout
    )
    config._attn_implementation = "sdpa"
    generator = torch.Generator().manual_seed(1)
    with torch.device("meta"):
        block = CLIPEncoderLayer(config)
    block.to_empty(device="cpu").to(dtype)
    with torch.no_grad():
        for name, value in block.named_parameters():
            noise = torch.randn(value.shape, generator=generator, dtype=dtype)
            if value.ndim == 2:
                value.copy_(noise * value.shape[1] ** -0.5)
            else:
                value.copy_(noise * 0.3 + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
    return block


def tokens(rows: int, count: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Tokens of uneven size and offset, so that every part of the normalisation matters."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(rows, count, width, generator=generator, dtype=dtype)
    return x * torch.rand(rows, count, 1, generator=generator, dtype=dtype).add(0.5) + 0.3
