"""The ways to learn from a few clips, all on embeddings that were extracted once: every head, and fine-tuning.

A head of `kshot.heads.HEADS` is a method by being there; "auto" compares those of `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kshot import heads
from kshot.errors import OptionError, unknown
from kshot.fewshot.strategies.direct import Direct
from kshot.heads.base import Head
from kshot.heads.formulas import class_means, full, pool, unit
from kshot.recognizer.classifier import Scorer

if TYPE_CHECKING:
    from kshot.datasets.texts import Descriptions
    from kshot.fewshot.learner import Learner

Array = NDArray[Any]
Indices = NDArray[np.int64]

AUTO = "auto"
SCALE = 20.0  # on cosines with class means, as in the prototype head
TEXT_SCALE = 100.0  # what CLIP's own training ends at
FINE_TUNING = Direct(steps=10, lr=3e-4, scale=SCALE)


@dataclass(frozen=True)
class RecognizerMethod:
    """A way to learn from a few clips.

    Attributes:
        words: what it is, for people.
        head: name of the head that scores.
        options: of that head, where they are not its defaults.
        text_scale: that head's option for the factor on the cosine with class names, if it has it.
        tunes: whether the backbone's last layer is fine-tuned before.
    """

    words: str
    head: str
    options: Mapping[str, Any] = field(default_factory=dict)
    text_scale: str = "text_scale"
    tunes: bool = False

    @property
    def needs_text(self) -> bool:
        """Whether it compares clips with class names."""
        return heads.find(self.head).needs_text

    @property
    def by_change(self) -> bool:
        """Whether its clips are pooled by how much each place changes."""
        return heads.find(self.head).by_change

    @property
    def least_frames(self) -> int:
        """Frames that a clip must have at least."""
        return heads.find(self.head).least_frames

    @property
    def needs_training(self) -> bool:
        """Whether its head gives noise until a run of `kshot train` has trained it."""
        kind = heads.find(self.head)
        return kind.learns and not kind.works_untrained


METHODS: dict[str, RecognizerMethod] = {  # what "auto" compares, the simplest first
    "prototype": RecognizerMethod("the mean clip of each class", "prototype"),
    "change": RecognizerMethod("how each class changes over time", "change"),
    "both": RecognizerMethod("the mean clip of each class and how it changes", "both"),
    "where": RecognizerMethod("the mean clip of each class, seen where it changes", "where"),
    "fusion": RecognizerMethod("class names and mean clips together", "fusion", {"beta": "earned"}),
    "linear-probe": RecognizerMethod("a logistic regression on the clips", "linear-probe"),
    "otam": RecognizerMethod("the order of the frames", "otam", {"variant": "clip-fsar"}),
    "partial": RecognizerMethod("fine-tuning of the last layer", "prototype", {"scale": SCALE}, tunes=True),
    "text": RecognizerMethod("the class names alone", "text", text_scale="scale"),  # last: see `choose.pick`
}


READINGS = ("prototype", "change", "both", "where")
"""Ways to read clips without learning, of which the one with the lowest loss stands for all; see `choose.rivals`."""


def method(name: str) -> RecognizerMethod:
    """A method by its name: one of `METHODS`, or a head.

    Raises:
        OptionError: there is neither, or the head is transductive.
    """
    if name in METHODS:
        return METHODS[name]
    heads.expect_inductive(name)
    if name not in heads.HEADS:
        possible = [known for known in heads.HEADS if known not in heads.TRANSDUCTIVE]
        raise unknown("method", name, [AUTO, *dict.fromkeys([*METHODS, *possible])])
    return RecognizerMethod(f"the head {name}", name)


def expect(name: str, options: Mapping[str, Any]) -> None:
    """Refuses a method that there is not, and options that its head does not take.

    Raises:
        OptionError: names the methods, or the head's options.
    """
    if name != AUTO and not method(name).tunes:
        heads.expect(method(name).head, options)
    elif options:
        raise OptionError(f"method '{name}' takes no head options: name a head as the method, such as otam")


@dataclass(frozen=True)
class Support:
    """Labelled clips, and what methods may use.

    Attributes:
        classes: label texts; the background, if there is one, comes last.
        labels: (n,) indices into them.
        groups: (n,) text, what was filmed together.
        names: (n,) for messages.
        embeddings: (n, T, P).
        text: (C, P) of the class names, or (C, K, P) of their phases; None without a text tower.
        text_notes: what the text tower does not see of them, in sentences.
        text_scale: factor on the cosine with class names.
        background: whether the last class shows none of the actions.
        learner: what partial fine-tuning changes, None where there is nothing to.
        tokens: gives activations (k, T, ...) of clips at the learner's cut.
        head: a head that a run of `kshot train` has trained, None without.
        head_options: options of the method's head, or those that `head` was made with.
        changing: (n, T, P) pooled by how much each place changes, None where that cannot be had of all clips.
        unit: frames of which one of the T embeddings is made.
        described: the texts that stand in place of class names, None without.
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
    learner: Learner | None = None
    tokens: Callable[[Indices], Array] | None = None
    head: Head | None = None
    head_options: Mapping[str, Any] = field(default_factory=dict)
    changing: Tensor | None = None
    unit: int = 1
    described: Descriptions | None = None
    _made: dict[str, tuple[Head, dict[str, Any]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def actions(self) -> int:
        """Number of classes besides the background."""
        return len(self.classes) - self.background

    def seen_by(self, name: str) -> Tensor:
        """(n, T, P) the embeddings that a method looks at."""
        if not method(name).by_change:
            return self.embeddings
        assert self.changing is not None
        return self.changing

    def head_of(self, name: str) -> tuple[Head, dict[str, Any]]:
        """The head of a method and its options, made once.

        Raises:
            CheckpointError: it must be trained before, and there is no run that has.
        """
        if name not in self._made:
            kind = method(name)
            if self.head is not None and self.head.name == kind.head:
                self._made[name] = self.head.eval(), dict(self.head_options)
            else:
                known = heads.options(kind.head)
                sizes = {"dim": self.embeddings.shape[-1], kind.text_scale: self.text_scale}
                chosen = heads.named(kind.head) | {option: value for option, value in sizes.items() if option in known}
                chosen |= {**kind.options, **({} if kind.tunes else self.head_options)}
                head = heads.get_head(kind.head, **chosen).to(self.embeddings.device).eval()
                head.expect_trained()
                self._made[name] = head, chosen
        return self._made[name]


@dataclass(frozen=True)
class Learned:
    """What a method took from some clips.

    Attributes:
        scorer: scores (n, C) of the classes `present`.
        means: (C, P) unit class means.
        present: (C,) indices into the classes of the support.
        queries: (q, T, P) embeddings of the clips to be scored.
        weights: tuned weights of the backbone, if any.
    """

    scorer: Scorer
    means: Tensor
    present: Indices
    queries: Tensor
    weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Lesson:
    """Some clips of a support with their classes renumbered to those present: what a method is shown.

    Attributes:
        support: all clips.
        clips: (n,) those of the lesson.
        present: (C,) their classes, as indices into those of the support.
        labels: (n,) indices into `present`.
        embeddings: (n, T, P).
    """

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
        return torch.from_numpy(self.labels).to(self.embeddings.device)

    @property
    def text(self) -> Tensor | None:
        """(C, P) of the class names present."""
        return None if self.support.text is None else self.support.text[torch.from_numpy(self.present)]


def learn(name: str, support: Support, clips: Indices, queries: Indices) -> Learned:
    """What a method takes from some of the clips, and the embeddings of those that it is to answer."""
    present, labels = np.unique(support.labels[clips], return_inverse=True)
    seen = support.seen_by(name)
    lesson = Lesson(support, clips, present, labels.astype(np.int64), seen[torch.from_numpy(clips)])
    with torch.no_grad():
        if method(name).tunes:
            return _fine_tune(name, lesson, queries)
        return Learned(_fit(name, lesson), lesson.means(), present, seen[torch.from_numpy(queries)])


def _fit(name: str, lesson: Lesson) -> Scorer:
    """The method's head, fitted to the lesson's clips."""
    head, options = lesson.support.head_of(name)
    text = lesson.text if head.needs_text else None
    if head.needs_text and text is None:
        raise OptionError(f"method '{name}' needs class texts, and there is no text tower")
    clips = head.prepare_support(full(lesson.embeddings), None if text is None else text[lesson.targets])
    fitted = head.fit_support(
        clips[None], lesson.targets[None], None if text is None else full(text)[None], lesson.way
    )  # fmt: skip
    return Scorer(head, options, fitted, lesson.way)


def _fine_tune(name: str, lesson: Lesson, queries: Indices) -> Learned:
    """Partial fine-tuning on the lesson's clips, with a cosine classifier that starts at their class means."""
    learner, tokens = lesson.support.learner, lesson.support.tokens
    assert learner is not None and tokens is not None
    near = tokens(lesson.clips)
    far = tokens(queries) if len(queries) else near[:0]
    last = FINE_TUNING.steps
    head, options = lesson.support.head_of(name)
    with torch.enable_grad(), closing(FINE_TUNING.descend(learner, near, lesson.labels, lesson.way, [last])) as run:
        _, vectors = next(run)
        with torch.no_grad():
            weights = {name: weight.detach().clone() for name, weight in learner.weights().items()}
            embeddings = learner.embed(near)
            return Learned(
                Scorer(head, options, {"means": unit(vectors)[None]}, lesson.way),
                lesson.means(embeddings),
                lesson.present,
                learner.embed(far) if len(queries) else embeddings[:0],
                weights,
            )
