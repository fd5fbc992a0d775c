"""From clips to stored activations at a cut: decode in worker processes, encode here, append to the store.

A frame is decoded once, goes through the trunk once and is never looked at again: every later step reads the
store. Decoding runs ahead in other processes while this one encodes; at most a few clips wait in memory.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kshot import datasets, settings
from kshot.activations import rates
from kshot.activations.store import Digests, Store, Writer, holders
from kshot.datasets import Dataset
from kshot.draws import key
from kshot.errors import ClipLost, DataError, OptionError, StoreError, VideoError
from kshot.paths import home
from kshot.progress import Progress, Step, quiet
from kshot.video import Taken, views
from kshot.video.frame_folder import passed_over
from kshot.video.workers import Job, decode

if TYPE_CHECKING:
    from torch import Tensor

    from kshot.backbones.backbone import Backbone

Array = NDArray[Any]

DTYPES = ("float16", "float32")
FRAMES_PER_BATCH = 64
SAMPLE = 6  # clips that a dry run times


@dataclass(frozen=True)
class Activations:
    """Activations of the readable clips of a data set at one cut, in the order of `data`.

    data: the clips (unreadable ones left out). cut: number of the block that receives them; None for ready-made
    features. unreadable: path -> reason. damaged: path -> {"kept": share, "reason": what is lost} of clips that count
    all the same. passed_over: path of a frame folder -> other files in it. The values lie in a store or in
    `data.features`.
    views: stores of the views that a visit draws from; seen: (clips, views), which of them holds a clip's view.
    keep_copies: whether clips that hold the same may stand on both sides of an episode.
    """

    data: Dataset
    cut: int | None
    unreadable: dict[str, str] = field(default_factory=dict)
    store: Store | None = None
    digests: tuple[str, ...] = ()
    stored_now: int = 0
    seconds: float = 0.0
    damaged: dict[str, dict[str, Any]] = field(default_factory=dict)
    passed_over: dict[str, list[str]] = field(default_factory=dict)
    views: tuple[Store, ...] = ()
    seen: NDArray[np.int64] | None = None
    keep_copies: bool = False

    @property
    def copies(self) -> NDArray[np.str_] | None:
        """(clips,) what each holds, for a `Sampler` that keeps copies apart; None where they may stay together."""
        return None if self.keep_copies else content(self)

    def gather(self, indices: Sequence[int] | NDArray[np.int64], visit: tuple[int, int] | None = None) -> Array:
        """(n, frames, ...) activations of the clips with these indices: float16, float32 or uint8 (frames).

        visit: (seed, number of the training batch), from which one of a clip's stored views is drawn; None for view 0.
        """
        if self.store is None:
            assert self.data.features is not None
            if isinstance(indices, range) and indices == range(len(self.data)):
                return self.data.features  # all of them, without a copy
            picked: Array = self.data.features[np.asarray(indices)]
            return picked
        if visit is None or self.seen is None:
            return self.store.gather([self.digests[i] for i in indices])
        chosen = np.asarray(indices)
        view = key(13, *visit, chosen) % np.uint64(self.seen.shape[1])
        held = self.seen[chosen, view.astype(np.int64)]
        rows = [np.flatnonzero(held == number) for number in range(len(self.views))]
        parts = [
            (row, store.gather([self.digests[i] for i in chosen[row]]))
            for row, store in zip(rows, self.views, strict=True)
            if len(row)
        ]
        out = np.empty((len(chosen), *parts[0][1].shape[1:]), parts[0][1].dtype)
        for row, values in parts:
            out[row] = values
        return out

    def select(self, split: str) -> Activations:
        """The clips of one split (or "all")."""
        return self if split == "all" else self.subset(self.data.indices(split))

    def subset(self, indices: NDArray[np.int64]) -> Activations:
        """The clips with these indices, classes renumbered to those present."""
        digests = tuple(self.digests[i] for i in indices) if self.digests else ()
        seen = None if self.seen is None else self.seen[indices]
        return replace(self, data=self.data.subset(indices), digests=digests, seen=seen)

    def losses(self) -> list[dict[str, Any]]:
        """What is lost of the clips at hand: clip, kept (share) and reason of each that is damaged."""
        paths = [str(path) for path in self.data.paths] if self.damaged else []
        return [{"clip": path, **self.damaged[path]} for path in paths if path in self.damaged]

    def report(self) -> dict[str, Any]:
        """What `kshot extract --json` prints."""
        return {
            "data": self.data.name,
            "clips": len(self.data),
            "stored_now": self.stored_now,
            "unreadable": self.unreadable,
            "damaged": self.losses(),
            "passed_over": self.passed_over,
            "missing": self.data.missing_from("all"),
            "notes": list(self.data.notes),
            "cut": self.cut,
            "store": str(self.store.folder) if self.store else None,
            "seconds": round(self.seconds, 3),
        }


def content(part: Activations) -> NDArray[np.str_]:
    """(clips,) a text for what each clip holds: the digest of its bytes, or of its ready-made features."""
    if part.store is None and part.data.features is not None:
        return np.array([hashlib.sha256(clip.tobytes()).hexdigest() for clip in part.data.features], np.str_)
    return np.array(part.digests, np.str_)


def from_features(data: Dataset) -> Activations:
    """Ready-made features as activations that need no backbone."""
    return Activations(data, cut=None)


def extract(
    data: str | Path | Dataset,
    backbone: str | Path | Backbone = "kshot-tiny",
    cut: str | int = "last",
    store: str | Path | None = None,
    frames: int = 8,
    dtype: str = "float16",
    device: str = "cpu",
    precision: str = "float32",
    workers: int | None = None,
    timeout: float = 60.0,
    check: bool = False,
    stored_only: bool = False,
    condense: bool = True,
    resize: str = "short",
    view: int = 0,
    augment: str | Sequence[str] = "time",
    allow_damaged: bool = False,
    progress: Progress = quiet,
) -> Activations:
    """Stores the activations of every clip of `data` at a cut and returns a reader of them.

    Clips that are stored already are not decoded again; a run that was killed goes on where it stopped.

    Args:
        data: whatever `kshot.datasets.load` takes, or a Dataset.
        backbone: name, folder or loaded Backbone.
        cut: "frames" (0), "last" (what the last block receives), "embedding", or a block's number 1..L.
        store: folder; $KSHOT_HOME/store by default.
        frames: frames a clip, the middle of as many equal segments.
        dtype: how activations are stored, "float16" or "float32"; frames are always stored as uint8.
        device, precision: where and how the trunk computes.
        workers: decoding processes; one a core, at most 8, by default. 0 decodes in this process, without a timeout.
        timeout: seconds after which a clip counts as unreadable.
        check: first hash what is stored and rewrite damaged shards.
        stored_only: never open a video; clips that are not stored are an error, but for those that an earlier
            extraction has found unreadable, which are left out as they were then.
        condense: at the last block, store what its exact form needs (see `Backbone.condense`) rather than the bare
            tokens, which only a tuning method that alters that block needs.
        resize: what is done to a frame before its square is cut out: "short" (short side to the backbone's size, CLIP's
            own), "short-256" or "squash-256" (short side, or both, to 256/224 of it).
        view: 0 takes the middle frame of each segment and the central square, as tests do; any other number is a draw
            of what `augment` names, for training. See `kshot.video.views`.
        augment: some of "time", "crop" and "flip".
        allow_damaged: whether to store clips of which a decoder error or more than a tenth is lost; see `damage`.
            What is stored already counts either way, and what is lost of it is told.
        progress: how to show progress.

    Raises:
        OptionError: an unknown cut, dtype, resize or augmentation, or frames < 1.
        DataError: no clip could be read.
        StoreError: the store cannot be written, or lacks a clip with `stored_only`.
    """
    started = time.monotonic()
    data, backbone = _load(data, backbone, device, precision)
    number = cut_number(backbone, cut)
    count = _processes(workers, timeout)
    augment = views.parse(augment) if view else ()
    target, digests = _target(
        data, backbone, number, store, frames, dtype, stored_only, check, condense, resize, view, augment
    )
    rates.check(data.paths, digests, target, not stored_only, progress)
    todo = _todo(digests, target)
    unreadable: dict[str, str] = {}
    if todo and stored_only:
        noted = target.noted("unreadable")
        if lost := sum(digests[i] not in noted for i in todo):
            raise StoreError(
                f"store {target.root} lacks {lost} of {len(data)} clips for backbone {backbone.name} at cut {number} "
                f"(it holds activations of: {', '.join(holders(target.root)) or 'nothing'}); run `kshot extract` with "
                f"this backbone"
            )
        unreadable = {str(data.paths[i]): noted[digests[i]] for i in todo}
    elif todo:
        jobs = (
            _job(data.paths[i], frames, backbone.size, resize, view, augment, digests[i], allow_damaged) for i in todo
        )
        title = f"extracting {data.name}" + (f", view {view}" if view else "")
        decoding = closing(decode(jobs, min(count, len(todo)), timeout))
        with target.writing() as writer, progress(title, len(todo), "clips") as step, decoding as decoded:
            unreadable = _store(
                decoded, [(digests[i], str(data.paths[i])) for i in todo],
                target, max(1, FRAMES_PER_BATCH // frames),
                lambda batch: _encode(backbone, number, batch, dtype, condense, writer), step,
            )  # fmt: skip
    stored_now = 0 if stored_only else len(todo) - len(unreadable)
    readable = np.array([i for i, d in enumerate(digests) if d in target], np.int64)
    for i in sorted(set(range(len(data))) - set(readable.tolist())):  # copies of an unreadable clip were not tried
        unreadable.setdefault(str(data.paths[i]), f"{data.paths[i]}: the same bytes as another unreadable clip")
    if not len(readable):
        reason = next(iter(unreadable.values()), "the data set is empty")
        raise DataError(f"no clip of {data.name} could be read; the first reason: {reason}")
    damaged = target.noted("damaged")
    return Activations(
        data.subset(readable) if len(readable) < len(data) else data,
        number,
        unreadable,
        target,
        tuple(digests[i] for i in readable),
        stored_now=stored_now,
        seconds=time.monotonic() - started,
        damaged={str(data.paths[i]): damaged[digests[i]] for i in readable if digests[i] in damaged},
        passed_over={} if stored_only else _passed_over(data.paths),
    )


def _store(
    decoded: Iterable[tuple[int, Taken | VideoError]],
    clips: Sequence[tuple[str, str]],
    target: Store,
    per_batch: int,
    write: Callable[[list[tuple[str, Array]]], None],
    step: Step,
) -> dict[str, str]:
    """Writes what was decoded of clips, given by digest and path; returns why some could not be read, by path.

    What is wrong with clips is noted in the store, but for those that were lost for want of memory.
    """
    unreadable: dict[str, str] = {}
    reasons: dict[str, str] = {}
    damaged: dict[str, dict[str, Any]] = {}
    batch: list[tuple[str, Array]] = []
    for (digest, path), (_, result) in zip(clips, decoded, strict=True):
        if isinstance(result, VideoError):
            unreadable[path] = str(result)
            if digest and not isinstance(result, ClipLost):
                reasons[digest] = str(result)
        else:
            batch.append((digest, result.frames))
            if result.damage:
                damaged[digest] = result.damage.plain()
        if len(batch) == per_batch:
            target.note("damaged", damaged)  # before the clip itself: a kill must not leave it without its note
            write(batch)
            batch, damaged = [], {}
        step(note=f"{len(unreadable)} unreadable" if unreadable else "")
    target.note("damaged", damaged)
    if batch:
        write(batch)
    target.note("unreadable", reasons)
    return unreadable


def _passed_over(paths: Sequence[Path]) -> dict[str, list[str]]:
    """Path of a frame folder -> other files that lie in it."""
    folders = (path for path in paths if path.is_dir())
    return {str(path): names for path in folders if (names := passed_over(path))}


def extract_views(
    first: Activations,
    backbone: Backbone,
    count: int,
    augment: str | Sequence[str] = "time",
    no_flip: Collection[str] = (),
    **options: Any,
) -> Activations:
    """`first`, which holds view 0, with views 1 to count - 1 of its clips, for `Activations.gather` at a visit.

    Args:
        no_flip: classes whose clips are never mirrored. Their views have a key of their own.
        options: further arguments of `extract`, those that `first` was extracted with.

    Raises:
        DataError: a clip that could be read cannot be read in another view.
    """
    assert first.store is not None and first.cut is not None
    names = views.parse(augment)
    still = np.isin(np.array(first.data.classes), sorted(no_flip))[first.data.labels] & ("flip" in names)
    parts = ((names, np.flatnonzero(~still)), (tuple(n for n in names if n != "flip"), np.flatnonzero(still)))
    stores, seen = [first.store], np.zeros((len(first.data), count), np.int64)
    for view in range(1, count):
        for kinds, clips in parts:
            if not kinds or not len(clips):
                continue  # nothing to draw: the clip's views are all view 0
            whole = options | {"allow_damaged": True}  # what view 0 has let pass
            made = extract(first.data.subset(clips), backbone, first.cut, view=view, augment=kinds, **whole)
            if made.unreadable or made.store is None:
                raise DataError(
                    f"{next(iter(made.unreadable.values()))}: it could be read in view 0, but not in view {view}; "
                    f"extract again, or mend the clip"
                )
            seen[clips, view] = len(stores)
            stores.append(made.store)
    return replace(first, views=tuple(stores), seen=seen)


def estimate(
    data: str | Path | Dataset,
    backbone: str | Path | Backbone = "kshot-tiny",
    cut: str | int = "last",
    store: str | Path | None = None,
    frames: int = 8,
    dtype: str = "float16",
    device: str = "cpu",
    precision: str = "float32",
    workers: int | None = None,
    resize: str = "short",
    allow_damaged: bool = False,
) -> dict[str, Any]:
    """What `extract` would cost, measured on a few clips; writes nothing but the digests of the clips.

    Returns:
        clips, stored (already there), bytes (disk, all clips), bytes_to_write, seconds (estimated for what is
        missing), seconds_decode and seconds_encode a clip, measured_on (clips timed), unreadable among them.
    """
    data, backbone = _load(data, backbone, device, precision)
    number = cut_number(backbone, cut)
    count = _processes(workers)
    target, digests = _target(data, backbone, number, store, frames, dtype, False, False, True, resize)
    todo = _todo(digests, target)
    sample = spread(todo) or [0]
    decoding, results = timed_decoding([data.paths[i] for i in sample], frames, backbone.size, resize, allow_damaged)
    clips = [r.frames for r in results if not isinstance(r, VideoError)]
    encoding, bytes_a_clip = 0.0, 0
    if clips:
        encode(backbone, number, np.stack(clips[:1]), dtype)  # the first call warms up
        begin = time.monotonic()
        for clip in clips:
            bytes_a_clip = encode(backbone, number, np.stack([clip]), dtype).nbytes
        encoding = (time.monotonic() - begin) / len(clips)
    each = encoding + decoding / decoders(count)
    return {
        "data": data.name,
        "clips": len(data),
        "stored": len(data) - len(todo),
        "bytes": bytes_a_clip * len(data),
        "bytes_to_write": bytes_a_clip * len(todo),
        "seconds": round(each * len(todo), 1),
        "seconds_decode": decoding,
        "seconds_encode": encoding,
        "measured_on": len(sample),
        "unreadable": {
            str(data.paths[i]): str(r) for i, r in zip(sample, results, strict=True) if isinstance(r, VideoError)
        },
        "store": str(target.root),
    }


def spread(clips: Sequence[int]) -> list[int]:
    """A few of the clips, from all over the data set: those that a dry run times."""
    return list(clips[:: max(1, len(clips) // SAMPLE)][:SAMPLE])


def timed_decoding(
    paths: Sequence[Path], frames: int, size: int, resize: str, allow_damaged: bool = False
) -> tuple[float, list[Taken | VideoError]]:
    """Seconds that decoding a clip takes one process, and what came of each clip."""
    jobs = [_job(path, frames, size, resize, allow_damaged=allow_damaged) for path in (paths[0], *paths)]
    decoded = decode(jobs, workers=1)
    next(decoded)  # the first one also starts the process
    begin = time.monotonic()
    results = [result for _, result in decoded]
    return (time.monotonic() - begin) / len(paths), results


def decoders(workers: int | None = None) -> int:
    """Clips that are decoded at a time. Encoding uses every core; decoding shares them as long as there are workers."""
    return max(1, min(_processes(workers), os.cpu_count() or 1))


def embed(backbone: Backbone, activations: Activations, indices: Sequence[int] | None = None) -> Tensor:
    """(n, frames, P) projected embeddings, float32: one pass of the tail over the store, without gradients."""
    import torch

    chosen = np.arange(len(activations.data)) if indices is None else np.asarray(indices)
    out = torch.empty(0)
    with torch.no_grad():
        start, per_batch = 0, 1  # the first clip tells the shape
        while start < len(chosen):
            embedded = tail(backbone, activations.gather(chosen[start : start + per_batch]), activations.cut)
            if not start:
                out = embedded.new_empty(len(chosen), *embedded.shape[1:])
                per_batch = max(1, 512 // embedded.shape[1])
            out[start : start + len(embedded)] = embedded
            start += len(embedded)
    return out


def tail(backbone: Backbone | None, values: Array, cut: int | None, support: int = 0) -> Tensor:
    """(n, frames, P) embeddings of stored activations (n, frames, ...); keeps gradients of what learns.

    support: the first clips, if they are the support of one episode; see `kshot.backbones.backbone.Rows`.
    """
    import torch

    stored = torch.from_numpy(values)
    if cut is None or backbone is None:
        return stored.float()
    flat = stored.flatten(0, 1).to(backbone.device, non_blocking=True)
    if cut == 0:
        flat = backbone.pixels(flat)
    embeddings = backbone.encode_from(flat, cut, stored.shape[1], support)
    return embeddings.view(stored.shape[0], stored.shape[1], -1)


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


def _processes(workers: int | None, timeout: float = 60.0) -> int:
    """Decoding processes: as asked, else one a core, at most 8."""
    if (workers or 0) < 0 or timeout <= 0:
        raise OptionError(f"expected 0 workers or more and a timeout above 0, found {workers} and {timeout:g} seconds")
    return min(os.cpu_count() or 1, 8) if workers is None else workers


def _load(
    data: str | Path | Dataset, backbone: str | Path | Backbone, device: str, precision: str
) -> tuple[Dataset, Backbone]:
    from kshot.backbones import backbone as backbones

    loaded = data if isinstance(data, Dataset) else datasets.load(data)
    if loaded.features is not None:
        raise DataError(
            f"{loaded.name} holds ready-made features; there is nothing to extract: evaluate them as they are"
        )
    if isinstance(backbone, backbones.Backbone):
        return loaded, backbone
    return loaded, backbones.load(backbone, device=device, precision=precision)


def _target(
    data: Dataset,
    backbone: Backbone,
    cut: int,
    store: str | Path | None,
    frames: int,
    dtype: str,
    stored_only: bool,
    check: bool,
    condense: bool,
    resize: str = "short",
    view: int = 0,
    augment: tuple[str, ...] = (),
) -> tuple[Store, list[str]]:
    if dtype not in DTYPES:
        raise OptionError(f"dtype '{dtype}' is not known: expected one of {', '.join(DTYPES)}")
    settings.expect(frames=frames)
    root = Path(store) if store is not None else home() / "store"
    sampling = "random" if "time" in augment else "middle"
    name: dict[str, Any] = {"cut": cut, "frames": frames, "sampling": sampling, "size": backbone.size, "view": view}
    name |= {"format": 1, "preprocessing": views.describe(resize, augment)}
    if cut > 0:  # frames are the same for every backbone of that size
        name |= {"backbone": backbone.fingerprint, "dtype": dtype, "precision": backbone.precision}
    if cut == backbone.depth:
        name |= {"condensed": condense}
    target = Store(root, name, backbone.name if cut > 0 else "any backbone", check)
    return target, Digests(root / "digests.jsonl").of(data.paths, remembered=stored_only)


def _job(
    path: Path,
    frames: int,
    size: int,
    resize: str,
    view: int = 0,
    augment: tuple[str, ...] = (),
    digest: str = "",
    allow_damaged: bool = False,
) -> Job:
    """Decoding of a clip; what is drawn for a view depends on the view and the clip's bytes alone."""
    number = int(digest[:15] or "0", 16)
    mode = "random" if "time" in augment else "middle"
    return Job(path, frames, mode, (view, number), size, views.framing(resize, augment, view, number), allow_damaged)


def _todo(digests: list[str], target: Store) -> list[int]:
    """Clips to decode: not stored yet, and the first of those with equal bytes. Unopenable ones are tried, so that
    the decoder gives the reason."""
    seen: set[str] = set()
    todo = []
    for i, value in enumerate(digests):
        if not value or (value not in target and value not in seen):
            todo.append(i)
            seen.add(value)
    return todo


def _encode(
    backbone: Backbone, cut: int, batch: list[tuple[str, Array]], dtype: str, condense: bool, writer: Writer
) -> None:
    values = encode(backbone, cut, np.stack([clip for _, clip in batch]), dtype, condense)
    for (clip, _), value in zip(batch, values, strict=True):
        writer.add(clip, value)


def encode(backbone: Backbone, cut: int, clips: Array, dtype: str, condense: bool = True) -> Array:
    """(n, frames, ...) activations at `cut` of decoded clips (n, frames, S, S, 3) uint8."""
    import torch

    if cut == 0:
        return clips
    with torch.inference_mode():
        pixels = torch.from_numpy(clips).flatten(0, 1).to(backbone.device, non_blocking=True)
        values = backbone.encode_to(backbone.pixels(pixels), cut)
        if condense and cut == backbone.depth:
            values = backbone.condense(values)
        stored = values.to(getattr(torch, dtype)).view(*clips.shape[:2], *values.shape[1:])
        if not bool(torch.isfinite(stored).all()):
            raise StoreError(f"activations of this backbone at cut {cut} exceed {dtype}: use dtype float32")
    result: Array = stored.cpu().numpy()
    return result
