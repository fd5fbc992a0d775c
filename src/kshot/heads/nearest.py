"""Nearest neighbour: the class of the support clip that points most in the direction of the query."""

from __future__ import annotations

from torch import Tensor

from kshot.heads.base import Head
from kshot.heads.formulas import cosine, pool
from kshot.heads.pairs import every_pair, look_up
from kshot.options import Positive


class Nearest(Head):
    """Cosine with the closest support clip of each class (Cover and Hart, IEEE Trans. Inf. Theory 1967).

    A clip is the mean of its frames. With one shot this equals the prototype head. A prepared clip is (1, D).

    Args:
        scale: factor on the cosine, -1..1, before a softmax.
    """

    def __init__(self, scale: Positive = 20.0) -> None:
        super().__init__()
        self.scale = scale

    def prepare(self, clips: Tensor) -> Tensor:
        return pool(clips)

    def score(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        return self._closest(cosine(query.squeeze(2), support.squeeze(2)), labels, way)

    def pairs(self, clips: Tensor, shot: int) -> Tensor:
        return every_pair(clips.squeeze(1), cosine)

    def score_pairs(self, table: Tensor, query: Tensor, support: Tensor, labels: Tensor, way: int) -> Tensor:
        return self._closest(look_up(table, query, support), labels, way)

    def _closest(self, similar: Tensor, labels: Tensor, way: int) -> Tensor:
        closest = similar.new_full((*similar.shape[:2], way), -1.0)
        return self.scale * closest.scatter_reduce(2, labels[:, None].expand_as(similar), similar, "amax")
