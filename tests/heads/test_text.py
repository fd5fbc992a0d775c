"""Text: cosine with class names."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kshot.heads import get_head

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def test_by_hand() -> None:
    query = torch.tensor([[[[6.0, 0.0], [0.0, 8.0]]]])  # mean (3, 4)
    text = torch.tensor([[[2.0, 0.0], [0.0, 0.5]]])
    nothing = torch.zeros(1, 0, 2, 2), torch.zeros(1, 0, dtype=torch.long)  # zero-shot: no support at all
    torch.testing.assert_close(get_head("text")(query, *nothing, text), torch.tensor([[[60.0, 80.0]]]))


def test_support_plays_no_part(draw: Draw) -> None:
    query, support, labels, text = draw()
    head = get_head("text")
    torch.testing.assert_close(head(query, support, labels, text), head(query, -support, labels, text), rtol=0, atol=0)


def test_plain_loop(draw: Draw) -> None:
    query, support, labels, text = draw()
    expected = torch.zeros(3, 4, 3, dtype=torch.float64)
    for e in range(3):
        for q in range(4):
            for k in range(3):
                asked, name = query[e, q].mean(0), text[e, k]
                expected[e, q, k] = 50 * asked @ name / (asked.norm() * name.norm())
    torch.testing.assert_close(get_head("text", scale=50.0)(query, support, labels, text), expected)
