"""Tip-Adapter-F: the keys of the cache are trained on the support clips."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.heads import get_head

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def test_one_step_by_hand() -> None:
    """AdamW's first step is -lr * g / (|g| + eps) after the decay of a hundredth; g is worked out without autograd."""
    east, north = torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    support = torch.stack([east, north]).view(1, 2, 1, 2)
    names = torch.stack([north, east])[None]
    head = get_head("tip-adapter-f", alpha=1.0, beta=2.0, text_scale=1.0, epochs=1, lr=0.1)
    scores = head(support, support, torch.tensor([[0, 1]]), names)

    far = torch.exp(torch.tensor(-2.0, dtype=torch.float64))
    logits = torch.stack(
        [torch.stack([0 + 1.0 * torch.ones_like(far), 1 + far]), torch.stack([1 + far, torch.ones_like(far)])]
    )
    slope = (logits.softmax(1) - torch.eye(2)) / 2  # of the mean cross-entropy, (clip, class)
    similar = torch.tensor([[1.0, far], [far, 1.0]], dtype=torch.float64)  # exp(-beta (1 - cosine)), (clip, key)
    gradient = 2 * (slope * similar).T @ torch.stack([east, north])  # key k is the value of class k
    keys = torch.stack([east, north]) * (1 - 0.1 * 0.01) - 0.1 * gradient / (gradient.abs() + 1e-4)
    expected = torch.stack([east, north]) @ names[0].T + torch.exp(-2 * (1 - torch.stack([east, north]) @ keys.T))
    torch.testing.assert_close(scores[0], expected)


def test_plain_loop(draw: Draw) -> None:
    query, support, labels, text = draw(episodes=2)
    scores = get_head("tip-adapter-f", alpha=4.0, beta=3.0, epochs=10, lr=0.01)(query, support, labels, text)
    for e in range(2):
        asked, clips, names = (F.normalize(x, dim=1) for x in (query[e].mean(1), support[e].mean(1), text[e]))
        values, keys = torch.eye(3, dtype=torch.float64)[labels[e]], torch.nn.Parameter(clips.clone())
        optimiser = torch.optim.AdamW([keys], lr=0.01, eps=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 10)
        for _ in range(10):
            logits = 100 * clips @ names.T + 4 * torch.exp(-3 * (1 - clips @ keys.T)) @ values
            optimiser.zero_grad()
            F.cross_entropy(logits, labels[e]).backward()
            optimiser.step()
            schedule.step()
        expected = 100 * asked @ names.T + 4 * torch.exp(-3 * (1 - asked @ keys.detach().T)) @ values
        torch.testing.assert_close(scores[e], expected)


def test_training_fits_the_support_better(draw: Draw) -> None:
    _, support, labels, text = draw(episodes=6, shot=3)
    text = text.flip(1)  # names that mislead, for the cache to make good

    def loss(name: str, **options: float) -> float:
        scores = get_head(name, alpha=5.0, text_scale=1.0, **options)(support, support, labels, text)
        return float(F.cross_entropy(scores.flatten(0, 1), labels.flatten()))

    assert loss("tip-adapter-f", lr=0.01) < 0.1 * loss("tip-adapter")


def test_untrained_it_is_tip_adapter(draw: Draw) -> None:
    inputs = draw()
    torch.testing.assert_close(get_head("tip-adapter-f", epochs=0)(*inputs), get_head("tip-adapter")(*inputs))
