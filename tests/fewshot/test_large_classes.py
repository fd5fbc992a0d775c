"""Classes of very many clips: drawn without a key for each clip, and as they were drawn before where they are small."""

from __future__ import annotations

import numpy as np
import pytest

from kshot.draws import key
from kshot.errors import NotEnoughClips
from kshot.fewshot import episodes
from kshot.fewshot.episodes import Sampler

NAMES = ("a", "b", "c")


def slow(clips: np.ndarray, count: int, *counters: int) -> list[int]:
    """Places are drawn one by one, and those that were drawn already are passed over."""
    found: list[int] = []
    step = 0
    while len(found) < count:
        place = int(key(*counters, step)) % len(clips)
        if place not in found:
            found.append(place)
        step += 1
    return clips[found].tolist()


def test_a_large_class_is_drawn_as_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a slow reading of the rule; a small class beside it is drawn as ever."""
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [40, 60, 9]))
    as_ever = Sampler(labels, NAMES, 3, 2, 3, seed=5).draw(range(50))
    monkeypatch.setattr(episodes, "LARGE", 10)
    drawn = Sampler(labels, NAMES, 3, 2, 3, seed=5).draw(range(50))
    assert drawn.classes.tolist() == as_ever.classes.tolist()
    for number in range(50):
        for way, label in enumerate(drawn.classes[number].tolist()):
            got = [*drawn.support[number].reshape(3, 2)[way], *drawn.query[number].reshape(3, 3)[way]]
            ever = [*as_ever.support[number].reshape(3, 2)[way], *as_ever.query[number].reshape(3, 3)[way]]
            clips = np.flatnonzero(labels == label)
            assert got == (ever if label == 2 else slow(clips, 5, 5, 2, number, label))
    alone = Sampler(labels, NAMES, 3, 2, 3, seed=5).draw([31])
    assert alone.support.tolist() == drawn.support[31:32].tolist(), "the same in any batch"


@pytest.mark.parametrize("shot", [1, 5, 30])
def test_every_clip_of_a_large_class_is_as_likely(monkeypatch: pytest.MonkeyPatch, shot: int) -> None:
    monkeypatch.setattr(episodes, "LARGE", 10)
    sampler = Sampler(np.repeat([0, 1], 36), ("a", "b"), 2, shot, 6)
    batch = sampler.draw(range(3000))
    together = np.concatenate([batch.support, batch.query], 1)
    assert all(len(set(row)) == len(row) for row in together.tolist())
    counts = np.bincount(together.ravel(), minlength=72)
    expected = 3000 * (shot + 6) / 36
    assert abs(counts - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.parametrize("most", [0.5, 0.98])
def test_no_query_of_a_large_class_shares_a_source_with_its_support(
    monkeypatch: pytest.MonkeyPatch, most: float
) -> None:
    """Also where nearly all clips are of one source, so that those which are drawn first are not enough."""
    monkeypatch.setattr(episodes, "LARGE", 100)
    size = 2000
    groups = np.array([f"{label}-{'main' if i < most * size else i // 2}" for label in "ab" for i in range(size)])
    batch = Sampler(np.repeat([0, 1], size), ("a", "b"), 2, 1, 5, groups=groups).draw(range(60))
    near, far = groups[batch.support].reshape(60, 2, 1), groups[batch.query].reshape(60, 2, 5)
    assert not (near == far).any()
    assert all(len(set(row)) == 5 for row in batch.query.reshape(-1, 5).tolist())
    with pytest.raises(NotEnoughClips):
        Sampler(np.repeat([0, 1], size), ("a", "b"), 2, 1, 5, groups=np.full(2 * size, "one"))


def test_one_class_of_half_of_all_clips_takes_no_table_for_the_others() -> None:
    labels = np.concatenate([np.zeros(300_000, np.int64), np.repeat(np.arange(1, 500), 12)])
    sampler = Sampler(labels, tuple(map(str, range(500))), 5, 1, 5)
    assert sampler._members.table.shape == (500, 12)
    assert sampler.draw(range(100)).query.shape == (100, 25)
