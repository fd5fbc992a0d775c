"""Finetuning: supervised classification of the base classes, the classifier thrown away afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from kshot.draws import generator
from kshot.errors import OptionError, unknown
from kshot.fewshot.episodes import Members
from kshot.fewshot.strategies.base import Objective, Strategy, class_logits

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from kshot.activations.activations import Activations
    from kshot.fewshot.learner import Learner

CLASSIFIERS = ("linear", "text")


@dataclass(frozen=True)
class Finetune(Strategy):
    """Supervised training on all base classes at once (Finetuning in Cao et al., 2024).

    Attributes:
        batch: clips a batch, drawn class-balanced.
        classifier: "linear" (a new cosine layer over the base classes, Chen et al., ICLR 2019, Baseline++) or "text"
            (their class texts).
        scale: factor on the cosines.
        classifier_rate: factor on the learning rate of the new layer.
    """

    learns_from: ClassVar[Literal["nothing", "base", "support"]] = "base"
    about: ClassVar[str] = "Finetuning: trained on the base classes by ordinary classification."

    batch: int = 30
    classifier: str = "linear"
    scale: float = 20.0
    classifier_rate: float = 10.0

    def __post_init__(self) -> None:
        if self.classifier not in CLASSIFIERS:
            raise unknown("classifier", self.classifier, CLASSIFIERS)
        if self.batch < 1:
            raise OptionError(f"finetuning needs a batch of at least 1, found {self.batch}")

    def needs_text(self, learner: Learner) -> bool:
        return self.classifier == "text"

    def objective(self, learner: Learner, base: Activations, text: Callable[[], Tensor], seed: int) -> Objective:
        """Cross-entropy of batch i over the base classes."""
        import torch
        from torch.nn.functional import cross_entropy

        from kshot.activations.feed import Feed, moved
        from kshot.heads.formulas import unit

        every = Members.of(base.data.labels, len(base.data.classes))
        members = [every.clips(c) for c in range(len(base.data.classes))]
        extra: dict[str, Tensor] = {}
        if self.classifier == "linear":
            # Class means of the untrained embeddings: the layer starts as the prototype classifier. A class at a time:
            # all base clips may not fit into memory.
            layer = torch.stack([unit(learner.embed_all(base, m.tolist()).mean(1)).mean(0) for m in members])
            extra["classifier"] = layer.requires_grad_()

        def drawn(index: int) -> tuple[NDArray[np.int64], list[int]]:
            """Classes and clips of a batch."""
            rng = generator(seed, 11, index)
            classes = np.resize(rng.permutation(len(members)), self.batch)
            return classes, [rng.choice(members[c]) for c in classes]

        feed = Feed(base, learner.device, lambda index: drawn(index)[1], seed)

        def loss(index: int) -> Tensor:
            weights = extra["classifier"] if extra else text()
            logits = class_logits(learner.embed(feed(index)), weights, self.scale)
            return cross_entropy(logits, moved(torch.from_numpy(drawn(index)[0]), logits.device))

        return Objective(loss, extra, {"classifier": self.classifier_rate}, notes=feed.notes)
