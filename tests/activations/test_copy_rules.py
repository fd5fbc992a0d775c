"""Clips that hold the same, by sentence; and which view of a clip a visit draws, against a slow reading."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kshot.activations.activations import Activations, content, from_features
from kshot.activations.copies import expect_one_label, kept_apart, naming_left_out
from kshot.datasets import Dataset, build
from kshot.draws import key
from kshot.errors import DataError, NotEnoughClips


def featured(*rows: tuple[str, str, int]) -> Dataset:
    """Clips by label and split; those with the same number hold the same features."""
    labels, splits, numbers = zip(*rows, strict=True)
    values = np.array(numbers, np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)
    return build("toy", [Path("d", f"{n}.mp4") for n in range(len(rows))], labels, splits, [""] * len(rows), values)


def apart(data: Dataset, split: str) -> tuple[list[str], list[str]]:
    """Names of the clips that are left of a split, and what is said of the others."""
    part, notes = kept_apart(from_features(data).select(split), data, split)
    return [path.stem for path in part.data.paths], notes


def test_copies_of_what_was_learned_from_are_left_out() -> None:
    data = featured(
        ("a", "train", 1), ("b", "val", 2), ("c", "test", 1), ("c", "test", 3), ("d", "test", 2), ("d", "test", 4)
    )
    left, notes = apart(data, "test")
    assert left == ["3", "5"]
    assert notes == [
        "2 clips of split test left out, copies of base or val clips: d/2.mp4 = d/0.mp4, d/4.mp4 = d/1.mp4"
    ]
    assert apart(data, "train") == (["0"], [])
    swapped = featured(("a", "train", 1), ("b", "val", 1), ("b", "val", 5), ("c", "test", 5))
    assert apart(swapped, "val")[0] == ["2"], "val clips are chosen on, test clips never learned from"


def test_one_clip_under_two_labels_is_left_out_and_within_a_label_stays() -> None:
    data = featured(
        ("a", "test", 1), ("b", "test", 1), ("a", "test", 2), ("a", "test", 2), ("a", "test", 2), ("b", "test", 3)
    )
    left, notes = apart(data, "test")
    assert left == ["2", "3", "4", "5"]
    assert notes == [
        "2 clips of split test left out, the same bytes under two labels: d/0.mp4 = d/1.mp4",
        "2 clips of split test copies of another of the class, no query where that one is support: "
        "d/2.mp4 = d/3.mp4, d/2.mp4 = d/4.mp4",
    ]


@pytest.mark.parametrize(("labels", "other"), [("ab", 1), ("aab", 2), ("aba", 1), ("abb", 1), ("aaba", 2), ("abcb", 1)])
def test_of_one_clip_under_two_labels_the_pair_that_is_named_has_both(labels: str, other: int) -> None:
    _, notes = apart(featured(*[(label, "test", 1) for label in labels], ("z", "test", 2)), "test")
    count = len(labels)
    assert notes == [f"{count} clips of split test left out, the same bytes under two labels: d/0.mp4 = d/{other}.mp4"]
    with pytest.raises(DataError) as told:
        expect_one_label(["x"] * count, labels, [str(n) for n in range(count)])
    assert f"two labels: 0 ('a') and {other} ('{labels[other]}'): remove" in str(told.value)


def test_many_pairs_are_named_by_three_and_counted() -> None:
    rows = [("a", "test", n // 2) for n in range(10)]
    assert apart(featured(*rows), "test")[1][0].endswith("d/4.mp4 = d/5.mp4 and 2 more")
    assert apart(featured(*rows[:6]), "test")[1][0].endswith("d/4.mp4 = d/5.mp4")
    assert apart(featured(*rows[:2]), "test")[1][0].startswith("1 clip of split test")


def test_where_nothing_is_left_it_is_an_error_and_keeping_copies_changes_nothing() -> None:
    data = featured(("a", "train", 1), ("b", "test", 1))
    with pytest.raises(DataError) as told:
        apart(data, "test")
    assert str(told.value) == (
        "toy: 1 clip of split test left out, copies of base or val clips: d/1.mp4 = d/0.mp4; nothing is left: mend it, "
        "or keep them (--keep-copies)"
    )
    part = replace(from_features(data).select("test"), keep_copies=True)
    assert kept_apart(part, data, "test") == (part, []) and part.copies is None


def test_too_few_clips_name_those_that_were_left_out() -> None:
    with (
        pytest.raises(NotEnoughClips, match=r"^too few \(1 left out; 2 copies\)$"),
        naming_left_out(["1 left out", "2 copies"]),
    ):
        raise NotEnoughClips("too few")
    with pytest.raises(NotEnoughClips, match=r"^too few$"), naming_left_out([]):
        raise NotEnoughClips("too few")
    with pytest.raises(DataError, match=r"^other$"), naming_left_out(["1 left out"]):
        raise DataError("other")


def test_one_label_is_expected_of_the_same_bytes() -> None:
    expect_one_label(["x", "y", "x"], ["a", "b", "a"], ["0", "1", "2"])
    marks = [mark for pair in range(5) for mark in (f"m{pair}",) * 3]
    labels = ["a", "a", "b"] * 5
    for pairs, more in ((1, ""), (3, ""), (4, " and 1 more"), (5, " and 2 more")):
        with pytest.raises(DataError) as told:
            expect_one_label(marks[: 3 * pairs], labels[: 3 * pairs], [str(n) for n in range(3 * pairs)])
        shown = "; ".join(f"{3 * p} ('a') and {3 * p + 2} ('b')" for p in range(min(3, pairs)))
        assert str(told.value) == (
            f"{3 * pairs} clips hold the same bytes under two labels: {shown}{more}: remove the wrong ones, or keep "
            f"all of them (--keep-copies)"
        )


def test_features_are_the_same_where_every_bit_is() -> None:
    data = featured(("a", "test", 0), ("a", "test", 0), ("a", "test", 1))
    assert data.features is not None
    data.features[1, 0, 0] = -0.0
    marks = content(from_features(data))
    assert len(set(marks.tolist())) == 3, "minus nought has another bit"
    assert marks[0] == hashlib.sha256(bytes(2 * 3 * 4)).hexdigest()


class Kept:
    """A store that answers with the number of its view and of the clip."""

    def __init__(self, view: int) -> None:
        self.view = view

    def gather(self, digests: list[str]) -> np.ndarray:
        return np.array([[self.view, int(digest)] for digest in digests], np.float32)


def test_a_visit_draws_for_each_clip_one_of_its_views() -> None:
    """By the seed, the batch and the clip alone, each clip by itself."""
    data = featured(*[("a", "train", n) for n in range(6)])
    seen = np.random.default_rng(0).integers(0, 4, (6, 3))
    views: Any = tuple(Kept(number) for number in range(4))
    store: Any = Kept(99)
    part = Activations(data, 3, store=store, digests=tuple("012345"), views=views, seen=seen)
    drawn = set()
    for visit in ((0, 0), (0, 1), (7, 1), (7, 2)):
        for clips in ([3, 0, 5, 5], [0], [5, 4, 3, 2, 1, 0]):
            slow = [[seen[clip, int(key(13, *visit, clip)) % 3], clip] for clip in clips]
            assert part.gather(clips, visit).tolist() == slow
            drawn |= {(clip, view) for view, clip in slow}
    assert len(drawn) > 8
    assert part.gather([2, 1]).tolist() == [[99, 2], [99, 1]], "without a visit it is view 0"
    assert replace(part, seen=None).gather([2], (0, 0)).tolist() == [[99, 2]]
    few = part.subset(np.array([4, 2]))
    assert few.digests == ("4", "2") and few.seen is not None and few.seen.tolist() == seen[[4, 2]].tolist()
