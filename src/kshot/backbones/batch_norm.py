"""A batch norm as backbones have it: scale and shift may learn, its statistics stay unless they are told to drift."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOMENTUM = 0.1
"""The batch's share in running statistics that drift, PyTorch's own."""


class BatchNorm(nn.Module):
    """A batch norm whose statistics stay as they came, whatever learns, unless it drifts: (N, C, h, w) -> (N, C, h, w).

    Attributes:
        weight: (C,) scale.
        bias: (C,) shift.
        running_mean: (C,) of its training.
        running_var: (C,) of its training.
        eps: added to variances before their root is taken.
        drifts: whether in training mode the batch's own statistics are taken, and the running ones follow them.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps, self.drifts = eps, False
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Channel by channel."""
        batch = self.drifts and self.training
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, batch, MOMENTUM, self.eps)
