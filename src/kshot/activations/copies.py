"""Clips that hold the same bytes, or show the same moments of a video: named, counted and kept apart, unless
`keep_copies` says otherwise.

A copy of a base clip among the novel ones was learned by heart, a copy of a support clip is no question, and of two
labels for the same bytes one is wrong. Data without copies are not touched. Rows of ready-made features that are equal
in every bit count as copies too: two different clips do not give them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kshot.activations.activations import Activations, content
from kshot.activations.index import values
from kshot.datasets import Dataset
from kshot.datasets.segments import ends
from kshot.errors import DataError, NotEnoughClips
from kshot.excerpts import Clip, Excerpt, file_of

SHOWN = 3  # pairs that a sentence names
INSTANT = 1e-6  # seconds that two clips may share without showing the same
LEARNED = {"test": ("train", "val"), "val": ("train",)}
"""Split -> those that were learned from, or chosen on, before its clips are queries."""


def kept_apart(part: Activations, whole: Dataset, split: str) -> tuple[Activations, list[str]]:
    """The clips of a split that can be queries, and sentences on the others.

    Left out are copies of clips that are learned from, and clips whose bytes stand under two labels of the split.
    Copies within a class stay: `kshot.fewshot.episodes.Sampler` lets no query be a copy of a support clip.

    Args:
        part: activations of the split.
        whole: the data set that it is a split of.
        split: "train", "val", "test" or "all".

    Returns:
        The activations that are left, and one sentence for each kind of clip that was left out or stays.

    Raises:
        DataError: nothing is left.
    """
    if part.keep_copies:
        return part, []
    marks, notes, data = content(part), [], part.data
    learned = _copied(part, whole, LEARNED.get(split, ()))
    known = np.isin(np.arange(len(marks)), list(learned))
    if learned:
        pairs = [(data.clips[i], learned[i]) for i in sorted(learned)[:SHOWN]]
        what = "copies of" if whole.spans is None else "copies of, or overlapping,"
        count = len(learned)
        notes.append(f"{_clips(count)} of split {split} left out, {what} base or val clips: {_named(pairs, count)}")
    twice = [clips for clips in _alike(marks) if len(set(data.labels[clips])) > 1 and not known[clips[0]]]
    torn = np.zeros(len(marks), bool)
    if twice:
        torn[np.concatenate(twice)] = True
        pairs = [(data.clips[clips[0]], data.clips[_another(clips, data.labels)]) for clips in twice]
        notes.append(
            f"{_clips(int(torn.sum()))} of split {split} left out, the same bytes under two labels: {_named(pairs)}"
        )
    kept = np.flatnonzero(~known & ~torn)
    if not len(kept):
        raise DataError(f"{whole.name}: {'; '.join(notes)}; nothing is left: mend it, or keep them (--keep-copies)")
    if len(kept) < len(marks):
        part = part.subset(kept)
    again = [(part.data.clips[c[0]], part.data.clips[other]) for c in _alike(marks[kept]) for other in c[1:]]
    if again:
        notes.append(
            f"{_clips(len(again))} of split {split} copies of another of the class, no query where that one is "
            f"support: {_named(again)}"
        )
    return part, notes


@contextmanager
def naming_left_out(notes: Sequence[str]) -> Iterator[None]:
    """Where too few clips are left for an episode, the error says which were left out."""
    try:
        yield
    except NotEnoughClips as error:
        raise NotEnoughClips(f"{error} ({'; '.join(notes)})" if notes else str(error)) from None


def expect_one_label(marks: Sequence[str] | NDArray[Any], labels: Sequence[str], names: Sequence[str | Clip]) -> None:
    """Refuses the same bytes under two labels.

    Args:
        marks: what each clip holds, as `content` says it.
        labels: of the clips.
        names: what a message calls each of them.

    Raises:
        DataError: there are some; names them and says how many.
    """
    found = [clips for clips in _alike(np.asarray(marks)) if len({labels[i] for i in clips}) > 1]
    if found:
        shown = []
        for clips in found[:SHOWN]:
            other = _another(clips, labels)
            shown.append(f"{names[clips[0]]} ('{labels[clips[0]]}') and {names[other]} ('{labels[other]}')")
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise DataError(
            f"{_clips(sum(map(len, found)))} hold the same bytes under two labels: {'; '.join(shown)}{more}: remove "
            f"the wrong ones, or keep all of them (--keep-copies)"
        )


def _copied(part: Activations, whole: Dataset, splits: Sequence[str]) -> dict[int, Clip]:
    """Clips of `part` by their index -> a clip of the splits that are learned from which shows the same."""
    marks, (learned, clips_of) = content(part), _learned(part, whole, splits)
    alike = np.flatnonzero(np.isin(marks, learned)).tolist()
    latest = {i: int(clips_of[np.flatnonzero(learned == marks[i])[-1]]) for i in alike}
    found = {i: whole.clips[other] for i, other in latest.items()}
    clips = np.flatnonzero(np.isin(whole.splits, splits))
    if whole.spans is None or not len(clips):
        return found
    paths = [whole.paths[i] for i in clips.tolist()]
    known = part.store.base.digests() if part.store else None
    taught: dict[str, list[int]] = {}
    for i, video in zip(clips.tolist(), known.of(paths, remembered=True) if known else map(str, paths), strict=True):
        taught.setdefault(video, []).append(i)
    spans, own = np.array(ends(whole.clips)), ends(part.data.clips)
    for i, video in enumerate(part.videos or map(str, part.data.paths)):
        others = taught.get(video, [])
        overlap = np.minimum(spans[others, 1], own[i][1]) - np.maximum(spans[others, 0], own[i][0]) if others else None
        if i not in found and overlap is not None and overlap.max() > INSTANT:
            found[i] = whole.clips[others[int(overlap.argmax())]]
    return found


def _learned(part: Activations, whole: Dataset, splits: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """What clips of the splits that are learned from hold, as far as `part` may hold the same; and their indices."""
    clips = np.flatnonzero(np.isin(whole.splits, splits))
    if not len(clips):
        return content(part)[:0], clips
    if part.store is None:
        return content(Activations(whole.subset(clips), None)), clips
    taught = whole.subset(clips).clips
    digests = part.store.base.digests()
    marks = values(digests.of(taught, remembered=True))
    unknown = np.flatnonzero(marks == marks.dtype.type())
    if not len(unknown):
        return marks, clips
    sizes = {_size(path) for path in part.data.paths}
    fresh = [i for i in unknown.tolist() if _size(file_of(taught[i])) in sizes]
    found = values(digests.of([taught[i] for i in fresh]))
    kept = np.setdiff1d(np.arange(len(marks)), unknown)
    return np.concatenate([marks[kept], found]), np.concatenate([clips[kept], clips[fresh]])


def _size(path: Path) -> int:
    """Bytes of a file: others of that size may be copies. -1 for every frame folder."""
    try:
        return -1 if path.is_dir() else path.stat().st_size
    except OSError:
        return -2


def _alike(marks: NDArray[Any]) -> list[NDArray[np.int64]]:
    """Indices of the clips that hold the same, for each that several hold."""
    order = np.argsort(marks, kind="stable")
    starts = np.flatnonzero(np.append(True, marks[order[1:]] != marks[order[:-1]])[: len(marks)])
    sizes = np.diff(np.append(starts, len(marks)))
    several = [order[starts[i] : starts[i] + sizes[i]] for i in np.flatnonzero(sizes > 1)]
    return sorted(several, key=lambda clips: int(clips[0]))


def _another(clips: NDArray[np.int64], labels: Sequence[object] | NDArray[np.int64]) -> int:
    """The first of the clips that has another label than the first."""
    return next(int(i) for i in clips if labels[i] != labels[clips[0]])


def _clips(count: int) -> str:
    return "1 clip" if count == 1 else f"{count:,} clips"


def _named(pairs: Sequence[tuple[Clip, Clip]], count: int = 0) -> str:
    """The first of the pairs, and how many more there are; `count` where not all of them are given."""
    few, count = ", ".join(f"{_short(one)} = {_short(other)}" for one, other in pairs[:SHOWN]), count or len(pairs)
    return few + (f" and {count - SHOWN:,} more" if count > SHOWN else "")


def _short(clip: Clip) -> str:
    times = f"#t={clip.times}" if isinstance(clip, Excerpt) else ""
    return "/".join(file_of(clip).parts[-2:]) + times
