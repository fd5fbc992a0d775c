"""Linear probe: a logistic regression on the support clips, solved for all episodes at once."""

from __future__ import annotations

import torch
from torch import Tensor

from kshot.errors import OptionError
from kshot.heads.base import Head
from kshot.heads.formulas import membership, pool

TOLERANCE = 1e-5  # of the first gradient; single precision reaches no further
NEWTON_STEPS, CG_STEPS, HALVINGS = 30, 50, 10


class LinearProbe(Head):
    """L2-regularised multinomial logistic regression on pooled clips (the linear probe of CLIP, arXiv 2103.00020).

    Minimises C * cross-entropy + |W|^2 / 2 with a free intercept, as scikit-learn's `LogisticRegression(C=C)`
    does, on clips of unit length. An episode has far fewer clips than channels, and W is a sum of its support
    clips, so the solver sees nothing but their products with each other. Scores are the logits.

    The weight of each support clip is a constant to the gradient. A prepared clip is (1, D).

    Args:
        C: inverse strength of the regularisation.
    """

    def __init__(self, C: float = 10.0) -> None:
        super().__init__()
        if not C > 0:
            raise OptionError(f"C is the inverse strength of the regularisation: expected above 0, found {C!r}")
        self.C = C

    def prepare(self, clips: Tensor, text: Tensor | None = None) -> Tensor:
        return pool(clips)

    def score(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        query, support = query.squeeze(2), support.squeeze(2)
        solved = solve(support @ support.mT, membership(labels, way, support.dtype), self.C)
        return (query @ support.mT) @ solved[:, :-1] + solved[:, -1:]


@torch.no_grad()
def solve(gram: Tensor, targets: Tensor, C: float) -> Tensor:
    """Newton's method, its steps by conjugate gradients, on every episode at once.

    A classifier is a weight for each support clip and an intercept: z (E, N + 1, way). Gradients are taken in
    the space of W, where the length of z is that of W, so the conditioning is that of the problem itself.

    Args:
        gram: (E, N, N) products between support clips.
        targets: (E, N, way) one-hot labels.
        C: see `LinearProbe`.

    Returns:
        (E, N + 1, way): the weights of the clips in each class, and last the intercepts.
    """
    design = torch.cat([gram, torch.ones_like(gram[:, :, :1])], dim=2)  # z -> logits
    decay = gram.new_full((gram.shape[1] + 1, 1), 1 / C)
    decay[-1] = 0

    def inner(a: Tensor, b: Tensor) -> Tensor:
        shared = (gram @ a[:, :-1] * b[:, :-1]).sum(dim=(1, 2)) + (a[:, -1] * b[:, -1]).sum(dim=1)
        return shared[:, None, None]

    def lift(slope: Tensor) -> Tensor:
        """From a slope for each clip to a direction of z."""
        return torch.cat([slope, slope.sum(dim=1, keepdim=True)], dim=1)

    def loss(z: Tensor) -> Tensor:
        logits = design @ z
        fit = (logits.logsumexp(dim=2) - (logits * targets).sum(dim=2)).sum(dim=1)[:, None, None]
        return fit + inner(decay * z, z) / 2

    z = torch.zeros_like(lift(targets))
    first = None
    for _ in range(NEWTON_STEPS):
        chances = (design @ z).softmax(dim=2)
        gradient = decay * z + lift(chances - targets)
        size = inner(gradient, gradient)
        first = size if first is None else first
        open_ = size > TOLERANCE**2 * first
        if not open_.any():
            break

        step, residual = torch.zeros_like(z), -gradient
        direction, left = residual, size
        for _ in range(CG_STEPS):
            slope = design @ direction
            slope = chances * (slope - (chances * slope).sum(dim=2, keepdim=True))
            curved = decay * direction + lift(slope)
            going = left > 1e-4 * size
            if not going.any():
                break
            far = torch.where(going, left / inner(direction, curved), 0)
            step, residual = step + far * direction, residual - far * curved
            now = inner(residual, residual)
            direction, left = residual + now / left.clamp(min=1e-30) * direction, now

        # Halve the steps that do not lower the loss as their slope promises; far from the optimum they overshoot.
        here, slope = loss(z), inner(gradient, step)
        factor = open_.to(z.dtype)
        for _ in range(HALVINGS):
            failed = loss(z + factor * step) > here + 1e-4 * factor * slope + 1e-6 * here
            if not failed.any():
                break
            factor = torch.where(failed, factor / 2, factor)
        z = z + factor * step
    return z
