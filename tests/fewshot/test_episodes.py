"""Episodes: a pure function of their index, without leaks, and refused when they cannot be drawn."""

from __future__ import annotations

import numpy as np
import pytest

from kshot.draws import generator, key
from kshot.errors import NotEnoughClips, OptionError
from kshot.fewshot.episodes import Sampler, episodes

NAMES = tuple("abcdefgh")
KNOWN = {"classes": [[0, 5, 3]], "support": [[1, 67, 37]], "query": [[10, 4, 62, 63, 41, 36]]}


def labels(clips: int = 12, classes: int = 8) -> np.ndarray:
    return np.repeat(np.arange(classes), clips)


def test_episode_does_not_depend_on_the_batch_it_is_drawn_in():
    sampler = Sampler(labels(), NAMES, way=5, shot=2, query=3, seed=4)
    together = sampler.draw(range(500))
    for index in (0, 17, 499):
        alone = sampler.draw([index])
        assert (alone.classes[0] == together.classes[index]).all()
        assert (alone.support[0] == together.support[index]).all()
        assert (alone.query[0] == together.query[index]).all()


def test_known_episode_never_changes():
    """The published tables depend on these numbers: a change here is a change of every result."""
    episode = episodes(labels(), NAMES, [7312], way=3, shot=1, query=2, seed=0)
    assert episode.classes.tolist() == KNOWN["classes"]
    assert episode.support.tolist() == KNOWN["support"]
    assert episode.query.tolist() == KNOWN["query"]


def test_labels_match_classes_and_support_never_meets_query():
    data = labels()
    drawn = Sampler(data, NAMES, way=5, shot=3, query=4, seed=1).draw(range(300))
    for e in range(300):
        assert len(set(drawn.classes[e])) == 5
        assert (data[drawn.support[e]] == drawn.classes[e][drawn.support_labels[e]]).all()
        assert (data[drawn.query[e]] == drawn.classes[e][drawn.query_labels[e]]).all()
        clips = [*drawn.support[e], *drawn.query[e]]
        assert len(set(clips)) == len(clips)


def test_draws_are_uniform():
    drawn = Sampler(labels(), NAMES, way=4, shot=1, query=1).draw(range(20_000))
    counts = np.bincount(drawn.support.ravel(), minlength=96)
    expected = 20_000 * 4 / 96
    assert abs(counts - expected).max() < 5 * np.sqrt(expected)
    firsts = np.bincount(drawn.classes[:, 0], minlength=8)
    assert abs(firsts - 2500).max() < 5 * np.sqrt(2500)


def test_seeds_give_other_episodes():
    one, two = (Sampler(labels(), NAMES, seed=seed).draw(range(50)) for seed in (0, 1))
    assert (one.support != two.support).any()


def test_no_query_shares_a_source_with_its_support():
    rng = np.random.default_rng(0)
    data, groups = labels(20), rng.integers(0, 9, 160).astype(str)
    drawn = Sampler(data, NAMES, way=5, shot=3, query=5, groups=groups).draw(range(400))
    for e in range(400):
        for way in range(5):
            support = groups[drawn.support[e][drawn.support_labels[e] == way]]
            query = groups[drawn.query[e][drawn.query_labels[e] == way]]
            assert not set(support) & set(query)
            assert len(query) == 5


def test_groups_are_redrawn_when_a_support_leaves_too_few_queries():
    groups = np.array(["big"] * 6 + ["x", "y", "z", "u", "v", "w"])
    data = np.zeros(12, np.int64)
    data = np.concatenate([data, data + 1])
    drawn = Sampler(data, ("a", "b"), way=2, shot=1, query=6, groups=np.tile(groups, 2)).draw(range(50))
    assert set(np.tile(groups, 2)[drawn.support.ravel()]) <= {"big", "x", "y", "z", "u", "v", "w"}
    assert drawn.query.shape == (50, 12)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"way": 9}, NotEnoughClips, "9-way episodes need 9 classes, found 8"),
        (
            {"shot": 9, "query": 5},
            NotEnoughClips,
            "class 'a' has 12 clips, but 9-shot episodes with 5 queries need 14",
        ),
        ({"shot": 0}, OptionError, "shot >= 1"),
    ],
)
def test_impossible_episodes_are_refused(options: dict, error: type, text: str):
    with pytest.raises(error, match=text):
        Sampler(labels(), NAMES, **options)


def test_class_without_a_second_source_is_refused_by_name():
    groups = np.array(["one"] * 12 + [str(i) for i in range(84)])
    with pytest.raises(NotEnoughClips, match="class 'a' has 12 clips from 1 sources"):
        Sampler(labels(), NAMES, shot=1, query=1, groups=groups)


def test_key_broadcasts_and_generator_depends_on_counters_alone():
    assert key(3, np.arange(4)[:, None], np.arange(5)).shape == (4, 5)
    assert len(np.unique(key(0, np.arange(100_000)))) == 100_000
    assert generator(1, 2).random() == generator(1, 2).random() != generator(2, 1).random()
