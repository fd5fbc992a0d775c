"""Linear probe: the batched solver against scikit-learn, one episode after the other."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from kshot.heads import get_head
from kshot.heads.formulas import membership
from kshot.heads.linear_probe import solve

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def test_two_clips_by_hand() -> None:
    """For (1, 0) and (0, 1) symmetry leaves one number, a in w0 = (a, -a) = -w1, and the optimum a = C / (1 + e^2a)."""
    C = 2 * math.log(3)  # then a = log(3) / 2
    clips = torch.eye(2, dtype=torch.float64).view(1, 2, 1, 2)
    scores = get_head("linear-probe", C=C)(clips, clips, torch.tensor([[0, 1]]))
    a = math.log(3) / 2
    torch.testing.assert_close(scores, torch.tensor([[[a, -a], [-a, a]]], dtype=torch.float64), rtol=1e-5, atol=1e-6)


def sklearn(query: Tensor, support: Tensor, labels: Tensor, C: float) -> np.ndarray:
    """Decision values (E, Q, way), mean zero over classes, of a classifier fitted to each episode."""
    values = []
    for asked, clips, label in zip(query.mean(2), support.mean(2), labels, strict=True):
        asked, clips = (x / x.norm(dim=1, keepdim=True) for x in (asked, clips))
        fitted = LogisticRegression(C=C, tol=1e-9, max_iter=10_000).fit(clips.numpy(), label.numpy())
        values.append(fitted.decision_function(asked.numpy()))
    return np.stack(values) - np.stack(values).mean(-1, keepdims=True)


@pytest.mark.parametrize("C", [0.01, 1.0, 10.0, 1000.0])
@pytest.mark.parametrize("shot", [1, 4])
def test_agrees_with_scikit_learn(shot: int, C: float, draw: Draw) -> None:
    query, support, labels, _ = draw(episodes=6, query=30, way=4, shot=shot, channels=24)
    scores = get_head("linear-probe", C=C)(query, support, labels)
    scores = (scores - scores.mean(-1, keepdim=True)).numpy()
    expected = sklearn(query, support, labels, C)
    np.testing.assert_allclose(scores, expected, atol=5e-4 * np.abs(expected).max())
    assert (scores.argmax(-1) == expected.argmax(-1)).mean() >= 0.995


def test_unequal_classes_and_single_precision_agree_too(draw: Draw) -> None:
    query, support, _, _ = draw(episodes=4, query=10, dtype=torch.float32)
    labels = torch.tensor([[0, 1, 1, 2, 1, 1]]).expand(4, -1)
    scores = get_head("linear-probe", C=5.0)(query, support, labels)
    expected = sklearn(query.double(), support.double(), labels, 5.0)
    np.testing.assert_allclose((scores - scores.mean(-1, keepdim=True)).numpy(), expected, atol=1e-3)


def test_the_gradient_of_the_objective_vanishes(draw: Draw) -> None:
    _, support, labels, _ = draw(episodes=5, shot=3)
    clips, targets = support.mean(2), membership(labels, 3, torch.float64)
    solved = solve(clips @ clips.mT, targets, C=3.0)
    weights = (solved[:, :-1].mT @ clips).requires_grad_()
    intercepts = solved[:, -1:].clone().requires_grad_()
    logits = clips @ weights.mT + intercepts
    objective = 3 * (logits.logsumexp(-1) - (logits * targets).sum(-1)).sum() + weights.square().sum() / 2
    gradients = torch.autograd.grad(objective, [weights, intercepts])
    assert all(float(g.abs().max()) < 1e-3 for g in gradients)


def test_an_empty_episode_does_not_spoil_its_neighbours(draw: Draw) -> None:
    """All clips alike, or all zero: nothing to learn, and equal scores; other episodes in the batch are untouched."""
    query, support, labels, _ = draw(episodes=4)
    alone = get_head("linear-probe")(query, support, labels)
    support[1], support[2] = 1.0, 0.0
    scores = get_head("linear-probe")(query, support, labels)
    torch.testing.assert_close(scores[1:3], torch.zeros(2, 4, 3, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(scores[[0, 3]], alone[[0, 3]], rtol=1e-7, atol=1e-7)
