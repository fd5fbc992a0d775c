"""Activations in 8 bits: whole numbers, or e4m3 floating ones, with a scale for each token.

A packed token is its values and a float32 `scale`, in one structured type of NumPy's, so a shard can be read without
kshot: `rows["values"] * rows["scale"][..., None]`. The scale is symmetric: the largest magnitude of the token becomes
127, or 448 of e4m3 (Micikevicius et al., 2022, arXiv 2209.05433). A token of 768 channels takes 772 bytes, 0.503 times
its float16.

A token is the last axis. Of a convolutional map (channels, height, width) it is a channel's places.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

PACKED = {"int8": ("i1", 127.0), "float8": ("u1", 448.0)}
"""Name -> type of a value in NumPy, which has no float8, and the largest one."""
SMALLEST = 1e-30  # of a largest magnitude: less counts as zero, since its scale would have lost its digits


def packed(values: Tensor, dtype: str) -> NDArray[Any]:
    """Activations as they are stored.

    Args:
        values: floating (n, rows, ...) of n clips, on any device.
        dtype: "int8" or "float8".

    Returns:
        Of `packed_type`: (n, rows) of vectors, (n, rows, tokens) of tokens.
    """
    import torch

    lead = values.shape[: _lead(values.ndim)]
    flat = values.float().reshape(*lead, -1)
    most = flat.abs().amax(-1, keepdim=True)
    scale = torch.where(most > SMALLEST, most / PACKED[dtype][1], 1.0)
    flat = flat / scale
    kept = flat.round().to(torch.int8) if dtype == "int8" else flat.cpu().to(torch.float8_e4m3fn).view(torch.uint8)
    out = np.empty(lead, packed_type(tuple(values.shape[len(lead) :]), dtype))
    out["values"] = kept.cpu().numpy().reshape(out["values"].shape)
    out["scale"] = scale[..., 0].cpu().numpy()
    return out


def unpacked(values: NDArray[Any]) -> NDArray[Any]:
    """What `packed` was given, as near as its 8 bits come to it, in float32; anything else as it is."""
    if values.dtype.names is None:
        return values
    kept = values["values"]
    scale = values["scale"].reshape(values.shape + (1,) * (kept.ndim - values.ndim))
    plain = kept if kept.dtype == np.int8 else _floats()[kept]
    whole: NDArray[Any] = np.multiply(plain, scale, dtype=np.float32)
    return whole


def packed_type(token: tuple[int, ...], dtype: str) -> np.dtype[Any]:
    """The type of a packed token of a shape."""
    return np.dtype([("values", PACKED[dtype][0], token), ("scale", "<f4")])


def is_packed(dtype: np.dtype[Any]) -> bool:
    """Whether a type is one of those that `packed_type` makes."""
    if dtype.names != ("values", "scale"):
        return False
    base, token = dtype["values"].base.str[1:], dtype["values"].shape
    return any(base == kind and dtype == packed_type(token, name) for name, (kind, _) in PACKED.items())


def stored_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Bytes that activations of that shape, (n, rows, ...), take in a store."""
    if dtype not in PACKED:
        return math.prod(shape) * np.dtype(dtype).itemsize
    lead = _lead(len(shape))
    return math.prod(shape[:lead]) * packed_type(tuple(shape[lead:]), dtype).itemsize


def _lead(axes: int) -> int:
    """How many of the axes of (n, rows, ...) come before those of a token."""
    return 2 if axes == 3 else 3


@functools.cache
def _floats() -> NDArray[np.float32]:
    """The 256 numbers of e4m3."""
    import torch

    return torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float().numpy()
