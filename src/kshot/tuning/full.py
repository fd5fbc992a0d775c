"""Full tuning: every weight of a tower learns, so nothing of it can be computed ahead."""

from __future__ import annotations

from kshot.backbones.backbone import Backbone
from kshot.tuning import Towers, deepest_cut, towers, unfreeze


def apply(backbone: Backbone, tower: Towers = "image") -> int:
    """Lets all weights learn.

    Args:
        backbone: changed in place.
        tower: "image", "text" or "both".

    Returns:
        The deepest cut of the image tower that it allows: 0 (frames), or the embedding if only the text tower learns.

    Raises:
        OptionError: a tower that does not exist.
    """
    for part in towers(backbone, tower):
        unfreeze(part.parameters())
    return deepest_cut(backbone.image)
