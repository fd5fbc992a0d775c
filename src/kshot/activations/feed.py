"""Stored activations on their way to a device: kept there whole where they fit, else read ahead into pinned memory.

A batch is a function of its number, so the next ones can be read while one is at work. On the CPU nothing is moved or
read ahead: the batch is read when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kshot import processes
from kshot.activations.activations import Activations
from kshot.activations.shards import Array
from kshot.draws import key

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SHARE = 0.5  # of the free memory of a device that activations may take: a step needs room, too
DEPTH = 2  # batches that are read ahead
CLIPS = 256  # that are moved to a device at a time, to be kept there


class Feed:
    """Batches of activations, by their number.

    Args:
        activations: of the clips.
        device: that works on them.
        clips: indices of the clips of batch i.
        seed: of the draw of views, see `Activations.gather`.
        free: bytes that are free on a device; None for what it says itself.

    Attributes:
        kept: whether all of the activations lie on the device.
        notes: a sentence where they do not, for want of room.
    """

    def __init__(
        self,
        activations: Activations,
        device: torch.device,
        clips: Callable[[int], Sequence[int]],
        seed: int,
        free: int | None = None,
    ) -> None:
        self._activations, self._device, self._clips, self._seed = activations, device, clips, seed
        self._coming: dict[int, Future[Tensor]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._rows: Tensor | None = None
        self.notes: tuple[str, ...] = ()
        if device.type != "cpu" or free is not None:
            self._move(_free(device) if free is None else free)

    @property
    def kept(self) -> bool:
        """Whether all of the activations lie on the device."""
        return self._rows is not None

    @property
    def _views(self) -> int:
        seen = self._activations.seen
        return 1 if seen is None else seen.shape[1]

    def _move(self, free: int) -> None:
        """Moves everything to the device, or makes ready to read ahead where it has no room for that."""
        import torch

        part, views = self._activations, self._views
        needed = len(part.data) * views * part.gather([0]).nbytes
        if needed <= SHARE * free:
            try:
                self._rows = self._moved(part, views)
                return
            except torch.OutOfMemoryError:
                pass
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="kshot-feed")
        self.notes = (
            f"activations of {len(part.data):,} clips ({needed / 1e9:.1f} GB) do not fit on {self._device} beside the "
            f"rest ({free / 1e9:.1f} GB free): they are read ahead of each step instead",
        )

    def _moved(self, part: Activations, views: int) -> Tensor:
        """(clips * views, ...) all activations, the views of a clip in a row."""
        import torch

        rows: Tensor | None = None
        for start in range(0, len(part.data), CLIPS):
            some = np.arange(start, min(start + CLIPS, len(part.data)))
            for view in range(views):
                values = torch.from_numpy(part.view(some, np.full(len(some), view)))
                if rows is None:
                    shape = (len(part.data), views, *values.shape[1:])
                    rows = torch.empty(shape, dtype=values.dtype, device=self._device)
                rows[start : start + len(some), view] = values.to(self._device)
        assert rows is not None
        return rows.flatten(0, 1)

    def __call__(self, number: int) -> Array | Tensor:
        """Activations (n, ...) of the clips of a batch: on the device, or in memory on the CPU.

        Raises:
            StoreError: a shard is damaged or gone.
        """
        import torch

        if self._rows is not None:
            clips = np.asarray(self._clips(number))
            rows = clips * self._views + drawn_views(clips, self._views, self._seed, number)
            return self._rows.index_select(0, moved(torch.from_numpy(rows), self._device))
        if self._pool is None:
            return self._activations.gather(self._clips(number), visit=(self._seed, number))
        wanted = range(number, number + DEPTH * processes.world() + 1, processes.world())  # those of this process
        for ahead in wanted:
            if ahead not in self._coming:
                self._coming[ahead] = self._pool.submit(self._read, ahead)
        values = self._coming.pop(number).result()
        for old in [other for other in self._coming if other not in wanted]:
            self._coming.pop(old).cancel()
        return values.to(self._device, non_blocking=True)

    def _read(self, number: int) -> Tensor:
        import torch

        values = torch.from_numpy(self._activations.gather(self._clips(number), visit=(self._seed, number)))
        return values.pin_memory() if self._device.type == "cuda" else values


def drawn_views(clips: NDArray[np.int64], views: int, seed: int, number: int) -> NDArray[np.int64]:
    """(n,) which of its stored views each clip shows in a batch."""
    if views == 1:
        return np.zeros(len(clips), np.int64)
    return (key(13, seed, number, clips) % np.uint64(views)).astype(np.int64)


def moved(values: Tensor, device: torch.device) -> Tensor:
    """Values on a device, without waiting for it."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def ahead(read: Callable[[Any], Array], parts: Sequence[Any], device: torch.device) -> Iterator[Array]:
    """What is read of each part; with a device beside the CPU, the next one while one is at work."""
    if device.type == "cpu" or len(parts) < 2:
        yield from map(read, parts)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="kshot-feed") as pool:
        coming = pool.submit(read, parts[0])
        for part in parts[1:]:
            values, coming = coming.result(), pool.submit(read, part)
            yield values
        yield coming.result()


def _free(device: torch.device) -> int:
    """Bytes that are free on a device; 0 where it does not tell."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return 0
