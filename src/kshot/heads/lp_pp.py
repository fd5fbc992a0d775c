"""LP++: a linear probe whose weights blend visual class vectors and class texts, its step sizes from the data."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kshot.heads.base import Head
from kshot.heads.formulas import class_means, membership, pool, unit
from kshot.heads.text import text_cosine
from kshot.options import Steps

BLEND = 250
"""Factor on the mean cosine of support clips with their own class texts, with which the blend starts."""
EVERY = 10
"""Steps of the class vectors for one of the blend."""


class LPPP(Head):
    """Logits f . (w_c + alpha_c t_c) (Huang et al., LP++, CVPR 2024, arXiv 2404.02285).

    With f the N support clips and t the class texts, all of unit length, the mean cross-entropy is minimised over two
    blocks in turn, with step sizes from bounds of its curvature instead of a search:

        w starts at the sum of a class's clips; steps 4 N / (largest eigenvalue of the clips' products), momentum 0.9
        alpha starts at 250 times the mean cosine of clips with their own text; every tenth step, N / (4 max_c sum_i
        (f_i . t_c)^2)

    as in the authors' code (FereshteShakeri/FewShot-CLIP-Strong-Baseline at f81054f, 300 steps). That code goes
    on to choose the best of the 300 classifiers on a validation set as large as the support; here it is the last, and
    nothing is searched. It also trains a bias with random first values and adds up the gradients of alpha of all steps
    so far; the paper's formula has neither, and so has this.

    w never leaves the span of the support clips, so an episode trains a number for each clip and class, in double
    precision; all episodes train side by side. The classifier is a constant to the gradient of anything outside. A
    prepared clip is (1, D).

    Args:
        steps: of the class vectors.
    """

    needs_text = True

    def __init__(self, steps: Steps = 300) -> None:
        super().__init__()
        self.steps = steps

    def prepare(self, clips: Tensor) -> Tensor:
        return pool(clips)

    @torch.no_grad()
    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        support = support.squeeze(2)
        words = text_cosine(support, text).double()
        assert text is not None  # or `text_cosine` had refused
        targets = membership(labels, way, torch.float64)
        own = class_means(words, labels, way).diagonal(dim1=1, dim2=2).mean(dim=1)
        shares, blend = self._train(support.double() @ support.double().mT, words, targets, BLEND * own)
        weight = shares.mT @ support.double() + blend[:, :, None] * unit(text).double()
        return {"weight": weight.to(support.dtype)}

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        return query.squeeze(2) @ fitted["weight"].mT

    def _train(self, gram: Tensor, words: Tensor, targets: Tensor, blend: Tensor) -> tuple[Tensor, Tensor]:
        """How much of each support clip is in each class vector, (E, N, way), and the blend, (E, way).

        Args:
            gram: (E, N, N) products between support clips.
            words: (E, N, way) cosines of support clips with class texts.
            targets: (E, N, way) one-hot labels.
            blend: (E,) where alpha starts.
        """
        clips = gram.shape[1]
        pace = inverse(torch.linalg.eigvalsh(gram)[:, -1]) * 4 * clips
        blend_pace = inverse(words.square().sum(dim=1).amax(dim=1)) * clips / 4
        shares, velocity, alpha = targets, torch.zeros_like(targets), blend[:, None].repeat(1, targets.shape[2])
        for step in range(1, self.steps + 1):
            chances = (gram @ shares + alpha[:, None] * words).softmax(dim=2)
            slope = (chances - targets) / clips
            velocity = 0.9 * velocity + slope
            shares = shares - pace[:, None, None] * velocity
            if step % EVERY == 0:
                alpha = alpha - blend_pace[:, None] * (slope * words).sum(dim=1)
        return shares, alpha


def inverse(x: Tensor) -> Tensor:
    """1 / x, and 0 where nothing is above rounding: clips of length zero."""
    return torch.where(x > 1e-12, 1 / torch.where(x > 1e-12, x, 1.0), 0.0)
