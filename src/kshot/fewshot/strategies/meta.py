"""Meta-learning: episodes on the base classes, scored by the head that will be used on the novel ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from kshot.errors import unknown
from kshot.fewshot.episodes import Sampler
from kshot.fewshot.strategies.base import Objective, Strategy, class_logits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from kshot.activations.activations import Activations
    from kshot.datasets import Dataset
    from kshot.fewshot.learner import Learner
    from kshot.settings import EpisodeShape, Schedule

LOSSES = ("episode", "text", "both")


@dataclass(frozen=True)
class Meta(Strategy):
    """Episodic training (Vinyals et al., NeurIPS 2016; Meta-learning in Cao et al., 2024).

    Attributes:
        way: classes of a training episode.
        shot: support clips a class.
        query: query clips a class.
        loss: "episode" (cross-entropy of the head's scores), "text" (every clip against the texts of all base classes)
            or "both".
        text_weight: weight of the text loss in "both".
        text_scale: factor on the cosines to class texts.
    """

    learns_from: ClassVar[Literal["nothing", "base", "support"]] = "base"
    about: ClassVar[str] = "Meta-learning: trained on episodes of base classes, the very task it is tested on."

    way: int = 5
    shot: int = 1
    query: int = 5
    loss: str = "episode"
    text_weight: float = 1.0
    text_scale: float = 20.0

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise unknown("loss", self.loss, LOSSES)

    @classmethod
    def implied(cls, shape: EpisodeShape, schedule: Schedule) -> Mapping[str, Any]:
        """Training episodes have the run's shape."""
        return {"way": shape.way, "shot": shape.shot, "query": shape.query}

    def expect(self, base: Dataset, copies: NDArray[np.str_] | None = None) -> None:
        self._sampler(base, copies)

    def _sampler(self, base: Dataset, copies: NDArray[np.str_] | None, seed: int = 0) -> Sampler:
        return Sampler(base.labels, base.classes, self.way, self.shot, self.query, seed, copies=copies)

    def needs_text(self, learner: Learner) -> bool:
        return learner.head.needs_text or self.loss != "episode"

    def objective(self, learner: Learner, base: Activations, text: Callable[[], Tensor], seed: int) -> Objective:
        """Loss of training episode i on the base clips."""
        import torch
        from torch.nn.functional import cross_entropy

        from kshot.activations.feed import Feed, moved

        data = base.data
        sampler = self._sampler(data, base.copies, seed)
        labels = torch.from_numpy(data.labels)
        head = learner.head
        needs_text = Meta.needs_text(self, learner)
        device = learner.device

        def clips(index: int) -> list[int]:
            episode = sampler.draw([index])
            return [*episode.support[0], *episode.query[0]]

        feed = Feed(base, device, clips, seed)

        def loss(index: int) -> Tensor:
            episode = sampler.draw([index])
            support, query = episode.support[0], episode.query[0]
            embeddings = learner.embed(feed(index), len(support))
            near, far = embeddings[: len(support)], embeddings[len(support) :]
            total = embeddings.new_zeros(())
            texts = text() if needs_text else None
            if self.loss != "text":
                way_text = texts[moved(torch.from_numpy(episode.classes), device)] if texts is not None else None
                support_labels = moved(torch.from_numpy(episode.support_labels.copy()), device)
                scores = head(far[None], near[None], support_labels, way_text, numbers=[index], way=self.way)
                target = moved(torch.from_numpy(episode.query_labels.copy()), device)
                total = total + cross_entropy(scores[0], target[0])
                of_query, of_support = (moved(labels[some][None], device) for some in (query, support))
                total = total + head.auxiliary(far[None], near[None], of_query, of_support, texts)
            if self.loss != "episode" and texts is not None:
                logits = class_logits(embeddings, texts, self.text_scale)
                total = total + self.text_weight * cross_entropy(logits, moved(labels[clips(index)], device))
            return total

        return Objective(loss, notes=feed.notes)
