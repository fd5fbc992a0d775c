"""The modules of VideoPrism, and the configuration that they follow; see `kshot.backbones.families.videoprism`.

They are those of `kshot.backbones.clip` with this family's norm and attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.backbones import clip
from kshot.backbones.tower import TextTower, Tower
from kshot.backbones.units import MeanTower, PooledTower, Tubelets, UnitTower, one_query

ENCODER, VIDEO, CLASSIFIES = "VideoPrismVisionModel", "VideoPrismVideoModel", "VideoPrismForVideoClassification"
WITH_TEXT = "VideoPrismClipModel"
SOFTPLUS = 1.442695041  # 1 / softplus(0), by which the head's scale of each channel starts at 1


@dataclass(frozen=True)
class Shared:
    """What config.json says of both sides; the defaults are those of the format.

    Attributes:
        hidden_size: D, width of a token.
        intermediate_size: width inside the MLP, and of the pooling head in all.
        num_attention_heads: heads of a block, a divisor of D.
        layer_norm_eps: added to variances before their root is taken.
        attn_logit_softcapping: beyond plus and minus this no logit of an attention goes.
        hidden_act: name of the MLP's activation.
    """

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_attention_heads: int = 12
    layer_norm_eps: float = 1e-6
    attn_logit_softcapping: float = 50.0
    hidden_act: str = "gelu_python"

    def block(self, depth: int) -> clip.TowerConfig:
        """That of `depth` blocks."""
        return clip.TowerConfig(
            self.hidden_size, self.intermediate_size, depth, self.num_attention_heads, self.hidden_act,
            self.layer_norm_eps,
        )  # fmt: skip


@dataclass(frozen=True)
class VisionConfig(Shared):
    """The video side; its other fields are those of `Shared`.

    Attributes:
        image_size: side of a frame, in pixels.
        num_frames: of a clip, the unit.
        num_channels: of a pixel, 3.
        num_spatial_layers: blocks over the squares of a frame.
        num_temporal_layers: blocks over the frames of a square.
        num_auxiliary_layers: blocks over all of them, where a checkpoint has these.
    """

    image_size: Any = 288
    num_frames: int = 16
    num_channels: int = 3
    num_spatial_layers: int = 12
    num_temporal_layers: int = 4
    num_auxiliary_layers: int = 2


@dataclass(frozen=True)
class TextConfig(Shared):
    """The text side; its other fields are those of `Shared`.

    Attributes:
        vocab_size: number of tokens that have a vector.
        max_position_embeddings: most tokens of a text.
        num_hidden_layers: number of blocks.
        hidden_act: name of the MLP's activation.
    """

    vocab_size: int = 32000
    max_position_embeddings: int = 64
    num_hidden_layers: int = 12
    hidden_act: str = "relu"


@dataclass(frozen=True)
class Form:
    """What a checkpoint is made of.

    Attributes:
        made: its architecture.
        vision: the video side.
        patch: side of the square that becomes a token, in pixels.
        biases: whether queries, keys and values of the video side have some.
        unit_length: whether the head's embeddings have unit length.
        text: the text side, where there is one.
        text_biases: as `biases`, of the text side.
        text_unit_length: as `unit_length`, of the text side.
    """

    made: str
    vision: VisionConfig
    patch: int
    biases: bool = True
    unit_length: bool = True
    text: TextConfig | None = None
    text_biases: bool = True
    text_unit_length: bool = True

    @property
    def pooled(self) -> bool:
        """Whether it has a pooling head."""
        return self.made != ENCODER


class Norm(nn.LayerNorm):
    """A LayerNorm whose scale is stored less 1."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return F.layer_norm(x, self.normalized_shape, self.weight + 1.0, self.bias, self.eps)


class Unit(nn.Module):
    """Unit length, but for 1e-6 under the root: (N, D) -> (N, D)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, D)."""
        return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6)


class Attention(clip.Attention):
    """Attention whose logits a tanh keeps within bounds: (N, T, D) -> (N, T, D).

    Args:
        config: of a block.
        most: beyond plus and minus this no logit goes.
        biases: whether queries, keys and values have some.
    """

    def __init__(self, config: clip.TowerConfig, most: float, biases: bool) -> None:
        super().__init__(config)
        self.most = most
        if not biases:
            width = self.embed_dim
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(self, x: Tensor, mask: Tensor | None = None, is_causal: bool = False) -> tuple[Tensor, None]:
        """(N, T, D) -> (N, T, D), and None in place of its weights.

        Args:
            x: tokens.
            mask: plays no part.
            is_causal: whether a token attends to itself and earlier ones alone.
        """
        heads = (*x.shape[:-1], -1, self.head_dim)
        q, k, v = (project(x).view(heads).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj))
        logits = torch.tanh(q @ k.mT * self.scale / self.most) * self.most
        if is_causal:
            later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
            logits = logits.masked_fill(later, torch.finfo(logits.dtype).min)
        weights = torch.softmax(logits, -1, dtype=torch.float32).to(v.dtype)
        return self.out_proj((weights @ v).transpose(1, 2).reshape(x.shape)), None


class Layer(clip.Layer):
    """A block: (N, T, D) -> (N, T, D).

    Args:
        config: of a block.
        most: see `Attention`.
        biases: see there.
        along: what tokens look along: "space", "time" or "all".
        frames: of a clip, where that is not "all".

    Attributes:
        after: what its tokens go through last: norm and places, where blocks of another kind follow.
    """

    def __init__(
        self, config: clip.TowerConfig, most: float, biases: bool, along: str = "all", frames: int = 1
    ) -> None:
        super().__init__(config)
        self.self_attn = Attention(config, most, biases)
        self.layer_norm1, self.layer_norm2 = (Norm(self.embed_dim, eps=config.layer_norm_eps) for _ in range(2))
        self.along, self.frames = along, frames
        self.after: nn.Module = nn.Identity()

    def forward(self, x: Tensor, mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(N, T, D) -> (N, T, D); see `clip.Attention.forward`.

        Args:
            x: tokens, those of a frame in a row.
            mask: of the attention.
            is_causal: of the attention.
        """
        if self.along == "all":
            y = super().forward(x, mask, is_causal)
        else:
            clips = x.reshape(len(x), self.frames, -1, x.shape[2])
            clips = clips if self.along == "space" else clips.transpose(1, 2)
            y = super().forward(clips.flatten(0, 1), mask, is_causal).view(clips.shape)
            y = (y if self.along == "space" else y.transpose(1, 2)).flatten(1, 2)
        out: Tensor = self.after(y)
        return out


class Embeddings(Tubelets):
    """Pixels (N, n, 3, S, S) -> tokens (N, T, D); see `Tubelets`.

    Attributes:
        num_positions: T, number of tokens.
    """

    def __init__(self, config: VisionConfig, patch: int) -> None:
        super().__init__(config.num_channels, config.hidden_size, 1, patch)
        squares = (config.image_size // patch) ** 2
        self.num_positions = config.num_frames * squares
        self.places = nn.Parameter(torch.empty(1, squares, config.hidden_size))

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (N, n, 3, S, S) -> tokens (N, T, D)."""
        frames = super().forward(pixels).reshape(-1, *self.places.shape[1:])
        return (frames + self.places).view(len(pixels), self.num_positions, -1)


class Between(nn.Module):
    """What stands between the blocks over squares and those over frames: a norm, and vectors of places in time."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.norm = Norm(config.hidden_size, eps=config.layer_norm_eps)
        self.places = nn.Parameter(torch.empty(1, config.num_frames, config.hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        frames: Tensor = self.norm(x).reshape(len(x), self.places.shape[1], -1, x.shape[2])
        return (frames + self.places[:, :, None]).view(x.shape)


class Head(nn.Module):
    """The pooling head, whose heads have a width of their own: tokens (N, T, D) -> (N, D)."""

    def __init__(self, config: VisionConfig, biases: bool) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.embed_dim, self.num_heads = width, config.num_attention_heads
        self.head_dim = inner // self.num_heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, inner, bias=biases) for _ in range(3))
        self.o_proj = nn.Linear(inner, width)
        self.per_dim_scale = nn.Parameter(torch.empty(self.head_dim))
        self.pooling_attention_query = nn.Parameter(torch.empty(1, 1, width))

    def _query(self) -> Tensor:
        """(heads, width of one)."""
        q: Tensor = self.q_proj(self.pooling_attention_query[0, 0]).view(self.num_heads, self.head_dim)
        out: Tensor = q * (SOFTPLUS * self.head_dim**-0.5) * F.softplus(self.per_dim_scale)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """As transformers computes it, keys and values of all tokens: (N, T, D) -> (N, D)."""
        k, v = (project(x).unflatten(-1, (self.num_heads, -1)) for project in (self.k_proj, self.v_proj))
        weights = torch.softmax(torch.einsum("hd,nthd->nth", self._query(), k), 1)
        out: Tensor = self.o_proj(torch.einsum("nth,nthd->nhd", weights, v).flatten(1))
        return out

    def pool(self, x: Tensor) -> Tensor:
        """The same with the one query, without keys and values of the tokens: (N, T, D) -> (N, D)."""
        heads, q = (self.num_heads, self.head_dim, -1), self._query()
        if self.k_proj.bias is not None:
            q = q + 0 * self.k_proj.bias.sum()  # exactly no gradient, but one that weight decay can see
        mean = one_query(torch.einsum("hd,hdc->hc", q, self.k_proj.weight.view(heads)), x)
        v = torch.einsum("nhc,hdc->nhd", mean, self.v_proj.weight.view(heads)).flatten(1)
        out: Tensor = self.o_proj(v if self.v_proj.bias is None else v + self.v_proj.bias)
        return out


def sines(config: TextConfig) -> Tensor:
    """Vectors of places (most tokens, D): sines, then cosines (Vaswani et al., NeurIPS 2017, section 3.5)."""
    count, width = config.max_position_embeddings, config.hidden_size
    speeds = 1.0 / (10000 ** (torch.arange(0, width, 2, dtype=torch.int64, device="cpu") / width))
    angles = torch.arange(count, dtype=torch.int64, device="cpu").float()[:, None] * speeds
    return torch.cat((angles.sin(), angles.cos()), 1)


class TextEmbeddings(nn.Module):
    """Token ids (N, T) -> tokens (N, T, D); the id behind the vocabulary is that of the token that is read out."""

    position_embedding: Tensor

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.words, self.scaling = config.vocab_size, config.hidden_size**0.5
        self.token_embedding = clip._table(config.vocab_size, config.hidden_size)
        self.cls_emb = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.register_buffer("position_embedding", torch.empty(config.max_position_embeddings, config.hidden_size))

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (N, T) -> tokens (N, T, D)."""
        read = (ids == self.words)[..., None]
        vectors = self.token_embedding(ids.clamp(max=self.words - 1)) * self.scaling
        places = F.pad(self.position_embedding, (0, 0, 0, 1))[: ids.shape[1]]
        return torch.where(read, self.cls_emb * self.scaling, vectors + places)


class Text(nn.Module):
    """The text side's parts; it has no forward of its own."""

    def __init__(self, config: TextConfig, biases: bool) -> None:
        super().__init__()
        most = config.attn_logit_softcapping
        self.embeddings = TextEmbeddings(config)
        block = config.block(config.num_hidden_layers)
        self.layers = nn.ModuleList(Layer(block, most, biases) for _ in range(config.num_hidden_layers))
        self.layernorm = Norm(config.hidden_size, eps=config.layer_norm_eps)


class VideoPrismText(TextTower):
    """The text side; reads out the token behind the last word. Its other attributes are those of `TextTower`."""

    def __init__(self, text: Text, config: TextConfig, unit_length: bool) -> None:
        end: nn.Module = Unit() if unit_length else nn.Identity()
        Tower.__init__(self, text.embeddings, text, text.layernorm, end, config.max_position_embeddings + 1)
        self.end, self.highest, self.words = config.vocab_size, False, config.vocab_size + 1


class Parts(nn.Module):
    """The parts of the network, under the names of a file; it has no forward of its own."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        config, width = form.vision, form.vision.hidden_size
        most, biases, frames = config.attn_logit_softcapping, form.biases, config.num_frames

        def layers(count: int, along: str) -> nn.ModuleList:
            return nn.ModuleList(Layer(config.block(count), most, biases, along, frames) for _ in range(count))

        self.embeddings, self.between = Embeddings(config, form.patch), Between(config)
        self.spatial_layers = layers(config.num_spatial_layers, "space")
        self.temporal_layers = layers(config.num_temporal_layers, "time")
        self.layernorm2 = Norm(width, eps=config.layer_norm_eps)
        if form.pooled:
            if form.made != CLASSIFIES:
                self.auxiliary_layers = layers(config.num_auxiliary_layers, "all")
            self.head, self.head_layernorm = Head(config, biases), Norm(width, eps=config.layer_norm_eps)
        if form.text is not None:
            self.text_model = Text(form.text, form.text_biases)


class Encoder(nn.Module):
    """All blocks before the head, as towers take them."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        more = getattr(parts, "auxiliary_layers", [])
        self.layers = nn.ModuleList([*parts.spatial_layers, *parts.temporal_layers, *more])


def tower_of(parts: Parts, form: Form) -> UnitTower:
    config, encoder = form.vision, Encoder(parts)
    last_of_space, last_of_time = parts.spatial_layers[-1], parts.temporal_layers[-1]
    last_of_space.after = parts.between
    if not form.pooled:
        return MeanTower(parts.embeddings, encoder, parts.layernorm2, config.num_frames, config.image_size)
    last_of_time.after = parts.layernorm2
    tower = PooledTower(
        parts.embeddings, encoder, parts.head, parts.head_layernorm, config.num_frames, config.image_size
    )
    if form.unit_length:
        tower.projection = Unit()
    return tower
