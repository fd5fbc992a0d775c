"""What heads that compare clips frame by frame have in common."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kshot.heads import Shots
from kshot.heads.base import Head
from kshot.heads.formulas import class_means, frame_distances
from kshot.heads.pairs import every_pair, look_up, mean_of_classes, members_of, within
from kshot.options import Positive


class FrameHead(Head):
    """Score = -(distance between two sequences of frames), from a table of frame distances; subclasses say how.

    Clips stay (T, D) when prepared.

    Args:
        shots: how several support clips of a class are joined: "features" averages their embeddings frame by
            frame before the alignment, as CLIP-FSAR's published code does, "distances" averages the distances
            to each. The same thing at one shot.
        scale: factor on the distance before a softmax.
    """

    def __init__(self, shots: Shots = "features", scale: Positive = 1.0) -> None:
        super().__init__()
        self.shots = shots
        self.scale = scale

    def distance(self, frames: Tensor) -> Tensor:
        """Distances of pairs of clips: (T, S, ...) distances of a query's T to a support clip's S frames -> (...)."""
        raise NotImplementedError(f"{type(self).__name__} must define distance()")

    def _joins(self, shot: int) -> bool:
        """Whether support clips are averaged frame by frame before anything else."""
        return self.shots == "features" and shot > 1

    def score(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        if self._joins(labels.shape[1] // way):
            support = class_means(support, labels, way)
            return -self.scale * self.distance(frame_distances(query, support))
        distances = self.distance(frame_distances(query, support))
        return -self.scale * class_means(distances.mT, labels, way).mT

    def pairs(self, clips: Tensor, shot: int) -> Tensor:
        if self._joins(shot):
            return every_pair(clips, _products)
        return every_pair(clips, lambda a, b: self.distance(frame_distances(a[None], b[None]))[0])

    def score_pairs(self, table: Tensor, query: Tensor, support: Tensor, labels: Tensor, way: int) -> Tensor:
        shot = support.shape[1] // way
        if not self._joins(shot):
            return -self.scale * class_means(look_up(table, query, support).mT, labels, way).mT
        members = members_of(support, labels, way)
        similar = mean_of_classes(table, query, members) / _lengths(table, members)[:, None, :, None]
        similar = similar / _lengths(table, query[:, :, None])[:, :, None, :, None]
        return -self.scale * self.distance(1 - similar.permute(3, 4, 0, 1, 2).contiguous())

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        if self.shots == "distances":
            return super().fit_support(support, labels, text, way)
        return {"sequences": class_means(support, labels, way)}

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        if self.shots == "distances":
            return super().score_fitted(query, fitted, way)
        return -self.scale * self.distance(frame_distances(query, fitted["sequences"]))


def _products(a: Tensor, b: Tensor) -> Tensor:
    """Products of every frame of a clip with every frame of another: (a, T, D), (b, T, D) -> (a, b, T, T)."""
    products = a.flatten(0, 1) @ b.flatten(0, 1).mT
    return products.view(*a.shape[:2], *b.shape[:2]).transpose(1, 2)


def _lengths(table: Tensor, members: Tensor) -> Tensor:
    """Lengths of the frames of each class's mean clip: products (n, n, T, T), (E, way, shot) -> (E, way, T)."""
    lengths = within(table.diagonal(dim1=2, dim2=3), members).clamp(min=0).sqrt()
    return torch.where(lengths > 0, lengths, 1.0)
