"""MetaCLIP 2: both towers in the shapes of CLIP, with words of many languages (`model_type` metaclip_2).

Chuang et al., MetaCLIP 2: A Worldwide Scaling Recipe, 2025 (arXiv 2507.22062). One thing differs: a text ends at its
end-of-text token also where that is number 2, as in the published weights. A CLIP of that number is an early one, whose
texts end at the highest number.
"""

from __future__ import annotations

from pathlib import Path

from kshot.backbones.backbone import Backbone
from kshot.backbones.families import clip


def read(folder: Path, name: str, allow_bin: bool = False) -> Backbone:
    """A MetaCLIP 2 with weights (as float32), tokenizer and preprocessing of a folder; see `clip.read`.

    Args:
        folder: in transformers' format.
        name: of the backbone, as it was given.
        allow_bin: also read weights that are there only as a pickle; no code of it is run.

    Raises:
        CheckpointError: as `clip.read`.
    """
    backbone = clip.read(folder, name, allow_bin, ("MetaClip2Model",))
    backbone.text.highest = False
    return backbone
