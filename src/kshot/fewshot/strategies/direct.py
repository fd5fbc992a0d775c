"""Direct: no base classes; the few novel clips of each episode are all that is learned from."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from kshot.errors import OptionError
from kshot.fewshot.strategies.base import Strategy, class_logits

if TYPE_CHECKING:
    from torch import Tensor

    from kshot.activations.shards import Array
    from kshot.fewshot.learner import Learner


@dataclass(frozen=True)
class Direct(Strategy):
    """Fine-tuning on the novel support from scratch in each episode (direct adaptation in Cao et al., 2024).

    The tuned weights and a cosine classifier, started at the support's class means, descend together for
    `steps` full-batch steps of Adam.
    """

    learns_from: ClassVar[Literal["nothing", "base", "support"]] = "support"

    steps: int = 10
    lr: float = 1e-3
    scale: float = 20.0
    classifier_rate: float = 10.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.lr <= 0:
            raise OptionError(f"direct needs at least 1 step and a positive lr, found {self.steps} and {self.lr}")

    def scores(self, learner: Learner, support: Array, labels: Array, query: Array, way: int) -> Tensor:
        """(Q, way) scaled cosines to the classifier after the last step."""
        return self.course(learner, support, labels, query, way, [self.steps])[self.steps]

    def course(
        self, learner: Learner, support: Array, labels: Array, query: Array, way: int, at: list[int]
    ) -> dict[int, Tensor]:
        """Scores as in `scores`, after each number of steps in `at`: one training run tells them all."""
        import torch

        result: dict[int, Tensor] = {}
        for step, classes in self.descend(learner, support, labels, way, at):
            with torch.no_grad():
                result[step] = class_logits(learner.embed_query(query, support), classes, self.scale)
        return result

    def descend(
        self, learner: Learner, support: Array, labels: Array, way: int, at: list[int]
    ) -> Generator[tuple[int, Tensor]]:
        """The training run: yields (step, class vectors (way, P)) after each number of steps in `at`.

        While it yields, the learner has the weights of that step; when it is exhausted or closed, those it came with.
        """
        import torch
        from torch.nn.functional import cross_entropy

        from kshot.fewshot.fit import seeded
        from kshot.heads.formulas import unit

        tuned = list(learner.weights().values())
        before = [weight.detach().clone() for weight in tuned]
        try:
            with torch.no_grad():
                pooled = unit(learner.embed(support, len(support)).mean(1))
                target = torch.from_numpy(labels.copy()).to(pooled.device)
                classes = torch.stack([pooled[target == c].mean(0) for c in range(way)])
            classes.requires_grad_()
            groups: list[dict[str, Any]] = [{"params": [classes], "lr": self.lr * self.classifier_rate}]
            groups += [{"params": tuned}] if tuned else []
            optimizer = torch.optim.Adam(groups, lr=self.lr, foreach=True)
            for step in range(1, max(at) + 1):
                # Dropout, say: the same in every episode, whatever came before and whoever draws between the steps.
                with seeded(step, pooled.device):
                    optimizer.zero_grad(set_to_none=True)
                    logits = class_logits(learner.embed(support, len(support)), classes, self.scale)
                    loss = cross_entropy(logits, target)
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                if step in at:
                    yield step, classes.detach()
        finally:
            with torch.no_grad():
                for weight, value in zip(tuned, before, strict=True):
                    weight.copy_(value)
                    weight.grad = None
