"""Tip-Adapter: class names plus a cache of support clips."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.heads import get_head
from kshot.heads.tip_adapter import ALPHAS, BETAS

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def test_by_hand() -> None:
    query = torch.tensor([[[[1.0, 0.0]]]])
    support = torch.tensor([[[[2.0, 0.0]], [[0.0, 2.0]], [[0.0, 1.0]]]])
    text = torch.tensor([[[0.0, 1.0], [3.0, 4.0]]])
    head = get_head("tip-adapter", alpha=2.0, beta=math.log(2), text_scale=10.0)
    scores = head(query, support, torch.tensor([[0, 1, 1]]), text)
    # Class 0: 10 * 0 + 2 * 1; class 1: 10 * 0.6 + 2 * (1/2 + 1/2)
    torch.testing.assert_close(scores, torch.tensor([[[2.0, 8.0]]]))


def by_loop(query: Tensor, support: Tensor, labels: Tensor, text: Tensor, alpha: float, beta: float) -> Tensor:
    """Scores (Q, way) in one episode."""
    asked, keys, names = (F.normalize(x, dim=1) for x in (query.mean(1), support.mean(1), text))
    scores = torch.zeros(len(asked), len(text), dtype=torch.float64)
    for q, clip in enumerate(asked):
        scores[q] = 100 * names @ clip
        for key, label in zip(keys, labels, strict=True):
            scores[q, label] += alpha * math.exp(-beta * (1 - float(key @ clip)))
    return scores


def test_plain_loop(draw: Draw) -> None:
    inputs = draw()
    scores = get_head("tip-adapter", alpha=3.0, beta=2.0)(*inputs)
    for e in range(3):
        torch.testing.assert_close(scores[e], by_loop(*(x[e] for x in inputs), 3.0, 2.0))


def test_leave_one_out_is_that_of_a_plain_loop(draw: Draw) -> None:
    query, support, labels, text = draw(episodes=6, shot=3)
    text[::2] = text[::2].flip(1) + 5  # in half of the episodes the names mislead
    scores = get_head("tip-adapter", alpha="loo", beta="loo")(query, support, labels, text)
    chosen = []
    for e in range(6):
        losses = {}
        for alpha in ALPHAS:
            for beta in BETAS:
                held_out = []
                for i in range(9):
                    rest = [j for j in range(9) if j != i]
                    logits = by_loop(support[e, i : i + 1], support[e, rest], labels[e, rest], text[e], alpha, beta)
                    held_out.append(F.cross_entropy(logits, labels[e, i : i + 1]))
                losses[alpha, beta] = float(sum(held_out))
        best = min(losses, key=lambda pair: losses[pair])
        chosen.append(best)
        torch.testing.assert_close(scores[e], by_loop(query[e], support[e], labels[e], text[e], *best))
    assert len(set(chosen)) > 1, "the choice should depend on the episode"


def test_one_of_the_two_may_be_fixed(draw: Draw) -> None:
    inputs = draw(episodes=1)
    chosen = get_head("tip-adapter", alpha="loo", beta=4.0)(*inputs)
    fixed = [get_head("tip-adapter", alpha=alpha, beta=4.0)(*inputs) for alpha in ALPHAS]
    assert any(torch.allclose(chosen, one) for one in fixed)


def test_one_shot_keeps_the_published_numbers(draw: Draw) -> None:
    inputs = draw(shot=1)
    expected = get_head("tip-adapter", alpha=1.0, beta=5.5)(*inputs)
    torch.testing.assert_close(get_head("tip-adapter", alpha="loo", beta="loo")(*inputs), expected)
    torch.testing.assert_close(
        get_head("tip-adapter", alpha=3.0, beta="loo")(*inputs),
        get_head("tip-adapter", alpha=3.0, beta=5.5)(*inputs),
    )
