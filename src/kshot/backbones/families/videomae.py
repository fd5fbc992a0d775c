"""VideoMAE: a Vision Transformer over tubelets of a clip, that learned by filling in what is hidden; no text side.

Tong et al., VideoMAE, NeurIPS 2022 (arXiv 2203.12602). Its unit is a clip of `num_frames` frames. The embedding is the
mean of all tokens: behind the final norm where the encoder has one, before `fc_norm` in a checkpoint with a classifier.
The classifier and the decoder of pre-training play no part in it and are left out. Vectors of places are fixed sines
and cosines, no weights.

The modules are those of `kshot.backbones.clip`, whose keys have no bias here, and compute what transformers'
`VideoMAEModel` computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kshot.backbones import checkpoint, clip, preprocessing
from kshot.backbones.backbone import Backbone
from kshot.backbones.preprocessing import Pixels, Processor
from kshot.backbones.units import MeanTower, Tubelets, UnitBackbone, expect_units
from kshot.errors import CheckpointError

KINDS = ("VideoProcessor", "ImageProcessor", "ImageProcessorFast", "ImageProcessorPil", "FeatureExtractor")
USUAL = Pixels((0.5,) * 3, (0.5,) * 3, "short-bilinear")
PROCESSOR = Processor("VideoMAE", tuple(f"VideoMAE{kind}" for kind in KINDS), USUAL)
MODEL, CLASSIFIES, PRETRAINS = "VideoMAEModel", "VideoMAEForVideoClassification", "VideoMAEForPreTraining"
NAMES = (  # in a file, and here; the biases under today's name and under that of the published checkpoints
    ("encoder.layer.", "encoder.layers."),
    (".attention.attention.query.", ".self_attn.q_proj."),
    (".attention.attention.key.", ".self_attn.k_proj."),
    (".attention.attention.value.", ".self_attn.v_proj."),
    (".attention.attention.q_bias", ".self_attn.q_proj.bias"),
    (".attention.attention.v_bias", ".self_attn.v_proj.bias"),
    (".attention.output.dense.", ".self_attn.out_proj."),
    (".intermediate.dense.", ".mlp.fc1."),
    (".output.dense.", ".mlp.fc2."),
    (".layernorm_before.", ".layer_norm1."),
    (".layernorm_after.", ".layer_norm2."),
)
DROPPED = {  # architecture -> what its file holds beside the encoder, and what that is
    CLASSIFIES: (("classifier.",), "its classifier"),
    PRETRAINS: (("decoder.", "encoder_to_decoder.", "mask_token"), "the decoder of its pre-training"),
}


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
        num_channels: of a pixel, 3.
        image_size: side of a frame, in pixels.
        patch_size: side of a tubelet, in pixels.
        num_frames: of a clip, the unit.
        tubelet_size: frames of a tubelet.
    """

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    num_channels: int = 3
    image_size: Any = 224
    patch_size: Any = 16
    num_frames: int = 16
    tubelet_size: int = 2

    @property
    def block(self) -> clip.TowerConfig:
        """That of a block."""
        return clip.TowerConfig(
            self.hidden_size, self.intermediate_size, self.num_hidden_layers, self.num_attention_heads, self.hidden_act,
            self.layer_norm_eps,
        )  # fmt: skip


def read(folder: Path, name: str, allow_bin: bool = False) -> Backbone:
    """A VideoMAE with weights (as float32) and preprocessing of a folder.

    Args:
        folder: in transformers' format.
        name: of the backbone, as it was given.
        allow_bin: also read weights that are there only as a pickle; no code of it is run.

    Raises:
        CheckpointError: a file is missing or damaged, a setting that is not followed, or tensors are missing, unknown,
            not finite or of another shape: no weight is ever left at a random value.
    """
    made, config, form = _config(folder)
    pixels = preprocessing.read_pixels(folder, config.image_size, PROCESSOR)
    weights, notes = _encoder(checkpoint.read_weights(folder, allow_bin), made, name)
    parts = checkpoint.fill(lambda: Parts(config, **form), weights, folder, f"a whole {made}")
    norm: nn.Module = parts.fc_norm if form["fc_norm"] else parts.layernorm if form["norm"] else nn.Identity()
    tower = MeanTower(
        parts.embeddings, parts.encoder, norm, config.num_frames, config.image_size, mean_first=form["fc_norm"]
    )
    backbone = UnitBackbone(tower, name, pixels, notes)
    backbone.fingerprint = checkpoint.fingerprint([f"videomae {config} {form}", f"{pixels}"], weights)
    return backbone


def _config(folder: Path) -> tuple[str, Config, dict[str, bool]]:
    """Architecture, configuration, and which of the norms and biases there are."""
    values = checkpoint.read_config(folder)
    named = values.get("architectures") or [MODEL]
    made = next((one for one in (MODEL, *DROPPED) if isinstance(named, list) and one in named), None)
    if made is None:
        expected = ", ".join((MODEL, *DROPPED))
        raise CheckpointError(f"{folder}: config.json says architectures {named}, expected one of {expected}")
    try:
        clip.expect_own(values)
        config: Config = clip.filled(Config, values)
        clip.expect_square(config)
        expect_units(config, "num_frames", config.tubelet_size)
        pooled, biases = values.get("use_mean_pooling", True), values.get("qkv_bias", values.get("qv_bias", True))
        for setting, value in (("use_mean_pooling", pooled), ("qv_bias", biases)):
            if not isinstance(value, bool):
                raise ValueError(f"{setting} is {value!r}, expected true or false")
        if made == CLASSIFIES and not pooled:
            raise ValueError("use_mean_pooling is false, so its classifier reads the first tubelet alone")
    except ValueError as error:
        raise CheckpointError(
            f"{folder / 'config.json'} does not describe a VideoMAE that kshot reads ({error})"
        ) from None
    return made, config, {"norm": not pooled, "fc_norm": made == CLASSIFIES, "biases": biases}


def _encoder(weights: Mapping[str, Tensor], made: str, name: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The encoder's tensors by their names here, and a sentence on those that were left out."""
    starts, what = DROPPED.get(made, ((), ""))
    kept = {_named(key): value for key, value in weights.items() if not key.startswith(starts)}
    dropped = len(weights) - len(kept)
    return kept, (f"backbone '{name}': {what} is left out ({dropped} tensors)",) if dropped else ()


def _named(key: str) -> str:
    """A tensor's name in the file as that of the modules here."""
    key = key.removeprefix("videomae.")
    for theirs, own in NAMES:
        key = key.replace(theirs, own)
    return key


class Attention(clip.Attention):
    """Attention whose keys have no bias, and whose queries and values need none: (N, T, D) -> (N, T, D)."""

    def __init__(self, config: clip.TowerConfig, biases: bool) -> None:
        super().__init__(config)
        width = self.embed_dim
        self.q_proj, self.v_proj = nn.Linear(width, width, bias=biases), nn.Linear(width, width, bias=biases)
        self.k_proj = nn.Linear(width, width, bias=False)


class Layer(clip.Layer):
    """A block: (N, T, D) -> (N, T, D)."""

    def __init__(self, config: clip.TowerConfig, biases: bool = True) -> None:
        super().__init__(config)
        self.self_attn = Attention(config, biases)


class Embeddings(nn.Module):
    """Pixels (N, n, 3, S, S) -> tokens (N, T, D).

    Attributes:
        num_positions: T, number of tokens.
    """

    places: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.patch_embeddings = Tubelets(config.num_channels, width, config.tubelet_size, patch)
        self.num_positions = (config.image_size // patch) ** 2 * (config.num_frames // config.tubelet_size)
        self.register_buffer("places", sines(self.num_positions, width), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (N, n, 3, S, S) -> tokens (N, T, D)."""
        out: Tensor = self.patch_embeddings(pixels) + self.places
        return out


def sines(count: int, width: int) -> Tensor:
    """Vectors of places (1, count, width): sines and cosines by turns (Vaswani et al., NeurIPS 2017, section 3.5)."""
    channels = np.arange(width)
    angles = np.arange(count)[:, None] / np.power(10000, 2 * (channels // 2) / width)
    angles[:, 0::2], angles[:, 1::2] = np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])
    return torch.tensor(angles[None], dtype=torch.float32, device="cpu")  # no weights: with memory on any device


class Parts(nn.Module):
    """The parts of the network, as `MeanTower` takes them; it has no forward of its own.

    Args:
        config: sizes.
        norm: whether the encoder ends in a norm of every token.
        fc_norm: whether a norm of their mean follows.
        biases: whether queries and values have biases.
    """

    def __init__(self, config: Config, norm: bool, fc_norm: bool, biases: bool) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = clip.Encoder(config.block, lambda block: Layer(block, biases))  # type: ignore[arg-type]
        if norm:
            self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        if fc_norm:
            self.fc_norm = nn.LayerNorm(config.hidden_size)
