"""CLIP's ResNet as numbered blocks: three convolutions before them, and attention in place of the mean over places.

Radford et al., CLIP, ICML 2021 (arXiv 2103.00020), section 2.4: He et al.'s ResNet with an average pool before every
convolution that used to skip places. The modules bear the names of open_clip's checkpoints.

The attention pool is the last block. Its tokens x_i are the mean over places and the places of the last map, each with
a vector of its own, and the mean alone asks. So one query a head is enough, and both the keys' and the values'
projections move, by associativity, from all tokens to that query, as in `kshot.backbones.last_block`:

    u = W_k^T q       a = softmax_i(u . x_i)       v = W_v (sum_i a_i x_i) + b_v

(the keys' bias adds the same number to every logit of a head).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.backbones import last_block
from kshot.backbones.batch_norm import BatchNorm
from kshot.backbones.pooling import PoolingTower
from kshot.backbones.tower import widen
from kshot.errors import OptionError

WIDER = 4  # times as many channels leave a block as its 3x3 convolution has


@dataclass(frozen=True)
class Config:
    """What describes the network.

    Attributes:
        layers: number of blocks of the four stages.
        width: channels before the first stage; the last map has 32 times as many.
        heads: of the attention pool, a divisor of 32 times the width.
        image_size: side of an image, in pixels, a multiple of 32.
        out: P, width of an embedding.
    """

    layers: tuple[int, ...]
    width: int
    heads: int
    image_size: int
    out: int


class Unit(nn.Module):
    """A block with a residual: (N, C, h, w) -> (N, 4 planes, h / stride, w / stride)."""

    def __init__(self, into: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(into, planes, 1, bias=False), BatchNorm(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False), BatchNorm(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, WIDER * planes, 1, bias=False), BatchNorm(WIDER * planes)
        self.stride = stride
        self.downsample: nn.ModuleDict | None = None
        if stride > 1 or into != WIDER * planes:
            conv = nn.Conv2d(into, WIDER * planes, 1, bias=False)
            self.downsample = nn.ModuleDict({"0": conv, "1": BatchNorm(WIDER * planes)})

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 4 planes, h / stride, w / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(self._pooled(y)))
        if self.downsample is not None:
            x = self.downsample["1"](self.downsample["0"](self._pooled(x)))
        return F.relu(x + y)

    def _pooled(self, x: Tensor) -> Tensor:
        return x if self.stride == 1 else F.avg_pool2d(x, self.stride)


class AttentionPool(nn.Module):
    """Attention of the mean over places to itself and all places: (N, M, D) -> (N, P)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = 32 * config.width
        self.heads = config.heads
        self.positional_embedding = nn.Parameter(torch.empty((config.image_size // 32) ** 2 + 1, width))
        self.k_proj, self.q_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, config.out)

    def forward(self, t: Tensor) -> Tensor:
        """With keys and values of all tokens: (N, M, D) -> (N, P)."""
        x = torch.cat([t.mean(1, keepdim=True), t], 1) + self.positional_embedding
        apart = (len(x), -1, self.heads, x.shape[-1] // self.heads)
        q, k, v = (f(y).view(apart).transpose(1, 2) for f, y in
                   ((self.q_proj, x[:, :1]), (self.k_proj, x), (self.v_proj, x)))  # fmt: skip
        out: Tensor = self.c_proj(F.scaled_dot_product_attention(q, k, v).flatten(1))
        return out

    def pool(self, t: Tensor) -> Tensor:
        """The same without keys and values of the tokens, in any floating type: (N, M, D) -> (N, P)."""
        places, heads = self.positional_embedding, self.heads
        q = (
            self.q_proj(t.mean(1, dtype=places.dtype) + places[0]).view(len(t), heads, -1)
            * (t.shape[-1] // heads) ** -0.5
        )
        q = q + 0 * self.k_proj.bias.sum()  # exactly no gradient, but one that weight decay can see
        u = torch.einsum("nhd,hdc->nhc", q, self.k_proj.weight.view(heads, -1, t.shape[-1]))
        mean: Tensor = _Attend.apply(u, t, places)  # type: ignore[no-untyped-call]
        return self._valued(mean)

    def attend(self, t: Tensor, weights: Tensor) -> Tensor:
        """With weights (N, M) of the places, in all 1 for each row, in place of the query's: (N, M, D) -> (N, P)."""
        mean = torch.einsum("nm,nmd->nd", weights, t + self.positional_embedding[1:])
        return self._valued(mean[:, None].expand(-1, self.heads, -1))

    def _valued(self, mean: Tensor) -> Tensor:
        """Of the heads' mean tokens (N, heads, D)."""
        value = self.v_proj.weight.view(self.heads, -1, mean.shape[-1])
        out: Tensor = self.c_proj(torch.einsum("nhc,hdc->nhd", mean, value).flatten(1) + self.v_proj.bias)
        return out


class _Attend(torch.autograd.Function):
    """softmax(u x^T) x: each head's query u (N, H, D) attends to x (N, 1 + M, D), chunk by chunk of N.

    Of t (N, M, D) and p (1 + M, D) the tokens x are the mean of t and t itself, each with its row of p.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, t: Tensor, p: Tensor) -> Tensor:
        weights, out = u.new_empty(*u.shape[:2], len(p)), torch.empty_like(u, memory_format=torch.contiguous_format)
        for part, x in _tokens(t, p):
            torch.softmax(u[part] @ x.mT, -1, out=weights[part])
            torch.bmm(weights[part], x, out=out[part])
        ctx.save_for_backward(u, t, p, weights)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        u, t, p, weights = ctx.saved_tensors
        grad_u, grad_p = torch.empty_like(u, memory_format=torch.contiguous_format), torch.zeros_like(p)
        grad_t = torch.empty_like(t) if ctx.needs_input_grad[1] else None
        for part, x in _tokens(t, p):
            a = weights[part]
            d = grad[part] @ x.mT
            d = a * (d - (a * d).sum(-1, keepdim=True))
            torch.bmm(d, x, out=grad_u[part])
            for share, rows in ((d, u[part]), (a, grad[part])):
                grad_p.addmm_(share.flatten(0, 1).T, rows.flatten(0, 1))
            if grad_t is not None:
                grad_x = d.mT @ u[part] + a.mT @ grad[part]
                grad_t[part] = grad_x[:, 1:] + grad_x[:, :1] / t.shape[1]
        return grad_u, grad_t, grad_p


def _tokens(t: Tensor, p: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Slices of the rows with the tokens x of `_Attend`, in one buffer used again."""
    rows, size = len(t), p.numel() * p.element_size()
    step = max(1, last_block.CHUNK.get(t.device.type, last_block.CHUNK["cuda"]) // size)
    buffer = p.new_empty(min(step, rows), *p.shape)
    for start in range(0, rows, step):
        part = slice(start, min(start + step, rows))
        x = buffer[: part.stop - start]
        x[:, 1:].copy_(t[part])
        torch.mean(x[:, 1:], 1, out=x[:, 0])
        yield part, x.add_(p)


class ResNet(nn.Module):
    """The network's parts; it has no forward of its own."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.image_size = config.image_size
        half, into = config.width // 2, config.width
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, 2, 1, bias=False), BatchNorm(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, 1, 1, bias=False), BatchNorm(half)
        self.conv3, self.bn3 = nn.Conv2d(half, into, 3, 1, 1, bias=False), BatchNorm(into)
        for stage, count in enumerate(config.layers):
            planes, units = config.width * 2**stage, nn.ModuleList()
            for number in range(count):
                units.append(Unit(into, planes, 2 if stage and not number else 1))
                into = WIDER * planes
            self.add_module(f"layer{stage + 1}", units)
        self.attnpool = AttentionPool(config)

    def stages(self) -> Sequence[nn.Module]:
        """The blocks before the attention pool."""
        return [unit for stage in range(4) for unit in self.get_submodule(f"layer{stage + 1}").children()]


class Stem(nn.Module):
    """Three convolutions and a pool: (N, 3, S, S) -> (N, width, S / 4, S / 4)."""

    def __init__(self, net: ResNet) -> None:
        super().__init__()
        self.convs = nn.ModuleList([net.conv1, net.conv2, net.conv3])
        self.norms = nn.ModuleList([net.bn1, net.bn2, net.bn3])

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, width, S / 4, S / 4)."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        return F.avg_pool2d(x, 2)


class ResNetTower(PoolingTower):
    """CLIP's ResNet, whose last block is the attention pool. Its other attributes are those of `PoolingTower`.

    What enters the first blocks are maps (N, C, h, w), what enters the last are the places of the last map (N, M, D).

    Attributes:
        size: side of its images, in pixels.
        quantises: whether it may run in 8 bits: not its convolutions.
    """

    quantises = False

    def __init__(self, net: ResNet) -> None:
        nn.Module.__init__(self)
        self.embeddings: nn.Module = Stem(net)
        self.blocks = nn.ModuleList([*net.stages(), net.attnpool])
        self.norm: nn.Module = nn.Identity()  # type: ignore[assignment]
        self.projection: nn.Module = nn.Identity()
        self.feature: nn.Module = nn.Identity()
        self.depth, self.size = len(self.blocks), net.image_size
        positions, self.width = net.attnpool.positional_embedding.shape
        self.tokens = positions - 1
        self.precision, self.plain = torch.float32, False

    @property
    def last_map(self) -> nn.Module:
        """What stands for a projection: the one at the end of the attention pool (ProLIP tunes it too)."""
        pool: Any = self.blocks[-1]
        projection: nn.Module = pool.c_proj
        return projection

    def enter_head(self, x: Tensor, cut: int) -> Tensor:
        """The places of the last map (N, M, D), in single precision, from what block `cut` (0..L) receives."""
        if cut == self.depth:
            return widen(x)
        with last_block.arithmetic(x.device, self.precision):
            x = self._embed(x) if cut == 0 else widen(x)
            for block in self.blocks[max(cut, 1) - 1 : -1]:
                x = block(x)
        return widen(x).flatten(2).mT.contiguous()

    def _run(self, block: nn.Module, tokens: Tensor) -> Tensor:
        out: Tensor = block(tokens)
        return out

    def _embed(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, self.size, self.size):
            raise OptionError(f"expected frames of shape (N, 3, {self.size}, {self.size}), got {tuple(x.shape)}")
        out: Tensor = self.embeddings(x)
        return out
