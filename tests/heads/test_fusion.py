"""Fusion: a product of two probabilities, its weight fixed or chosen on the support clips."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kshot.heads import get_head
from kshot.heads.fusion import ENOUGH, GRID, SHARP, TOP, earned

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def test_by_hand() -> None:
    query = torch.tensor([[[[1.0, 0.0]]]])
    support = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    text = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])  # the names say the opposite of the clips
    three, nine = math.log(3), math.log(9)
    head = get_head("fusion", beta=0.25, scale=nine, text_scale=three)
    # p_visual = 9/10, 1/10 and p_text = 1/4, 3/4
    expected = [0.25 * math.log(t) + 0.75 * math.log(v) for t, v in ((1 / 4, 9 / 10), (3 / 4, 1 / 10))]
    scores = head(query, support, torch.tensor([[0, 1]]), text)
    torch.testing.assert_close(scores, torch.tensor([[expected]]))


@pytest.mark.parametrize(("beta", "name"), [(0.0, "prototype"), (1.0, "text")])
def test_the_ends_are_the_two_heads(beta: float, name: str, draw: Draw) -> None:
    inputs = draw()
    alone = get_head(name)(*inputs).log_softmax(dim=-1)
    torch.testing.assert_close(get_head("fusion", beta=beta)(*inputs), alone)


def chosen_by_loop(support: Tensor, labels: Tensor, text: Tensor) -> float:
    """The weight whose leave-one-out cross-entropy on one episode's support (N, T, D) is smallest."""
    prototype, names, losses = get_head("prototype"), get_head("text"), []
    for beta in GRID:
        loss = 0.0
        for i in range(len(labels)):
            rest = [j for j in range(len(labels)) if j != i]
            asked = support[None, i : i + 1]
            visual = prototype(asked, support[None, rest], labels[None, rest])[0, 0].softmax(0)
            words = names(asked, support[None, rest], labels[None, rest], text[None])[0, 0].softmax(0)
            product = words**beta * visual ** (1 - beta)
            loss -= math.log(product[labels[i]] / product.sum())
        losses.append(loss)
    return GRID[losses.index(min(losses))]


def test_leave_one_out_is_that_of_a_plain_loop(draw: Draw) -> None:
    query, support, labels, text = draw(episodes=8, shot=3)
    text[::2] = text[::2].flip(1)  # in half of the episodes the names mislead
    scores = get_head("fusion", beta="loo")(query, support, labels, text)
    betas = [chosen_by_loop(support[e], labels[e], text[e]) for e in range(8)]
    assert max(betas[::2]) < min(betas[1::2]), "the choice should depend on the episode"
    for e, beta in enumerate(betas):
        one = (x[e : e + 1] for x in (query, support, labels, text))
        torch.testing.assert_close(scores[e : e + 1], get_head("fusion", beta=beta)(*one))


def test_one_shot_falls_back_to_a_half(draw: Draw) -> None:
    inputs = draw(shot=1)
    torch.testing.assert_close(get_head("fusion", beta="loo")(*inputs), get_head("fusion", beta=0.5)(*inputs))
    query, support, labels, text = draw(episodes=2)
    labels[0] = torch.tensor([0, 1, 1, 2, 2, 2])  # only this episode has a class of one clip
    mixed = get_head("fusion", beta="loo")(query, support, labels, text)
    torch.testing.assert_close(mixed[:1], get_head("fusion", beta=0.5)(query, support, labels, text)[:1])


def earned_by_loop(support: Tensor, labels: Tensor, text: Tensor, scale: float) -> float:
    """The weight that text earns on one episode's support (N, T, D), number by number."""
    rows = []
    for clip in support.tolist():
        frames, dim = len(clip), len(clip[0])
        mean = [sum(frame[d] for frame in clip) / frames for d in range(dim)]
        cosines = [
            sum(a * b for a, b in zip(mean, words, strict=True)) / math.hypot(*mean) / math.hypot(*words)
            for words in text.tolist()
        ]
        rows.append([scale * (value - sum(cosines) / len(cosines)) for value in cosines])
    way = len(text)
    spread = math.sqrt(sum(value**2 for row in rows for value in row) / (len(rows) * way))
    gain = 0.0
    for row, own in zip(rows, labels.tolist(), strict=True):
        likely = [math.exp(SHARP * value / spread) for value in row]
        gain += math.log(way * likely[own] / sum(likely)) / len(rows)
    weight = TOP / (len(rows) / way) * min(max(gain / ENOUGH, 0), 1) / spread
    return weight / (1 + weight)


@pytest.mark.parametrize("shot", [1, 3])
def test_the_earned_weight_is_that_of_a_plain_loop(shot: int, draw: Draw) -> None:
    query, support, labels, text = draw(episodes=8, shot=shot)
    text[::2] = text[::2].flip(1)  # in half of the episodes the names mislead
    head = get_head("fusion")
    scores = head(query, support, labels, text)
    betas = [earned_by_loop(support[e], labels[e], text[e], 100.0) for e in range(8)]
    assert max(betas[::2]) < min(betas[1::2]), "names that mislead weigh less"
    for e, beta in enumerate(betas):
        one = (x[e : e + 1] for x in (query, support, labels, text))
        torch.testing.assert_close(scores[e : e + 1], get_head("fusion", beta=beta)(*one))


def test_names_that_say_nothing_weigh_nothing_and_no_scale_matters(draw: Draw) -> None:
    query, support, labels, text = draw(episodes=4, shot=1)
    alike = text[:, :1].expand_as(text)
    inputs = (query, support, labels)
    clips_alone = get_head("prototype")(*inputs).log_softmax(-1)
    torch.testing.assert_close(get_head("fusion")(*inputs, alike), clips_alone)
    words = 100 * torch.rand(4, 3, 3, dtype=torch.float64)
    order = torch.arange(3).expand(4, 3)
    one, ten = (earned(factor * words, order) for factor in (1, 10))
    torch.testing.assert_close(ten / (1 - ten), one / (1 - one) / 10)  # what it multiplies is ten times as large
