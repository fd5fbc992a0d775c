"""Small random checkpoints of every family, written by transformers' own `save_pretrained`, and its forward pass.

Those in open_clip's layout are written by `open_clips`, from the names that its files document.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kshot.backbones.backbone import Backbone
from open_clips import OpenClip

VISION = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
REAL = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 2}  # of B, with two blocks
SMALL = {**VISION, "intermediate_size": 64}
TEXT = {
    "vocab_size": 600, "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3,
    "max_position_embeddings": 12, "bos_token_id": 598, "eos_token_id": 599, "pad_token_id": 599,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One way in which a family is written.

    Attributes:
        model: makes the library's network.
        embed: what the library gives for frames (N, 3, S, S).
        embed_text: what it gives for token ids; None without a text side.
        unit: frames of a row.
        size: side of images that config.json names, in pixels.
        count: of frames to compare.
        side: of the squares that its image processor cuts out, in pixels; 0 for a folder without one.
        exact: whether the last block runs on condensed tokens.
        learns: number of weights of the last layer: attention, MLP and norms.
    """

    model: Callable[[], Any]
    embed: Callable[[Any, Tensor], Tensor]
    embed_text: Callable[[Any, Tensor], Tensor] | None = None
    size: int = 32
    count: int = 5
    side: int = 0
    exact: bool = True
    learns: int = 11
    unit: int = 1


def clip(**vision: Any) -> Any:
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(text_config=TEXT, vision_config={**SMALL, **vision}, projection_dim=16)
    return CLIPModel(config)


def metaclip2(end: int = 599, **vision: Any) -> Any:
    from transformers import MetaClip2Config, MetaClip2Model

    text = {**TEXT, "eos_token_id": end}
    config = MetaClip2Config(text_config=text, vision_config={**SMALL, **vision}, projection_dim=16)
    return MetaClip2Model(config)


def clip_image(prefix: str = "CLIP", **vision: Any) -> Any:
    import transformers

    config = getattr(transformers, f"{prefix}VisionConfig")(**{**SMALL, **vision}, projection_dim=16)
    return getattr(transformers, f"{prefix}VisionModelWithProjection")(config)


def image_embeds(model: Any, frames: Tensor) -> Tensor:
    """The projected class token of a model with an image tower alone."""
    out: Tensor = model(frames).image_embeds
    return out


def siglip(**vision: Any) -> Any:
    from transformers import SiglipConfig, SiglipModel

    config = {**SMALL, **vision}
    text = {**TEXT, "projection_size": config["hidden_size"]}
    return SiglipModel(SiglipConfig(text_config=text, vision_config=config))


def siglip_image(**vision: Any) -> Any:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    return SiglipVisionModel(SiglipVisionConfig(**{**SMALL, **vision}))


def head(model: Any, frames: Tensor) -> Tensor:
    """What a pooling head gives."""
    out: Tensor = model.vision_model(frames).pooler_output
    return out


def head_text(model: Any, ids: Tensor) -> Tensor:
    """What the text tower of such a model gives."""
    out: Tensor = model.text_model(ids).pooler_output
    return out


def dinov2(registers: int | None = None, **changed: Any) -> Any:
    from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    if registers is None:
        return Dinov2Model(Dinov2Config(**{**VISION, "mlp_ratio": 2, **changed}))
    values = {**VISION, "mlp_ratio": 2, "num_register_tokens": registers, **changed}
    return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**values))


def dinov3(**changed: Any) -> Any:
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    values = {**VISION, "intermediate_size": 64, "num_register_tokens": 4}
    return DINOv3ViTModel(DINOv3ViTConfig(**{**values, **changed}))


TEXT_CFG = {"context_length": 12, "vocab_size": 600, "width": 24, "heads": 3, "layers": 2}
VIT_CFG = {"image_size": 32, "layers": 3, "width": 32, "head_width": 8, "patch_size": 8}
RESNET_CFG = {"image_size": 64, "layers": [1, 2, 1, 1], "width": 8, "head_width": 16, "patch_size": None}


def open_clip(vision: dict[str, Any] = VIT_CFG, text: dict[str, Any] = TEXT_CFG, **more: Any) -> OpenClip:
    return OpenClip({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text, **more})


def visual(model: Any, frames: Tensor) -> Tensor:
    """What the image tower of open_clip gives."""
    out: Tensor = model.visual(frames)
    return out


def visual_text(model: Any, ids: Tensor) -> Tensor:
    """What its text tower gives."""
    out: Tensor = model.embed(ids)
    return out


def class_token(model: Any, frames: Tensor) -> Tensor:
    """The normalised class token of a model with one tower."""
    out: Tensor = model(frames).pooler_output
    return out


def pooled(model: Any, frames: Tensor) -> Tensor:
    """The projected class token of a model with two towers."""
    out: Tensor = model.visual_projection(model.vision_model(frames).pooler_output)
    return out


def pooled_text(model: Any, ids: Tensor) -> Tensor:
    """The projected end of a text, of a model with two towers."""
    out: Tensor = model.text_projection(model.text_model(ids).pooler_output)
    return out


def videomae(kind: str = "Model", **changed: Any) -> Any:
    import transformers

    sizes = {"intermediate_size": 64, "num_frames": 4, "tubelet_size": 2, "layer_norm_eps": 1e-6}
    decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    config = transformers.VideoMAEConfig(**{**VISION, **sizes, **decoder, "decoder_intermediate_size": 32, **changed})
    return getattr(transformers, f"VideoMAE{kind}")(config)


def vjepa2(kind: str = "Model", **changed: Any) -> Any:
    import transformers

    sizes = {
        "crop_size": 32, "frames_per_clip": 4, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3,
        "patch_size": 8, "mlp_ratio": 2.5, "num_pooler_layers": 2, "pred_hidden_size": 24,
        "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1, "pred_num_mask_tokens": 1,
    }  # fmt: skip
    return getattr(transformers, f"VJEPA2{kind}")(transformers.VJEPA2Config(**{**sizes, **changed}))


def tokens_mean(model: Any, frames: Tensor) -> Tensor:
    """The mean of what a V-JEPA 2 gives without its predictor."""
    out: Tensor = model.get_vision_features(frames).mean(1)
    return out


def pooled_tokens(model: Any, frames: Tensor) -> Tensor:
    """What a V-JEPA 2 gives its classifier."""
    out: Tensor = model.pooler(model.vjepa2.get_vision_features(frames))
    return out


PRISM = {
    "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "image_size": 32, "num_frames": 4,
    "tubelet_size": [1, 8, 8], "num_spatial_layers": 2, "num_temporal_layers": 2, "num_auxiliary_layers": 1,
    "attn_logit_softcapping": 2.0,
}  # fmt: skip


def videoprism(kind: str, **changed: Any) -> Any:
    import transformers

    return getattr(transformers, f"VideoPrism{kind}")(transformers.VideoPrismVisionConfig(**{**PRISM, **changed}))


def videoprism_clip() -> Any:
    from transformers import VideoPrismClipModel, VideoPrismConfig

    text = {**TEXT, "hidden_size": 32, "num_attention_heads": 4, "attn_logit_softcapping": 3.0}
    return VideoPrismClipModel(VideoPrismConfig(vision_config=PRISM, text_config=text))


def all_tokens(model: Any, frames: Tensor) -> Tensor:
    """The mean of what an encoder of clips gives."""
    out: Tensor = model(frames).last_hidden_state.mean(1)
    return out


def pooled_clip(model: Any, frames: Tensor) -> Tensor:
    """What the pooling head of a VideoPrism gives, in its Clip form too."""
    out: Tensor = getattr(model, "video_model", model)(frames).pooler_output[:, 0]
    return out


def for_classifier(model: Any, frames: Tensor) -> Tensor:
    """What a VideoPrism gives its classifier."""
    out: Tensor = model.head_layernorm(model.head(model.vision_model(frames).last_hidden_state)[0])[:, 0]
    return out


def read_behind(model: Any, ids: Tensor) -> Tensor:
    """The text of a VideoPrism, which puts the token that it reads behind all others, and pads between the two."""
    words = torch.cat([ids[:, :-1], torch.zeros_like(ids[:, :1])], 1)
    mask = torch.ones_like(words)
    mask[:, -1:] = 0
    out: Tensor = model.text_model(words, attention_mask=mask).pooler_output
    return out


def mean(model: Any, frames: Tensor) -> Tensor:
    """The mean of all tokens, of an encoder of clips or of what holds one."""
    out: Tensor = getattr(model, "videomae", model)(frames).last_hidden_state.mean(1)
    return out


def normed_mean(model: Any, frames: Tensor) -> Tensor:
    """What a VideoMAE gives its classifier."""
    out: Tensor = model.fc_norm(mean(model, frames))
    return out


CASES: dict[str, dict[str, Case]] = {
    "clip": {"": Case(clip, pooled, pooled_text)},
    "clip_vision_model": {"": Case(clip_image, image_embeds)},
    "metaclip_2": {
        "": Case(metaclip2, pooled, pooled_text),
        "end of text is 2": Case(partial(metaclip2, 2), pooled, pooled_text),
    },
    "metaclip_2_vision_model": {"": Case(partial(clip_image, "MetaClip2"), image_embeds)},
    "siglip": {"": Case(siglip, head, head_text, exact=False)},
    "siglip_vision_model": {"": Case(siglip_image, class_token, exact=False)},
    "dinov2": {
        "": Case(dinov2, class_token),
        "another side": Case(dinov2, class_token, side=40),
        "gated": Case(partial(dinov2, use_swiglu_ffn=True), class_token),
    },
    "dinov2_with_registers": {
        "": Case(partial(dinov2, 3), class_token),
        "another side": Case(partial(dinov2, 4), class_token, side=24),
    },
    "dinov3_vit": {
        "": Case(dinov3, class_token, exact=False),
        "gated": Case(partial(dinov3, use_gated_mlp=True, hidden_act="silu", key_bias=True), class_token, exact=False),
    },
    "open_clip": {
        "": Case(open_clip, visual, visual_text),
        "quick": Case(partial(open_clip, quick_gelu=True, custom_text=True), visual, visual_text),
        "end of text is 2": Case(
            partial(open_clip, text={**TEXT_CFG, "pool_type": "eos", "eos_id": 2}), visual, visual_text
        ),
        "ResNet": Case(
            partial(open_clip, RESNET_CFG, quick_gelu=True), visual, visual_text, size=64, exact=False, learns=9
        ),
    },
    "videomae": {
        "": Case(videomae, mean, unit=4, exact=False),
        "normed tokens, no biases": Case(
            partial(videomae, use_mean_pooling=False, qv_bias=False), mean, unit=4, exact=False
        ),
        "classifier": Case(partial(videomae, "ForVideoClassification", num_labels=5), normed_mean, unit=4, exact=False),
        "pre-training": Case(partial(videomae, "ForPreTraining", use_mean_pooling=False), mean, unit=4, exact=False),
    },
    "vjepa2": {
        "": Case(vjepa2, tokens_mean, unit=4, exact=False),
        "no biases, an odd head": Case(
            partial(vjepa2, qkv_bias=False, num_attention_heads=2), tokens_mean, unit=4, exact=False
        ),
        "pooler": Case(partial(vjepa2, "ForVideoClassification", num_labels=5), pooled_tokens, unit=4, exact=False),
    },
    "videoprism": {"": Case(videoprism_clip, pooled_clip, read_behind, unit=4, exact=False, learns=9)},
    "videoprism_vision_model": {
        "": Case(partial(videoprism, "VisionModel"), all_tokens, unit=4, exact=False, learns=9),
        "head": Case(partial(videoprism, "VideoModel"), pooled_clip, unit=4, exact=False, learns=9),
        "head, no biases": Case(
            partial(videoprism, "VideoModel", qkv_bias=False, apply_l2norm=False),
            pooled_clip,
            unit=4,
            exact=False,
            learns=9,
        ),
        "classifier": Case(
            partial(videoprism, "ForVideoClassification", num_labels=5), for_classifier, unit=4, exact=False, learns=9
        ),
    },
}
"""model_type -> ways."""
EVERY = [(kind, way) for kind, ways in CASES.items() for way in ways]

B16: dict[str, Any] = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 2, "num_attention_heads": 12, "image_size": 64,
    "patch_size": 16,
}  # fmt: skip
H14 = {
    **B16,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_attention_heads": 16,
    "image_size": 56,
    "patch_size": 14,
}
B14 = {**B16, "image_size": 56, "patch_size": 14, "mlp_ratio": 4}
VIT_B16 = {"image_size": 64, "layers": 2, "width": 768, "head_width": 64, "patch_size": 16}
RN50 = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 64, "head_width": 64, "patch_size": None}
G14 = {**B14, "hidden_size": 1536, "num_attention_heads": 24, "use_swiglu_ffn": True}
L16 = {
    "hidden_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 16, "mlp_ratio": 4.0, "num_pooler_layers": 1,
    "frames_per_clip": 16, "num_labels": 5,
}  # fmt: skip
PRISM_B = {
    "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_frames": 8, "num_spatial_layers": 1,
    "num_temporal_layers": 1, "num_auxiliary_layers": 0, "attn_logit_softcapping": 50.0,
}  # fmt: skip
wide = partial(Case, size=64, count=2)
WIDE: dict[tuple[str, str], Case] = {
    ("clip", "B/16"): wide(partial(clip, **B16), pooled, pooled_text),
    ("clip_vision_model", "B/16"): wide(partial(clip_image, **B16), image_embeds),
    ("metaclip_2", "H/14"): wide(partial(metaclip2, **H14), pooled, pooled_text, count=1, size=56),
    ("metaclip_2_vision_model", "B/16"): wide(partial(clip_image, "MetaClip2", **B16), image_embeds),
    ("siglip", "B/16"): wide(partial(siglip, **B16), head, head_text, exact=False),
    ("siglip_vision_model", "B/16"): wide(partial(siglip_image, **B16), class_token, exact=False),
    ("dinov2", "B/14"): wide(partial(dinov2, **B14), class_token, size=56),
    ("dinov2", "g/14"): wide(partial(dinov2, **G14), class_token, count=1, size=56),
    ("dinov2_with_registers", "B/14"): wide(partial(dinov2, 4, **B14), class_token, size=56),
    ("dinov3_vit", "B/16"): wide(partial(dinov3, **B16), class_token, exact=False),
    ("open_clip", "ViT-B-16"): wide(partial(open_clip, VIT_B16), visual, visual_text),
    ("videomae", "B/16"): wide(
        partial(videomae, **REAL, num_frames=16, num_attention_heads=12), mean, unit=16, exact=False, size=32
    ),
    ("vjepa2", "L/16"): wide(
        partial(vjepa2, "ForVideoClassification", **L16), pooled_tokens, unit=16, size=32, exact=False
    ),
    ("videoprism", "small, as its video side is the next"): wide(
        videoprism_clip, pooled_clip, read_behind, unit=4, size=32, exact=False, learns=9
    ),
    ("videoprism_vision_model", "B/18"): wide(
        partial(videoprism, "VideoModel", **PRISM_B), pooled_clip, unit=8, size=32, exact=False, learns=9
    ),
    ("open_clip", "RN50"): wide(partial(open_clip, RN50), visual, visual_text, exact=False, learns=9),
}
"""(model_type, size) -> a case of two blocks, or of one a stage, at a published width."""


def write(folder: Path, kind: str, way: str = "") -> Any:
    """Writes a checkpoint with lively random weights into `folder`; gives the library's network, loaded from it."""
    case = WIDE[kind, way] if (kind, way) in WIDE else CASES[kind][way]
    made = case.model()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if name in ("logit_scale", "logit_bias"):
                continue
            noise = torch.randn(value.shape, generator=draw)
            if value.ndim > 1:
                inputs = value[0].numel() if value.ndim == 4 else value.shape[-1]
                scale = 0.5 if "embedding" in name or "token" in name else inputs**-0.5
                value.copy_(noise * scale)
            else:
                value.copy_(noise * 0.1 + float("bias" not in name and "embedding" not in name))
        for name, value in made.named_buffers():
            if "running" in name:  # of a batch norm
                value.copy_((torch.randn(value.shape, generator=draw) * 0.1 + float("var" in name) * 4).abs())
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        made.save_pretrained(folder)
        if case.side:
            bit(case.side).save_pretrained(folder)
        return type(made).from_pretrained(folder).eval()


def gradients(model: Any) -> list[tuple[Tensor, Tensor]]:
    """Weights of a library's network with their gradients, as well split in queries, keys and values and turned round
    where it may keep them together or as (in, out)."""
    found: list[tuple[Tensor, Tensor]] = []
    for name, value in model.named_parameters():
        if value.grad is None:
            continue
        pair = (value.detach(), value.grad)
        found.append(pair)
        if "in_proj" in name:
            found += zip(*(one.chunk(3) for one in pair), strict=True)
        elif name.endswith((".proj", "text_projection")):
            found.append((pair[0].T, pair[1].T))
    for name, value in model.named_parameters():
        if ".gate_proj." in name:
            other = model.get_parameter(name.replace("gate_proj", "up_proj"))
            found.append((torch.cat([value, other]).detach(), torch.cat([value.grad, other.grad])))
    return found


def bit(side: int, **changed: Any) -> Any:
    """DINOv2's image processor, with the settings of the published checkpoints but for the side."""
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    values = {"size": {"shortest_edge": round(side * 256 / 224)}, "crop_size": {"height": side, "width": side}}
    means = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    return BitImageProcessorPil(**{**values, **means, **changed})


def frames(backbone: Backbone, count: int = 5) -> Tensor:
    """Random frames (N, 3, S, S) for a backbone."""
    return torch.randn(count, *backbone.input_shape, generator=torch.Generator().manual_seed(3))
