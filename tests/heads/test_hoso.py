"""HOSO: the weight of the clips beside the names, from one held-out clip of each class."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.heads import get_head

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def first(f: Tensor, labels: Tensor, k: int) -> list[int]:
    """The clips of a class, in the order of the sums of their channels."""
    return sorted((i for i in range(len(f)) if labels[i] == k), key=lambda i: float(f[i].sum()))


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("sizes", ["equal", "unequal"])
def test_the_ratio_has_the_least_loss_of_the_held_out_clips(refit: bool, sizes: str, draw: Draw) -> None:
    """Against a scan over 0..1; a class of one clip holds none out."""
    query, support, labels, text = draw(episodes=6, shot=3)
    random = torch.Generator().manual_seed(1)
    support = support + torch.randn(6, 9, 1, 16, generator=random, dtype=torch.float64)  # neither side is perfect
    text = text + torch.randn(text.shape, generator=random, dtype=torch.float64)
    if sizes == "unequal":
        labels = torch.tensor([0, 1, 1, 2, 2, 2, 1, 2, 1]).expand(6, -1)
    scores = get_head("hoso", refit=refit, text_scale=10.0)(query, support, labels, text)
    grid, ratios = torch.linspace(0, 1, 2001, dtype=torch.float64), []
    for e in range(6):
        asked, f, t = (F.normalize(x, dim=1) for x in (query[e].mean(1), support[e].mean(1), text[e]))
        mine = [first(f, labels[e], k) for k in range(3)]
        held = [clips[0] for clips in mine if len(clips) > 1]
        rest = [f[clips[len(clips) > 1 :]].mean(0) for clips in mine]
        means, everything = F.normalize(torch.stack(rest), dim=1), torch.stack([f[clips].mean(0) for clips in mine])
        words, near = 10 * f[held] @ t.T, 10 * f[held] @ means.T
        losses = torch.stack([F.cross_entropy((1 - r) * words + r * near, labels[e, held]) for r in grid])
        ratios.append(float(grid[losses.argmin()]))
        means = F.normalize(everything, dim=1) if refit else means
        wanted = 10 * ((1 - ratios[-1]) * asked @ t.T + ratios[-1] * asked @ means.T)
        torch.testing.assert_close(scores[e], wanted, rtol=0, atol=0.006)  # the scan's step times two scores
    assert len({*ratios}) > 2 and any(0 < ratio < 1 for ratio in ratios)


def test_useless_names_get_no_weight_and_useless_clips_none() -> None:
    """Two classes; one side of the blend says the held-out clips, the other is turned around or says nothing."""
    east, north = torch.eye(2, 3, dtype=torch.float64)
    support, labels = torch.stack([east, east, north, north]).view(1, 4, 1, 3), torch.tensor([[0, 0, 1, 1]])
    query = torch.stack([east, north]).view(1, 2, 1, 3)
    head = get_head("hoso", text_scale=2.0)
    swapped = torch.stack([north, east])[None]
    torch.testing.assert_close(head(query, support, labels, swapped)[0], 2 * torch.eye(2, dtype=torch.float64))
    tilt = torch.tensor([0.0, 0.0, 0.1], dtype=torch.float64)  # which clip of a class is held out
    mixed = torch.stack([east, north + tilt, north, east + tilt]).view(1, 4, 1, 3)  # means of the others: turned around
    right = torch.stack([east, north])[None]
    torch.testing.assert_close(head(query, mixed, labels, right)[0], 2 * torch.eye(2, dtype=torch.float64))


def test_one_shot_holds_nothing_out(draw: Draw) -> None:
    query, support, labels, text = draw(shot=1)
    words, clips = get_head("text")(query, support, labels, text), get_head("prototype", scale=100.0)
    wanted = (words + clips(query, support, labels)) / 2
    torch.testing.assert_close(get_head("hoso")(query, support, labels, text), wanted)
