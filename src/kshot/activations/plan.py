"""Which clips go into which shard, and which shards are whose: pure functions of the list of clips.

A plan cuts the clips, in the order of the data set, into stretches of the same length; each becomes one shard, a file.
The length depends on the number of clips and on the bytes that one of them takes, on nothing else: whoever writes a
shard, alone or one of a thousand, on whatever machine, encodes the same clips in the same order in the same batches.
Share i of n has the shards i, i + n, i + 2n, ... So the files are the same for every n.

A clip that the store held before the plan was begun is left out of its shard. One whose bytes also lie in another
shard of the plan is in both, since nobody could tell otherwise without asking who writes that one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from kshot.activations.shards import SHARD_BYTES
from kshot.errors import OptionError, unknown
from kshot.excerpts import Clip
from kshot.processes import Share
from kshot.settings import ENGINES, RAY

MOST_CLIPS = 256  # of a shard: what a kill costs stays within minutes, also where a clip takes a few kB
LEAST_SHARDS = 64  # that a data set is cut into, where their clips are enough to fill a batch
BATCH = 8  # clips; shards are multiples of it, as far as they can be


@dataclass(frozen=True)
class Plan:
    """A data set cut into shards.

    Attributes:
        name: 16 hexadecimal digits of the names of the clips, in their order, and of the number of clips a
            shard. Where the files lie plays no part: machines may have them in different places.
        clips: of the data set.
        each: clips a shard; the last one may have fewer.
    """

    name: str
    clips: int
    each: int

    @classmethod
    def of(cls, clips: Iterable[Clip], size: int) -> Self:
        """The plan of a list of clips.

        Args:
            clips: in the order of the data set.
            size: bytes that a clip takes in the store.
        """
        text, count = hashlib.sha256(), 0
        for clip in clips:
            text.update(f"{clip.name}\0".encode())
            count += 1
        each = clips_a_shard(count, size)
        text.update(str(each).encode())
        return cls(text.hexdigest()[:16], count, each)

    def __len__(self) -> int:
        return -(-self.clips // self.each)

    def clips_of(self, shard: int) -> range:
        """Indices of the clips of a shard, given by its number."""
        return range(shard * self.each, min((shard + 1) * self.each, self.clips))

    def shards_of(self, share: Share) -> Sequence[int]:
        """Numbers of the shards of a share; none where there are fewer shards than shares.

        Raises:
            OptionError: there are more shares than clips.
        """
        if share.of > max(self.clips, 1):
            raise OptionError(f"shard {share}: there are only {self.clips:,} clips, expected at most as many shards")
        return share.part(range(len(self)))

    def shard(self, number: int) -> str:
        """What a shard is called, in its manifest and its lock."""
        return f"{self.name}-{number}"


def clips_a_shard(clips: int, size: int) -> int:
    """How many clips of a data set go into one shard.

    Args:
        clips: of the data set.
        size: bytes that one of them takes in the store.
    """
    most = min(MOST_CLIPS, SHARD_BYTES // max(1, size), max(BATCH, -(-clips // LEAST_SHARDS)))
    return max(1, most - most % BATCH if most >= BATCH else most)


def expect_engine(engine: str, shard: object, address: str | None = None, actors: int | None = None) -> None:
    """Refuses an engine that there is not, a share that there is not, and what is for another engine.

    Args:
        engine: who extracts, one of `ENGINES`, or "" for this process.
        shard: "i/n", shards of a plan, or None for all clips.
        address: of a Ray cluster.
        actors: of Ray.

    Raises:
        OptionError: says which.
    """
    if engine not in ("", *ENGINES):
        raise unknown("engine", engine, ENGINES)
    if engine != RAY and (address is not None or actors is not None):
        raise OptionError(f"{'address' if address is not None else 'actors'} is for engine {RAY}: add --engine {RAY}")
    if actors is not None and actors < 1:
        raise OptionError(f"actors must be at least 1, found {actors}")
    if isinstance(shard, str):
        Share.parse(shard)
        if engine == RAY:
            raise OptionError("engine ray deals the shards out itself: leave --shard out")
