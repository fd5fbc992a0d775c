"""Both: how a clip looks and how it changes, side by side."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kshot.heads.base import Head
from kshot.heads.change import Change
from kshot.heads.prototype import Prototype
from kshot.options import Positive


class Both(Head):
    """The cosine of the prototype head and that of the change head, added.

    The prototype (Snell et al., NeurIPS 2017, arXiv 1703.05175) knows the mean over frames alone, `Change` (after Wang
    et al., TDN, CVPR 2021, arXiv 2012.10071) all but that. A prepared clip is (1, 3 D), the mean first.

    Args:
        scale: factor on either cosine, -1..1, before a softmax.
    """

    least_frames = Change.least_frames

    def __init__(self, scale: Positive = 20.0) -> None:
        super().__init__()
        self.mean, self.change = Prototype(scale), Change(scale)
        self.scale = scale

    def prepare(self, clips: Tensor) -> Tensor:
        self.expect_frames(clips.shape[1])
        return torch.cat([self.mean.prepare(clips), self.change.prepare(clips)], dim=-1)

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        mean, change = self._parts(support)
        return self.mean.fit_support(mean, labels, text, way) | self.change.fit_support(change, labels, text, way)

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        mean, change = self._parts(query)
        return self.mean.score_fitted(mean, fitted, way) + self.change.score_fitted(change, fitted, way)

    @staticmethod
    def _parts(prepared: Tensor) -> tuple[Tensor, Tensor]:
        """The mean (..., D) and the changes (..., 2 D) of prepared clips."""
        channels = prepared.shape[-1] // 3
        return prepared[..., :channels], prepared[..., channels:]
