"""SigLIP, and SigLIP 2 of a fixed size: both towers, and a pooling head in place of a class token.

Zhai et al., Sigmoid Loss for Language Image Pre-Training, ICCV 2023 (arXiv 2303.15343); Tschannen et al., SigLIP 2,
2025 (arXiv 2502.14786). In the image tower one learnt query looks at all tokens behind the final norm, and an MLP
follows: this head is the last block, so what enters it are the normed tokens. Its query q is the same for all frames,
and both the keys' and the values' projections move, by associativity, from all tokens n_i to that one query:

    u = W_k^T q       a = softmax_i(u . n_i)       v = W_v (sum_i a_i n_i) + b_v

(the keys' bias adds the same number to every logit of a head). Texts are filled up to the full length, are read at the
last position, and every token sees every other. The factor of the sigmoid is `logit_scale`; its bias adds the same to
the scores of all classes, so it changes no softmax over them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kshot.backbones import checkpoint, clip, last_block, preprocessing
from kshot.backbones.backbone import Backbone, NoText
from kshot.backbones.pooling import PoolingTower
from kshot.backbones.preprocessing import Pixels, Processor
from kshot.backbones.tower import TextTower, widen
from kshot.errors import CheckpointError, OptionError

NAMES = ("SiglipImageProcessor", "SiglipImageProcessorFast", "SiglipImageProcessorPil")
PROCESSOR = Processor("SigLIP", NAMES, Pixels((0.5,) * 3, (0.5,) * 3, "squash"))


TUNINGS = ("partial", "full", "bitfit", "layernorm", "clip-adapter")
LACKS = "class token"


@dataclass(frozen=True)
class VisionConfig(clip.VisionConfig):
    """The image tower; its fields are those of `clip.VisionConfig`, with other defaults."""

    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    patch_size: Any = 16


@dataclass(frozen=True)
class TextConfig(clip.TextConfig):
    """The text tower; its fields are those of `clip.TextConfig`, with other defaults. `eos_token_id` plays no part."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_attention_heads: int = 12
    vocab_size: int = 32000
    max_position_embeddings: int = 64
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6


def read(folder: Path, name: str, allow_bin: bool = False) -> Backbone:
    """A SigLIP with weights (as float32), tokenizer and preprocessing of a folder.

    Args:
        folder: in transformers' format.
        name: of the backbone, as it was given.
        allow_bin: also read weights that are there only as a pickle; no code of it is run.

    Raises:
        CheckpointError: a file is missing or damaged, a setting that is not followed, or tensors are missing, unknown,
            not finite or of another shape: no weight is ever left at a random value.
    """
    if checkpoint.read_config(folder).get("model_type") == "siglip_vision_model":
        return _read_image(folder, name, allow_bin)
    vision, text = _configs(folder)
    pixels = preprocessing.read_pixels(folder, vision.image_size, PROCESSOR)
    weights = checkpoint.read_weights(folder, allow_bin)
    parts = checkpoint.fill(lambda: Parts(vision, text), weights, folder, "a whole SigLIP, image and text towers")
    checkpoint.expect_scale(weights, folder)
    tokenizer, words = checkpoint.read_tokenizer(folder, text.max_position_embeddings)
    filler = None if tokenizer is None else _filler(folder, tokenizer)
    backbone = Siglip(parts, name, tokenizer, filler or 0, pixels)
    about = [f"siglip {vision} {text}", f"{pixels}", f"filler {filler}"]
    backbone.fingerprint = checkpoint.fingerprint(about, weights, words)
    return backbone


def _read_image(folder: Path, name: str, allow_bin: bool) -> Backbone:
    """The image tower alone (`SiglipVisionModel`); see `read`."""
    values = checkpoint.read_config(folder)
    _expect_architecture(values, "SiglipVisionModel", folder)
    try:
        config = _vision(values)
    except ValueError as error:
        raise CheckpointError(f"{folder / 'config.json'} does not describe a SigLIP's image tower ({error})") from None
    pixels = preprocessing.read_pixels(folder, config.image_size, PROCESSOR)
    weights = checkpoint.read_weights(folder, allow_bin)
    own = {key.removeprefix("vision_model."): value for key, value in weights.items()}  # transformers 4 wrote it
    parts = checkpoint.fill(lambda: Vision(config), own, folder, "an image tower with its pooling head")
    backbone = SiglipPictures(parts, name, pixels)
    backbone.fingerprint = checkpoint.fingerprint([f"siglip image tower {config}", f"{pixels}"], own)
    return backbone


def _expect_architecture(values: Mapping[str, Any], wanted: str, folder: Path) -> None:
    made = values.get("architectures") or [wanted]
    if not isinstance(made, list) or wanted not in made:
        raise CheckpointError(f"{folder}: config.json says architectures {made}, expected {wanted}")


def _vision(values: object) -> VisionConfig:
    """The image tower's configuration.

    Raises:
        ValueError: it is none that can be, or has no pooling head.
    """
    config: VisionConfig = clip.filled(VisionConfig, values)
    clip.expect_square(config)
    if isinstance(values, Mapping) and values.get("vision_use_head", True) is not True:
        raise ValueError("vision_use_head is not true, so nothing pools its tokens")
    return config


def _configs(folder: Path) -> tuple[VisionConfig, TextConfig]:
    values = checkpoint.read_config(folder)
    _expect_architecture(values, "SiglipModel", folder)
    try:
        clip.expect_own(values)
        vision = _vision(values.get("vision_config"))
        given = values.get("text_config") or {}
        text: TextConfig = clip.filled(TextConfig, given)
        if (width := given.get("projection_size") or text.hidden_size) != vision.hidden_size:
            raise ValueError(f"texts become vectors of {width}, images of {vision.hidden_size}")
    except ValueError as error:
        raise CheckpointError(f"{folder / 'config.json'} does not describe a SigLIP ({error})") from None
    return vision, text


def _filler(folder: Path, tokenizer: Any) -> int:
    """Id of the token that fills texts up.

    Raises:
        CheckpointError: the folder does not say.
    """
    said = checkpoint.read_settings(folder).get("pad_token")
    said = said.get("content") if isinstance(said, dict) else said
    found = tokenizer.token_to_id(said) if isinstance(said, str) else None
    if found is None:
        raise CheckpointError(
            f"{folder / 'tokenizer_config.json'} names no pad_token of tokenizer.json: fetch it again"
        )
    return int(found)


class Embeddings(nn.Module):
    """Pixels (N, 3, S, S) -> tokens (N, patches, D)."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.image_size, self.patch_size = config.image_size, config.patch_size
        self.patch_embedding = nn.Conv2d(config.num_channels, config.hidden_size, self.patch_size, self.patch_size)
        self.num_positions = (self.image_size // self.patch_size) ** 2
        self.position_embedding = nn.Embedding(self.num_positions, config.hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, S, S) -> tokens (N, patches, D)."""
        patches: Tensor = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        return patches + self.position_embedding.weight


class Head(nn.Module):
    """The pooling head: normed tokens (N, T, D) -> embeddings (N, D)."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.probe = nn.Parameter(torch.empty(1, 1, width))
        self.attention = nn.MultiheadAttention(width, config.num_attention_heads, batch_first=True)
        self.layernorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = clip.MLP(config)

    def forward(self, n: Tensor) -> Tensor:
        """As transformers computes it, keys and values of all tokens: (N, T, D) -> (N, D)."""
        seen, _ = self.attention(self.probe.expand(n.shape[0], -1, -1), n, n, need_weights=False)
        return self._behind(seen[:, 0])

    def pool(self, n: Tensor) -> Tensor:
        """The same with the one query, without keys and values of tokens of any floating type: (N, T, D) -> (N, D)."""
        heads, width = self.attention.num_heads, self.attention.head_dim
        query, key, _ = self.attention.in_proj_weight.chunk(3)
        q = nn.functional.linear(self.probe[0, 0], query, self.attention.in_proj_bias.chunk(3)[0]) * width**-0.5
        u = torch.einsum("hd,hdc->hc", q.view(heads, width), key.view(heads, width, -1))
        return self._valued(last_block.look(u.expand(len(n), -1, -1), n))

    def attend(self, n: Tensor, weights: Tensor) -> Tensor:
        """With weights (N, T) of the tokens, in all 1 for each row, in place of the query's: (N, T, D) -> (N, D)."""
        mean = torch.einsum("nm,nmd->nd", weights, n)
        return self._valued(mean[:, None].expand(-1, self.attention.num_heads, -1))

    def _valued(self, mean: Tensor) -> Tensor:
        """Of the heads' mean tokens (N, heads, D)."""
        value = self.attention.in_proj_weight.chunk(3)[2].view(self.attention.num_heads, self.attention.head_dim, -1)
        v = torch.einsum("nhc,hdc->nhd", mean, value).flatten(1) + self.attention.in_proj_bias.chunk(3)[2]
        return self._behind(self.attention.out_proj(v))

    def _behind(self, y: Tensor) -> Tensor:
        out: Tensor = y + self.mlp(self.layernorm(y))
        return out


class Vision(nn.Module):
    """The image tower's parts; it has no forward of its own."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = clip.Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = Head(config)


class Text(clip.TextModel):
    """The text tower's parts; it has no forward of its own."""

    def __init__(self, config: TextConfig, width: int) -> None:
        super().__init__(config)
        self.eos_token_id = -1  # texts are read at their last position, whatever is there
        self.head = nn.Linear(config.hidden_size, width)


class Parts(nn.Module):
    """Both towers' parts and the sigmoid's factor and bias; it has no forward of its own."""

    def __init__(self, vision: VisionConfig, text: TextConfig) -> None:
        super().__init__()
        self.vision_model = Vision(vision)
        self.text_model = Text(text, vision.hidden_size)
        self.logit_scale, self.logit_bias = nn.Parameter(torch.empty(1)), nn.Parameter(torch.empty(1))


class SiglipImage(PoolingTower):
    """The image tower, whose last block is the pooling head. Its other attributes are those of `PoolingTower`.

    Attributes:
        post: the norm behind the blocks before the head.
        size: side of its images, in pixels.
    """

    def __init__(self, vision: Vision) -> None:
        super().__init__(
            vision.embeddings, vision.encoder, vision.post_layernorm, nn.Identity(), vision.embeddings.num_positions
        )
        self.post, self.norm = vision.post_layernorm, nn.Identity()  # type: ignore[assignment]
        self.blocks.append(vision.head)
        self.depth = len(self.blocks)
        self.size = int(vision.embeddings.image_size)

    def enter_head(self, x: Tensor, cut: int) -> Tensor:
        """The normed tokens (N, T, D), in single precision, from what block `cut` (0..L) receives."""
        if cut == self.depth:
            return widen(x)
        with last_block.arithmetic(x.device, self.precision):
            x = self._embed(x) if cut == 0 else widen(x)
            for block in self.blocks[max(cut, 1) - 1 : -1]:
                x = self._run(block, x)
        with last_block.arithmetic(x.device):
            out: Tensor = self.post(widen(x))
            return out

    def _embed(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, self.size, self.size):
            raise OptionError(f"expected frames of shape (N, 3, {self.size}, {self.size}), got {tuple(x.shape)}")
        out: Tensor = self.embeddings(x)
        return out


class SiglipText(TextTower):
    """The text tower; reads out the last position, and every token sees every other."""

    causal = False

    def read(self, x: Tensor) -> Tensor:
        """Last position (N,) of token ids x (N, T)."""
        return torch.full((len(x),), x.shape[1] - 1, dtype=torch.long, device=x.device)

    def _project(self, x: Tensor, cut: int, read: Tensor | None, condensed: bool | None) -> Tensor:
        if cut and read is None:
            read = torch.full((len(x),), self.tokens - 1, dtype=torch.long, device=x.device)
        return super()._project(x, cut, read, condensed)


class Siglip(Backbone):
    """Both towers of a SigLIP, with the preprocessing and the words that belong to them.

    Args:
        parts: of the towers.
        name: as loaded.
        tokenizer: of the tokenizers library; None for a folder without one.
        filler: id of the token that fills texts up.
        pixels: its preprocessing.
    """

    tunings = TUNINGS
    lacks = LACKS
    starts = 0
    own_scale = True

    def __init__(self, parts: Parts, name: str, tokenizer: Any, filler: int, pixels: Pixels) -> None:
        nn.Module.__init__(self)
        image, text = SiglipImage(parts.vision_model), SiglipText(parts.text_model, parts.text_model.head)
        scale = 100.0 if parts.logit_scale.is_meta else float(parts.logit_scale.detach().exp())
        self._assemble(image, text, image.width, name, tokenizer, pixels, scale)  # type: ignore[arg-type]
        self.filler = filler

    def _ends(self, encodings: Sequence[Any]) -> list[int]:
        return [len(encoding.ids) - 1 if any(encoding.special_tokens_mask[-1:]) else -1 for encoding in encodings]

    def _padded(self, rows: Sequence[list[int]]) -> Tensor:
        filled = [row + [self.filler] * (self.text.tokens - len(row)) for row in rows]
        return torch.tensor(filled, dtype=torch.long, device=self.device).view(len(rows), self.text.tokens)


class SiglipPictures(Backbone):
    """The image tower of a SigLIP with its preprocessing; it has no text side.

    Args:
        vision: its parts.
        name: as loaded.
        pixels: its preprocessing.
    """

    tunings = TUNINGS
    lacks = LACKS

    def __init__(self, vision: Vision, name: str = "memory", pixels: Pixels = PROCESSOR.usual) -> None:
        nn.Module.__init__(self)
        image: Any = SiglipImage(vision)
        self._assemble(image, NoText(), image.width, name, None, pixels, 100.0)
