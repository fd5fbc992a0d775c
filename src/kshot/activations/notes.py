"""What is noted of clips beside a store's shards: why one cannot be read, what is lost of it, what is unusual."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kshot import gate
from kshot.errors import DataError
from kshot.files import disk, write_atomic

if TYPE_CHECKING:
    from kshot.video.damage import Damage

KINDS = ("unreadable", "damaged", "looks")
"""Files of notes, digest -> what is known of the clip; and `unreadable-*.json` and so on, of several writers."""


class Notes:
    """The notes in a folder. Each is only a note: gone if its file is damaged.

    Args:
        folder: of a key of a store, which need not exist.

    Attributes:
        folder: as given.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer = ""

    def unreadable(self) -> dict[str, str]:
        """Digest -> why a clip could not be read."""
        return {clip: why for clip, why in self._noted("unreadable").items() if isinstance(why, str)}

    def losses(self) -> dict[str, Damage]:
        """Digest -> what is lost of a stored clip."""
        from kshot.video.damage import Damage  # with decoders that other readers of a store do not need

        return {clip: loss for clip, value in self._noted("damaged").items() if (loss := Damage.parse(value))}

    def looks(self) -> dict[str, tuple[str, ...]]:
        """Digest -> what is unusual about a clip's pictures; none of older stores."""
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

    def noting(self, planned: str) -> Self:
        """The same, for whoever notes what is wrong with the clips of a planned shard: in files of its own."""
        other = copy(self)
        other._writer = f"-{planned}"
        return other

    def own_notes(self) -> Iterator[Path]:
        """The files into which this writer notes, as far as they are there."""
        return filter(Path.exists, (self.folder / f"{kind}{self._writer}.json" for kind in KINDS))

    def _noted(self, kind: str) -> dict[str, Any]:
        return {clip: value for path in files(self.folder, kind) for clip, value in read_note(path).items()}

    def _note(self, kind: str, found: Mapping[str, Any]) -> None:
        if found:
            path = self.folder / f"{kind}{self._writer}.json"
            with disk(self.folder):
                write_atomic(path, json.dumps(read_note(path) | dict(found), indent=1).encode())


def files(folder: Path, kind: str) -> list[Path]:
    """Files of notes of a kind, of whoever wrote them; the last one counts. The first may not be there."""
    return [folder / f"{kind}.json", *sorted(folder.glob(f"{kind}-*.json"))]


def read_note(path: Path) -> dict[str, Any]:
    """What a file of notes says; nothing where it is missing or damaged."""
    try:
        found = gate.read_json(path)
    except DataError:
        return {}
    return found if isinstance(found, dict) else {}
