"""Finetuning: balanced batches, the two classifiers by hand, and that the loss falls."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kshot.activations.activations import Activations
from kshot.activations.encoding import embed
from kshot.activations.shards import Array
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from kshot.fewshot.fit import fit
from kshot.fewshot.learner import Learner
from kshot.fewshot.strategies.base import Objective
from kshot.fewshot.strategies.finetune import Finetune
from kshot.fewshot.texts import class_texts
from kshot.settings import Schedule


@dataclass(frozen=True)
class Recorded(Activations):
    """Activations that remember which clips were asked for."""

    asked: list[list[int]] = field(default_factory=list)

    def gather(self, indices: object, visit: int | None = None) -> Array:
        self.asked.append([int(i) for i in indices])  # type: ignore[attr-defined]
        return super().gather(indices, visit)  # type: ignore[arg-type]


def recorded(base: Activations) -> Recorded:
    return Recorded(base.data, base.cut, base.unreadable, base.store, base.digests)


def objective(learner: Learner, base: Activations, **options: object) -> Objective:
    text = class_texts(learner, base.data.classes, ("{}",))
    return Finetune(**options).objective(learner, base, text, 3)  # type: ignore[arg-type]


def test_batches_are_balanced_over_classes(backbone: Backbone, base: Activations) -> None:
    learner, clips = Learner.build(backbone, "partial"), recorded(base)
    made = objective(learner, clips, batch=15)
    clips.asked.clear()
    with torch.no_grad():
        for index in range(40):
            made.loss(index)
    classes = len(base.data.classes)
    for batch in clips.asked:
        counts = Counter(base.data.labels[batch].tolist())
        assert len(batch) == 15 and len(counts) == classes
        assert set(counts.values()) == {15 // classes, 15 // classes + 1}
    assert {clip for batch in clips.asked for clip in batch} == set(range(len(base.data)))


def test_batches_are_functions_of_index_and_seed(backbone: Backbone, base: Activations) -> None:
    learner, clips = Learner.build(backbone, "partial"), recorded(base)
    loss = objective(learner, clips).loss
    clips.asked.clear()
    with torch.no_grad():
        values = [float(loss(i)) for i in (4, 1, 4)]
    assert clips.asked[0] == clips.asked[2] != clips.asked[1]
    assert values[0] == values[2] != values[1]


def test_linear_classifier_starts_at_the_class_means(backbone: Backbone, base: Activations) -> None:
    learner, clips = Learner.build(backbone, "partial"), recorded(base)
    made = objective(learner, clips)
    with torch.no_grad():
        pooled = F.normalize(learner.embed_all(base).mean(1), dim=1)
        means = torch.stack([pooled[torch.from_numpy(base.data.labels == c)].mean(0) for c in range(6)])
        torch.testing.assert_close(made.extra["classifier"], means)
        value = made.loss(0)
        batch = clips.asked[-1]
        expected = F.cross_entropy(
            20 * pooled[batch] @ F.normalize(means, dim=1).T, torch.from_numpy(base.data.labels[batch])
        )
    torch.testing.assert_close(value, expected)
    assert made.extra["classifier"].requires_grad and made.rates == {"classifier": 10.0}


def test_text_classifier_is_the_class_texts(backbone: Backbone, base: Activations) -> None:
    learner, clips = Learner.build(backbone, "partial"), recorded(base)
    made = objective(learner, clips, classifier="text", scale=10.0)
    assert not made.extra
    with torch.no_grad():
        value, batch = made.loss(2), clips.asked[-1]
        pooled = F.normalize(learner.embed(base.gather(batch)).mean(1), dim=1)
        assert learner.backbone is not None
        logits = 10 * pooled @ learner.backbone.embed_text(base.data.classes, ("{}",)).T
        torch.testing.assert_close(value, F.cross_entropy(logits, torch.from_numpy(base.data.labels[batch])))


@pytest.mark.parametrize("classifier", ["linear", "text"])
def test_loss_falls(backbone: Backbone, base: Activations, classifier: str) -> None:
    learner = Learner.build(backbone, "partial")
    made = objective(learner, base, classifier=classifier)

    def mean() -> float:
        with torch.no_grad():
            return float(np.mean([float(made.loss(1000 + i)) for i in range(5)]))

    before = mean()
    fit(learner.weights(), made.loss, Schedule(steps=30, lr=3e-3), rates=made.rates, extra=made.extra)
    assert mean() < 0.8 * before


def test_a_tuned_text_tower_learns_from_class_texts(backbone: Backbone, base: Activations) -> None:
    learner = Learner.build(backbone, "partial", {"tower": "text", "layers": "proj"})
    assert learner.cut == backbone.depth + 1, "the image tower stays as it is: its embeddings can be stored"
    held = Activations(replace(base.data, features=embed(backbone, base).numpy()), learner.cut)
    objective(learner, held, classifier="text").loss(0).backward()  # type: ignore[no-untyped-call]
    (weight,) = learner.weights().values()
    assert weight.grad is not None and bool(weight.grad.abs().max() > 0)


def test_refuses_unknown_classifiers_and_empty_batches() -> None:
    with pytest.raises(OptionError, match="unknown classifier 'svm': Known: linear, text"):
        Finetune(classifier="svm")
    with pytest.raises(OptionError, match="a batch of at least 1, found 0"):
        Finetune(batch=0)
