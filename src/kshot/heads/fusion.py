"""Fusion: what the class names say and what the support clips say, as one product of probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from kshot.heads.base import Head
from kshot.heads.formulas import held_out_loss, membership, unit
from kshot.heads.prototype import Prototype
from kshot.heads.text import Text
from kshot.options import Fraction, Positive

GRID = tuple(step / 10 for step in range(11))
"""Weights that leave-one-out chooses from."""
FALLBACK = 0.5
"""Weight where leave-one-out cannot choose: an episode in which a class has a single support clip."""
SHARP, ENOUGH, TOP = 0.25, 0.2, 1.5
"""Constants of `earned`, chosen on base classes by scripts/text_weight.py; docs/heads.md has the figures."""


class Fusion(Head):
    """p_text ** beta * p_visual ** (1 - beta) in log space (Wang et al., CLIP-FSAR, IJCV 2024, arXiv 2303.02982).

    p_text comes from the text head, p_visual from the prototype head. By default the text earns its weight on the
    support clips of each episode, from one clip a class on (see `earned`): class names that tell them apart count,
    names that do not are left out. With `beta="loo"` the weight is chosen in each episode on its support clips alone,
    too: each clip is scored by prototypes of the others, and the weight of the fixed grid 0, 0.1 ... 1 with the
    smallest cross-entropy wins; where a class has one support clip nothing can be left out, and the weight is 0.5.
    Queries are never looked at.

    Scores are log probabilities up to a constant of the query. A prepared clip is (1, D).

    Args:
        beta: weight of the text: "earned", a fixed one from 0 (visual only) to 1 (text only), or "loo".
        scale: of the prototype head.
        text_scale: of the text head.
        phases: of the text head. Then a prepared clip is (T, D).
    """

    needs_text = True

    def __init__(
        self,
        beta: Fraction | Literal["earned", "loo"] = "earned",
        scale: Positive = 20.0,
        text_scale: Positive = 100.0,
        phases: bool = False,
    ) -> None:
        super().__init__()
        self.beta = beta
        self.visual = Prototype(scale)
        self.text = Text(text_scale, phases)
        self.phases = phases

    def prepare(self, clips: Tensor) -> Tensor:
        return self.text.prepare(clips)

    def _pooled(self, clips: Tensor) -> Tensor:
        """Prepared clips as the prototype head takes them."""
        return self.visual.prepare(clips) if self.phases else clips

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        clips = self._pooled(support)
        fitted = self.text.fit_support(support, labels, text, way) | self.visual.fit_support(clips, labels, text, way)
        if self.beta == "earned":
            with torch.no_grad():
                return fitted | {"beta": earned(self.text.score(support, support, labels, text, way), labels)}
        return fitted | {"beta": self.choose(support, labels, text, way)} if self.beta == "loo" else fitted

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        words = self.text.score_fitted(query, fitted, way)
        clips = self.visual.score_fitted(self._pooled(query), fitted, way)
        return fuse(words, clips, fitted["beta"] if isinstance(self.beta, str) else float(self.beta))

    @torch.no_grad()
    def choose(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        """The weight of each episode, by leave-one-out on its prepared support clips: (E, 1, 1)."""
        smallest = membership(labels, way, support.dtype).sum(dim=1).amin(dim=1)
        if float(smallest.max()) < 2:
            return support.new_full((len(support), 1, 1), FALLBACK)
        words = self.text.score(support, support, labels, text, way)
        clips = self._leave_one_out(self._pooled(support).squeeze(2), labels, way)
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


def earned(words: Tensor, labels: Tensor, sharp: float = SHARP, enough: float = ENOUGH, top: float = TOP) -> Tensor:
    """The weight that class names deserve, by how well they alone name the support clips; it needs no clip left out.

    With z the text scores of the support clips, less their mean over the classes and over their root mean square, so
    that no scale of the text matters, and w the factor on the text scores where those of the clips have the factor one:

        g = mean over clips of log(way * softmax(sharp * z)[own class])
        w * rms = top / shots * clip(g / enough, 0, 1)

    Names that are no better than chance have g <= 0. More clips a class need words less. The rule is kshot's own.

    Args:
        words: (E, N, way) scores of the support clips by the text head.
        labels: (E, N) class of each.
        sharp: factor on z before the softmax.
        enough: g from which on text has its full weight.
        top: that weight for one clip a class, in root mean squares of the text scores.

    Returns:
        (E, 1, 1) weight w / (1 + w) for `fuse`, 0 to 1.
    """
    way, shots = words.shape[2], words.shape[1] / words.shape[2]
    words = words - words.mean(dim=2, keepdim=True)
    spread = words.square().mean(dim=(1, 2), keepdim=True).sqrt()
    apart = spread > 0
    spread = torch.where(apart, spread, 1.0)
    gain = math.log(way) - held_out_loss(sharp * words / spread, labels)
    weight = top / shots * (gain[:, None, None] / enough).clamp(0, 1) / spread
    return torch.where(apart, weight / (1 + weight), 0.0)


def fuse(words: Tensor, clips: Tensor, beta: float | Tensor) -> Tensor:
    """log(p_words ** beta * p_clips ** (1 - beta)) from two sets of scores of the same shape."""
    return beta * words.log_softmax(dim=-1) + (1 - beta) * clips.log_softmax(dim=-1)
