"""TRX: a query is compared with what its ordered pairs and triples of frames find among those of a class."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.errors import OptionError
from kshot.heads.base import Head
from kshot.heads.formulas import by_class, full


class TRX(Head):
    """Temporal-relational cross-transformer (Perrett et al., CVPR 2021, arXiv 2101.06184).

    Every ordered tuple of frames has a key and a value, linear in its frames. Each tuple of the query attends
    to all tuples of a class, and the score is minus the squared distance between the values it has and finds,
    averaged over its tuples and over tuple sizes.

    Tuples are never formed here. A linear map of a tuple is a sum of one part a frame, so `prepare` maps the
    frames of a clip once, and `Relation` gets every product between tuples from products between parts.

    A prepared clip is (T, about 2 * sum(sizes) * width), for the defaults 0.37 MB in single precision.

    Args:
        dim: channels of the embeddings.
        width: channels of keys and values.
        sizes: frames in a tuple.
        dropout: on the frames, in training.
    """

    learns = True

    def __init__(self, dim: int = 512, width: int = 1152, sizes: Sequence[int] = (2, 3), dropout: float = 0.1) -> None:
        super().__init__()
        if not sizes or min(sizes) < 1:
            raise OptionError(f"sizes counts the frames of a tuple: expected such as (2, 3), found {sizes!r}")
        self.expect_positive(dim=dim, width=width)
        if not 0 <= dropout < 1:
            raise OptionError(f"dropout: expected 0 or more and less than 1, found {dropout!r}")
        self.dim = dim
        relations = nn.ModuleList(Relation(dim, width, size) for size in sizes)
        self.relations = cast("Sequence[Relation]", relations)
        self.dropout = nn.Dropout(dropout)

    def prepare(self, clips: Tensor, text: Tensor | None = None) -> Tensor:
        self.expect_channels(clips, self.dim)
        clips = full(clips)
        clips = self.dropout(clips + positions(*clips.shape[1:]).to(clips))
        # Few clips at a time: what lies between stays in the cache.
        few = [torch.cat([relation.prepare(x) for relation in self.relations], dim=-1) for x in torch.split(clips, 32)]
        return torch.cat(few)

    def score(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        support, present = by_class(support, labels, way)
        lengths = [relation.length(query.shape[2]) for relation in self.relations]
        both = zip(torch.split(query, lengths, dim=-1), torch.split(support, lengths, dim=-1), strict=True)
        distances = [relation(*pair, present) for relation, pair in zip(self.relations, both, strict=True)]
        return -torch.stack(distances).mean(dim=0)


class Relation(nn.Module):
    """Attention between the tuples of one size.

    Further letters in shapes: P = T * size parts of a clip, U tuples, S shots of a class, W width.
    """

    def __init__(self, dim: int, width: int, size: int) -> None:
        super().__init__()
        self.size, self.width = size, width
        self.keys = nn.Linear(size * dim, width)
        # Attention weights sum to one, so a bias would be the same in what a tuple has and in what it finds.
        self.values = nn.Linear(size * dim, width, bias=False)
        self.norm = nn.LayerNorm(width)

    def length(self, frames: int) -> int:
        """Channels that `prepare` gives: the parts of a frame, and its share of what is known of the tuples."""
        return 2 * self.size * self.width + math.ceil((2 * math.comb(frames, self.size) + 1) / frames)

    def prepare(self, clips: Tensor) -> Tensor:
        """All that concerns one clip: (n, T, D) -> (n, T, length).

        What each frame gives to a key and to a value at each place in a tuple, and behind it what is known of
        the tuples: the spread over channels of every key, by which LayerNorm divides, how LayerNorm's bias shifts
        the attention to it, and the sum of the squared lengths of all values.
        """
        (n, frames, dim), tuples = clips.shape, incidence(clips.shape[1], self.size).to(clips)
        keys, values = (
            torch.stack([F.linear(clips, place) for place in torch.split(layer.weight, dim, dim=1)], dim=2)
            for layer in (self.keys, self.values)
        )
        keys = keys + self.keys.bias / self.size
        keys = keys - keys.mean(dim=-1, keepdim=True)

        def squares(parts: Tensor) -> Tensor:
            parts = parts.flatten(1, 2)
            return ((tuples @ (parts @ parts.mT)) * tuples).sum(dim=-1)  # (n, U)

        spread = (squares(keys) / self.width + self.norm.eps).sqrt()
        keys = keys * self.norm.weight
        shift = (keys @ self.norm.bias).flatten(1) @ tuples.mT / (spread * math.sqrt(self.width))
        known = torch.cat([spread, shift, squares(values).sum(dim=1, keepdim=True)], dim=1)
        known = F.pad(known, (0, -known.shape[1] % frames)).view(n, frames, -1)
        return torch.cat([keys.flatten(2), values.flatten(2), known], dim=2)

    def forward(self, query: Tensor, support: Tensor, present: Tensor) -> Tensor:
        """Mean squared distance between what tuples have and what they find in each class: (E, Q, way).

        Args:
            query: (E, Q, T, length) and support: (E, way, S, T, length), prepared.
            present: (E, way, S), which places of the support hold a clip.
        """
        (episodes, way, shots), queries = present.shape, query.shape[1]
        tuples = incidence(query.shape[2], self.size).to(query)  # (U, P)
        query_keys, query_values, query_spread, _, own = self._unpack(query, len(tuples))
        keys, values, spread, shift, _ = self._unpack(support.flatten(1, 2), len(tuples))
        table = (episodes, queries, tuples.shape[1], way * shots, tuples.shape[1])

        # Attention of each tuple of a query over all tuples of a class: (E, Q, U, way * S, U). A part of the key's
        # LayerNorm that is the same for all tuples of the support has no say in a softmax, and is left out.
        scaled = tuples / (query_spread * math.sqrt(self.width))[..., None]
        logits = scaled @ (query_keys @ keys.mT).view(table).flatten(3)
        logits = logits.view(episodes, queries, len(tuples), way * shots, -1) @ tuples.mT
        logits = torch.addcmul(shift[:, None, None], logits, 1 / spread[:, None, None])
        if not bool(present.all()):
            logits = logits.masked_fill(~present.flatten(1)[:, None, None, :, None], -math.inf)
        weights = logits.view(*logits.shape[:3], way, -1).softmax(dim=-1).view_as(logits)

        # |own - found|^2, summed over the tuples of the query; found weighs the parts of a class.
        weights = weights @ tuples  # (E, Q, U, way * S, P)
        pooled = (tuples.mT @ weights.flatten(3)).view(table)
        cross = ((query_values @ values.mT).view(table) * pooled).sum(dim=(2, 4)).view(episodes, queries, way, shots)
        weights = weights.view(episodes, queries, len(tuples), way, -1).permute(0, 3, 1, 2, 4).flatten(2, 3)
        values = values.view(episodes, way, -1, self.width)
        found = (weights * (weights @ (values @ values.mT))).sum(dim=-1).view(episodes, way, queries, -1)
        distances: Tensor = own - 2 * cross.sum(dim=3) + found.sum(dim=3).mT
        return distances / len(tuples)

    def _unpack(self, clips: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What `prepare` packed for clips (E, C, T, length): parts of keys and of values (E, C * P, W), spread and
        shift of each key (E, C, U), sum of squared values (E, C, 1)."""
        parts = self.size * self.width
        keys, values = (clips[..., i * parts : (i + 1) * parts].reshape(len(clips), -1, self.width) for i in (0, 1))
        known = clips[..., 2 * parts :].flatten(2)
        return keys, values, known[..., :count], known[..., count : 2 * count], known[..., 2 * count : 2 * count + 1]


def incidence(frames: int, size: int) -> Tensor:
    """Which parts make up which tuple: (U, frames * size) of 0 and 1, for tuples of frames in their order."""
    if size > frames:
        raise OptionError(f"tuples of {size} frames need clips of at least {size} frames, found {frames}")
    chosen = torch.tensor(list(itertools.combinations(range(frames), size)))
    parts = chosen * size + torch.arange(size)
    return torch.zeros(len(chosen), frames * size).scatter_(1, parts, 1.0)


def positions(frames: int, channels: int) -> Tensor:
    """Sinusoids that tell frames apart by their place (Vaswani et al., NeurIPS 2017), a tenth as strong: (T, D)."""
    place = torch.arange(frames)[:, None]
    angle = place * torch.exp(torch.arange(0, channels, 2) * (-math.log(10000.0) / channels))
    return 0.1 * torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :channels]
