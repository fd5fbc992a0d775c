"""From embeddings to an answer: probabilities of the taught classes, and whether it is one of them at all.

A scorer is what a method has learned, as a module without choices left to make: embeddings (n, T, P) in, scores (n, C)
out. A decider puts a temperature behind it, and beside it the cosine with the nearest class mean, which says "unknown".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kshot.heads.formulas import frame_distances, pool
from kshot.heads.fusion import fuse
from kshot.heads.otam import OTAM

Array = NDArray[Any]

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Decision:
    """Answers for n clips or windows.

    proba: (n, C) calibrated probabilities, columns as `Recognizer.classes_`. known: (n,) how much each looks like a
    taught class. labels: (n,) the likeliest class, or "unknown" where `known` is below the threshold.
    """

    proba: Array
    known: Array
    labels: Array


class Cosine(nn.Module):
    """scale * cosine of the mean frame with one unit vector a class (C, P)."""

    vectors: Tensor

    def __init__(self, vectors: Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors.clone())
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
        self.register_buffer("weight", weight.clone())
        self.register_buffer("bias", bias.clone())

    def forward(self, embeddings: Tensor) -> Tensor:
        return pool(embeddings)[:, 0] @ self.weight.T + self.bias


class Fused(nn.Module):
    """Log probabilities of class texts and class means, mixed with weight beta on the texts."""

    def __init__(self, text: Cosine, visual: Cosine, beta: float) -> None:
        super().__init__()
        self.text, self.visual = text, visual
        self.register_buffer("beta", torch.tensor(float(beta)))

    def forward(self, embeddings: Tensor) -> Tensor:
        assert isinstance(self.beta, Tensor)
        return fuse(self.text(embeddings), self.visual(embeddings), self.beta)


class Aligned(nn.Module):
    """Minus OTAM's distance to one mean sequence of frames a class (C, S, P)."""

    sequences: Tensor

    def __init__(self, sequences: Tensor) -> None:
        super().__init__()
        self.register_buffer("sequences", sequences.clone())
        self._otam = OTAM()

    def forward(self, embeddings: Tensor) -> Tensor:
        return -self._otam.distance(frame_distances(embeddings[None], self.sequences[None]))[0]


class Decider(nn.Module):
    """Embeddings (n, T, P) -> proba (n, C), known (n,); see the module's text.

    Args:
        scorer: scores (n, C), or (n, C + 1) where the last class is the background.
        means: (C, P) unit vectors, the class means that `known` is the nearest cosine with.
        temperature: of the probabilities.
        threshold: of `known`; a clip for which the background scores highest stays below it.
        background: whether the scorer's last class is one.
    """

    means: Tensor
    temperature: Tensor
    threshold: Tensor

    def __init__(
        self, scorer: nn.Module, means: Tensor, temperature: float, threshold: float, background: bool = False
    ) -> None:
        super().__init__()
        self.scorer, self.background = scorer, background
        self.register_buffer("means", means.clone())
        self.register_buffer("temperature", torch.tensor(float(temperature)))
        self.register_buffer("threshold", torch.tensor(float(threshold)))

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.scorer(embeddings) / self.temperature
        known = nearest(embeddings, self.means)
        if not self.background:
            return logits.softmax(-1), known
        rest = logits[:, -1]
        logits = logits[:, :-1]
        ahead = logits.amax(-1) - rest
        return logits.softmax(-1), torch.where(ahead > 0, known, torch.minimum(known, self.threshold + ahead - 1))


def nearest(embeddings: Tensor, means: Tensor) -> Tensor:
    """Cosine (n,) of the mean frame with the nearest of the class means (C, P)."""
    return (pool(embeddings)[:, 0] @ means.T).amax(-1)


def decide(decider: nn.Module, embeddings: Tensor, classes: Array, threshold: float) -> Decision:
    """Asks a decider, and names what it answers."""
    with torch.inference_mode():
        proba, known = (value.float().cpu().numpy() for value in decider(embeddings))
    labels = np.where(known >= threshold, classes[proba.argmax(-1)], UNKNOWN)
    return Decision(proba, known, labels)
