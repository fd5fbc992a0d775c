"""Episodes whose classes have unlike numbers of support clips: how they are drawn, scored and named."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from forks import Command
from kshot.errors import NotEnoughClips, OptionError
from kshot.fewshot.episodes import Sampler
from kshot.fewshot.evaluation import evaluate
from kshot.fewshot.result import read_result
from kshot.fewshot.scoring import head_scorer, run_episodes
from kshot.heads import HEADS, get_head, options
from kshot.settings import EpisodeShape
from kshot.study.file import read_study

LABELS = np.repeat(np.arange(6), 12)
NAMES = tuple("abcdef")
WAY, MOST, QUERY = 3, 5, 2


def sampler(least: int | None = 1, seed: int = 0, groups: np.ndarray | None = None) -> Sampler:
    return Sampler(LABELS, NAMES, WAY, MOST, QUERY, seed, groups, least=least)


def test_a_class_keeps_the_first_of_its_support_clips_and_the_queries_stay() -> None:
    full = sampler(None)
    for index in (0, 1, 99, 7312):
        found, whole = sampler().draw([index]), full.draw([index])
        np.testing.assert_array_equal(found.classes, whole.classes)
        np.testing.assert_array_equal(found.query, whole.query)
        assert found.shots is not None and found.shots.shape == (1, WAY) and found.shots.sum() == found.support.shape[1]
        kept = whole.support.reshape(WAY, MOST)
        wanted = np.concatenate([kept[c, :count] for c, count in enumerate(found.shots[0])])
        np.testing.assert_array_equal(found.support[0], wanted)
        np.testing.assert_array_equal(LABELS[found.support[0]], found.classes[0][found.support_labels[0]])


def test_numbers_of_clips_are_all_as_likely_and_a_function_of_seed_and_index() -> None:
    found = {int(i): b.shots[row] for b in sampler().batches(range(4000)) for row, i in enumerate(b.numbers)}
    assert sorted(found) == list(range(4000))
    counts = Counter(np.concatenate(list(found.values())).tolist())
    assert set(counts) == {1, 2, 3, 4, 5} and all(abs(count / 12_000 - 0.2) < 0.02 for count in counts.values())
    for batch in sampler().batches([7, 3, 1000]):
        assert len(set(batch.shots.sum(1))) == 1
        for row, index in enumerate(batch.numbers):
            np.testing.assert_array_equal(batch.shots[row], found[int(index)])
            np.testing.assert_array_equal(batch.shots[row], sampler().draw([index]).shots[0])
    other = np.concatenate([b.shots for b in sampler(seed=1).batches(range(50))])
    assert other.tolist() != np.concatenate([found[i][None] for i in range(50)]).tolist()


def test_queries_share_no_source_with_a_support_clip_either() -> None:
    groups = np.array([f"{label}-{number % 6}" for number, label in enumerate(LABELS)])
    for batch in sampler(groups=groups).batches(range(200)):
        for support, query in zip(batch.support, batch.query, strict=True):
            assert not set(groups[support]) & set(groups[query])


@pytest.mark.parametrize("least", [0, 6])
def test_a_least_shot_out_of_range_is_refused(least: int) -> None:
    with pytest.raises(OptionError, match=f"the least shot must be 1 to the shot, 5, found {least}"):
        sampler(least)


def test_a_range_that_counts_down_is_told_the_other_way_round(command: Command, tmp_path: Path) -> None:
    code, _, error = command("evaluate", "--features", tmp_path / "f.npz", "--shot", "5..1")
    assert code == 2 and error == "kshot: --shot must go from the least to the most, found '5..1': write 1..5\n"


def test_a_range_of_one_number_is_that_number() -> None:
    (batch,) = sampler(MOST).batches(range(20))
    np.testing.assert_array_equal(batch.support, sampler(None).draw(range(20)).support)
    np.testing.assert_array_equal(batch.support_labels, sampler(None).draw(range(20)).support_labels)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_scores_unequal_classes(name: str) -> None:
    """In batches as one by one; in whatever order its support clips stand."""
    draw = torch.Generator().manual_seed(0)
    embeddings = torch.randn(len(LABELS), 4, 64, generator=draw)
    text = torch.randn(len(NAMES), 64, generator=draw)
    small = {"dim": 64, "epochs": 3, "width": 24}
    head = get_head(name, **{option: value for option, value in small.items() if option in options(name)})
    head.trained = True
    head.eval()
    words = text if head.needs_text else None
    shape = EpisodeShape(way=WAY, shot=MOST, query=QUERY)
    scorer, _ = head_scorer(head, embeddings, LABELS, words, shape, 10_000, equal=False)
    with torch.no_grad():
        for batch in sampler().batches(range(12)):
            found = scorer(batch)
            assert found.shape == (len(batch.numbers), WAY * QUERY, WAY) and bool(found.isfinite().all())
            for row, index in enumerate(batch.numbers):
                labels = torch.from_numpy(batch.support_labels[row])
                order = torch.randperm(len(labels), generator=draw)
                near, far = embeddings[batch.support[row]][order][None], embeddings[batch.query[row]][None]
                own = None if words is None else words[batch.classes[row]][None]
                alone = head(far, near, labels[order][None], own, numbers=[int(index)])[0]
                if head.draws:  # where each class's first weights are drawn by the place of a clip
                    continue
                torch.testing.assert_close(alone, found[row], atol=2e-4, rtol=2e-3)


def test_prototypes_are_means_of_the_clips_that_a_class_has() -> None:
    embeddings = torch.randn(len(LABELS), 1, 8, generator=torch.Generator().manual_seed(1))
    head = get_head("prototype", scale=1.0).eval()
    scorer, _ = head_scorer(head, embeddings, LABELS, None, EpisodeShape(way=WAY, shot=MOST, query=QUERY), 9, False)
    (batch,) = sampler().batches([4])
    unit = torch.nn.functional.normalize(embeddings[:, 0], dim=1)
    starts = np.cumsum([0, *batch.shots[0]])
    means = [unit[batch.support[0][a:b]].mean(0) for a, b in itertools.pairwise(starts)]
    wanted = unit[batch.query[0]] @ torch.nn.functional.normalize(torch.stack(means), dim=1).T
    torch.testing.assert_close(scorer(batch)[0], wanted)


def test_answers_stand_in_the_order_of_the_episodes() -> None:
    embeddings = torch.randn(len(LABELS), 1, 8, generator=torch.Generator().manual_seed(2))
    head = get_head("nearest").eval()
    scorer, _ = head_scorer(head, embeddings, LABELS, None, EpisodeShape(way=WAY, shot=MOST, query=QUERY), 30, False)
    together, _ = run_episodes(scorer, sampler(), 30, 30)
    singly, _ = run_episodes(scorer, sampler(), 30, 1)
    np.testing.assert_array_equal(together, singly)


def test_the_command_line_takes_a_range(
    command: Command, clips_csv: Path, clip_folder: Path, warm_store: Path, tmp_path: Path
) -> None:
    shared = ("evaluate", clips_csv, "--backbone", clip_folder, "--store", warm_store, "--way", 3, "--query", 2)
    out = tmp_path / "unequal.json"
    code, said, error = command(*shared, "--shot", "1..3", "--episodes", 40, "--out", out)
    assert (code, error) == (0, "") and "3-way 1..3-shot" in said
    saved = json.loads(out.read_text())
    assert saved["shot"] == 3 and saved["options"]["least_shot"] == 1
    unequal, equal = read_result(out), evaluate(
        clips_csv, clip_folder, store=warm_store, way=3, query=2, shot=3, episodes=40
    )  # fmt: skip
    again = evaluate(clips_csv, clip_folder, store=warm_store, way=3, query=2, shot=3, least_shot=1, episodes=40)
    np.testing.assert_allclose(again.episode_accuracy, unequal.episode_accuracy, atol=1e-3)
    assert "least_shot" not in equal.plain()["options"] or equal.options.least_shot is None
    with pytest.raises(OptionError, match="their least_shot differs: 1 and None"):
        unequal.minus(equal)
    for wrong in ("5..1", "0..2", "1..", "..3", "1-3", "two"):
        code, said, error = command(*shared, "--shot", wrong)
        assert (code, said) == (2, "") and error.count("\n") == 1 and re.search("shot", error), wrong


def test_a_shot_given_twice_is_refused(command: Command, clips_csv: Path) -> None:
    code, _, error = command("evaluate", clips_csv, "--shot", 1, "--shot", 5)
    assert (code, error) == (2, "kshot: --shot takes one value, found 2: give it once; a study compares several\n")
    code, _, error = command("train", clips_csv, "--out", "RUN", "--seed", 1, "--seed", 2)
    assert code == 2 and "--seed takes one value, found 2" in error and not Path("RUN").exists()


def test_more_support_than_a_class_has_is_refused_by_its_name() -> None:
    with pytest.raises(
        NotEnoughClips, match=r"class 'a' has 12 clips, but 1\.\.12-shot episodes with 2 queries need 14"
    ):
        Sampler(LABELS, NAMES, WAY, 12, QUERY, least=1)


def test_a_study_has_unequal_shots_at_each_of_its_shots(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    rows = "[[row]]\nname = 'frozen'\n"
    path.write_text(f"least_shot = 1\nshots = [3, 5]\n{rows}")
    assert read_study(path).least_shot == 1
    path.write_text(f"least_shot = 4\nshots = [3, 5]\n{rows}")
    with pytest.raises(OptionError, match=r"line 1: least_shot must be at most the shots, \[3, 5\], found 4"):
        read_study(path)
