"""Direct: learns inside each episode, and leaves no trace of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kshot.activations.activations import Activations
from kshot.activations.shards import Array
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from kshot.fewshot.learner import Learner
from kshot.fewshot.strategies.direct import Direct

WAY, SHOT, QUERY = 3, 2, 2
LABELS = np.repeat(np.arange(WAY), SHOT)


@pytest.fixture
def learner(backbone: Backbone) -> Learner:
    return Learner.build(backbone, "partial")


@pytest.fixture
def episode(base: Activations) -> tuple[Array, Array]:
    """Support and query activations of three classes."""
    members = [np.flatnonzero(base.data.labels == c) for c in range(WAY)]
    support = np.concatenate([m[:SHOT] for m in members])
    query = np.concatenate([m[SHOT : SHOT + QUERY] for m in members])
    return base.gather(support), base.gather(query)


def state(learner: Learner) -> dict[str, torch.Tensor]:
    assert learner.backbone is not None
    return {name: value.clone() for name, value in learner.backbone.state_dict().items()}


def test_scores_equal_a_plain_loop(learner: Learner, backbone: Backbone, episode: tuple[Array, Array]) -> None:
    support, query = episode
    scores = Direct(steps=4, lr=2e-3).scores(learner, support, LABELS, query, WAY)
    other = Learner.build(backbone, "partial")
    target = torch.from_numpy(LABELS)
    pooled = F.normalize(other.embed(support).mean(1), dim=1).detach()
    classes = torch.stack([pooled[target == c].mean(0) for c in range(WAY)]).requires_grad_()
    weights = list(other.weights().values())
    optimizer = torch.optim.Adam([{"params": [classes], "lr": 2e-2}, {"params": weights}], lr=2e-3)
    for _ in range(4):
        optimizer.zero_grad()
        logits = 20 * F.normalize(other.embed(support).mean(1), dim=1) @ F.normalize(classes, dim=1).T
        F.cross_entropy(logits, target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        expected = 20 * F.normalize(other.embed(query).mean(1), dim=1) @ F.normalize(classes, dim=1).T
    assert scores.shape == (WAY * QUERY, WAY)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


def test_leaves_the_learner_bit_for_bit_as_it_was(learner: Learner, episode: tuple[Array, Array]) -> None:
    support, query = episode
    before, torch_state = state(learner), torch.get_rng_state()
    moved = Direct(steps=3, lr=1e-2).scores(learner, support, LABELS, query, WAY)
    after = state(learner)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(weight.grad is None and weight.requires_grad for weight in learner.weights().values())
    assert torch.equal(torch.get_rng_state(), torch_state)
    with pytest.raises(RuntimeError):  # a query that does not fit: the error comes after the training
        Direct(steps=3, lr=1e-2).scores(learner, support, LABELS, query[..., :-1], WAY)
    assert all(torch.equal(before[name], value) for name, value in state(learner).items())
    assert torch.equal(Direct(steps=3, lr=1e-2).scores(learner, support, LABELS, query, WAY), moved)


def test_scores_do_not_depend_on_what_was_drawn_before(learner: Learner, episode: tuple[Array, Array]) -> None:
    support, query = episode
    answers = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.rand(seed)
        answers.append(Direct(steps=2).scores(learner, support, LABELS, query, WAY))
    assert torch.equal(*answers)


def test_course_tells_the_scores_after_each_number_of_steps(learner: Learner, episode: tuple[Array, Array]) -> None:
    support, query = episode
    course = Direct().course(learner, support, LABELS, query, WAY, [1, 3, 6])
    assert list(course) == [1, 3, 6]
    for steps, scores in course.items():
        assert torch.equal(scores, Direct(steps=steps).scores(learner, support, LABELS, query, WAY))


def test_learns_its_support(learner: Learner, episode: tuple[Array, Array]) -> None:
    support, _ = episode
    course = Direct(lr=3e-3).course(learner, support, LABELS, support, WAY, [1, 30])
    losses = {steps: float(F.cross_entropy(scores, torch.from_numpy(LABELS))) for steps, scores in course.items()}
    assert losses[30] < 0.3 * losses[1]
    assert bool((course[30].argmax(1) == torch.from_numpy(LABELS)).all())


def test_refuses_to_learn_nothing() -> None:
    for options in ({"steps": 0}, {"lr": 0.0}):
        with pytest.raises(OptionError, match="direct needs at least 1 step and a positive lr"):
            Direct(**options)  # type: ignore[arg-type]
