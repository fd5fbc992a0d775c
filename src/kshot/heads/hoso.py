"""HOSO: how much support clips count beside class names is learned on one held-out clip of each class."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kshot.heads.base import Head
from kshot.heads.baseline_pp import in_own_order
from kshot.heads.formulas import membership, pool, unit
from kshot.heads.text import text_cosine
from kshot.options import Positive

FALLBACK = 0.5
"""Weight of the clips where no class has a second clip to hold out."""
HALVINGS = 40


class HOSO(Head):
    """Blending learned on a held-out shot, after Vorster et al., Hold-One-Shot-Out, 2026, arXiv 2603.04341.

    The facts taken from its public abstract: a ratio blends what CLIP knows with a few-shot classifier; one shot of
    each class is held out; the few-shot classifier sees the remaining clips alone; the ratio is learned on the
    held-out clips, apart from the classifier. Its repository (chris-vorster/HOSO-Adapter at 82c989a) holds no code.
    Ours, and not the paper's: the few-shot side is the class mean instead of an adapter, scores are blended,

        text_scale * ((1 - r) cos(clip, text of c) + r cos(clip, mean of c)),

    and r is the minimum of the cross-entropy of the held-out clips over 0..1, which is convex in r, found by bisection.
    With `refit` the means are of all clips once r is known. A clip is held out by its own content (the
    first of its class by the sum of its channels), so that the order of the clips does not matter; a class of a
    single clip holds none out, and where no class has two, r is 0.5.

    r and the means are constants to the gradient of anything outside. A prepared clip is (1, D).

    Args:
        refit: whether held-out clips join the class means afterwards; False as the paper's abstract has it.
        text_scale: factor on the cosines.
    """

    needs_text = True

    def __init__(self, refit: bool = False, text_scale: Positive = 100.0) -> None:
        super().__init__()
        self.refit, self.text_scale = refit, text_scale

    def prepare(self, clips: Tensor) -> Tensor:
        return pool(clips)

    @torch.no_grad()
    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        clips, own = in_own_order(support.squeeze(2), labels)
        member = membership(own, way, clips.dtype)
        held = (member.cumsum(dim=1) == 1) & (member > 0) & (member.sum(dim=1, keepdim=True) > 1)
        means = unit((member * ~held).mT @ clips)  # (E, way, D)
        words, near = text_cosine(clips, text), clips @ means.mT
        ratio = self._learn(words, near, member, held.any(dim=2))
        assert text is not None  # or `text_cosine` had refused
        means = unit(member.mT @ clips) if self.refit else means
        return {"weight": self.text_scale * ((1 - ratio) * unit(text) + ratio * means)}

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        return query.squeeze(2) @ fitted["weight"].mT

    def _learn(self, words: Tensor, near: Tensor, targets: Tensor, held: Tensor) -> Tensor:
        """The ratio (E, 1, 1) with the smallest cross-entropy of the held-out clips.

        Args:
            words: (E, N, way) cosines of support clips with class texts.
            near: (E, N, way) cosines with class means.
            targets: (E, N, way) one-hot labels.
            held: (E, N) which clips are held out.
        """
        words, turn, wanted = words.double(), (near - words).double(), targets.double()
        low = turn.new_zeros(len(turn), 1, 1)
        high = torch.ones_like(low)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            chances = (self.text_scale * (words + middle * turn)).softmax(dim=2)
            slope = ((chances - wanted) * turn).sum(dim=2)  # of each clip's loss, in the ratio
            rising = torch.where(held, slope, 0.0).sum(dim=1)[:, None, None] > 0
            low, high = torch.where(rising, low, middle), torch.where(rising, middle, high)
        known = held.any(dim=1)[:, None, None]
        return torch.where(known, (low + high) / 2, FALLBACK).to(near.dtype)
