"""CLIP in open_clip's layout: `open_clip_config.json` and its weights; a Vision Transformer or CLIP's ResNet.

Ilharco et al., OpenCLIP, 2021 (github.com/mlfoundations/open_clip). The Vision Transformer and the text tower compute
what `kshot.backbones.clip` computes, under other names and with queries, keys and values in one matrix. The ResNet
(RN50, RN101 and the wider ones) is that of `kshot.backbones.resnet`, with its attention pool as the last block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kshot.backbones import checkpoint, clip, preprocessing, resnet
from kshot.backbones.backbone import Backbone
from kshot.backbones.hub import OPEN_CLIP
from kshot.backbones.preprocessing import Pixels
from kshot.backbones.resnet import ResNetTower
from kshot.backbones.tower import TextTower
from kshot.errors import CheckpointError

NAMES = (  # in a file without "text." before names of the text tower, and here
    ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
    ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("visual.conv1.", "vision_model.embeddings.patch_embedding."),
    ("visual.ln_pre.", "vision_model.pre_layrnorm."),
    ("visual.ln_post.", "vision_model.post_layernorm."),
    ("visual.transformer.resblocks.", "vision_model.encoder.layers."),
    ("token_embedding.", "text_model.embeddings.token_embedding."),
    ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
    ("ln_final.", "text_model.final_layer_norm."),
    ("transformer.resblocks.", "text_model.encoder.layers."),
)
INSIDE = (
    (".ln_1.", ".layer_norm1."), (".ln_2.", ".layer_norm2."), (".attn.out_proj.", ".self_attn.out_proj."),
    (".mlp.c_fc.", ".mlp.fc1."), (".mlp.c_proj.", ".mlp.fc2."),
)  # fmt: skip
TURNED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}  # (in, out) in a file
DROPPED = ("logit_bias", "attn_mask")
"""Adds the same to the scores of all classes; follows from the sizes."""

USUAL: dict[str, tuple[Any, ...]] = {
    "pool_type": ("tok",), "pos_embed_type": ("learnable",), "block_type": ("default",), "proj_type": ("linear",),
}  # fmt: skip
"""Setting -> the values that are followed besides none at all."""
HARMLESS = {
    "patch_dropout", "output_tokens", "output_dict", "attn_pooler_queries", "attn_pooler_heads", "timm_pool",
    "timm_model_pretrained", "timm_proj", "timm_drop", "timm_drop_path", "hf_tokenizer_name", "hf_model_pretrained",
    "hf_proj_type", "hf_pooler_type", "pad_id", "init_logit_scale", "init_logit_bias", "nonscalar_logit_scale",
    "cast_dtype", "custom_text",
}  # fmt: skip
"""Of training, of parts that are refused by another name, or where weights lie."""


@dataclass(frozen=True)
class Vision:
    """`vision_cfg`; the defaults are those of the format.

    Attributes:
        layers: number of blocks, or of those of the four stages of a ResNet.
        width: of a token, or channels before a ResNet's first stage.
        head_width: channels of a head.
        mlp_ratio: width inside the MLP over that of a token.
        patch_size: side of the patch that becomes a token, in pixels.
        image_size: side of an image, in pixels.
    """

    layers: Any = 12
    width: int = 768
    head_width: int = 64
    mlp_ratio: float = 4.0
    patch_size: Any = 16
    image_size: Any = 224

    @property
    def hidden_size(self) -> int:
        """Channels that the heads share."""
        return self.width * (32 if isinstance(self.layers, list) else 1)

    @property
    def num_attention_heads(self) -> int:
        """Heads of a block, or of the attention pool."""
        return max(1, self.hidden_size // self.head_width)


@dataclass(frozen=True)
class Text:
    """`text_cfg`; the defaults are those of the format.

    Attributes:
        context_length: most tokens of a text.
        vocab_size: number of tokens that have a vector.
        width: of a token.
        heads: of a block, a divisor of the width.
        layers: number of blocks.
        mlp_ratio: width inside the MLP over that of a token.
        pool_type: "argmax": a text ends at its highest token; "eos": at the first `eos_id`.
        eos_id: of the token that ends a text.
    """

    context_length: int = 77
    vocab_size: int = 49408
    width: int = 512
    heads: int = 8
    layers: int = 12
    mlp_ratio: float = 4.0
    pool_type: str = "argmax"
    eos_id: int = 2

    @property
    def hidden_size(self) -> int:
        """The width, under the name that `clip.filled` knows."""
        return self.width

    @property
    def num_attention_heads(self) -> int:
        """The heads, under the name that `clip.filled` knows."""
        return self.heads


@dataclass(frozen=True)
class Config:
    """What open_clip_config.json says of the network.

    Attributes:
        vision: its image tower.
        text: of the modules here.
        highest: whether a text ends at its highest token.
        out: P, width of an embedding.
    """

    vision: clip.VisionConfig | resnet.Config
    text: clip.TextConfig
    highest: bool
    out: int


def read(folder: Path, name: str, allow_bin: bool = False) -> Backbone:
    """A CLIP with weights (as float32), tokenizer and preprocessing of a folder.

    Args:
        folder: in open_clip's layout.
        name: of the backbone, as it was given.
        allow_bin: also read weights that are there only as a pickle; no code of it is run.

    Raises:
        CheckpointError: a file is missing or damaged, a setting that is not followed, or tensors are missing, unknown,
            not finite or of another shape: no weight is ever left at a random value.
    """
    values = checkpoint.read_config(folder, "a CLIP", OPEN_CLIP)
    where = folder / OPEN_CLIP.config
    try:
        config = _config(values.get("model_cfg"))
    except ValueError as error:
        raise CheckpointError(f"{where} does not describe a CLIP that kshot reads ({error})") from None
    pixels = preprocessing.open_clip_pixels(values.get("preprocess_cfg"), str(where), config.vision.image_size)
    weights = checkpoint.read_weights(folder, allow_bin, OPEN_CLIP)
    mine = _renamed(weights)
    whole = "a whole CLIP of open_clip's, image and text towers"
    parts = checkpoint.fill(lambda: _parts(config), mine, folder, whole, OPEN_CLIP.config)
    checkpoint.expect_scale(mine, folder)
    tokenizer, words = checkpoint.read_tokenizer(folder, config.text.max_position_embeddings)
    kind = Backbone if isinstance(parts, clip.CLIP) else ClipResNet
    backbone = kind(parts, name, tokenizer, pixels)
    backbone.text.highest = config.highest
    backbone.fingerprint = checkpoint.fingerprint([f"open_clip {config}", f"{pixels}"], weights, words)
    return backbone


def _config(values: object) -> Config:
    """From `model_cfg`.

    Raises:
        ValueError: a value of the wrong kind, a tower that cannot be, or a setting that is not followed.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"expected an object as model_cfg, found {preprocessing.shown(values)}")
    if values.get("multimodal_cfg"):
        raise ValueError("multimodal_cfg is set: a CoCa, which has a third tower")
    made: dict[str, Any] = {}
    for part, kind in (("vision_cfg", Vision), ("text_cfg", Text)):
        given = values.get(part)
        if not isinstance(given, Mapping):
            raise ValueError(f"expected an object as {part}, found {preprocessing.shown(given)}")
        for owner, setting in (("timm", "timm_model_name"), ("transformers", "hf_model_name")):
            if given.get(setting):
                raise ValueError(
                    f"{setting} is {preprocessing.shown(given[setting])}: a tower of {owner}'s, which kshot reads in "
                    "transformers' format alone"
                )
        _expect_known(given, set(kind.__dataclass_fields__))
        made[part] = clip.filled(kind, {name: value for name, value in given.items() if value is not None})
    _expect_known(values, {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"})
    if not isinstance(values.get("quick_gelu", False), bool):
        raise ValueError(f"quick_gelu is {preprocessing.shown(values['quick_gelu'])}, expected true or false")
    out = clip.projection_dim({"projection_dim": values.get("embed_dim")})
    act = "quick_gelu" if values.get("quick_gelu") else "gelu"
    text: Text = made["text_cfg"]
    if text.pool_type not in ("argmax", "eos"):
        raise ValueError(f"pool_type of texts is '{text.pool_type}', which kshot does not follow")
    highest = text.pool_type == "argmax"
    end = text.vocab_size - 1 if highest else text.eos_id
    if end >= text.vocab_size:
        raise ValueError(f"eos_id {end} is not in a vocabulary of {text.vocab_size}")
    ours = clip.TextConfig(
        text.width, int(text.width * text.mlp_ratio), text.layers, text.heads, act, 1e-5, 0.0, text.vocab_size,
        text.context_length, end,
    )  # fmt: skip
    return Config(_vision(made["vision_cfg"], act, out), ours, highest, out)


def _expect_known(values: Mapping[str, Any], followed: set[str]) -> None:
    """Refuses a setting that is not followed, by its name.

    Raises:
        ValueError: there is one.
    """
    for name, value in values.items():
        known = name in followed or name in HARMLESS or value in USUAL.get(name, ())
        if not known and value not in (None, False, {}, ""):
            raise ValueError(f"{name} is {preprocessing.shown(value)}, which kshot does not follow")


def _vision(given: Vision, act: str, out: int) -> clip.VisionConfig | resnet.Config:
    """The image tower's configuration.

    Raises:
        ValueError: a tower that cannot be.
    """
    if not isinstance(given.layers, list):
        clip.expect_square(given)
        return clip.VisionConfig(
            given.width, int(given.width * given.mlp_ratio), given.layers, given.num_attention_heads, act,
            image_size=given.image_size, patch_size=given.patch_size,
        )  # fmt: skip
    counts = [count for count in given.layers if isinstance(count, int) and 0 < count <= 512]
    if len(given.layers) != 4 or len(counts) != 4:
        raise ValueError(f"layers is {preprocessing.shown(given.layers)}, expected the blocks of four stages")
    if not isinstance(given.image_size, int) or given.image_size % 32:
        raise ValueError(f"images of {given.image_size}: a ResNet takes only square ones, of a multiple of 32 pixels")
    return resnet.Config(tuple(counts), given.width, given.num_attention_heads, given.image_size, out)


def _renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors under the names that the modules here have."""
    made: dict[str, Tensor] = {}
    for key, value in weights.items():
        name = key.removeprefix("text.")
        if name.endswith(DROPPED):
            continue
        if name == "logit_scale":
            made[name] = value.reshape(()) if value.numel() == 1 else value
        elif name in TURNED:
            made[TURNED[name]] = value.mT.contiguous() if value.ndim == 2 else value
        else:
            made |= _of_block(_named(name, "visual.attnpool.k_proj.weight" in weights), value)
    return made


def _named(name: str, convolutional: bool) -> str:
    """A tensor's name in the file as that of the modules here; those of a ResNet keep theirs."""
    if convolutional and name.startswith("visual."):
        return name
    for theirs, own in NAMES:
        if name.startswith(theirs):
            name = own + name.removeprefix(theirs)
            break
    for theirs, own in INSIDE:
        name = name.replace(theirs, own)
    return name


def _of_block(name: str, value: Tensor) -> dict[str, Tensor]:
    """A tensor by its name; that of queries, keys and values in three."""
    before, mark, kind = name.partition(".attn.in_proj_")
    if not mark or not value.ndim or len(value) % 3:
        return {name: value}
    chunks = (part.clone() for part in value.chunk(3))
    return {f"{before}.self_attn.{one}_proj.{kind}": part for one, part in zip("qkv", chunks, strict=True)}


def _parts(config: Config) -> nn.Module:
    if isinstance(config.vision, resnet.Config):
        return Parts(config.vision, config.text, config.out)
    return clip.CLIP(clip.Config(config.text, config.vision, config.out))


class Parts(nn.Module):
    """A ResNet and a text tower; it has no forward of its own."""

    def __init__(self, vision: resnet.Config, text: clip.TextConfig, out: int) -> None:
        super().__init__()
        self.visual = resnet.ResNet(vision)
        self.text_model = clip.TextModel(text)
        self.text_projection = nn.Linear(text.hidden_size, out, bias=False)
        self.logit_scale = nn.Parameter(torch.empty(()))


class ClipResNet(Backbone):
    """A CLIP with a ResNet, with the preprocessing and the words that belong to it.

    Args:
        parts: of the towers.
        name: as loaded.
        tokenizer: of the tokenizers library; None for a folder without one.
        pixels: its preprocessing.
    """

    tunings = ("partial", "full", "bitfit", "layernorm", "clip-adapter", "coop")
    lacks = "transformer blocks in its image tower"

    def __init__(self, parts: Any, name: str, tokenizer: Any, pixels: Pixels) -> None:
        nn.Module.__init__(self)
        text = TextTower(parts.text_model, parts.text_projection)
        scale = 100.0 if parts.logit_scale.is_meta else float(parts.logit_scale.detach().exp())
        image: Any = ResNetTower(parts.visual)
        self._assemble(image, text, parts.text_projection.out_features, name, tokenizer, pixels, scale)
