"""LP++: class vectors and the weight of the class texts, by block descent with step sizes from the data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.heads import get_head

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def test_it_starts_at_sums_and_a_blend_of_250_mean_cosines() -> None:
    east, north = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
    support = torch.stack([east, east, north]).view(1, 3, 1, 2)
    text = torch.stack([east, (east + north)]).view(1, 2, 2)  # own cosines 1 and sqrt(1/2)
    query = torch.stack([east, north]).view(1, 2, 1, 2)
    alpha, half = 250 * (1 + 0.5**0.5) / 2, 0.5**0.5
    wanted = torch.tensor([[2 + alpha, alpha * half], [0, 1 + alpha * half]]).double()
    torch.testing.assert_close(get_head("lp++", steps=0)(query, support, torch.tensor([[0, 0, 1]]), text)[0], wanted)


def test_plain_loop(draw: Draw) -> None:
    """In all channels, with autograd, both step sizes from the formulas; classes differ in size."""
    query, support, _, text = draw(episodes=2)
    labels = torch.tensor([[0, 1, 1, 2, 1, 2], [2, 0, 1, 2, 2, 2]])
    scores = get_head("lp++", steps=30)(query, support, labels, text)
    for e in range(2):
        asked, f, t = (F.normalize(x, dim=1) for x in (query[e].mean(1), support[e].mean(1), text[e]))
        w = torch.stack([f[labels[e] == k].sum(0) for k in range(3)])
        own = torch.stack([(f[labels[e] == k] @ t[k]).mean() for k in range(3)])
        alpha, velocity = 250 * own.mean() * torch.ones(3, dtype=torch.float64), torch.zeros_like(w)
        pace = 4 * 6 / torch.linalg.matrix_norm(f, 2) ** 2
        blend_pace = 6 / (4 * max((f @ t[k]).square().sum() for k in range(3)))
        for step in range(1, 31):
            w.requires_grad_()
            alpha.requires_grad_()
            by_w, by_alpha = torch.autograd.grad(F.cross_entropy(f @ w.T + alpha * (f @ t.T), labels[e]), (w, alpha))
            velocity = 0.9 * velocity + by_w
            w = (w - pace * velocity).detach()
            alpha = (alpha - blend_pace * by_alpha).detach() if step in (10, 20, 30) else alpha.detach()
        torch.testing.assert_close(scores[e], asked @ (w + alpha[:, None] * t).T)


def test_it_learns_more_of_the_support(draw: Draw) -> None:
    """Where the texts mislead: the loss of the support falls, far below what the texts alone have."""
    _, support, labels, text = draw(episodes=6, shot=3)

    def loss(steps: int) -> float:
        scores = get_head("lp++", steps=steps)(support, support, labels, text.flip(1))
        return float(F.cross_entropy(scores.flatten(0, 1), labels.flatten()))

    assert loss(300) < loss(30) < 1e-3 * loss(10) < 1e-4 * loss(0)


def test_clips_and_texts_of_length_zero_take_no_step(draw: Draw) -> None:
    query, support, labels, text = draw()
    for clips, names in ((0 * support, text), (support, 0 * text)):
        assert get_head("lp++")(query, clips, labels, names).isfinite().all()
