"""Evaluation: the numbers of a plain loop, the same in any chunks, and results that compare in pairs."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clips import write_table
from kshot.activations.activations import from_features
from kshot.activations.extraction import extract
from kshot.backbones.backbone import Backbone, load
from kshot.datasets import Dataset
from kshot.datasets import load as load_data
from kshot.errors import CheckpointError, DataError, KshotError, NotEnoughClips, OptionError
from kshot.fewshot import scoring
from kshot.fewshot.episodes import Sampler
from kshot.fewshot.evaluation import Result, evaluate, score
from kshot.fewshot.fit import load_tensors as tensors
from kshot.fewshot.intervals import interval, student
from kshot.fewshot.learner import Learner
from kshot.fewshot.scoring import head_scorer, run_episodes
from kshot.fewshot.texts import class_texts
from kshot.fewshot.training import train
from kshot.heads import get_head
from kshot.settings import EpisodeShape
from tiny import random_clip

SHAPE: dict[str, Any] = {"way": 3, "shot": 2, "query": 2}


def features(seed: int = 0, classes: int = 6, clips: int = 10, noise: float = 1.6) -> Dataset:
    """Ready-made features (clips, 3, 12) around one centre for each class; five groups a class."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, 1, 12))
    labels = np.repeat(np.arange(classes), clips)
    values = (centres[labels] + noise * rng.normal(size=(len(labels), 3, 12))).astype(np.float32)
    groups = np.array([f"{label}-{i % 5}" for i, label in enumerate(labels)])
    names = tuple(f"class {c}" for c in range(classes))
    paths = tuple(Path(str(i)) for i in range(len(labels)))
    return Dataset("made", paths, labels.astype(np.int64), names, np.array(["test"] * len(labels)), groups, values)


def by_hand(data: Dataset, episodes: int, way: int, shot: int, query: int, seed: int, **options: Any) -> np.ndarray:
    """Percent right in each episode: prototypes and cosines in NumPy, one query at a time."""
    assert data.features is not None
    values = data.features.astype(np.float64)
    if options.get("center"):
        values = values - values.mean((0, 1))
    clips = values.mean(1)
    clips /= np.linalg.norm(clips, axis=1, keepdims=True)
    groups = None if options.get("shared_group", True) else data.groups
    sampler = Sampler(data.labels, data.classes, way, shot, query, seed, groups)
    accuracies = []
    for index in range(episodes):
        episode = sampler.draw([index])
        support = episode.support[0].reshape(way, shot)
        prototypes = [clips[support[w]].mean(0) for w in range(way)]
        right = 0
        for place, clip in enumerate(episode.query[0]):
            cosines = [clips[clip] @ p / np.linalg.norm(p) for p in prototypes]
            right += int(np.argmax(cosines)) == place // query
        accuracies.append(100 * right / (way * query))
    return np.array(accuracies)


@pytest.mark.parametrize("options", [{}, {"center": True}, {"shared_group": False}])
@pytest.mark.parametrize(("way", "shot", "query"), [(5, 1, 5), (3, 3, 2)])
def test_equals_a_plain_loop_in_every_episode(way: int, shot: int, query: int, options: dict[str, bool]) -> None:
    data = features()
    learner = Learner.frozen(None)
    result = score(learner, from_features(data), way=way, shot=shot, query=query, episodes=300, seed=4, **options)
    expected = by_hand(data, 300, way, shot, query, 4, **options)
    np.testing.assert_allclose(result.episode_accuracy, expected, atol=1e-9)
    assert 30 < expected.mean() < 95 and expected.std() > 1, "neither trivial nor hopeless"
    assert result.accuracy == pytest.approx(expected.mean())
    assert result.ci95 == pytest.approx(student(299) * expected.std(ddof=1) / math.sqrt(300))


def test_on_stored_clips_equals_a_plain_loop_in_every_episode(
    clips_csv: Path, warm_store: Path, backbone: Backbone
) -> None:
    """The road through decoding, store and tail comes to the same episodes as ready-made features."""
    data = load_data(clips_csv).select("test")
    with torch.no_grad():
        pixels = extract(data, backbone, "frames", warm_store).gather(range(len(data)))
        embeddings = backbone(backbone.pixels(pixels.reshape(-1, 32, 32, 3))).view(len(data), 8, -1).numpy()
    made = Dataset(data.name, data.paths, data.labels, data.classes, data.splits, data.groups, embeddings)
    result = evaluate(clips_csv, backbone, episodes=200, store=warm_store, **SHAPE)
    expected = by_hand(made, 200, 3, 2, 2, 0)
    differing = (np.abs(result.episode_accuracy - expected) > 1e-9).mean()
    assert differing <= 0.01, "half precision in the store may turn a query that is all but undecided"


@pytest.mark.parametrize("head", ["prototype", "nearest", "otam"])
def test_chunks_do_not_matter(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    activations = from_features(features())
    whole = score(Learner.frozen(None, head), activations, episodes=50, **SHAPE)
    each = 3 * 4 * 3 * 12 * 4
    for episodes in (1, 7, 20):
        monkeypatch.setattr(scoring, "CHUNK_BYTES", episodes * each)
        part = score(Learner.frozen(None, head), activations, episodes=50, **SHAPE)
        np.testing.assert_array_equal(part.episode_accuracy, whole.episode_accuracy)
        assert part.confusion == whole.confusion


def test_center_takes_one_mean_over_clips_and_frames() -> None:
    """For a head that looks at single frames: as features from which that mean was taken beforehand."""
    data = features()
    assert data.features is not None
    moved = replace(data, features=data.features + np.linspace(-5, 5, 3)[:, None].astype(np.float32) + 3)
    assert moved.features is not None
    by_hand = replace(data, features=moved.features - moved.features.mean((0, 1), keepdims=True))
    learner = Learner.frozen(None, "otam")
    centred = score(learner, from_features(moved), episodes=80, center=True, **SHAPE)
    expected = score(learner, from_features(by_hand), episodes=80, **SHAPE)
    np.testing.assert_array_equal(centred.episode_accuracy, expected.episode_accuracy)


def test_the_same_seed_gives_the_same_table_bit_for_bit(tmp_path: Path, clips_csv: Path, backbone: Backbone) -> None:
    """Once decoded by child processes, once from the store, once from another store."""
    tables = []
    for store in ("a", "a", "b"):
        result = evaluate(clips_csv, backbone, head="fusion", episodes=60, seed=7, store=tmp_path / store, **SHAPE)
        tables.append(result.summary() | {"seconds": 0, "each": result.episode_accuracy.tolist()})
    assert tables[0] == tables[1] == tables[2]
    other = evaluate(clips_csv, backbone, head="fusion", episodes=60, seed=8, store=tmp_path / "a", **SHAPE)
    assert other.episode_accuracy.tolist() != tables[0]["each"]


def test_more_episodes_begin_with_the_same_ones() -> None:
    activations = from_features(features())
    few, many = (score(Learner.frozen(None), activations, episodes=n, **SHAPE) for n in (20, 60))
    np.testing.assert_array_equal(many.episode_accuracy[:20], few.episode_accuracy)


def test_per_class_and_confusion_add_up() -> None:
    data = features()
    result = score(Learner.frozen(None), from_features(data), episodes=100, seed=2, **SHAPE)
    sampler = Sampler(data.labels, data.classes, seed=2, **SHAPE)
    episodes = sampler.draw(range(100))
    asked = np.bincount(episodes.classes.ravel(), minlength=6) * SHAPE["query"]
    right = sum(asked[c] * result.per_class[name] / 100 for c, name in enumerate(data.classes))
    assert right == pytest.approx(result.accuracy / 100 * 100 * 6)
    for name, row in result.confusion.items():
        assert sum(row.values()) == pytest.approx(100)
        assert row.get(name, 0.0) == pytest.approx(result.per_class[name])


def test_a_class_that_was_never_drawn_has_no_accuracy() -> None:
    result = score(Learner.frozen(None), from_features(features(classes=6)), way=2, episodes=1)
    assert len(result.per_class) == 2 and result.per_class.keys() == result.confusion.keys()
    assert result.ci95 is None and result.summary()["ci95"] is None
    json.dumps(result.summary(), allow_nan=False)


def test_ties_go_to_the_lower_way() -> None:
    data = features()
    sampler = Sampler(data.labels, data.classes, **SHAPE)
    right, answers = run_episodes(lambda batch: torch.zeros(len(batch.classes), 6, 3), sampler, 10, 4)
    np.testing.assert_array_equal(right, np.tile([True, True, False, False, False, False], (10, 1)))
    assert answers.sum() == 60


def test_each_clip_counts_how_often_it_was_asked_and_what_it_was_taken_for(tmp_path: Path) -> None:
    """As a plain loop over the episodes counts; in the file alone."""
    data = features()
    result = score(Learner.frozen(None), from_features(data), episodes=80, seed=3, **SHAPE)
    head, stored = get_head("prototype"), torch.from_numpy(data.features)
    asked, answered = Counter[int](), Counter[tuple[int, int]]()
    for index in range(80):
        episode = Sampler(data.labels, data.classes, seed=3, **SHAPE).draw([index])
        labels = torch.from_numpy(episode.support_labels.copy())
        scores = head(stored[episode.query[0]][None], stored[episode.support[0]][None], labels)
        for clip, answer in zip(episode.query[0].tolist(), scores[0].argmax(1).tolist(), strict=True):
            asked[clip] += 1
            answered[clip, int(episode.classes[0, answer])] += 1
    assert [row.clip for row in result.per_clip] == [str(data.paths[clip]) for clip in sorted(asked)]
    for clip, row in zip(sorted(asked), result.per_clip, strict=True):
        own = int(data.labels[clip])
        assert (row.label, row.queries) == (data.classes[own], asked[clip])
        assert row.right == answered[clip, own]
        wrong = {data.classes[c]: n for (k, c), n in answered.items() if k == clip and c != own}
        assert row.taken_for == wrong and list(row.taken_for.values()) == sorted(wrong.values(), reverse=True)
    assert sum(row.right for row in result.per_clip) / sum(asked.values()) == pytest.approx(result.accuracy / 100)
    result.save(tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text())["per_clip"] == [
        row.model_dump() for row in result.per_clip
    ]
    assert "per_clip" not in result.summary()


def test_text_heads_get_the_texts_of_their_classes(clips_csv: Path, warm_store: Path, backbone: Backbone) -> None:
    """Zero-shot, written out: the class name whose embedding is nearest to the clip's mean frame."""
    prompts = ("a video of {}", "{}")
    result = evaluate(clips_csv, backbone, head="text", episodes=50, store=warm_store, prompts=prompts, **SHAPE)
    data = load_data(clips_csv).select("test")
    with torch.no_grad():
        clips = Learner.frozen(backbone).embed_all(extract(data, backbone, "embedding", warm_store)).mean(1)
        cosines = torch.nn.functional.normalize(clips, dim=1) @ backbone.embed_text(data.classes, prompts).T
    sampler = Sampler(data.labels, data.classes, **SHAPE)
    for index in range(50):
        episode = sampler.draw([index])
        among = cosines[torch.from_numpy(episode.query[0])][:, torch.from_numpy(episode.classes[0])]
        right = (among.argmax(1).numpy() == episode.query_labels[0]).mean() * 100
        assert result.episode_accuracy[index] == pytest.approx(right)
    assert result.options.prompts == list(prompts)


def test_a_transductive_head_is_said_to_be_one(clips_csv: Path, warm_store: Path, backbone: Backbone) -> None:
    asked: dict[str, Any] = {"episodes": 4, "store": warm_store, **SHAPE}
    said = "transductive: scores see all queries of the episode, class-balanced here"
    result = evaluate(clips_csv, backbone, head="transclip", **asked)
    assert f"head transclip is {said}" in result.notes
    assert not any("transductive" in note for note in evaluate(clips_csv, backbone, head="text", **asked).notes)
    for options, found in (({"transductive": "queries"}, [f"the tuning is {said}"]), ({}, [])):
        assert Learner.build(backbone, "task-adapter", options).transductive() == found
    both = Learner.build(backbone, "task-adapter", {"transductive": True}, "transclip")
    assert len(both.transductive()) == 2 and both.transductive(by_head=False) == [f"the tuning is {said}"]


def test_heads_that_mix_texts_into_support_are_prepared_as_whole(
    backbone: Backbone, clips_csv: Path, warm_store: Path
) -> None:
    """Preparing every clip once gives the scores of preparing it anew in each episode."""
    data = load_data(clips_csv).select("test")
    learner = Learner.frozen(backbone, "clip-fsar")
    learner.head.trained = True
    learner.head.eval()
    embeddings = learner.embed_all(extract(data, backbone, "embedding", warm_store))
    text = class_texts(learner, data.classes, ("{}",))()
    scorer, _ = head_scorer(learner.head, embeddings, data.labels, text, EpisodeShape(**SHAPE), 100)
    batch = Sampler(data.labels, data.classes, **SHAPE).draw(range(4))
    with torch.no_grad():
        plain = learner.head(
            embeddings[torch.from_numpy(batch.query)],
            embeddings[torch.from_numpy(batch.support)],
            torch.from_numpy(batch.support_labels.copy()),
            text[torch.from_numpy(batch.classes)],
        )
    torch.testing.assert_close(scorer(batch), plain, rtol=1e-4, atol=1e-4)


def test_features_and_store_take_the_same_road(
    tmp_path: Path, clips_csv: Path, warm_store: Path, backbone: Backbone
) -> None:
    """The embeddings saved as ready-made features give the result of the clips themselves, episode by episode."""
    stored = evaluate(clips_csv, backbone, split="all", episodes=80, store=warm_store, shared_group=False, **SHAPE)
    data = load_data(clips_csv)
    values = extract(data, backbone, "embedding", warm_store).gather(range(len(data)))
    names = np.array(data.classes)[data.labels]
    np.savez(tmp_path / "f.npz", features=values, label=names, group=data.groups, split=data.splits)
    ready = evaluate(features=tmp_path / "f.npz", split="all", episodes=80, shared_group=False, **SHAPE)
    np.testing.assert_array_equal(ready.episode_accuracy, stored.episode_accuracy)
    assert ready.per_class == stored.per_class
    assert (ready.backbone, ready.clips) == ("features", 112)
    assert (
        len(ready.fingerprint)
        == 64
        != ready.fingerprint
        == evaluate(tmp_path / "f.npz", split="all", episodes=1, **SHAPE).fingerprint
    )


def test_the_summary_has_every_key_that_is_promised(clips_csv: Path, warm_store: Path, backbone: Backbone) -> None:
    result = evaluate(clips_csv, backbone, episodes=20, seed=3, split="novel", store=warm_store, **SHAPE)
    summary = json.loads(json.dumps(result.summary(), allow_nan=False))
    promised = {
        "accuracy", "ci95", "episodes", "way", "shot", "query", "seed", "split", "head", "backbone", "clips",
        "per_class", "fingerprint", "seconds", "version",
    }  # fmt: skip
    assert promised <= summary.keys() and "episode_accuracy" not in summary
    assert {name: summary[name] for name in ("episodes", "way", "shot", "query", "seed", "split", "head", "clips")} == {
        "episodes": 20, "way": 3, "shot": 2, "query": 2, "seed": 3, "split": "test", "head": "prototype", "clips": 32,
    }  # fmt: skip
    assert summary["fingerprint"] == backbone.fingerprint and summary["backbone"] == backbone.name
    assert summary["per_class"].keys() == set(load_data(clips_csv).select("test").classes)


def test_a_saved_result_holds_every_episode(tmp_path: Path) -> None:
    result = score(Learner.frozen(None), from_features(features()), episodes=30, **SHAPE)
    result.save(tmp_path / "new" / "result.json")
    saved = json.loads((tmp_path / "new" / "result.json").read_text())
    np.testing.assert_allclose(saved["episode_accuracy"], result.episode_accuracy, atol=1e-4)
    assert saved["accuracy"] == result.accuracy and saved["machine"].keys() >= {"python", "torch", "threads"}
    (tmp_path / "file").write_text("")
    with pytest.raises(KshotError, match=r"cannot write to .*result\.json"):
        result.save(tmp_path / "file" / "result.json")


def result_of(accuracies: list[float], **changes: Any) -> Result:
    values: dict[str, Any] = {
        "accuracy": float(np.mean(accuracies)), "ci95": 0.0, "episodes": len(accuracies), "way": 5, "shot": 1,
        "query": 5, "seed": 0, "split": "test", "head": "h", "strategy": "s", "backbone": "b", "data": "d", "clips": 9,
        "per_class": {}, "confusion": {}, "fingerprint": "", "seconds": 0.0, "version": "0",
        "options": {"shared_group": True}, "episode_accuracy": np.array(accuracies),
    }  # fmt: skip
    return Result(**values | changes)


def test_paired_difference_by_hand() -> None:
    """Differences 10, 20, 0, 10: mean 10, standard deviation sqrt(200 / 3), interval 3.182 * that / 2."""
    one, two = result_of([50, 60, 70, 80]), result_of([40, 40, 70, 70])
    difference, half = one.minus(two)
    assert difference == pytest.approx(10) and half == pytest.approx(3.182446305 * math.sqrt(200 / 3) / 2)
    assert two.minus(one) == (pytest.approx(-10), pytest.approx(half))
    assert half < interval(one.episode_accuracy), "pairs tell more than the two intervals"
    shorter = result_of([40, 40])
    assert one.minus(shorter)[0] == pytest.approx(15), "the first episodes of the longer one are compared"
    for name, value in (("seed", 1), ("shot", 5), ("data", "x"), ("clips", 8), ("options", {"shared_group": False})):
        with pytest.raises(OptionError, match=f"their {name if name != 'options' else 'shared_group'} differs"):
            one.minus(result_of([40, 40, 70, 70], **{name: value}))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, clips_csv: Path, warm_store: Path, backbone: Backbone) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    train(
        clips_csv, folder, backbone=backbone, way=3, query=2, steps=20, lr=3e-3, val_every=20, select="none",
        store=warm_store,
    )  # fmt: skip
    return folder


def test_an_adapted_run_has_its_own_weights(
    run: Path, clips_csv: Path, warm_store: Path, backbone: Backbone, clip_folder: Path
) -> None:
    """By hand: the saved weights put into the backbone, run from the stored frames."""
    adapted = evaluate(clips_csv, adapted=run, episodes=100, store=warm_store, **SHAPE)
    own = load(clip_folder)
    saved, _ = tensors(run / "weights.safetensors")
    own.load_state_dict({n.removeprefix("backbone."): w for n, w in saved.items()}, strict=False)
    data = load_data(clips_csv).select("test")
    with torch.no_grad():
        pixels = extract(data, backbone, "frames", warm_store).gather(range(len(data)))
        embeddings = own(own.pixels(pixels.reshape(-1, 32, 32, 3))).view(len(data), 8, -1).numpy()
    made = Dataset(data.name, data.paths, data.labels, data.classes, data.splits, data.groups, embeddings)
    assert (np.abs(adapted.episode_accuracy - by_hand(made, 100, 3, 2, 2, 0)) > 1e-9).mean() <= 0.02
    frozen = evaluate(clips_csv, backbone, episodes=100, store=warm_store, **SHAPE)
    assert adapted.minus(frozen)[0] != 0
    assert (adapted.strategy, adapted.options.adapted) == ("meta", str(run)) and adapted.backbone == backbone.name


def test_direct_is_evaluated_by_learning_in_every_episode(
    tmp_path: Path, clips_csv: Path, warm_store: Path, backbone: Backbone
) -> None:
    train(clips_csv, tmp_path / "run", strategy="direct", backbone=backbone, select="none", store=warm_store, lr=3e-3)
    one, two = (
        evaluate(clips_csv, backbone, tmp_path / "run", episodes=6, store=warm_store, **SHAPE) for _ in range(2)
    )
    np.testing.assert_array_equal(one.episode_accuracy, two.episode_accuracy)
    assert one.strategy == "direct"
    for name in ("center", "scale"):
        with pytest.raises(OptionError, match=f"{name} has no meaning"):
            evaluate(clips_csv, backbone, tmp_path / "run", episodes=2, store=warm_store, **{name: True}, **SHAPE)


def test_refuses_test_classes_that_were_trained_on(
    run: Path, tmp_path: Path, clips_csv: Path, backbone: Backbone
) -> None:
    data = load_data(clips_csv)
    swap = {"train": "test", "test": "train", "val": "val"}
    names = [data.classes[label] for label in data.labels]
    rows = [
        (str(p), n, swap[str(s)], str(g))
        for p, n, s, g in zip(data.paths, names, data.splits, data.groups, strict=True)
    ]
    table = write_table(tmp_path / "swapped.csv", rows)
    for split in ("test", "novel"):
        with pytest.raises(DataError, match=r"was trained or selected on class '.*' of split test: its test"):
            evaluate(table, adapted=run, split=split, store=tmp_path / "store", **SHAPE)
    assert not (tmp_path / "store").exists()


def test_figures_of_classes_that_a_run_has_seen_say_so(run: Path, clips_csv: Path, warm_store: Path) -> None:
    count = len(load_data(clips_csv).select("train").classes)
    for split in ("train", "all"):
        result = evaluate(clips_csv, adapted=run, split=split, store=warm_store, episodes=200, **SHAPE)
        of = f"{count} of these {len(result.per_class)} classes"
        told = f"the run was trained or selected on {of}: no figure of new ones"
        assert [note for note in result.notes if "selected on" in note] == [told]
    clean = evaluate(clips_csv, adapted=run, store=warm_store, episodes=4, **SHAPE)
    assert not [note for note in clean.notes if "selected on" in note]


def test_refuses_the_run_of_another_backbone(run: Path, tmp_path: Path, clips_csv: Path) -> None:
    other = load(random_clip(tmp_path / "other", seed=1))
    with pytest.raises(CheckpointError, match="was trained from backbone"):
        evaluate(clips_csv, other, run, store=tmp_path / "store", **SHAPE)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"way": 5}, NotEnoughClips, "5-way episodes need 5 classes, found 4: "),
        ({"shot": 7}, NotEnoughClips, "has 8 clips, but 7-shot episodes with 2 queries need 9"),
        ({"shot": 4, "query": 6, "shared_group": False}, NotEnoughClips, "class .* has 8 clips"),
        ({"way": 1}, OptionError, "way must be at least 2, found 1"),
        ({"episodes": 0}, OptionError, "episodes must be at least 1, found 0"),
        ({"split": "tets"}, OptionError, "unknown split 'tets': did you mean 'test'"),
        ({"head": "prototpye"}, OptionError, "unknown head 'prototpye': did you mean 'prototype'"),
        ({"head": "trx"}, CheckpointError, "head 'trx' learns and was never trained"),
        ({"head_options": {"scale_": 1}}, OptionError, "head 'prototype' has no option 'scale_'"),
        ({"frames": 0}, OptionError, "frames must be at least 1, found 0"),
    ],
)
def test_refuses_what_cannot_be_evaluated(
    tmp_path: Path,
    clips_csv: Path,
    backbone: Backbone,
    warm_store: Path,
    arguments: dict[str, Any],
    error: type[KshotError],
    text: str,
) -> None:
    fresh = tmp_path / "store" if arguments.get("head") != "trx" else warm_store  # that one is found by scoring
    with pytest.raises(error, match=text):
        evaluate(
            clips_csv, backbone, store=fresh, out=tmp_path / "result.json", **{"episodes": 5, **SHAPE, **arguments}
        )
    assert list(tmp_path.iterdir()) == []


def test_refuses_arguments_that_contradict_each_other(
    tmp_path: Path, clips_csv: Path, run: Path, backbone: Backbone
) -> None:
    data = features()
    np.savez(tmp_path / "f.npz", features=data.features, label=np.array(data.classes)[data.labels])
    with pytest.raises(OptionError, match="expected either data or features, found neither"):
        evaluate()
    with pytest.raises(OptionError, match="expected either data or features, found both"):
        evaluate(clips_csv, features=tmp_path / "f.npz")
    for arguments in ({"features": tmp_path / "f.npz"}, {"data": tmp_path / "f.npz"}):
        for extra in ({"backbone": backbone}, {"adapted": run}):
            with pytest.raises(OptionError, match="ready-made features need no backbone, and an adapted run only if"):
                evaluate(**arguments, **extra, split="all")
    with pytest.raises(DataError, match="holds no features; pass it as data"):
        evaluate(features=clips_csv)
    with pytest.raises(OptionError, match="head 'text' needs class texts, but ready-made features come without"):
        evaluate(features=tmp_path / "f.npz", split="all", head="text")
    with pytest.raises(OptionError, match="is a folder: expected the name of a file to write"):
        evaluate(features=tmp_path / "f.npz", split="all", out=tmp_path)


def test_ten_thousand_episodes_in_a_moment() -> None:
    """1,300 clips, 5-way 1-shot, in processor seconds with room for a busy machine; a benchmark measures it well."""
    activations = from_features(features(classes=13, clips=100))
    begin = time.process_time()
    result = score(Learner.frozen(None), activations, episodes=10_000)
    assert time.process_time() - begin < 12
    assert result.episodes == len(result.episode_accuracy) == 10_000


def test_scale_takes_statistics_of_the_support_alone_by_a_plain_loop() -> None:
    data = replace(features(), features=(features().features * np.linspace(0.1, 30, features().features.shape[2])))
    learner = Learner.frozen(None)
    found = score(learner, from_features(data), episodes=40, scale=True, **SHAPE)
    clips = torch.from_numpy(data.features).double()
    sampler = Sampler(data.labels, data.classes, SHAPE["way"], SHAPE["shot"], SHAPE["query"], 0)
    accuracy = []
    for number in range(40):
        episode = sampler.draw([number])
        near, far = clips[episode.support[0]], clips[episode.query[0]]
        frames = near.reshape(-1, near.shape[2])
        variance = frames.var(0, unbiased=False)
        spread = (variance + variance.mean()).sqrt()
        near, far = (torch.nn.functional.normalize(((x - frames.mean(0)) / spread).mean(1), dim=1) for x in (near, far))
        labels = torch.from_numpy(episode.support_labels[0].copy())
        means = torch.stack([torch.nn.functional.normalize(near[labels == k].mean(0), dim=0) for k in range(found.way)])
        accuracy.append(float(((far @ means.T).argmax(1).numpy() == episode.query_labels[0]).mean()))
    assert found.episode_accuracy == pytest.approx(np.array(accuracy) * 100)
    plain = score(learner, from_features(data), episodes=40, **SHAPE)
    assert found.accuracy != plain.accuracy
    assert found.options.scale == "mean and deviation of the support clips of each episode"
    assert plain.options.scale is None


def test_scale_is_refused_where_it_has_no_meaning(backbone: Backbone, clips_csv: Path, warm_store: Path) -> None:
    with pytest.raises(OptionError, match="scale changes the channels of clips, not of class names, and head 'text'"):
        evaluate(clips_csv, backbone, head="text", way=2, episodes=2, scale=True, store=warm_store)
