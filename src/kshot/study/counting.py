"""The work of a row, counted without doing it: clips of its batches, passes through its tail, memory of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kshot import heads
from kshot.activations.activations import Activations
from kshot.activations.shards import Array
from kshot.backbones.backbone import Backbone
from kshot.datasets import Dataset
from kshot.fewshot.learner import Learner
from kshot.fewshot.strategies.base import Strategy

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Work:
    """Clips that go through a tail, and seconds of scoring episodes.

    Attributes:
        forward: clips without gradients.
        learning: clips there and back.
        scoring: seconds.
    """

    forward: float = 0
    learning: float = 0
    scoring: float = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.forward + other.forward, self.learning + other.learning, self.scoring + other.scoring)

    def __mul__(self, times: float) -> Work:
        return Work(self.forward * times, self.learning * times, self.scoring * times)


@dataclass(frozen=True)
class Tail:
    """What a clip costs from a row's cut on.

    Attributes:
        forward: seconds of a pass without gradients.
        learning: seconds of one there and back.
        forward_work: multiply-adds of the first.
        learning_work: multiply-adds of the second.
        held: bytes that are kept for the way back.
        weights: bytes of what learns, with its gradients and the optimiser's state.
    """

    forward: float
    learning: float
    forward_work: int
    learning_work: int
    held: int
    weights: int

    def seconds(self, work: Work) -> float:
        return work.forward * self.forward + work.learning * self.learning + work.scoring

    def multiply_adds(self, work: Work) -> float:
        return work.forward * self.forward_work + work.learning * self.learning_work


def passing(backbone: Backbone, x: torch.Tensor, cut: int, frames: int, learning: bool = False) -> Callable[[], None]:
    """A way through a tail, and back where something learns there."""
    import torch

    def run() -> None:
        with torch.set_grad_enabled(learning):
            out = backbone.encode_from(x, cut, frames)
        if out.requires_grad:
            out.sum().backward()  # type: ignore[no-untyped-call]
            for weight in backbone.parameters():
                weight.grad = None

    return run


def held_bytes(backbone: Backbone, x: torch.Tensor, cut: int, frames: int) -> int:
    """Bytes that the way there leaves for the way back."""
    import torch

    own = {weight.untyped_storage().data_ptr() for weight in backbone.parameters()}
    found: dict[int, int] = {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        out = backbone.encode_from(x, cut, frames)
    return sum(found.values()) if out.requires_grad else 0


@dataclass(frozen=True)
class _Counting(Activations):
    """Stand-ins for activations that count how many clips were gathered."""

    counted: list[int] = field(default_factory=list)
    keep_copies: bool = True  # all of them are one and the same

    def gather(self, indices: Sequence[int] | NDArray[np.int64], visit: tuple[int, int] | None = None) -> Array:
        self.counted.append(len(indices))
        return super().gather(indices, visit)


def batch_clips(method: Strategy, learner: Learner, base: Dataset, batches: int, frames: int) -> tuple[int, int, int]:
    """Clips that a strategy embeds before its first batch, in all of its batches, and in one of them at most."""
    import torch

    assert learner.backbone is not None
    dim, generator = learner.backbone.embed_dim, np.random.default_rng(0)
    one = generator.standard_normal((1, frames, dim)).astype(np.float32)
    stand_ins = _Counting(replace(base, features=np.broadcast_to(one, (len(base), frames, dim))), None)
    text = torch.from_numpy(generator.standard_normal((len(base.classes), dim)).astype(np.float32))
    objective = method.objective(Learner(None, None, anew(learner, True)), stand_ins, lambda: text, 0)
    first = sum(stand_ins.counted)
    starts = [start for start in objective.starts if start < batches] or [0]
    total = most = 0
    for start, end in zip(starts, [*starts[1:], batches], strict=True):
        stand_ins.counted.clear()
        with torch.no_grad():
            objective.loss(start)
        clips = sum(stand_ins.counted)
        total += clips * (end - start + 1)  # the multiply-adds of a stage are counted by a batch more
        most = max(most, clips)
    return first, total, most


def anew(learner: Learner, trained: bool) -> heads.Head:
    """A learner's head once more. trained: let it score although it has learned nothing."""
    head = heads.get_head(learner.head.name, **learner.head_options)
    head.trained = trained
    return head
