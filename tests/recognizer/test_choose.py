"""Leaving groups out, choosing with a bias to the simpler, and what the choice costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from kshot.heads import get_head
from kshot.heads.formulas import unit
from kshot.recognizer import choose
from kshot.recognizer.classifier import nearest
from kshot.recognizer.methods import METHODS, Support, learn


def support(ways: int = 4, each: int = 5, spread: float = 1.0, seed: int = 0, groups: int = 0) -> Support:
    """Clips of random classes in 12 dimensions, 3 frames each; group g holds the g-th clip of every class."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(ways, 1, 1, 12, generator=draw)
    clips = (centres + spread * torch.randn(ways, each, 3, 12, generator=draw)).flatten(0, 1)
    numbers = np.tile(np.arange(each) % (groups or each), ways)
    labels = np.repeat(np.arange(ways), each)
    group = np.array([f"g{n}" if groups else f"g{c}-{n}" for c, n in zip(labels, numbers, strict=True)])
    return Support(
        classes=tuple("abcdefgh"[:ways]), labels=labels, groups=group, names=tuple(map(str, range(len(labels)))),
        embeddings=clips, text=unit(centres[:, 0, 0] + torch.randn(ways, 12, generator=draw)),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_folds_part_the_clips_by_whole_groups(seed: int):
    rng = np.random.default_rng(seed)
    count, ways = int(rng.integers(6, 60)), int(rng.integers(2, 6))
    labels, groups = np.sort(rng.integers(0, ways, count)), rng.integers(0, rng.integers(2, count), count).astype(str)
    labels = np.unique(labels, return_inverse=True)[1]
    parts = choose.folds(labels, groups)
    assert 1 <= len(parts) <= choose.FOLDS
    assert np.sort(np.concatenate(parts)).tolist() == list(range(count))
    for part in parts:
        assert not set(groups[part]) & set(np.delete(groups, part)), "a group is torn apart"


def test_folds_keep_the_rest_balanced_and_every_class_taught():
    labels = np.repeat(np.arange(5), 5)
    parts = choose.folds(labels, np.arange(25).astype(str))
    assert [np.bincount(labels[part]).tolist() for part in parts] == [[1] * 5] * 5
    uneven = np.array([0] * 20 + [1, 1])
    for part in choose.folds(uneven, np.arange(22).astype(str)):
        assert 1 in np.delete(uneven, part) and 0 in np.delete(uneven, part)


@pytest.mark.parametrize("method", ["text", "prototype", "fusion", "linear-probe", "otam"])
def test_a_method_scores_as_its_head_does(method: str):
    clips = support()
    asked = np.array([0, 7, 12, 19])
    taught = np.setdiff1d(np.arange(20), asked)
    found = learn(method, clips, taught, asked)
    head = get_head(method, **({"variant": "clip-fsar"} if method == "otam" else {}))
    wanted = head(
        clips.embeddings[asked][None], clips.embeddings[taught][None], torch.from_numpy(clips.labels[taught])[None],
        text=clips.text[None],
    )[0]  # fmt: skip
    torch.testing.assert_close(found.scorer(found.queries).softmax(-1), wanted.softmax(-1), atol=1e-5, rtol=1e-4)


def test_held_out_is_a_plain_loop():
    clips = support(groups=3)
    parts = choose.folds(clips.labels, clips.groups)
    found = choose.held_out("prototype", clips, parts)
    frames = unit(clips.embeddings.mean(1))
    for clip in range(20):
        part = next(part for part in parts if clip in part)
        rest = np.setdiff1d(np.arange(20), part)
        means = torch.stack([unit(frames[rest[clips.labels[rest] == c]].mean(0)) for c in range(4)])
        cosines = means @ frames[clip]
        np.testing.assert_allclose(found.logits[clip], 20 * cosines, atol=1e-4)
        assert found.known[clip] == pytest.approx(float(cosines.max()), abs=1e-5)
        others = [float(c) for label, c in enumerate(cosines) if label != clips.labels[clip]]
        assert found.out_of_class[clip] == pytest.approx(sorted(others)[:-3:-1], abs=1e-5)
    assert found.scored.all()


def test_a_class_in_one_group_is_not_judged():
    clips = support(ways=3, each=2)
    groups = np.array(["one", "one", "a", "b", "c", "d"])
    found = choose.held_out("prototype", clips, choose.folds(clips.labels, groups))
    assert found.scored.tolist() == [False, False, True, True, True, True]


def test_strangers_are_asked_where_their_class_was_never_taught():
    clips = support()
    fast, slow = choose.held_out("prototype", clips, choose.folds(clips.labels, clips.groups)), []
    for label in range(4):
        rest = np.flatnonzero(clips.labels != label)
        found = learn("prototype", clips, rest, np.flatnonzero(clips.labels == label))
        slow.extend(nearest(found.queries, found.means).tolist())
    assert choose.out_of_class_scores("prototype", clips)[:, 0] == pytest.approx(slow)
    assert abs(np.mean(slow) - fast.out_of_class[:, 0].mean()) < 0.1  # that one knows fewer clips of the others


def test_the_simplest_method_that_is_not_clearly_worse_is_picked():
    rng = np.random.default_rng(0)
    base, which = rng.random(40), np.arange(40)
    ones = np.ones(40)
    noise = rng.normal(size=40)
    noise -= noise.mean()
    assert choose.pick(np.array([base + 0.05 + noise, base]), which, ones) == 0  # within one standard error
    assert choose.pick(np.array([base + 0.5 + noise, base]), which, ones) == 1
    assert choose.pick(np.array([base, base]), which, ones) == 0
    assert choose.pick(np.array([base + 1, base + 0.001, base]), which, ones) == 2


def test_groups_are_the_units_of_evidence():
    """Ten clips of one group that all speak against a method are one piece of evidence, not ten."""
    costs = np.array([np.r_[np.full(10, 0.35), np.full(10, 0.0)], np.full(20, 0.1)])
    together = np.r_[np.zeros(10, int), np.arange(1, 11)]
    assert choose.pick(costs, together, np.ones(11)) == 0
    assert choose.pick(costs, np.arange(20), np.ones(20)) == 1


def test_few_groups_are_weak_evidence():
    """Two groups that speak 1.9 and -0.1 against a method: 0.9 a clip, with a standard error of 1 (0.71 if it were
    divided by their number). Four such groups are enough: it is 0.58 then, the same if each of the two counts twice."""
    costs = np.array([[1.9, -0.1], [0.0, 0.0]])
    assert choose.pick(costs, np.arange(2), np.ones(2)) == 0
    assert choose.pick(costs + np.array([[0.2], [0.0]]), np.arange(2), np.ones(2)) == 1
    assert choose.pick(np.tile(costs, 2), np.arange(4), np.ones(4)) == 1
    assert choose.pick(costs, np.arange(2), np.full(2, 2.0)) == 1
    assert choose.pick(costs, np.zeros(2, int), np.ones(1)) == 1  # a single group has no error to speak of


def test_choosing_among_many_coins_is_seen_through():
    """The best of 30 methods that guess looks better than a half; less the flattery it does not."""
    plain, honest = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        right = rng.random((30, 30)) < 0.5
        costs = np.where(right, 0.1, 1.0) + 0.01 * rng.random((30, 30))
        groups = np.arange(30).astype(str)
        chosen = choose.pick(costs, np.arange(30), np.ones(30))
        plain.append(right[chosen].mean())
        honest.append(plain[-1] - choose.optimism(costs, right, groups, 0))
    assert np.mean(plain) > 0.6
    assert abs(np.mean(honest) - 0.5) < 0.05


def test_more_clips_make_a_rising_curve():
    clips = support(spread=2.0, each=8)
    parts = choose.folds(clips.labels, clips.groups)
    rows = choose.curve("prototype", clips, parts, [1, 2, 4], 20, 0)
    first, second, third = rows.mean(1)
    assert first < second < third
    again = choose.curve("prototype", clips, parts, [1, 2, 4], 20, 0)
    assert np.array_equal(rows, again)


def test_candidates_are_what_the_clips_allow():
    clips = support()
    assert choose.candidates(clips) == ["prototype", "change", "both", "fusion", "linear-probe", "otam", "text"]
    assert choose.candidates(replace(clips, changing=clips.embeddings))[3] == "where"
    still = replace(clips, embeddings=clips.embeddings[:, :1])
    assert choose.candidates(still) == ["prototype", "fusion", "linear-probe", "otam", "text"]
    assert choose.missing("change", still) == "at least 2 frames a clip"
    without = Support(clips.classes, clips.labels, clips.groups, clips.names, clips.embeddings)
    assert choose.candidates(without) == ["prototype", "change", "both", "linear-probe", "otam"]
    assert list(METHODS)[-2:] == ["partial", "text"]


def test_of_readings_that_are_alike_the_loss_alone_decides():
    """Where the first of them is worse by less than the noise; other methods still need a clear lead."""
    rng = np.random.default_rng(1)
    base, which, ones = rng.random(40), np.arange(40), np.ones(40)
    noise = rng.normal(size=(2, 40))
    noise -= noise.mean(1, keepdims=True)
    costs = np.array([base + 0.05 + noise[0], base, base - 0.02 + noise[1]])
    assert choose.pick(costs, which, ones) == 0
    assert choose.pick(costs, which, ones, [0, 1]) == 1
    assert choose.pick(costs, which, ones, [0, 1, 2]) == 2
    assert choose.pick(costs[::-1], which, ones, [1, 2]) == 0, "a simpler method that is not clearly worse"
    assert choose.rivals(["text", "prototype", "change", "otam", "where"]) == [1, 2, 4]


def test_optimism_counts_the_choice_among_readings():
    """Four readings that only guess: the one with the lowest loss looks better than it is."""
    rng = np.random.default_rng(0)
    costs, groups = rng.random((4, 40)), np.arange(40).astype(str)
    right = costs < 0.5
    best = int(costs.mean(1).argmin())
    lost = choose.optimism(costs, right, groups, 0, range(4))
    assert 0 < lost < right[best].mean()
    assert lost > choose.optimism(costs[:1], right[:1], groups, 0, [0])
