"""Finetuning, then Meta-learning: each batch is the one or the other, and both train the same weights."""

from __future__ import annotations

import pytest
import torch

from kshot.activations.activations import Activations
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from kshot.fewshot.fit import fit
from kshot.fewshot.learner import Learner
from kshot.fewshot.strategies import get_strategy
from kshot.fewshot.strategies.base import Objective
from kshot.fewshot.strategies.finetune import Finetune
from kshot.fewshot.strategies.meta import Meta
from kshot.fewshot.texts import class_texts
from kshot.settings import Schedule

EPISODE = {"way": 3, "shot": 1, "query": 2}


def objective(strategy: object, learner: Learner, base: Activations) -> Objective:
    text = class_texts(learner, base.data.classes, ("{}",))
    return strategy.objective(learner, base, text, 3)  # type: ignore[attr-defined, no-any-return]


def test_batches_are_those_of_finetuning_and_then_those_of_meta_learning(backbone: Backbone, base: Activations) -> None:
    learner = Learner.build(backbone, "partial")
    both = objective(get_strategy("finetune-meta", first=4, batch=12, classifier_scale=10.0, **EPISODE), learner, base)
    first = objective(Finetune(batch=12, scale=10.0), learner, base)
    then = objective(Meta(**EPISODE), learner, base)
    with torch.no_grad():
        assert [float(both.loss(i)) for i in range(8)] == [
            float(first.loss(i)) if i < 4 else float(then.loss(i)) for i in range(8)
        ]


def test_the_classifier_rests_during_the_episodes(backbone: Backbone, base: Activations) -> None:
    learner = Learner.build(backbone, "partial")
    made = objective(get_strategy("finetune-meta", first=2, batch=12, **EPISODE), learner, base)
    seen = []

    def loss(index: int) -> torch.Tensor:
        seen.append(
            (made.extra["classifier"].detach().clone(), next(iter(learner.weights().values())).detach().clone())
        )
        return made.loss(index)

    fit(learner.weights(), loss, Schedule(steps=5, lr=1e-3), rates=made.rates, extra=made.extra)
    classifier, weight = zip(*seen, strict=True)
    assert not torch.equal(classifier[0], classifier[2]) and torch.equal(classifier[2], classifier[4])
    assert not torch.equal(weight[2], weight[4])


def test_odd_options_are_refused() -> None:
    with pytest.raises(OptionError, match="at least 1 batch of Finetuning first, found 0"):
        get_strategy("finetune-meta", first=0)
    with pytest.raises(OptionError, match="unknown classifier 'svm'"):
        get_strategy("finetune-meta", classifier="svm")
    with pytest.raises(OptionError, match="unknown loss 'sum'"):
        get_strategy("finetune-meta", loss="sum")
