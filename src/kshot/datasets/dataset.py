"""What a data set is: path, label, split and source group of each clip, or ready-made features."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kshot import compact, names
from kshot.datasets import segments
from kshot.errors import DataError, unknown
from kshot.excerpts import Clip, clip_of

SPLITS = {"train": "train", "base": "train", "val": "val", "test": "test", "novel": "test"}


class Later:
    """A field whose array a function may make, once it is looked at: of very many clips it is large, and few ask."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, one: Any, owner: type | None = None) -> np.ndarray:
        if one is None:
            raise AttributeError(self._name)  # no default
        given = one.__dict__[self._name]
        made: np.ndarray = given() if callable(given) else given
        one.__dict__[self._name] = made
        return made

    def __set__(self, one: Any, given: np.ndarray | Callable[[], np.ndarray]) -> None:
        one.__dict__[self._name] = given


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
    groups: Later = Later()
    features: np.ndarray | None = None
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    spans: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def changed(self, **others: Any) -> Dataset:
        """The same but for some fields. Unlike `dataclasses.replace` it makes nothing that nobody has looked at."""
        return Dataset(**{one.name: self.__dict__[one.name] for one in fields(self)} | others)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"groups": self.groups}  # no function goes to another process

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
        whole = len(chosen) == len(self) and np.array_equal(chosen, np.arange(len(self)))
        labels = self.labels if whole else self.labels[chosen]
        kept = np.flatnonzero(np.bincount(labels))
        if whole and len(kept) == len(self.classes):
            return self  # features may fill the memory: no second copy of all of them
        groups = self.__dict__["groups"]  # not looked at, and without this data set, which may go
        return Dataset(
            name=self.name,
            paths=compact.chosen(self.paths, chosen),
            labels=np.searchsorted(kept, labels),
            classes=tuple(self.classes[label] for label in kept),
            splits=self.splits[chosen],
            groups=(lambda: groups()[chosen]) if callable(groups) else groups[chosen],
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
    numbers, texts = names.numbered(labels, lambda index: f"{source}: {place(index)}")
    together = compact.Texts(names.groups(groups, lambda index: f"{source}: {place(index)}"))
    split_of: dict[int, tuple[str, int]] = {}  # those of a label are the same, so of each the first is kept
    for index, (number, split) in enumerate(zip(numbers, splits, strict=True)):
        if split and split.lower() not in SPLITS:
            raise DataError(f"{source}: {place(index)}: {unknown('split', split, SPLITS)}")
        own = SPLITS[split.lower()] if split else ""
        first, at = split_of.setdefault(number, (own, index))
        if first != own:
            raise DataError(
                f"{source}: label '{texts[number]}' is in two splits, '{first}' ({place(at)}) and '{own}' "
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
        each = [texts[number] for number in numbers]
        clips, overlaps = segments.checked(source, paths, each, spans, place)
        filmed, lone = segments.grouped(clips, each, together)
        together = compact.Texts(filmed)
    classes, paths = sorted(texts), compact.Paths.of(paths)
    number_of = {text: number for number, text in enumerate(classes)}

    def grouped() -> np.ndarray:
        named = enumerate(zip(together, paths, strict=True))
        return compact.array((group or f"{i}:{path}" for i, (group, path) in named), len(paths))

    return Dataset(
        name=name,
        paths=paths,
        labels=np.array([number_of[text] for text in texts])[np.frombuffer(numbers, np.int64)],
        classes=tuple(classes),
        splits=_shared([split_of[number][0] for number in range(len(texts))], numbers),
        groups=grouped,
        features=features,
        notes=(*notes, *overlaps, *lone),
        spans=spans,
    )


def _shared(texts: Sequence[str], numbers: Sequence[int]) -> np.ndarray:
    """The text of each number; of very many, objects that they share, and one where all are the same."""
    if len(set(texts)) == 1:
        return np.broadcast_to(np.array(texts[0]), len(numbers))
    kind = np.str_ if len(numbers) < compact.MANY else object
    made: np.ndarray = np.array(texts, kind)[np.asarray(numbers)]
    return made


def _few(texts: Sequence[str], most: int = 8) -> str:
    """The first few, and how many more there are."""
    rest = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + rest
