"""The shared formulas, against tables worked out by hand."""

from __future__ import annotations

import math

import torch

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


def test_unit_keeps_directions_and_zero() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-2.0, 0.0]], requires_grad=True)
    out = unit(x)
    torch.testing.assert_close(out, torch.tensor([[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]]))
    out.sum().backward()
    assert x.grad is not None
    # d(unit)/dx = (1 - u u^T) / |x|: (1 - 0.36 - 0.48) / 5 and (1 - 0.48 - 0.64) / 5
    torch.testing.assert_close(x.grad[0], torch.tensor([0.032, -0.024]))
    assert x.grad.isfinite().all()


def test_cosine_table() -> None:
    query = torch.tensor([[[1.0, 0.0], [2.0, 2.0]]])
    others = torch.tensor([[[5.0, 0.0], [0.0, 0.1], [-1.0, -1.0]]])
    half = math.sqrt(0.5)
    torch.testing.assert_close(cosine(query, others), torch.tensor([[[1.0, 0.0, -half], [half, half, -1.0]]]))


def test_pool_is_the_unit_mean_of_frames_in_full_precision() -> None:
    clips = torch.tensor([[[60000.0, 60000.0], [0.0, 60000.0]]]).half()
    assert pool(clips).dtype == torch.float32
    torch.testing.assert_close(pool(clips), torch.tensor([[[1 / math.sqrt(5), 2 / math.sqrt(5)]]]))


def test_full_leaves_single_and_double_alone() -> None:
    for dtype, expected in (
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        assert full(torch.ones(1, dtype=dtype)).dtype == expected


def test_class_means_of_unequal_classes() -> None:
    x = torch.tensor([[[1.0, 1.0], [3.0, 5.0], [10.0, 20.0]]])
    means = class_means(x, torch.tensor([[1, 1, 0]]), way=2)
    assert means.tolist() == [[[10.0, 20.0], [2.0, 3.0]]]
    frames = class_means(x.view(1, 3, 2, 1), torch.tensor([[1, 1, 0]]), way=2)
    assert frames.shape == (1, 2, 2, 1)


def test_membership() -> None:
    assert membership(torch.tensor([[2, 0]]), 3, torch.float64).tolist() == [[[0, 0, 1], [1, 0, 0]]]


def test_soft_min_by_hand_and_beyond_the_range_of_exp() -> None:
    three = soft_min(torch.tensor(1.0), torch.tensor(1.0), torch.tensor(1.0), smooth=0.5)
    assert math.isclose(float(three), 1 - 0.5 * math.log(3), rel_tol=1e-6)
    two = soft_min(torch.tensor(0.0), torch.tensor(1.0), smooth=0.5)
    assert math.isclose(float(two), -0.5 * math.log(1 + math.exp(-2)), rel_tol=1e-6)
    far = torch.tensor([50.0, 60.0], requires_grad=True)  # exp(-500) is zero in single precision
    value = soft_min(far[0], far[1], smooth=0.1)
    value.backward()
    assert math.isclose(value.item(), 50.0, rel_tol=1e-6)
    assert far.grad is not None
    assert far.grad.tolist() == [1.0, 0.0]


def test_frame_distances_put_frames_first() -> None:
    query = torch.tensor([[[[1.0, 0.0], [0.0, 3.0]]]])  # one query of two frames
    support = torch.tensor([[[[2.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0]] * 3]])  # two clips of three
    table = frame_distances(query, support)
    assert table.shape == (2, 3, 1, 1, 2)
    torch.testing.assert_close(table[:, :, 0, 0, 0], torch.tensor([[0.0, 2.0, 1.0], [1.0, 1.0, 0.0]]))
    torch.testing.assert_close(table[:, :, 0, 0, 1], torch.full((2, 3), 1 - math.sqrt(0.5)))


def test_held_out_loss_by_hand() -> None:
    logits = torch.tensor([[[0.0, 0.0], [math.log(3), 0.0]]])
    # -log(1/2) and -log(1/4)
    expected = (math.log(2) + math.log(4)) / 2
    torch.testing.assert_close(held_out_loss(logits, torch.tensor([[0, 1]])), torch.tensor([expected]))


def test_by_class_in_order_out_of_order_and_unequal() -> None:
    x = torch.arange(4.0).view(1, 4, 1)
    ordered, present = by_class(x, torch.tensor([[0, 0, 1, 1]]), way=2)
    assert ordered[..., 0].tolist() == [[[0, 1], [2, 3]]]
    assert present.all()
    shuffled, present = by_class(x, torch.tensor([[1, 0, 1, 0]]), way=2)
    assert shuffled[..., 0].tolist() == [[[1, 3], [0, 2]]]
    assert present.all()
    unequal, present = by_class(x, torch.tensor([[1, 1, 0, 1]]), way=2)
    assert present.tolist() == [[[True, False, False], [True, True, True]]]
    assert unequal[..., 0][present].tolist() == [2, 0, 1, 3]
