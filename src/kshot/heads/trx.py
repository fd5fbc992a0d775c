"""TRX: a query is compared with what its ordered pairs and triples of frames find among those of a class."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.errors import OptionError
from kshot.heads.base import Head
from kshot.heads.formulas import by_class, full
from kshot.options import Count, Share

Products = tuple[Tensor, Tensor, Tensor]
TABLE = 2 << 20  # products between tuples at a time
FEW = 16  # clips prepared at a time: what lies between stays in the cache


class TRX(Head):
    """Temporal-relational cross-transformer (Perrett et al., CVPR 2021, arXiv 2101.06184).

    Every ordered tuple of frames has a key and a value, linear in its frames. Each tuple of the query attends
    to all tuples of a class, and the score is minus the squared distance between the values it has and finds,
    averaged over its tuples and over tuple sizes.

    Tuples are never formed here. A linear map of a tuple is a sum of one part a frame, so a product between tuples
    is a sum of products between parts, A x . B y for frames x and y. That is x . (A' B y): `prepare_support` maps
    the frames of a support clip back to the channels of a frame, once, and an episode multiplies them with the bare
    frames of its queries.

    A prepared query is (T, about dim), a support clip (T * (1 + 2 * sum of sizes squared), about dim), for the
    defaults and 8 frames 17 KB and 0.46 MB in single precision.

    Args:
        dim: channels of the embeddings.
        width: channels of keys and values.
        sizes: frames in a tuple.
        dropout: on the frames, in training.
    """

    learns = True
    is_graph = False  # classes of unequal size are filled up, and how far depends on the labels

    def __init__(
        self, dim: Count = 512, width: Count = 1152, sizes: Sequence[Count] = (2, 3), dropout: Share = 0.1
    ) -> None:
        super().__init__()
        if not sizes:
            raise OptionError(f"sizes counts the frames of a tuple: expected such as (2, 3), found {sizes!r}")
        self.dim = dim
        relations = nn.ModuleList(Relation(dim, width, size) for size in sizes)
        self.relations = cast("Sequence[Relation]", relations)
        self.dropout = nn.Dropout(dropout)

    def expect_frames(self, frames: int, unit: int = 1) -> None:
        largest = max(relation.size for relation in self.relations)
        if frames // unit < largest:
            rows = "" if unit == 1 else f", of which this backbone takes {unit} for one embedding"
            raise OptionError(
                f"tuples of {largest} frames need clips of at least {largest * unit} frames{rows}, found {frames}"
            )

    def prepare(self, clips: Tensor) -> Tensor:
        """Frames, each followed by a one, and behind them what is known of the tuples: (n, T, D + 1 + some)."""

        def some(clips: Tensor) -> Tensor:
            known = [relation.about(*relation.parts(clips)) for relation in self.relations]
            return self._packed(F.pad(clips, (0, 1), value=1.0), known)

        return torch.cat([some(x) for x in torch.split(self._placed(clips), FEW)])

    def prepare_support(self, clips: Tensor, text: Tensor | None = None, prepared: Tensor | None = None) -> Tensor:
        """As `prepare`, and under it the rows that queries are multiplied with: (n, T + rows, D + 1 + some)."""
        prepared = self.prepare(clips) if prepared is None else prepared
        maps = torch.cat([relation.products() for relation in self.relations])
        maps = F.pad(maps, (0, 0, 0, prepared.shape[2] - self.dim - 1)).flatten(0, 1)

        def some(clips: Tensor) -> Tensor:
            rows = F.linear(clips[..., : self.dim + 1], maps)
            return torch.cat([clips, rows.view(len(clips), -1, clips.shape[2])], dim=1)

        return torch.cat([some(x) for x in torch.split(prepared, FEW)])

    def _prepare_all(self, clips: Tensor) -> Tensor:
        """For one episode rows are more work than they save: (E, n, T, all parts of keys and values + some)."""
        frames = self._placed(clips.flatten(0, 1))
        parts = [relation.parts(frames) for relation in self.relations]
        about = [relation.about(*x) for relation, x in zip(self.relations, parts, strict=True)]
        scaled = [(keys * relation.norm.weight, x) for relation, (keys, x) in zip(self.relations, parts, strict=True)]
        flat = [x.reshape(*frames.shape[:2], -1) for pair in scaled for x in pair]
        packed = self._packed(torch.cat(flat, dim=2), about)
        return packed.view(*clips.shape[:2], *packed.shape[1:])

    def _prepare_support(self, clips: Tensor, labels: Tensor, text: Tensor | None) -> Tensor:
        return self._prepare_all(clips)

    def _placed(self, clips: Tensor) -> Tensor:
        """Frames that know their place."""
        self.expect_channels(clips, self.dim)
        clips = full(clips)
        placed: Tensor = self.dropout(clips + positions(*clips.shape[1:]).to(clips))
        return placed

    @staticmethod
    def _packed(clips: Tensor, about: Sequence[Tensor]) -> Tensor:
        """What is known of the tuples, a share behind each frame."""
        known = torch.cat([*about], dim=1)
        known = F.pad(known, (0, -known.shape[1] % clips.shape[1]))
        return torch.cat([clips, known.view(*clips.shape[:2], -1)], dim=2)

    def score(self, query: Tensor, support: Tensor, labels: Tensor, text: Tensor | None, way: int) -> Tensor:
        # Tables of attention between all tuples are large: as many episodes at a time as the cache can hold.
        tuples = max(math.comb(query.shape[2], relation.size) for relation in self.relations)
        most = max(1, TABLE // (query.shape[1] * support.shape[1] * tuples**2))
        if len(query) > most:
            few = [slice(start, start + most) for start in range(0, len(query), most)]
            return torch.cat([self.score(query[x], support[x], labels[x], None, way) for x in few])
        support, present = by_class(support, labels, way)
        frames, by_parts = query.shape[2], query.shape[2] == support.shape[3]
        behind = sum(2 * relation.size * relation.width for relation in self.relations) if by_parts else self.dim + 1
        lengths = [relation.length(frames) for relation in self.relations]
        known = (
            torch.split(x[..., :frames, behind:].flatten(2)[..., : sum(lengths)], lengths, dim=-1)
            for x in (query, support.flatten(1, 2))
        )
        products = (self._from_parts if by_parts else self._from_rows)(query, support)
        each = zip(self.relations, products, *known, strict=True)
        return -torch.stack([relation(*found, *about, present) for relation, found, *about in each]).mean(dim=0)

    def _from_rows(self, query: Tensor, support: Tensor) -> Iterator[Products]:
        (episodes, way, shots), (_, queries, frames, channels) = support.shape[:3], query.shape
        # All products in one go. What is known of a query meets zeros in the rows; the products with the bare
        # frames of the support are not used, and leaving them out would cost more than they do.
        table = query.flatten(1, 2) @ support.reshape(episodes, -1, channels).mT
        table = table.view(episodes, queries, frames, way * shots, -1)[..., frames:]
        own = support[..., :frames, :].reshape(episodes * way, shots * frames, channels)
        inner = own @ support.reshape(episodes * way, -1, channels).mT
        inner = inner.view(episodes, way, shots, frames, shots, -1)[..., frames:]
        table, inner = (x.view(*x.shape[:-1], frames, -1) for x in (table, inner))
        start = 0
        for relation in self.relations:
            size, span = relation.size, slice(start, start + 2 * relation.size**2)
            kinds = table[..., span].reshape(*table.shape[:-1], 2, size, size).permute(5, 0, 1, 2, 6, 3, 4, 7)
            keys, values = kinds.reshape(2, episodes, queries, frames * size, way * shots, frames * size)
            kinds = inner[..., span].reshape(*inner.shape[:-1], 2, size, size)
            of_values = kinds[..., 1, :, :].permute(0, 1, 2, 3, 6, 4, 5, 7)
            yield keys, values, of_values.reshape(episodes, way, shots * frames * size, -1)
            start = span.stop

    def _from_parts(self, query: Tensor, support: Tensor) -> Iterator[Products]:
        (episodes, way, shots), (_, queries, frames, _) = support.shape[:3], query.shape
        start = 0
        for relation in self.relations:
            parts, table = frames * relation.size, (episodes, queries, frames * relation.size, way * shots, -1)
            found = []
            for _ in range(2):
                span = slice(start, start + relation.size * relation.width)
                sides = (x[..., span].reshape(episodes, -1, relation.width) for x in (query, support))
                found.append(tuple(sides))
                start = span.stop
            keys, values = ((asked @ shown.mT).view(table) for asked, shown in found)
            shown = found[1][1].view(episodes, way, shots * parts, relation.width)
            yield keys, values, shown @ shown.mT


class Relation(nn.Module):
    """Attention between the tuples of one size.

    Further letters in shapes: P = T * size parts of a clip, frames first, U tuples, S shots of a class, W width.
    """

    def __init__(self, dim: int, width: int, size: int) -> None:
        super().__init__()
        self.size, self.width = size, width
        self.keys = nn.Linear(size * dim, width)
        # Attention weights sum to one, so a bias would be the same in what a tuple has and in what it finds.
        self.values = nn.Linear(size * dim, width, bias=False)
        self.norm = nn.LayerNorm(width)

    def length(self, frames: int) -> int:
        """How many numbers `about` gives."""
        return 2 * math.comb(frames, self.size) + 1

    def parts(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """What each frame gives, at each place in a tuple, to a key less its mean over channels, and to a value:
        (n, T, D) -> twice (n, P, W)."""
        keys, values = (
            torch.stack([F.linear(clips, place) for place in layer.weight.chunk(self.size, dim=1)], dim=2).flatten(1, 2)
            for layer in (self.keys, self.values)
        )
        keys = keys + self.keys.bias / self.size
        return keys - keys.mean(dim=-1, keepdim=True), values

    def products(self) -> Tensor:
        """What makes of a frame y, a one behind it, the vectors whose products with a frame x are those of their
        parts, keys before values, by place in x's tuple and in y's: (2 * size * size, D + 1, D + 1)."""
        keys, values = (torch.stack(layer.weight.chunk(self.size, dim=1)) for layer in (self.keys, self.values))
        keys = torch.cat([keys, (self.keys.bias / self.size).expand(self.size, -1)[..., None]], dim=2)
        keys, values = keys - keys.mean(dim=1, keepdim=True), F.pad(values, (0, 1))
        pairs = (keys * self.norm.weight[:, None] ** 2, keys), (values, values)
        return torch.cat([torch.einsum("iwe,jwd->ijed", *pair).flatten(0, 1) for pair in pairs])

    def about(self, keys: Tensor, values: Tensor) -> Tensor:
        """What is known of the tuples of a clip from its parts: (n, 2 * U + 1).

        The spread over channels of every key, by which LayerNorm divides, how LayerNorm's bias shifts the
        attention to it, and the sum of the squared lengths of all values.
        """
        tuples = incidence(keys.shape[1] // self.size, self.size).to(keys)

        def squares(parts: Tensor) -> Tensor:
            return ((tuples @ (parts @ parts.mT)) * tuples).sum(dim=-1)  # (n, U)

        spread = (squares(keys) / self.width + self.norm.eps).sqrt()
        shift = (keys @ (self.norm.weight * self.norm.bias)) @ tuples.mT / (spread * math.sqrt(self.width))
        return torch.cat([spread, shift, squares(values).sum(dim=1, keepdim=True)], dim=1)

    def forward(
        self, keys: Tensor, values: Tensor, inner: Tensor, query: Tensor, support: Tensor, present: Tensor
    ) -> Tensor:
        """Mean squared distance between what tuples have and what they find in each class: (E, Q, way).

        Args:
            keys: (E, Q, P, way * S, P), products between the parts of queries and of the support, for keys.
            values: (E, Q, P, way * S, P), the same for values.
            inner: (E, way, S * P, S * P), products between the values' parts of a class.
            query: (E, Q, length), what is known of the tuples of queries; see `about`.
            support: (E, way * S, length), what is known of those of the support.
            present: (E, way, S), which places of the support hold a clip.
        """
        (episodes, way, shots), (_, queries, parts, clips, _) = present.shape, keys.shape
        tuples = incidence(parts // self.size, self.size).to(keys)  # (U, P)
        count = len(tuples)
        spread, shift = support[:, :, :count], support[:, :, count : 2 * count]

        # Attention of each tuple of a query over all tuples of a class: (E, Q, U, way * S, U). A part of the key's
        # LayerNorm that is the same for all tuples of the support has no say in a softmax, and is left out.
        scaled = tuples / (query[:, :, :count] * math.sqrt(self.width))[..., None]
        logits = scaled @ keys.flatten(3)
        logits = logits.view(episodes, queries, count, clips, parts) @ tuples.mT
        logits = torch.addcmul(shift[:, None, None], logits, 1 / spread[:, None, None])
        if not bool(present.all()):
            logits = logits.masked_fill(~present.flatten(1)[:, None, None, :, None], -math.inf)
        weights = logits.view(episodes, queries, count, way, -1).softmax(dim=-1).view_as(logits)

        # |own - found|^2, summed over the tuples of the query; found weighs the parts of a class.
        weights = weights @ tuples  # (E, Q, U, way * S, P)
        pooled = (tuples.mT @ weights.flatten(3)).view_as(values)
        cross = (values * pooled).sum(dim=(2, 4)).view(episodes, queries, way, shots)
        weights = weights.view(episodes, queries, count, way, -1).permute(0, 3, 1, 2, 4).flatten(2, 3)
        found = (weights * (weights @ inner)).sum(dim=-1).view(episodes, way, queries, -1)
        distances: Tensor = query[:, :, 2 * count :] - 2 * cross.sum(dim=3) + found.sum(dim=3).mT
        return distances / count


def incidence(frames: int, size: int) -> Tensor:
    """Which parts make up which tuple: (U, frames * size) of 0 and 1, for tuples of frames in their order.

    Raises:
        OptionError: a clip has fewer frames than a tuple.
    """
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
