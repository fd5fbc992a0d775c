"""What a data set is: path, label, split and source group of each clip, or ready-made features."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kshot import names
from kshot.datasets import compact, segments
from kshot.errors import DataError, unknown
from kshot.excerpts import Clip, clip_of

SPLITS = {"train": "train", "base": "train", "val": "val", "test": "test", "novel": "test"}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled clips. Arrays run over the N clips, in the order of the source.

    Attributes:
        name: for messages and results.
        paths: the clips: video files or folders of frames; that of its video for a clip that is a part of one.
        labels: int64 (N,), indices into `classes`.
        classes: label texts as the user wrote them, sorted.
        splits: text (N,): "train", "val", "test", or "" where the source names none.
        groups: text (N,): clips of one group show the same source; a clip without a group is one by itself.
        features: floating (N, T, D), ready-made features of T frames a clip; None where there are only videos.
        missing: split -> names of clips that a benchmark's published list has and this copy has not.
        notes: sentences on what of the source was passed over, with counts; results keep them.
        spans: float64 (N, 2), seconds at which clips begin and end in their files, NaN for the file's own ends; None
            where every clip is a whole file.
    """

    name: str
    paths: Sequence[Path]
    labels: np.ndarray
    classes: tuple[str, ...]
    splits: np.ndarray
    groups: np.ndarray
    features: np.ndarray | None = None
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    spans: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def clips(self) -> Sequence[Clip]:
        """The clips: `paths`, and where there are `spans` parts of them."""
        if self.spans is None:
            return self.paths
        return tuple(clip_of(path, span) for path, span in zip(self.paths, self.spans.tolist(), strict=True))

    @property
    def channels(self) -> int | None:
        """D of ready-made features; None where there are only videos."""
        return None if self.features is None else int(self.features.shape[2])

    @property
    def counts(self) -> dict[str, int]:
        """Number of clips of each class."""
        numbers = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, numbers.tolist(), strict=True))

    def indices(self, split: str) -> np.ndarray:
        """Indices int64 of the clips of a split: "train", "val", "test" (or "base", "novel"), "all" for every clip.

        Raises:
            OptionError: no such name of a split.
            DataError: the data set has no clips in it.
        """
        if split == "all":
            return np.arange(len(self))
        if split not in SPLITS:
            raise unknown("split", split, [*SPLITS, "all"])
        found: np.ndarray = np.flatnonzero(self.splits == SPLITS[split])
        if not len(found):
            there = ", ".join(sorted(set(self.splits.tolist()) - {""}))
            raise DataError(
                f"{self.name} has no clips in split '{SPLITS[split]}': "
                + (f"it has {there} and all" if there else "its clips name no split, use 'all' or add a column 'split'")
            )
        return found

    def select(self, split: str) -> Dataset:
        """The clips of a split, see `indices`, with only their classes."""
        return self if split == "all" else self.subset(self.indices(split))

    def only(self, classes: Iterable[str]) -> Dataset:
        """The clips of the named classes.

        Raises:
            DataError: an unknown class, with the nearest name.
        """
        known = {name: label for label, name in enumerate(self.classes)}
        wanted = []
        for name in map(names.tidy, classes):
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"it has {_few(self.classes)}"
                raise DataError(f"{self.name} has no class '{name}': {hint}")
            wanted.append(known[name])
        return self.subset(np.flatnonzero(np.isin(self.labels, wanted)))

    def subset(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        """The clips with these indices, in this order; classes are those that remain, their order is kept."""
        chosen = np.asarray(indices, dtype=np.int64)
        kept, labels = np.unique(self.labels[chosen], return_inverse=True)
        if np.array_equal(chosen, np.arange(len(self))) and len(kept) == len(self.classes):
            return self  # features may fill the memory: no second copy of all of them
        return Dataset(
            name=self.name,
            paths=compact.chosen(self.paths, chosen),
            labels=labels.astype(np.int64),
            classes=tuple(self.classes[label] for label in kept),
            splits=self.splits[chosen],
            groups=self.groups[chosen],
            features=None if self.features is None else self.features[chosen],
            missing=self.missing,
            notes=self.notes,
            spans=None if self.spans is None else self.spans[chosen],
        )

    def missing_from(self, split: str) -> list[str]:
        """Names of the clips that a benchmark's split ("all" for every one) lacks in this copy."""
        wanted = SPLITS.get(split, split)
        return [clip for part, clips in self.missing.items() if wanted in ("all", part) for clip in clips]


def build(
    name: str,
    paths: Sequence[Path],
    labels: Sequence[Any],
    splits: Sequence[str],
    groups: Sequence[Any],
    features: np.ndarray | None = None,
    place: Callable[[int], str] = lambda index: f"clip {index}",
    notes: Sequence[str] = (),
    alone: Callable[[int], str] | None = None,
    spans: np.ndarray | None = None,
    source: str = "",
) -> Dataset:
    """A Dataset from one text per clip and column; checks what every source must obey.

    Args:
        name: for messages and results.
        paths: of the clips.
        labels: of the clips; whatever `kshot.names.label` takes.
        splits: names as in `SPLITS`, in any case, or "".
        groups: "" or a missing value for a clip that is a group by itself.
        features: floating (N, T, D), where they are ready-made; see `Dataset`.
        place: where clip i stands in the source, for messages ("line 7").
        notes: what of the source was passed over.
        alone: how the split of clip i is given without the others, for messages.
        spans: see `Dataset`; segments without a group get one, see `kshot.datasets.segments`.
        source: what messages call it, such as its file; its name by default.

    Raises:
        DataError: no clips, a clip without a label, labels that look alike, an unknown split, a label in two splits, a
            segment of no length or listed twice.
    """
    source = source or name
    if not len(labels):
        raise DataError(f"{source} holds no clips")
    texts = names.labels(labels, lambda index: f"{source}: {place(index)}")
    together = names.groups(groups, lambda index: f"{source}: {place(index)}")
    split_of: dict[str, tuple[str, int]] = {}
    canonical = []
    for index, (label, split) in enumerate(zip(texts, splits, strict=True)):
        if split and split.lower() not in SPLITS:
            raise DataError(f"{source}: {place(index)}: {unknown('split', split, SPLITS)}")
        canonical.append(SPLITS[split.lower()] if split else "")
        first, at = split_of.setdefault(label, (canonical[-1], index))
        if first != canonical[-1]:
            raise DataError(
                f"{source}: label '{label}' is in two splits, '{first}' ({place(at)}) and '{canonical[-1]}' "
                f"({place(index)}): splits are by class, so give all its clips the same one"
                + (
                    f"; for `kshot fit` name one of them alone ({alone(at)} or {alone(index)}), and try the model on "
                    f"the other with `kshot predict`"
                    if alone
                    else ""
                )
            )
    lone, overlaps = names.lone(together), list[str]()
    if spans is not None:
        clips, overlaps = segments.checked(source, paths, texts, spans, place)
        together, lone = segments.grouped(clips, texts, together)
    classes = sorted(set(texts))
    number_of = {label: number for number, label in enumerate(classes)}
    return Dataset(
        name=name,
        paths=compact.Paths.of(paths),
        labels=np.fromiter((number_of[label] for label in texts), np.int64, len(texts)),
        classes=tuple(classes),
        splits=np.array(canonical, dtype=np.str_),
        groups=compact.array(
            [group or f"{i}:{path}" for i, (group, path) in enumerate(zip(together, paths, strict=True))]
        ),
        features=features,
        notes=(*notes, *overlaps, *lone),
        spans=spans,
    )


def _few(texts: Sequence[str], most: int = 8) -> str:
    """The first few, and how many more there are."""
    rest = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + rest
