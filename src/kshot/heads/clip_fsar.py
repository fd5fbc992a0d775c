"""CLIP-FSAR: support clips are shown the name of their class before they are aligned with the query."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.errors import OptionError
from kshot.heads.alignment import FrameHead, Shots
from kshot.heads.bimhm import BiMHM
from kshot.heads.formulas import cosine, full
from kshot.heads.otam import OTAM


class ClipFSAR(FrameHead):
    """Prototype modulation by text (Wang et al., CLIP-FSAR, IJCV 2024, arXiv 2303.02982).

    The frames of a support clip and the text of its class go through one pre-norm transformer layer; the
    outputs of the frames are kept. A query goes through the same layer without text. Frames are then aligned
    by OTAM or Bi-MHM. Training adds, with a coefficient, the cross-entropy of clips against the names of all
    base classes (`auxiliary`).

    A prepared clip is (T, D), with text as support and without as a query.

    Args:
        dim: channels of the embeddings, a multiple of `heads`.
        align: "otam" or "bimhm".
        smooth: of OTAM.
        weight: of the loss against all base class names; 1.2 for HMDB51, 1.5 for Kinetics and UCF101, 3.0 for SSv2.
        heads: attention heads of the transformer layer.
        dropout: of the transformer layer, in training.
        shots: how several support clips of a class are joined, after the layer; see `FrameHead`.
        scale: factor on the distance; see `FrameHead`.
    """

    needs_text = True
    learns = True

    def __init__(
        self,
        dim: int = 512,
        align: Literal["otam", "bimhm"] = "otam",
        smooth: float = 0.5,
        weight: float = 1.5,
        heads: int = 8,
        dropout: float = 0.2,
        shots: Shots = "features",
        scale: float = 1.0,
    ) -> None:
        super().__init__(shots, scale)
        if align not in ("otam", "bimhm"):
            raise OptionError(f"align compares frames: expected 'otam' or 'bimhm', found {align!r}")
        self.expect_positive(dim=dim, heads=heads, smooth=smooth)
        if dim % heads:
            raise OptionError(f"dim {dim} does not divide into {heads} heads: choose heads accordingly")
        if not 0 <= dropout < 1:
            raise OptionError(f"dropout: expected 0 or more and less than 1, found {dropout!r}")
        self.dim, self.weight = dim, weight
        self.aligner = OTAM(smooth=smooth) if align == "otam" else BiMHM()
        self.layer = nn.TransformerEncoderLayer(
            dim, heads, 4 * dim, dropout, activation="gelu", batch_first=True, norm_first=True
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
        return self.prepare(torch.cat([full(clips), full(text)[:, None]], dim=1))[:, :-1]

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
