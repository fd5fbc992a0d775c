"""Direct: no base classes; the few novel clips of each episode are all that is learned from."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from kshot import processes
from kshot.errors import OptionError
from kshot.fewshot.penalty import moved
from kshot.fewshot.strategies.base import StepChoice, Strategy, class_logits
from kshot.settings import penalty_of

if TYPE_CHECKING:
    from torch import Tensor

    from kshot.activations.activations import Activations
    from kshot.activations.shards import Array
    from kshot.fewshot.episodes import Sampler
    from kshot.fewshot.learner import Learner
    from kshot.progress import Progress
    from kshot.settings import EpisodeShape, Schedule


@dataclass(frozen=True)
class Direct(Strategy):
    """Fine-tuning on the novel support from scratch in each episode (direct adaptation in Cao et al., 2024).

    The tuned weights and a cosine classifier, started at the support's class means, descend together by full-batch
    steps of Adam. With a penalty it is the regularised last layer of ProLIP (Fahes et al., arXiv 2410.05270).

    Attributes:
        steps: steps in each episode; `train` chooses them on the val classes.
        lr: learning rate of the tuned weights.
        scale: factor on the cosines.
        classifier_rate: factor on the learning rate of the classifier.
        penalty: weight of the squared distance of the tuned weights from where they began: a number, or "1/N" with N
            the support clips a class.
    """

    learns_from: ClassVar[Literal["nothing", "base", "support"]] = "support"
    about: ClassVar[str] = "Uses no base classes: in every episode, weights are tuned anew on its few support clips."
    tried: ClassVar[tuple[int, ...]] = (5, 10, 20, 40)

    steps: int = 10
    lr: float = 1e-3
    scale: float = 20.0
    classifier_rate: float = 10.0
    penalty: float | str = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.lr <= 0:
            raise OptionError(f"direct needs at least 1 step and a positive lr, found {self.steps} and {self.lr}")
        penalty_of(self.penalty, 1)

    @classmethod
    def implied(cls, shape: EpisodeShape, schedule: Schedule) -> Mapping[str, Any]:
        """The run's learning rate and penalty are those of each episode."""
        return {"lr": schedule.lr, "penalty": schedule.penalty}

    def choose(
        self, learner: Learner, val: Activations | None, sampler: Sampler | None, episodes: int, progress: Progress
    ) -> StepChoice:
        """The number of steps with the highest accuracy on the val episodes, the fewest of equals."""
        if val is None or sampler is None:
            return StepChoice({"steps": self.steps}, steps=self.steps)
        right, queries = dict.fromkeys(self.tried, 0), 0
        with progress("choosing steps on val", episodes, "episodes") as step:
            for index in processes.dealt(range(episodes)):
                episode = sampler.draw([index])
                support, query = val.gather(episode.support[0]), val.gather(episode.query[0])
                truth, labels, at = episode.query_labels[0], episode.support_labels[0], list(self.tried)
                for steps, scores in self.course(learner, support, labels, query, sampler.way, at).items():
                    right[steps] += int((scores.argmax(-1).cpu().numpy() == truth).sum())
                queries += len(truth)
                step(min(processes.world(), episodes - index))
        *hits, queries = processes.summed(np.array([*right.values(), queries])).tolist()
        accuracy = {steps: 100 * count / queries for steps, count in zip(right, hits, strict=True)}
        best = max(self.tried, key=lambda steps: accuracy[steps])
        return StepChoice({"steps": best}, accuracy, best)

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
        penalty = penalty_of(self.penalty, len(labels) / way)
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
                    if penalty:
                        loss = loss + penalty * moved(tuned, before)
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                if step in at:
                    yield step, classes.detach()
        finally:
            with torch.no_grad():
                for weight, value in zip(tuned, before, strict=True):
                    weight.copy_(value)
                    weight.grad = None
