"""Bi-MHM: sums of nearest frames, both ways."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kshot.heads import get_head

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def test_by_hand() -> None:
    east, north = [1.0, 0.0], [0.0, 1.0]
    query = torch.tensor([[[east, east]]])
    support = torch.tensor([[[east, north], [north, north], [east, east]]])
    scores = get_head("bimhm")(query, support, torch.tensor([[0, 1, 2]]))
    # Class 0: both query frames find east, but north finds nobody (1). Class 1: nobody finds anybody (4).
    torch.testing.assert_close(scores, torch.tensor([[[-1.0, -4.0, 0.0]]]))


def test_order_does_not_tell() -> None:
    clip = torch.eye(3)[None, None]
    scores = get_head("bimhm")(clip, torch.cat([clip, clip.flip(2)], dim=1), torch.tensor([[0, 1]]))
    assert scores.tolist() == [[[0.0, 0.0]]]


@pytest.mark.parametrize("shots", ["features", "distances"])
def test_plain_loop(shots: str, draw: Draw) -> None:
    query, support, labels, _ = draw(shot=2, frames=5)
    expected = torch.zeros(3, 4, 3, dtype=torch.float64)

    def distance(a: Tensor, b: Tensor) -> float:
        cells = [[1 - float(x @ y / (x.norm() * y.norm())) for y in b] for x in a]
        return sum(min(row) for row in cells) + sum(min(column) for column in zip(*cells, strict=True))

    for e in range(3):
        for k in range(3):
            members = support[e][labels[e] == k]
            for q in range(4):
                if shots == "features":
                    expected[e, q, k] = -distance(query[e, q], members.mean(0))
                else:
                    expected[e, q, k] = -sum(distance(query[e, q], clip) for clip in members) / len(members)
    torch.testing.assert_close(get_head("bimhm", shots=shots)(query, support, labels), expected)
