"""The image tower of a CLIP or MetaCLIP 2 with its projection, and no text tower (`CLIPVisionModelWithProjection`)."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from kshot.backbones import checkpoint, clip, preprocessing
from kshot.backbones.backbone import Backbone, NoText
from kshot.backbones.preprocessing import AS_CLIP, Pixels
from kshot.backbones.tower import ImageTower
from kshot.errors import CheckpointError

ARCHITECTURES = {
    "clip_vision_model": "CLIPVisionModelWithProjection",
    "metaclip_2_vision_model": "MetaClip2VisionModelWithProjection",
}  # by model type; without a projection an embedding would be another


def read(folder: Path, name: str, allow_bin: bool = False) -> Backbone:
    """An image tower with weights (as float32) and preprocessing of a folder.

    Args:
        folder: in transformers' format.
        name: of the backbone, as it was given.
        allow_bin: also read weights that are there only as a pickle; no code of it is run.

    Raises:
        CheckpointError: a file is missing or damaged, a setting that is not followed, or tensors are missing, unknown,
            not finite or of another shape: no weight is ever left at a random value.
    """
    values = checkpoint.read_config(folder)
    wanted = ARCHITECTURES[str(values.get("model_type"))]
    made = values.get("architectures") or [wanted]
    if not isinstance(made, list) or wanted not in made:
        raise CheckpointError(f"{folder}: config.json says architectures {made}, expected {wanted}")
    try:
        config: clip.VisionConfig = clip.filled(clip.VisionConfig, values)
        width = clip.projection_dim(values)
        clip.expect_square(config)
    except ValueError as error:
        raise CheckpointError(f"{folder / 'config.json'} does not describe an image tower ({error})") from None
    pixels = preprocessing.read_pixels(folder, config.image_size)
    weights = checkpoint.read_weights(folder, allow_bin)
    parts = checkpoint.fill(lambda: Parts(config, width), weights, folder, "an image tower with its projection")
    backbone = ClipImage(parts, name, pixels)
    backbone.fingerprint = checkpoint.fingerprint([f"image tower {config}", f"{pixels}"], weights)
    return backbone


class Parts(nn.Module):
    """The tower's parts and its projection; it has no forward of its own."""

    def __init__(self, config: clip.VisionConfig, width: int) -> None:
        super().__init__()
        self.vision_model = clip.VisionModel(config)
        self.visual_projection = nn.Linear(config.hidden_size, width, bias=False)


class ClipImage(Backbone):
    """The image tower of a CLIP with its preprocessing; it has no text side.

    Args:
        parts: of the tower.
        name: as loaded.
        pixels: its preprocessing.
    """

    tunings = (
        "partial", "full", "lora", "adaptformer", "bitfit", "layernorm", "clip-adapter", "vpt", "st-adapter", "aim",
        "task-adapter",
    )  # fmt: skip

    def __init__(self, parts: Parts, name: str = "memory", pixels: Pixels = AS_CLIP) -> None:
        nn.Module.__init__(self)
        tower = ImageTower(parts.vision_model, parts.visual_projection)
        self._assemble(tower, NoText(), parts.visual_projection.out_features, name, None, pixels, 100.0)
