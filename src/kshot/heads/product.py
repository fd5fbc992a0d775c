"""Product: how near a clip is to a class's clips, times how near it is to the class's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from kshot.heads.alignment import FrameHead
from kshot.heads.base import Head
from kshot.heads.bimhm import BiMHM
from kshot.heads.formulas import class_means, cosine, frame_distances
from kshot.heads.otam import OTAM
from kshot.heads.text import text_cosine
from kshot.options import Positive

VISUAL = ("prototype", "otam", "bimhm")


class Product(Head):
    """scale * visual(query, class) * cosine(query, class text), as the code of Cao et al.'s group scores.

    Facts of their code of 2024 (bedman367/Task-Adapter at 178b21a7): a query is the mean of its frames, a prototype
    that of the frames of all support clips, embeddings as they are (not at unit length), then cosines; the loss is the
    cross-entropy of 64 times the product. With `visual="otam"` and `"bimhm"`, which that code does not run, the visual
    part is ours: with d the distance of that head on frames averaged over support clips, T frames of the query and S of
    the class, 1 - d / (2 (T + S)), brought into 0..1.

    A prepared clip is (T, D): both parts read its frames.

    Args:
        visual: "prototype", "otam" or "bimhm".
        scale: factor on the product before a softmax.
    """

    needs_text = True

    def __init__(self, visual: Literal["prototype", "otam", "bimhm"] = "prototype", scale: Positive = 64.0) -> None:
        super().__init__()
        frames: dict[str, FrameHead] = {"otam": OTAM("clip-fsar"), "bimhm": BiMHM()}
        self.aligner = frames.get(visual)
        self.scale = scale

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        sequences = class_means(support, labels, way)
        known = sequences if self.aligner is not None else sequences.mean(dim=2)
        return {"sequences": known} | ({} if text is None else {"text": text})

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        words = text_cosine(query.mean(dim=2), fitted.get("text"))
        known = fitted["sequences"]
        if self.aligner is None:
            return self.scale * cosine(query.mean(dim=2), known) * words
        distance = self.aligner.distance(frame_distances(query, known))
        most = 2 * (query.shape[2] + known.shape[2])
        return self.scale * (1 - distance / most).clamp(0, 1) * words
