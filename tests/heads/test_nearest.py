"""Nearest neighbour: cosine with the closest support clip of each class."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from kshot.heads import get_head

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def test_by_hand() -> None:
    query = torch.tensor([[[[1.0, 0.0]]]])
    support = torch.tensor([[[[1.0, 1.0]], [[-1.0, 0.0]], [[0.0, -2.0]], [[-3.0, 4.0]]]])
    scores = get_head("nearest", scale=10.0)(query, support, torch.tensor([[0, 0, 1, 1]]))
    torch.testing.assert_close(scores, torch.tensor([[[10 * math.sqrt(0.5), 0.0]]]))  # not -10, not -6


def test_plain_loop(draw: Draw) -> None:
    query, support, labels, _ = draw(shot=3)
    expected = torch.zeros(3, 4, 3, dtype=torch.float64)
    for e in range(3):
        for q in range(4):
            asked = query[e, q].mean(0)
            near = [float(asked @ clip.mean(0) / (asked.norm() * clip.mean(0).norm())) for clip in support[e]]
            for k in range(3):
                expected[e, q, k] = 20 * max(c for c, label in zip(near, labels[e], strict=True) if label == k)
    torch.testing.assert_close(get_head("nearest")(query, support, labels), expected)


def test_equals_the_prototype_at_one_shot(draw: Draw) -> None:
    query, support, labels, _ = draw(shot=1)
    torch.testing.assert_close(
        get_head("nearest")(query, support, labels), get_head("prototype")(query, support, labels)
    )
