"""OTAM: how cheaply the frames of two clips can be walked through in order, side by side."""

from __future__ import annotations

import itertools
from typing import ClassVar, Literal

import torch
from torch import Tensor

from kshot.errors import OptionError
from kshot.heads.alignment import FrameHead, Shots
from kshot.heads.formulas import soft_min

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
        smooth: float | None = None,
        shots: Shots | None = None,
        scale: float = 1.0,
    ) -> None:
        if variant not in VARIANTS:
            raise OptionError(f"variant names a published code: expected 'otam' or 'clip-fsar', found {variant!r}")
        own_smooth, own_shots = VARIANTS[variant]
        super().__init__(own_shots if shots is None else shots, scale)
        self.smooth = own_smooth if smooth is None else smooth
        if not self.smooth > 0:
            raise OptionError(f"smooth softens the minimum: expected a number above 0, found {smooth!r}")

    def distance(self, frames: Tensor) -> Tensor:
        return align(frames, self.smooth) + align(frames.transpose(0, 1), self.smooth)


def align(frames: Tensor, smooth: float) -> Tensor:
    """Cost of the best soft path that takes every row in order: (T, S, ...) -> (...).

    The table has a column of zeros on either side, where a path waits before it enters and after it has left.
    A cell of a middle column is reached from the column before alone, so a column is one step on all rows;
    only the first real column and the padding at the end are also reached from the row above.
    """
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
