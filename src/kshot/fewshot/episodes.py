"""Episodes as a pure function of (data, way, shot, query, seed, index).

A counter-based generator (SplitMix64, Steele et al., OOPSLA 2014) hashes the seed, the episode's index and the
place of a class or clip into a random key; the smallest keys are drawn. There is no generator state, so
episode 7,312 is the same for every method, chunk size, worker and resumed run, and methods can be compared
episode by episode.
"""

from __future__ import annotations

from collections import Counter
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
LARGE = 8_192  # clips of a class, from which on not every one gets a key in every episode
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
        self._members = Members.of(labels, len(classes))
        self._groups = None if groups is None else np.unique(groups, return_inverse=True)[1].astype(np.int64)
        for c, name in enumerate(classes):
            self._check(name, self._members.clips(c), self._groups)

    def _check(self, name: str, member: Ints, groups: Ints | None) -> None:
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
        block = max(1, 2_000_000 // (self.way * max(self._members.widest, self._some)))
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
        class_keys = key(self.seed, 1, index[:, None], np.arange(self.class_count)[None, :])
        return np.argsort(class_keys, axis=1, kind="stable")[:, : self.way].astype(np.int64)

    def _draw_clips(self, index: Ints, classes: Ints) -> tuple[Ints, Ints]:
        if self._groups is None:
            drawn = self._order(index, classes, attempt=0, first=self.shot + self.query)
            return drawn[..., : self.shot], drawn[..., self.shot :]
        support = np.empty((*classes.shape, self.shot), np.int64)
        query = np.empty((*classes.shape, self.query), np.int64)
        todo = np.ones(classes.shape, bool)
        for attempt in range(_REDRAWS):
            drawn = self._order(index, classes, attempt, first=None)
            source = np.where(drawn >= 0, self._groups[drawn], -1)
            taken = (source[..., None] == source[..., None, : self.shot]).any(-1) | (drawn < 0)
            free_first = np.argsort(taken, axis=2, kind="stable")[..., : self.query]
            enough = (~taken).sum(2) >= self.query
            now = todo & enough
            support[now] = drawn[..., : self.shot][now]
            query[now] = np.take_along_axis(drawn, free_first, 2)[now]
            todo &= ~enough
            for row, column in zip(*np.nonzero(todo & self._members.large[classes]), strict=True):
                # A large class mostly of one source: those that were drawn are not enough, so all are put in order.
                clips = self._members.ordered_by(int(classes[row, column]), (self.seed, 2 + attempt, int(index[row])))
                free = clips[~np.isin(self._groups[clips], self._groups[clips[: self.shot]])]
                if len(free) >= self.query:
                    support[row, column], query[row, column] = clips[: self.shot], free[: self.query]
                    todo[row, column] = False
            if not todo.any():
                return support, query
        raise NotEnoughClips(
            f"no draw of {self.shot} support clips left {self.query} queries of other sources in {_REDRAWS} tries: "
            f"lower --shot or --query, {self._advice}"
        )

    @property
    def _some(self) -> int:
        """Clips of a large class that are drawn where some may be of a taken source."""
        return 4 * (self.shot + self.query) + 64

    def _order(self, index: Ints, classes: Ints, attempt: int, first: int | None) -> Ints:
        """(E, way, n) clips of the classes in the order in which an attempt draws them, -1 where there are no more.

        Of a small class all clips have a key, and the smallest key is drawn first. Of a large one places are drawn
        until there are as many different ones as may be needed, so an episode of millions of clips costs no more.

        Args:
            index: (E,) numbers of the episodes.
            classes: (E, way).
            attempt: number of the draw of an episode.
            first: how many clips are needed; None for all, or for as many of a large class as will do.
        """
        members, stream, many = self._members, 2 + attempt, self._members.large[classes]
        wide = members.widest if first is None else first
        some = first or self._some
        out = np.full((*classes.shape, max(wide, some) if many.any() else wide), -1)
        row, column = np.nonzero(~many)
        if len(row):
            small, whose = members.table[classes[row, column]], classes[row, column][:, None]
            keys = key(self.seed, stream, index[row][:, None], whose, np.arange(small.shape[1]))
            order = _smallest(np.where(small >= 0, keys, _LAST), wide)
            out[row, column, : order.shape[1]] = np.take_along_axis(small, order, 1)
        row, column = np.nonzero(many)
        if len(row):
            whose = classes[row, column]
            out[row, column, :some] = members.drawn(whose, some, (self.seed, stream, index[row][:, None]))
        return out


def _smallest(keys: NDArray[np.uint64], first: int) -> Ints:
    """(n, first) places of the `first` smallest keys of each row, smallest first."""
    if first < keys.shape[1]:
        near = np.argpartition(keys, first, axis=1)[:, :first]
        inner = np.argsort(np.take_along_axis(keys, near, 1), axis=1, kind="stable")
        found: Ints = np.take_along_axis(near, inner, 1)
        return found
    return np.argsort(keys, axis=1, kind="stable")


@dataclass(frozen=True)
class Members:
    """The clips of each class.

    Attributes:
        ordered: (N,) clips, those of a class together and in their own order.
        starts: (C + 1,) where the clips of each class begin in `ordered`.
        large: (C,) which classes have more than `LARGE` clips.
        table: (C, M) clips of each small class, -1 behind the last; a large one has none there.
    """

    ordered: Ints
    starts: Ints
    large: NDArray[np.bool_]
    table: Ints

    @classmethod
    def of(cls, labels: Ints, classes: int) -> Members:
        """Of clips with labels 0..classes-1."""
        sizes = np.bincount(labels, minlength=classes)
        ordered, starts = np.argsort(labels, kind="stable"), np.append(0, np.cumsum(sizes))
        large = sizes > LARGE
        table = np.full((classes, int(sizes[~large].max(initial=0))), -1, np.int64)
        for number in np.flatnonzero(~large):
            table[number, : sizes[number]] = ordered[starts[number] : starts[number + 1]]
        return cls(ordered, starts, large, table)

    @property
    def widest(self) -> int:
        """The most clips of a class that all have a key."""
        return max(1, int(self.table.shape[1]))

    def clips(self, number: int) -> Ints:
        """The clips of a class."""
        return self.ordered[self.starts[number] : self.starts[number + 1]]

    def ordered_by(self, number: int, counters: tuple[int, ...]) -> Ints:
        """All clips of a class in the order of their keys."""
        clips = self.clips(number)
        return clips[np.argsort(key(*counters, number, np.arange(len(clips))), kind="stable")]

    def drawn(self, classes: Ints, count: int, counters: tuple[int | Ints, ...]) -> Ints:
        """(n, count) different clips of each of n large classes, as the counters draw them; -1 where there are no more.

        Args:
            classes: (n,).
            count: of clips.
            counters: numbers, and (n, 1) of those that differ from row to row.
        """
        sizes, tries = np.diff(self.starts)[classes][:, None], count + 16
        while True:
            places = (key(*counters, classes[:, None], np.arange(tries)) % sizes.astype(np.uint64)).astype(np.int64)
            order = np.argsort(places, axis=1, kind="stable")
            again = np.diff(np.take_along_axis(places, order, 1), axis=1, prepend=-1) == 0
            seen = np.empty_like(again)
            np.put_along_axis(seen, order, again, 1)
            if ((~seen).sum(1) >= np.minimum(count, sizes[:, 0])).all():
                break
            tries *= 2
        kept = np.argsort(seen, axis=1, kind="stable")[:, :count]  # new ones first, in the order in which they came
        clips = self.ordered[self.starts[classes][:, None] + np.take_along_axis(places, kept, 1)]
        return np.where(np.take_along_axis(seen, kept, 1), -1, clips)


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
    for size in (size for one, count in Counter(sizes).items() for size in [one] * min(count, -(-shot // one))):
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
