"""Writes the table of tuning methods and families into docs/tuning.md; `tests/tuning/test_tuning_fits.py` checks both.

Backbones of the real sizes are built without memory, so no weights are needed: their cut and the number of weights that
learn come from the methods themselves. Every line of `kshot.backbones.families.FAMILIES` needs one of `REAL`.

    python scripts/tuning_table.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from kshot import tuning
from kshot.backbones import clip, lite, resnet, units
from kshot.backbones import videoprism as parts
from kshot.backbones.backbone import Backbone
from kshot.backbones.families import (
    FAMILIES,
    clip_image,
    dinov2,
    dinov3,
    open_clip,
    siglip,
    videomae,
    videoprism,
    vjepa2,
)  # fmt: skip
from kshot.backbones.preprocessing import AS_CLIP
from kshot.errors import OptionError

PAGE = Path(__file__).parents[1] / "docs" / "tuning.md"
START, END = "<!-- written by scripts/tuning_table.py -->\n", "<!-- end -->\n"

B16 = clip.VisionConfig(patch_size=16)
HUGE = clip.VisionConfig(1280, 5120, 32, 16, patch_size=14)
WORLDWIDE = clip.Config(clip.TextConfig(1024, 4096, 24, 16, vocab_size=901_629, eos_token_id=2), HUGE, 1024)


def _clip(config: clip.Config) -> Callable[[], Backbone]:
    return lambda: Backbone(clip.CLIP(config))


def _image(config: clip.VisionConfig, width: int) -> Callable[[], Backbone]:
    return lambda: clip_image.ClipImage(clip_image.Parts(config, width))


def _dinov2(registers: int) -> Callable[[], Backbone]:
    return lambda: dinov2.Dinov2(dinov2.Vision(dinov2.Config(num_register_tokens=registers), 224))


def _dinov3() -> Backbone:
    config = dinov3.Config(768, 3072, num_attention_heads=12, num_register_tokens=4)
    return dinov3.Dinov3(dinov3.Vision(config))


def _siglip() -> Backbone:
    return siglip.Siglip(siglip.Parts(siglip.VisionConfig(), siglip.TextConfig()), "SigLIP", None, 0, AS_CLIP)


def _resnet() -> Backbone:
    parts = open_clip.Parts(resnet.Config((3, 4, 6, 3), 64, 32, 224, 1024), clip.TextConfig(), 1024)
    return open_clip.ClipResNet(parts, "RN50", None, AS_CLIP)


def _videomae(classifier: bool = False) -> Backbone:
    parts = videomae.Parts(videomae.Config(), norm=not classifier, fc_norm=classifier, biases=True)
    norm = parts.fc_norm if classifier else parts.layernorm
    tower = units.MeanTower(parts.embeddings, parts.encoder, norm, 16, 224, mean_first=classifier)
    return units.UnitBackbone(tower, "VideoMAE", AS_CLIP)


def _vjepa2(pooled: bool) -> Backbone:
    config = vjepa2.Config()
    return units.UnitBackbone(vjepa2._tower(vjepa2.Parts(config, pooled, True), config), "V-JEPA 2", AS_CLIP)


def _videoprism(made: str, text: bool = False) -> Backbone:
    words = parts.TextConfig() if text else None
    form = videoprism.Form(made, parts.VisionConfig(), 18, text=words)
    return videoprism.VideoPrism(videoprism.Parts(form), form, "VideoPrism", None, AS_CLIP, ())


REAL: dict[str, dict[str, Callable[[], Backbone]]] = {
    "clip": {"ViT-B/16": _clip(clip.Config(vision_config=B16))},
    "clip_vision_model": {"ViT-B/16": _image(B16, 512)},
    "metaclip_2": {"H/14": _clip(WORLDWIDE)},
    "metaclip_2_vision_model": {"H/14": _image(HUGE, 1024)},
    "siglip": {"B/16": _siglip},
    "siglip_vision_model": {"B/16": lambda: siglip.SiglipPictures(siglip.Vision(siglip.VisionConfig()))},
    "dinov2": {"B/14": _dinov2(0)},
    "dinov2_with_registers": {"B/14": _dinov2(4)},
    "dinov3_vit": {"B/16": _dinov3},
    "open_clip": {"ViT-B-16": _clip(clip.Config(vision_config=B16)), "RN50": _resnet},
    "videomae": {"B/16": _videomae},
    "vjepa2": {"L/16": lambda: _vjepa2(False), "L/16 with a pooler": lambda: _vjepa2(True)},
    "videoprism_vision_model": {"B/18": lambda: _videoprism(videoprism.ENCODER)},
    "videoprism": {"B/18": lambda: _videoprism(videoprism.WITH_TEXT, text=True)},
    "lite": {"lite": lambda: lite.Lite(lite.LiteTower(lite.SIZES["lite"]))},
}
"""`model_type`, or the name of a package's family, -> size -> builds a backbone of it."""


def cell(frozen: Backbone, method: str) -> str:
    """What a method does with a backbone: its cut and how many weights learn; "no" where it does not fit."""
    backbone = frozen.copy()
    try:
        cut = tuning.apply(method, backbone)
    except OptionError:
        return "no"
    return f"{cut}: {backbone.describe()['trained']:,}"


def table() -> str:
    """Between the marks of the page."""
    missing = [kind for kind in FAMILIES if kind not in REAL]
    if missing:
        raise SystemExit(f"REAL in {__file__} needs a size of {', '.join(missing)}")
    lines = ["| family | size | " + " | ".join(f"`{method}`" for method in tuning.TUNING) + " |"]
    lines.append("| --- " * (len(tuning.TUNING) + 2) + "|")
    notes = []
    for kind, size, build in ((kind, size, build) for kind, sizes in REAL.items() for size, build in sizes.items()):
        with torch.device("meta"):
            frozen = build()
            cells = {method: cell(frozen, method) for method in tuning.TUNING}
        lines.append(f"| `{kind}` | {size} | " + " | ".join(cells.values()) + " |")
        reasons: dict[str, list[str]] = {}
        for method in (method for method, found in cells.items() if found == "no"):
            reasons.setdefault(tuning.lacking(method, frozen), []).append(f"`{method}`")
        notes += [f"- `{kind}` {size} has no {lack}: {', '.join(left)}" for lack, left in reasons.items()]
    return "\n".join([*lines, "", 'Why "no":', "", *notes, ""])


def page() -> str:
    """The whole page with the table as it is now."""
    before, _, rest = PAGE.read_text("utf-8").partition(START)
    return f"{before}{START}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
