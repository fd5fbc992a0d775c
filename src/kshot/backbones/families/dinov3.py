"""DINOv3's Vision Transformer: DINOv2's block with registers, and places that turn queries and keys; no text side.

Simeoni et al., DINOv3, 2025 (arXiv 2508.10104). Patches have no vectors of places: in every block the query and the
key of a patch are turned by angles that follow from its row and column (Su et al., RoFormer, arXiv 2104.09864), those
of the class token and of registers are not. So a key is no linear map of its token that is the same for all, and the
exact last block of `kshot.backbones.last_block` does not hold: the whole block runs. Values are not turned, so weights
of places may stand in for the query's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.backbones import checkpoint, clip, preprocessing
from kshot.backbones.backbone import Backbone
from kshot.backbones.families import dinov2
from kshot.backbones.preprocessing import Pixels, Processor
from kshot.errors import CheckpointError

AS_DINOV3 = Pixels(dinov2.IMAGENET.mean, dinov2.IMAGENET.std, "squash-bilinear")
PROCESSOR = Processor("DINOv3", ("DINOv3ViTImageProcessor", "DINOv3ViTImageProcessorFast"), AS_DINOV3)
NAMES = (  # in a file, and here
    (".attention.o_proj.", ".self_attn.out_proj."), (".attention.", ".self_attn."), (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."), (".mlp.up_proj.", ".mlp.fc1."), (".mlp.down_proj.", ".mlp.fc2."),
)  # fmt: skip
BIASES = ("query_bias", "value_bias", "proj_bias", "mlp_bias")


@dataclass(frozen=True)
class Config:
    """What config.json says of the network; the defaults are those of the format.

    Attributes:
        hidden_size: D, width of a token.
        intermediate_size: width inside the MLP.
        num_hidden_layers: L, number of blocks.
        num_attention_heads: heads of a block, a divisor of D.
        hidden_act: name of the MLP's activation.
        layer_norm_eps: added to variances before their root is taken.
        attention_dropout: share of attention weights that training sets to 0.
        num_channels: of a pixel, 3.
        image_size: side of an image, in pixels.
        patch_size: side of the patch that becomes a token, in pixels.
        num_register_tokens: R, tokens beside the class token and the patches.
        rope_theta: base of the frequencies by which places turn.
    """

    hidden_size: int = 384
    intermediate_size: int = 1536
    num_hidden_layers: int = 12
    num_attention_heads: int = 6
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    attention_dropout: float = 0.0
    num_channels: int = 3
    image_size: Any = 224
    patch_size: Any = 16
    num_register_tokens: int = 0
    rope_theta: float = 100.0


def read(folder: Path, name: str, allow_bin: bool = False) -> Backbone:
    """A DINOv3 with weights (as float32) and preprocessing of a folder.

    Args:
        folder: in transformers' format.
        name: of the backbone, as it was given.
        allow_bin: also read weights that are there only as a pickle; no code of it is run.

    Raises:
        CheckpointError: a file is missing or damaged, a setting that is not followed, or tensors are missing, unknown,
            not finite or of another shape: no weight is ever left at a random value.
    """
    values = checkpoint.read_config(folder)
    made = values.get("architectures") or ["DINOv3ViTModel"]
    if not isinstance(made, list) or "DINOv3ViTModel" not in made:
        raise CheckpointError(f"{folder}: config.json says architectures {made}, expected DINOv3ViTModel")
    try:
        config = _config(values)
    except ValueError as error:
        raise CheckpointError(
            f"{folder / 'config.json'} does not describe a DINOv3 that kshot reads ({error})"
        ) from None
    gated, key_bias = bool(values.get("use_gated_mlp", False)), bool(values.get("key_bias", False))
    pixels = preprocessing.read_pixels(folder, config.image_size, PROCESSOR)
    weights = checkpoint.read_weights(folder, allow_bin)
    about = [f"dinov3 {config} gated {gated} key bias {key_bias}", f"{pixels}"]
    vision = checkpoint.fill(
        lambda: Vision(config, gated, key_bias), _renamed(weights), folder, "a whole DINOv3ViTModel"
    )
    backbone = Dinov3(vision, name, pixels)
    backbone.fingerprint = checkpoint.fingerprint(about, weights)
    return backbone


def _config(values: dict[str, Any]) -> Config:
    """Of the network.

    Raises:
        ValueError: a value of the wrong kind, a network that cannot be, or a setting that is not followed.
    """
    clip.expect_own(values)
    for setting in BIASES:
        if values.get(setting, True) is not True:
            raise ValueError(f"{setting} is {values[setting]}, which kshot does not follow")
    config: Config = clip.filled(Config, values)
    clip.expect_square(config)
    if (config.hidden_size // config.num_attention_heads) % 4:
        raise ValueError(f"heads of {config.hidden_size // config.num_attention_heads} channels, not a multiple of 4")
    return config


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors under the names that the modules here have; of a gated MLP both matrices in one."""
    made: dict[str, Tensor] = {}
    for key, value in weights.items():
        if key == "embeddings.mask_token" or ".mlp.gate_proj." in key:
            continue
        gate = weights.get(key.replace(".up_proj.", ".gate_proj.")) if ".mlp.up_proj." in key else None
        if gate is not None and gate.shape == value.shape:
            value = torch.cat([gate, value])
        for theirs, own in NAMES:
            key = key.replace(theirs, own)
        if key.startswith(("layer.", "norm.")):
            key = f"encoder.layers.{key[6:]}" if key.startswith("layer.") else f"layer{key}"
        made[key] = value
    return made


def _angles(config: Config) -> Tensor:
    """By how much the place of each patch turns the channels of a head: (patches, channels)."""
    side, channels = config.image_size // config.patch_size, config.hidden_size // config.num_attention_heads
    centres = (torch.arange(side, device="cpu") + 0.5) / side * 2 - 1
    places = torch.stack(torch.meshgrid(centres, centres, indexing="ij"), -1).flatten(0, 1)
    frequencies = 1 / config.rope_theta ** torch.arange(0, 1, 4 / channels, device="cpu")
    return (2 * math.pi * places[:, :, None] * frequencies).flatten(1).tile(2)


class Attention(clip.Attention):
    """Attention of several heads, queries and keys of patches turned by their places; tokens before them are not."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, config: clip.TowerConfig, angles: Tensor, key_bias: bool) -> None:
        super().__init__(config)
        if not key_bias:
            self.k_proj = nn.Linear(self.embed_dim, self.embed_dim, bias=False)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None = None, is_causal: bool = False) -> tuple[Tensor, None]:
        """(N, T, D) -> (N, T, D), the patches last; see `clip.Attention.forward`.

        Args:
            x: tokens.
            mask: of the attention.
            is_causal: of the attention.
        """
        heads = (*x.shape[:-1], -1, self.head_dim)
        q, k, v = (project(x).view(heads).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj))
        dropout = self.dropout if self.training else 0.0
        causal = is_causal and mask is None
        seen = F.scaled_dot_product_attention(
            self.turned(q), self.turned(k), v, mask, dropout, causal, scale=self.scale
        )
        return self.out_proj(seen.transpose(1, 2).reshape(x.shape)), None

    def turned(self, x: Tensor) -> Tensor:
        """Queries or keys (N, heads, T, channels), those of the patches turned by their places."""
        first = x.shape[2] - len(self.cosine)
        patches = x[:, :, first:]
        one, other = patches.chunk(2, -1)
        turned = patches * self.cosine + torch.cat([-other, one], -1) * self.sine
        return torch.cat([x[:, :, :first], turned.to(x.dtype)], 2)


class Embeddings(nn.Module):
    """Pixels (N, 3, S, S) -> tokens (N, 1 + R + patches, D): the class token, registers, patches.

    Attributes:
        image_size: S, in pixels.
        patch_size: side of a patch, in pixels.
        num_positions: number of tokens.
        first: of them, before the patches.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, self.image_size, self.patch_size = config.hidden_size, config.image_size, config.patch_size
        self.first = 1 + config.num_register_tokens
        self.num_positions = self.first + (self.image_size // self.patch_size) ** 2
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.register_tokens = nn.Parameter(torch.empty(1, config.num_register_tokens, width))
        self.patch_embeddings = nn.Conv2d(config.num_channels, width, self.patch_size, self.patch_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, S, S) -> tokens (N, 1 + R + patches, D)."""
        patches = self.patch_embeddings(pixels).flatten(2).transpose(1, 2)
        before = (part.expand(pixels.shape[0], -1, -1) for part in (self.cls_token, self.register_tokens))
        return torch.cat([*before, patches], 1)


class Vision(nn.Module):
    """The parts of the network, as `ImageTower` takes them; it has no forward of its own."""

    def __init__(self, config: Config, gated: bool = False, key_bias: bool = False) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.pre_layrnorm = nn.Identity()
        block = clip.TowerConfig(
            config.hidden_size, config.intermediate_size, config.num_hidden_layers, config.num_attention_heads,
            config.hidden_act, config.layer_norm_eps, config.attention_dropout,
        )  # fmt: skip
        self.encoder = clip.Encoder(block, dinov2.Layer)
        angles = _angles(config)
        for layer in self.encoder.layers:
            layer.self_attn = Attention(block, angles, key_bias)
            if gated:
                layer.mlp = dinov2.GatedMLP(
                    config.hidden_size, config.intermediate_size, clip.activation(config.hidden_act)
                )
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    @property
    def post_layernorm(self) -> nn.LayerNorm:
        """The norm of the end."""
        return self.layernorm


class Dinov3(dinov2.Dinov2):
    """A DINOv3 with its preprocessing; it has no text side.

    Args:
        vision: its parts.
        name: as loaded.
        pixels: its preprocessing.
    """

    tunings = tuple(method for method in dinov2.Dinov2.tunings if method != "task-adapter")
    lacks = "attention without turned keys and LayerScale"

    def __init__(self, vision: Vision, name: str = "memory", pixels: Pixels = AS_DINOV3) -> None:
        super().__init__(vision, name, pixels)
