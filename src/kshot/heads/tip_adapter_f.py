"""Tip-Adapter-F: Tip-Adapter whose cache is trained on the support clips of each episode."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from kshot.heads.formulas import held_out_loss
from kshot.heads.tip_adapter import TipAdapter, cache
from kshot.options import NotNegative, Positive, Steps


class TipAdapterF(TipAdapter):
    """Tip-Adapter with keys trained in every episode (Zhang et al., ECCV 2022, arXiv 2207.09519).

    AdamW with a cosine schedule, as published; all support clips in each step, all episodes side by side.
    The cache is a constant to the gradient of anything outside.

    Args:
        alpha: see `TipAdapter`; chosen before training.
        beta: see `TipAdapter`; chosen before training.
        text_scale: see `TipAdapter`.
        epochs: steps.
        lr: first step size.
    """

    def __init__(
        self,
        alpha: NotNegative | Literal["loo"] = 1.0,
        beta: NotNegative | Literal["loo"] = 5.5,
        text_scale: Positive = 100.0,
        epochs: Steps = 20,
        lr: Positive = 0.001,
    ) -> None:
        super().__init__(alpha, beta, text_scale)
        self.epochs, self.lr = epochs, lr

    def _keys(
        self, support: Tensor, values: Tensor, labels: Tensor, text: Tensor | None, alpha: Tensor, beta: Tensor
    ) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():  # it trains, whatever happens around it
            words = self._words(support, text).detach().clone()
            clips, values, labels, alpha, beta = (x.detach().clone() for x in (support, values, labels, alpha, beta))
            keys = nn.Parameter(clips.clone())
            optimiser = torch.optim.AdamW([keys], self.lr, eps=1e-4)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.epochs)
            for _ in range(self.epochs):
                loss = held_out_loss(words + alpha * cache(clips @ keys.mT, values, beta), labels).sum()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
            return keys.detach()
