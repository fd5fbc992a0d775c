"""Heads that score clips by frames or means, against loops over episodes, queries and classes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kshot.errors import OptionError
from kshot.heads import get_head

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]
Score = Callable[[Tensor, Tensor], float]
"""Of a query (T, D) and the clips (S, T, D) of a class."""


def angle(one: Tensor, other: Tensor) -> float:
    return float(one @ other / (one.norm() * other.norm()))


def direction(clip: Tensor) -> Tensor:
    mean = clip.mean(0)
    return mean / mean.norm()


def hausdorff(query: Tensor, clip: Tensor) -> float:
    """Distances to the nearest frames, summed both ways, as BiMHM's published code sums them."""
    far = [[1 - angle(q, s) for s in clip] for q in query]
    return sum(min(row) for row in far) + sum(min(column) for column in zip(*far, strict=True))


def of_mean(query: Tensor, clips: Tensor) -> float:
    return angle(direction(query), torch.stack([direction(clip) for clip in clips]).mean(0))


def of_nearest(query: Tensor, clips: Tensor) -> float:
    return max(angle(direction(query), direction(clip)) for clip in clips)


def each(query: Tensor, support: Tensor, labels: Tensor, score: Score) -> Tensor:
    """Scores (E, Q, way) by a loop."""
    return torch.tensor(
        [
            [[score(one, clips[own == k]) for k in range(3)] for one in queries]
            for queries, clips, own in zip(query, support, labels, strict=True)
        ],
        dtype=query.dtype,
    )


@pytest.mark.parametrize("shot", [1, 3])
def test_bimhm_by_a_loop(shot: int, draw: Draw) -> None:
    query, support, labels, _ = draw(shot=shot, frames=5)
    wanted = each(query, support, labels, lambda one, clips: -hausdorff(one, clips.mean(0)))
    torch.testing.assert_close(get_head("bimhm")(query, support, labels), wanted)
    wanted = each(query, support, labels, lambda one, clips: -sum(hausdorff(one, c) for c in clips) / len(clips))
    torch.testing.assert_close(get_head("bimhm", shots="distances")(query, support, labels), wanted)
    torch.testing.assert_close(get_head("bimhm", shots="distances", scale=2.5)(query, support, labels), 2.5 * wanted)


@pytest.mark.parametrize("name", ["bimhm", "otam"])
@pytest.mark.parametrize("shots", ["features", "distances"])
def test_fitted_frames_score_as_in_an_episode(name: str, shots: str, draw: Draw) -> None:
    query, support, labels, _ = draw(shot=2)
    head = get_head(name, shots=shots, scale=3.0)
    fitted = head.fit_support(support, labels, None, 3)
    torch.testing.assert_close(head.score_fitted(query, fitted, 3), head(query, support, labels))


@pytest.mark.parametrize("name", ["bimhm", "otam"])
def test_frame_heads_refuse_what_they_cannot_join(name: str) -> None:
    with pytest.raises(OptionError, match="should be 'features' or 'distances', found 'mean'"):
        get_head(name, shots="mean")
    with pytest.raises(OptionError, match="scale"):
        get_head(name, scale=0.0)
    if name == "otam":
        for smooth in (0.0, -1.0, math.nan):
            with pytest.raises(OptionError, match="smooth"):
                get_head(name, smooth=smooth)


@pytest.mark.parametrize(("name", "score"), [("prototype", of_mean), ("nearest", of_nearest)])
@pytest.mark.parametrize("shot", [1, 3])
def test_heads_of_whole_clips_order_classes_as_a_loop_does(name: str, score: Score, shot: int, draw: Draw) -> None:
    """Their scores are cosines times a factor, the same for all."""
    query, support, labels, _ = draw(shot=shot)
    wanted = each(query, support, labels, score)
    found = get_head(name)(query, support, labels)
    torch.testing.assert_close(found, wanted * (found[0, 0, 0] / wanted[0, 0, 0]))
    assert found[0, 0, 0] / wanted[0, 0, 0] > 0
    torch.testing.assert_close(get_head(name, scale=2.0)(query, support, labels), 2 * wanted)
