"""Where a clip changes: one weight for each place of the last map, or each patch, from successive frames."""

from __future__ import annotations

import torch
from torch import Tensor

from kshot.errors import OptionError

STILL = 1e-4
"""Least change, of what is seen at length 1, that is one. Less is rounding, and weights made of it would be noise."""


def weights(places: Tensor, frames: int) -> Tensor:
    """How much each place counts in its clip, in all 1; all alike where nothing changes but by rounding.

        change(p) = mean over successive frames of |x(t + 1, p) - x(t, p)|      weight(p) = change(p)^2 / sum of all

    Squared, so that a background with noise counts less: on base classes of `motion` and of J-HMDB that was as good as
    the change itself or better. Temporal differences are those of Wang et al., TSN, ECCV 2016, and TDN, CVPR 2021.

    Args:
        places: (N, M, D) what is seen at M places of each frame; the frames of a clip in a row.
        frames: of a clip.

    Returns:
        (N, M), the same for all frames of a clip.

    Raises:
        OptionError: clips of a single frame, in which nothing changes.
    """
    if frames < 2:
        raise OptionError(f"where a clip changes takes at least 2 frames a clip, found {frames}")
    clips = places.view(-1, frames, *places.shape[1:])
    change = torch.linalg.vector_norm(clips[:, 1:] - clips[:, :-1], dim=-1).mean(1)
    squared = change * change
    total, seen = squared.sum(-1, keepdim=True), clips.square().sum(-1).mean(1).sum(-1, keepdim=True)
    moves = total > STILL * STILL * seen
    share = torch.where(moves, squared / torch.where(moves, total, 1), 1 / places.shape[1])
    return share[:, None].expand(-1, frames, -1).flatten(0, 1)
