"""Change: the class whose clips change in the same channels as the query, whatever stays as it is in them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kshot.heads.base import Head
from kshot.heads.formulas import change, class_means, full, standardise, statistics, unit
from kshot.options import Positive


class Change(Head):
    """Cosine with class means of how much each channel changes, centred and scaled on the support clips.

    Temporal differences of frames are those of Wang et al., TSN, ECCV 2016, arXiv 1608.00859, and TDN, CVPR 2021, arXiv
    2012.10071, which feed them to a network. Here they are pooled, and nothing learns: a clip is the mean absolute
    difference of successive frames at unit length, and their standard deviation over time, together at unit length (see
    `kshot.heads.formulas.change`). Each of these channels is centred and scaled by the statistics of the episode's
    support clips (see `kshot.heads.formulas.statistics`), no query among them. A prepared clip is (1, 2 D).

    Args:
        scale: factor on the cosine, -1..1, before a softmax.
    """

    least_frames = 2

    def __init__(self, scale: Positive = 20.0) -> None:
        super().__init__()
        self.scale = scale

    def prepare(self, clips: Tensor) -> Tensor:
        self.expect_frames(clips.shape[1])
        return change(full(clips))

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        support = support.squeeze(2)
        centre, spread = statistics(support)
        means = class_means(unit(standardise(support, centre, spread)), labels, way)
        return {"centre": centre, "spread": spread, "changes": unit(means)}

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        seen = unit(standardise(query.squeeze(2), fitted["centre"], fitted["spread"]))
        scores: Tensor = self.scale * torch.matmul(seen, fitted["changes"].mT)
        return scores
