"""What every strategy answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from kshot.activations.activations import Activations
    from kshot.activations.shards import Array
    from kshot.datasets import Dataset
    from kshot.fewshot.episodes import Sampler
    from kshot.fewshot.learner import Learner
    from kshot.progress import Progress
    from kshot.settings import EpisodeShape, Schedule


@dataclass
class Objective:
    """A loss over numbered batches, with the weights it needs beside the learner's (a classifier, say).

    Attributes:
        loss: scalar loss of batch i, a pure function of i and the weights.
        extra: name -> parameter that learns beside the learner's own.
        rates: name -> factor on the learning rate.
        starts: the batches with which stages of another kind begin.
        notes: sentences on how the batches come to the device.
    """

    loss: Callable[[int], Tensor]
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    starts: tuple[int, ...] = (0,)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepChoice:
    """What a strategy that learns inside episodes chose on the val classes.

    Attributes:
        options: its options that were chosen, by name.
        accuracy: steps -> percent on the val episodes; empty without val classes.
        steps: the steps chosen.
    """

    options: Mapping[str, int] = field(default_factory=dict)
    accuracy: Mapping[int, float] = field(default_factory=dict)
    steps: int = 0


@dataclass(frozen=True)
class Strategy:
    """Base of all strategies; a subclass sets `learns_from` and implements the methods that go with it.

    Attributes:
        learns_from: "nothing", "base" (a loss on base classes) or "support" (inside each episode).
        default_head: the head that scores its episodes where none is named.
        about: what it does, in one or two sentences for reports.
        tried: for "support": the numbers of steps among which validation chooses.
        name: what the command line calls it; `get_strategy` sets it.
    """

    learns_from: ClassVar[Literal["nothing", "base", "support"]] = "nothing"
    default_head: ClassVar[str] = "prototype"
    about: ClassVar[str] = ""
    tried: ClassVar[tuple[int, ...]] = (1,)
    name: ClassVar[str] = "strategy"

    @classmethod
    def implied(cls, shape: EpisodeShape, schedule: Schedule) -> Mapping[str, Any]:
        """Its options that follow from a run's settings where none are given.

        Args:
            shape: of training episodes.
            schedule: of the whole run, all stages together.
        """
        return {}

    def expect(self, base: Dataset, copies: NDArray[np.str_] | None = None) -> None:
        """For "base": refuses base clips of which its batches cannot be made.

        Args:
            base: the base clips.
            copies: see `kshot.activations.extraction.Activations.copies`.

        Raises:
            DataError: too few classes, or clips in one of them.
        """

    def needs_text(self, learner: Learner) -> bool:
        """For "base": whether the loss looks at class texts."""
        return learner.head.needs_text

    def objective(self, learner: Learner, base: Activations, text: Callable[[], Tensor], seed: int) -> Objective:
        """For "base": the loss on base classes. text: gives the (classes, P) embeddings of their names.

        It is called only where `needs_text` says so.
        """
        raise NotImplementedError

    def choose(
        self, learner: Learner, val: Activations | None, sampler: Sampler | None, episodes: int, progress: Progress
    ) -> StepChoice:
        """For "support": options chosen on val episodes, or its own without val classes (None)."""
        return StepChoice()

    def scores(self, learner: Learner, support: Array, labels: Array, query: Array, way: int) -> Tensor:
        """For "support": (Q, way) scores of one episode's queries after learning from its support alone.

        support (N, frames, ...) and query (Q, frames, ...) activations, labels (N,) in 0..way-1. Must leave the
        learner as it was found.
        """
        raise NotImplementedError


def class_logits(embeddings: Tensor, classes: Tensor, scale: float) -> Tensor:
    """(n, C) scaled cosines between the frame means of (n, frames, P) embeddings and (C, P) class vectors; of phases
    (C, K, P) the mean counts."""
    from kshot.heads.formulas import unit

    classes = classes.mean(1) if classes.ndim == 3 else classes
    return scale * unit(embeddings.mean(1)) @ unit(classes).T
