"""Change: channels that change, against a plain loop; what stays as it is says nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kshot.errors import OptionError
from kshot.heads import get_head
from kshot.heads.formulas import change

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def length(values: list[float]) -> list[float]:
    norm = math.sqrt(sum(v * v for v in values))
    return [v / norm if norm else 0.0 for v in values]


def changes(clip: Tensor) -> list[float]:
    """Mean absolute difference of successive frames and standard deviation of each channel, one by one."""
    frames = [length(frame.tolist()) for frame in clip]
    channels = list(zip(*frames, strict=True))
    steps = [sum(abs(b - a) for a, b in itertools.pairwise(one)) / (len(one) - 1) for one in channels]
    spreads = [math.sqrt(sum((v - sum(one) / len(one)) ** 2 for v in one) / len(one)) for one in channels]
    return length([*steps, *spreads])


def slow(query: Tensor, support: Tensor, labels: Tensor, way: int) -> Tensor:
    """Scores (E, Q, way) by loops over everything."""
    scores = torch.zeros(*query.shape[:2], way, dtype=torch.float64)
    for e in range(len(query)):
        near = [changes(clip) for clip in support[e]]
        count, width = len(near), len(near[0])
        centre = [sum(clip[d] for clip in near) / count for d in range(width)]
        variance = [sum((clip[d] - centre[d]) ** 2 for clip in near) / count for d in range(width)]
        spread = [math.sqrt(v + sum(variance) / width) for v in variance]

        def read(clip: list[float], centre: list[float] = centre, spread: list[float] = spread) -> list[float]:
            return length([(v - c) / (s or 1.0) for v, c, s in zip(clip, centre, spread, strict=True)])

        for k in range(way):
            members = [read(clip) for clip, label in zip(near, labels[e], strict=True) if label == k]
            mean = length([sum(column) / len(members) for column in zip(*members, strict=True)])
            for q in range(query.shape[1]):
                scores[e, q, k] = 20 * sum(a * b for a, b in zip(read(changes(query[e, q])), mean, strict=True))
    return scores


@pytest.mark.parametrize("shot", [1, 3])
def test_plain_loop(shot: int, draw: Draw) -> None:
    query, support, labels, _ = draw(shot=shot)
    torch.testing.assert_close(get_head("change")(query, support, labels), slow(query, support, labels, 3))


def test_classes_of_different_size_by_the_loop(draw: Draw) -> None:
    query, support, _, _ = draw()
    labels = torch.tensor([[0, 1, 1, 2, 1, 2], [2, 0, 1, 2, 2, 2], [0, 1, 2, 2, 1, 0]])
    torch.testing.assert_close(get_head("change")(query, support, labels), slow(query, support, labels, 3))


def test_only_what_moves_tells_where_scenes_are_alike() -> None:
    """Two actions that move different channels in front of large backgrounds of their own."""
    draw = torch.Generator().manual_seed(0)

    def clip(moving: int) -> Tensor:
        frames = 3 * torch.randn(8, generator=draw).expand(6, 8).clone()
        frames[:, moving] += torch.tensor([0.0, 1, 0, 1, 0, 1])
        return frames

    support = torch.stack([clip(0), clip(1), clip(0), clip(1)])[None]
    query = torch.stack([clip(n % 2) for n in range(60)])[None]
    truth, labels = torch.arange(60) % 2, torch.tensor([[0, 1, 0, 1]])
    right = {name: (get_head(name)(query, support, labels)[0].argmax(1) == truth).double().mean()
             for name in ("prototype", "change", "both")}  # fmt: skip
    assert right["change"] > 0.95 and right["both"] > right["prototype"] + 0.1 and right["prototype"] < 0.7


def test_statistics_are_those_of_the_support_alone(draw: Draw) -> None:
    query, support, labels, _ = draw()
    head = get_head("change")
    far = head(torch.cat([query, 100 * torch.randn_like(query)], 1), support, labels)
    torch.testing.assert_close(far[:, :4], head(query, support, labels))


def test_a_clip_of_one_frame_is_refused(draw: Draw) -> None:
    query, support, labels, _ = draw(frames=1)
    for name in ("change", "both"):
        with pytest.raises(OptionError, match=f"head '{name}' compares successive frames: expected at least 2"):
            get_head(name)(query, support, labels)


def test_rounding_is_no_change() -> None:
    """Frames that are all the same but for rounding, which differs by machine, show none."""
    torch.manual_seed(0)
    still = torch.randn(2, 1, 64).expand(2, 8, 64) * (1 + 1e-6 * torch.randn(2, 8, 64))
    assert not change(still).any()
    moving = torch.randn(2, 8, 64).mul(1e-3) + still
    frames = torch.nn.functional.normalize(moving, dim=-1)
    wanted = torch.cat([frames.diff(dim=1).abs().mean(1), frames.std(1, correction=0)], -1)
    torch.testing.assert_close(change(moving).squeeze(1), torch.nn.functional.normalize(wanted, dim=-1))
