"""Baseline++: a cosine classifier trained from scratch on the support clips of each episode."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.heads.base import Head
from kshot.heads.formulas import pool, unit


class BaselinePP(Head):
    """Cosine classifier fitted by SGD in every episode (Chen et al., ICLR 2019, arXiv 1904.04232).

    Momentum and dampening 0.9, weight decay 1e-3. All episodes train side by side, from the same random
    weights and in the same order of batches, both drawn from the seed. Support clips are first put in an order
    of their own (by class, then by content), so that the order they come in does not matter.

    SGD never leaves the span of the support clips and the first weights, so an episode trains in coordinates
    of that span: N + way of them instead of D, the same steps but for rounding. The classifier is a constant to
    the gradient, which reaches the query alone. A prepared clip is (1, D).

    Args:
        scale: factor on the cosine, in training and in the scores; 2 as published for few classes.
        epochs: passes over the support clips.
        batch: support clips in a step.
        lr: step size.
        seed: of the first weights and the order of batches.
    """

    def __init__(self, scale: float = 2.0, epochs: int = 100, batch: int = 4, lr: float = 0.01, seed: int = 0) -> None:
        super().__init__()
        self.expect_positive(scale=scale, batch=batch, lr=lr)
        self.scale, self.epochs, self.batch, self.lr, self.seed = scale, epochs, batch, lr, seed

    def prepare(self, clips: Tensor) -> Tensor:
        return pool(clips)

    def score(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        axes, weights = self._classifier(support, labels, way)
        cosines: Tensor = (query.squeeze(2) @ axes) @ unit(weights).mT
        return self.scale * cosines

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        axes, weights = self._classifier(support, labels, way)
        return {"weight": axes @ unit(weights).mT}

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        return self.scale * (query.squeeze(2) @ fitted["weight"])

    def _classifier(self, support: Tensor, labels: Tensor, way: int) -> tuple[Tensor, Tensor]:
        """Axes (E, D, M) of the span of support clips and first weights, and the classifier (E, way, M) in it."""
        draw = torch.Generator().manual_seed(self.seed)
        bound = 1 / math.sqrt(support.shape[-1])
        first = torch.empty(way, support.shape[-1]).uniform_(-bound, bound, generator=draw).to(support)
        with torch.inference_mode(False), torch.enable_grad():  # it trains, whatever happens around it
            support, labels = in_own_order(support.detach().clone().squeeze(2), labels.clone())
            vectors = torch.cat([support, first.expand(len(support), -1, -1)], dim=1)
            axes, coordinates = torch.linalg.qr(vectors.mT)  # (E, D, N + way), (E, N + way, N + way)
            clips, weights = torch.split(coordinates.mT, [labels.shape[1], way], dim=1)
            return axes, self._train(clips, labels, weights, draw)

    def _train(self, clips: Tensor, labels: Tensor, weights: Tensor, draw: torch.Generator) -> Tensor:
        """Classifier after training: clips (E, N, M), labels (E, N), first weights (E, way, M) -> (E, way, M)."""
        learned = nn.Parameter(weights.contiguous())
        optimiser = torch.optim.SGD([learned], self.lr, momentum=0.9, dampening=0.9, weight_decay=1e-3)
        for _ in range(self.epochs):
            for chosen in torch.split(torch.randperm(labels.shape[1], generator=draw), self.batch):
                logits = self.scale * clips[:, chosen] @ unit(learned).mT
                losses = F.cross_entropy(logits.flatten(0, 1), labels[:, chosen].flatten(), reduction="none")
                optimiser.zero_grad()
                (losses.sum() / len(chosen)).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        return learned.detach()


def in_own_order(clips: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Clips (E, N, D) by class, and within a class by the sum of their channels, with their labels (E, N)."""
    order = clips.sum(dim=2).argsort(dim=1)
    order = order.gather(1, labels.gather(1, order).argsort(dim=1, stable=True))
    return clips.gather(1, order[:, :, None].expand_as(clips)), labels.gather(1, order)
