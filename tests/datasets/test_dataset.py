"""Data sets: parts of them, against slow readings; and what every source must obey."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kshot.datasets import Dataset, build
from kshot.errors import DataError, OptionError

ROWS = [
    ("0.mp4", "wave", "test", "park"),
    ("1.mp4", "run", "train", "park"),
    ("2.mp4", "run", "train", "hall"),
    ("3.mp4", "jump", "val", ""),
    ("4.mp4", "wave", "test", ""),
    ("5.mp4", "bow", "train", "hall"),
]


def made(features: bool = False, splits: bool = True) -> Dataset:
    paths, labels, parts, groups = zip(*ROWS, strict=True)
    values = np.arange(6 * 2 * 3, dtype=np.float32).reshape(6, 2, 3) if features else None
    return build("few", [Path(path) for path in paths], labels, parts if splits else [""] * 6, groups, values)


def rows(data: Dataset) -> list[tuple[str, str, str, str]]:
    """Path, label, split and group of every clip, read clip by clip."""
    return [
        (str(data.paths[i]), data.classes[data.labels[i]], str(data.splits[i]), str(data.groups[i]))
        for i in range(len(data))
    ]


def test_classes_are_sorted_and_every_clip_keeps_what_is_its_own() -> None:
    data = made()
    assert data.classes == ("bow", "jump", "run", "wave")
    assert [row[:3] for row in rows(data)] == [row[:3] for row in ROWS]
    assert data.counts == {"bow": 1, "jump": 1, "run": 2, "wave": 2}
    assert data.notes == ("2 of 6 clips name no group: each counts as filmed by itself",)
    alone = [group for row, group in zip(ROWS, data.groups, strict=True) if not row[3]]
    assert len({*data.groups.tolist()}) == 4 and len({*alone, "park", "hall"}) == 4


def test_any_subset_is_the_clips_with_their_own_rows_in_that_order() -> None:
    data, rng = made(features=True), np.random.default_rng(0)
    for _ in range(100):
        chosen = rng.permutation(6)[: rng.integers(1, 7)]
        part = data.subset(chosen)
        assert rows(part) == [rows(data)[i] for i in chosen]
        assert set(part.classes) == {ROWS[i][1] for i in chosen} and list(part.classes) == sorted(part.classes)
        assert part.features is not None and data.features is not None
        np.testing.assert_array_equal(part.features, data.features[chosen])
    twice = data.subset([2, 2])
    assert rows(twice) == [rows(data)[2]] * 2


def test_all_clips_in_their_order_are_the_data_set_itself() -> None:
    data = made(features=True)
    assert data.subset(range(6)) is data and data.select("all") is data
    assert data.subset([0, 1, 2, 3, 5, 4]) is not data


@pytest.mark.parametrize(("name", "split"), [("base", "train"), ("novel", "test"), ("val", "val"), ("train", "train")])
def test_splits_have_two_names(name: str, split: str) -> None:
    data = made()
    assert rows(data.select(name)) == [row for row in rows(data) if row[2] == split]


def test_classes_by_name_and_the_nearest_where_there_is_none() -> None:
    data = made()
    assert [row[1] for row in rows(data.only([" wave ", "bow"]))] == ["wave", "wave", "bow"]
    with pytest.raises(DataError, match="few has no class 'wav': did you mean 'wave'"):
        data.only(["run", "wav"])
    with pytest.raises(DataError, match="few has no class 'xyz': it has bow, jump, run, wave"):
        data.only(["xyz"])


def test_splits_that_are_not_there() -> None:
    with pytest.raises(DataError, match="has no clips in split 'test': it has train and all"):
        made().select("train").select("novel")
    with pytest.raises(DataError, match="its clips name no split, use 'all' or add a column 'split'"):
        made(splits=False).select("val")
    with pytest.raises(OptionError, match="unknown split 'vall': did you mean 'val'"):
        made().select("vall")


def test_missing_clips_by_split() -> None:
    data = Dataset(**{**made().__dict__, "missing": {"train": ("a", "b"), "test": ("c",)}})
    for split, names in {
        "all": ["a", "b", "c"],
        "base": ["a", "b"],
        "train": ["a", "b"],
        "novel": ["c"],
        "val": [],
    }.items():
        assert data.missing_from(split) == names
    assert data.select("test").missing_from("base") == ["a", "b"], "a part remembers what the whole lacks"


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("labels", ["a", ""], "few: clip 1 has no label"),
        ("labels", ["Wave", "wave"], "look alike"),
        ("splits", ["train", "dev"], "few: clip 1: unknown split 'dev'"),
        ("splits", ["train", "val"], "label 'a' is in two splits, 'train' .clip 0. and 'val' .clip 1.: splits are by"),
        ("groups", ["x", object()], "few: clip 1: expected text or a number as its group"),
    ],
)
def test_what_no_source_may_hold(column: str, values: list[Any], message: str) -> None:
    columns: dict[str, list[Any]] = {"labels": ["a", "a"], "splits": ["", ""], "groups": ["", ""]} | {column: values}
    with pytest.raises(DataError, match=message):
        build("few", [Path("0"), Path("1")], **columns)


def test_no_clips_are_no_data() -> None:
    with pytest.raises(DataError, match="few holds no clips"):
        build("few", [], [], [], [])


def test_names_of_splits_are_taken_in_any_case_and_numbers_as_labels() -> None:
    data = build("few", [Path("0"), Path("1")], [1.0, 2], ["BASE", "Novel"], [3, None])
    assert data.classes == ("1", "2") and data.splits.tolist() == ["train", "test"] and data.groups[0] == "3"


def test_a_part_lets_go_of_the_whole() -> None:
    """Features may fill the memory: whoever keeps a split must not keep all of them."""
    data = made(features=True)
    part, left, expected = data.select("train"), weakref.ref(data), data.select("train").groups.tolist()
    del data
    gc.collect()
    assert left() is None and part.groups.tolist() == expected


def test_groups_are_made_once_they_are_looked_at() -> None:
    """A text for each of ten million clips is no part of planning an extraction."""
    count: list[int] = []

    def groups() -> np.ndarray:
        count.append(1)
        return np.array(list("abcdef"))

    data = made().changed(groups=groups, notes=("a note",))
    part = data.subset([1, 3])
    assert (data.notes, len(part), len(data.select("val")), count) == (("a note",), 2, 1, [])
    assert part.groups.tolist() == ["b", "d"] and data.groups.tolist() == list("abcdef") == data.groups.tolist()
    assert len(count) == 2
