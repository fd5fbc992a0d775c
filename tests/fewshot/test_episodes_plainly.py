"""Episodes against slow loops that draw one class of one episode at a time, and the limits of what can be drawn."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from kshot.draws import key
from kshot.errors import NotEnoughClips, OptionError
from kshot.fewshot import episodes as module
from kshot.fewshot.episodes import Episodes, Sampler, episodes, joined

UNEVEN = np.repeat(np.arange(4), (5, 9, 6, 12))
NAMES = tuple("abcd")


def smallest_first(seed: int, stream: int, index: int, rest: Sequence[Sequence[int]]) -> list[int]:
    """Numbers 0, 1, ... in the order of their random keys; `rest` holds the last counters of each."""
    keys = [int(key(seed, stream, index, *counters)) for counters in rest]
    return sorted(range(len(keys)), key=keys.__getitem__)


def drawn(
    labels: np.ndarray, way: int, shot: int, query: int, seed: int, index: int, groups: np.ndarray | None = None
) -> tuple[list[int], list[int], list[int]]:
    """Classes, support and query of one episode, by loops."""
    classes = smallest_first(seed, 1, index, [(c,) for c in range(int(labels.max()) + 1)])[:way]
    supports: list[int] = []
    queries: list[int] = []
    for c in classes:
        clips = np.flatnonzero(labels == c).tolist()
        for attempt in itertools.count():
            order = smallest_first(seed, 2 + attempt, index, [(c, place) for place in range(len(clips))])
            support, others = [clips[i] for i in order[:shot]], [clips[i] for i in order[shot:]]
            if groups is not None:
                used = {groups[clip] for clip in support}
                others = [clip for clip in others if groups[clip] not in used]
            if len(others) >= query:
                break
        supports += support
        queries += others[:query]
    return classes, supports, queries


def assert_drawn(found: Episodes, indices: Sequence[int], *shape: int, groups: np.ndarray | None = None) -> None:
    way, shot, query, seed = shape
    for place, index in enumerate(indices):
        wanted = drawn(UNEVEN, way, shot, query, seed, index, groups)
        assert (found.classes[place].tolist(), found.support[place].tolist(), found.query[place].tolist()) == wanted


@pytest.mark.parametrize(("way", "shot", "query"), [(2, 1, 1), (3, 2, 3), (4, 1, 4), (4, 3, 2)])
def test_classes_of_uneven_size_are_drawn_as_by_a_loop(way: int, shot: int, query: int) -> None:
    indices = [0, 1, 2, 99, 7312]
    found = Sampler(UNEVEN, NAMES, way, shot, query, seed=3).draw(indices)
    assert_drawn(found, indices, way, shot, query, 3)


def test_a_class_may_be_used_up_by_an_episode() -> None:
    found = Sampler(UNEVEN, NAMES, way=4, shot=2, query=3).draw(range(20))
    assert_drawn(found, range(20), 4, 2, 3, 0)
    for support, query in zip(found.support, found.query, strict=True):
        assert {0, 1, 2, 3, 4} <= {*support, *query}, "the smallest class has five clips, and all are needed"


@pytest.mark.parametrize("seed", range(3))
def test_sources_are_kept_apart_and_drawn_again_as_by_a_loop(seed: int) -> None:
    groups = np.array([f"s{n}" for n in np.random.default_rng(seed).integers(0, 5, len(UNEVEN))])
    for c in range(4):  # at least three sources a class
        groups[np.flatnonzero(np.equal(UNEVEN, c))[:3]] = ["s0", "s1", "s2"]
    found = Sampler(UNEVEN, NAMES, 3, 1, 2, seed, groups).draw(range(40))
    assert_drawn(found, range(40), 3, 1, 2, seed, groups=groups)


def test_the_draw_is_repeated_where_a_support_clip_takes_too_many_with_it() -> None:
    """Of twelve clips eight are of one source: as support it leaves four, and six queries are asked for."""
    groups = np.array(["big"] * 6 + list("uvwxyz"))
    labels, both = np.repeat([0, 1], 12), np.tile(groups, 2)
    sampler = Sampler(labels, ("a", "b"), way=2, shot=2, query=6, seed=1, groups=both)
    found = sampler.draw(range(30))
    for support, query in zip(found.support.reshape(-1, 2), found.query.reshape(-1, 6), strict=True):
        assert not set(both[support]) & set(both[query])
    again = [drawn(labels, 2, 2, 6, 1, index, both) for index in range(30)]
    assert [(s, q) for _, s, q in again] == list(zip(found.support.tolist(), found.query.tolist(), strict=True))


def test_copies_are_of_one_source() -> None:
    copies = np.array([f"c{n}" for n in range(len(UNEVEN))])
    plain = Sampler(UNEVEN, NAMES, 3, 1, 2).draw(range(20))
    without = Sampler(UNEVEN, NAMES, 3, 1, 2, copies=copies).draw(range(20))
    assert np.array_equal(plain.query, without.query), "where no clip is a copy nothing changes"
    copies[[0, 1, 2]] = "same"
    found = Sampler(UNEVEN, NAMES, 4, 1, 2, copies=copies).draw(range(60))
    for classes, support, query in zip(found.classes, found.support, found.query, strict=True):
        way = classes.tolist().index(0)
        if support[way] in (0, 1, 2):
            assert not {0, 1, 2} & set(query.tolist())


def by_union(groups: Sequence[str], copies: Sequence[str]) -> list[set[int]]:
    """Parts of the clips that are linked by a group or by what they hold, over any number of steps."""
    parts = [{i} for i in range(len(groups))]
    for i, j in itertools.combinations(range(len(groups)), 2):
        if groups[i] == groups[j] or copies[i] == copies[j]:
            one = next(part for part in parts if i in part)
            other = next(part for part in parts if j in part)
            if one is not other:
                one |= other
                parts.remove(other)
    return sorted(parts, key=min)


@pytest.mark.parametrize("seed", range(12))
def test_groups_that_share_a_copy_become_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 8, 14).astype(str)
    copies = rng.integers(0, 16, 14).astype(str)
    made = joined(groups, copies)
    assert made is not None
    found = [set(np.flatnonzero(made == name).tolist()) for name in np.unique(made)]
    assert sorted(found, key=min) == by_union(groups.tolist(), copies.tolist())


def test_joining_leaves_alone_what_holds_no_copies() -> None:
    groups, alone, twice = np.array(["g", "g", "h"]), np.array(["x", "y", "z"]), np.array(["x", "x", "z"])
    assert joined(groups, None) is groups and joined(groups, alone) is groups
    assert joined(None, None) is None and joined(None, alone) is None
    assert joined(None, twice) is twice


def fewest(sizes: Sequence[int], shot: int) -> int:
    every = (sum(some) for n in range(len(sizes) + 1) for some in itertools.combinations(sizes, n))
    return min((total for total in every if total >= shot), default=sum(sizes))


@pytest.mark.parametrize("sizes", [(1, 1, 1), (6, 1, 1), (5, 3), (4, 4, 2), (9,), (2, 3, 7)])
def test_what_a_support_draw_must_block_is_the_smallest_union(sizes: tuple[int, ...]) -> None:
    for shot in range(1, sum(sizes) + 2):
        assert module._fewest_used(list(sizes), shot) == fewest(sizes, shot)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (6, 1, 1), (5, 3), (4, 4, 2), (3, 3, 3)])
@pytest.mark.parametrize("shot", [1, 2, 3])
def test_what_is_let_in_can_be_drawn_and_one_query_more_is_refused(sizes: tuple[int, ...], shot: int) -> None:
    groups = np.tile(np.repeat([f"s{n}" for n in range(len(sizes))], sizes), 2)
    labels = np.repeat([0, 1], sum(sizes))
    most = sum(sizes) - fewest(sizes, shot)
    if most:
        found = Sampler(labels, ("a", "b"), 2, shot, most, groups=groups).draw([0])
        assert found.query.shape == (1, 2 * most)
    with pytest.raises(NotEnoughClips, match=f"class 'a' has {sum(sizes)} clips"):
        Sampler(labels, ("a", "b"), 2, shot, most + 1, groups=groups)


TWO = np.array([0, 0, 0, 1, 1, 1])
SAME = np.array(["x"] * 3 + list("uvw"))


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ({"groups": SAME}, r"--query, or allow shared groups \(--shared-group\)$"),
        (
            {"groups": SAME, "copies": np.array(list("abcdef"))},
            r"--query, or allow shared groups \(--shared-group\)$",
        ),
        ({"copies": SAME}, r"--query, or copies \(--keep-copies\), which count as one source$"),
        (
            {"groups": np.array(list("aab") * 2), "copies": SAME},
            r"--query, or allow shared groups \(--shared-group\) and copies \(--keep-copies\), which count",
        ),
    ],
)
def test_the_advice_names_what_keeps_clips_apart(given: dict[str, np.ndarray], advice: str) -> None:
    with pytest.raises(NotEnoughClips, match=advice):
        Sampler(TWO, ("a", "b"), way=2, shot=1, query=1, **given)


def test_a_draw_that_hardly_ever_works_ends_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the one clip of another source may be support; with a single try most episodes do not find it."""
    monkeypatch.setattr(module, "_REDRAWS", 1)
    groups = np.array((["big"] * 30 + ["alone"]) * 2)
    sampler = Sampler(np.repeat([0, 1], 31), ("a", "b"), way=2, shot=1, query=30, groups=groups)
    with pytest.raises(NotEnoughClips, match="no draw of 1 support clips left 30 queries of other sources in 1 tries"):
        sampler.draw(range(8))


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ({"way": 1}, "found way=1, shot=1, query=5"),
        ({"shot": 0}, "found way=5, shot=0, query=5"),
        ({"query": 0}, "found way=5, shot=1, query=0"),
        ({"way": 2.0}, "way must be a whole number, found 2.0"),
        ({"way": 3, "shot": 1.5}, "shot must be a whole number, found 1.5"),
        ({"way": 3, "query": 10_001}, "query must be at most 10,000, found 10001"),
        ({"way": 3, "seed": -1}, "seed must be at least 0, found -1"),
    ],
)
def test_shapes_that_there_cannot_be_are_refused(shape: dict[str, object], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        Sampler(UNEVEN, NAMES, **shape)  # type: ignore[arg-type]


def test_too_few_classes_are_listed() -> None:
    with pytest.raises(NotEnoughClips, match="5-way episodes need 5 classes, found 4: a, b, c, d; lower --way"):
        Sampler(UNEVEN, NAMES)


def test_the_defaults_are_those_of_the_settings() -> None:
    labels, names = np.repeat(np.arange(6), 7), tuple("abcdef")
    one, other = episodes(labels, names, range(5)), Sampler(labels, names, 5, 1, 5, 0).draw(range(5))
    assert one.classes.shape == (5, 5) and one.support.shape == (5, 5) and one.query.shape == (5, 25)
    for name in ("classes", "support", "query"):
        assert np.array_equal(getattr(one, name), getattr(other, name))


def test_labels_are_in_the_order_of_the_columns() -> None:
    batch = Episodes(np.zeros((2, 3), int), np.zeros((2, 6), int), np.zeros((2, 9), int), np.arange(2))
    assert batch.support_labels.tolist() == [[0, 0, 1, 1, 2, 2]] * 2
    assert batch.query_labels.tolist() == [[0, 0, 0, 1, 1, 1, 2, 2, 2]] * 2


def test_many_episodes_are_drawn_in_blocks_that_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, sizes, draw = Sampler(UNEVEN, NAMES, 3, 1, 2), [], Sampler._draw_clips
    monkeypatch.setattr(Sampler, "_draw_clips", lambda self, i, c: sizes.append(len(i)) or draw(self, i, c))
    count = 2_000_000 // (3 * 12) + 5
    found = sampler.draw(range(count))
    block = 2_000_000 // (3 * sampler._some)  # it is wider than the widest class
    assert sizes == [block] * (count // block) + [count % block]
    last = Episodes(found.classes[-6:], found.support[-6:], found.query[-6:], found.numbers[-6:])
    assert_drawn(last, range(count - 6, count), 3, 1, 2, 0)
