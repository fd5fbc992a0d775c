"""What heads that compare clips frame by frame have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from kshot.errors import OptionError
from kshot.heads.base import Head
from kshot.heads.formulas import class_means, frame_distances

Shots = Literal["features", "distances"]


class FrameHead(Head):
    """Score = -(distance between two sequences of frames), from a table of frame distances; subclasses say how.

    Clips stay (T, D) when prepared.

    Args:
        shots: how several support clips of a class are joined: "features" averages their embeddings frame by
            frame before the alignment, as CLIP-FSAR's published code does, "distances" averages the distances
            to each. The same thing at one shot.
        scale: factor on the distance before a softmax.
    """

    def __init__(self, shots: Shots = "features", scale: float = 1.0) -> None:
        super().__init__()
        if shots not in ("features", "distances"):
            raise OptionError(f"shots joins support clips: expected 'features' or 'distances', found {shots!r}")
        self.expect_positive(scale=scale)
        self.shots = shots
        self.scale = scale

    def distance(self, frames: Tensor) -> Tensor:
        """Distances of pairs of clips: (T, S, ...) distances of a query's T to a support clip's S frames -> (...)."""
        raise NotImplementedError(f"{type(self).__name__} must define distance()")

    def score(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        if self.shots == "features" and labels.shape[1] > way:
            support = class_means(support, labels, way)
            return -self.scale * self.distance(frame_distances(query, support))
        distances = self.distance(frame_distances(query, support))
        return -self.scale * class_means(distances.mT, labels, way).mT

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        if self.shots == "distances":
            return super().fit_support(support, labels, text, way)
        return {"sequences": class_means(support, labels, way)}

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        if self.shots == "distances":
            return super().score_fitted(query, fitted, way)
        return -self.scale * self.distance(frame_distances(query, fitted["sequences"]))
