"""Finetuning followed by Meta-learning: classification first, episodes from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from kshot.errors import OptionError
from kshot.fewshot.strategies.base import Objective
from kshot.fewshot.strategies.finetune import Finetune
from kshot.fewshot.strategies.meta import Meta

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from kshot.activations.activations import Activations
    from kshot.fewshot.learner import Learner
    from kshot.settings import EpisodeShape, Schedule


@dataclass(frozen=True)
class FinetuneMeta(Meta):
    """Two stages in one run (Chen et al., ICCV 2021, Meta-Baseline: a classifier, then episodes).

    The schedule runs through, and the best weights on val may come from either stage. Options of Meta-learning come on
    top of these.

    Attributes:
        first: batches of Finetuning before the episodes begin; `train` sets half of all.
        batch: of Finetuning, clips a batch.
        classifier: of Finetuning, "linear" or "text".
        classifier_scale: factor on Finetuning's cosines.
        classifier_rate: factor on the learning rate of Finetuning's new layer.
    """

    about: ClassVar[str] = "Finetuning first, then Meta-learning from there, in one run."

    first: int = 200
    batch: int = 30
    classifier: str = "linear"
    classifier_scale: float = 20.0
    classifier_rate: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first < 1:
            raise OptionError(f"finetune-meta needs at least 1 batch of Finetuning first, found {self.first}")
        self._finetuning()

    @classmethod
    def implied(cls, shape: EpisodeShape, schedule: Schedule) -> Mapping[str, Any]:
        """As Meta-learning, after Finetuning on the first half of all batches."""
        return {**super().implied(shape, schedule), "first": max(1, schedule.steps * schedule.accumulate // 2)}

    def _finetuning(self) -> Finetune:
        return Finetune(self.batch, self.classifier, self.classifier_scale, self.classifier_rate)

    def needs_text(self, learner: Learner) -> bool:
        return super().needs_text(learner) or self._finetuning().needs_text(learner)

    def objective(self, learner: Learner, base: Activations, text: Callable[[], Tensor], seed: int) -> Objective:
        """Finetuning's loss for batches 0 to first - 1, the episodes' loss from there on."""
        classes = self._finetuning().objective(learner, base, text, seed)
        episodes = super().objective(learner, base, text, seed)

        def loss(index: int) -> Tensor:
            return classes.loss(index) if index < self.first else episodes.loss(index)

        notes = tuple(dict.fromkeys((*classes.notes, *episodes.notes)))
        return Objective(loss, classes.extra, classes.rates, (0, self.first), notes)
