"""Product-TRX: how near a clip's tuples of frames are to what they find among a class's, times the class's name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.errors import OptionError
from kshot.heads.base import Head
from kshot.heads.formulas import by_class, full, unit
from kshot.heads.text import text_cosine
from kshot.heads.trx import positions
from kshot.options import Count, Positive, Share


class ProductTRX(Head):
    """scale * visual(query, class) * cosine(query, class text), its visual part TRX as Cao et al.'s group computes it.

    Facts of their code of 2024 (bedman367/Task-Adapter at 178b21a7): keys and values of ordered tuples of frames, and
    attention to all tuples of a class, as in TRX (Perrett et al., CVPR 2021); but where that takes the distance of what
    a tuple has and what it finds, theirs takes the mean cosine of the values that all tuples of the query have and the
    values that all of them find, and the mean over tuple sizes. Text and factor are those of the head `product`. Their
    cosine has 0.01 added to its denominator, which is left out here.

    A mean over all pairs of cosines is the product of the means of vectors of length one.

    A prepared clip is (1 + tuples, about 2 * width): the mean of its frames, then key and value of each tuple.

    Args:
        dim: channels of the embeddings.
        width: channels of keys and values.
        sizes: frames in a tuple.
        dropout: on the frames, in training.
        scale: factor on the product before a softmax.
    """

    needs_text = True
    learns = True
    is_graph = False  # classes of unequal size are filled up, and how far depends on the labels

    def __init__(
        self,
        dim: Count = 512,
        width: Count = 1152,
        sizes: Sequence[Count] = (2, 3),
        dropout: Share = 0.1,
        scale: Positive = 64.0,
    ) -> None:
        super().__init__()
        if not sizes:
            raise OptionError(f"sizes counts the frames of a tuple: expected such as (2, 3), found {sizes!r}")
        self.dim, self.width, self.sizes, self.scale = dim, width, tuple(sizes), scale
        self.keys = nn.ModuleList(nn.Linear(size * dim, width) for size in sizes)
        self.values = nn.ModuleList(nn.Linear(size * dim, width) for size in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in sizes)
        self.dropout = nn.Dropout(dropout)

    def expect_frames(self, frames: int, unit: int = 1) -> None:
        if frames // unit < max(self.sizes):
            raise OptionError(
                f"tuples of {max(self.sizes)} frames need clips of at least {max(self.sizes) * unit} frames, found "
                f"{frames}"
            )

    def prepare(self, clips: Tensor) -> Tensor:
        self.expect_channels(clips, self.dim)
        self.expect_frames(clips.shape[1])
        clips = full(clips)
        placed = self.dropout(clips + positions(*clips.shape[1:]).to(clips))
        room = max(2 * self.width, self.dim)
        rows = [F.pad(clips.mean(dim=1, keepdim=True), (0, room - self.dim))]
        for size, keys, values, norm in zip(self.sizes, self.keys, self.values, self.norms, strict=True):
            chosen = torch.tensor(list(itertools.combinations(range(clips.shape[1]), size)), device=clips.device)
            tuples = placed[:, chosen].flatten(2)
            both = torch.cat([norm(keys(tuples)), values(tuples)], dim=2)
            rows.append(F.pad(both, (0, room - 2 * self.width)))
        return torch.cat(rows, dim=1)

    def score(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        words = text_cosine(query[:, :, 0, : self.dim], text)
        near, present = by_class(support, labels, way)
        counts = self._counts(query.shape[2] - 1)
        parts = zip(*(torch.split(x[..., 1:, : 2 * self.width], counts, dim=-2) for x in (query, near)), strict=True)
        visual = torch.stack([self._found(own, others, present) for own, others in parts]).mean(dim=0)
        return self.scale * visual * words

    def _counts(self, tuples: int) -> list[int]:
        """How many tuples of each size there are, from how many there are of all."""
        frames = max(self.sizes)
        while sum(math.comb(frames, size) for size in self.sizes) < tuples:
            frames += 1
        return [math.comb(frames, size) for size in self.sizes]

    def _found(self, query: Tensor, near: Tensor, present: Tensor) -> Tensor:
        """Mean cosine of what tuples of queries have and find in each class: (E, Q, way).

        Args:
            query: (E, Q, U, 2 W) keys and values.
            near: (E, way, S, U, 2 W) keys and values.
            present: (E, way, S), which places of the support hold a clip.
        """
        keys, values = query.chunk(2, dim=-1)
        keys_near, values_near = near.flatten(2, 3).chunk(2, dim=-1)  # (E, way, S U, W)
        logits = torch.einsum("equw,ecvw->eqcuv", keys, keys_near) / math.sqrt(self.width)
        held = present.repeat_interleave(near.shape[3], dim=2)
        weights = logits.masked_fill(~held[:, None, :, None], -math.inf).softmax(dim=-1)
        found = torch.einsum("eqcuv,ecvw->eqcuw", weights, values_near)
        return (unit(found).mean(dim=3) * unit(values).mean(dim=2)[:, :, None]).sum(dim=-1)
