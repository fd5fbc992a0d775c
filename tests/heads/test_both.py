"""Both: the scores of its two halves, added."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kshot.heads import get_head

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def test_scores_are_those_of_the_prototype_and_of_change(draw: Draw) -> None:
    query, support, labels, _ = draw(shot=3)
    wanted = sum(get_head(name, scale=7.0)(query, support, labels) for name in ("prototype", "change"))
    torch.testing.assert_close(get_head("both", scale=7.0)(query, support, labels), wanted)
