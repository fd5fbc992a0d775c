"""Baseline++: a cosine classifier trained from scratch on the support clips of each episode."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.draws import key
from kshot.heads.base import Head
from kshot.heads.formulas import pool, unit
from kshot.options import Count, Positive, Steps

FIRST, ORDER = 1, 2  # what is drawn of an episode


class BaselinePP(Head):
    """Cosine classifier fitted by SGD in every episode (Chen et al., ICLR 2019, arXiv 1904.04232).

    As in the authors' code (wyharveychen/CloserLookFewShot at e03aca8): every episode draws its own first weights,
    uniform within 1 / sqrt(D) of zero, and its own order of batches; momentum and dampening 0.9, weight decay 1e-3; and
    a class's cosine is multiplied by a norm that learns with its direction and starts at the length of the first
    weights. What an episode draws is a pure function of the seed and the episode's number. Support clips are first put
    in an order of their own (by class, then by content), so that the order they come in does not matter.

    SGD never leaves the span of the support clips and the first weights, so an episode trains in coordinates
    of that span: N + way of them instead of D, the same steps but for rounding; all episodes train side by side. The
    classifier is a constant to the gradient, which reaches the query alone. A prepared clip is (1, D).

    Args:
        scale: factor on the cosine, in training and in the scores; 2 as published for few classes.
        epochs: passes over the support clips.
        batch: support clips in a step.
        lr: step size.
        seed: of the first weights and the order of batches.
        norm: "learned" as in the authors' code, or "unit": the cosine alone, as in the paper's formula.
        fresh: whether every episode draws its own first weights and order; False: all have the same.
    """

    draws = True
    before: ClassVar = {"norm": "unit", "fresh": False}

    def __init__(
        self,
        scale: Positive = 2.0,
        epochs: Steps = 100,
        batch: Count = 4,
        lr: Positive = 0.01,
        seed: int = 0,
        norm: Literal["learned", "unit"] = "learned",
        fresh: bool = True,
    ) -> None:
        super().__init__()
        self.scale, self.epochs, self.batch, self.lr, self.seed = scale, epochs, batch, lr, seed
        self.norm, self.fresh = norm, fresh

    def prepare(self, clips: Tensor) -> Tensor:
        return pool(clips)

    def score(
        self,
        query: Tensor,
        support: Tensor,
        labels: Tensor,
        text: Tensor | None,
        way: int,
        numbers: Sequence[int] | None = None,
    ) -> Tensor:
        axes, weights = self._classifier(support, labels, way, range(len(support)) if numbers is None else numbers)
        cosines: Tensor = (query.squeeze(2) @ axes) @ weights.mT
        return self.scale * cosines

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        axes, weights = self._classifier(support, labels, way, range(len(support)))
        return {"weight": axes @ weights.mT}

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        return self.scale * (query.squeeze(2) @ fitted["weight"])

    def first(self, numbers: Sequence[int], way: int, channels: int) -> Tensor:
        """The first weights of episodes: (E, way, D), uniform within 1 / sqrt(D) of zero."""
        bound = 1 / math.sqrt(channels)
        if not self.fresh:
            draw = torch.Generator().manual_seed(self.seed)
            return torch.empty(way, channels).uniform_(-bound, bound, generator=draw).expand(len(numbers), -1, -1)
        number = np.asarray(numbers)[:, None, None]
        keys = key(self.seed, FIRST, number, np.arange(way)[:, None], np.arange(channels))
        share = (keys >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)  # 24 bits: what single precision holds
        return torch.from_numpy(bound * (2 * share - 1))

    def order(self, numbers: Sequence[int], way: int, channels: int, clips: int) -> Tensor:
        """The order of the N support clips in every epoch: (E, epochs, N)."""
        if not self.fresh:  # in the sequence of the same generator, behind the first weights
            draw = torch.Generator().manual_seed(self.seed)
            torch.empty(way, channels).uniform_(generator=draw)
            orders = [torch.randperm(clips, generator=draw) for _ in range(self.epochs)]
            return torch.stack(orders or [torch.arange(clips)]).expand(len(numbers), -1, -1)
        number, epoch = np.asarray(numbers)[:, None, None], np.arange(self.epochs)[:, None]
        return torch.from_numpy(np.argsort(key(self.seed, ORDER, number, epoch, np.arange(clips)), axis=2))

    def _classifier(self, support: Tensor, labels: Tensor, way: int, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Axes (E, D, M) of the span of support clips and first weights, and the classifier (E, way, M) in it."""
        channels, count = support.shape[-1], labels.shape[1]
        first = self.first(numbers, way, channels).to(support)
        order = self.order(numbers, way, channels, count).to(labels.device)
        with torch.inference_mode(False), torch.enable_grad():  # it trains, whatever happens around it
            support, labels = in_own_order(support.detach().clone().squeeze(2), labels.clone())
            vectors = torch.cat([support, first.clone()], dim=1)
            axes, coordinates = torch.linalg.qr(vectors.mT)  # (E, D, N + way), (E, N + way, N + way)
            clips, weights = torch.split(coordinates.mT, [count, way], dim=1)
            return axes, self._train(clips, labels, weights, order.clone())

    def _train(self, clips: Tensor, labels: Tensor, weights: Tensor, order: Tensor) -> Tensor:
        """Classifier after training: what cosines are multiplied with, (E, way, M).

        Args:
            clips: (E, N, M) in the coordinates of the span.
            labels: (E, N).
            weights: (E, way, M) the first ones.
            order: (E, epochs, N) of the clips.
        """
        direction = nn.Parameter(weights.contiguous())
        norm = nn.Parameter(torch.linalg.vector_norm(weights, dim=2, keepdim=True))
        learned = [direction, norm] if self.norm == "learned" else [direction]

        def classifier() -> Tensor:
            return norm * unit(direction) if self.norm == "learned" else unit(direction)

        optimiser = torch.optim.SGD(learned, self.lr, momentum=0.9, dampening=0.9, weight_decay=1e-3)
        for epoch in range(self.epochs):
            for chosen in torch.split(order[:, epoch], self.batch, dim=1):
                batch = clips.gather(1, chosen[:, :, None].expand(-1, -1, clips.shape[2]))
                logits = self.scale * batch @ classifier().mT
                losses = F.cross_entropy(logits.flatten(0, 1), labels.gather(1, chosen).flatten(), reduction="none")
                optimiser.zero_grad()
                (losses.sum() / chosen.shape[1]).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        return classifier().detach()


def in_own_order(clips: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Clips (E, N, D) by class, and within a class by the sum of their channels, with their labels (E, N)."""
    order = clips.sum(dim=2).argsort(dim=1)
    order = order.gather(1, labels.gather(1, order).argsort(dim=1, stable=True))
    return clips.gather(1, order[:, :, None].expand_as(clips)), labels.gather(1, order)
