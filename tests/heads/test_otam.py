"""OTAM: soft ordered alignment."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kshot.heads import get_head
from kshot.heads.otam import _cost, align

Draw = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]


def table(distances: Tensor, smooth: float) -> float:
    """The recurrence as written for one pair of clips: distances (T, S) of query rows to support columns."""
    rows, columns = distances.shape
    padded = torch.zeros(rows, columns + 2, dtype=distances.dtype)
    padded[:, 1:-1] = distances
    cost = torch.zeros_like(padded)

    def soft(*values: Tensor) -> Tensor:
        return -smooth * torch.stack([-value / smooth for value in values]).logsumexp(0)

    for m in range(1, columns + 2):
        cost[0, m] = padded[0, m] + cost[0, m - 1]
    for r in range(1, rows):
        cost[r, 1] = padded[r, 1] + soft(cost[r - 1, 0], cost[r - 1, 1], cost[r, 0])
        for m in range(2, columns + 1):
            cost[r, m] = padded[r, m] + soft(cost[r - 1, m - 1], cost[r, m - 1])
        cost[r, -1] = padded[r, -1] + soft(cost[r - 1, -2], cost[r - 1, -1], cost[r, -2])
    return float(cost[-1, -1])


def distance(query: Tensor, clip: Tensor, smooth: float) -> float:
    frames = torch.ones(len(query), len(clip), dtype=query.dtype)
    for i, a in enumerate(query):
        for j, b in enumerate(clip):
            frames[i, j] -= a @ b / (a.norm() * b.norm())
    return table(frames, smooth) + table(frames.T, smooth)


def test_two_frames_by_hand() -> None:
    forward = torch.eye(2)[None, None]
    backward = forward.flip(2)
    scores = get_head("otam", variant="clip-fsar")(
        forward, torch.cat([forward, backward], dim=1), torch.tensor([[0, 1]])
    )
    # Same order: c = [[0, 1, 1], [1 - log(3)/2, -log(1 + 3/e^2)/2, -log(1 + 5/e^2)/2]], the same both ways.
    # Reverse: first column 1, -log(2 + 1/e^2)/2; second 1, 1 - log(2 + 2/e^2)/2; end -log(4/e^2 + 2/e^4)/2.
    e2, e4 = math.exp(-2), math.exp(-4)
    expected = torch.tensor([[[math.log(1 + 5 * e2), math.log(4 * e2 + 2 * e4)]]])
    torch.testing.assert_close(scores, expected)
    assert scores[0, 0, 0] > scores[0, 0, 1], "order tells"


def test_one_frame_by_hand() -> None:
    query, support = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[3.0, 4.0]]]])
    assert math.isclose(
        float(get_head("otam", scale=2.0)(query, support, torch.tensor([[0]]))), -2 * 2 * 0.4, rel_tol=1e-6
    )


@pytest.mark.parametrize("smooth", [0.5, 0.1])
@pytest.mark.parametrize("shots", ["features", "distances"])
def test_plain_loop(smooth: float, shots: str, draw: Draw) -> None:
    query, support, labels, _ = draw(shot=2, frames=5)
    expected = torch.zeros(3, 4, 3, dtype=torch.float64)
    for e in range(3):
        for k in range(3):
            members = support[e][labels[e] == k]
            for q in range(4):
                if shots == "features":
                    expected[e, q, k] = -distance(query[e, q], members.mean(0), smooth)
                else:
                    expected[e, q, k] = -sum(distance(query[e, q], clip, smooth) for clip in members) / len(members)
    scores = get_head("otam", smooth=smooth, shots=shots)(query, support, labels)
    torch.testing.assert_close(scores, expected)


def test_the_presets_are_the_two_published_codes(draw: Draw) -> None:
    query, support, labels, _ = draw(shot=2)
    cao, wang = get_head("otam"), get_head("otam", variant="clip-fsar")
    assert (cao.smooth, cao.shots, wang.smooth, wang.shots) == (0.1, "distances", 0.5, "features")
    inputs = query, support, labels
    torch.testing.assert_close(cao(*inputs), get_head("otam", smooth=0.1, shots="distances")(*inputs))
    torch.testing.assert_close(
        get_head("otam", variant="clip-fsar", smooth=0.1, shots="distances")(*inputs), cao(*inputs)
    )
    assert not torch.allclose(cao(*inputs), wang(*inputs))


def test_clips_of_different_length() -> None:
    frames = torch.rand(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = table(frames, 0.5) + table(frames.T, 0.5)
    assert math.isclose(float(align(frames, 0.5)), expected, rel_tol=1e-12)
    assert math.isclose(float(align(frames.T, 0.5)), expected, rel_tol=1e-12)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("smooth", [1.0, 0.5, 0.1, 0.02])
@pytest.mark.parametrize("shape", [(8, 8), (1, 1), (1, 5), (40, 40)])
def test_products_of_exponentials_are_soft_minima(shape: tuple[int, int], smooth: float, kind: torch.dtype) -> None:
    """Costs and gradients of both forms, also where clips are as unlike as can be."""
    draw = torch.Generator().manual_seed(0)
    frames = 2 * torch.rand(*shape, 6, dtype=torch.float64, generator=draw)
    frames[..., 0], frames[..., 1] = 0, 2
    made, plain = (frames.clone().to(x).requires_grad_() for x in (kind, torch.float64))
    costs = align(made, smooth)
    expected = _cost(plain, smooth) + _cost(plain.transpose(0, 1), smooth)
    costs.sum().backward()
    expected.sum().backward()
    assert costs.dtype == kind
    close = {"rtol": 1e-5, "atol": 1e-5} if kind == torch.float32 else {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(costs.double(), expected, **close)
    assert made.grad is not None
    assert plain.grad is not None
    torch.testing.assert_close(made.grad.double(), plain.grad, rtol=5e-3 if kind == torch.float32 else 1e-9, atol=1e-5)


def test_small_smoothness_does_not_overflow() -> None:
    frames = torch.full((8, 8), 2.0, requires_grad=True)  # opposed clips: the naive form underflows to infinity
    cost = align(frames, 0.01)
    cost.backward()
    assert cost.isfinite()
    assert frames.grad is not None
    assert frames.grad.isfinite().all()
