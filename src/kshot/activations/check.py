"""Is what a store holds still what was put there: every shard against its manifest, every line against its seal."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kshot.activations.shard_list import LINES
from kshot.activations.store import located, read_key
from kshot.errors import DataError
from kshot.files import disk


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
    known = base.digests()
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
