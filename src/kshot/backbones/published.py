"""Checkpoints that people know: where each comes from, its licence, and what it was trained on.

What a network has learned from decides what a few-shot figure means: classes that it was trained on are not new to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from kshot.backbones import hub

WEB = "400 million images with texts from the web"


@dataclass(frozen=True)
class Published:
    """A checkpoint.

    Attributes:
        name: as given to `kshot.load_backbone`.
        family: `model_type` of its config.json, or the layout of its folder, or "efficientnet-lite".
        licence: of its weights, as stored copies of the hub's pages state it (2026-11-27): at its own card for CLIP's
            ResNet, DINOv2 and SigLIP, at that of a sister for MetaCLIP 2, SigLIP 2, VideoMAE and V-JEPA 2; OpenAI's are
            MIT by their repository, VideoPrism Apache-2.0 by its own. The card of the day counts.
        trained_on: what it has learned from, in words.
    """

    name: str
    family: str
    licence: str
    trained_on: str


PUBLISHED = (
    Published("kshot-tiny", "clip", "Apache-2.0", "drawings of people in random poses, with texts"),
    Published("lite", "efficientnet-lite", "Apache-2.0", "ImageNet, 1,000 labelled classes"),
    Published("lite1", "efficientnet-lite", "Apache-2.0", "ImageNet, 1,000 labelled classes"),
    Published("lite2", "efficientnet-lite", "Apache-2.0", "ImageNet, 1,000 labelled classes"),
    Published("ViT-B/32", "clip", "MIT", WEB),
    Published("ViT-B/16", "clip", "MIT", WEB),
    Published("ViT-L/14", "clip", "MIT", WEB),
    Published("timm/resnet50_clip.openai", "open_clip", "MIT", WEB),
    Published(
        "facebook/metaclip-2-worldwide-huge-quickgelu", "metaclip_2", "CC-BY-NC-4.0",
        "images with texts from the web, in all languages",
    ),
    Published("google/siglip-base-patch16-224", "siglip", "Apache-2.0", "WebLI, images with English texts"),
    Published("google/siglip2-base-patch16-224", "siglip", "Apache-2.0", "WebLI, images with texts"),
    Published("facebook/dinov2-base", "dinov2", "Apache-2.0", "142 million images, without labels or texts"),
    Published(
        "facebook/dinov2-with-registers-base", "dinov2_with_registers", "Apache-2.0",
        "142 million images, without labels or texts",
    ),
    Published(
        "facebook/dinov3-vitb16-pretrain-lvd1689m", "dinov3_vit", "DINOv3 licence, asked for on the hub",
        "1.7 billion images, without labels or texts",
    ),
    Published("MCG-NJU/videomae-base", "videomae", "CC-BY-NC-4.0", "Kinetics-400 videos without their labels"),
    Published(
        "MCG-NJU/videomae-base-finetuned-kinetics", "videomae", "CC-BY-NC-4.0",
        "Kinetics-400 with its labels, the novel classes of Kinetics-100 among them",
    ),
    Published(
        "facebook/vjepa2-vitl-fpc64-256", "vjepa2", "MIT or Apache-2.0, see its card",
        "22 million videos and images, without labels",
    ),
    Published(
        "google/videoprism-base-f16r288", "videoprism_vision_model", "Apache-2.0",
        "36 million videos with texts and 582 million clips with noisy ones",
    ),
    Published(
        "google/videoprism-lvt-base-f16r288", "videoprism", "Apache-2.0",
        "36 million videos with texts and 582 million clips with noisy ones",
    ),
)  # fmt: skip
"""Of each family those that are asked for most; any other checkpoint of a family works as well."""


def find(name: str) -> Published | None:
    """The published checkpoint of a name or hub id, whatever its revision."""
    repository = name.partition("@")[0]
    return next((one for one in PUBLISHED if repository in (one.name, hub.ALIASES.get(one.name))), None)


def trained_on(name: str) -> str:
    """What a backbone has learned from, in words; "" where that is not known."""
    found = find(name)
    return found.trained_on if found else ""
