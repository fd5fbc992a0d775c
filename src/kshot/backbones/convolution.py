"""A convolution and the ReLU behind it in one pass over memory, by oneDNN, which PyTorch brings for most CPUs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def fuses(x: Tensor) -> bool:
    """Whether `fused` takes these maps on the CPU: those of single precision, in inference mode."""
    return (
        x.dtype == torch.float32
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_convolution_weight")
        and torch.is_inference_mode_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()  # which chooses by itself
    )


def packed(weight: Tensor, shape: torch.Size, more: int, stride: int, groups: int) -> Tensor:
    """A filter in the order that oneDNN wants for maps of a shape, which else it makes anew for each call.

    Args:
        weight: (D, C / groups, k, k).
        shape: (N, C, H, W); `fused` takes the filter for maps of other shapes too, at the price of the other order.
        more: as for `fused`.
        stride: as for `fused`.
        groups: as for `fused`.
    """
    if more % 2:  # a wider filter that begins with zeros is padded alike on both sides, without a copy of x
        weight = F.pad(weight, [1, 0, 1, 0])
    order = torch.ops.mkldnn._reorder_convolution_weight
    out: Tensor = order(weight, [(more + 1) // 2] * 2, [stride] * 2, [1, 1], groups, list(shape))
    return out


def fused(x: Tensor, weight: Tensor, bias: Tensor, more: int, stride: int, groups: int, most: float | None) -> Tensor:
    """A convolution, and of what comes out no less than 0 and no more than `most`.

    Args:
        x: (N, C, H, W), for which `fuses` holds.
        weight: what `packed` gave.
        bias: (D,).
        more: places of padding in each direction, both sides together; an odd one lies below and on the right.
        stride: in both directions.
        groups: of channels.
        most: of the values; None for all as they are.
    """
    both = [(more + 1) // 2] * 2
    after = ("none", [], "") if most is None else ("hardtanh", [0.0, most], "")
    run = torch.ops.mkldnn._convolution_pointwise  # what torch.compile makes of these two, too
    out: Tensor = run(x, weight, bias, both, [stride] * 2, [1, 1], groups, *after)
    return out
