"""What is being adapted: a backbone with one tuning method applied, and a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kshot import heads, tuning
from kshot.activations.activations import Activations
from kshot.activations.encoding import embed, tail
from kshot.errors import CheckpointError, OptionError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from kshot.activations.shards import Array
    from kshot.backbones.backbone import Backbone
    from kshot.backbones.batch_norm import BatchNorm
    from kshot.heads.base import Head


@dataclass
class Learner:
    """A backbone (None for ready-made features), the cut where its activations enter, and a head.

    `cut` is the deepest one that the tuning method allows: embeddings for a frozen backbone, frames for an exact one.
    `drifting` are the batch norms of an exact one, by name, whose statistics follow the batches.
    """

    backbone: Backbone | None
    cut: int | None
    head: Head
    head_options: dict[str, Any] = field(default_factory=dict)
    drifting: dict[str, BatchNorm] = field(default_factory=dict)

    @classmethod
    def frozen(
        cls, backbone: Backbone | None, head: str = "prototype", head_options: Mapping[str, Any] | None = None
    ) -> Learner:
        """A head on a backbone as it came, or on ready-made features (None)."""
        chosen = heads.named(head) | dict(head_options or {})
        if backbone is None:
            if heads.find(head).by_change:
                raise OptionError(
                    f"head '{head}' weighs places by how much they change, and ready-made features have none: use data "
                    f"with a backbone, or a head that needs none, such as change"
                )
            return cls(None, None, heads.get_head(head, **chosen), chosen)
        chosen = _fitting(head, chosen, backbone)
        return cls(
            backbone,
            _cut(head, backbone.depth + 1, backbone),
            heads.get_head(head, **chosen).to(backbone.device),
            chosen,
        )

    @classmethod
    def build(
        cls,
        backbone: Backbone,
        method: str,
        options: Mapping[str, Any] | None = None,
        head: str = "prototype",
        head_options: Mapping[str, Any] | None = None,
        exact: bool = False,
    ) -> Learner:
        """A learner on a copy of `backbone` with a tuning method applied; exact: see `kshot.settings.Schedule`."""
        chosen, own = _fitting(head, dict(head_options or {}), backbone), backbone.copy()
        cut = _cut(head, tuning.apply(method, own, **(options or {})), own)
        drifting = _drifting(own) if exact else {}
        return cls(own, 0 if exact else cut, heads.get_head(head, **chosen).to(own.device), chosen, drifting)

    def train(self, training: bool = True) -> None:
        """Puts the head, and batch norms that drift, into training mode or out of it."""
        self.head.train(training)
        for norm in self.drifting.values():
            norm.train(training)

    def transductive(self, by_head: bool = True) -> list[str]:
        """A sentence for each part whose scores of a query depend on the other queries of its episode.

        Args:
            by_head: whether the head is what scores.
        """
        parts = () if self.backbone is None else self.backbone.modules()
        tuned = any(getattr(part, "transductive", False) for part in parts)
        found = [f"head {self.head.name}"] * (by_head and self.head.transductive) + ["the tuning"] * tuned
        return [f"{one} is transductive: scores see all queries of the episode, class-balanced here" for one in found]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        import torch

        return torch.device("cpu") if self.backbone is None else self.backbone.device

    def embed(self, values: Array | Tensor, support: int = 0) -> Tensor:
        """(n, frames, P) embeddings of activations (n, frames, ...), with gradients.

        support: how many of the first clips are the support of the episode that all of them belong to; it matters
        only if the backbone is episodic. 0 if each clip stands alone.
        """
        return tail(self.backbone, values, self.cut, support, self.head.by_change)

    def embed_query(self, query: Array, support: Array) -> Tensor:
        """(Q, frames, P) embeddings of an episode's queries, which look at its support if the backbone is episodic."""
        if self.backbone is None or not self.backbone.episodic:
            return self.embed(query)
        return self.embed(np.concatenate([support, query]), len(support))[len(support) :]

    def embed_all(self, activations: Activations, indices: Sequence[int] | None = None) -> Tensor:
        """(n, frames, P) embeddings of every clip, or of those with these indices, without gradients."""
        if self.backbone is None:
            return tail(None, activations.gather(range(len(activations.data)) if indices is None else indices), None)
        return embed(self.backbone, activations, indices, self.head.by_change)

    def weights(self) -> dict[str, Tensor]:
        """Name -> parameter that learns, and the statistics that drift."""
        named: dict[str, Tensor] = {f"head.{n}": p for n, p in self.head.named_parameters() if p.requires_grad}
        if self.backbone is not None:
            named |= {f"backbone.{n}": p for n, p in self.backbone.named_parameters() if p.requires_grad}
        for name, norm in self.drifting.items():
            named |= {f"backbone.{name}.{kind}": getattr(norm, kind) for kind in ("running_mean", "running_var")}
        return named

    def load(self, weights: Mapping[str, Tensor], source: str, whole: bool = True) -> None:
        """Puts trained weights in place; `whole`: those of the head too.

        Raises:
            CheckpointError: names or shapes differ from what this learner trains, or a weight is no finite number.
        """
        import torch

        own = {n: w for n, w in self.weights().items() if whole or n.startswith("backbone.")}
        odd = sorted(set(own) ^ set(weights)) or [n for n in own if own[n].shape != weights[n].shape]
        if odd:
            raise CheckpointError(f"{source} holds other weights than this tuning and head train: {', '.join(odd[:3])}")
        for name in own:
            if not (weights[name].is_floating_point() and weights[name].isfinite().all()):
                kind = str(weights[name].dtype).removeprefix("torch.")
                raise CheckpointError(f"{source}: {name} ({kind}) is not all finite numbers; copy it or train it again")
        with torch.no_grad():
            for name, weight in own.items():
                weight.copy_(weights[name])
        if whole:
            self.head.trained = True


def _cut(head: str, cut: int, backbone: Backbone) -> int:
    """The cut of a learner: that of its tuning, but with places where its head weighs them.

    Raises:
        OptionError: a head that weighs places, and a backbone tuned so that they cannot be weighed.
    """
    if not heads.find(head).by_change:
        return cut
    if backbone.unit > 1:
        raise OptionError(
            f"head '{head}' weighs places by how much they change from frame to frame, and backbone '{backbone.name}' "
            f"gives one embedding for {backbone.unit} frames: use another head"
        )
    if backbone.episodic or backbone.across or not backbone.image.changes:
        raise OptionError(
            f"head '{head}' weighs places by how much they change, and this tuning alters how the last block looks at "
            f"them: use another head or another tuning"
        )
    return min(cut, backbone.depth)


def _drifting(backbone: Backbone) -> dict[str, BatchNorm]:
    """The batch norms of an image tower by their names in the backbone, told to drift.

    Raises:
        OptionError: a backbone that does not take frames, or whose batch norms see a few of a batch at a time.
    """
    from kshot.backbones.batch_norm import BatchNorm

    if backbone.name.startswith("features:"):
        raise OptionError("exact trains from frames, and ready-made features have none: leave it out")
    found = {name: one for name, one in backbone.named_modules() if isinstance(one, BatchNorm)}
    if found and not getattr(backbone.image, "drifts", True):
        raise OptionError(
            f"exact: backbone '{backbone.name}' runs a few frames at a time, so its batch norms never see a batch: "
            f"leave it out"
        )
    for norm in found.values():
        norm.drifts = True
    return found


def _fitting(head: str, chosen: dict[str, Any], backbone: Backbone) -> dict[str, Any]:
    """A head's options, its number of channels and the factor of its text scores set to the backbone's own."""
    own: dict[str, Any] = {"dim": backbone.embed_dim, **heads.named(head)}
    if backbone.own_scale:
        own["scale" if head == "text" else "text_scale"] = backbone.logit_scale
    return {**{name: value for name, value in own.items() if name in heads.options(head)}, **chosen}
