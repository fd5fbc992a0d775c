"""What an extraction would cost in time and disk, measured on a few clips before it is begun."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kshot.activations import decoding
from kshot.activations.encoding import cut_number, encode, one_thread
from kshot.activations.extraction import load_both
from kshot.activations.plan import Plan, expect_engine
from kshot.activations.planned import clip_bytes, share_of
from kshot.activations.recipe import Recipe
from kshot.activations.shards import Array
from kshot.activations.task import IDENTITIES, Task
from kshot.datasets import Dataset
from kshot.errors import VideoError, unknown
from kshot.processes import Share
from kshot.settings import RAY, Arithmetic, Spread

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
        bytes_as_embeddings: on disk, of all clips at cut "embedding", which is enough for frozen backbones.
        actors: processes that extract side by side, each with a core, or a GPU, of its own.
        machine_seconds: of all of them together.
        shards: planned files of all clips; 0 for an extraction without a plan.
        clips_a_shard: in one of these files.
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
    bytes_as_embeddings: int = 0
    actors: int = 1
    machine_seconds: float = 0.0
    shards: int = 0
    clips_a_shard: int = 0

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
    workers: int | None = None,
    resize: str = "short",
    deinterlace: bool = False,
    allow_damaged: bool = False,
    identity: str = IDENTITIES[0],
    **how: Any,
) -> Estimate:
    """What `kshot.extract` would cost; writes nothing but the digests of the clips, and for planned shards not even
    these: then clips whose digest is not known count as missing.

    Without a plan a clip takes the time of its encoding by all cores, and that of its decoding divided among the
    decoding processes. A process that writes planned shards encodes on one thread and decodes on the same core, or
    encodes on a GPU while its share of the cores decodes.

    Args:
        data: as for `kshot.extract`, and so are all others.
        backbone: see there.
        cut: see there.
        store: see there.
        frames: see there.
        dtype: see there.
        workers: see there.
        resize: see there.
        deinterlace: see there.
        allow_damaged: see there.
        identity: see there; by "stat" a clip that was never read counts as missing.
        how: device, precision and encoder, and shard, engine, address and actors, as there. The time is that of the
            share; no cluster is asked.

    Raises:
        OptionError: an unknown cut, dtype or resize, or frames < 1 or no whole units.
        StoreError: the store cannot be used.
    """
    spread, arithmetic = Spread.of(how), Arithmetic.of(how)
    if other := sorted(how.keys() - {*Spread.names(), *Arithmetic.names()}):
        raise unknown("setting", other[0], [*Spread.names(), *Arithmetic.names()])
    expect_engine(**spread.values())
    data, backbone = load_both(data, backbone, arithmetic)
    resize, frames = backbone.resized(resize), backbone.frames_of(frames)
    number = cut_number(backbone, cut)
    count = decoding.processes(workers)
    recipe = Recipe(number, frames, dtype, backbone.image.exact, resize, deinterlace=deinterlace)
    by_plan, plan, name = bool(spread.engine or spread.shard), None, data.name
    if by_plan:
        share = Share.parse(spread.shard) if spread.shard else Share()
        plan = Plan.of(data.clips, clip_bytes(backbone, recipe))
        data, _, _ = share_of(data, backbone, recipe, share)
    task = Task.open(data, backbone, recipe, store, remembered=by_plan, identity=identity)
    todo = task.todo()
    sample = decoding.spread(todo) or [0][: len(data)]
    clips = [data.clips[i] for i in sample]
    seconds, results = 0.0, list[Any]()  # an empty share has no clip
    if clips:
        seconds, results = decoding.timed_decoding(clips, frames, backbone.size, resize, allow_damaged, deinterlace)
    with one_thread() if by_plan else nullcontext():
        encoding, bytes_a_clip = _timed_encoding(
            backbone, number, [r.frames for r in results if not isinstance(r, VideoError)], dtype
        )
    gpu, actors = arithmetic.device != "cpu", 1
    if spread.engine == RAY:
        actors = spread.actors or (1 if gpu else os.cpu_count() or 1)
    if by_plan:
        each = max(encoding, seconds / decoding.decoders(count)) if gpu else encoding + seconds
    else:
        each = encoding + seconds / decoding.decoders(count)
    pooled = Recipe(backbone.depth + 1, frames, dtype, backbone.image.exact, resize)
    return Estimate(
        data=name,
        backbone=backbone.name,
        clips=len(data),
        stored=len(data) - len(todo),
        bytes=bytes_a_clip * len(data),
        bytes_to_write=bytes_a_clip * len(todo),
        seconds=round(each * len(todo) / actors, 1),
        seconds_decode=seconds,
        seconds_encode=encoding,
        measured_on=len(sample),
        unreadable={str(clip): str(r) for clip, r in zip(clips, results, strict=True) if isinstance(r, VideoError)},
        store=task.store.base.name,
        bytes_as_embeddings=clip_bytes(backbone, pooled) * len(data),
        actors=actors,
        machine_seconds=round(each * len(todo), 1),
        shards=len(plan) if plan else 0,
        clips_a_shard=plan.each if plan else 0,
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
