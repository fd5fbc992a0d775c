"""Meta-learning: episodes on the base classes, scored by the head that will be used on the novel ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from kshot.errors import unknown
from kshot.fewshot.episodes import Sampler
from kshot.fewshot.strategies.base import Objective, Strategy, class_logits

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from kshot.activations.activations import Activations
    from kshot.fewshot.learner import Learner

LOSSES = ("episode", "text", "both")


@dataclass(frozen=True)
class Meta(Strategy):
    """Episodic training (Vinyals et al., NeurIPS 2016; Meta-learning in Cao et al., 2024).

    way, shot, query: shape of a training episode. loss: "episode" (cross-entropy of the head's scores), "text"
    (every clip against the texts of all base classes) or "both", the latter weighted by text_weight.
    """

    learns_from: ClassVar[Literal["nothing", "base", "support"]] = "base"

    way: int = 5
    shot: int = 1
    query: int = 5
    loss: str = "episode"
    text_weight: float = 1.0
    text_scale: float = 20.0

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise unknown("loss", self.loss, LOSSES)

    def needs_text(self, learner: Learner) -> bool:
        return learner.head.needs_text or self.loss != "episode"

    def objective(self, learner: Learner, base: Activations, text: Callable[[], Tensor], seed: int) -> Objective:
        """Loss of training episode i on the base clips."""
        import torch
        from torch.nn.functional import cross_entropy

        data = base.data
        sampler = Sampler(data.labels, data.classes, self.way, self.shot, self.query, seed, copies=base.copies)
        labels = torch.from_numpy(data.labels)
        head = learner.head
        needs_text = Meta.needs_text(self, learner)

        def loss(index: int) -> Tensor:
            episode = sampler.draw([index])
            support, query = episode.support[0], episode.query[0]
            embeddings = learner.embed(base.gather([*support, *query], visit=(seed, index)), len(support))
            device = embeddings.device
            near, far = embeddings[: len(support)], embeddings[len(support) :]
            total = embeddings.new_zeros(())
            texts = text() if needs_text else None
            if self.loss != "text":
                way_text = texts[torch.from_numpy(episode.classes)] if texts is not None else None
                support_labels = torch.from_numpy(episode.support_labels.copy()).to(device)
                scores = head(far[None], near[None], support_labels, way_text)
                target = torch.from_numpy(episode.query_labels.copy()).to(device)
                total = total + cross_entropy(scores[0], target[0])
                of_query, of_support = labels[query][None].to(device), labels[support][None].to(device)
                total = total + head.auxiliary(far[None], near[None], of_query, of_support, texts)
            if self.loss != "episode" and texts is not None:
                logits = class_logits(embeddings, texts, self.text_scale)
                total = total + self.text_weight * cross_entropy(logits, labels[[*support, *query]].to(device))
            return total

        return Objective(loss)
