"""The shared formulas of heads against loops over single numbers, with shapes of which no two axes are alike."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kshot.heads.formulas import (
    by_class,
    class_means,
    cosine,
    frame_distances,
    full,
    held_out_loss,
    membership,
    pool,
    soft_min,
    unit,
)

LABELS = torch.tensor([[1, 0, 1, 2, 1, 0], [2, 2, 0, 2, 2, 1]])
"""Two episodes of three classes, of one to four clips."""


@pytest.fixture
def draw() -> Callable[..., Tensor]:
    random = torch.Generator().manual_seed(3)
    return lambda *shape: torch.randn(*shape, generator=random, dtype=torch.float64)


def length(x: Tensor) -> float:
    return math.sqrt(sum(value * value for value in x.tolist()))


def angle(one: Tensor, other: Tensor) -> float:
    """Cosine of two vectors; 0 where one of them is zero."""
    lengths = length(one) * length(other)
    return sum(a * b for a, b in zip(one.tolist(), other.tolist(), strict=True)) / lengths if lengths else 0.0


def test_unit_by_a_loop(draw: Callable[..., Tensor]) -> None:
    x = draw(2, 3, 5)
    x[0, 1] = 0
    found = unit(x)
    for row, wanted in zip(found.flatten(0, 1), x.flatten(0, 1), strict=True):
        size = length(wanted) or 1.0
        assert row.tolist() == pytest.approx([value / size for value in wanted.tolist()])


def test_cosine_by_a_loop(draw: Callable[..., Tensor]) -> None:
    query, others = draw(2, 4, 5), draw(2, 3, 5)
    others[1, 2] = 0
    found = cosine(query, others)
    assert found.shape == (2, 4, 3)
    for e in range(2):
        for q in range(4):
            assert found[e, q].tolist() == pytest.approx([angle(query[e, q], other) for other in others[e]])


def test_pool_by_a_loop_and_once_is_enough(draw: Callable[..., Tensor]) -> None:
    clips = draw(4, 3, 5)
    found = pool(clips)
    assert found.shape == (4, 1, 5)
    for clip, row in zip(clips, found[:, 0], strict=True):
        mean = [sum(clip[:, d].tolist()) / 3 for d in range(5)]
        size = math.sqrt(sum(value * value for value in mean))
        assert row.tolist() == pytest.approx([value / size for value in mean])
    torch.testing.assert_close(pool(found), found)


def test_frame_distances_by_a_loop(draw: Callable[..., Tensor]) -> None:
    query, support = draw(2, 3, 4, 5), draw(2, 7, 6, 5)
    found = frame_distances(query, support)
    assert found.shape == (4, 6, 2, 3, 7) and found.is_contiguous()
    for e in range(2):
        for q in range(3):
            for n in range(7):
                wanted = [[1 - angle(t, s) for s in support[e, n]] for t in query[e, q]]
                torch.testing.assert_close(found[:, :, e, q, n], torch.tensor(wanted, dtype=torch.float64))


def test_membership_and_class_means_by_a_loop(draw: Callable[..., Tensor]) -> None:
    x = draw(2, 6, 3, 4)
    found, member = class_means(x, LABELS, 3), membership(LABELS, 3, torch.float32)
    assert found.shape == (2, 3, 3, 4) and member.shape == (2, 6, 3) and member.dtype == torch.float32
    for e in range(2):
        for k in range(3):
            clips = [n for n in range(6) if LABELS[e, n] == k]
            torch.testing.assert_close(found[e, k], sum(x[e, n] for n in clips) / len(clips))
            assert member[e, :, k].tolist() == [float(n in clips) for n in range(6)]


def test_a_class_without_a_clip_has_a_mean_of_zero() -> None:
    means = class_means(torch.ones(1, 2, 3), torch.tensor([[0, 2]]), 4)
    assert means.sum(-1).tolist() == [[3, 0, 3, 0]] and means.isfinite().all()


def test_with_one_clip_a_class_means_are_the_clips_in_order(draw: Callable[..., Tensor]) -> None:
    x = draw(1, 3, 2, 4)
    torch.testing.assert_close(class_means(x, torch.tensor([[2, 0, 1]]), 3), x[:, [1, 2, 0]], rtol=0, atol=0)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("smooth", [0.1, 1.0, 3.0])
def test_soft_min_by_its_formula(count: int, smooth: float, draw: Callable[..., Tensor]) -> None:
    values = draw(count, 4, 2)
    found = soft_min(*values, smooth=smooth)
    for i in range(4):
        for j in range(2):
            total = sum(math.exp(-value / smooth) for value in values[:, i, j].tolist())
            assert float(found[i, j]) == pytest.approx(-smooth * math.log(total))
    assert (found <= values.amin(0) + 1e-12).all(), "never above the smallest"


def test_held_out_loss_by_a_loop(draw: Callable[..., Tensor]) -> None:
    logits = draw(2, 6, 3)
    found = held_out_loss(logits, LABELS)
    for e in range(2):
        losses = []
        for n in range(6):
            norm = math.log(sum(map(math.exp, logits[e, n].tolist())))
            losses.append(norm - float(logits[e, n, LABELS[e, n]]))
        assert float(found[e]) == pytest.approx(sum(losses) / 6)


@pytest.mark.parametrize(
    "labels",
    [LABELS, torch.tensor([[0, 0, 1, 1, 2, 2]] * 2), torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 2, 2]]),
     torch.tensor([[0, 0, 0, 1, 1, 2], [2, 1, 1, 0, 0, 0]])],
)  # fmt: skip
def test_by_class_by_a_loop(labels: Tensor, draw: Callable[..., Tensor]) -> None:
    x = draw(2, 6, 2, 3)
    rows, present = by_class(x, labels, 3)
    most = max(int((labels[e] == k).sum()) for e in range(2) for k in range(3))
    assert rows.shape == (2, 3, most, 2, 3) and present.shape == (2, 3, most) and present.dtype == torch.bool
    for e in range(2):
        for k in range(3):
            clips = [n for n in range(6) if labels[e, n] == k]
            assert present[e, k].tolist() == [place < len(clips) for place in range(most)]
            torch.testing.assert_close(rows[e, k, : len(clips)], x[e, clips], rtol=0, atol=0)
            for filled in rows[e, k, len(clips) :]:
                torch.testing.assert_close(filled, x[e, 0], rtol=0, atol=0)


def test_by_class_of_a_number_of_clips_that_the_classes_do_not_divide() -> None:
    rows, present = by_class(torch.arange(5.0).view(1, 5, 1), torch.tensor([[0, 0, 1, 1, 1]]), 2)
    assert rows[..., 0].tolist() == [[[0, 1, 0], [2, 3, 4]]]
    assert present.tolist() == [[[True, True, False], [True, True, True]]]


def test_full_keeps_values_and_brings_no_copy_where_none_is_needed() -> None:
    half, single = torch.tensor([0.1, 3.0]).half(), torch.tensor([0.1])
    assert full(half).tolist() == half.tolist() and full(single) is single
