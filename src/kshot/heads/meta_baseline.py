"""Meta-Baseline: class means and cosine, with a temperature that training by episodes learns."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kshot.heads.base import Head
from kshot.heads.formulas import class_means, cosine, full
from kshot.options import Positive


class MetaBaseline(Head):
    """Cosine with class means times a learned temperature (Chen et al., ICCV 2021, arXiv 2003.04390).

    Unlike the prototype head, clips are averaged as they are, not at unit length. The temperature changes no
    ranking, so the head may be used with its initial value. A prepared clip is (1, D).

    Args:
        temperature: initial factor on the cosine.
    """

    learns = True
    works_untrained = True

    def __init__(self, temperature: Positive = 10.0) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(float(temperature)))

    def prepare(self, clips: Tensor) -> Tensor:
        return full(clips).mean(dim=1, keepdim=True)

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        return {"means": class_means(support.squeeze(2), labels, way)}

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        return self.temperature * cosine(query.squeeze(2), fitted["means"])
