"""Baseline++: a cosine classifier trained in each episode, here against the same training in all channels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.heads import get_head

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def first_weights(way: int, channels: int, draw: torch.Generator) -> Tensor:
    bound = 1 / math.sqrt(channels)
    return torch.empty(way, channels).uniform_(-bound, bound, generator=draw).double()


BEFORE = {"norm": "unit", "fresh": False}


def test_one_step_by_hand() -> None:
    """One clip and two classes: the gradient of a cosine is (x - cos * w / |w|) / |w|, worked out without autograd."""
    clip, asked = torch.tensor([0.6, 0.8], dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
    weights = first_weights(2, 2, torch.Generator().manual_seed(7))
    lengths = weights.norm(dim=1)
    cosines = weights @ clip / lengths
    chances = (5 * cosines).softmax(0)
    pull = 5 * (chances - torch.tensor([0.0, 1.0]))  # the clip is of class 1
    gradient = pull[:, None] * (clip - cosines[:, None] * weights / lengths[:, None]) / lengths[:, None]
    weights = weights - 0.1 * (gradient + 1e-3 * weights)  # the first step has no momentum behind it
    head = get_head("baseline++", scale=5.0, epochs=1, lr=0.1, seed=7, **BEFORE)
    # Class 0 has no clip of its own, so the number of classes comes with the texts
    scores = head(asked.view(1, 1, 1, 2), clip.view(1, 1, 1, 2), torch.tensor([[1]]), torch.zeros(1, 2, 2))
    torch.testing.assert_close(scores[0, 0], 5 * weights @ asked / weights.norm(dim=1))


def test_plain_loop_of_the_paper_s_formula(draw: Draw) -> None:
    """As kshot had it before it followed the code: no norm, and all episodes from the same first weights."""
    query, support, labels, _ = draw(episodes=2, shot=3)
    scores = get_head("baseline++", epochs=30, seed=3, **BEFORE)(query, support, labels)
    for e in range(2):
        random = torch.Generator().manual_seed(3)
        weights = torch.nn.Parameter(first_weights(3, 16, random))
        clips = F.normalize(support[e].mean(1), dim=1)
        order = sorted(range(9), key=lambda i: (int(labels[e, i]), float(clips[i].sum())))
        clips, label = clips[order], labels[e, order]
        sgd = torch.optim.SGD([weights], lr=0.01, momentum=0.9, dampening=0.9, weight_decay=1e-3)
        for _ in range(30):
            shuffled = torch.randperm(9, generator=random)
            for start in range(0, 9, 4):
                batch = shuffled[start : start + 4]
                sgd.zero_grad()
                F.cross_entropy(2 * clips[batch] @ F.normalize(weights, dim=1).T, label[batch]).backward()
                sgd.step()
        expected = 2 * F.normalize(query[e].mean(1), dim=1) @ F.normalize(weights.detach(), dim=1).T
        torch.testing.assert_close(scores[e], expected)


def test_plain_loop_of_the_published_code(draw: Draw) -> None:
    """torch's own weight norm and SGD on (way, D) weights, one episode after the other, from what the head draws."""
    query, support, labels, _ = draw(episodes=2, shot=3)
    head, numbers = get_head("baseline++", epochs=30, seed=3), [5, 2]
    scores = head(query, support, labels, numbers=numbers)
    firsts, orders = head.first(numbers, 3, 16), head.order(numbers, 3, 16, 9)
    for e in range(2):
        linear = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(16, 3, bias=False).double(), dim=0)
        linear.weight = firsts[e].double()
        clips = F.normalize(support[e].mean(1), dim=1)
        own = sorted(range(9), key=lambda i: (int(labels[e, i]), float(clips[i].sum())))
        clips, label = clips[own], labels[e, own]
        sgd = torch.optim.SGD(linear.parameters(), lr=0.01, momentum=0.9, dampening=0.9, weight_decay=1e-3)
        for epoch in range(30):
            for batch in orders[e, epoch].split(4):
                sgd.zero_grad()
                F.cross_entropy(2 * linear(clips[batch]), label[batch]).backward()
                sgd.step()
        torch.testing.assert_close(scores[e], 2 * linear(F.normalize(query[e].mean(1), dim=1)).detach())


def test_every_episode_draws_its_own(draw: Draw) -> None:
    """First weights and orders are a pure function of seed and number, uniform within 1 / sqrt(D) of zero."""
    head = get_head("baseline++")
    first, order = head.first([4, 9], 5, 512), head.order([4, 9], 5, 512, 25)
    assert torch.equal(first[1:], head.first([9], 5, 512)) and torch.equal(order[1:], head.order([9], 5, 512, 25))
    assert not torch.equal(first[0], first[1]) and not torch.equal(order[0], order[1])
    assert not torch.equal(first, get_head("baseline++", seed=1).first([4, 9], 5, 512))
    values = (first * math.sqrt(512)).flatten().sort().values
    assert (values - torch.linspace(-1, 1, len(values))).abs().max() < 0.04
    assert np.array_equal(order.sort(-1).values, np.broadcast_to(np.arange(25), (2, 100, 25)))
    query, support, labels, _ = draw(episodes=1)
    one, other = (head(query, support, labels, numbers=[number]) for number in (0, 1))
    assert not torch.allclose(one, other)


def test_a_norm_is_learned_or_none() -> None:
    from kshot.errors import OptionError

    with pytest.raises(OptionError, match="'learned' or 'unit', found 'both'"):
        get_head("baseline++", norm="both")


def test_training_finds_the_classes(draw: Draw) -> None:
    _, support, labels, _ = draw(episodes=6, shot=3)
    scores = get_head("baseline++")(support, support, labels)
    assert (scores.argmax(-1) == labels).double().mean() > 0.95
    untrained = get_head("baseline++", epochs=0)(support, support, labels)
    assert (untrained.argmax(-1) == labels).double().mean() < 0.7


def test_the_seed_is_its_own(draw: Draw) -> None:
    inputs = draw()
    torch.manual_seed(0)
    first, state = get_head("baseline++", epochs=2)(*inputs), torch.get_rng_state()
    torch.manual_seed(1)
    torch.testing.assert_close(get_head("baseline++", epochs=2)(*inputs), first, rtol=0, atol=0)
    assert not torch.allclose(get_head("baseline++", epochs=2, seed=1)(*inputs), first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state), "global random numbers were drawn"
