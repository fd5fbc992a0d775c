"""Ready-made features as a backbone whose last layer is all that there is: so those of any network can be adapted.

The layer is linear and begins as the identity: untrained, an embedding is the feature that came in. It is what partial
fine-tuning trains; CLIP-Adapter's residual adapter fits on top of it, or in its place. Frames cannot go in.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from kshot.backbones.backbone import Backbone, NoText
from kshot.backbones.preprocessing import AS_CLIP
from kshot.errors import OptionError

NAME = "features:"


def load_features_backbone(name: str) -> Backbone:
    """The backbone of features with P channels, by its name `features:P`.

    Raises:
        OptionError: P is no number of channels.
    """
    channels = name.removeprefix(NAME)
    if not channels.isdecimal() or not 0 < int(channels) <= 1 << 20:
        raise OptionError(f"backbone '{name}': expected features: and a number of channels, like features:1280")
    return Features(int(channels))


class FeatureTower(nn.Module):
    """One linear layer as a tower of one block; its cuts are those of `kshot.backbones.tower.Tower`.

    Attributes:
        blocks: the layer.
        norm: of the end; nothing here.
        projection: of the end; nothing here.
        feature: what `encode_from` does to the embedding; nothing, unless a tuning method puts a module there.
        depth: 1.
        width: P, channels of a feature.
        tokens: 1.
        size: 0; there are no images.
        precision: type of the layer's arithmetic; single precision whatever is set.
        exact: whether the last block runs on condensed tokens: never.
    """

    exact = False
    precision = torch.float32

    def __init__(self, channels: int):
        super().__init__()
        layer = nn.Linear(channels, channels)
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
        self.blocks = nn.ModuleList([layer])
        self.norm: nn.Module = nn.Identity()
        self.projection: nn.Module = nn.Identity()
        self.feature: nn.Module = nn.Identity()
        self.depth, self.width, self.tokens, self.size = 1, channels, 1, 0

    def encode_to(self, x: Tensor, cut: int) -> Tensor:
        """Features (N, P) as they came, or, at cut 2, after the layer."""
        return self.encode_from(x, 1) if cut == 2 else x

    def encode_from(self, x: Tensor, cut: int) -> Tensor:
        """The embedding (N, P), not normalised, of what enters the layer (cuts 0 and 1) or has left it (2)."""
        x = x.float()
        out: Tensor = self.feature(x if cut == 2 else self.blocks[0](x))
        return out

    def condense(self, tokens: Tensor) -> Tensor:
        raise OptionError("features have no tokens, so there is nothing to condense")


class Features(Backbone):
    """Ready-made features with a layer that can learn; they have no text side.

    Args:
        channels: P of a feature.
    """

    tunings = ("partial", "clip-adapter")
    lacks = "layers but one linear layer on the features"

    def __init__(self, channels: int):
        nn.Module.__init__(self)
        tower: Any = FeatureTower(channels)
        self._assemble(tower, NoText(), channels, f"{NAME}{channels}", None, AS_CLIP, 100.0)
        self.fingerprint = hashlib.sha256(self.name.encode()).hexdigest()

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.embed_dim,)
