"""Activations on disk: append-only shards under a key that holds everything that changes a number.

Layout, all of it readable without kshot:

    STORE/digests.jsonl                  what each path held when it was last hashed
    STORE/<key>/key.json                 the key, spelled out
    STORE/<key>/shard-<name>.npy         (clips, ...) activations
    STORE/<key>/shard-<name>.json        its manifest: sha256, clip digests; written last, so it marks a shard complete
    STORE/<key>/unreadable.json          digest -> why a clip could not be read
    STORE/<key>/damaged.json             digest -> what is lost of a stored clip
    STORE/<key>/looks.json               digest -> what is unusual about its pictures, such as interlaced
    STORE/<key>/index-<names>.npy        where each clip stands, of many; a cache, as is STORE/digests-<bytes>.npy
    STORE/rates.jsonl                    whether clips that an older kshot stored are of constant rate

At an address the same files lie under names of what they hold, see `kshot.activations.mirror`.

A shard's name is the hash of its manifest, so that no other manifest can take its place; each line of digests.jsonl
has a seal of its own (lines of older versions have none). Every file is written under a temporary name and renamed. A
kill at any moment leaves whole shards and at most one file that belongs to none, which the next writer removes. One
writer at a time holds a lock; readers need none. Writers of planned shards (see `kshot.activations.plan`) work side by
side instead: each holds `plan-<name>.lock` of its own shard, and notes what is wrong with its clips in files of its
own, `unreadable-<name>.json` and so on, which readers take together with the others.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kshot import addresses, gate
from kshot.activations.index import DigestList
from kshot.activations.packing import unpacked
from kshot.activations.shard_list import Folder, ShardList, names
from kshot.activations.shards import Array, Manifest, Shard, ShardWriter, read_manifest
from kshot.errors import DataError, StoreError
from kshot.files import disk, locked, write_atomic
from kshot.paths import home

if TYPE_CHECKING:
    from kshot.video.damage import Damage

LATELY = 30.0  # seconds in which another machine may have completed a shard that is written here all the same


NOTES = ("unreadable", "damaged", "looks")
"""Files beside the shards, digest -> what is known of the clip."""


class Store:
    """The shards of one key. Nothing is created before something is written.

    Args:
        root: the store folder or its address, None for $KSHOT_HOME/store; many keys live side by side in it.
        key: everything that changes a number, as JSON. Another key is another folder: a miss, never a wrong hit.
        made_with: the backbone's name, for people; no part of the key.
        check: first hash what is there and drop damaged shards, so that their clips count as missing.

    Attributes:
        base: where the store lies.
        root: the folder, or what this machine keeps of an address.
        key: as given.
        made_with: as given.
        folder: of this key, in `root`.
        name: what people call that: the folder, or its address.

    Raises:
        StoreError: the folder holds the same name for another key, a damaged manifest, or shards of a newer kshot.
        DataError: the address does not answer, wants credentials, or has no such bucket.
    """

    def __init__(
        self, root: str | Path | Folder | None, key: Mapping[str, Any], made_with: str = "", check: bool = False
    ) -> None:
        self.base, self.key = located(root), dict(key)
        self.root = self.base.path
        text = json.dumps(self.key, sort_keys=True)
        self.folder = self.root / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.name = self.base.shown(self.folder)
        self.base.refresh(self.folder.name)
        self._found = ShardList(self.folder, read=False)
        self._forgotten: set[str] = set()
        self._open: dict[int, tuple[Shard, Sequence[str]]] = {}
        self._plans: dict[str, str] = {}
        self.made_with = made_with
        self._notes = ""
        if check and (self.damaged() or not self._named()):
            with self.holding():
                self.drop(self.damaged())
        if not self._named():
            raise StoreError(f"{self._keyfile} is damaged; run `kshot extract` again: it writes what is damaged only")
        self._look()

    def __getstate__(self) -> dict[str, Any]:
        """Without the files that are open: a copy opens its own."""
        return self.__dict__ | {"_open": {}}

    @property
    def _keyfile(self) -> Path:
        return self.folder / "key.json"

    def _named(self) -> bool:
        """Whether `key.json` is whole, or was never written. The folder's name tells the key, so it can be mended.

        Raises:
            StoreError: it is whole, and of another key.
        """
        about = read_key(self._keyfile)
        if about and about.key != self.key:
            raise StoreError(f"store {self.name} belongs to another key; move it away or use another --store")
        return bool(about) or not self._keyfile.exists()

    def refresh(self) -> None:
        """Finds all complete shards and their clips, see `kshot.activations.shard_list`.

        Raises:
            StoreError: a manifest is damaged or of a newer kshot.
            DataError: the address does not answer.
        """
        self.base.refresh(self.folder.name)
        self._look()

    def _look(self) -> None:
        self._found = ShardList(self.folder)
        self._forgotten.clear()
        self._open.clear()
        self._plans.clear()

    def __contains__(self, clip: str) -> bool:
        return clip not in self._forgotten and bool(self._found.places(clip))

    def __len__(self) -> int:
        return len(self._found) - len(self._forgotten)

    def holds(self, clips: Sequence[str]) -> NDArray[np.bool_]:
        """(n,) which of n clips, given by digest, are stored."""
        found = self._found.holds(clips)
        if self._forgotten:
            found &= np.fromiter((clip not in self._forgotten for clip in clips), bool, len(clips))
        return found

    def by_number(self, clip: str) -> bool:
        """Whether what is stored of a clip was chosen by the numbers of its frames: right for a constant rate only."""
        return clip not in self._forgotten and self._found.by_number(clip)

    @property
    def old(self) -> bool:
        """Whether there are clips `by_number` at all."""
        return self._found.old

    def planned(self, name: str) -> Path | None:
        """The manifest of a planned shard, also of one that another process has completed since; None where there is
        none."""
        self.base.refresh(self.folder.name, LATELY)
        there = names(self.folder)
        for shard in there:
            if shard not in self._plans:
                with suppress(ValueError):  # `refresh` names what is damaged
                    self._plans[shard] = read_manifest(self.folder / f"{shard}.json").planned
        return next((self.folder / f"{shard}.json" for shard in there if self._plans.get(shard) == name), None)

    def stored_apart(self, clip: str, plan: str) -> bool:
        """Whether a clip was stored by anything else than the shards of a plan, given by its name; after `planned`."""
        shards = (self._found.names[number] for number, _ in self._found.places(clip))
        return clip in self and any(not self._plans.get(shard, "").startswith(f"{plan}-") for shard in shards)

    def forget(self, clips: Iterable[str]) -> None:
        """Lets clips count as missing, until they are written anew."""
        self._forgotten |= {clip for clip in clips if clip in self}

    def bytes_of(self, clip: str) -> int:
        """Bytes that the activations of a clip take on disk."""
        shard = self._place(clip)[1]
        return int(math.prod(shard.shape) * shard.dtype.itemsize)

    def gather(self, clips: Sequence[str]) -> Array:
        """Activations (n, ...) of n clips, given by digest, at least one; read from disk into fresh memory, in float32
        where they were packed.

        Raises:
            StoreError: a shard is truncated or gone.
        """
        first = self._place(clips[0])[1]
        out = np.empty((len(clips), *first.shape), first.dtype)
        for i, clip in enumerate(clips):
            number, shard, row = self._place(clip)
            if (shard.shape, shard.dtype) != (first.shape, first.dtype) or not shard.read(row, out[i]):
                raise self._torn(number, "a clip is cut off or of another shape")
        return unpacked(out)

    def _place(self, clip: str) -> tuple[int, Shard, int]:
        """Number of a clip's shard, the shard and the row, as its manifest says.

        Raises:
            KeyError: it is not stored.
            StoreError: a shard is damaged or gone.
        """
        for again in (False, True):
            if again:
                self._found.rebuild()  # the index that was kept is damaged
            for number, row in self._found.places(clip) if clip not in self._forgotten else ():
                shard, held = self._shard(number)
                if row < len(held) and held[row] == clip:
                    return number, shard, row
        raise KeyError(clip)

    def _shard(self, number: int) -> tuple[Shard, Sequence[str]]:
        """A shard and its clips, by its manifest; the last ones stay open."""
        if number not in self._open:
            try:
                manifest = self._found.manifest(number)
                with self.base.data(self.folder / f"{self._found.names[number]}.npy", manifest) as path:
                    shard, held = Shard(path), DigestList.of(manifest.clips)
                if shard.clips != len(held):
                    raise ValueError(f"{shard.clips} clips, its manifest says {len(held)}")
            except StoreError:
                raise
            except Exception as error:  # a damaged header fails in many ways
                raise self._torn(number, error) from None
            if len(self._open) >= self.base.open_shards:
                del self._open[next(iter(self._open))]
            self._open[number] = shard, held
        return self._open[number]

    def _torn(self, number: int, reason: object) -> StoreError:
        return StoreError(
            f"shard {self.name}/{self._found.names[number]}.npy is damaged ({reason}); run `kshot extract` again: it "
            f"rewrites damaged shards only"
        )

    @contextmanager
    def writing(self) -> Iterator[ShardWriter]:
        """A writer that holds the lock; what it was given is complete on disk when the block is left, also by an
        exception or Ctrl-C.

        Raises:
            StoreError: another process writes here, or the disk is full or read-only.
        """
        with self.holding():
            self.refresh()
            try:
                with self.writer() as writer:
                    yield writer
            finally:
                self.refresh()

    @contextmanager
    def writer(self, planned: str = "") -> Iterator[ShardWriter]:
        """A writer for the holder of a lock; at the end what it was given is complete, and notes are with it.

        Args:
            planned: name of the planned shard that it writes, see `ShardWriter`; nothing of it is written if the block
                is left by an exception.

        Raises:
            StoreError: the disk refuses.
            DataError: the address does.
        """
        notes = self.noting(planned) if planned else self

        def complete(data: Path, manifest: Manifest) -> None:
            for path in notes.own_notes():  # before the clips themselves: a kill must not leave those without
                self.base.settle(path)
            self.base.complete(data, manifest)

        writer = ShardWriter(self.folder, planned, complete)
        try:
            yield writer
        except BaseException:
            if not planned:
                writer.flush()
            raise
        else:
            writer.flush()
            with disk(self.folder):
                for path in notes.own_notes():
                    self.base.settle(path)
        finally:
            writer.close()

    @contextmanager
    def holding(self, wait: float = 0.0) -> Iterator[None]:
        """Holds the folder for this process, made where absent.

        Args:
            wait: seconds for another to let go of it, beside writers of planned shards; by default there may be none,
                and what killed writers left is removed.

        Raises:
            Busy: another process writes here.
            StoreError: the disk refuses.
        """
        busy = Busy(f"another kshot is writing to {self.name}; wait for it to end or use another --store")
        with locked(self.folder, "lock", busy, wait):  # the name it always had: older versions are kept out, too
            with disk(self.folder):
                if not wait:
                    for path in self.folder.glob("plan-*.lock"):
                        with locked(self.folder, path.name, busy):
                            path.with_suffix(".part").unlink(missing_ok=True)
                    for path in (*self.folder.glob("*.tmp"), *self.folder.glob("shard-*.npy")):
                        if not path.with_suffix(".json").exists():  # data whose manifest was never written
                            path.unlink()
                if not read_key(self._keyfile):
                    about = {"key": self.key, "made_with": self.made_with}
                    self.base.write(self._keyfile, json.dumps(about, indent=1).encode())
            yield

    def unreadable(self) -> dict[str, str]:
        """Digest -> why a clip could not be read; only a note, gone if it is damaged."""
        return {clip: why for clip, why in self._noted("unreadable").items() if isinstance(why, str)}

    def losses(self) -> dict[str, Damage]:
        """Digest -> what is lost of a stored clip; only a note, gone if it is damaged."""
        from kshot.video.damage import Damage  # with decoders that other readers of a store do not need

        return {clip: loss for clip, value in self._noted("damaged").items() if (loss := Damage.parse(value))}

    def looks(self) -> dict[str, tuple[str, ...]]:
        """Digest -> what is unusual about a clip's pictures; only a note, as `losses`, and none of older stores."""
        return {clip: tuple(map(str, kinds)) for clip, kinds in self._noted("looks").items() if isinstance(kinds, list)}

    def note_looks(self, found: Mapping[str, Sequence[str]]) -> None:
        """Adds to `looks`; for the holder of the lock.

        Raises:
            StoreError: the disk refuses.
        """
        self._note("looks", found)

    def note_unreadable(self, found: Mapping[str, str]) -> None:
        """Adds to `unreadable`; for the holder of the lock.

        Raises:
            StoreError: the disk refuses.
        """
        self._note("unreadable", found)

    def note_losses(self, found: Mapping[str, Damage]) -> None:
        """Adds to `losses`; for the holder of the lock.

        Raises:
            StoreError: the disk refuses.
        """
        self._note("damaged", {clip: loss.plain() for clip, loss in found.items()})

    def noting(self, planned: str) -> Store:
        """This store, for whoever notes what is wrong with the clips of a planned shard: in files of its own."""
        other = copy(self)
        other._notes = f"-{planned}"
        return other

    def own_notes(self) -> Iterator[Path]:
        """The files into which this writer notes, as far as they are there."""
        return filter(Path.exists, (self.folder / f"{kind}{self._notes}.json" for kind in NOTES))

    def _noted(self, kind: str) -> dict[str, Any]:
        return {clip: value for path in note_files(self.folder, kind) for clip, value in gate.glimpse(path).items()}

    def _note(self, kind: str, found: Mapping[str, Any]) -> None:
        if found:
            path = self.folder / f"{kind}{self._notes}.json"
            with disk(self.folder):
                write_atomic(path, json.dumps(gate.glimpse(path) | dict(found), indent=1).encode())

    def damaged(self) -> dict[str, str]:
        """Shard name -> what is wrong with it, after hashing every complete shard, or by its size at an address.

        Raises:
            StoreError: one is of a newer kshot.
        """
        manifests = sorted(self.folder.glob("shard-*.json"))
        return {path.stem: wrong for path in manifests if (wrong := self.base.fault(path))}

    def drop(self, shards: Iterable[str]) -> None:
        """Removes shards (manifest first, so that a kill in between leaves no broken shard behind).

        Raises:
            StoreError: the disk refuses.
        """
        with disk(self.folder):
            for name in shards:
                self.base.remove(self.folder / f"{name}.json")
                self.base.remove(self.folder / f"{name}.npy")


class Busy(StoreError):
    """Another process writes there."""


def note_files(folder: Path, kind: str) -> list[Path]:
    """Files of notes of a kind in a key's folder, whoever wrote them; of two the later one counts."""
    return [folder / f"{kind}.json", *sorted(folder.glob(f"{kind}-*.json"))]


@dataclass(frozen=True)
class KeyFile:
    """What `key.json` says.

    Attributes:
        key: everything that changes a number, as JSON.
        made_with: name of the backbone.
    """

    key: dict[str, Any]
    made_with: str


def read_key(path: Path) -> KeyFile | None:
    """What `key.json` says; None where it is missing or damaged."""
    try:
        about = gate.read_json(path)
    except DataError:
        return None
    if not isinstance(about, dict) or not isinstance(about.get("key"), dict) or "made_with" not in about:
        return None
    return KeyFile(about["key"], str(about["made_with"]))


def located(store: str | Path | Folder | None) -> Folder:
    """Where a store lies, by its folder or address; $KSHOT_HOME/store for None."""
    if isinstance(store, Folder):
        return store
    if store is not None and (place := addresses.of(store)):
        from kshot.activations.mirror import Mirror  # which few stores need

        return Mirror(place)
    return Folder(home() / "store" if store is None else Path(store))


def holders(root: str | Path | Folder) -> list[str]:
    """Names of the backbones whose activations a store holds, sorted."""
    return sorted({about.made_with for path in located(root).keyfiles() if (about := read_key(path))})
