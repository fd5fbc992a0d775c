"""Prototype: the class whose mean clip points in the direction of the query."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from kshot.heads.base import Head
from kshot.heads.formulas import class_means, pool, unit


class Prototype(Head):
    """Cosine with class means (Snell et al., Prototypical Networks, NeurIPS 2017, arXiv 1703.05175).

    A clip is the mean of its frames at unit length; a class is the mean of its support clips. A prepared clip
    is (1, D).

    Args:
        scale: factor on the cosine, -1..1, before a softmax.
    """

    def __init__(self, scale: float = 20.0) -> None:
        super().__init__()
        self.expect_positive(scale=scale)
        self.scale = scale

    def prepare(self, clips: Tensor) -> Tensor:
        return pool(clips)

    def score(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        return self.score_fitted(query, self.fit_support(support, labels, text, way), way)

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        return {"means": unit(class_means(support.squeeze(2), labels, way))}

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        return self.scale * query.squeeze(2) @ fitted["means"].mT  # a prepared query has unit length already
