"""The two halves of a backbone at work: the trunk from frames to activations, the tail from those to embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from kshot import processes
from kshot.activations.activations import Activations
from kshot.activations.feed import ahead
from kshot.activations.packing import PACKED, packed
from kshot.activations.shards import Array
from kshot.errors import OptionError, StoreError

if TYPE_CHECKING:
    from torch import Tensor

    from kshot.backbones.backbone import Backbone


def cut_number(backbone: Backbone, cut: str | int) -> int:
    """The number of a cut given by name or number.

    Raises:
        OptionError: neither a known name nor 0..L+1.
    """
    last = backbone.depth
    names = {"frames": 0, "last": last, "embedding": last + 1}
    if isinstance(cut, str) and cut in names:
        return names[cut]
    if str(cut).isdecimal() and int(cut) <= last + 1:
        return int(cut)
    raise OptionError(f"cut '{cut}' does not exist: expected last, frames, embedding or 0..{last + 1}")


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes with one thread: some sums are rounded otherwise by several, and machines have other numbers."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def launch(backbone: Backbone, cut: int, clips: Array, condense: bool = True) -> Tensor:
    """The trunk at work: activations (n, rows, ...) on the device, where they may not be finished yet.

    Args:
        backbone: as for `encode`, and so are the others.
        cut: see there.
        clips: see there.
        condense: see there.
    """
    import torch

    with torch.inference_mode():
        pixels = torch.from_numpy(clips)
        if cut == 0:
            return pixels
        if backbone.device.type == "cuda":
            pixels = pixels.pin_memory()  # else the copy waits for the device
        values = backbone.encode_to(backbone.pixels(pixels.flatten(0, 1).to(backbone.device, non_blocking=True)), cut)
        if condense and cut == backbone.depth:
            values = backbone.condense(values)
        return values.view(len(clips), -1, *values.shape[1:])


def finish(values: Tensor, cut: int, dtype: str) -> Array:
    """What `launch` gave as it is stored, once the device is ready.

    Args:
        values: (n, rows, ...).
        cut: of the activations.
        dtype: as for `encode`.

    Raises:
        StoreError: values that `dtype` cannot hold.
    """
    import torch

    if cut == 0:
        frames: Array = values.numpy()
        return frames
    with torch.inference_mode():
        stored = values if dtype in PACKED else values.to(getattr(torch, dtype))
        if not bool(torch.isfinite(stored).all()):
            raise StoreError(f"activations of this backbone at cut {cut} exceed {dtype}: use dtype float32")
        result: Array = packed(stored, dtype) if dtype in PACKED else stored.cpu().numpy()
    return result


def encode(backbone: Backbone, cut: int, clips: Array, dtype: str, condense: bool = True) -> Array:
    """The trunk: activations (n, rows, ...) at a cut of decoded clips, a row for each unit; frames at cut 0.

    Args:
        backbone: whose trunk.
        cut: number of the block that receives the activations, 0..L+1.
        clips: uint8 (n, frames, S, S, 3).
        dtype: as stored, one of `kshot.settings.DTYPES`; uint8 at cut 0. The result is packed where it has 8 bits, see
            `kshot.activations.packing`.
        condense: at the last block, give what its exact form needs (see `Backbone.condense`) rather than the tokens.

    Raises:
        StoreError: values that `dtype` cannot hold.
    """
    return clips if cut == 0 else finish(launch(backbone, cut, clips, condense), cut, dtype)


def tail(
    backbone: Backbone | None, values: Array | Tensor, cut: int | None, support: int = 0, changing: bool = False
) -> Tensor:
    """The tail: embeddings (n, rows, P) of activations, a row for each unit; keeps gradients of what learns.

    Args:
        backbone: whose tail; None for ready-made features.
        values: (n, rows, ...), or (n, frames, ...) at cut 0, as `Activations.gather` or a `Feed` gives them.
        cut: at which they were taken; None for ready-made features.
        support: the first clips, if they are the support of one episode; see `kshot.backbones.backbone.Rows`.
        changing: whether frames are pooled by how much each place changes in their clip.
    """
    import torch

    stored = values if isinstance(values, torch.Tensor) else torch.from_numpy(values)
    if cut is None or backbone is None:
        return stored.float()
    flat = stored.flatten(0, 1).to(backbone.device, non_blocking=True)
    if cut == 0:
        flat = backbone.pixels(flat)
    embeddings = backbone.encode_from(flat, cut, len(flat) // len(stored), support, changing)
    return embeddings.view(len(stored), -1, backbone.embed_dim)


def embed(
    backbone: Backbone, activations: Activations, indices: Sequence[int] | None = None, changing: bool = False
) -> Tensor:
    """Embeddings (n, rows, P), float32: one pass of the tail over stored activations, without gradients.

    Processes that work together do a part of the batches each, and have all of them.

    Args:
        backbone: whose tail.
        activations: of a data set.
        indices: of its clips; None for all of them.
        changing: as for `tail`.

    Raises:
        StoreError: a shard is damaged or gone.
    """
    import torch

    chosen = np.arange(len(activations.data)) if indices is None else np.asarray(indices)
    if not len(chosen):
        return torch.empty(0)
    with torch.no_grad():
        first = tail(backbone, activations.gather(chosen[:1]), activations.cut, changing=changing)  # tells the shape
        out = first.new_empty(len(chosen), *first.shape[1:])
        out[:1] = first
        per_batch = max(1, 512 // (first.shape[1] * backbone.unit))
        batches = [slice(start, start + per_batch) for start in range(1, len(chosen), per_batch)]
        own = processes.dealt(batches)
        reading = ahead(activations.gather, [chosen[batch] for batch in own], backbone.device)
        for batch, values in zip(own, reading, strict=True):
            out[batch] = tail(backbone, values, activations.cut, changing=changing)
        for number, batch in enumerate(batches):
            processes.share(out[batch], number % processes.world())
    return out
