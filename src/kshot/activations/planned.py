"""Planned shards, written by any number of processes side by side: one writer a shard, and a kill costs that shard.

Where a shard's file is there, the shard is done. Nobody is asked and nothing else is kept, so that there is nothing
that could disagree with the files after a kill.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from kshot.activations.encoding import encode
from kshot.activations.plan import Plan
from kshot.activations.recipe import Recipe
from kshot.activations.shards import ShardWriter, read_manifest
from kshot.activations.store import Busy, Store
from kshot.datasets import Dataset
from kshot.files import locked
from kshot.processes import Share
from kshot.progress import Step

if TYPE_CHECKING:
    from kshot.backbones.backbone import Backbone

SHORT = 10.0  # seconds to wait for the folder, which writers of planned shards hold for moments
LONG = 3600.0  # seconds to wait for another that writes the same shard


@dataclass(frozen=True)
class Shard:
    """A shard to write.

    Attributes:
        plan: name of the plan.
        name: which of its shards.
        clips: numbers of its clips, in their order.
    """

    plan: str
    name: str
    clips: Sequence[int]


@dataclass(frozen=True)
class _Open:
    """A shard that is held by this process while its clips are decoded.

    Attributes:
        shard: which one.
        todo: numbers of the clips to decode.
        writer: of its file.
        held: what is let go of at the end.
    """

    shard: Shard
    todo: list[int]
    writer: ShardWriter
    held: ExitStack = field(default_factory=ExitStack)


Decoded = Generator[tuple[int, Any]]
"""What `kshot.video.workers.decode` gives."""
Keep = Callable[[Iterable[tuple[int, Any]], Sequence[int], Store, ShardWriter], dict[str, str]]
"""Encodes and writes what was decoded of some clips, notes in the store what is wrong with others, and names those."""


def clip_bytes(backbone: Backbone, recipe: Recipe) -> int:
    """Bytes that a clip takes in a store.

    Args:
        backbone: that encodes it.
        recipe: what is stored of it.
    """
    black = np.zeros((1, recipe.frames, backbone.size, backbone.size, 3), np.uint8)
    return encode(backbone, recipe.cut, black, recipe.dtype, recipe.condense).nbytes


def share_of(data: Dataset, backbone: Backbone, recipe: Recipe, share: Share) -> tuple[Dataset, list[Shard], list[str]]:
    """The clips and shards of a share, and a sentence where there are none.

    Args:
        data: all clips.
        backbone: that encodes them.
        recipe: what is stored of a clip.
        share: which of the shards.

    Raises:
        OptionError: there are more shares than clips.
    """
    plan = Plan.of(data.clips, clip_bytes(backbone, recipe))
    numbers = plan.shards_of(share)
    chosen = np.fromiter(chain.from_iterable(map(plan.clips_of, numbers)), np.int64)
    shards, start = [], 0
    for number in numbers:
        clips = range(start, start + len(plan.clips_of(number)))
        shards.append(Shard(plan.name, plan.shard(number), clips))
        start = clips.stop
    note = f"shard {share} has nothing to do: {len(data):,} clips make {len(plan)} files of {plan.each} clips"
    return data.subset(chosen), shards, [] if shards else [note]


@contextmanager
def writing(store: Store, name: str, wait: bool = False) -> Iterator[ShardWriter | None]:
    """A writer of one planned shard, beside the writers of others. The shard is complete on disk when the block is left
    in order, and not there at all when it is left by an exception.

    Args:
        store: that it belongs to.
        name: which shard of which plan.
        wait: for another process that is writing it; without it, None is given then.

    Raises:
        StoreError: a process writes here without a plan, another holds the shard for too long, or the disk is full or
            read-only.
    """
    lock = f"plan-{name}.lock"
    busy = Busy(
        f"another kshot has been writing a shard for long: wait for it to end and run the same command again; if none "
        f"runs, remove {store.folder / lock}"
    )
    with ExitStack() as held:
        taken = False
        try:
            held.enter_context(locked(store.folder, lock, busy, LONG if wait else False))
        except Busy:
            taken = True
            if wait:
                raise
        if taken:
            yield None
            return
        with store.holding(SHORT):  # who writes without a plan would hold it for longer
            pass
        with store.writer(name) as writer:
            yield writer


def tidy(store: Store) -> None:
    """Removes what killed writers left in a store, unless somebody is writing.

    Raises:
        StoreError: the disk refuses.
    """
    if store.folder.is_dir():
        with suppress(Busy), store.holding():
            pass


def write(
    store: Store,
    shards: Sequence[Shard],
    digests: Sequence[str],
    decode: Callable[[Iterator[int]], Decoded],
    keep: Keep,
    check: bool,
    step: Step,
) -> dict[str, str]:
    """Writes the shards that are not there yet; first those that no other process is writing, then what is left.

    Args:
        store: where.
        shards: in the order in which they are written.
        digests: of the clips; "" for one that cannot be opened.
        decode: gives what came of clips, in their order; it asks for the clips that come next ahead of time.
        keep: writes what was decoded of a shard.
        check: hash the shards that are there (at an address: look at their sizes), and write damaged ones anew.
        step: moves the progress on, by clips.

    Returns:
        Path -> why a clip could not be read.

    Raises:
        StoreError: see `writing`.
    """
    later: list[Shard] = []
    unreadable = _write(store, shards, digests, decode, keep, check, step, later)
    for shard in later:  # one by one: who holds a shard must not wait for another
        unreadable |= _write(store, [shard], digests, decode, keep, check, step, None)
    store.refresh()
    return unreadable


def _write(
    store: Store,
    shards: Sequence[Shard],
    digests: Sequence[str],
    decode: Callable[[Iterator[int]], Decoded],
    keep: Keep,
    check: bool,
    step: Step,
    later: list[Shard] | None,
) -> dict[str, str]:
    """As `write`; shards that others hold come into `later`, or are waited for where there is no such list."""
    unreadable: dict[str, str] = {}
    opened: deque[_Open] = deque()
    try:
        with closing(decode(_todo(store, shards, digests, check, opened, later, step))) as results:
            for first in results:  # by now its shard is open
                one = opened.popleft()
                with one.held:
                    decoded = chain([first], islice(results, len(one.todo) - 1))
                    unreadable |= keep(decoded, one.todo, store.noting(one.shard.name), one.writer)
    except BaseException as error:
        for one in opened:  # their first clips are being decoded: nothing of them is written
            one.held.__exit__(type(error), error, None)
        raise
    return unreadable


def _todo(
    store: Store,
    shards: Iterable[Shard],
    digests: Sequence[str],
    check: bool,
    opened: deque[_Open],
    later: list[Shard] | None,
    step: Step,
) -> Iterator[int]:
    """Clips to decode of shards, each of which is held from its first clip on and comes into `opened`."""
    for shard in shards:
        with ExitStack() as held:
            writer = held.enter_context(writing(store, shard.name, wait=later is None))
            if writer is None:
                if later is not None:
                    later.append(shard)
                continue
            todo = _missing(store, shard, digests, check)
            step(len(shard.clips) - len(todo))
            if todo:
                opened.append(_Open(shard, todo, writer, held.pop_all()))
        yield from todo


def _missing(store: Store, shard: Shard, digests: Sequence[str], check: bool) -> list[int]:
    """The clips that belong into the file of a shard; of one that is there, those that could not be read before.

    Clips that cannot be opened are tried, so that the decoder gives the reason.
    """
    manifest = store.planned(shard.name)
    if manifest is not None and check and store.base.fault(manifest):
        store.drop([manifest.stem])
        manifest = None
    held = set(read_manifest(manifest).clips) if manifest else set()
    first: dict[str, int] = {}
    todo = []
    for clip in shard.clips:
        digest = digests[clip]
        there = digest in held if manifest else store.stored_apart(digest, shard.plan)
        if not digest or (not there and first.setdefault(digest, clip) == clip):
            todo.append(clip)
    return todo
