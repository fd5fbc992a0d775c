"""Checks of a store: every shard against its manifest, every line of digests.jsonl against its seal."""

from __future__ import annotations

from array import array
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kshot.activations.digests import Digests, digest, parsed
from kshot.activations.index import mark
from kshot.activations.shard_list import LINES
from kshot.activations.store import located, read_key
from kshot.errors import DataError
from kshot.files import disk, whole


@dataclass(frozen=True)
class DigestsReport:
    """What a check of digests.jsonl found.

    Attributes:
        lines: number of clips that it knows.
        damaged: clip -> what is wrong with its line.
        gone: clips whose lines cannot be checked: without a seal, and the clip is not there any more.
    """

    lines: int
    damaged: dict[str, str]
    gone: list[str]


class CheckedDigests(Digests):
    """What a store remembers of its clips, all of which can be looked at, a line at a time."""

    @property
    def altered(self) -> set[str]:
        """Clips whose line has a seal that is not its own, and which were not hashed anew since."""
        return self._look()[0]

    def _look(self) -> tuple[set[str], int, list[int]]:
        """Altered clips, number of clips with a good line, and places of the lines without a seal, by reading all."""
        altered: set[str] = set()
        good, unsealed = array("Q"), array("Q")
        for place, text in self._lines():
            line = parsed(text, place)
            if line is None:
                continue
            if not line.whole:
                altered.add(line.says.path)
                continue
            altered.discard(line.says.path)
            good.append(mark(line.says.path))
            if not line.seal:
                unsealed.append(place)
        return altered, len(np.unique(np.array(good, np.uint64))), unsealed.tolist()

    def verify(self) -> DigestsReport:
        """Checks every line by its seal; one of an older version, without a seal, by hashing the clip if that is still
        what it was. Lines are read one by one, none is kept."""
        altered, good, unsealed = self._look()
        damaged = dict.fromkeys(sorted(altered), "the line's seal is not its own")
        old, gone = {}, []
        for place in unsealed:
            line = self._line(place)
            if line is None or (last := self._known(line.says.path)) is None or last.place != place:
                continue  # a later line counts
            name = line.says.path
            try:
                if not line.says.unchanged(Path(name)):
                    continue  # hashed anew when it is used
                if digest(Path(name)) != line.says.sha256:
                    old[name] = "has another sha256 than its line says"
            except (OSError, DataError):
                gone.append(name)
        return DigestsReport(good + len(altered), damaged | dict(sorted(old.items())), sorted(gone))

    def heal(self, damaged: Collection[str]) -> None:
        """Writes the file anew without the lines of these clips; no line gets a seal that it did not have.

        Raises:
            StoreError: it cannot be written.
        """
        bad = set(damaged)
        with disk(self._path), whole(self._path) as part, part.open("w", encoding="utf-8") as file:
            for place, text in self._lines():
                line = parsed(text, place)
                if line is None or not line.whole or line.says.path in bad:
                    continue
                last = self._known(line.says.path)
                if last is not None and last.place == place:
                    file.write(line.says.line(sealed=bool(line.seal)))
            self._close()  # Windows replaces no open file
        self._find()


@dataclass(frozen=True)
class StoreReport:
    """What a check of a store found.

    Attributes:
        store: the store's folder or address.
        shards: number of shards that were hashed.
        digests: number of clips in digests.jsonl.
        damaged: path -> what is wrong.
        unsealed: path -> what cannot be checked.
        healed: whether what is damaged was removed.
    """

    store: str
    shards: int
    digests: int
    damaged: dict[str, str]
    unsealed: dict[str, str]
    healed: bool

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def verify(store: str | Path, heal: bool = False) -> StoreReport:
    """Hashes every shard of a store folder (all keys) against its manifest, and checks what is known of the clips.

    Args:
        store: the store folder, or its address: each shard is fetched then.
        heal: also remove damaged shards, so that the next `kshot extract` writes them again.

    Returns:
        What was found.

    Raises:
        DataError: `store` is not a folder of a kshot store.
        StoreError: what is damaged cannot be removed, a shard is of a newer kshot, or the address does not answer.
    """
    base = located(store)
    keyfiles = base.keyfiles()
    if not keyfiles:
        raise DataError(f"{base.name} is not a kshot store: expected <key>/key.json in it; pass the --store of extract")
    manifests = [path for keyfile in keyfiles for path in sorted(keyfile.parent.glob("shard-*.json"))]
    damaged = {path: "is no JSON with a key" for path in keyfiles if not read_key(path)}
    damaged |= dict.fromkeys(base.torn, "is not what its name says")
    damaged |= {path.with_suffix(".npy"): wrong for path in manifests if (wrong := base.fault(path, hashing=True))}
    base.digests()  # what others have found comes first
    known = CheckedDigests(base.path / LINES)
    lines = known.verify()
    if heal:
        with disk(base.path):
            for path in damaged:
                base.remove(path.with_suffix(".json"))
                base.remove(path.with_suffix(".npy"))
        if lines.damaged:
            known.heal(lines.damaged)
    unchecked = f"{len(lines.gone):,} lines of an older version, whose clips are gone: they cannot be checked"
    lying = base.shown(base.path / LINES)
    return StoreReport(
        store=base.name,
        shards=len(manifests),
        digests=lines.lines,
        damaged={base.shown(path): wrong for path, wrong in damaged.items()}
        | {f"{lying}: {clip}": wrong for clip, wrong in lines.damaged.items()},
        unsealed={lying: unchecked} if lines.gone else {},
        healed=heal and bool(damaged or lines.damaged),
    )
