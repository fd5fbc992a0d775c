"""The ways to learn from a few clips that `fit` chooses from, all on activations that were extracted once.

Adding one: a function here and its line in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kshot.fewshot.strategies.direct import Direct
from kshot.heads.formulas import class_means, membership, pool, unit
from kshot.heads.fusion import Fusion
from kshot.heads.linear_probe import LinearProbe, solve
from kshot.recognizer.decider import Aligned, Cosine, Fused, Linear

if TYPE_CHECKING:
    from kshot.fewshot.learner import Learner

Array = NDArray[Any]
Indices = NDArray[np.int64]

SCALE = 20.0  # on cosines with class means, as in the prototype head
TEXT_SCALE = 100.0  # what CLIP's own training ends at
FINE_TUNING = Direct(steps=10, lr=3e-4, scale=SCALE)


@dataclass(frozen=True)
class Support:
    """Taught clips and what methods may look at.

    classes: label texts; the background, if there is one, comes last. labels: (n,) indices into them. groups: (n,)
    text, what was filmed together. names: (n,) for messages. embeddings: (n, T, P). text: (C, P) of the class names,
    None without a text tower. text_notes: what it does not see of them, in sentences. tuner: what partial fine-tuning
    changes, None where there is nothing to. tokens: gives activations (k, T, ...) of clips at the tuner's cut.
    """

    classes: tuple[str, ...]
    labels: Indices
    groups: Array
    names: tuple[str, ...]
    embeddings: Tensor
    text: Tensor | None = None
    text_notes: tuple[str, ...] = ()
    text_scale: float = TEXT_SCALE
    background: bool = False
    tuner: Learner | None = None
    tokens: Callable[[Indices], Array] | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Learned:
    """What a method took from some clips.

    scorer: scores (n, C) of the classes `present` (indices into those of the support). means: (C, P) unit class means.
    asked: embeddings (q, T, P) of the clips to be scored. weights: tuned weights of the backbone, if any.
    """

    scorer: nn.Module
    means: Tensor
    present: Indices
    asked: Tensor
    weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Lesson:
    """Some clips of a support with their classes renumbered to those present: what a method is shown."""

    support: Support
    clips: Indices
    present: Indices
    labels: Indices
    embeddings: Tensor

    @property
    def way(self) -> int:
        return len(self.present)

    def means(self, embeddings: Tensor | None = None) -> Tensor:
        """(C, P) class means at unit length."""
        pooled = pool(self.embeddings if embeddings is None else embeddings)[None, :, 0]
        return unit(class_means(pooled, self.targets[None], self.way))[0]

    @property
    def targets(self) -> Tensor:
        return torch.from_numpy(self.labels)

    @property
    def text(self) -> Tensor:
        assert self.support.text is not None
        return self.support.text[torch.from_numpy(self.present)]


def _text(lesson: Lesson) -> nn.Module:
    return Cosine(unit(lesson.text), lesson.support.text_scale)


def _prototype(lesson: Lesson) -> nn.Module:
    return Cosine(lesson.means(), SCALE)


def _fusion(lesson: Lesson) -> nn.Module:
    head = Fusion("loo", SCALE, lesson.support.text_scale)
    beta = head.choose(head.prepare(lesson.embeddings)[None], lesson.targets[None], lesson.text[None], lesson.way)
    return Fused(Cosine(unit(lesson.text), lesson.support.text_scale), Cosine(lesson.means(), SCALE), float(beta))


def _linear_probe(lesson: Lesson) -> nn.Module:
    clips = pool(lesson.embeddings)[:, 0]
    targets = membership(lesson.targets[None], lesson.way, clips.dtype)
    solved = solve((clips @ clips.T)[None], targets, LinearProbe().C)[0]
    return Linear((clips.T @ solved[:-1]).T, solved[-1])


def _otam(lesson: Lesson) -> nn.Module:
    return Aligned(class_means(lesson.embeddings[None], lesson.targets[None], lesson.way)[0])


@dataclass(frozen=True)
class Method:
    """A way to learn. words: what it is, for people. learn: from a lesson; None for fine-tuning, which changes the
    embeddings, too."""

    words: str
    learn: Callable[[Lesson], nn.Module] | None
    needs_text: bool = False


METHODS: dict[str, Method] = {  # the simplest first
    "text": Method("the class names alone", _text, needs_text=True),
    "prototype": Method("the mean clip of each class", _prototype),
    "fusion": Method("class names and mean clips together", _fusion, needs_text=True),
    "linear-probe": Method("a logistic regression on the clips", _linear_probe),
    "otam": Method("the order of the frames", _otam),
    "partial": Method("fine-tuning of the last layer", None),
}


def learn(method: str, support: Support, clips: Indices, asked: Indices) -> Learned:
    """What a method takes from some of the clips, and the embeddings of the clips it is to be asked about."""
    present, labels = np.unique(support.labels[clips], return_inverse=True)
    lesson = Lesson(support, clips, present, labels.astype(np.int64), support.embeddings[torch.from_numpy(clips)])
    with torch.no_grad():
        kind = METHODS[method]
        if kind.learn is None:
            return _fine_tune(lesson, asked)
        return Learned(kind.learn(lesson), lesson.means(), present, support.embeddings[torch.from_numpy(asked)])


def _fine_tune(lesson: Lesson, asked: Indices) -> Learned:
    """Partial fine-tuning on the lesson's clips, with a cosine classifier that starts at their class means."""
    support = lesson.support
    tuner, tokens = support.tuner, support.tokens
    assert tuner is not None and tokens is not None
    near = tokens(lesson.clips)
    far = tokens(asked) if len(asked) else near[:0]
    last = FINE_TUNING.steps
    with torch.enable_grad(), closing(FINE_TUNING.descend(tuner, near, lesson.labels, lesson.way, [last])) as run:
        _, vectors = next(run)
        with torch.no_grad():
            weights = {name: weight.detach().clone() for name, weight in tuner.weights().items()}
            embeddings = tuner.embed(near)
            return Learned(
                Cosine(unit(vectors), FINE_TUNING.scale),
                lesson.means(embeddings),
                lesson.present,
                tuner.embed(far) if len(asked) else embeddings[:0],
                weights,
            )
