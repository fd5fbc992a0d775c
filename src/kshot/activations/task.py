"""An extraction's task: which clips, what is stored of them and where, and which of them are not stored yet."""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kshot.activations.digests import Digests, Hashed, hashed
from kshot.activations.index import mark, marks, pick, values
from kshot.activations.recipe import Recipe
from kshot.activations.store import Store
from kshot.compact import BLOCK, repeated
from kshot.datasets import Dataset
from kshot.errors import unknown
from kshot.video.workers import AHEAD

if TYPE_CHECKING:
    from kshot.backbones.backbone import Backbone

T = TypeVar("T")

READERS = 2  # threads that hash clips before they are decoded
IDENTITIES = ("content", "stat")
"""How a clip is known before it is decoded: by its content, or by its size and time of change."""


@dataclass(frozen=True)
class Task:
    """The clips of a data set, and how and where their activations are stored.

    Attributes:
        data: the clips.
        backbone: whose trunk encodes them.
        recipe: what is stored of a clip.
        store: where.
        digests: of the clips, in their order; "" for one that cannot be opened or was not read yet.
        unread: takes the digests of clips that are read only when they are decoded; None where all were read.
        known: those of them that turned out to hold what is stored already.
        waits: seconds that the encoder waited for "frames" and for the "writer".
    """

    data: Dataset
    backbone: Backbone
    recipe: Recipe
    store: Store
    digests: Sequence[str]
    unread: Digests | None = None
    known: list[int] = field(default_factory=list)
    waits: dict[str, float] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        data: Dataset,
        backbone: Backbone,
        recipe: Recipe,
        store: str | Path | None,
        check: bool = False,
        remembered: bool = False,
        identity: str = IDENTITIES[0],
    ) -> Task:
        """Opens the store and hashes the clips.

        Args:
            data: as the attribute, and so are `backbone` and `recipe`.
            backbone: see above.
            recipe: see above.
            store: the store folder or its address; $KSHOT_HOME/store by default.
            check: hash what is stored and drop damaged shards.
            remembered: open no clip, take its digest from its path.
            identity: as for `extract`.

        Raises:
            OptionError: an unknown resize or identity.
            StoreError: the store cannot be used.
            DataError: its address does not answer.
        """
        if identity not in IDENTITIES:
            raise unknown("identity", identity, IDENTITIES)
        made_with = backbone.name if recipe.cut > 0 else "any backbone"
        opened = Store(store, recipe.key(backbone), made_with, check)
        memory = opened.base.digests()
        late = identity != IDENTITIES[0] and not remembered and data.spans is None  # a video of many parts is read once
        digests = memory.of(data.clips, remembered, reading=not late)
        return cls(data, backbone, recipe, opened, digests, memory if late else None)

    def todo(self) -> Sequence[int]:
        """Clips to decode: not stored yet, and the first of those with equal bytes. Unopenable ones are tried, so that
        the decoder gives the reason."""
        digests = self.digests
        wanted = ~self.store.holds(digests)  # without a digest, too

        def missed(start: int) -> NDArray[np.uint64]:
            block = slice(start, start + BLOCK)
            return np.where(wanted[block], marks(digests[block]), np.uint64(0))

        alike = repeated(len(digests), missed)  # by 64 bits: few are left to be compared
        first = np.unique(values(pick(digests, alike)), return_index=True)[1]
        wanted[np.delete(alike, first)] = False
        todo = array("q")
        for start in range(0, len(digests), BLOCK):
            todo.extend((start + np.flatnonzero(wanted[start : start + BLOCK])).tolist())
        return todo


def read(task: Task, todo: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Clips to decode and their digests. Those that were not read yet are, some ahead; those whose content turns out to
    be stored already, or to be in the decoders' hands, are left out."""
    if task.unread is None:
        yield from ((i, task.digests[i]) for i in todo)
        return
    seen: set[int] = set()
    digests: Any = task.digests
    try:
        with ThreadPoolExecutor(READERS, thread_name_prefix="kshot-hash") as pool:
            for i, made in _ahead(pool, task, todo):
                if made is not None:
                    task.unread.add(made)
                    digests[i] = made.sha256
                digest = digests[i]
                if digest and (digest in task.store or mark(digest) in seen):
                    task.known.append(i)
                    continue
                seen.add(mark(digest))
                yield i, digest
    finally:
        task.unread.flush()


def _ahead(pool: ThreadPoolExecutor, task: Task, todo: Sequence[int]) -> Iterator[tuple[int, Hashed | None]]:
    """Clips, and what they hold where that was not known and can be read; a few more are read meanwhile."""
    waiting: deque[tuple[int, Future[Hashed | None] | None]] = deque()
    try:
        for i in todo:
            waiting.append((i, None if task.digests[i] else pool.submit(hashed, task.data.paths[i])))
            if len(waiting) > AHEAD:
                clip, made = waiting.popleft()
                yield clip, made.result() if made else None
        while waiting:
            clip, made = waiting.popleft()
            yield clip, made.result() if made else None
    finally:
        for _, made in waiting:
            if made:
                made.cancel()


class Timed(Iterator[T]):
    """Things as they come, and the seconds that were waited for them."""

    def __init__(self, things: Iterator[T]) -> None:
        self._things, self.seconds = things, 0.0

    def __next__(self) -> T:
        begin = time.monotonic()
        try:
            return next(self._things)
        finally:
            self.seconds += time.monotonic() - begin
