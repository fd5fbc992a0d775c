"""Prototype: the class whose mean clip points in the direction of the query."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kshot.heads.base import Head
from kshot.heads.formulas import class_means, pool, unit
from kshot.heads.pairs import every_pair, look_up, members_of, within
from kshot.options import Positive


class Prototype(Head):
    """Cosine with class means (Snell et al., Prototypical Networks, NeurIPS 2017, arXiv 1703.05175).

    A clip is the mean of its frames at unit length; a class is the mean of its support clips. A prepared clip
    is (1, D).

    Args:
        scale: factor on the cosine, -1..1, before a softmax.
    """

    def __init__(self, scale: Positive = 20.0) -> None:
        super().__init__()
        self.scale = scale

    def prepare(self, clips: Tensor) -> Tensor:
        return pool(clips)

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        return {"means": unit(class_means(support.squeeze(2), labels, way))}

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        return self.scale * query.squeeze(2) @ fitted["means"].mT  # a prepared query has unit length already

    def pairs(self, clips: Tensor, shot: int) -> Tensor:
        return every_pair(clips.squeeze(1), lambda a, b: a @ b.mT)

    def score_pairs(self, table: Tensor, query: Tensor, support: Tensor, labels: Tensor, way: int) -> Tensor:
        """A product with a mean is the mean of products, and so is a mean's squared length."""
        members = members_of(support, labels, way)
        products = look_up(table, query, members.flatten(1)).view(*query.shape, way, -1).mean(3)
        lengths = within(table, members).clamp(min=0).sqrt()[:, None]
        scores: Tensor = self.scale * products / torch.where(lengths > 0, lengths, 1.0)
        return scores
