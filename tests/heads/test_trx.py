"""TRX: attention between tuples of frames, here against a loop that does form the tuples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kshot.errors import OptionError
from kshot.heads import get_head, trx
from kshot.heads.trx import TRX, Relation, incidence, positions

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def make(**options: object) -> TRX:
    torch.manual_seed(0)
    head = get_head("trx", **options).double().eval()
    assert isinstance(head, TRX)
    for relation in head.relations:  # LayerNorm begins as ones and zeros, which would hide mistakes
        torch.nn.init.normal_(relation.norm.weight, 1, 0.5)
        torch.nn.init.normal_(relation.norm.bias, 0, 0.5)
    head.trained = True
    return head


def test_one_tuple_by_hand() -> None:
    """Two frames make one pair: nothing to attend to, and the score is minus the squared distance of the values."""
    head = make(dim=2, width=2, sizes=(2,))
    head.relations[0].values.weight.data = torch.eye(2, dtype=torch.float64).repeat(1, 2)  # value = sum of the frames
    query = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]], dtype=torch.float64)
    support = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]], [[1.0, 3.0], [1.0, 0.0]]]], dtype=torch.float64)
    scores = head(query, support, torch.tensor([[0, 1]]))
    # (2, 0) against (0, 1) and (2, 3): positions are added to both sides and cancel
    torch.testing.assert_close(scores, torch.tensor([[[-5.0, -9.0]]], dtype=torch.float64))


def test_even_attention_by_hand() -> None:
    """Keys of no weight attend to all tuples alike, so a class is the mean value of its tuples."""
    head = make(dim=2, width=2, sizes=(1,))
    relation = head.relations[0]
    relation.keys.weight.data.zero_()
    relation.keys.bias.data.zero_()
    relation.values.weight.data = torch.eye(2, dtype=torch.float64)
    query = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    support = torch.tensor([[[[3.0, 0.0], [1.0, 2.0]]]], dtype=torch.float64)
    first, second = positions(2, 2).double()
    # Both frames of the query are compared with the mean (2, 1), each apart from it by half of what positions differ
    apart = (first - second) / 2
    expected = -sum(float((torch.tensor([2.0, 1.0]) + sign * apart).square().sum()) for sign in (1, -1)) / 2
    assert math.isclose(head(query, support, torch.tensor([[0]])).item(), expected, rel_tol=1e-6)


def score(head: TRX, query: Tensor, members: Tensor) -> float:
    """As the paper writes it, for one query (T, D) and the clips of one class (S, T, D)."""
    place = positions(*query.shape).double()
    query, members = query + place, members + place
    total = 0.0
    for relation in head.relations:
        tuples = list(itertools.combinations(range(len(query)), relation.size))
        found = torch.stack([clip[list(t)].flatten() for clip in members for t in tuples])
        keys, values = relation.norm(relation.keys(found)), relation.values(found)
        for t in tuples:
            own = query[list(t)].flatten()
            attention = (keys @ relation.norm(relation.keys(own)) / math.sqrt(relation.width)).softmax(0)
            total += float((relation.values(own) - attention @ values).square().sum()) / len(tuples)
    return -total / len(head.relations)


@pytest.mark.parametrize(("shot", "sizes"), [(1, (2, 3)), (3, (2, 3)), (2, (4,))])
@torch.no_grad()
def test_plain_loop(shot: int, sizes: tuple[int, ...], draw: Draw) -> None:
    query, support, labels, _ = draw(episodes=2, query=2, shot=shot, frames=5)
    head = make(dim=16, width=12, sizes=sizes)
    expected = [
        [[score(head, asked, clips[label == k]) for k in range(3)] for asked in asked_clips]
        for asked_clips, clips, label in zip(query, support, labels, strict=True)
    ]
    torch.testing.assert_close(head(query, support, labels), torch.tensor(expected, dtype=torch.float64))


@torch.no_grad()
def test_classes_of_unequal_size(draw: Draw) -> None:
    query, support, _, _ = draw(episodes=1, query=1)
    labels = torch.tensor([[1, 0, 1, 2, 1, 2]])
    head = make(dim=16, width=12)
    expected = [score(head, query[0, 0], support[0][labels[0] == k]) for k in range(3)]
    torch.testing.assert_close(head(query, support, labels)[0, 0], torch.tensor(expected, dtype=torch.float64))


@torch.no_grad()
def test_large_tables_are_made_a_few_episodes_at_a_time(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, head = draw(episodes=5)[:3], make(dim=16, width=12)
    whole, sizes, forward = head(*inputs), [], type(head.relations[0]).forward

    def watched(self: Relation, keys: Tensor, *rest: Tensor) -> Tensor:
        sizes.append(len(keys))
        return forward(self, keys, *rest)

    monkeypatch.setattr(Relation, "forward", watched)
    monkeypatch.setattr(
        trx, "TABLE", 2 * inputs[0].shape[1] * inputs[1].shape[1] * math.comb(inputs[0].shape[2], 2) ** 2
    )
    torch.testing.assert_close(head(*inputs), whole, rtol=1e-12, atol=1e-12)
    assert sizes[::2] == [2, 2, 1]


@torch.no_grad()
def test_single_precision_is_near_double(draw: Draw) -> None:
    query, support, labels, _ = draw(way=5, frames=8, channels=64)
    head = make(dim=64, width=128)
    exact = head(10 * query, 10 * support, labels)
    single = head.float()(10 * query.float(), 10 * support.float(), labels)
    torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=0)


def test_tuples_are_the_ordered_ones() -> None:
    assert incidence(8, 2).shape == (28, 16)
    assert incidence(8, 3).shape == (56, 24)
    # Of three frames, pairs (0, 1), (0, 2), (1, 2); parts are frame 0 first, frame 0 second, frame 1 first, ...
    assert incidence(3, 2).tolist() == [[1, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 1], [0, 0, 1, 0, 0, 1]]


def test_too_few_frames_are_named(draw: Draw) -> None:
    query, support, labels, _ = draw(frames=2)
    with pytest.raises(OptionError, match="tuples of 3 frames need clips of at least 3 frames, found 2"):
        make(dim=16, width=12)(query, support, labels)
    for frames, unit, least in ((2, 1, "3 frames, found 2"), (32, 16, "48 frames, of which .* 16 for one .* found 32")):
        with pytest.raises(OptionError, match=f"tuples of 3 frames need clips of at least {least}"):
            make(dim=16, width=12).expect_frames(frames, unit)
    make(dim=16, width=12).expect_frames(48, 16)


def test_dropout_acts_in_training_alone(draw: Draw) -> None:
    query, support, labels, _ = draw()
    head = make(dim=16, width=12)
    same = head(query, support, labels)
    torch.testing.assert_close(head(query, support, labels), same, rtol=0, atol=0)
    assert not torch.allclose(head.train()(query, support, labels), same)


def test_it_learns_to_tell_order(draw: Draw) -> None:
    """Clips and their reverses: a few steps of training must bring the loss down."""
    torch.manual_seed(0)
    head = get_head("trx", dim=8, width=16)
    optimiser = torch.optim.Adam(head.parameters(), 1e-3)
    random = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(60):
        clips = torch.randn(8, 1, 4, 8, generator=random)
        support = torch.cat([clips, clips.flip(2)], dim=1)
        query = support + 0.3 * torch.randn(8, 2, 4, 8, generator=random)
        scores = head(query, support, torch.arange(2).expand(8, -1))
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), torch.arange(2).repeat(8))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
