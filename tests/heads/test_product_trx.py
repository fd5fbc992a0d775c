"""Product-TRX: the formula of Cao et al.'s group, its tuples formed and compared one by one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import OptionError
from kshot.heads import get_head, trx
from kshot.heads.product_trx import ProductTRX

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def make(**options: object) -> ProductTRX:
    torch.manual_seed(0)
    head = get_head("product-trx", **{"dim": 16, "width": 12} | options).double().eval()
    assert isinstance(head, ProductTRX)
    for norm in head.norms:  # LayerNorm begins as ones and zeros, which would hide mistakes
        torch.nn.init.normal_(norm.weight, 1, 0.5)
        torch.nn.init.normal_(norm.bias, 0, 0.5)
    head.trained = True
    return head


def visual(head: ProductTRX, query: Tensor, members: Tensor) -> Tensor:
    """Of one query (T, D) and the clips of one class (S, T, D)."""
    frames = query.shape[0]
    place = trx.positions(*query.shape).double()
    of_sizes = []
    for at, size in enumerate(head.sizes):
        chosen = list(itertools.combinations(range(frames), size))
        own = torch.stack([(query + place)[list(t)].flatten() for t in chosen])
        others = torch.stack([(clip + place)[list(t)].flatten() for clip in members for t in chosen])
        asked, keys = head.norms[at](head.keys[at](own)), head.norms[at](head.keys[at](others))
        found = (asked @ keys.T / math.sqrt(head.width)).softmax(-1) @ head.values[at](others)
        cosines = [F.cosine_similarity(a, b, dim=0) for a in head.values[at](own) for b in found]
        of_sizes.append(torch.stack(cosines).mean())
    return torch.stack(of_sizes).mean()


@pytest.mark.parametrize("shot", [1, 2])
def test_plain_loop(shot: int, draw: Draw) -> None:
    query, support, labels, text = draw(shot=shot, frames=5)
    head = make()
    expected = torch.zeros(3, 4, 3, dtype=torch.float64)
    for e, q, k in itertools.product(range(3), range(4), range(3)):
        words = F.cosine_similarity(query[e, q].mean(0), text[e, k], dim=0)
        expected[e, q, k] = 64 * visual(head, query[e, q], support[e][labels[e] == k]) * words
    torch.testing.assert_close(head(query, support, labels, text), expected)


def test_tuples_need_frames(draw: Draw) -> None:
    with pytest.raises(OptionError, match="tuples of 3 frames need clips of at least 3 frames, found 2"):
        make().expect_frames(2)
    with pytest.raises(OptionError, match="at least 3 frames, found 2"):
        make()(*draw(frames=2))
    with pytest.raises(OptionError, match=r"such as \(2, 3\)"):
        make(sizes=())
    with pytest.raises(OptionError, match="dropout"):
        make(dropout=1.0)
