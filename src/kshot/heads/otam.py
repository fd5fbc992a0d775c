"""OTAM: how cheaply the frames of two clips can be walked through in order, side by side."""

from __future__ import annotations

import itertools
import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from kshot.heads import Shots
from kshot.heads.alignment import FrameHead
from kshot.heads.formulas import soft_min
from kshot.options import Positive

RANGE = {torch.float32: 80.0, torch.float64: 700.0}
"""How far from 0 the logarithm of a product may get."""
VARIANTS: dict[str, tuple[float, Shots]] = {"otam": (0.1, "distances"), "clip-fsar": (0.5, "features")}
"""Softness of the minimum, and how support clips are joined, in published codes."""


class OTAM(FrameHead):
    """Ordered temporal alignment (Cao et al., CVPR 2020, arXiv 1906.11415).

    Soft dynamic time warping over frame distances, free to enter and to leave the other clip at any frame. The
    distance is the sum of both directions, query along support and support along query.

    Args:
        variant: whose `smooth` and `shots` hold where they are not given. "otam": the first public code of the paper
            (tobyperrett/few-shot-action-recognition at 3687f3a), 0.1 and "distances"; "clip-fsar": CLIP-FSAR's code
            (alibaba-mmai-research/CLIP-FSAR at 30cf0a8), 0.5 and "features".
        smooth: softness of the minimum (lambda).
        shots: how several support clips of a class are joined; see `FrameHead`.
        scale: factor on the distance; see `FrameHead`.
    """

    before: ClassVar = {"variant": "clip-fsar"}

    def __init__(
        self,
        variant: Literal["otam", "clip-fsar"] = "otam",
        smooth: Positive | None = None,
        shots: Shots | None = None,
        scale: Positive = 1.0,
    ) -> None:
        own_smooth, own_shots = VARIANTS[variant]
        super().__init__(own_shots if shots is None else shots, scale)
        self.smooth = own_smooth if smooth is None else smooth

    def distance(self, frames: Tensor) -> Tensor:
        return align(frames, self.smooth)


def align(frames: Tensor, smooth: float) -> Tensor:
    """Costs of the best soft paths of clip along clip and back, added: distances (T, S, ...) of 0 to 2 -> (...).

    exp(-cost / smooth) of a path is a product over its cells, and a soft minimum of costs is a sum of such products. So
    the recurrence takes one exponential a cell, products and sums, and one logarithm at the end: a tenth of the time of
    soft minima, where no product leaves the range of its type.
    """
    cells = sum(frames.shape[:2])
    span = cells * max(2 / smooth, math.log(3))  # a path's cost at most; of one cell come at most three paths
    if span > RANGE[torch.float64]:
        return _cost(frames, smooth) + _cost(frames.transpose(0, 1), smooth)
    kind = torch.float64 if span > RANGE[torch.float32] else frames.dtype
    weights = torch.exp(frames.to(kind) / -smooth)
    found = -smooth * (_weight(weights).log() + _weight(weights.transpose(0, 1)).log())
    return found.to(frames.dtype)


def _weight(cells: Tensor) -> Tensor:
    """Weights of all paths that take every row in order, added: weights of cells (T, S, ...) -> (...).

    The table has a column of ones on either side, where a path waits before it enters and after it has left.
    A cell of a middle column is reached from the column before alone, so a column is one step on all rows;
    only the first real column and the padding at the end are also reached from the row above.
    """
    first = [cells[0, 0]]
    for row in cells[1:, 0]:
        first.append(row * (2 + first[-1]))
    column = torch.stack(first)
    for along in range(1, cells.shape[1]):
        top = column[:1] * cells[:1, along]
        column = torch.cat([top, cells[1:, along] * (column[:-1] + column[1:])])
    left = column[0]
    for above, beside in itertools.pairwise(column):
        left = above + left + beside
    return left


def _cost(frames: Tensor, smooth: float) -> Tensor:
    """-smooth * log of `_weight`, by soft minima, which stay finite whatever the costs: (T, S, ...) -> (...)."""
    waiting = torch.zeros_like(frames[0, 0])
    first = [frames[0, 0]]
    for row in frames[1:, 0]:
        first.append(row + soft_min(waiting, first[-1], waiting, smooth=smooth))
    column = torch.stack(first)
    for along in range(1, frames.shape[1]):
        top = column[:1] + frames[:1, along]
        column = torch.cat([top, frames[1:, along] + soft_min(column[:-1], column[1:], smooth=smooth)])
    left = column[0]
    for above, beside in itertools.pairwise(column):
        left = soft_min(above, left, beside, smooth=smooth)
    return left
