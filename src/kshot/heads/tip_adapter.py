"""Tip-Adapter: what class names say, corrected by a cache of the support clips."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from kshot.heads.base import Head
from kshot.heads.formulas import held_out_loss, membership, pool
from kshot.heads.text import text_cosine
from kshot.options import NotNegative, Positive

ALPHAS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
BETAS = (0.5, 1.0, 2.0, 3.5, 5.5, 8.0)


class TipAdapter(Head):
    """Text logits + alpha * exp(-beta * (1 - cosine)) @ labels (Zhang et al., ECCV 2022, arXiv 2207.09519).

    Keys are the pooled support clips, values their labels one-hot. With "loo" a number is chosen in each
    episode from a fixed grid on its support clips alone: the cross-entropy of every clip given the cache of
    the others. With one clip a class a clip's own class is then missing from the cache, so such episodes keep
    the published alpha = 1 and beta = 5.5. Queries are never looked at. A prepared clip is (1, D).

    Args:
        alpha: weight of the cache against the text, or "loo".
        beta: how fast the cache forgets with distance, or "loo".
        text_scale: factor on the cosine with class names.
    """

    needs_text = True

    def __init__(
        self,
        alpha: NotNegative | Literal["loo"] = 1.0,
        beta: NotNegative | Literal["loo"] = 5.5,
        text_scale: Positive = 100.0,
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.text_scale = alpha, beta, text_scale

    def prepare(self, clips: Tensor) -> Tensor:
        return pool(clips)

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        support = support.squeeze(2)
        values = membership(labels, way, support.dtype)
        alpha, beta = self._choose(support, values, labels, text)
        keys = self._keys(support, values, labels, text, alpha, beta)
        fitted = {"keys": keys, "values": values, "alpha": alpha, "beta": beta}
        return fitted if text is None else fitted | {"text": text}

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        query = query.squeeze(2)
        clips = cache(query @ fitted["keys"].mT, fitted["values"], fitted["beta"])
        return self._words(query, fitted.get("text")) + fitted["alpha"] * clips

    def _words(self, clips: Tensor, text: Tensor | None) -> Tensor:
        return self.text_scale * text_cosine(clips, text)

    def _keys(
        self, support: Tensor, values: Tensor, labels: Tensor, text: Tensor | None, alpha: Tensor, beta: Tensor
    ) -> Tensor:
        return support

    @torch.no_grad()
    def _choose(self, support: Tensor, values: Tensor, labels: Tensor, text: Tensor | None) -> tuple[Tensor, Tensor]:
        """alpha and beta of each episode, (E, 1, 1) each."""
        fixed = support.new_tensor(
            [1.0 if self.alpha == "loo" else self.alpha, 5.5 if self.beta == "loo" else self.beta]
        )
        several = values.sum(dim=1).amin(dim=1) > 1
        if "loo" not in (self.alpha, self.beta) or not several.any():
            return fixed[0], fixed[1]
        alphas = ALPHAS if self.alpha == "loo" else (self.alpha,)
        betas = BETAS if self.beta == "loo" else (self.beta,)
        grid = list(itertools.product(alphas, betas))
        words, similar = self._words(support, text), support @ support.mT
        own = torch.eye(labels.shape[1], dtype=torch.bool, device=labels.device)
        similar = similar.masked_fill(own, -torch.inf)  # a clip is not in its own cache
        losses = [held_out_loss(words + a * cache(similar, values, b), labels) for a, b in grid]
        best = support.new_tensor(grid)[torch.stack(losses).argmin(dim=0)]
        alpha, beta = best.where(several[:, None], fixed)[:, :, None, None].unbind(dim=1)
        return alpha, beta


def cache(similar: Tensor, values: Tensor, beta: float | Tensor) -> Tensor:
    """What the support clips say: cosines (E, Q, N), one-hot labels (E, N, way) -> (E, Q, way)."""
    return torch.exp(-beta * (1 - similar)) @ values
