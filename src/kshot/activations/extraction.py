"""From clips to stored activations at a cut: decode in worker processes, encode here, append to the store.

A frame is decoded once and goes through the trunk once: every later step reads the store. Decoding runs ahead in other
processes while this one encodes, and what is encoded is hashed and written by another thread meanwhile; at most a few
clips wait in memory on either side.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kshot import datasets
from kshot.activations import decoding, planned, rates
from kshot.activations.activations import Activations
from kshot.activations.actors import Crew
from kshot.activations.behind import Behind
from kshot.activations.default import settled
from kshot.activations.encoding import cut_number, encode, finish, launch, one_thread
from kshot.activations.index import pick
from kshot.activations.plan import expect_engine
from kshot.activations.planned import Shard
from kshot.activations.recipe import Recipe
from kshot.activations.shards import Array, ShardWriter
from kshot.activations.store import Store, holders
from kshot.activations.task import IDENTITIES, Task, Timed, read
from kshot.datasets import Dataset
from kshot.errors import ClipLost, DataError, StoreError, VideoError
from kshot.processes import Share
from kshot.progress import Progress, Step, quiet
from kshot.settings import RAY, TORCH, Arithmetic
from kshot.video import Taken, views
from kshot.video.damage import Damage
from kshot.video.frame_folder import passed_over
from kshot.video.looks import noted
from kshot.video.workers import Job, decode

if TYPE_CHECKING:
    from torch import Tensor

    from kshot.backbones.backbone import Backbone

FRAMES_PER_BATCH = 64


def extract(
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
    timeout: float = 60.0,
    check: bool = False,
    stored_only: bool = False,
    condense: bool = True,
    resize: str = "short",
    deinterlace: bool = False,
    view: int = 0,
    augment: str | Sequence[str] = "time",
    allow_damaged: bool = False,
    shard: str | Sequence[Shard] | None = None,
    engine: str = "",
    address: str | None = None,
    actors: int | None = None,
    identity: str = IDENTITIES[0],
    progress: Progress = quiet,
) -> Activations:
    """Stores the activations of every clip of `data` at a cut and returns a reader of them.

    Clips that are stored already are not decoded again; a run that was killed goes on where it stopped.

    Args:
        data: whatever `kshot.datasets.load` takes, or a Dataset.
        backbone: name, folder or loaded Backbone; by the data where it is left out, see `default_backbone` in
            `kshot.activations.default`.
        cut: "frames" (0), "last" (what the last block receives), "embedding", or a block's number 1..L.
        store: folder, or an address such as s3://bucket/store; $KSHOT_HOME/store by default.
        frames: frames a clip, the middle of as many equal segments; None for 8, or the unit of a backbone that sees
            clips.
        dtype: how activations are stored, one of `kshot.settings.DTYPES`; frames are always stored as uint8.
        device: where the trunk computes, see `kshot.load_backbone`.
        precision: of its arithmetic, see there.
        encoder: what runs the trunk, see there.
        workers: decoding processes; one a core, at most 8, by default. 0 decodes in this process, without a timeout.
        timeout: seconds after which a clip counts as unreadable.
        check: first hash what is stored and rewrite damaged shards; at an address their sizes alone are looked at.
        stored_only: never open a video; clips that are not stored are an error, but for those that an earlier
            extraction has found unreadable, which are left out as they were then.
        condense: at the last block, store what its exact form needs (see `Backbone.condense`) rather than the bare
            tokens, which only a tuning method that alters that block needs.
        resize: what is done to a frame before its square is cut out: "short" (as the backbone's checkpoint says; of a
            CLIP the short side becomes its size), "short-256" or "squash-256" (short side, or both, to 256/224 of it);
            docs/data.md has the others.
        deinterlace: whether to take the fields of interlaced video apart, see `kshot.video.fields`; such activations
            have a place of their own in the store.
        view: 0 takes the middle frame of each segment and the central square, as tests do; any other number is a draw
            of what `augment` names, for training. See `kshot.video.views`.
        augment: some of "time", "crop" or "crops", and "flip".
        allow_damaged: whether to store clips of which a decoder error or more than a tenth is lost; see
            `kshot.video.damage`. What is stored already counts either way, and results say what is lost of it.
        shard: "i/n" for share i of n of the planned shards, from 0/n to n-1/n (see `kshot.activations.plan`): its clips
            alone are extracted, by one thread. Any number of processes may do so side by side. Also shards of a plan,
            of which `data` holds the clips.
        engine: who extracts: "" this process as ever; "local" this process, by planned shards; "ray" actors of Ray, by
            planned shards (see `kshot.activations.actors`).
        address: of a Ray cluster that runs, such as "head:6379" or "auto"; None for a Ray of this machine's own.
        actors: of Ray; one for each core, or each GPU, by default.
        identity: "content" reads every clip that is new or has another size or time of change before any is decoded;
            "stat" reads it when it is decoded, so that nothing is read twice and planning opens no file. What is stored
            is the same.
        progress: how to show progress.

    Returns:
        The activations of all clips that could be read, and what was wrong with the others.

    Raises:
        OptionError: an unknown cut, dtype, resize, augmentation or identity, or frames < 1 or no whole units.
        DataError: no clip could be read, or an address does not answer or wants credentials.
        StoreError: the store cannot be written, or lacks a clip with `stored_only`.
        EngineError: Ray is not installed, does not answer or does not do.
    """
    started = time.monotonic()
    expect_engine(engine, shard, address, actors)
    how = Arithmetic(device=device, precision=precision, encoder=encoder)
    crew = Crew(_worker, (backbone, how), address, actors) if engine == RAY and not stored_only else None
    data, backbone = load_both(data, backbone, replace(how, device="cpu") if crew else how)
    number = cut_number(backbone, cut)
    count = decoding.processes(workers, timeout)
    frames = backbone.frames_of(frames)
    condense = condense and backbone.image.exact  # no such form of an altered block, or without a class token
    drawn = views.parse(augment) if view else ()
    recipe = Recipe(number, frames, dtype, condense, backbone.resized(resize), view, drawn, deinterlace)
    notes: list[str] = []
    if share := engine or isinstance(shard, str):
        data, shard, notes = planned.share_of(
            data, backbone, recipe, Share.parse(shard) if isinstance(shard, str) else Share()
        )
    if crew and shard:
        options: dict[str, Any] = {
            "cut": cut, "store": store, "frames": frames, "dtype": dtype, "workers": workers, "timeout": timeout,
            "check": check, "condense": condense, "resize": resize, "deinterlace": deinterlace, "view": view,
            "augment": augment, "allow_damaged": allow_damaged,
        }  # fmt: skip
        crew.run(data, shard, backbone.name, options, progress)
        notes += crew.said()
    by = identity if shard is None else IDENTITIES[0]  # of its own clips alone, just before they are decoded
    task = Task.open(data, backbone, recipe, store, check and shard is None, stored_only, by)
    if task.store.old and not crew:
        rates.check(data.clips, task.digests, task.store, not stored_only, progress)
    todo = task.todo()
    if todo and not stored_only and backbone.runtime is not None:
        backbone.runtime.prepare(backbone.image, number, progress)
    if stored_only:
        unreadable = _known_unreadable(task, todo)
    elif crew:
        unreadable = _counted(task, crew.unreadable)
    elif shard is not None:
        unreadable = _extract_planned(task, shard, count, timeout, allow_damaged, check, progress)
    else:
        unreadable = _extract(task, todo, count, timeout, allow_damaged, progress) if todo else {}
    if share:
        planned.tidy(task.store)
    if not stored_only:
        task.store.base.tell_digests()
    stored_now = len(todo) - len(unreadable) - len(task.known) if not stored_only else 0
    if shard is not None:
        stored_now = crew.stored if crew else sum(task.digests[i] in task.store for i in todo)
    return replace(
        _reader(task, unreadable, empty=shard is not None),
        stored_now=stored_now,
        seconds=time.monotonic() - started,
        passed_over={} if stored_only else _passed_over(data.paths),
        notes=(*backbone.notes, *_unusual(task), *notes),
        waits=task.waits,
    )


def _extract_planned(
    task: Task,
    shards: Sequence[Shard],
    workers: int,
    timeout: float,
    allow_damaged: bool,
    check: bool,
    progress: Progress,
) -> dict[str, str]:
    """Decodes, encodes and stores planned shards; path -> why a clip could not be read."""
    data, recipe, digests = task.data, task.recipe, task.digests

    def decoded(clips: Iterator[int]) -> Generator[tuple[int, Taken | VideoError]]:
        jobs = (recipe.job(data.clips[i], task.backbone.size, digests[i], allow_damaged) for i in clips)
        return decode(jobs, workers, timeout)

    with progress(f"extracting {data.name}{_part(data)}", len(data), "clips") as step, one_thread():

        def keep(
            results: Iterable[tuple[int, Taken | VideoError]], clips: Sequence[int], notes: Store, writer: ShardWriter
        ) -> dict[str, str]:
            named = [(digests[i], str(data.clips[i])) for i in clips]
            per_batch = max(1, FRAMES_PER_BATCH // recipe.frames)
            return _store(results, named, notes, per_batch, lambda batch: _encode(task, batch, writer), step)

        return planned.write(task.store, shards, digests, decoded, keep, check, step)


def _counted(task: Task, unreadable: dict[str, str]) -> dict[str, str]:
    """What actors say of clips that cannot be read, if every other clip is there: their word is not taken for it.

    Raises:
        StoreError: one is not.
    """
    lost = [path for path, digest in zip(task.data.clips, task.digests, strict=True) if digest not in task.store]
    if lost := [path for path in lost if str(path) not in unreadable]:
        raise StoreError(
            f"{len(lost)} of {len(task.data)} clips are not in {task.store.name}, the first {lost[0]}: does every "
            f"machine see the same folder? The same command goes on"
        )
    return unreadable


def _worker(backbone: str | Path, how: Arithmetic, options: Mapping[str, Any]) -> Callable[..., Activations]:
    """What an actor does: extracts shards with a backbone that it has loaded once."""
    from kshot.backbones import backbone as backbones

    made = backbones.loaded(backbone, how)
    return lambda data, shards: extract(data, made, shard=shards, **options)


def _unusual(task: Task) -> list[str]:
    """How many of the clips have unusual pictures, a sentence for each kind."""
    found = task.store.looks()
    return noted(found.get(digest, ()) for digest in task.digests) if found else []


def load_both(
    data: str | Path | Dataset, backbone: str | Path | Backbone | None, how: Arithmetic
) -> tuple[Dataset, Backbone]:
    """The data set and the backbone of an extraction, which may be loaded already.

    Args:
        data: as for `extract`.
        backbone: see there.
        how: device, precision and encoder, see there.

    Raises:
        DataError: there are no videos, only ready-made features, or the data cannot be used.
        CheckpointError: the backbone cannot be loaded.
    """
    from kshot.backbones import backbone as backbones

    loaded = data if isinstance(data, Dataset) else datasets.load(data)
    if loaded.features is not None:
        raise DataError(
            f"{loaded.name} holds ready-made features; there is nothing to extract: evaluate them as they are"
        )
    named: str | Path | Backbone
    loaded, named = settled(loaded, backbone)
    return loaded, backbones.loaded(named, how)


def _known_unreadable(task: Task, todo: Sequence[int]) -> dict[str, str]:
    """Path -> why a clip could not be read, of clips that are not stored, from what an earlier extraction noted.

    Raises:
        StoreError: there are some that were never tried.
    """
    noted = task.store.unreadable() if todo else {}
    if lost := sum(task.digests[i] not in noted for i in todo):
        base = task.store.base
        raise StoreError(
            f"store {base.name} lacks {lost} of {len(task.data)} clips for backbone {task.backbone.name} at cut "
            f"{task.recipe.cut} (it holds activations of: {', '.join(holders(base)) or 'nothing'}); run `kshot "
            f"extract` with this backbone"
        )
    return {str(task.data.clips[i]): noted[task.digests[i]] for i in todo}


def _extract(
    task: Task, todo: Sequence[int], workers: int, timeout: float, allow_damaged: bool, progress: Progress
) -> dict[str, str]:
    """Decodes, encodes and stores clips; path -> why one could not be read."""
    data, recipe = task.data, task.recipe
    named: deque[tuple[str, str]] = deque()  # those in the decoders' hands

    def jobs() -> Iterator[Job]:
        for i, digest in read(task, todo):
            named.append((digest, str(data.clips[i])))
            yield recipe.job(data.clips[i], task.backbone.size, digest, allow_damaged)

    title = f"extracting {data.name}{_part(data)}" + (f", view {recipe.view}" if recipe.view else "")
    decoded = closing(decode(jobs(), min(workers, len(todo)), timeout))

    def write(encoded: tuple[list[str], Tensor]) -> None:
        names, values = encoded
        for digest, value in zip(names, finish(values, recipe.cut, recipe.dtype), strict=True):
            writer.add(digest, value)

    with (
        task.store.writing() as writer,
        progress(title, len(todo), "clips") as step,
        Behind(write) as behind,
        decoded as results,
    ):

        def begin(batch: list[tuple[str, Array]]) -> None:
            frames = np.stack([clip for _, clip in batch])
            behind.put(([digest for digest, _ in batch], launch(task.backbone, recipe.cut, frames, recipe.condense)))

        clips = iter(lambda: named.popleft() if named else None, None)
        timed = Timed(results)
        unreadable = _store(timed, clips, task.store, max(1, FRAMES_PER_BATCH // recipe.frames), begin, step)
        step(len(task.known))
        task.waits.update(frames=timed.seconds, writer=behind.waited)
    return unreadable


def _part(data: Dataset) -> str:
    """The split of which all clips are, for titles: each split is stored by itself."""
    splits = set(data.splits.tolist())
    return f", split {splits.pop()}" if len(splits) == 1 and "" not in splits else ""


def _store(
    decoded: Iterable[tuple[int, Taken | VideoError]],
    clips: Iterable[tuple[str, str]],
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
    damaged: dict[str, Damage] = {}
    unusual: dict[str, tuple[str, ...]] = {}
    batch: list[tuple[str, Array]] = []
    for (_, result), (digest, path) in zip(decoded, clips, strict=True):
        if isinstance(result, VideoError):
            unreadable[path] = str(result)
            if digest and not isinstance(result, ClipLost):
                reasons[digest] = str(result)
        else:
            batch.append((digest, result.frames))
            if result.damage:
                damaged[digest] = result.damage
            if result.looks:
                unusual[digest] = result.looks
        if len(batch) == per_batch:
            target.note_losses(damaged)  # before the clip itself: a kill must not leave it without its note
            target.note_looks(unusual)
            write(batch)
            batch, damaged, unusual = [], {}, {}
        step(note=f"{len(unreadable)} unreadable" if unreadable else "")
    target.note_losses(damaged)
    target.note_looks(unusual)
    if batch:
        write(batch)
    target.note_unreadable(reasons)
    return unreadable


def _encode(task: Task, batch: Sequence[tuple[str, Array]], writer: ShardWriter) -> None:
    recipe, frames = task.recipe, np.stack([clip for _, clip in batch])
    values = encode(task.backbone, recipe.cut, frames, recipe.dtype, recipe.condense)
    for (digest, _), value in zip(batch, values, strict=True):
        writer.add(digest, value)


def _reader(task: Task, unreadable: Mapping[str, str], empty: bool = False) -> Activations:
    """The clips that are stored now, and why others are not.

    Args:
        task: what was extracted.
        unreadable: path -> why a clip could not be read.
        empty: whether there may be no clip.

    Raises:
        DataError: there is none.
    """
    data, digests = task.data, task.digests
    held = task.store.holds(digests)
    readable, reasons = np.flatnonzero(held), dict(unreadable)
    for i in np.flatnonzero(~held).tolist():  # copies of an unreadable clip were not tried
        reasons.setdefault(str(data.clips[i]), f"{data.clips[i]}: the same bytes as another unreadable clip")
    if not len(readable) and not empty:
        reason = next(iter(reasons.values()), "the data set is empty")
        raise DataError(f"no clip of {data.name} could be read; the first reason: {reason}")
    losses = task.store.losses()
    lost = [i for i in readable.tolist() if digests[i] in losses] if losses else []
    chosen = data.subset(readable) if len(readable) < len(data) else data
    known = task.store.base.digests() if data.spans is not None else None
    return Activations(
        chosen,
        task.recipe.cut,
        reasons,
        task.store,
        pick(digests, readable) if len(readable) < len(data) else digests,
        damaged={str(data.clips[i]): losses[digests[i]] for i in lost},
        backbone=task.backbone.name,
        videos=tuple(known.of(chosen.paths, remembered=True)) if known else (),
    )


def _passed_over(paths: Sequence[Path]) -> dict[str, list[str]]:
    """Path of a frame folder -> other files that lie in it."""
    folders = (path for path, _ in groupby(paths) if path.is_dir())  # parts of a video stand together
    return {str(path): names for path in folders if (names := passed_over(path))}
