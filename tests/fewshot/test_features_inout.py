"""Features in and out: a round trip changes nothing, what is exported scores as the clips do, bad input is named."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import write_table
from forks import Command
from kshot import datasets
from kshot.backbones.backbone import Backbone
from kshot.errors import DataError, KshotError, OptionError
from kshot.fewshot.evaluation import evaluate
from kshot.fewshot.features import export_features, import_features
from kshot.fewshot.training import train

ROWS = [("a/1.mp4", "run", "train", "g"), ("a/2.mp4", "sit", "test", ""), ("b/1.mp4", "run", "train", "g")]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "clips.csv", ROWS)


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def save(file: Path, array: np.ndarray, **others: np.ndarray) -> Path:
    if file.suffix == ".npy":
        np.save(file, array)
    else:
        np.savez(file, features=array, **others)
    return file


@pytest.mark.parametrize("name", ["net.npy", "net.npz"])
def test_an_array_and_a_table_become_a_data_set(table: Path, tmp_path: Path, name: str) -> None:
    array = values(3, 4, 5)
    report = import_features(save(tmp_path / name, array), tmp_path / "out" / "net.npz", table)
    assert (report["clips"], report["frames"], report["channels"], report["classes"]) == (3, 4, 5, 2)
    assert report["splits"] == {"train": 2, "test": 1}
    data = datasets.load(tmp_path / "out" / "net.npz")
    np.testing.assert_array_equal(data.features, array)
    assert data.classes == ("run", "sit") and data.labels.tolist() == [0, 1, 0]
    assert data.splits.tolist() == ["train", "test", "train"]
    assert data.groups[0] == data.groups[2] == "g" and data.groups[1] not in ("", "g")
    assert [path.resolve() for path in data.paths] == [(tmp_path / row[0]).resolve() for row in ROWS]


def test_one_vector_a_clip_double_precision_and_other_names(table: Path, tmp_path: Path) -> None:
    array = values(3, 5).astype(np.float64)
    np.savez(tmp_path / "net.npz", pooled=array, other=np.zeros(2))
    import_features(tmp_path / "net.npz", tmp_path / "out.npz", table, array="pooled")
    features = datasets.load(tmp_path / "out.npz").features
    assert features is not None and features.shape == (3, 1, 5) and features.dtype == np.float32
    np.testing.assert_array_equal(features[:, 0], array.astype(np.float32))
    np.savez(tmp_path / "sole.npz", whatever=array)
    assert import_features(tmp_path / "sole.npz", tmp_path / "sole-out.npz", table)["clips"] == 3


def test_a_round_trip_changes_nothing(clips_csv: Path, backbone: Backbone, warm_store: Path, tmp_path: Path) -> None:
    """Out as .npz and CSV, in again from both, and once more from the .npz alone."""
    report = export_features(
        clips_csv, tmp_path / "one.npz", backbone, table=tmp_path / "one.csv", store=warm_store, frames=4
    )
    assert (report["clips"], report["frames"], report["channels"]) == (112, 4, backbone.embed_dim)
    assert report["unreadable"] == {} and report["splits"] == {"train": 48, "val": 32, "test": 32}
    import_features(tmp_path / "one.npz", tmp_path / "two.npz", tmp_path / "one.csv")
    import_features(tmp_path / "two.npz", tmp_path / "three.npz")
    first = (tmp_path / "one.npz").read_bytes()
    data = datasets.load(clips_csv)
    for name in ("one", "two", "three"):
        with np.load(tmp_path / f"{name}.npz") as file, np.load(tmp_path / "one.npz") as own:
            assert sorted(file.files) == ["features", "group", "label", "path", "split"]
            assert all(np.array_equal(file[key], own[key]) for key in own.files)
        again = datasets.load(tmp_path / f"{name}.npz")
        assert [path.resolve() for path in again.paths] == [path.resolve() for path in data.paths]
        assert again.groups.tolist() == data.groups.tolist() and again.classes == data.classes
    assert len(first) > 112 * 4 * backbone.embed_dim * 4
    with (tmp_path / "one.csv").open() as file:
        assert datasets.load(tmp_path / "one.csv").groups.tolist() == data.groups.tolist()
        assert len(list(csv.DictReader(file))) == 112


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("head", ["prototype", "otam"])
def test_exported_embeddings_score_as_the_store_does(
    clips_csv: Path, backbone: Backbone, warm_store: Path, tmp_path: Path, head: str, shared: bool
) -> None:
    shape: dict[str, Any] = {"way": 3, "query": 2, "episodes": 200, "head": head, "shared_group": shared}
    export_features(clips_csv, tmp_path / "f.npz", backbone, store=warm_store)
    own = evaluate(clips_csv, backbone, store=warm_store, **shape)
    theirs = evaluate(features=tmp_path / "f.npz", **shape)
    np.testing.assert_array_equal(own.episode_accuracy, theirs.episode_accuracy)
    assert own.confusion == theirs.confusion and own.clips == theirs.clips


def test_so_do_those_of_an_adapted_run(
    clips_csv: Path, adapted: Path, backbone: Backbone, warm_store: Path, tmp_path: Path
) -> None:
    shape: dict[str, Any] = {"way": 3, "query": 2, "episodes": 200, "head": "prototype"}
    export_features(clips_csv, tmp_path / "f.npz", backbone, adapted, split="novel", store=warm_store)
    own = evaluate(clips_csv, backbone, adapted, store=warm_store, **shape)
    theirs = evaluate(features=tmp_path / "f.npz", **shape)
    np.testing.assert_array_equal(own.episode_accuracy, theirs.episode_accuracy)
    assert own.accuracy != evaluate(clips_csv, backbone, store=warm_store, **shape).accuracy


def test_clips_without_a_group_stay_without_one(backbone: Backbone, clips_csv: Path, warm_store: Path, tmp_path: Path):
    rows = [(str(path), "x", "", "") for path in datasets.load(clips_csv).paths[:3]]
    own = write_table(tmp_path / "own.csv", rows)
    export_features(own, tmp_path / "f.npz", backbone, table=tmp_path / "f.csv", store=warm_store)
    with np.load(tmp_path / "f.npz") as file:
        assert file["group"].tolist() == ["", "", ""] and file["split"].tolist() == ["", "", ""]
    assert len(set(datasets.load(tmp_path / "f.npz").groups)) == 3


def nan(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[1, 2, 3] = np.nan
    return array


@pytest.mark.parametrize(
    ("spoil", "error", "text"),
    [
        (lambda a: a[:2], DataError, r"net\.npy holds 2 clips, clips\.csv lists 3: expected a row for each clip"),
        (nan, DataError, r"features of 1 clips are not finite, the first is clip 1, '.*a/2\.mp4'"),
        (lambda a: a[..., None], DataError, r"features of shape .*, found \(3, 4, 5,"),
        (lambda a: a.astype(int), DataError, "expected floating point features, found int64"),
        (lambda a: a[0, 0, 0], DataError, r"expected features of shape .* found \(\)"),
        (lambda a: a[:, :0], DataError, r"expected features of shape .* found \(3, 0, 5\)"),
    ],
)
def test_arrays_that_cannot_be_used(
    table: Path, tmp_path: Path, spoil: Callable[[np.ndarray], np.ndarray], error: type[KshotError], text: str
) -> None:
    save(tmp_path / "net.npy", spoil(values(3, 4, 5)))
    with pytest.raises(error, match=text):
        import_features(tmp_path / "net.npy", tmp_path / "out.npz", table)
    assert not list(tmp_path.glob("out*")) and not list(tmp_path.glob(".*"))


def test_files_that_cannot_be_used(table: Path, tmp_path: Path) -> None:
    array = save(tmp_path / "net.npy", values(3, 4, 5))
    out = tmp_path / "out.npz"

    def refused(error: type[KshotError], text: str, *arguments: Any, **named: Any) -> None:
        with pytest.raises(error, match=text):
            import_features(*arguments, **named)
        assert not out.exists()

    refused(OptionError, r"net\.npy holds no labels: add the CSV", array, out)
    refused(OptionError, "--out names an .npz file, found", array, tmp_path / "out.csv", table)
    refused(DataError, "no such file", tmp_path / "lost.npy", out, table)
    refused(DataError, "no such file", array, out, tmp_path / "lost.csv")
    refused(OptionError, "holds a single array without a name", array, out, table, "x")
    (tmp_path / "text.npy").write_text("no array")
    refused(DataError, r"text\.npy: not a readable \.npy file|pickled", tmp_path / "text.npy", out, table)
    np.save(tmp_path / "pickle.npy", np.array([{}], object), allow_pickle=True)
    refused(DataError, "holds pickled objects, which could run code", tmp_path / "pickle.npy", out, table)
    named = tmp_path / "named.npz"
    np.savez(named, a=values(3, 4), b=values(3, 4))
    refused(OptionError, "no array 'features', found a, b: name that of the features", named, out, table)
    refused(OptionError, "no array 'c', found a, b", named, out, table, "c")
    refused(OptionError, "an array by another name comes without labels", named, out, None, "a")
    refused(DataError, r"no array 'features', found a, b$", named, out)
    wrong = save(tmp_path / "order.npz", values(3, 4, 5), path=np.array(["1.mp4", "3.mp4", "1.mp4"]))
    refused(DataError, r"order\.npz: clip 1 is .3\.mp4., but clip 1 of clips\.csv is .*2\.mp4", wrong, out, table)
    bad = write_table(tmp_path / "bad.csv", [*ROWS[:2], ("b/1.mp4", "run", "val", "")])
    refused(DataError, r"label 'run' is in two splits, 'train' \(line 2\) and 'val' \(line 4\)", array, out, bad)
    (tmp_path / "short.csv").write_text("path,lable\nx,y\n")
    refused(DataError, "no column 'label' in the header", array, out, tmp_path / "short.csv")


def test_what_has_no_features_of_its_own_is_not_exported(
    clips_csv: Path, backbone: Backbone, warm_store: Path, tmp_path: Path
) -> None:
    common: dict[str, Any] = {"way": 3, "query": 2, "steps": 1, "val_every": 1, "val_episodes": 2, "store": warm_store}
    train(clips_csv, tmp_path / "direct", strategy="direct", backbone=backbone, **common)
    with pytest.raises(OptionError, match="embeds a clip anew in every episode"):
        export_features(clips_csv, tmp_path / "f.npz", backbone, tmp_path / "direct", store=warm_store)
    with pytest.raises(OptionError, match=r"--table .*clips\.csv is the data set itself"):
        export_features(clips_csv, tmp_path / "f.npz", backbone, table=clips_csv, store=warm_store)
    save(tmp_path / "ready.npz", values(3, 4, 5), label=np.array(["a", "a", "b"]))
    with pytest.raises(DataError, match="holds ready-made features already"):
        export_features(tmp_path / "ready.npz", tmp_path / "f.npz")
    assert not (tmp_path / "f.npz").exists()


def test_the_commands(command: Command, clips_csv: Path, clip_folder: Path, warm_store: Path, tmp_path: Path) -> None:
    place = ("--backbone", clip_folder, "--store", warm_store)
    code, out, err = command("data", "features", "export", clips_csv, "--out", tmp_path / "f.npz", *place)
    assert code == 0 and "112 clips of 14 classes" in out and f"kshot evaluate --features {tmp_path / 'f.npz'}\n" in out
    shape = ("--way", 3, "--query", 2, "--episodes", 20, "--json")
    theirs = json.loads(command("evaluate", "--features", tmp_path / "f.npz", *shape)[1])
    assert theirs["accuracy"] == json.loads(command("evaluate", clips_csv, *place, *shape)[1])["accuracy"]
    made = command("data", "features", "import", tmp_path / "f.npz", "--out", tmp_path / "g.npz", "--json")
    assert json.loads(made[1])["clips"] == 112
    code, out, err = command("data", "features", "import", tmp_path / "no.npy", "--out", tmp_path / "h.npz")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert command("data", "features")[1].startswith("Usage: kshot data features")
