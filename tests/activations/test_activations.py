"""Activations of a data set: what a visit gathers, against a slow reading, and what a part of it keeps."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from kshot.activations.activations import Activations, content, from_features
from kshot.activations.store import Store
from kshot.datasets import Dataset, build
from kshot.draws import key
from kshot.video.damage import Damage

CLIPS = 6


def value(clip: int, view: int) -> np.ndarray:
    """(2, 3) float16, another for every clip and view."""
    return (100 * view + 10 * clip + np.arange(6).reshape(2, 3)).astype(np.float16)


def data() -> Dataset:
    labels = ["a", "a", "b", "b", "c", "c"]
    splits = ["train", "train", "train", "train", "test", "test"]
    return build("few", [Path(f"{i}.mp4") for i in range(CLIPS)], labels, splits, [""] * CLIPS)


def store(root: Path, view: int, clips: list[int]) -> Store:
    made = Store(root, {"view": view})
    with made.writing() as writer:
        for clip in clips:
            writer.add(f"d{clip}", value(clip, view))
    return made


@pytest.fixture
def made(tmp_path: Path) -> Activations:
    """Three views; clip 5 has view 0 alone, and stands for itself in the others."""
    views = (store(tmp_path, 0, [*range(CLIPS)]), store(tmp_path, 1, [*range(5)]), store(tmp_path, 2, [4, 2, 0, 1, 3]))
    seen = np.array([[0, 1, 2]] * 5 + [[0, 0, 0]])
    digests = tuple(f"d{i}" for i in range(CLIPS))
    return Activations(data(), 12, store=views[0], digests=digests, views=views, seen=seen)


def test_without_a_visit_everything_is_view_0(made: Activations) -> None:
    order = [3, 0, 5, 3]
    np.testing.assert_array_equal(made.gather(order), np.stack([value(i, 0) for i in order]))


def test_a_visit_gathers_the_view_that_its_counters_draw(made: Activations) -> None:
    """Clip by clip, from the key of the seed, the batch and the clip; every view comes."""
    drawn = set()
    for batch in range(40):
        order = [5, 2, 0, 4]
        slow = []
        for clip in order:
            view = int(key(13, 7, batch, clip)) % 3
            drawn.add((clip, view))
            slow.append(value(clip, 0 if clip == 5 else view))
        np.testing.assert_array_equal(made.gather(order, (7, batch)), np.stack(slow))
    assert len(drawn) == 12
    np.testing.assert_array_equal(made.gather([1, 2], (7, 3)), made.gather([2, 1], (7, 3))[::-1])


def test_a_part_keeps_digests_and_views_of_its_own_clips(made: Activations) -> None:
    part = made.select("novel")
    assert part.digests == ("d4", "d5") and part.data.classes == ("c",)
    assert part.seen is not None and part.seen.tolist() == [[0, 1, 2], [0, 0, 0]]
    np.testing.assert_array_equal(part.gather([1, 0]), np.stack([value(5, 0), value(4, 0)]))
    assert made.select("all") is made and content(part).tolist() == ["d4", "d5"]


def test_copies_are_marked_unless_they_may_stay(made: Activations) -> None:
    assert made.copies is not None and made.copies.tolist() == [f"d{i}" for i in range(CLIPS)]
    assert Activations(made.data, 12, keep_copies=True).copies is None


def test_losses_are_those_of_the_clips_at_hand_in_their_order(made: Activations) -> None:
    lost = {"5.mp4": Damage(0.91234, "an end"), "1.mp4": Damage(1.0, "a hole"), "gone.mp4": Damage(0.5, "half")}
    whole = Activations(made.data, 12, store=made.store, digests=made.digests, damaged=lost)
    assert whole.losses() == [
        {"clip": "1.mp4", "kept": 1.0, "reason": "a hole"},
        {"clip": "5.mp4", "kept": 0.912, "reason": "an end"},
    ]
    assert [one["clip"] for one in whole.select("test").losses()] == ["5.mp4"]
    report = whole.report()
    assert report["damaged"] == whole.losses() and report["clips"] == 6 and report["cut"] == 12
    assert made.store is not None and report["store"] == str(made.store.folder)


def test_features_are_given_as_they_are_and_marked_by_their_bits() -> None:
    features = np.arange(36, dtype=np.float32).reshape(6, 2, 3)
    features[4] = features[1]
    named = build("few", data().paths, ["a"] * 6, [""] * 6, [""] * 6, features)
    made = from_features(named)
    assert made.gather(range(6)) is features, "all of them, without a copy"
    assert made.gather([1]) is not features and made.cut is None
    np.testing.assert_array_equal(made.gather([5, 1]), features[[5, 1]])
    marks = content(made).tolist()
    assert marks[0] == hashlib.sha256(features[0].tobytes()).hexdigest()
    assert marks[1] == marks[4] and len(set(marks)) == 5
    assert made.report()["store"] is None and made.losses() == []
