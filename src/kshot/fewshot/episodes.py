"""Episodes as a pure function of (data, way, shot, query, seed, index).

A counter-based generator (SplitMix64, Steele et al., OOPSLA 2014) hashes the seed, the episode's index and the
place of a class or clip into a random key; the smallest keys are drawn. There is no generator state, so
episode 7,312 is the same for every method, chunk size, worker and resumed run, and methods can be compared
episode by episode.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kshot import settings
from kshot.draws import key
from kshot.errors import NotEnoughClips, OptionError

Ints = NDArray[np.int64]

_LAST = np.uint64(0xFFFFFFFFFFFFFFFF)
_REDRAWS = 200
_LAST_ATTEMPT = 2 + _REDRAWS


@dataclass(frozen=True)
class Episodes:
    """A batch of E episodes as indices into the data set they were drawn from.

    classes: (E, way) class index of each way. support: (E, N) and query: (E, way * query) clip indices, grouped by way,
    with N = way * shot unless `shots` says otherwise. numbers: (E,) of the episodes in their sequence. shots: (E, way)
    support clips of each class, N in every episode, where the classes differ; else None.
    """

    classes: Ints
    support: Ints
    query: Ints
    numbers: Ints
    shots: Ints | None = None

    @property
    def support_labels(self) -> Ints:
        """(E, N) labels in 0..way-1."""
        if self.shots is None:
            return self._labels(self.support)
        ways = np.broadcast_to(np.arange(self.shots.shape[1]), self.shots.shape)
        return np.repeat(ways.ravel(), self.shots.ravel()).reshape(len(self.shots), -1)

    @property
    def query_labels(self) -> Ints:
        """(E, way * query) labels in 0..way-1."""
        return self._labels(self.query)

    def _labels(self, clips: Ints) -> Ints:
        count, way = self.classes.shape
        return np.broadcast_to(np.repeat(np.arange(way), clips.shape[1] // way), (count, clips.shape[1]))


class Sampler:
    """Draws episodes from clips with labels; refuses at construction what could not be drawn.

    Args:
        labels: (N,) class index of each clip.
        classes: class names, for messages.
        way: classes an episode.
        shot: support clips a class.
        query: query clips a class.
        seed: names the sequence of episodes.
        groups: (N,) source of each clip; where given, no query shares its source with a support clip of its
            class. A support draw that leaves too few queries is drawn again.
        copies: (N,) what each clip holds; where given, clips that hold the same count as of one source. Without any,
            the episodes are the same as if it was not given.
        least: support clips of a class, at least: each class of an episode keeps the first of its `shot`, a number
            from `least` to `shot` that all are as likely to be. None for all of them. Queries are the same.

    Raises:
        OptionError: way < 2, shot < 1 or query < 1, or `least` is not in 1 to `shot`.
        NotEnoughClips: fewer classes than `way`, or a class with fewer clips than shot + query need.
    """

    def __init__(
        self,
        labels: Ints,
        classes: tuple[str, ...],
        way: int = 5,
        shot: int = 1,
        query: int = 5,
        seed: int = 0,
        groups: NDArray[np.str_] | None = None,
        copies: NDArray[np.str_] | None = None,
        least: int | None = None,
    ) -> None:
        if way < 2 or shot < 1 or query < 1:
            raise OptionError(
                f"an episode needs way >= 2, shot >= 1 and query >= 1, found way={way}, shot={shot}, query={query}"
            )
        settings.expect(way=way, shot=shot, query=query, seed=seed)
        if least is not None and not 1 <= least <= shot:
            raise OptionError(f"the least shot must be 1 to the shot, {shot}, found {least}")
        if len(classes) < way:
            raise NotEnoughClips(
                f"{way}-way episodes need {way} classes, found {len(classes)}: {', '.join(classes)}; "
                f"lower --way or choose another split"
            )
        alone, groups = groups, joined(groups, copies)
        self._advice = "or allow shared groups (--shared-group)" if alone is not None else ""
        if groups is not alone:
            self._advice += (" and " if self._advice else "or ") + "copies (--keep-copies), which count as one source"
        self.way, self.shot, self.query, self.seed, self.least = way, shot, query, seed, least
        self.clip_count, self.class_count = len(labels), len(classes)
        members = [np.flatnonzero(labels == c) for c in range(len(classes))]
        longest = max(len(m) for m in members)
        self._clips = np.full((len(classes), longest), -1, np.int64)
        for c, member in enumerate(members):
            self._clips[c, : len(member)] = member
        self._groups: Ints | None = None
        if groups is not None:
            numbers = np.unique(groups, return_inverse=True)[1].astype(np.int64)
            self._groups = np.where(self._clips >= 0, numbers[self._clips], -1)
        for c, member in enumerate(members):
            self._check(classes[c], member, groups)

    def _check(self, name: str, member: Ints, groups: NDArray[np.str_] | None) -> None:
        need, shots = self.shot + self.query, self.shot if self.least is None else f"{self.least}..{self.shot}"
        if len(member) < need:
            raise NotEnoughClips(
                f"class '{name}' has {len(member)} clips, but {shots}-shot episodes with {self.query} queries "
                f"need {need}: add clips, or lower --shot or --query"
            )
        if groups is None:
            return
        sizes = np.unique(groups[member], return_counts=True)[1]
        best = len(member) - _fewest_used(sizes.tolist(), self.shot)
        if best < self.query:
            raise NotEnoughClips(
                f"class '{name}' has {len(member)} clips from {len(sizes)} sources; {self.shot} support clips leave "
                f"at most {best} of another source, but {self.query} queries are asked for: lower --shot or --query, "
                f"{self._advice}"
            )

    def draw(self, indices: Ints | range | list[int]) -> Episodes:
        """Episodes number `indices` (E of them). The same numbers give the same episodes in any batch.

        Raises:
            ValueError: they have not as many support clips, which they may where classes have unlike shots.
        """
        index = np.asarray(indices, np.int64)
        classes = self._classes(index)
        support = np.empty((len(index), self.way, self.shot), np.int64)
        query = np.empty((len(index), self.way, self.query), np.int64)
        # Keys for every clip of the drawn classes: a block of episodes at a time keeps them in cache.
        block = max(1, 2_000_000 // (self.way * self._clips.shape[1]))
        for start in range(0, len(index), block):
            rows = slice(start, start + block)
            support[rows], query[rows] = self._draw_clips(index[rows], classes[rows])
        shots, queries = self._shots(index, classes), query.reshape(len(index), -1)
        if shots is None:
            return Episodes(classes, support.reshape(len(index), -1), queries, index)
        if len(set(shots.sum(1).tolist())) > 1:
            raise ValueError("episodes with unlike numbers of support clips are no one batch: see `batches`")
        kept = np.arange(self.shot) < shots[..., None]
        return Episodes(classes, support[kept].reshape(len(index), -1), queries, index, shots)

    def batches(self, indices: Ints | range | list[int]) -> Iterator[Episodes]:
        """Episodes number `indices`, as `draw` gives them, in batches of as many support clips."""
        index = np.asarray(indices, np.int64)
        if self.least is None:
            yield self.draw(index)
            return
        shots = self._shots(index, self._classes(index))
        assert shots is not None
        totals = shots.sum(1)
        for total in np.unique(totals):
            yield self.draw(index[totals == total])

    def _shots(self, index: Ints, classes: Ints) -> Ints | None:
        """(E, way) support clips of each class; None where all have `shot`."""
        if self.least is None:
            return None
        drawn = key(self.seed, _LAST_ATTEMPT + 1, index[:, None], classes) % np.uint64(self.shot - self.least + 1)
        return self.least + drawn.astype(np.int64)

    def _classes(self, index: Ints) -> Ints:
        """(E, way) classes of the episodes."""
        class_keys = key(self.seed, 1, index[:, None], np.arange(len(self._clips))[None, :])
        return np.argsort(class_keys, axis=1, kind="stable")[:, : self.way].astype(np.int64)

    def _draw_clips(self, index: Ints, classes: Ints) -> tuple[Ints, Ints]:
        clips = self._clips[classes]  # (E, way, longest)
        if self._groups is None:
            order = self._order(index, classes, clips, attempt=0, first=self.shot + self.query)
            drawn = np.take_along_axis(clips, order, 2)
            return drawn[..., : self.shot], drawn[..., self.shot :]
        groups = self._groups[classes]
        support = np.empty((*classes.shape, self.shot), np.int64)
        query = np.empty((*classes.shape, self.query), np.int64)
        todo = np.ones(classes.shape, bool)
        for attempt in range(_REDRAWS):
            order = self._order(index, classes, clips, attempt, first=clips.shape[2])
            drawn, source = np.take_along_axis(clips, order, 2), np.take_along_axis(groups, order, 2)
            taken = (source[..., None] == source[..., None, : self.shot]).any(-1) | (drawn < 0)
            free_first = np.argsort(taken, axis=2, kind="stable")[..., : self.query]
            enough = (~taken).sum(2) >= self.query
            now = todo & enough
            support[now] = drawn[..., : self.shot][now]
            query[now] = np.take_along_axis(drawn, free_first, 2)[now]
            todo &= ~enough
            if not todo.any():
                return support, query
        raise NotEnoughClips(
            f"no draw of {self.shot} support clips left {self.query} queries of other sources in {_REDRAWS} tries: "
            f"lower --shot or --query, {self._advice}"
        )

    def _order(self, index: Ints, classes: Ints, clips: Ints, attempt: int, first: int) -> Ints:
        """(E, way, first) places of the `first` smallest keys among each class's clips, smallest first."""
        keys = key(self.seed, 2 + attempt, index[:, None, None], classes[..., None], np.arange(clips.shape[2]))
        keys = np.where(clips >= 0, keys, _LAST)
        if first < keys.shape[2]:
            near = np.argpartition(keys, first, axis=2)[..., :first]
            inner = np.argsort(np.take_along_axis(keys, near, 2), axis=2, kind="stable")
            return np.take_along_axis(near, inner, 2)
        return np.argsort(keys, axis=2, kind="stable")


def joined(groups: NDArray[np.str_] | None, copies: NDArray[np.str_] | None) -> NDArray[np.str_] | None:
    """Groups (N,), those of clips that hold the same made one. `groups` itself where no two clips do.

    >>> joined(None, np.array(["x", "y", "x"])).tolist(), joined(None, np.array(["x", "y"]))
    (['x', 'y', 'x'], None)
    """
    if copies is None:
        return groups
    values, counts = np.unique(copies, return_counts=True)
    if (counts == 1).all():
        return groups
    if groups is None:
        return copies
    made = np.unique(groups, return_inverse=True)[1]
    for value in values[counts > 1]:
        held = made[copies == value]
        made[np.isin(made, held)] = held[0]
    return made.astype(np.str_)


def _fewest_used(sizes: list[int], shot: int) -> int:
    """Size of the smallest union of sources that holds at least `shot` clips: what a support draw must block."""
    sums = {0}
    for size in sizes:
        sums |= {total + size for total in sums if total < shot}
    return min((total for total in sums if total >= shot), default=sum(sizes))


def episodes(
    labels: Ints,
    classes: tuple[str, ...],
    indices: Ints | range | list[int],
    way: int = 5,
    shot: int = 1,
    query: int = 5,
    seed: int = 0,
    groups: NDArray[np.str_] | None = None,
    copies: NDArray[np.str_] | None = None,
) -> Episodes:
    """Episodes number `indices` drawn from clips with `labels`; see `Sampler` for the arguments and errors."""
    return Sampler(labels, classes, way, shot, query, seed, groups, copies).draw(indices)
