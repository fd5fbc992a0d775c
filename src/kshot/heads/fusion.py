"""Fusion: what the class names say and what the support clips say, as one product of probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from kshot.errors import OptionError
from kshot.heads.base import Head
from kshot.heads.formulas import held_out_loss, membership, unit
from kshot.heads.prototype import Prototype
from kshot.heads.text import Text

GRID = tuple(step / 10 for step in range(11))
"""Weights that leave-one-out chooses from."""
FALLBACK = 0.5
"""Weight where leave-one-out cannot choose: an episode in which a class has a single support clip."""


class Fusion(Head):
    """p_text ** beta * p_visual ** (1 - beta) in log space (Wang et al., CLIP-FSAR, IJCV 2024, arXiv 2303.02982).

    p_text comes from the text head, p_visual from the prototype head. With `beta="loo"` the weight is chosen
    in each episode on its support clips alone: each clip is scored by prototypes of the others, and the weight
    of the fixed grid 0, 0.1 ... 1 with the smallest cross-entropy wins. Where a class has one support clip
    nothing can be left out, and the weight is 0.5. Queries are never looked at.

    Scores are log probabilities up to a constant of the query. A prepared clip is (1, D).

    Args:
        beta: weight of the text, 0 (visual only) to 1 (text only), or "loo".
        scale: of the prototype head.
        text_scale: of the text head.
    """

    needs_text = True

    def __init__(self, beta: float | Literal["loo"] = 0.5, scale: float = 20.0, text_scale: float = 100.0) -> None:
        super().__init__()
        if beta != "loo" and (isinstance(beta, str) or not 0 <= beta <= 1):
            raise OptionError(f"beta weighs text against clips: expected 0 to 1 or 'loo', found {beta!r}")
        self.beta = beta
        self.visual = Prototype(scale)
        self.text = Text(text_scale)

    def prepare(self, clips: Tensor) -> Tensor:
        return self.visual.prepare(clips)

    def score(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        return self.score_fitted(query, self.fit_support(support, labels, text, way), way)

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        fitted = self.text.fit_support(support, labels, text, way) | self.visual.fit_support(support, labels, text, way)
        return fitted | {"beta": self.choose(support, labels, text, way)} if self.beta == "loo" else fitted

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        words, clips = (head.score_fitted(query, fitted, way) for head in (self.text, self.visual))
        return fuse(words, clips, fitted["beta"] if self.beta == "loo" else float(self.beta))

    @torch.no_grad()
    def choose(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        """The weight of each episode, by leave-one-out on its prepared support clips: (E, 1, 1)."""
        smallest = membership(labels, way, support.dtype).sum(dim=1).amin(dim=1)
        if float(smallest.max()) < 2:
            return support.new_full((len(support), 1, 1), FALLBACK)
        words = self.text.score(support, support, labels, text, way)
        clips = self._leave_one_out(support.squeeze(2), labels, way)
        losses = torch.stack([held_out_loss(fuse(words, clips, beta), labels) for beta in GRID])
        best = losses.new_tensor(GRID)[losses.argmin(dim=0)]
        return best.where(smallest > 1, FALLBACK)[:, None, None]

    def _leave_one_out(self, support: Tensor, labels: Tensor, way: int) -> Tensor:
        """Prototype scores of each support clip (E, N, D) against the others: (E, N, way).

        Only the mean of a clip's own class changes when it is left out, and only the direction of the rest matters.
        """
        member = membership(labels, way, support.dtype)
        sums = member.mT @ support
        scores = support @ unit(sums).mT
        rest = unit(sums.gather(1, labels[:, :, None].expand_as(support)) - support)
        own = (support * rest).sum(dim=2, keepdim=True)
        return self.visual.scale * torch.where(member > 0, own, scores)


def fuse(words: Tensor, clips: Tensor, beta: float | Tensor) -> Tensor:
    """log(p_words ** beta * p_clips ** (1 - beta)) from two sets of scores of the same shape."""
    return beta * words.log_softmax(dim=-1) + (1 - beta) * clips.log_softmax(dim=-1)
