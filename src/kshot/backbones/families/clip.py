"""CLIP in transformers' format: both towers with their projections (`model_type` clip, architecture CLIPModel)."""

from __future__ import annotations

from pathlib import Path

from kshot.backbones import checkpoint, preprocessing
from kshot.backbones.backbone import Backbone
from kshot.backbones.clip import CLIP, Config
from kshot.backbones.preprocessing import Pixels
from kshot.errors import CheckpointError

ARCHITECTURES = ("CLIPModel", "TFCLIPModel", "FlaxCLIPModel")  # others under the same model_type compute other numbers


def read(folder: Path, name: str, allow_bin: bool = False, architectures: tuple[str, ...] = ARCHITECTURES) -> Backbone:
    """A CLIP with weights (as float32), tokenizer and preprocessing of a folder.

    Args:
        folder: in transformers' format.
        name: of the backbone, as it was given.
        allow_bin: also read weights that are there only as a pickle; no code of it is run.
        architectures: that config.json may name; the first is what it should be.

    Raises:
        CheckpointError: a file is missing or damaged, the folder is no CLIP, a setting that is not followed, or tensors
            are missing, unknown, not finite or of another shape: no weight is ever left at a random value.
    """
    config = _config(folder, architectures)
    pixels = preprocessing.read_pixels(folder, int(config.vision_config.image_size))
    weights = checkpoint.read_weights(folder, allow_bin)
    model = checkpoint.fill(lambda: CLIP(config), weights, folder, "a whole CLIP, image and text towers")
    checkpoint.expect_scale(weights, folder)
    tokenizer, words = checkpoint.read_tokenizer(folder, int(config.text_config.max_position_embeddings))
    backbone = Backbone(model, name=name, tokenizer=tokenizer, pixels=pixels)
    lines = _lines(config, pixels) + ([] if architectures is ARCHITECTURES else [architectures[0]])
    backbone.fingerprint = checkpoint.fingerprint(lines, weights, words)
    return backbone


def _config(folder: Path, architectures: tuple[str, ...]) -> Config:
    values = checkpoint.read_config(folder)
    made = values.get("architectures") or [architectures[0]]
    if not isinstance(made, list) or not set(architectures).intersection(map(str, made)):
        raise CheckpointError(
            f"{folder} is no CLIP: config.json says architectures {made}, expected {architectures[0]}"
        )
    try:
        config = Config.read(values)
    except ValueError as error:
        raise CheckpointError(f"{folder / 'config.json'} does not describe a CLIP ({error})") from None
    vision = config.vision_config
    if not (isinstance(vision.image_size, int) and isinstance(vision.patch_size, int)):
        raise CheckpointError(f"{folder} takes images of {vision.image_size}: only square ones are supported")
    if not isinstance(config.text_config.eos_token_id, int):
        raise CheckpointError(f"{folder}: expected one eos_token_id, found {config.text_config.eos_token_id}")
    return config


def _lines(config: Config, pixels: Pixels) -> list[str]:
    """Of the fingerprint: whatever changes an embedding besides the weights and the tokenizer."""
    text, vision = config.text_config, config.vision_config
    fields = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "hidden_act",
        "layer_norm_eps",
    )
    return [
        *(f"{field} {getattr(text, field)} {getattr(vision, field)}" for field in fields),
        f"image {vision.image_size} patch {vision.patch_size} eos {text.eos_token_id}",
        f"mean {pixels.mean} std {pixels.std}",
    ]
