"""DINOv2, with and without registers: a Vision Transformer that learned from pictures alone; no text side.

Oquab et al., DINOv2, TMLR 2024 (arXiv 2304.07193); Darcet et al., Vision Transformers Need Registers, ICLR 2024
(arXiv 2309.16588). The class token is read out behind the final norm, and there is no projection. In a block both
what attention adds and what the MLP adds is scaled channel by channel (LayerScale).

The modules are those of `kshot.backbones.clip` with these scales, and compute what transformers' `Dinov2Model` and
`Dinov2WithRegistersModel` compute. Vectors of places are resized once, as those do for every frame, where a folder's
image processor cuts out squares of another side than config.json names (224 pixels and 518 in the published ones).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.backbones import checkpoint, clip, preprocessing
from kshot.backbones.backbone import Backbone, NoText
from kshot.backbones.preprocessing import Pixels, Processor
from kshot.backbones.tower import ImageTower
from kshot.errors import CheckpointError

IMAGENET = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "short-256")
PROCESSOR = Processor("DINOv2", ("BitImageProcessor", "BitImageProcessorFast", "BitImageProcessorPil"), IMAGENET)
PLAIN, REGISTERS = "dinov2", "dinov2_with_registers"  # model types
ARCHITECTURES = {PLAIN: "Dinov2Model", REGISTERS: "Dinov2WithRegistersModel"}
NAMES = (  # in a file, and here
    ("encoder.layer.", "encoder.layers."),
    (".attention.attention.query.", ".self_attn.q_proj."),
    (".attention.attention.key.", ".self_attn.k_proj."),
    (".attention.attention.value.", ".self_attn.v_proj."),
    (".attention.output.dense.", ".self_attn.out_proj."),
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
    (".mlp.weights_in.", ".mlp.fc1."),
    (".mlp.weights_out.", ".mlp.fc2."),
)
PLACES = "embeddings.position_embeddings"


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
        num_channels: of a pixel, 3.
        image_size: side of the images that have one vector for each place, in pixels.
        patch_size: side of the patch that becomes a token, in pixels.
        num_register_tokens: R, tokens beside the class token and the patches; 0 for the family without.
        gated: whether the MLP is a gated one (SwiGLU), as the giant's.
    """

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    mlp_ratio: float = 4
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    num_channels: int = 3
    image_size: Any = 224
    patch_size: Any = 14
    num_register_tokens: int = 4
    gated: bool = False

    @property
    def block(self) -> clip.TowerConfig:
        """That of a block."""
        return clip.TowerConfig(
            self.hidden_size, int(self.hidden_size * self.mlp_ratio), self.num_hidden_layers, self.num_attention_heads,
            self.hidden_act, self.layer_norm_eps,
        )  # fmt: skip


def read(folder: Path, name: str, allow_bin: bool = False) -> Backbone:
    """A DINOv2 with weights (as float32) and preprocessing of a folder.

    Args:
        folder: in transformers' format.
        name: of the backbone, as it was given.
        allow_bin: also read weights that are there only as a pickle; no code of it is run.

    Raises:
        CheckpointError: a file is missing or damaged, a setting that is not followed, or tensors are missing, unknown,
            not finite or of another shape: no weight is ever left at a random value.
    """
    kind, config = _config(folder)
    side = _side(folder, config)
    pixels = preprocessing.read_pixels(folder, side, PROCESSOR)
    weights = checkpoint.read_weights(folder, allow_bin)
    about = [f"{kind} {_line(config)} side {side}", f"{pixels}"]
    fingerprint = checkpoint.fingerprint(about, weights)
    mine = {_named(key): value for key, value in weights.items() if key != "embeddings.mask_token"}
    if PLACES in mine:
        mine[PLACES] = _resized(mine[PLACES], config, side, kind, folder)
    whole = f"a whole {ARCHITECTURES[kind]}"
    backbone = Dinov2(checkpoint.fill(lambda: Vision(config, side), mine, folder, whole), name, pixels)
    backbone.fingerprint = fingerprint
    return backbone


def _config(folder: Path) -> tuple[str, Config]:
    """Model type and configuration."""
    values = checkpoint.read_config(folder)
    kind = str(values.get("model_type"))
    made = values.get("architectures") or [ARCHITECTURES[kind]]
    if not isinstance(made, list) or ARCHITECTURES[kind] not in made:
        raise CheckpointError(f"{folder}: config.json says architectures {made}, expected {ARCHITECTURES[kind]}")
    try:
        clip.expect_own(values)
        if values.get("qkv_bias", True) is not True:
            raise ValueError(f"qkv_bias is {values['qkv_bias']}, which kshot does not follow")
        if not isinstance(values.get("use_swiglu_ffn", False), bool):
            raise ValueError(f"use_swiglu_ffn is {values['use_swiglu_ffn']}, expected true or false")
        config: Config = clip.filled(Config, values if kind == REGISTERS else {**values, "num_register_tokens": 0})
        clip.expect_square(config)
    except ValueError as error:
        raise CheckpointError(
            f"{folder / 'config.json'} does not describe a DINOv2 that kshot reads ({error})"
        ) from None
    return kind, replace(config, gated=True) if values.get("use_swiglu_ffn") else config


def _side(folder: Path, config: Config) -> int:
    """Side of the square that the image processor cuts out, in pixels; that of config.json where there is none.

    Raises:
        CheckpointError: it leaves to a default of transformers what it does, or squares too small for one patch.
    """
    side: Any = config.image_size
    for where, values in preprocessing.settings(folder):
        for setting in ("size", "crop_size", "image_mean", "image_std"):
            if setting not in values:
                raise CheckpointError(f"{where} says nothing of {setting}: fetch it again")
        crop = values["crop_size"]
        side = crop.get("height") if isinstance(crop, Mapping) else crop
        if isinstance(side, bool) or not isinstance(side, int) or not config.patch_size <= side <= 4096:
            raise CheckpointError(
                f"{where}: crop_size is {preprocessing.shown(crop)}, expected a square of {config.patch_size} to 4096 "
                "pixels"
            )
    return int(side)


def _line(config: Config) -> str:
    """Of the fingerprint; as it was before there was a gated MLP where there is none."""
    text = repr(config)
    return text if config.gated else text.replace(", gated=False", "")


def _named(key: str) -> str:
    """A tensor's name in the file as that of the modules here."""
    for theirs, own in NAMES:
        key = key.replace(theirs, own)
    return key


def _resized(table: Tensor, config: Config, side: int, kind: str, folder: Path) -> Tensor:
    """Vectors of the class token and of the patches' places (1, 1 + n, D), for images of another side, as transformers
    resizes them: bicubic, and with registers also smoothed."""
    old, new = config.image_size // config.patch_size, side // config.patch_size
    expected = (1, 1 + old**2, config.hidden_size)
    if tuple(table.shape) != expected:
        raise CheckpointError(f"{folder}: {PLACES} has shape {tuple(table.shape)}, but config.json asks for {expected}")
    if new == old:
        return table
    grid = table[:, 1:].view(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (new, new), mode="bicubic", align_corners=False, antialias=kind == REGISTERS)
    return torch.cat([table[:, :1], grid.permute(0, 2, 3, 1).reshape(1, new**2, -1)], 1)


class Scale(nn.Module):
    """LayerScale: a factor for each channel (Touvron et al., CaiT, ICCV 2021)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return x * self.lambda1


class GatedMLP(nn.Module):
    """Two layers with a gate between them: (..., D) -> (..., D), fc2(act(a) * b) with a, b the halves of fc1(x).

    Shazeer, GLU Variants Improve Transformer, 2020 (arXiv 2002.05202).
    """

    def __init__(self, channels: int, width: int, activation: nn.Module) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, 2 * width), nn.Linear(width, channels)
        self.activation_fn = activation

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        gate, value = self.fc1(x).chunk(2, -1)
        out: Tensor = self.fc2(self.activation_fn(gate) * value)
        return out


class Layer(clip.Layer):
    """A block with LayerScale behind attention and MLP: (N, T, D) -> (N, T, D)."""

    def __init__(self, config: clip.TowerConfig) -> None:
        super().__init__(config)
        self.layer_scale1, self.layer_scale2 = Scale(self.embed_dim), Scale(self.embed_dim)

    def forward(self, x: Tensor, mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(N, T, D) -> (N, T, D); see `clip.Attention.forward`.

        Args:
            x: tokens.
            mask: of the attention.
            is_causal: of the attention.
        """
        seen, _ = self.self_attn(self.layer_norm1(x), mask, is_causal=is_causal)
        x = x + self.layer_scale1(seen)
        out: Tensor = x + self.layer_scale2(self.mlp(self.layer_norm2(x)))
        return out


class Embeddings(nn.Module):
    """Pixels (N, 3, S, S) -> tokens (N, 1 + R + patches, D): the class token, registers, patches.

    Attributes:
        image_size: S, in pixels.
        patch_size: side of a patch, in pixels.
        num_positions: number of tokens.
        first: of them, before the patches.
    """

    def __init__(self, config: Config, side: int) -> None:
        super().__init__()
        width, self.image_size, self.patch_size = config.hidden_size, side, config.patch_size
        patches = (side // config.patch_size) ** 2
        self.first = 1 + config.num_register_tokens
        self.num_positions = self.first + patches
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        if config.num_register_tokens:
            self.register_tokens = nn.Parameter(torch.empty(1, config.num_register_tokens, width))
        self.position_embeddings = nn.Parameter(torch.empty(1, 1 + patches, width))
        self.patch_embeddings = nn.ModuleDict(
            {"projection": nn.Conv2d(config.num_channels, width, self.patch_size, self.patch_size)}
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, S, S) -> tokens (N, 1 + R + patches, D)."""
        patches = self.patch_embeddings["projection"](pixels).flatten(2).transpose(1, 2)
        count = pixels.shape[0]
        x = torch.cat([self.cls_token.expand(count, -1, -1), patches], 1) + self.position_embeddings
        if self.first == 1:
            return x
        return torch.cat([x[:, :1], self.register_tokens.expand(count, -1, -1), x[:, 1:]], 1)


class Vision(nn.Module):
    """The parts of the network, as `ImageTower` takes them; it has no forward of its own."""

    def __init__(self, config: Config, side: int) -> None:
        super().__init__()
        self.embeddings = Embeddings(config, side)
        self.pre_layrnorm = nn.Identity()
        self.encoder = clip.Encoder(config.block, Layer)
        if config.gated:  # two thirds of the width, as a multiple of 8
            wide = (int(config.block.intermediate_size * 2 / 3) + 7) // 8 * 8
            for layer in self.encoder.layers:
                layer.mlp = GatedMLP(config.hidden_size, wide, nn.SiLU())
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    @property
    def post_layernorm(self) -> nn.LayerNorm:
        """The norm of the end."""
        return self.layernorm


class Dinov2(Backbone):
    """A DINOv2 with its preprocessing; it has no text side.

    Args:
        vision: its parts.
        name: as loaded.
        pixels: its preprocessing.
    """

    tunings: tuple[str, ...] = (
        "partial", "full", "lora", "adaptformer", "bitfit", "layernorm", "clip-adapter", "vpt", "st-adapter",
        "task-adapter",
    )  # fmt: skip
    lacks = "residuals without LayerScale"

    def __init__(self, vision: Any, name: str = "memory", pixels: Pixels = IMAGENET) -> None:
        nn.Module.__init__(self)
        tower = ImageTower(vision, nn.Identity())
        self._assemble(tower, NoText(), tower.width, name, None, pixels, 100.0)
