"""A convolution and the ReLU behind it in one pass over memory, by oneDNN, which PyTorch brings for most CPUs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def fuses(x: Tensor) -> bool:
    """Whether `Fused` takes these maps on the CPU: those of single precision, in inference mode."""
    return (
        x.dtype == torch.float32
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_convolution_weight")
        and torch.is_inference_mode_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()  # which chooses by itself
    )


class Fused:
    """A convolution, and of what comes out no less than 0 and no more than a bound.

    The filter is kept in the order that oneDNN wants for the maps that came first; else each call would make it anew.
    """

    def __init__(self) -> None:
        self._kept: tuple[Tensor, int, Tensor] | None = None

    def __call__(
        self, x: Tensor, weight: Tensor, bias: Tensor, more: int, stride: int, groups: int, most: float | None
    ) -> Tensor:
        """What comes out.

        Args:
            x: (N, C, H, W), for which `fuses` holds.
            weight: (D, C / groups, k, k), the same object as long as it is the same filter.
            bias: (D,).
            more: places of padding in each direction, both sides together; an odd one lies below and on the right.
            stride: in both directions.
            groups: of channels.
            most: of the values; None for all as they are.
        """
        both, kept = [(more + 1) // 2] * 2, self._kept  # other threads may keep theirs meanwhile
        if kept is None or kept[0] is not weight or kept[1] != more:
            # A wider filter that begins with zeros is padded alike on both sides, without a copy of x.
            wide = F.pad(weight, [1, 0, 1, 0]) if more % 2 else weight
            order = torch.ops.mkldnn._reorder_convolution_weight
            kept = weight, more, order(wide, both, [stride] * 2, [1, 1], groups, list(x.shape))
            self._kept = kept
        after = ("none", [], "") if most is None else ("hardtanh", [0.0, most], "")
        run = torch.ops.mkldnn._convolution_pointwise  # what torch.compile makes of these two, too
        out: Tensor = run(x, kept[2], bias, both, [stride] * 2, [1, 1], groups, *after)
        return out
