"""Tables of pairs: what heads take from two clips, found once for all episodes that meet them.

Of 420 clips there are 88,000 pairs; 10,000 one-shot episodes ask for 1.25 million.

Letters in shapes: n clips, E episodes, Q queries, N support clips, T frames, D channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK_BYTES = 4 << 20  # of values at a time: what stays in the cache is quicker


def every_pair(clips: Tensor, relate: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A symmetric relation of all clips with each other, each pair once: (n, ...) -> (n, n) or (n, n, T, T).

    Args:
        clips: (n, T, D), or of whatever shape `relate` takes.
        relate: (a, T, D), (b, T, D) -> (a, b), or (a, b, T, T) where the frames of a pair change places with it.
    """
    count = len(clips)
    one = relate(clips[:1], clips[:1])
    table = one.new_empty(count, count, *one.shape[2:])
    frames = clips[0, ..., 0].numel()
    rows = max(1, BLOCK_BYTES // (count * frames**2 * one.element_size()))
    for start in range(0, count, rows):
        found = relate(clips[start : start + rows], clips[start:])
        table[start : start + rows, start:] = found
        table[start:, start : start + rows] = found.transpose(0, 1) if found.ndim == 2 else found.permute(1, 0, 3, 2)
    return table


def look_up(table: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Values of pairs: table (n, n, ...), clips (E, Q) and (E, N) -> (E, Q, N, ...)."""
    places = first[:, :, None] * len(table) + second[:, None]
    return table.flatten(0, 1).index_select(0, places.flatten()).view(*places.shape, *table.shape[2:])


def members_of(support: Tensor, labels: Tensor, way: int) -> Tensor:
    """Support clips class by class, as many of each: numbers (E, N), labels (E, N) -> (E, way, N / way)."""
    return support.gather(1, labels.argsort(dim=1, stable=True)).view(len(support), way, -1)


def within(table: Tensor, members: Tensor) -> Tensor:
    """Means of (n, n, ...) over all pairs of the clips of a class, own pairs too: (E, way, shot) -> (E, way, ...)."""
    return table[members[..., :, None], members[..., None, :]].mean(dim=(2, 3))


def mean_of_classes(table: Tensor, query: Tensor, support: Tensor) -> Tensor:
    """Means of (n, n, T, T) over the support clips of each class: (E, Q), (E, way, shot) -> (E, Q, way, T, T)."""
    places = query[:, :, None, None] * len(table) + support[:, None]
    found = torch.nn.functional.embedding_bag(places.flatten(0, 2), table.flatten(2).flatten(0, 1), mode="mean")
    return found.view(*places.shape[:3], *table.shape[2:])
