"""Families of checkpoints: who reads a folder, by the `model_type` of its config.json, or by open_clip's own file.

Adding one: a file here with `read(folder, name, allow_bin)`, a line in `FAMILIES`, and a case in the contract test
(`tests/backbones/test_contract.py`), which holds for every line: each cut equals the forward pass of the library that
owns the checkpoint. A family is imported when a folder of its own is loaded, and not before.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from kshot.backbones import checkpoint, hub
from kshot.errors import CheckpointError


@dataclass(frozen=True)
class Family:
    """One line of the list.

    Attributes:
        module: the file in this folder that reads its checkpoints.
        transformers: the first version of that package that has what the file imports of it; "" if it imports nothing.
    """

    module: str
    transformers: str = ""


FAMILIES: dict[str, Family] = {
    "clip": Family("clip"),
    "clip_vision_model": Family("clip_image"),
    "metaclip_2": Family("metaclip2"),
    "metaclip_2_vision_model": Family("clip_image"),
    "siglip": Family("siglip"),
    "siglip_vision_model": Family("siglip"),
    "dinov2": Family("dinov2"),
    "dinov2_with_registers": Family("dinov2"),
    "dinov3_vit": Family("dinov3"),
    "open_clip": Family("open_clip"),
    "videomae": Family("videomae"),
    "vjepa2": Family("vjepa2"),
    "videoprism": Family("videoprism", transformers="5.18"),
    "videoprism_vision_model": Family("videoprism", transformers="5.18"),
}
"""model_type -> family; open_clip's layout has no model_type, and is known by its file."""

REFUSED: dict[str, str] = {
    "dinov3_convnext": "the ConvNeXt of DINOv3 has no class token and no attention; take its Vision Transformer",
    **dict.fromkeys(
        ("siglip2", "siglip2_vision_model"),
        "SigLIP 2 NaFlex takes pictures of any shape; take a SigLIP 2 of a fixed size, which says siglip",
    ),
}
"""model_type -> why it is not read, and what to take."""


def read(folder: Path, name: str, allow_bin: bool = False) -> Any:
    """The `Backbone` in a folder, frozen, with its fingerprint.

    Args:
        folder: in transformers' format, or in open_clip's.
        name: of the backbone, as it was given.
        allow_bin: also read weights that are there only as a pickle; no code of it is run.

    Raises:
        CheckpointError: a folder of no family, a transformers too old for it, or whatever its family refuses.
    """
    kind: object = "open_clip"
    if hub.layout(folder) is not hub.OPEN_CLIP:
        kind = checkpoint.read_config(folder, f"a checkpoint of {_known()}").get("model_type")
    if isinstance(kind, str) and kind in REFUSED:
        raise CheckpointError(f"{folder}: config.json says model_type {kind!r}: {REFUSED[kind]}")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        raise CheckpointError(f"{folder}: config.json says model_type {kind!r}, expected one of {_known()}")
    found = metadata.version("transformers") if family.transformers else ""
    if family.transformers and _numbers(found) < _numbers(family.transformers):
        raise CheckpointError(
            f"{folder} ({kind}) needs transformers {family.transformers}, found {found}: pip install "
            f"'transformers>={family.transformers}'"
        )
    return import_module(f"{__name__}.{family.module}").read(folder, name, allow_bin)


def _known() -> str:
    return ", ".join(FAMILIES)


def _numbers(version: str) -> list[int]:
    """Major and minor number of a version."""
    return [int(part) for part in version.split(".")[:2]]
