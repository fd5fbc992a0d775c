"""What an extraction would cost in time and disk, measured on a few clips before it is begun."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kshot.activations import decoding
from kshot.activations.encoding import cut_number, encode
from kshot.activations.extraction import load_both
from kshot.activations.recipe import Recipe
from kshot.activations.shards import Array
from kshot.activations.task import IDENTITIES, Task
from kshot.datasets import Dataset
from kshot.errors import VideoError
from kshot.settings import TORCH, Arithmetic

if TYPE_CHECKING:
    from kshot.backbones.backbone import Backbone


@dataclass(frozen=True)
class Estimate:
    """What an extraction would cost.

    Attributes:
        data: name of the data set.
        backbone: name of the backbone.
        clips: how many it has.
        stored: how many of them are stored already.
        bytes: on disk, of all clips.
        bytes_to_write: of the missing ones.
        seconds: for the missing ones.
        seconds_decode: a clip, in one process.
        seconds_encode: a clip.
        measured_on: clips that were timed.
        unreadable: path -> why one of those could not be read.
        store: the store folder.
    """

    data: str
    backbone: str
    clips: int
    stored: int
    bytes: int
    bytes_to_write: int
    seconds: float
    seconds_decode: float
    seconds_encode: float
    measured_on: int
    unreadable: dict[str, str]
    store: str

    def report(self) -> dict[str, Any]:
        """What `kshot extract --dry-run --json` prints."""
        return asdict(self)


def estimate(
    data: str | Path | Dataset,
    backbone: str | Path | Backbone | None = None,
    cut: str | int = "last",
    store: str | Path | None = None,
    frames: int | None = None,
    dtype: str = "float16",
    device: str = "cpu",
    precision: str = "float32",
    encoder: str = TORCH,
    workers: int | None = None,
    resize: str = "short",
    allow_damaged: bool = False,
    identity: str = IDENTITIES[0],
) -> Estimate:
    """What `kshot.extract` would cost; writes nothing but the digests of the clips.

    Args:
        data: as for `kshot.extract`, and so are all others.
        backbone: see there.
        cut: see there.
        store: see there.
        frames: see there.
        dtype: see there.
        device: see there.
        precision: see there.
        encoder: see there.
        workers: see there.
        resize: see there.
        allow_damaged: see there.
        identity: see there; by "stat" a clip that was never read counts as missing.

    Raises:
        OptionError: an unknown cut, dtype or resize, or frames < 1 or no whole units.
        StoreError: the store cannot be used.
    """
    data, backbone = load_both(data, backbone, Arithmetic(device=device, precision=precision, encoder=encoder))
    resize, frames = backbone.resized(resize), backbone.frames_of(frames)
    number = cut_number(backbone, cut)
    count = decoding.processes(workers)
    task = Task.open(
        data, backbone, Recipe(number, frames, dtype, backbone.image.exact, resize), store, identity=identity
    )
    todo = task.todo()
    sample = decoding.spread(todo) or [0]
    clips = [data.clips[i] for i in sample]
    seconds, results = decoding.timed_decoding(clips, frames, backbone.size, resize, allow_damaged)
    encoding, bytes_a_clip = _timed_encoding(
        backbone, number, [r.frames for r in results if not isinstance(r, VideoError)], dtype
    )
    each = encoding + seconds / decoding.decoders(count)
    return Estimate(
        data=data.name,
        backbone=backbone.name,
        clips=len(data),
        stored=len(data) - len(todo),
        bytes=bytes_a_clip * len(data),
        bytes_to_write=bytes_a_clip * len(todo),
        seconds=round(each * len(todo), 1),
        seconds_decode=seconds,
        seconds_encode=encoding,
        measured_on=len(sample),
        unreadable={str(clip): str(r) for clip, r in zip(clips, results, strict=True) if isinstance(r, VideoError)},
        store=str(task.store.root),
    )


def _timed_encoding(backbone: Backbone, cut: int, clips: list[Array], dtype: str) -> tuple[float, int]:
    """Seconds and bytes a clip; nothing for no clip."""
    if not clips:
        return 0.0, 0
    size = encode(backbone, cut, np.stack(clips[:1]), dtype, backbone.image.exact).nbytes  # the first call warms up
    begin = time.monotonic()
    for clip in clips:
        encode(backbone, cut, np.stack([clip]), dtype, backbone.image.exact)
    return (time.monotonic() - begin) / len(clips), size
