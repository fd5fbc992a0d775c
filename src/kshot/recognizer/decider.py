"""From embeddings to an answer: probabilities of the taught classes, and whether it is one of them at all.

A scorer is what a method has learned, as a module without choices left to make: embeddings (n, T, P) in, scores (n, C)
out. A decider puts a temperature behind it, and beside it the cosine with the nearest class mean, which says "unknown".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kshot.heads.formulas import frame_distances, pool
from kshot.heads.fusion import fuse
from kshot.heads.otam import OTAM
from kshot.video.damage import Damage

Array = NDArray[Any]

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Decision:
    """Answers for n clips or windows.

    proba: (n, C) calibrated probabilities, columns as `Recognizer.classes_`. known: (n,) how much each looks like a
    taught class. labels: (n,) the likeliest class, or "unknown" where `known` is below the threshold. damage: what is
    lost of each clip, None for nothing; empty for windows.
    """

    proba: Array
    known: Array
    labels: Array
    damage: tuple[Damage | None, ...] = ()


def _own(values: Tensor) -> Tensor:
    """A copy whose layout does not remember where it came from: a model that was stored answers bit for bit alike."""
    return values.clone(memory_format=torch.contiguous_format)


class Cosine(nn.Module):
    """scale * cosine of the mean frame with one unit vector a class (C, P)."""

    vectors: Tensor
    scale: Tensor

    def __init__(self, vectors: Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("vectors", _own(vectors))
        self.register_buffer("scale", torch.tensor(float(scale)))

    def forward(self, embeddings: Tensor) -> Tensor:
        scores: Tensor = self.scale * pool(embeddings)[:, 0] @ self.vectors.T
        return scores


class Linear(nn.Module):
    """An affine function of the mean frame at unit length: weight (C, P), bias (C,)."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", _own(weight))
        self.register_buffer("bias", _own(bias))

    def forward(self, embeddings: Tensor) -> Tensor:
        return pool(embeddings)[:, 0] @ self.weight.T + self.bias


class Fused(nn.Module):
    """Log probabilities of class texts and class means, mixed with weight beta on the texts."""

    beta: Tensor

    def __init__(self, text: Cosine, visual: Cosine, beta: float) -> None:
        super().__init__()
        self.text, self.visual = text, visual
        self.register_buffer("beta", torch.tensor(float(beta)))

    def forward(self, embeddings: Tensor) -> Tensor:
        return fuse(self.text(embeddings), self.visual(embeddings), self.beta)


class Aligned(nn.Module):
    """Minus OTAM's distance to one mean sequence of frames a class (C, S, P)."""

    sequences: Tensor

    def __init__(self, sequences: Tensor) -> None:
        super().__init__()
        self.register_buffer("sequences", _own(sequences))
        self._otam = OTAM()

    def forward(self, embeddings: Tensor) -> Tensor:
        return -self._otam.distance(frame_distances(embeddings[None], self.sequences[None]))[0]


class Decider(nn.Module):
    """Embeddings (n, T, P) -> proba (n, C), known (n,); see the module's text.

    Args:
        scorer: scores (n, C), or (n, C + 1) where the last class is the background.
        means: (C, P) unit vectors, the class means that `known` is the nearest cosine with.
        temperature: of the probabilities.
        background: whether the scorer's last class is one. What looks most like it is known to be none of the others:
            `known` is then below every cosine.
    """

    means: Tensor
    temperature: Tensor

    def __init__(self, scorer: nn.Module, means: Tensor, temperature: float, background: bool = False) -> None:
        super().__init__()
        self.scorer, self.background = scorer, background
        self.register_buffer("means", _own(means))
        self.register_buffer("temperature", torch.tensor(float(temperature)))

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        logits, known = self.scorer(embeddings) / self.temperature, nearest(embeddings, self.means)
        if self.background:
            rest, logits = logits[:, -1], logits[:, :-1]
            known = torch.where(logits.amax(-1) > rest, known, known - 4)
        return logits.softmax(-1), known


def describe(made: Decider) -> dict[str, Any]:
    """What besides its tensors makes a decider, as JSON; see `restore`."""
    return {"scorer": type(made.scorer).__name__, "background": made.background}


def restore(about: dict[str, Any], state: dict[str, Tensor]) -> Decider:
    """The decider of which `describe` and `state_dict` gave these."""

    def cosine(part: str) -> Cosine:
        return Cosine(state[f"{part}.vectors"], float(state[f"{part}.scale"]))

    made: dict[str, Callable[[], nn.Module]] = {
        "Cosine": lambda: cosine("scorer"),
        "Linear": lambda: Linear(state["scorer.weight"], state["scorer.bias"]),
        "Fused": lambda: Fused(cosine("scorer.text"), cosine("scorer.visual"), float(state["scorer.beta"])),
        "Aligned": lambda: Aligned(state["scorer.sequences"]),
    }
    scorer = made[about["scorer"]]()
    return Decider(scorer, state["means"], float(state["temperature"]), about["background"]).eval()


def nearest(embeddings: Tensor, means: Tensor) -> Tensor:
    """Cosine (n,) of the mean frame with the nearest of the class means (C, P)."""
    return (pool(embeddings)[:, 0] @ means.T).amax(-1)


def decide(decider: nn.Module, embeddings: Tensor, classes: Array, threshold: float) -> Decision:
    """Asks a decider, and names what it answers."""
    with torch.inference_mode():
        proba, known = (value.float().cpu().numpy() for value in decider(embeddings))
    labels = np.where(known >= threshold, classes[proba.argmax(-1)], UNKNOWN)
    return Decision(proba, known, labels)
