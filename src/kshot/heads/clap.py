"""CLAP: a linear probe that starts at the class texts, and is held near them where they already do well."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from kshot.heads.base import Head
from kshot.heads.formulas import class_means, membership, pool, unit
from kshot.heads.text import text_cosine
from kshot.options import Positive, Steps

WARM = 1e-5
"""Step size of the first step, as published."""


class CLAP(Head):
    """Class-adaptive linear probe (Silva-Rodriguez et al., CVPR 2024, arXiv 2312.12730); without constraint, ZS-LP.

    A cosine classifier w with the temperature of CLIP starts at the class texts t and is trained on the support clips:

        cross-entropy(text_scale * cos(clip, w)) + mean over classes c of lambda_c * |w_c - t_c|^2

    lambda_c is what the class texts alone give the support clips of class c on average, as a probability: the
    multipliers after the one outer step of the augmented Lagrangian method that the paper takes. Settings as the
    authors' code has them (jusiro/CLAP at dbdf409): SGD, momentum 0.9, no decay, 300 steps, the first at 1e-5, then a
    cosine from 0.1. Ours: all support clips in each step and no augmented copies of them (theirs draws 256 of 20
    copies of each); and class texts have unit length in kshot where theirs come as CLIP gives them, so they are brought
    to `length`, by default the order of CLIP's.

    Gradients never leave the span of support clips and texts, so an episode trains in coordinates of that span, in
    double precision; all episodes train side by side. The classifier is a constant to the gradient of anything outside.
    A prepared clip is (1, D).

    Args:
        constraint: whether w is held near the texts (CLAP); False is the paper's ZS-LP.
        text_scale: factor on the cosines, 1 / temperature.
        steps: of SGD.
        lr: step size, from which the cosine falls.
        length: of the class texts when training starts; the longer, the less a step turns them.
    """

    needs_text = True

    def __init__(
        self,
        constraint: bool = True,
        text_scale: Positive = 100.0,
        steps: Steps = 300,
        lr: Positive = 0.1,
        length: Positive = 10.0,
    ) -> None:
        super().__init__()
        self.constraint, self.text_scale, self.steps, self.lr, self.length = constraint, text_scale, steps, lr, length

    def prepare(self, clips: Tensor) -> Tensor:
        return pool(clips)

    @torch.no_grad()
    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        support = support.squeeze(2)
        zero_shot = (self.text_scale * text_cosine(support, text)).softmax(dim=2)
        assert text is not None  # or `text_cosine` had refused
        multipliers = class_means(zero_shot, labels, way).diagonal(dim1=1, dim2=2)
        vectors = torch.cat([support, self.length * unit(text)], dim=1).double()
        axes, coordinates = torch.linalg.qr(vectors.mT)  # (E, D, M), (E, M, N + way), M at most D
        clips, first = coordinates.mT.split([support.shape[1], way], dim=1)
        held = multipliers.double() if self.constraint else torch.zeros_like(multipliers, dtype=torch.float64)
        trained = self._train(clips, membership(labels, way, torch.float64), first, held)
        return {"weight": unit(trained @ axes.mT).to(support.dtype)}

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        return self.text_scale * query.squeeze(2) @ fitted["weight"].mT

    def _train(self, clips: Tensor, targets: Tensor, first: Tensor, multipliers: Tensor) -> Tensor:
        """The classifier after training, in coordinates of the span: (E, way, M).

        Args:
            clips: (E, N, M).
            targets: (E, N, way) one-hot labels.
            first: (E, way, M) the classifier at the start.
            multipliers: (E, way).
        """
        weights, velocity = first, torch.zeros_like(first)
        pull = 2 * multipliers[:, :, None] / first.shape[1]
        for step in range(self.steps):
            length = torch.linalg.vector_norm(weights, dim=2, keepdim=True)
            length = torch.where(length > 0, length, 1.0)
            direction = weights / length
            chances = (self.text_scale * clips @ direction.mT).softmax(dim=2)
            slope = self.text_scale / clips.shape[1] * (chances - targets).mT @ clips
            slope = (slope - (slope * direction).sum(dim=2, keepdim=True) * direction) / length
            velocity = 0.9 * velocity + slope + pull * (weights - first)
            weights = weights - self._rate(step) * velocity
        return weights

    def _rate(self, step: int) -> float:
        return self.lr * (1 + math.cos(math.pi * (step - 1) / self.steps)) / 2 if step else WARM
