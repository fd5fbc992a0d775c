"""CLIP-FSAR: support clips are shown the name of their class before they are aligned with the query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.errors import OptionError
from kshot.heads import Shots
from kshot.heads.alignment import FrameHead
from kshot.heads.bimhm import BiMHM
from kshot.heads.formulas import class_means, cosine, full
from kshot.heads.otam import OTAM
from kshot.options import Count, Positive, Share


class ClipFSAR(FrameHead):
    """Prototype modulation by text (Wang et al., CLIP-FSAR, IJCV 2024, arXiv 2303.02982).

    The frames of a class's support clips, averaged over the clips, and the text of the class go through one transformer
    layer; the outputs of the frames are kept. A query goes through the same layer without text. Frames are then aligned
    by OTAM or Bi-MHM. Training adds, with a coefficient, the cross-entropy of clips against the names of all
    base classes (`auxiliary`). So does the authors' code (alibaba-mmai-research/CLIP-FSAR at 30cf0a8).

    A prepared query is (T, D). A support clip is (T, D) too; where clips are averaged before the layer it is (2 T + 1,
    D): what the layer makes of it alone, its frames, its text.

    Args:
        dim: channels of the embeddings, a multiple of `heads`.
        align: "otam" or "bimhm".
        smooth: of OTAM.
        weight: of the loss against all base class names; 1.2 for HMDB51, 1.5 for Kinetics and UCF101, 3.0 for SSv2.
        heads: attention heads of the transformer layer.
        dropout: of the transformer layer, in training.
        shots: how several support clips of a class are joined, after the layer; see `FrameHead`.
        scale: factor on the distance; see `FrameHead`.
        merge: whether they are averaged before the layer instead, as in all five 5-shot configurations of the authors.
        layer: "published": as in the authors' code, without biases of queries, keys and values, and without a norm
            before the feed-forward part; or "pre-norm": PyTorch's standard layer.
    """

    needs_text = True
    learns = True
    before: ClassVar = {"merge": False, "layer": "pre-norm"}

    def __init__(
        self,
        dim: Count = 512,
        align: Literal["otam", "bimhm"] = "otam",
        smooth: Positive = 0.5,
        weight: float = 1.5,
        heads: Count = 8,
        dropout: Share = 0.2,
        shots: Shots = "features",
        scale: Positive = 1.0,
        merge: bool = True,
        layer: Literal["published", "pre-norm"] = "published",
    ) -> None:
        super().__init__(shots, scale)
        if dim % heads:
            raise OptionError(f"dim {dim} does not divide into {heads} heads: choose heads accordingly")
        self.dim, self.weight, self.merge = dim, weight, merge
        self.aligner = OTAM(smooth=smooth) if align == "otam" else BiMHM()
        self.layer: nn.Module = (
            Mixing(dim, heads, dropout)
            if layer == "published"
            else nn.TransformerEncoderLayer(
                dim, heads, 4 * dim, dropout, activation="gelu", batch_first=True, norm_first=True
            )
        )
        self.text_scale = nn.Parameter(torch.tensor(1.0))

    def distance(self, frames: Tensor) -> Tensor:
        return self.aligner.distance(frames)

    def prepare(self, clips: Tensor) -> Tensor:
        self.expect_channels(clips, self.dim)
        seen: Tensor = self.layer(full(clips))
        return seen

    def prepare_support(self, clips: Tensor, text: Tensor | None = None, prepared: Tensor | None = None) -> Tensor:
        if text is None:
            return super().prepare_support(clips, text, prepared)
        raw = torch.cat([full(clips), full(text)[:, None]], dim=1)
        seen = self.prepare(raw)[:, :-1]
        return torch.cat([seen, raw], dim=1) if self.merge else seen

    def score(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        return super().score(query, *self._merged(support, labels, way), text, way)

    def fit_support(self, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> dict[str, Tensor]:
        return super().fit_support(*self._merged(support, labels, way), text, way)

    def score_fitted(self, query: Tensor, fitted: Mapping[str, Tensor], way: int) -> Tensor:
        if self.shots == "features":
            return super().score_fitted(query, fitted, way)
        return super().score(query, fitted["support"], fitted["labels"], None, way)

    def _merged(self, support: Tensor, labels: Tensor, way: int) -> tuple[Tensor, Tensor]:
        """Support clips (E, N, T, D) behind the layer with their labels; averaged before it, if so, one of each class.

        Classes of one clip need no second pass through the layer.
        """
        if not self.merge:
            return support, labels
        frames = support.shape[2] // 2
        if labels.shape[1] == way:
            return support[:, :, :frames], labels
        means = class_means(support[:, :, frames:], labels, way)
        seen = self.prepare(means.flatten(0, 1))[:, :-1]
        one_each = torch.arange(way, device=labels.device).expand(len(labels), -1)
        return seen.view(*means.shape[:2], *seen.shape[1:]), one_each

    def auxiliary(
        self,
        query: Tensor,
        support: Tensor,
        class_of_query: Tensor,
        class_of_support: Tensor,
        class_texts: Tensor | None,
    ) -> Tensor:
        """weight * cross-entropy(s * cosine(mean of frames, names of all base classes)), s learned from 1."""
        if class_texts is None:
            raise OptionError(f"head '{self.name}' trains against class names: use data with class names")
        clips = torch.cat([query, support], dim=1).mean(dim=2).flatten(0, 1)
        classes = torch.cat([class_of_query, class_of_support], dim=1).flatten()
        logits = self.text_scale * cosine(full(clips)[None], full(class_texts)[None])[0]
        return self.weight * F.cross_entropy(logits, classes)


class Mixing(nn.Module):
    """The transformer layer of the authors' code: tokens (n, T, D) -> (n, T, D).

    Queries, keys and values have no biases, and no norm stands before the feed-forward part.

    Args:
        dim: D.
        heads: of the attention.
        dropout: behind the attention, in training; a quarter of it in the feed-forward part.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, wide = heads, 4 * dim  # the authors' 2,048 at the 512 channels of ViT-B/16
        self.norm = nn.LayerNorm(dim)
        self.attend = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(dropout))
        drop = nn.Dropout(dropout / 4)
        self.forth = nn.Sequential(nn.Linear(dim, wide), nn.GELU(), drop, nn.Linear(wide, dim), drop)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.attend(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(seen)
        out: Tensor = x + self.forth(x)
        return out
