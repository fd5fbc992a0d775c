"""The same bytes in base and novel classes, under two labels, in support and query: named, counted, kept apart."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from clips import beside_few_val, write_clips
from kshot import Recognizer, evaluate, train
from kshot.errors import DataError, NotEnoughClips
from kshot.fewshot.episodes import Sampler, joined
from kshot.study import file as study_file
from kshot.study import runner as study
from tiny import random_clip

SHAPE = {"way": 2, "query": 2, "episodes": 30, "frames": 3}
STEPS = {"steps": 2, "val_every": 2, "val_episodes": 5, "way": 2, "query": 1, "frames": 3}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copies")
    write_clips(folder)
    random_clip(folder / "clip")
    return folder


def rows_of(place: Path) -> list[dict[str, str]]:
    with (place / "clips.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def table(place: Path, name: str, rows: list[dict[str, str]]) -> Path:
    path = place / f"{name}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ("path", "label", "split", "group"), extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def copied(place: Path, row: dict[str, str], **changes: str) -> dict[str, str]:
    """A further row: a copy of a clip under another path."""
    source = place / row["path"]
    name = f"again-{changes.get('label', row['label'])}-{source.stem}{source.suffix}".replace(" ", "-")
    target = source.with_name(name)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)
    return row | {"path": target.relative_to(place).as_posix()} | changes


def first(rows: list[dict[str, str]], split: str, skip: int = 0) -> dict[str, str]:
    return [row for row in rows if row["split"] == split and Path(row["path"]).suffix][skip]


def test_without_copies_the_episodes_are_those_of_before():
    labels = np.repeat(np.arange(6), 9)
    classes = tuple("abcdef")
    groups = np.array([str(i // 3) for i in range(54)])
    for own in (None, groups):
        plain = Sampler(labels, classes, shot=2, query=3, seed=5, groups=own).draw(range(500))
        apart = Sampler(
            labels, classes, shot=2, query=3, seed=5, groups=own, copies=np.arange(54).astype(np.str_)
        ).draw(range(500))
        for name in ("classes", "support", "query"):
            assert (getattr(plain, name) == getattr(apart, name)).all()


def test_no_query_is_a_copy_of_a_support_clip_and_other_episodes_stay():
    labels = np.repeat(np.arange(5), 8)
    marks = np.arange(40)
    marks[[1, 2]] = 0
    marks[9] = 8
    copies = marks.astype(np.str_)
    plain = Sampler(labels, tuple("abcde"), shot=2, query=3).draw(range(400))
    apart = Sampler(labels, tuple("abcde"), shot=2, query=3, copies=copies).draw(range(400))

    def clash(drawn) -> np.ndarray:  # type: ignore[no-untyped-def]
        return (copies[drawn.support][:, :, None] == copies[drawn.query][:, None]).any((1, 2))

    met = clash(plain)
    assert 0 < met.sum() < 400 and not clash(apart).any()
    assert (plain.support == apart.support).all(), "only queries give way"
    assert (plain.query[~met] == apart.query[~met]).all()


def test_copies_join_groups_too():
    groups, copies = np.array(["p", "p", "q", "r"]), np.array(["x", "y", "y", "z"])
    made = joined(groups, copies)
    assert made is not None and len(set(made[:3])) == 1 and made[3] != made[0]
    assert joined(groups, np.array(["1", "2", "3", "4"])) is groups
    with pytest.raises(NotEnoughClips, match=r"or copies \(--keep-copies\), which count as one source"):
        Sampler(np.repeat([0, 1], 6), ("a", "b"), way=2, shot=1, query=4, copies=np.repeat(np.arange(4), 3).astype(str))


@pytest.mark.slow
def test_novel_copies_of_base_and_val_clips_are_left_out(place: Path):
    rows = rows_of(place)
    novel = first(rows, "test")["label"]
    more = [copied(place, first(rows, split), label=novel, split="test") for split in ("train", "val")]
    data, store = table(place, "leak", [*rows, *more]), place / "store"
    options = {"backbone": place / "clip", "store": store, "split": "test", **SHAPE}
    clean = evaluate(table(place, "clean", rows), **options)
    result = evaluate(data, **options)
    assert clean.notes == [] and result.clips == clean.clips
    assert (result.episode_accuracy == clean.episode_accuracy).all(), "what is left are the episodes without copies"
    (note,) = result.notes
    assert note.startswith("2 clips of split test left out, copies of base or val clips: ")
    assert f"again-{novel.replace(' ', '-')}" in note
    assert result.summary()["notes"] == [note] and not result.options.keep_copies
    kept = evaluate(data, keep_copies=True, **options)
    assert kept.clips == clean.clips + 2 and kept.notes == [] and kept.options.keep_copies is True
    again = evaluate(data, stored_only=True, **options)
    assert again.notes == result.notes
    every = [copied(place, row, label=f"{row['label']} again", split="test") for row in rows if row["split"] == "train"]
    with pytest.raises(DataError, match=r"left out, copies of base or val clips: .* nothing is left: .*--keep-copies"):
        evaluate(table(place, "all", [*(row for row in rows if row["split"] == "train"), *every]), **options)


@pytest.mark.slow
def test_the_same_bytes_under_two_labels(place: Path):
    rows = rows_of(place)
    base, novel = first(rows, "train"), first(rows, "test")
    others = {split: next(r["label"] for r in rows if r["split"] == split and r["label"] != row["label"])
              for split, row in (("train", base), ("test", novel))}  # fmt: skip
    options = {"backbone": place / "clip", "store": place / "store"}
    data = table(place, "two", [*rows, copied(place, novel, label=others["test"])])
    result = evaluate(data, split="test", **SHAPE, **options)
    assert result.notes[0].startswith("2 clips of split test left out, the same bytes under two labels: ")
    data = table(place, "two-base", [*rows, copied(place, base, label=others["train"])])
    with pytest.raises(DataError, match=r"2 clips hold the same bytes under two labels: .* keep all of them"):
        train(data, place / "run-two", **STEPS, **options)
    assert not (place / "run-two").exists()
    train(data, place / "run-kept", keep_copies=True, **STEPS, **options)
    assert json.loads((place / "run-kept" / "config.json").read_text())["keep_copies"] is True
    frames = {"frames": 3, "method": "prototype", **options}
    paths = [place / row["path"] for row in (base, novel)]
    again = [place / copied(place, base, label=others["train"])["path"]]
    with pytest.raises(DataError, match=r"2 clips hold the same bytes .*\('a'\) and .*\('b'\)"):
        Recognizer(**frames).fit([*paths, *again], ["a", "b", "b"])
    assert Recognizer(**frames, keep_copies=True).fit([*paths, *again], ["a", "b", "b"]).n_clips_ == 3
    model = Recognizer(**frames).fit(paths, ["a", "b"])
    with pytest.raises(DataError, match="under two labels"):
        model.partial_fit(again, ["b"])


def test_training_leaves_val_copies_of_base_clips_out(place: Path):
    rows = rows_of(place)
    label = first(rows, "val")["label"]
    data = table(place, "val-leak", [*rows, copied(place, first(rows, "train", 1), label=label, split="val")])
    done = train(data, place / "run-val", backbone=place / "clip", store=place / "store", **STEPS)
    assert [note.partition(":")[0] for note in beside_few_val(done.notes)] == [
        "1 clip of split val left out, copies of base or val clips"
    ]
    assert json.loads((place / "run-val" / "config.json").read_text())["result"]["notes"] == list(done.notes)


def test_six_copies_are_no_class(place: Path):
    """Queries that are copies of the support would all be right."""
    rows = [row for row in rows_of(place) if row["split"] == "test"]
    label = rows[0]["label"]
    source = place / first(rows, "test")["path"]
    few = [row for row in rows if row["label"] != label]
    for index in range(6):
        shutil.copyfile(source, place / f"six-{index}{source.suffix}")
        few.append({"path": f"six-{index}{source.suffix}", "label": label, "split": "test", "group": ""})
    options = {"backbone": place / "clip", "store": place / "store", **SHAPE}
    with pytest.raises(NotEnoughClips, match=r"from 1 sources; .*--keep-copies.*5 clips of split test copies of"):
        evaluate(table(place, "six", few), **options)
    assert evaluate(table(place, "six", few), keep_copies=True, **options).episodes == 30


def test_a_study_says_what_it_left_out(place: Path):
    rows = rows_of(place)
    novel = first(rows, "test")["label"]
    data = table(place, "studied", [*rows, copied(place, first(rows, "train", 2), label=novel, split="test")])
    plan = study_file.Study(
        "s", (study_file.Row("frozen"), study_file.Row("meta", strategy="meta")), (str(data),), (str(place / "clip"),),
        (1,),
        way=2, query=2, episodes=20, frames=3, train={"steps": 2, "val_every": 2, "val_episodes": 5, "query": 1},
    )  # fmt: skip
    report = study.run(plan, place / "out", store=place / "store")
    notes = [row.notes for row in report.rows]
    assert notes[0] == beside_few_val(notes[1]) and notes[0][0].startswith(
        "1 clip of split test left out, copies of base"
    )
    assert notes[0][0] in study.as_markdown(report)
    kept = study.run(plan, place / "kept", store=place / "store", keep_copies=True)
    assert kept.settings.keep_copies is True and [kept.rows[0].notes, beside_few_val(kept.rows[1].notes)] == [[], []]


def test_training_names_copies_of_base_clips_within_a_class(place: Path):
    rows = rows_of(place)
    row = first(rows, "train")
    data = table(place, "base-twice", [*rows, copied(place, row, label=row["label"], split="train")])
    done = train(data, place / "run-base", backbone=place / "clip", store=place / "store", **STEPS)
    (note,) = beside_few_val(done.notes)
    assert note.startswith("1 clip of split train copies of another of the class, no query where that one is support: ")
    assert row["path"].split("/")[-1] in note
    kept = train(data, place / "run-both", backbone=place / "clip", store=place / "store", keep_copies=True, **STEPS)
    assert beside_few_val(kept.notes) == []


def test_equal_rows_of_ready_made_features_are_copies(tmp_path: Path):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((24, 2, 5)).astype(np.float32)
    labels = np.repeat(["a", "b", "c", "d"], 6)
    splits = np.repeat(["train", "test", "test", "test"], 6)
    features[6] = features[0]
    features[13] = features[12]
    np.savez(tmp_path / "f.npz", features=features, label=labels, split=splits)
    result = evaluate(features=tmp_path / "f.npz", way=3, query=2, episodes=20)
    assert result.clips == 17 and [note[:30] for note in result.notes] == [
        "1 clip of split test left out,", "1 clip of split test copies of",
    ]  # fmt: skip
