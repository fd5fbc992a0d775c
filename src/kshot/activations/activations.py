"""Activations of a data set: what enters the tail for each of its clips, read from a store or given as features."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kshot.activations import index
from kshot.activations.shards import Array
from kshot.activations.store import Store
from kshot.datasets import Dataset
from kshot.datasets.segments import ends
from kshot.draws import key
from kshot.excerpts import shared
from kshot.video.damage import Damage


@dataclass(frozen=True)
class Activations:
    """Activations of the readable clips of a data set at one cut. The values lie in a store or in `data.features`.

    Attributes:
        data: the clips (unreadable ones left out), in the order of the source.
        cut: number of the block that receives the activations; None for ready-made features.
        unreadable: path -> why a clip could not be read.
        store: where view 0 of the clips lies; None for ready-made features.
        digests: one a clip, by which the store knows it; empty for ready-made features.
        stored_now: clips that were decoded and stored by the extraction that made this.
        seconds: that the extraction took.
        damaged: path -> what is lost of a clip that counts all the same.
        passed_over: path of a frame folder -> names of other files in it.
        views: stores of the views that a visit draws from.
        seen: int64 (clips, views), which of `views` holds a clip's view; None where there is view 0 alone.
        keep_copies: whether clips that hold the same may stand on both sides of an episode.
        backbone: name of the backbone; "" for ready-made features.
        notes: what was left out of its checkpoint, and how many clips have unusual pictures.
        videos: digests of the clips' videos, where clips are parts of them; empty where all are whole files.
        waits: seconds of the extraction that the encoder waited for "frames" and for the "writer".
    """

    data: Dataset
    cut: int | None
    unreadable: dict[str, str] = field(default_factory=dict)
    store: Store | None = None
    digests: Sequence[str] = ()
    stored_now: int = 0
    seconds: float = 0.0
    damaged: dict[str, Damage] = field(default_factory=dict)
    passed_over: dict[str, list[str]] = field(default_factory=dict)
    views: tuple[Store, ...] = ()
    seen: NDArray[np.int64] | None = None
    keep_copies: bool = False
    backbone: str = ""
    notes: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    waits: dict[str, float] = field(default_factory=dict)

    @property
    def copies(self) -> NDArray[Any] | None:
        """(clips,) what each holds, for a `Sampler` that keeps copies apart; None where they may stay together.

        Parts of a video that overlap hold the same.
        """
        if self.keep_copies:
            return None
        if self.data.spans is None:
            return content(self)
        videos = self.videos or [str(path) for path in self.data.paths]
        return np.array(shared(videos, ends(self.data.clips))).astype(np.str_)

    def gather(self, indices: Sequence[int] | NDArray[np.int64], visit: tuple[int, int] | None = None) -> Array:
        """Activations (n, rows, ...) of n clips, a row for each unit of the backbone; frames (uint8) at cut 0.

        Args:
            indices: of the clips.
            visit: (seed, number of the training batch), from which one of a clip's stored views is drawn; None for
                view 0.

        Raises:
            StoreError: a shard is damaged or gone.
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
        return self.view(chosen, (key(13, *visit, chosen) % np.uint64(self.seen.shape[1])).astype(np.int64))

    def view(self, clips: NDArray[np.int64], views: NDArray[np.int64]) -> Array:
        """Activations (n, rows, ...) of n clips, each in one of its stored views.

        Args:
            clips: (n,) indices.
            views: (n,) numbers of the views.

        Raises:
            StoreError: a shard is damaged or gone.
        """
        if self.seen is None:
            return self.gather(clips)
        chosen, drawn = clips, self.seen[clips, views]
        rows = [np.flatnonzero(drawn == number) for number in range(len(self.views))]
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
        """The clips of one split (or "all"); see `Dataset.indices` for names and errors."""
        return self if split == "all" else self.subset(self.data.indices(split))

    def subset(self, indices: NDArray[np.int64]) -> Activations:
        """The clips with these indices, classes renumbered to those present."""
        digests = index.pick(self.digests, indices) if self.digests else ()
        seen = None if self.seen is None else self.seen[indices]
        videos = tuple(self.videos[i] for i in indices) if self.videos else ()
        return replace(self, data=self.data.subset(indices), digests=digests, seen=seen, videos=videos)

    def losses(self) -> list[dict[str, Any]]:
        """What is lost of the clips at hand, as results list it: clip, kept (share) and reason of each damaged one."""
        paths = [str(clip) for clip in self.data.clips] if self.damaged else []
        return [{"clip": path, **self.damaged[path].plain()} for path in paths if path in self.damaged]

    def report(self) -> dict[str, Any]:
        """What `kshot extract --json` prints."""
        return {
            "data": self.data.name,
            "backbone": self.backbone,
            "clips": len(self.data),
            "stored_now": self.stored_now,
            "unreadable": self.unreadable,
            "damaged": self.losses(),
            "passed_over": self.passed_over,
            "missing": self.data.missing_from("all"),
            "notes": [*self.data.notes, *self.notes],
            "cut": self.cut,
            "store": self.store.name if self.store else None,
            "seconds": round(self.seconds, 3),
        }


def content(part: Activations) -> NDArray[Any]:
    """(clips,) for what each clip holds: the digest of its bytes, or of its ready-made features."""
    features = part.data.features
    if part.store is None and features is not None:
        return np.array([hashlib.sha256(clip.tobytes()).hexdigest() for clip in features], np.str_)
    return index.values(part.digests)


def from_features(data: Dataset, cut: int | None = None) -> Activations:
    """Ready-made features as activations that need no backbone, or that enter its last layer at `cut`."""
    return Activations(data, cut)
