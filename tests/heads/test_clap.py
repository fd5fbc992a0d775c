"""CLAP and ZS-LP: a cosine classifier that starts at the class texts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.heads import get_head

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def test_without_steps_it_is_text(draw: Draw) -> None:
    inputs = draw()
    torch.testing.assert_close(get_head("clap", steps=0)(*inputs), get_head("text")(*inputs))


def test_one_small_step_by_hand() -> None:
    """Cosines of both clips with both texts are equal, so chances are a half; the first step is 1e-5 long."""
    clips = torch.eye(2, dtype=torch.float64).view(1, 2, 1, 2)
    text = torch.ones(1, 2, 2, dtype=torch.float64)
    scores = get_head("clap", steps=1, text_scale=4.0, length=2.0)(clips, clips, torch.tensor([[0, 1]]), text)
    start = torch.full((2,), 2**0.5, dtype=torch.float64)  # length 2
    across = torch.tensor([0.5, -0.5], dtype=torch.float64)  # a clip less its part along the text, over 1
    slope = 4 / 2 * (-0.5 * across + 0.5 * -across) / 2  # of the mean loss in w_0, over its length
    first = start - 1e-5 * slope
    torch.testing.assert_close(scores[0, :, 0], 4 * first / first.norm(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("constraint", [True, False])
def test_plain_loop(constraint: bool, draw: Draw) -> None:
    """In all channels, with autograd; classes differ in size."""
    query, support, _, text = draw(episodes=2)
    labels = torch.tensor([[0, 1, 1, 2, 1, 2], [2, 0, 1, 2, 2, 2]])
    chosen = {"steps": 25, "lr": 0.05, "length": 3.0, "text_scale": 20.0}
    scores = get_head("clap", constraint=constraint, **chosen)(query, support, labels, text)
    for e in range(2):
        asked, clips, names = (F.normalize(x, dim=1) for x in (query[e].mean(1), support[e].mean(1), text[e]))
        zero_shot = (20 * clips @ names.T).softmax(1)
        pull = torch.stack([zero_shot[labels[e] == k, k].mean() for k in range(3)]) * constraint
        w = (3 * names).requires_grad_()
        optimiser = torch.optim.SGD([w], 1e-5, momentum=0.9)
        for step in range(25):
            loss = F.cross_entropy(20 * F.cosine_similarity(clips[:, None], w[None], dim=2), labels[e])
            loss = loss + (pull * (w - 3 * names).pow(2).sum(1)).sum() / 3
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            optimiser.param_groups[0]["lr"] = 0.05 * (1 + torch.cos(torch.tensor(torch.pi * step / 25)).item()) / 2
        torch.testing.assert_close(scores[e], 20 * asked @ F.normalize(w.detach(), dim=1).T, rtol=1e-6, atol=1e-6)


def test_the_constraint_keeps_good_texts_and_lets_bad_ones_go(draw: Draw) -> None:
    """Beside ZS-LP, a class whose text says its clips ends nearer to its text; one whose text misleads hardly does."""
    _, support, labels, text = draw(episodes=8, shot=3)
    text = torch.cat([text[:, :1], -text[:, 1:2], text[:, 2:]], dim=1)
    names, by = F.normalize(text, dim=2), {}
    for constraint in (True, False):
        head = get_head("clap", constraint=constraint)
        weight = head.fit_support(head.prepare(support.flatten(0, 1)).unflatten(0, support.shape[:2]), labels, text, 3)
        by[constraint] = (weight["weight"] * names).sum(2).mean(0)
    gain = by[True] - by[False]
    assert gain[0] > 0.01 and gain[2] > 0.01 and gain[1] < 0.1 * gain[0]
