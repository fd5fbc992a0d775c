"""V-JEPA 2: a Vision Transformer over tubelets of a clip, that learned to predict its own features; no text side.

Assran et al., V-JEPA 2, 2025 (arXiv 2506.09985). Its unit is a clip of `frames_per_clip` frames. Queries and keys of
its attention are turned by their places in time, height and width (rotary), so there are no vectors of places. The
predictor plays no part in an embedding and is left out.

Two kinds of checkpoints: `VJEPA2Model` pools nothing, and the embedding is the mean of all normed tokens.
`VJEPA2ForVideoClassification` brings an attentive pooler: layers of self-attention, then one learnt query q that looks
at all tokens. That cross-attention is the last block, and what comes before it stays frozen. With n_i the tokens after
its LayerNorm without the affine part (g, b), it needs neither keys nor values of the tokens:

    u = g * (W_k^T q)       a = softmax_i(u . n_i)       v = W_v (g * sum_i a_i n_i + b) + b_v

(the keys' bias and b add the same number to every logit of a head). Its classifier is left out.

The modules compute what transformers' compute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.backbones import checkpoint, clip, last_block, preprocessing
from kshot.backbones.backbone import Backbone
from kshot.backbones.preprocessing import Pixels, Processor
from kshot.backbones.units import MeanTower, PooledTower, Tubelets, UnitBackbone, UnitTower, expect_units, one_query
from kshot.errors import CheckpointError

USUAL = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "short-256-bilinear")
PROCESSOR = Processor("V-JEPA 2", ("VJEPA2VideoProcessor",), USUAL)
MODEL, CLASSIFIES = "VJEPA2Model", "VJEPA2ForVideoClassification"
NAMES = (  # in a file, and here
    ("encoder.embeddings.patch_embeddings.proj.", "embeddings.projection."),
    ("encoder.layer.", "encoder.layers."),
    (".attention.query.", ".self_attn.q_proj."),
    (".attention.key.", ".self_attn.k_proj."),
    (".attention.value.", ".self_attn.v_proj."),
    (".attention.proj.", ".self_attn.out_proj."),
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
    ("pooler.self_attention_layers.", "pooler.layers."),
    ("pooler.cross_attention_layer.cross_attn.", "head."),
    ("pooler.cross_attention_layer.", "head."),
    ("pooler.query_tokens", "head.query"),
    ("encoder.layernorm.", "layernorm."),
)
DROPPED = {"predictor.": "its predictor", "classifier.": "its classifier"}


@dataclass(frozen=True)
class Config:
    """What config.json says of the network; the defaults are those of the format.

    Attributes:
        hidden_size: D, width of a token.
        num_hidden_layers: L, number of blocks.
        num_attention_heads: heads of a block, a divisor of D.
        mlp_ratio: width inside the MLP over D.
        hidden_act: name of the MLP's activation.
        layer_norm_eps: added to variances before their root is taken.
        in_chans: channels of a pixel, 3.
        crop_size: side of a frame, in pixels.
        patch_size: side of a tubelet, in pixels.
        frames_per_clip: the unit.
        tubelet_size: frames of a tubelet.
        num_pooler_layers: layers of self-attention of the pooler, where there is one.
    """

    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    mlp_ratio: float = 4
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    in_chans: int = 3
    crop_size: int = 256
    patch_size: Any = 16
    frames_per_clip: int = 64
    tubelet_size: int = 2
    num_pooler_layers: int = 3

    @property
    def image_size(self) -> int:
        """Side of a frame, in pixels."""
        return self.crop_size

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tubelets along time, height and width."""
        side = self.crop_size // self.patch_size
        return self.frames_per_clip // self.tubelet_size, side, side

    def block(self, depth: int, ratio: float) -> clip.TowerConfig:
        """That of `depth` blocks with an MLP of so many times D."""
        inner, heads = int(self.hidden_size * ratio), self.num_attention_heads
        return clip.TowerConfig(self.hidden_size, inner, depth, heads, self.hidden_act, self.layer_norm_eps)


def read(folder: Path, name: str, allow_bin: bool = False) -> Backbone:
    """A V-JEPA 2 with weights (as float32) and preprocessing of a folder.

    Args:
        folder: in transformers' format.
        name: of the backbone, as it was given.
        allow_bin: also read weights that are there only as a pickle; no code of it is run.

    Raises:
        CheckpointError: a file is missing or damaged, a setting that is not followed, or tensors are missing, unknown,
            not finite or of another shape: no weight is ever left at a random value.
    """
    made, config, biases = _config(folder)
    pixels = preprocessing.read_pixels(folder, config.crop_size, PROCESSOR)
    weights, notes = _encoder(checkpoint.read_weights(folder, allow_bin), name)
    pooled = made == CLASSIFIES
    parts = checkpoint.fill(lambda: Parts(config, pooled, biases), weights, folder, f"a whole {made}")
    backbone = UnitBackbone(_tower(parts, config), name, pixels, notes)
    backbone.fingerprint = checkpoint.fingerprint([f"vjepa2 {config} {pooled} {biases}", f"{pixels}"], weights)
    return backbone


def _config(folder: Path) -> tuple[str, Config, bool]:
    """Architecture, configuration, and whether queries, keys and values have biases."""
    values = checkpoint.read_config(folder)
    named = values.get("architectures") or [MODEL]
    made = next((one for one in (MODEL, CLASSIFIES) if isinstance(named, list) and one in named), None)
    if made is None:
        raise CheckpointError(
            f"{folder}: config.json says architectures {named}, expected one of {MODEL}, {CLASSIFIES}"
        )
    try:
        clip.expect_own(values)
        if "image_size" in values and values["image_size"] != values.get("crop_size", Config.crop_size):
            raise ValueError(f"image_size is {values['image_size']}, its square is crop_size")
        config: Config = clip.filled(Config, values)
        clip.expect_square(config)
        expect_units(config, "frames_per_clip", config.tubelet_size)
        if not isinstance(biases := values.get("qkv_bias", True), bool):
            raise ValueError(f"qkv_bias is {biases!r}, expected true or false")
    except ValueError as error:
        raise CheckpointError(
            f"{folder / 'config.json'} does not describe a V-JEPA 2 that kshot reads ({error})"
        ) from None
    return made, config, biases


def _encoder(weights: Mapping[str, Tensor], name: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors that make an embedding by their names here, and a sentence for each part that was left out."""
    named = {key.removeprefix("vjepa2."): value for key, value in weights.items()}
    counts = {what: sum(key.startswith(start) for key in named) for start, what in DROPPED.items()}
    kept = {_named(key): value for key, value in named.items() if not key.startswith(tuple(DROPPED))}
    notes = (f"backbone '{name}': {what} is left out ({count} tensors)" for what, count in counts.items() if count)
    return kept, tuple(notes)


def _named(key: str) -> str:
    """A tensor's name in the file as that of the modules here."""
    for theirs, own in NAMES:
        key = key.replace(theirs, own)
    return key


def _tower(parts: Parts, config: Config) -> UnitTower:
    unit, size = config.frames_per_clip, config.crop_size
    if parts.head is None:
        return MeanTower(parts.embeddings, parts.encoder, parts.layernorm, unit, size)
    last: Any = parts.encoder.layers[-1]
    last.after = parts.layernorm
    parts.encoder.layers.extend(parts.pooler.layers)
    return PooledTower(parts.embeddings, parts.encoder, parts.head, nn.Identity(), unit, size)


class Embeddings(Tubelets):
    """Pixels (N, n, 3, S, S) -> tokens (N, T, D); see `Tubelets`.

    Attributes:
        num_positions: T, number of tokens.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config.in_chans, config.hidden_size, config.tubelet_size, config.patch_size)
        time, height, width = config.grid
        self.num_positions = time * height * width


class Attention(clip.Attention):
    """Attention whose queries and keys are turned by their places: (N, T, D) -> (N, T, D).

    Args:
        config: of a block.
        grid: tubelets along time, height and width.
        biases: whether queries, keys and values have some.
    """

    places: Tensor

    def __init__(self, config: clip.TowerConfig, grid: tuple[int, int, int], biases: bool) -> None:
        super().__init__(config)
        if not biases:
            width = self.embed_dim
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.register_buffer("places", places(grid), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None = None, is_causal: bool = False) -> tuple[Tensor, None]:
        """(N, T, D) -> (N, T, D), and None in place of its weights.

        Args:
            x: tokens.
            mask: plays no part.
            is_causal: plays no part.
        """
        heads = (*x.shape[:-1], -1, self.head_dim)
        q, k, v = (project(x).view(heads).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj))
        cosine, sine = turns(self.places, self.head_dim)
        q, k = (part * cosine + across(part) * sine for part in (q, k))
        seen = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, scale=self.scale)
        return self.out_proj(seen.transpose(1, 2).reshape(x.shape)), None


def places(grid: tuple[int, int, int]) -> Tensor:
    """(T, 3) places of the tokens along time, height and width; with memory on any device, as they are no weights."""
    axes = [torch.arange(count, dtype=torch.float32, device="cpu") for count in grid]
    return torch.stack([axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")], 1)


def turns(places: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (T, width) by which the channels of a head are turned.

    A third of the channels, rounded down to an even number, belongs to each axis, and what is left is not turned. The
    angles of an axis stand twice in a row, one after the other, while pairs are neighbours: so V-JEPA 2 was trained.

    Args:
        places: (T, 3) of the tokens.
        width: channels of a head.
    """
    each = 2 * (width // 3 // 2)
    speeds = 1 / 10000 ** (torch.arange(each // 2, dtype=places.dtype, device=places.device) / (each / 2))
    angles = (places[:, :, None] * speeds).repeat(1, 1, 2).flatten(1)
    angles = F.pad(angles, (0, width - angles.shape[1]))
    return angles.cos(), angles.sin()


def across(x: Tensor) -> Tensor:
    """Neighbouring channels (a, b) as (-b, a)."""
    pairs = x.view(*x.shape[:-1], -1, 2)
    return torch.stack((-pairs[..., 1], pairs[..., 0]), -1).flatten(-2)


class Layer(clip.Layer):
    """A block: (N, T, D) -> (N, T, D).

    Args:
        config: of a block.
        grid: tubelets along time, height and width.
        biases: whether queries, keys and values have some.

    Attributes:
        after: what its tokens go through last; the final norm, where a pooler follows the last block.
    """

    def __init__(self, config: clip.TowerConfig, grid: tuple[int, int, int], biases: bool) -> None:
        super().__init__(config)
        self.self_attn = Attention(config, grid, biases)
        self.after: nn.Module = nn.Identity()

    def forward(self, x: Tensor, mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(N, T, D) -> (N, T, D); see `clip.Attention.forward`.

        Args:
            x: tokens.
            mask: of the attention.
            is_causal: of the attention.
        """
        out: Tensor = self.after(super().forward(x, mask, is_causal))
        return out


class Head(nn.Module):
    """The cross-attention of the pooler: tokens (N, T, D) -> (N, D)."""

    def __init__(self, config: clip.TowerConfig) -> None:
        super().__init__()
        width = self.embed_dim = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.head_dim = width // self.num_heads
        self.query = nn.Parameter(torch.empty(1, 1, width))
        self.layer_norm1, self.layer_norm2 = (nn.LayerNorm(width, eps=config.layer_norm_eps) for _ in range(2))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.mlp = clip.MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        """As transformers computes it, keys and values of all tokens: (N, T, D) -> (N, D)."""
        n = self.layer_norm1(x)
        q, k, v = self.q_proj(self.query.expand(x.shape[0], -1, -1)), self.k_proj(n), self.v_proj(n)
        parts = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
        return self._behind(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(1))

    def pool(self, x: Tensor) -> Tensor:
        """The same with the one query, without keys and values of the tokens: (N, T, D) -> (N, D)."""
        heads, norm = (self.num_heads, self.head_dim), self.layer_norm1
        q = self.q_proj(self.query[0, 0]) * self.head_dim**-0.5
        q = q + 0 * self.k_proj.bias.sum()  # exactly no gradient, but one that weight decay can see
        u = torch.einsum("hd,hdc->hc", q.view(heads), self.k_proj.weight.view(*heads, -1)) * norm.weight
        mean = one_query(u, last_block.normalise(x, norm.eps)) * norm.weight + norm.bias
        v = torch.einsum("nhc,hdc->nhd", mean, self.v_proj.weight.view(*heads, -1)).flatten(1)
        return self._behind(v + self.v_proj.bias)

    def _behind(self, seen: Tensor) -> Tensor:
        y = self.query[:, 0] + seen
        out: Tensor = y + self.mlp(self.layer_norm2(y))
        return out


class Parts(nn.Module):
    """The parts of the network, as towers take them; it has no forward of its own.

    Args:
        config: sizes.
        pooled: whether an attentive pooler follows.
        biases: whether queries, keys and values have some.
    """

    def __init__(self, config: Config, pooled: bool, biases: bool) -> None:
        super().__init__()
        block, behind = (
            config.block(config.num_hidden_layers, config.mlp_ratio),
            config.block(config.num_pooler_layers, 4),
        )
        self.embeddings = Embeddings(config)
        self.encoder = clip.Encoder(block, lambda one: Layer(one, config.grid, biases))  # type: ignore[arg-type]
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = Head(behind) if pooled else None
        if pooled:
            self.pooler = clip.Encoder(behind)
