"""Clips of variable rate in stores of an older kshot, which chose frames by their number; this one chooses by time.

Both choose the same of a clip of constant rate, so what is stored of those stays valid.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kshot.activations.store import Store
from kshot.errors import VideoError
from kshot.excerpts import Clip
from kshot.files import append, disk
from kshot.progress import Progress, quiet
from kshot.video import scan


def check(
    clips: Sequence[Clip], digests: Sequence[str], target: Store, scanned: bool, progress: Progress = quiet
) -> None:
    """Lets an old store forget what was stored of clips of variable rate, whose frames an older kshot chose by number.

    Args:
        clips: of the data set; parts of videos were never chosen by number.
        digests: of the clips, in the same order.
        target: the store.
        scanned: whether to scan clips whose rate is not known yet, once each; without it what is stored of them
            counts.
        progress: how to show progress.

    Raises:
        StoreError: what was found cannot be written.
    """
    old = {value: clip for value, clip in zip(digests, clips, strict=True) if target.by_number(value)}
    if not old:
        return
    known = Rates(target.root / "rates.jsonl")
    fresh = [value for value in old if known.get(value) is None] if scanned else []
    if fresh:
        found: dict[str, bool] = {}
        with progress("reading the frame rates of stored clips", len(fresh), "clips") as step:
            for value in fresh:
                with suppress(VideoError):
                    found[value] = scan(old[value]).clock.times is None
                step()
        known.add(found)
    target.forget(value for value in old if known.get(value) is False)


class Rates:
    """Which clips, by digest, are of constant rate. Kept as JSON lines; torn ones are ignored.

    Args:
        path: of the file, which may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._constant: dict[str, bool] = {}
        if path.exists():
            for line in path.read_text("utf-8", errors="replace").splitlines():
                try:
                    row = json.loads(line)
                    self._constant[row["sha256"]] = bool(row["constant"])
                except (ValueError, KeyError, TypeError):
                    continue

    def get(self, clip: str) -> bool | None:
        """Whether a clip is of constant rate; None if it is not known."""
        return self._constant.get(clip)

    def add(self, found: dict[str, bool]) -> None:
        """Remembers, by digest, whether clips are of constant rate.

        Raises:
            StoreError: the disk refuses.
        """
        self._constant |= found
        if found:
            lines = [json.dumps({"sha256": clip, "constant": constant}) + "\n" for clip, constant in found.items()]
            with disk(self._path):
                append(self._path, lines)
