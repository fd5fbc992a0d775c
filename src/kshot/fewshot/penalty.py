"""A penalty that keeps weights near where they began, as ProLIP keeps a projection near its pretrained value.

Fahes et al., *CLIP's Visual Embedding Projector is a Few-shot Cornucopia*, arXiv 2410.05270: cross-entropy plus lambda
times the squared Frobenius norm of W - W0, lambda = 1 / shots. Here W may be whatever learns in a backbone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from kshot.fewshot.strategies.base import Objective


def moved(weights: Sequence[Tensor], start: Sequence[Tensor]) -> Tensor:
    """The squared Frobenius norm of what weights have changed, a scalar; gradients flow to the weights."""
    import torch

    each = [(weight - before).square().sum() for weight, before in zip(weights, start, strict=True)]
    return torch.stack(each).sum()


def pulled(objective: Objective, weights: Mapping[str, Tensor], penalty: float) -> Objective:
    """An objective with the penalty in its loss.

    Args:
        objective: without.
        weights: name -> parameter that learns, as it begins. Those of a head have no pretrained value and stay free.
        penalty: factor on the squared distance, 0 for none.
    """
    own = [weight for name, weight in weights.items() if name.startswith("backbone.") and weight.requires_grad]
    if not penalty or not own:
        return objective
    start = [weight.detach().clone() for weight in own]
    return replace(objective, loss=lambda index: objective.loss(index) + penalty * moved(own, start))
