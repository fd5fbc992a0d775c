"""Prototype: cosine with class means."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from kshot.heads import get_head

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def test_by_hand() -> None:
    query = torch.tensor([[[[2.0, 0.0], [0.0, 0.0]]]])  # mean (1, 0)
    support = torch.tensor([[[[3.0, 4.0]] * 2, [[0.0, 5.0]] * 2, [[7.0, 0.0]] * 2]])
    labels = torch.tensor([[0, 1, 1]])
    # class 0 is (0.6, 0.8); class 1 is the mean of (0, 1) and (1, 0)
    scores = get_head("prototype", scale=10.0)(query, support, labels)
    torch.testing.assert_close(scores, torch.tensor([[[6.0, 10 * math.sqrt(0.5)]]]))


def test_plain_loop(draw: Draw) -> None:
    query, support, labels, _ = draw(shot=3)
    expected = torch.zeros(3, 4, 3, dtype=torch.float64)
    for e in range(3):
        for k in range(3):
            members = [
                clip.mean(0) / clip.mean(0).norm()
                for clip, label in zip(support[e], labels[e], strict=True)
                if label == k
            ]
            centre = sum(members) / len(members)
            for q in range(4):
                asked = query[e, q].mean(0)
                expected[e, q, k] = 20 * (asked @ centre) / (asked.norm() * centre.norm())
    torch.testing.assert_close(get_head("prototype")(query, support, labels), expected)
