"""CLIP's modules under the names that checkpoints in transformers' format use, and the configuration they follow.

They compute what transformers' modules compute, to the bit (a test compares the two), and may be exchanged for them.
They are written here because importing those takes longer than all that a short command does besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BOUNDS: dict[str, tuple[float, float]] = {
    "hidden_size": (1, 2**15),
    "intermediate_size": (1, 2**18),
    "num_hidden_layers": (1, 512),
    "num_attention_heads": (1, 512),
    "layer_norm_eps": (0, 1),
    "attention_dropout": (0, 1),
    "vocab_size": (1, 2**22),
    "max_position_embeddings": (3, 2**16),
    "eos_token_id": (0, 2**22),
    "num_channels": (3, 3),
    "image_size": (1, 4096),
    "patch_size": (1, 4096),
    "projection_dim": (1, 2**15),
    "mlp_ratio": (1 / 64, 64),
    "num_register_tokens": (0, 1024),
    "rope_theta": (1, 1e9),
    "width": (1, 2**15),
    "layers": (1, 512),
    "heads": (1, 512),
    "head_width": (1, 2**15),
    "context_length": (3, 2**16),
    "eos_id": (0, 2**22),
    "num_frames": (1, 1024),
    "tubelet_size": (1, 1024),
    "frames_per_clip": (1, 1024),
    "crop_size": (1, 4096),
    "in_chans": (3, 3),
    "num_pooler_layers": (0, 64),
    "num_spatial_layers": (1, 512),
    "num_temporal_layers": (1, 512),
    "num_auxiliary_layers": (0, 64),
    "attn_logit_softcapping": (1e-3, 1e6),
}
"""The least and the most that a number of a configuration may be: several times what the largest CLIPs have."""
UNFOLLOWED = ("quantization_config", "pruned_heads")
"""What changes the numbers of a CLIP beside its sizes and weights."""


@dataclass(frozen=True)
class TowerConfig:
    """What both towers are described by; the defaults are those of the format, the bounds those of `BOUNDS`.

    Attributes:
        hidden_size: D, width of a token.
        intermediate_size: width inside the MLP.
        num_hidden_layers: L, number of blocks.
        num_attention_heads: heads of a block, a divisor of D.
        hidden_act: name of the MLP's activation.
        layer_norm_eps: added to variances before their root is taken.
        attention_dropout: share of attention weights that training sets to 0.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    attention_dropout: float = 0.0


@dataclass(frozen=True)
class TextConfig(TowerConfig):
    """The text tower.

    Attributes:
        hidden_size: see `TowerConfig`.
        intermediate_size: see `TowerConfig`.
        num_hidden_layers: see `TowerConfig`.
        num_attention_heads: see `TowerConfig`.
        vocab_size: number of tokens that have a vector.
        max_position_embeddings: T, most tokens of a text.
        eos_token_id: of the token that ends a text.
    """

    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    vocab_size: int = 49408
    max_position_embeddings: int = 77
    eos_token_id: Any = 49407


@dataclass(frozen=True)
class VisionConfig(TowerConfig):
    """The image tower.

    Attributes:
        hidden_size: see `TowerConfig`.
        intermediate_size: see `TowerConfig`.
        num_hidden_layers: see `TowerConfig`.
        num_attention_heads: see `TowerConfig`.
        num_channels: of a pixel, 3.
        image_size: side of an image, in pixels.
        patch_size: side of the patch that becomes a token, in pixels.
    """

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: Any = 224
    patch_size: Any = 32


@dataclass(frozen=True)
class Config:
    """The configuration of a whole CLIP.

    Attributes:
        text_config: of the text tower.
        vision_config: of the image tower.
        projection_dim: P, width of an embedding.
    """

    text_config: TextConfig = field(default_factory=TextConfig)
    vision_config: VisionConfig = field(default_factory=VisionConfig)
    projection_dim: int = 512

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Config:
        """From what config.json holds; keys that shape nothing are passed over.

        Raises:
            ValueError: a value of the wrong kind, or a tower that cannot be.
        """
        text = filled(TextConfig, values.get("text_config"), values.get("text_config_dict"))
        vision = filled(VisionConfig, values.get("vision_config"), values.get("vision_config_dict"))
        width = projection_dim(values)
        expect_own(values)
        if isinstance(vision.image_size, int) and isinstance(vision.patch_size, int):  # others are refused by name
            expect_square(vision)
        if isinstance(text.eos_token_id, int) and text.eos_token_id >= text.vocab_size:
            raise ValueError(f"eos_token_id {text.eos_token_id} is not in a vocabulary of {text.vocab_size}")
        return cls(text, vision, width)


def filled(kind: type[Any], given: object, complete: object = None) -> Any:
    """A tower's configuration, a dataclass; keys that it has no field for are passed over.

    Args:
        kind: of the configuration.
        given: what the file says of it.
        complete: where early checkpoints have it, this wins over `given`, with its defaults too.

    Raises:
        ValueError: a value of the wrong kind or out of bounds.
    """
    chosen = given if complete is None else complete
    if not isinstance(chosen, Mapping | None):
        raise ValueError(f"expected an object for a tower, found {chosen!r}")
    expect_own(chosen or {})
    known = {one.name: str(one.type) for one in fields(kind)}
    values = {name: value for name, value in (chosen or {}).items() if name in known}
    for name, value in values.items():
        _check(name, value, known[name])
    made = kind(**values)
    if made.hidden_size % made.num_attention_heads:
        raise ValueError(f"hidden_size {made.hidden_size} is no multiple of {made.num_attention_heads} heads")
    return made


def _check(name: str, value: object, kind: str) -> None:
    """Whether a value is of the kind that a field names, and within its bounds."""
    right: dict[str, type | tuple[type, ...]] = {"int": int, "float": (int, float), "str": str, "Any": (int, list)}
    found = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
    if not isinstance(value, right[kind]) or isinstance(value, bool):
        raise ValueError(f"{name} is {found}, expected {'a text' if kind == 'str' else 'a number'}")
    low, high = BOUNDS.get(name, (0, 0))
    if isinstance(value, int | float) and not low <= value <= high:  # not a number is not within any bounds
        raise ValueError(f"{name} is {found}, expected {low:,} to {high:,}")


def projection_dim(values: Mapping[str, Any]) -> int:
    """P, width of an embedding.

    Raises:
        ValueError: a value of the wrong kind or out of bounds.
    """
    width = values.get("projection_dim", Config.projection_dim)
    _check("projection_dim", width, "int")
    return int(width)


def expect_square(config: Any) -> None:
    """Refuses images and patches that are not square, or images too small for one patch.

    Args:
        config: with `image_size` and `patch_size`, in pixels.

    Raises:
        ValueError: they are.
    """
    side, patch = config.image_size, config.patch_size
    for size in (side, patch):
        if not isinstance(size, int):
            raise ValueError(f"images or patches of {size}: only square ones are supported")
    if patch > side:
        raise ValueError(f"patch_size {patch} is more than image_size {side}")


def expect_own(values: Mapping[str, Any]) -> None:
    """Refuses what changes the numbers of a network in a way that is not followed.

    Raises:
        ValueError: there is such a thing.
    """
    for name in UNFOLLOWED:
        if values.get(name):
            raise ValueError(f"{name} is set, which kshot does not follow: take the checkpoint before that was done")


class QuickGELU(nn.Module):
    """OpenAI's approximation of GELU: x times the logistic function of 1.702 x."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return x * torch.sigmoid(1.702 * x)


def activation(name: str) -> nn.Module:
    """The activation of that name in a configuration.

    Raises:
        KeyError: there is none.
    """
    if name == "quick_gelu":
        return QuickGELU()
    if name in ("gelu", "gelu_pytorch_tanh"):
        return nn.GELU("none" if name == "gelu" else "tanh")
    from transformers.activations import ACT2FN

    made: nn.Module = ACT2FN[name]
    return made


class Attention(nn.Module):
    """Attention of several heads: (N, T, D) -> (N, T, D), and None in place of its weights."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.embed_dim, self.num_heads = config.hidden_size, config.num_attention_heads
        self.head_dim = self.embed_dim // self.num_heads
        self.scale, self.dropout = self.head_dim**-0.5, config.attention_dropout
        self.k_proj = nn.Linear(self.embed_dim, self.embed_dim)
        self.v_proj = nn.Linear(self.embed_dim, self.embed_dim)
        self.q_proj = nn.Linear(self.embed_dim, self.embed_dim)
        self.out_proj = nn.Linear(self.embed_dim, self.embed_dim)

    def forward(self, x: Tensor, mask: Tensor | None = None, is_causal: bool = False) -> tuple[Tensor, None]:
        """Attends from every token to all others, or to earlier ones alone.

        Args:
            x: (N, T, D).
            mask: added to the logits; None for none.
            is_causal: whether a token attends to itself and earlier ones alone.
        """
        heads = (*x.shape[:-1], -1, self.head_dim)
        q, k, v = (project(x).view(heads).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj))
        dropout = self.dropout if self.training else 0.0
        causal = is_causal and mask is None
        seen = F.scaled_dot_product_attention(q, k, v, mask, dropout, causal, scale=self.scale)
        return self.out_proj(seen.transpose(1, 2).reshape(x.shape)), None


class MLP(nn.Module):
    """Two layers with an activation between them: (N, T, D) -> (N, T, D), every token by itself."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.activation_fn = activation(config.hidden_act)
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        out: Tensor = self.fc2(self.activation_fn(self.fc1(x)))
        return out


class Layer(nn.Module):
    """A block: (N, T, D) -> (N, T, D)."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.embed_dim = config.hidden_size
        self.self_attn = Attention(config)
        self.layer_norm1 = nn.LayerNorm(self.embed_dim, eps=config.layer_norm_eps)
        self.mlp = MLP(config)
        self.layer_norm2 = nn.LayerNorm(self.embed_dim, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(N, T, D) -> (N, T, D); see `Attention.forward`.

        Args:
            x: tokens.
            mask: of the attention.
            is_causal: of the attention.
        """
        seen, _ = self.self_attn(self.layer_norm1(x), mask, is_causal=is_causal)
        x = x + seen
        out: Tensor = x + self.mlp(self.layer_norm2(x))
        return out


class Encoder(nn.Module):
    """The blocks of a tower, under the name that checkpoints give them."""

    def __init__(self, config: TowerConfig, layer: type[Layer] = Layer) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer(config) for _ in range(config.num_hidden_layers))


def _table(rows: int, width: int) -> nn.Embedding:
    """An embedding whose values are not drawn: drawing them without memory makes PyTorch import its compiler."""
    made: nn.Embedding = nn.Embedding.from_pretrained(torch.empty(rows, width), freeze=False)  # type: ignore[no-untyped-call]
    return made


def _count(tokens: int) -> Tensor:
    """0..T-1 as (1, T); checkpoints do not hold it, so it has memory whatever device the rest is built on."""
    return torch.arange(tokens, device="cpu")[None]


class VisionEmbeddings(nn.Module):
    """Pixels (N, 3, S, S) -> tokens (N, 1 + patches, D), the class token first."""

    position_ids: Tensor

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, self.image_size, self.patch_size = config.hidden_size, config.image_size, config.patch_size
        self.num_positions = (self.image_size // self.patch_size) ** 2 + 1
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(config.num_channels, width, self.patch_size, self.patch_size, bias=False)
        self.position_embedding = _table(self.num_positions, width)
        self.register_buffer("position_ids", _count(self.num_positions), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, S, S) -> tokens (N, 1 + patches, D)."""
        patches = self.patch_embedding(pixels.to(self.patch_embedding.weight.dtype)).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(pixels.shape[0], 1, -1)
        out: Tensor = torch.cat([first, patches], dim=1) + self.position_embedding(self.position_ids)
        return out


class TextEmbeddings(nn.Module):
    """Token ids (N, T) -> tokens (N, T, D)."""

    position_ids: Tensor

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = _table(config.vocab_size, config.hidden_size)
        self.position_embedding = _table(config.max_position_embeddings, config.hidden_size)
        self.register_buffer("position_ids", _count(config.max_position_embeddings), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (N, T) -> tokens (N, T, D)."""
        out: Tensor = self.token_embedding(ids) + self.position_embedding(self.position_ids[:, : ids.shape[1]])
        return out


class VisionModel(nn.Module):
    """The image tower's parts but for its projection; it has no forward of its own."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = VisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


class TextModel(nn.Module):
    """The text tower's parts but for its projection; it has no forward of its own."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.eos_token_id = config.eos_token_id


class CLIP(nn.Module):
    """Both towers' parts, as `kshot.backbones.backbone.Backbone` takes them; it has no forward of its own."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.text_model = TextModel(config.text_config)
        self.vision_model = VisionModel(config.vision_config)
        self.visual_projection = nn.Linear(config.vision_config.hidden_size, config.projection_dim, bias=False)
        self.text_projection = nn.Linear(config.text_config.hidden_size, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.empty(()))
