"""CLIP-Adapter: a small MLP learns on the finished embedding (Gao et al., IJCV 2024)."""

from __future__ import annotations

from torch import Tensor, nn

from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from kshot.options import Count, Part
from kshot.tuning import Towers, deepest_cut, towers
from kshot.tuning.adapters import Bottleneck, alongside


def apply(backbone: Backbone, reduction: Count = 4, ratio: Part = 0.2, tower: Towers = "image") -> int:
    """The embedding f becomes (1 - ratio) * f + ratio * W2 ReLU(W1 f), without biases (the paper's formula).

    W2 starts at zero, so an embedding keeps its direction at first and is (1 - ratio) times as long: cosines, and every
    head and text score built on them, are those of the frozen model. Only embeddings are stored and read.

    Args:
        backbone: changed in place.
        reduction: channels of the embedding over those between W1 and W2.
        ratio: share of what is learned, above 0 and below 1.
        tower: "image", "text" or "both".

    Returns:
        The deepest cut of the image tower that it allows: the embedding.

    Raises:
        OptionError: an option with a value that it cannot take.
    """
    width = backbone.embed_dim // reduction
    if width < 1:
        raise OptionError(f"reduction '{reduction}': an embedding of {backbone.embed_dim} channels allows no more")
    for part in towers(backbone, tower):
        adapter = Bottleneck(backbone.embed_dim, width, nn.ReLU(), bias=False)
        part.feature = alongside(part, Blend(adapter, ratio))
    return deepest_cut(backbone.image)


class Blend(nn.Module):
    """(1 - ratio) * x + ratio * adapter(x)."""

    def __init__(self, adapter: nn.Module, ratio: float):
        super().__init__()
        self.adapter = adapter
        self.ratio = ratio

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = (1 - self.ratio) * x + self.ratio * self.adapter(x)
        return out
