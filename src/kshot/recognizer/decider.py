"""From embeddings to an answer: probabilities of the taught classes, and whether it is one of them at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kshot.heads.formulas import pool

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


class Decider(nn.Module):
    """Embeddings (n, T, P) -> proba (n, C), known (n,).

    classes: (C, P) unit vectors. scale: factor on the cosine.
    """

    classes: Tensor

    def __init__(self, classes: Tensor, scale: float = 20.0) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("classes", classes)

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        cosines = pool(embeddings)[:, 0] @ self.classes.T
        return (self.scale * cosines).softmax(-1), cosines.amax(-1)


def decide(decider: nn.Module, embeddings: Tensor, classes: Array, threshold: float) -> Decision:
    """Asks a decider, and names what it answers."""
    with torch.inference_mode():
        proba, known = (value.float().cpu().numpy() for value in decider(embeddings))
    labels = np.where(known >= threshold, classes[proba.argmax(-1)], UNKNOWN)
    return Decision(proba, known, labels)
