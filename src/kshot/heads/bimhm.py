"""Bi-MHM: every frame of either clip looks for its nearest frame in the other; order plays no part."""

from __future__ import annotations

from torch import Tensor

from kshot.heads.alignment import FrameHead


class BiMHM(FrameHead):
    """Bidirectional mean Hausdorff metric (Wang et al., HyRSM, CVPR 2022, arXiv 2204.13423).

    The distance is the sum, over the frames of both clips, of the distance to the nearest frame of the other
    clip.

    Args:
        shots: how several support clips of a class are joined; see `FrameHead`.
        scale: factor on the distance; see `FrameHead`.
    """

    def distance(self, frames: Tensor) -> Tensor:
        return frames.amin(dim=1).sum(dim=0) + frames.amin(dim=0).sum(dim=0)
