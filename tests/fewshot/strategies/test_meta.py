"""Meta-learning: the loss of an episode, by hand, and that it falls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.activations.activations import Activations
from kshot.backbones.backbone import Backbone
from kshot.errors import NotEnoughClips, OptionError
from kshot.fewshot.episodes import Sampler
from kshot.fewshot.fit import fit
from kshot.fewshot.learner import Learner
from kshot.fewshot.strategies.meta import Meta
from kshot.fewshot.texts import class_texts
from kshot.heads import HEADS, get_head
from kshot.settings import Schedule


def loss_of(learner: Learner, base: Activations, seed: int = 3, **options: object) -> Callable[[int], Tensor]:
    strategy = Meta(way=4, shot=2, query=3, **options)  # type: ignore[arg-type]
    return strategy.objective(learner, base, class_texts(learner, base.data.classes, ("{}",)), seed).loss


def by_hand(learner: Learner, base: Activations, index: int, seed: int = 3) -> Tensor:
    """The episode's cross-entropy of 20 * cosine with class means, written out."""
    data = base.data
    episode = Sampler(data.labels, data.classes, 4, 2, 3, seed).draw([index])
    clips = F.normalize(learner.embed(base.gather(np.arange(len(data)))).mean(1), dim=1)
    support, query = clips[episode.support[0]].view(4, 2, -1), clips[episode.query[0]]
    scores = 20 * query @ F.normalize(support.mean(1), dim=1).T
    return F.cross_entropy(scores, torch.arange(4).repeat_interleave(3))


def test_loss_of_an_episode_by_hand(backbone: Backbone, base: Activations) -> None:
    learner = Learner.build(backbone, "partial")
    loss = loss_of(learner, base)
    with torch.no_grad():
        for index in (0, 7, 123):
            torch.testing.assert_close(loss(index), by_hand(learner, base, index))


def test_loss_is_a_function_of_index_and_seed_alone(backbone: Backbone, base: Activations) -> None:
    learner = Learner.build(backbone, "partial")
    with torch.no_grad():
        first = [float(loss_of(learner, base)(i)) for i in (5, 2, 5)]
        again = [float(loss_of(learner, base)(i)) for i in (2, 5)]
        other = float(loss_of(learner, base, seed=4)(5))
    assert first == [again[1], again[0], again[1]]
    assert other != first[0]


def test_text_loss_compares_every_clip_with_all_base_classes(backbone: Backbone, base: Activations) -> None:
    learner = Learner.build(backbone, "partial")
    data = base.data
    with torch.no_grad():
        episode = Sampler(data.labels, data.classes, 4, 2, 3, 3).draw([9])
        clips = [*episode.support[0], *episode.query[0]]
        pooled = F.normalize(learner.embed(base.gather(clips)).mean(1), dim=1)
        assert learner.backbone is not None
        logits = 20 * pooled @ learner.backbone.embed_text(data.classes, ("{}",)).T
        expected = F.cross_entropy(logits, torch.from_numpy(data.labels[clips]))
        torch.testing.assert_close(loss_of(learner, base, loss="text")(9), expected)
        both = loss_of(learner, base, loss="both", text_weight=0.5)(9)
        torch.testing.assert_close(both, by_hand(learner, base, 9) + 0.5 * expected)


@pytest.mark.parametrize("loss", ["episode", "text", "both"])
def test_loss_falls(backbone: Backbone, base: Activations, loss: str) -> None:
    learner = Learner.build(backbone, "partial")
    objective = loss_of(learner, base, loss=loss)

    def mean() -> float:
        with torch.no_grad():
            return float(np.mean([float(objective(1000 + i)) for i in range(10)]))

    before = mean()
    fit(learner.weights(), objective, Schedule(steps=30, lr=3e-3))
    assert mean() < 0.9 * before


def test_a_tuned_text_tower_gets_gradients_where_texts_are_looked_at(backbone: Backbone, base: Activations) -> None:
    for loss, reached in (("both", True), ("text", True), ("episode", False)):
        learner = Learner.build(backbone, "partial", {"tower": "both"})
        loss_of(learner, base, loss=loss)(0).backward()  # type: ignore[no-untyped-call]
        text = {n: w for n, w in learner.weights().items() if n.startswith("backbone.text.")}
        image = {n: w for n, w in learner.weights().items() if n.startswith("backbone.image.")}
        assert text and image
        assert all(w.grad is not None for w in image.values())
        assert any(w.grad is not None and bool(w.grad.abs().max() > 0) for w in text.values()) == reached


@pytest.mark.parametrize("head", sorted(HEADS))
def test_every_head_trains_in_episodes(backbone: Backbone, base: Activations, head: str) -> None:
    """One step for each head of the family: a finite loss and a gradient at the backbone."""
    learner = Learner.build(backbone, "partial", {"layers": "proj"}, head)
    learner.head.train()
    learner.head.trained = True
    strategy = Meta(way=3, shot=2, query=2)
    loss = strategy.objective(learner, base, class_texts(learner, base.data.classes, ("{}",)), 0).loss(0)
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [w.grad for n, w in learner.weights().items() if n.startswith("backbone.") and w.grad is not None]
    assert bool(torch.isfinite(loss))
    assert gradients and all(bool(torch.isfinite(g).all()) for g in gradients)
    assert get_head(head).name == head


def test_refuses_unknown_losses_and_impossible_episodes(backbone: Backbone, base: Activations) -> None:
    with pytest.raises(OptionError, match="unknown loss 'triplet': Known: episode, text, both"):
        Meta(loss="triplet")
    with pytest.raises(NotEnoughClips, match="9-way episodes need 9 classes, found 6"):
        Meta(way=9).objective(Learner.build(backbone, "partial"), base, lambda: torch.empty(0), 0)
