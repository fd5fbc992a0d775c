"""Product: the formula of Cao et al.'s group, and ours for heads that align."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kshot.errors import OptionError
from kshot.heads import get_head

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return a @ b / (a.norm() * b.norm())


def hausdorff(query: Tensor, clip: Tensor) -> Tensor:
    table = torch.stack([torch.stack([1 - cosine(a, b) for b in clip]) for a in query])
    return table.amin(1).sum() + table.amin(0).sum()


@pytest.mark.parametrize("visual", ["prototype", "bimhm"])
def test_plain_loop(visual: str, draw: Draw) -> None:
    query, support, labels, text = draw(shot=2, frames=5)
    expected = torch.zeros(3, 4, 3, dtype=torch.float64)
    for e in range(3):
        for k in range(3):
            members = support[e][labels[e] == k]
            for q in range(4):
                asked = query[e, q]
                if visual == "prototype":
                    seen = cosine(asked.mean(0), members.flatten(0, 1).mean(0))
                else:
                    seen = 1 - hausdorff(asked, members.mean(0)) / (2 * (5 + 5))
                expected[e, q, k] = 64 * seen * cosine(asked.mean(0), text[e, k])
    torch.testing.assert_close(get_head("product", visual=visual)(query, support, labels, text), expected)


@pytest.mark.parametrize("visual", ["otam", "bimhm"])
def test_the_visual_part_is_one_for_likes_and_small_for_opposites(visual: str) -> None:
    clip = torch.eye(4, dtype=torch.float64)[None, None]
    text = torch.ones(1, 2, 4, dtype=torch.float64)
    support = torch.cat([clip, -clip[..., :1, :].expand(-1, -1, 4, -1)], dim=1)
    asked = clip[..., :1, :].expand(-1, -1, 4, -1)
    head = get_head("product", visual=visual, scale=1.0)
    like = head(asked, torch.cat([asked, support[:, 1:]], 1), torch.tensor([[0, 1]]), text)[0, 0]
    assert float(like[0]) == pytest.approx(0.5) and 0 <= float(like[1]) < 0.13, "half is the share of the name"
    assert visual == "otam" or float(like[1]) == pytest.approx(0), "a soft path counts all its ways"


def test_it_needs_names_and_knows_its_visual_parts(draw: Draw) -> None:
    query, support, labels, _ = draw()
    with pytest.raises(OptionError, match="compares clips with class names"):
        get_head("product")(query, support, labels)
    with pytest.raises(OptionError, match=r"found 'dtw'"):
        get_head("product", visual="dtw")
