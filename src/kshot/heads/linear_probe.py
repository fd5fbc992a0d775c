"""Linear probe: a logistic regression on the support clips, solved for all episodes at once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kshot.heads.base import Head
from kshot.heads.formulas import membership, pool
from kshot.options import Positive

TOLERANCE = 1e-6  # of the length of the first gradient
NEWTON_STEPS, CG_STEPS, HALVINGS = 30, 50, 10


class LinearProbe(Head):
    """Multinomial logistic regression on pooled clips (the linear probe of CLIP, ICML 2021, arXiv 2103.00020).

    Minimises C * cross-entropy + |W|^2 / 2 with a free intercept, as scikit-learn's `LogisticRegression(C=C)` does,
    on clips of unit length. An episode has far fewer clips than channels, and W is a sum of its support
    clips, so the solver sees nothing but their products with each other. Scores are the logits.

    The weight of each support clip is a constant to the gradient. A prepared clip is (1, D).

    Args:
        C: inverse strength of the regularisation.
    """

    def __init__(self, C: Positive = 10.0) -> None:
        super().__init__()
        self.C = C

    def prepare(self, clips: Tensor) -> Tensor:
        return pool(clips)

    def score(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        query, support = query.squeeze(2), support.squeeze(2)
        solved = solve(support @ support.mT, membership(labels, way, support.dtype), self.C)
        return (query @ support.mT) @ solved[:, :-1] + solved[:, -1:]

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        support = support.squeeze(2)
        solved = solve(support @ support.mT, membership(labels, way, support.dtype), self.C)
        return {"weight": support.mT @ solved[:, :-1], "bias": solved[:, -1:]}

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        return query.squeeze(2) @ fitted["weight"] + fitted["bias"]


@torch.no_grad()
def solve(gram: Tensor, targets: Tensor, C: float) -> Tensor:
    """Newton's method, its steps by conjugate gradients, on every episode at once, in double precision.

    A classifier is a weight for each support clip and, as a last row, an intercept: z (E, N + 1, way). Lengths
    and gradients are those of W, not of z, so the conditioning is that of the problem itself: `Problem.seen` turns
    z into what inner products need.

    Args:
        gram: (E, N, N) products between support clips.
        targets: (E, N, way) one-hot labels.
        C: see `LinearProbe`.

    Returns:
        (E, N + 1, way): the weights of the clips in each class, and last the intercepts.
    """
    problem = Problem(gram.double(), targets.double(), C)
    z = torch.zeros_like(problem.lift(problem.targets))
    seen, limit = z, None
    for _ in range(NEWTON_STEPS):
        chances = problem.logits(seen).softmax(dim=2)
        gradient = problem.decay * z + problem.lift(chances - problem.targets)
        downhill = -problem.seen(gradient)
        size = -total(gradient * downhill)
        limit = TOLERANCE**2 * size.clamp(min=1e-6) if limit is None else limit
        unfinished = size > limit
        if not unfinished.any():
            break
        step, seen_step = problem.newton_step(chances, gradient, downhill, size, unfinished)
        promise = total(gradient * seen_step)
        factor = problem.factor(z, seen, step, seen_step, promise, unfinished)
        z, seen = z + factor * step, seen + factor * seen_step
    return z.to(gram.dtype)


class Problem:
    """The regressions of all episodes: loss and curvature, in inner products of support clips.

    A classifier is z (E, N + 1, way); `seen`, what inner products need of it, has the same shape.

    Args:
        gram: (E, N, N) products between support clips.
        targets: (E, N, way) one-hot labels.
        C: inverse strength of the regularisation.
    """

    def __init__(self, gram: Tensor, targets: Tensor, C: float) -> None:
        self.gram, self.targets = gram, targets
        self.decay = gram.new_full((gram.shape[1] + 1, 1), 1 / C)
        self.decay[-1] = 0

    def seen(self, z: Tensor) -> Tensor:
        """The products of W with every support clip, and last the intercepts."""
        return torch.cat([self.gram @ z[:, :-1], z[:, -1:]], dim=1)

    @staticmethod
    def logits(seen: Tensor) -> Tensor:
        """Logits (E, N, way) of the support clips."""
        return seen[:, :-1] + seen[:, -1:]

    @staticmethod
    def lift(slope: Tensor) -> Tensor:
        """From a slope for each clip to a direction of z. To raise all classes alike changes nothing: left out."""
        slope = slope - slope.mean(dim=2, keepdim=True)
        return torch.cat([slope, slope.sum(dim=1, keepdim=True)], dim=1)

    def loss(self, z: Tensor, seen: Tensor) -> Tensor:
        """Cross-entropy and half the squared length of W over C: (E, 1, 1)."""
        scores = self.logits(seen)
        return total(scores.logsumexp(dim=2) - (scores * self.targets).sum(dim=2)) + total(self.decay * z * seen) / 2

    def newton_step(
        self, chances: Tensor, gradient: Tensor, downhill: Tensor, size: Tensor, unfinished: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Newton's step by conjugate gradients, and what is seen of it.

        Args:
            chances: (E, N, way) of the classes, where it starts.
            gradient: of the loss there.
            downhill: what is seen of minus the gradient.
            size: (E, 1, 1) squared length of the gradient.
            unfinished: (E, 1, 1) the episodes that take a step.
        """
        step, residual, direction, left = torch.zeros_like(gradient), -gradient, -gradient, size
        seen_step, seen_direction = step, downhill
        for _ in range(CG_STEPS):
            slope = self.logits(seen_direction)
            slope = chances * (slope - (chances * slope).sum(dim=2, keepdim=True))
            curved = self.decay * direction + self.lift(slope)
            bend = total(curved * seen_direction)
            going = unfinished & (left > 1e-4 * size) & (bend > 0)
            if not going.any():
                break
            far = torch.where(going, left / bend, 0)
            step, seen_step = step + far * direction, seen_step + far * seen_direction
            residual = residual - far * curved
            seen_residual = self.seen(residual)
            now = total(residual * seen_residual)
            turn = torch.where(going, now / left, 0)
            direction, seen_direction = residual + turn * direction, seen_residual + turn * seen_direction
            left = now
        return step, seen_step

    def factor(
        self, z: Tensor, seen: Tensor, step: Tensor, seen_step: Tensor, promise: Tensor, unfinished: Tensor
    ) -> Tensor:
        """How much of the step to take: (E, 1, 1).

        Far from the optimum a step may overshoot: halve those that do not lower the loss as their slope promises.
        """
        here, factor = self.loss(z, seen), unfinished.to(z.dtype)
        for _ in range(HALVINGS):
            failed = self.loss(z + factor * step, seen + factor * seen_step) > here + 1e-4 * factor * promise
            if not failed.any():
                break
            factor = torch.where(failed, factor / 2, factor)
        return factor


def total(x: Tensor) -> Tensor:
    """Sum over an episode, kept as (E, 1, 1)."""
    return x.flatten(1).sum(dim=1)[:, None, None]
