"""Clips to watch again: near-duplicates and odd labels, against plain loops and at their limits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from kshot.recognizer import suspects
from kshot.recognizer.methods import Support


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(one @ other / (one.norm() * other.norm()))


def film(count: int, frames: int = 4, seed: int = 0) -> torch.Tensor:
    """Clips (n, T, 6) whose frames change slowly, as frames of a film do."""
    draw = torch.Generator().manual_seed(seed)
    first = torch.randn(count, 1, 6, generator=draw)
    return first + 0.2 * torch.randn(count, frames, 6, generator=draw).cumsum(1)


def test_distances_are_means_of_frames_in_pairs() -> None:
    clips = film(5)
    far, steps = suspects.distances(clips)
    for i, j in itertools.product(range(5), repeat=2):
        wanted = np.mean([1 - cosine(one, other) for one, other in zip(clips[i], clips[j], strict=True)])
        assert far[i, j] == pytest.approx(wanted, abs=1e-6)
    for i, clip in enumerate(clips):
        moves = [1 - cosine(one, other) for one, other in itertools.pairwise(clip)]
        assert steps[i] == pytest.approx(np.mean(moves), abs=1e-6)


def test_one_frame_a_clip_has_no_steps() -> None:
    far, steps = suspects.distances(film(3, frames=1))
    assert steps.tolist() == [0, 0, 0] and far.shape == (3, 3)


@pytest.mark.parametrize(
    ("distance", "steps", "usual", "near"),
    [
        (0.10, (0.2, 0.2), 1.0, True), (0.11, (0.2, 0.2), 1.0, False),  # half of what a clip differs from itself
        (0.10, (0.1, 0.3), 1.0, True), (0.11, (0.1, 0.3), 1.0, False),  # of the two on average
        (0.19, (0.9, 0.9), 1.0, True), (0.21, (0.9, 0.9), 1.0, False),  # and a fifth of the usual distance
        (1e-6, (0.0, 0.0), 1.0, True), (2e-6, (0.0, 0.0), 1.0, False),  # rounding errors
    ],
)  # fmt: skip
def test_near_is_less_than_either_scale(distance: float, steps: tuple[float, float], usual: float, near: bool) -> None:
    far = np.array([[0, distance], [distance, 0]])
    found = suspects.alike(far, np.array(steps), usual)
    assert found.tolist() == [[True, near], [near, True]]


def test_the_usual_distance_is_the_median_of_pairs() -> None:
    far = np.array([[0, 0.3, 1.0, 9.0], [0.3, 0, 1.0, 2.0], [1.0, 1.0, 0, 5.0], [9.0, 2.0, 5.0, 0]])  # median 1.5
    steps = np.full(4, 9.0)
    assert np.argwhere(np.triu(suspects.alike(far, steps), 1)).tolist() == [[0, 1]]
    far[0, 1] = far[1, 0] = 0.31
    assert not np.triu(suspects.alike(far, steps), 1).any()


def support(embeddings: torch.Tensor) -> Support:
    count = len(embeddings)
    names = tuple(map(str, range(count)))
    return Support(("a", "b"), np.arange(count) % 2, np.array(names), names, embeddings)


def test_twins_are_named_once_the_earlier_first() -> None:
    clips = film(7)
    clips[5], clips[4] = 3 * clips[1], clips[1] + 1e-4  # length does not tell
    assert suspects.twins(support(clips)) == [(1, 4), (1, 5), (4, 5)]
    assert suspects.twins(support(film(7))) == []
    backward = film(7)
    backward[6] = backward[0].flip(0) - 4 * film(7, seed=3)[0]
    assert suspects.twins(support(backward)) == []


@pytest.mark.parametrize("seed", range(8))
def test_groups_of_twins_become_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 6, 12).astype(str)
    pairs = [(int(min(pair)), int(max(pair))) for pair in (rng.choice(12, 2, replace=False) for _ in range(4))]
    parts = [set(np.flatnonzero(groups == g).tolist()) for g in np.unique(groups)]
    for one, other in pairs:
        first, second = (next(part for part in parts if clip in part) for clip in (one, other))
        if first is not second:
            first |= second
            parts.remove(second)
    found = suspects.joined(groups, pairs)
    made = [set(np.flatnonzero(found == g).tolist()) for g in np.unique(found)]
    assert sorted(made, key=min) == sorted(parts, key=min)
    assert found.dtype.kind == "U" and groups.tolist() == suspects.joined(groups, []).tolist()


def test_a_longer_name_of_a_group_is_not_cut() -> None:
    assert suspects.joined(np.array(["long name", "x"]), [(0, 1)]).tolist() == ["long name", "long name"]
    assert suspects.joined(np.array(["x", "long name"]), [(0, 1)]).tolist() == ["x", "x"]


PROBA = np.array([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3], [0.9, 0.1], [0.6, 0.4]])
LABELS = np.array([0, 1, 1, 0, 0])
ALL = np.ones(5, bool)


def misfits(proba: np.ndarray = PROBA, scored: np.ndarray = ALL, agree: int = 4) -> list[tuple[int, int]]:
    """Of four methods, so many answer as the probabilities do, and the rest as the labels say."""
    votes = np.array([proba.argmax(1)] * agree + [LABELS] * (4 - agree))
    return suspects.misfits(proba, LABELS, scored, votes)


def test_a_label_is_doubted_where_another_is_as_sure_as_that_classs_own_clips() -> None:
    """Class 0 is given 0.53 on average to its own clips, class 1 0.55; clip 0 looks like 1 and clip 2 like 0."""
    assert misfits() == [(0, 1), (2, 0)], "the surest first"
    assert misfits(agree=3) == [(0, 1), (2, 0)] and misfits(agree=2) == []


def test_a_clip_that_could_not_be_scored_is_not_doubted_nor_counted() -> None:
    assert misfits(scored=np.array([False, True, True, True, True])) == []  # class 0 is given 0.75 now
    assert misfits(scored=np.array([True, True, False, True, True])) == [(0, 1)]
    assert misfits(scored=np.array([True, False, False, True, True])) == [], "of class 1 nothing is known"


def test_less_than_an_even_chance_is_not_enough() -> None:
    low = np.array([[0.3, 0.4, 0.3], [0.4, 0.2, 0.4], [0.3, 0.3, 0.4], [0.3, 0.3, 0.4], [0.3, 0.3, 0.4]])
    votes = np.array([low.argmax(1)] * 4)
    assert suspects.misfits(low, LABELS, ALL, votes) == []
    low[0] = [0.3, 0.5, 0.2]
    assert suspects.misfits(low, LABELS, ALL, np.array([low.argmax(1)] * 4)) == [(0, 1)]
