"""What every strategy answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from kshot.activations.activations import Activations
    from kshot.activations.shards import Array
    from kshot.fewshot.learner import Learner


@dataclass
class Objective:
    """A loss over numbered batches, with the weights it needs beside the learner's (a classifier, say).

    rates: name -> factor on the learning rate. starts: the batches with which stages of another kind begin.
    """

    loss: Callable[[int], Tensor]
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    starts: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Strategy:
    """Base of all strategies; a subclass sets `learns_from` and implements the method that goes with it."""

    learns_from: ClassVar[Literal["nothing", "base", "support"]] = "nothing"
    default_head: ClassVar[str] = "prototype"
    name: ClassVar[str] = "strategy"  # what the command line calls it; `get_strategy` sets it

    def needs_text(self, learner: Learner) -> bool:
        """For "base": whether the loss looks at class texts."""
        return learner.head.needs_text

    def objective(self, learner: Learner, base: Activations, text: Callable[[], Tensor], seed: int) -> Objective:
        """For "base": the loss on base classes. text: gives the (classes, P) embeddings of their names.

        It is called only where `needs_text` says so.
        """
        raise NotImplementedError

    def scores(self, learner: Learner, support: Array, labels: Array, query: Array, way: int) -> Tensor:
        """For "support": (Q, way) scores of one episode's queries after learning from its support alone.

        support (N, frames, ...) and query (Q, frames, ...) activations, labels (N,) in 0..way-1. Must leave the
        learner as it was found.
        """
        raise NotImplementedError


def class_logits(embeddings: Tensor, classes: Tensor, scale: float) -> Tensor:
    """(n, C) scaled cosines between the frame means of (n, frames, P) embeddings and (C, P) class vectors."""
    from kshot.heads.formulas import unit

    return scale * unit(embeddings.mean(1)) @ unit(classes).T
