"""Meta-Baseline: cosine with means of raw clips times a temperature that can be learned."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from kshot.heads import get_head

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def test_by_hand() -> None:
    query = torch.tensor([[[[1.0, 0.0]]]])
    support = torch.tensor([[[[1.0, 0.0]], [[0.0, 3.0]], [[-1.0, 0.0]]]])
    scores = get_head("meta-baseline").eval()(query, support, torch.tensor([[0, 0, 1]]))
    # Raw mean (0.5, 1.5): the longer clip weighs more, unlike in the prototype head
    torch.testing.assert_close(scores, torch.tensor([[[10 * 0.5 / math.sqrt(2.5), -10.0]]]))


def test_plain_loop(draw: Draw) -> None:
    query, support, labels, _ = draw(shot=3)
    expected = torch.zeros(3, 4, 3, dtype=torch.float64)
    for e in range(3):
        for k in range(3):
            centre = support[e][labels[e] == k].mean((0, 1))
            for q in range(4):
                asked = query[e, q].mean(0)
                expected[e, q, k] = 10 * asked @ centre / (asked.norm() * centre.norm())
    torch.testing.assert_close(get_head("meta-baseline").eval()(query, support, labels), expected)


def test_the_temperature_learns(draw: Draw) -> None:
    query, support, labels, _ = draw(dtype=torch.float32)
    head = get_head("meta-baseline", temperature=4.0)
    head(query, support, labels).square().sum().backward()
    (temperature,) = head.parameters()
    assert temperature.grad is not None
    assert temperature.grad > 0
