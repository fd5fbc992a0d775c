"""Bad input, through the real command line: one line on stderr that helps, exit code 2, nothing half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clips import write_table
from forks import OBEDIENT, Command, Forks
from kshot import seals
from kshot.activations.check import verify
from kshot.activations.store import Store
from tiny import random_clip

Refused = Callable[..., str]
SHAPE = ("--way", 3, "--shot", 1, "--query", 2, "--episodes", 5)


@pytest.fixture
def refused(command: Command, tmp_path: Path) -> Refused:
    """Runs a command that must fail without writing anything into the test's folder; returns its one line."""

    def run(*arguments: object) -> str:
        before = contents(tmp_path)
        code, out, err = command(*arguments)
        assert (code, out) == (2, ""), (code, out, err)
        assert err.startswith("kshot: ") and err.count("\n") == 1, err
        assert contents(tmp_path) == before
        return err

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def clips_of(table: Path, count: int) -> list[str]:
    return [str(table.with_name(f"clap-{number}.mp4")) for number in range(1, count + 1)]


def test_unknown_class(refused: Refused, clips_csv: Path, clip_folder: Path, tmp_path: Path) -> None:
    err = refused("extract", f"{clips_csv}?label=clpa", "--backbone", clip_folder, "--store", tmp_path / "store")
    assert "clips.csv: no row has label = 'clpa'" in err


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (("--way", 5, "--query", 2), "5-way episodes need 5 classes, found 4: "),
        (("--shot", 5, "--query", 4), "class 'a' has 8 clips, but 5-shot episodes with 4 queries need 9"),
        (("--shot", 4, "--query", 5, "--no-shared-group"), "has 8 clips, but 4-shot episodes with 5 queries need 9"),
        (
            ("--shot", 3, "--query", 5, "--no-shared-group"),
            "has 8 clips from 4 sources; 3 support clips leave at most 4",
        ),
    ],
)
def test_too_few_clips(
    refused: Refused, clips_csv: Path, clip_folder: Path, tmp_path: Path, shape: tuple[object, ...], text: str
) -> None:
    place = ("--backbone", clip_folder, "--store", tmp_path / "store")
    first = ("--way", 3) if "--way" not in shape else ()
    err = refused("evaluate", clips_csv, *place, *first, *shape)
    assert text in err and "lower --" in err


SPARSE = [("a", "train"), ("b", "train"), ("v", "val"), ("w", "val"), ("y", "test"), ("z", "test")]
"""Classes of a table, four clips each but for the one that a test makes smaller."""


def sparse(folder: Path, clips_csv: Path, few: str, without: str = "") -> Path:
    """A table in which class `few` has two clips and the others four, and `without` has none."""
    paths, rows = iter(sorted(clips_csv.parent.glob("*.mp4"))), []
    for label, split in SPARSE:
        count = 0 if label == without else 2 if label == few else 4
        rows += [(str(next(paths)), label, split, "") for _ in range(count)]
    return write_table(folder / "sparse.csv", rows)


@pytest.mark.parametrize("few", ["a", "v", "z"])
def test_more_shots_than_clips_in_one_class(
    refused: Refused, clips_csv: Path, clip_folder: Path, tmp_path: Path, few: str
) -> None:
    """The class, its clips and what to do, before anything is decoded, trained or written."""
    table = sparse(tmp_path, clips_csv, few)
    place = ("--backbone", clip_folder, "--store", tmp_path / "store")
    shape = ("--way", 2, "--shot", 2, "--query", 1)
    text = (
        f"class '{few}' has 2 clips, but 2-shot episodes with 1 queries need 3: add clips, or lower --shot or --query"
    )
    if few == "z":
        assert text in refused("evaluate", table, *place, *shape)
        path = tmp_path / "study.toml"
        path.write_text(
            "shots = [1, 2]\nway = 2\nquery = 1\n[[row]]\nname = 'frozen'\n[[row]]\nname = 'm'\nstrategy = 'meta'\n"
        )
        study = ("study", path, "--data", table, *place, "--out", tmp_path / "out")
        assert f"{text} (here keys of the study: shots, query, way)" in refused(*study)
    else:
        assert text in refused("train", table, *place, *shape, "--out", tmp_path / "run")


def test_one_val_class_is_none_to_choose_on(
    refused: Refused, clips_csv: Path, clip_folder: Path, tmp_path: Path
) -> None:
    table = sparse(tmp_path, clips_csv, "", without="w")
    err = refused("train", table, "--backbone", clip_folder, "--store", tmp_path / "store", "--out", tmp_path / "run")
    assert "sparse has one val class, 'v', and a val episode needs two: give another class the split val" in err


def test_no_val_classes_keep_the_last_weights_and_it_is_said(
    command: Command, clips_csv: Path, clip_folder: Path, warm_store: Path, tmp_path: Path
) -> None:
    rows = [row for row in clips_csv.read_text().splitlines() if ",val," not in row]
    table = clips_csv.with_name("no-val.csv")
    table.write_text("\n".join(rows) + "\n")
    shared = ("--backbone", clip_folder, "--store", warm_store, "--way", 2, "--query", 1)
    for strategy, said in (("meta", "the last weights are kept"), ("direct", "its own number of steps is taken")):
        run = tmp_path / strategy
        code, out, err = command("train", table, *shared, "--steps", 3, "--strategy", strategy, "--out", run)
        note = f"no val classes to choose on: {said}; give some classes the split val"
        assert (code, err) == (0, f"note: {note}\n") and "nothing chosen on val" in out
        config = json.loads((run / "config.json").read_text())
        assert config["select"] == "none" and config["result"]["notes"] == [note]
        assert config["result"]["val_accuracy"] is None
        assert config["result"]["best_step"] == (3 if strategy == "meta" else config["strategy"]["options"]["steps"])


def test_missing_files(refused: Refused, clips_csv: Path, clip_folder: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", [(clips_of(clips_csv, 1)[0], "a", "", ""), ("gone.mp4", "a", "", "")])
    for name in ("extract", "evaluate"):
        err = refused(name, table, "--backbone", clip_folder, "--store", tmp_path / "store")
        assert "1 of 2 clips are missing" in err and "gone.mp4 (line 3)" in err
    err = refused("train", tmp_path / "none.csv", "--out", tmp_path / "run")
    assert f"no data at '{tmp_path / 'none.csv'}': expected a folder of class folders, a .csv, an .npz" in err


def test_only_unreadable_files(command: Command, clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    table = write_table(tmp_path / "t.csv", [("bad.mp4", "a", "", "")])
    code, out, err = command("extract", table, "--backbone", clip_folder, "--store", tmp_path / "store")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no clip of t could be read; the first reason" in err and "bad.mp4" in err
    assert not list((tmp_path / "store").rglob("*.npy"))


def test_a_table_without_its_columns(refused: Refused, clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("picture,label\na.mp4,a\n")
    err = refused("extract", tmp_path / "t.csv", "--backbone", clip_folder, "--store", tmp_path / "store")
    assert "t.csv: no column 'path' in the header, found 'picture', 'label'" in err


def test_a_label_in_two_splits(refused: Refused, clips_csv: Path, clip_folder: Path, tmp_path: Path) -> None:
    one, two = clips_of(clips_csv, 2)
    table = write_table(tmp_path / "t.csv", [(one, "a", "train", ""), (two, "a", "test", "")])
    err = refused("evaluate", table, "--backbone", clip_folder, "--store", tmp_path / "store")
    assert "label 'a' is in two splits, 'train' (line 2) and 'test' (line 3)" in err


def test_a_store_of_another_backbone(
    command: Command, refused: Refused, clips_csv: Path, clip_folder: Path, tmp_path: Path
) -> None:
    table = write_table(tmp_path / "t.csv", [(path, "a", "", "") for path in clips_of(clips_csv, 2)])
    other = random_clip(tmp_path / "other", seed=5)
    command("extract", table, "--backbone", clip_folder, "--store", tmp_path / "store", "--cut", "embedding")
    err = refused(
        "evaluate", table, "--backbone", other, "--store", tmp_path / "store", "--stored-only", "--split", "all",
        "--way", 2,
    )  # fmt: skip
    assert "2-way episodes need 2 classes" in err, "what cannot work anyway is told first"
    rows = [(path, f"class {i % 2}", "", "") for i, path in enumerate(clips_of(clips_csv, 6))]
    table = write_table(tmp_path / "t.csv", rows)
    command("extract", table, "--backbone", clip_folder, "--store", tmp_path / "store", "--cut", "embedding")
    place = ("--backbone", other, "--store", tmp_path / "store", "--stored-only", "--split", "all")
    err = refused("evaluate", table, *place, *SHAPE[2:], "--way", 2)
    assert f"lacks 6 of 6 clips for backbone {other}" in err
    assert f"it holds activations of: {clip_folder}); run `kshot extract` with this backbone" in err


def test_a_truncated_shard(
    command: Command, refused: Refused, clips_csv: Path, clip_folder: Path, tmp_path: Path
) -> None:
    rows = [(path, f"class {i % 2}", "", "") for i, path in enumerate(clips_of(clips_csv, 6))]
    table = write_table(tmp_path / "t.csv", rows)
    place = ("--backbone", clip_folder, "--store", tmp_path / "store")
    command("extract", table, *place, "--cut", "embedding")
    (shard,) = (tmp_path / "store").glob("*/*.npy")
    shard.write_bytes(shard.read_bytes()[:-10])
    arguments = ("evaluate", table, *place, "--split", "all", "--way", 2, "--query", 2, "--episodes", 5)
    err = refused(*arguments)
    assert f"shard {shard} is damaged" in err and "run `kshot extract` again: it rewrites damaged shards only" in err
    code, _, _ = command("extract", table, *place, "--cut", "embedding")
    assert code == 0 and command(*arguments)[0] == 0, "the advice works"


def test_a_run_of_another_backbone(refused: Refused, adapted: Path, clips_csv: Path, tmp_path: Path) -> None:
    other = random_clip(tmp_path / "other", seed=5)
    place = ("--backbone", other, "--store", tmp_path / "store")
    err = refused("evaluate", clips_csv, "--adapted", adapted, *place, *SHAPE)
    assert "was trained from backbone" in err and "pass that one with --backbone" in err


def test_a_run_that_is_damaged_unfinished_or_none(
    refused: Refused, adapted: Path, clips_csv: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(adapted, tmp_path / "run")
    arguments = ("evaluate", clips_csv, "--adapted", run, "--store", tmp_path / "store", *SHAPE)
    weights = run / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "weights.safetensors is damaged: its sha256 is not the one in config.json" in refused(*arguments)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(seals.sealed({k: config[k] for k in config if k != "result"})))
    assert "is not finished; run the same `kshot train` command with --resume" in refused(*arguments)
    (run / "config.json").unlink()
    assert "is not a run folder: expected config.json in it" in refused(*arguments)


def test_an_empty_folder(refused: Refused, clips_csv: Path, clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    place = ("--backbone", clip_folder, "--store", tmp_path / "store")
    assert "expected one folder for each class with its clips inside, found nothing" in refused(
        "extract", tmp_path / "empty", *place
    )
    assert "has no config.json" in refused("extract", clips_csv, "--backbone", tmp_path / "empty", *place[2:])
    assert "is not a kshot store" in refused("verify", tmp_path / "empty")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--head", "prototipe"), "unknown head 'prototipe': did you mean 'prototype'? Known: "),
        (("--split", "tset"), "unknown split 'tset': did you mean 'test'? Known: "),
        (("--device", "gpu"), "unknown device 'gpu'"),
        (("--precision", "float16x"), "unknown precision 'float16x': did you mean 'float16'? Known: float32"),
        (("--head-option", "scael=2"), "no option 'scael'; its options: scale=20.0; did you mean 'scale'?"),
        (("--head", "trx"), "head 'trx' learns and was never trained: its scores would be noise. Train it with"),
        (("--prompt", "no place"), "a prompt needs {} where the class name goes"),
        (("--backbone", "./nowhere"), "nowhere"),
    ],
)
def test_unknown_names_list_the_known_ones(
    refused: Refused, clips_csv: Path, clip_folder: Path, tmp_path: Path, arguments: tuple[str, ...], text: str
) -> None:
    place = ("--backbone", clip_folder, "--store", tmp_path / "store")
    assert text in refused("evaluate", clips_csv, *place, *SHAPE, *arguments)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--strategy", "metta"), "unknown strategy 'metta': did you mean 'meta'? Known: zero-shot, frozen, direct"),
        (("--tuning", "partal"), "unknown tuning method 'partal': did you mean 'partial'? Known: partial, full"),
        (("--head", "otan"), "unknown head 'otan': did you mean 'otam'? Known: "),
        (("--tuning-option", "tower=txt"), "option 'tower': it should be 'image', 'text' or 'both', found 'txt'"),
        (("--tuning-option", "rank=4"), "tuning 'partial' has no option 'rank'; its options: layers="),
        (("--strategy-option", "lose=text"), "strategy 'meta' has no option 'lose'; its options: way=5, shot=1"),
        (("--select", "test"), "the best weights are chosen on val classes only, found select='test'"),
        (("--optimizer", "adm"), "unknown optimizer 'adm': did you mean 'adam'? Known: adam, adamw, sgd"),
        (("--schedule", "cosin"), "unknown schedule 'cosin': did you mean 'cosine'? Known: constant, cosine"),
        (("--strategy-option", "loss=bth"), "unknown loss 'bth': did you mean 'both'? Known: episode, text, both"),
        (("--strategy-option", "query=x"), "strategy 'meta': option 'query': it should be a valid integer, found 'x'"),
        (("--head-option", "scale=x"), "head 'prototype': option 'scale': it should be a valid number, found 'x'"),
        (("--prompt", "no place"), "a prompt needs {} where the class name goes, got 'no place'"),
        (("--layers", "99"), "layers '99': expected proj, block"),
    ],
)
def test_unknown_names_of_training(
    refused: Refused, clips_csv: Path, clip_folder: Path, tmp_path: Path, arguments: tuple[str, ...], text: str
) -> None:
    place = ("--backbone", clip_folder, "--store", tmp_path / "store", "--out", tmp_path / "run")
    assert text in refused("train", clips_csv, *place, "--way", 3, "--query", 2, *arguments)


MAIN = "\nimport sys\nfrom kshot.cli import main\nmain(sys.argv[1:])"


def test_a_full_disk(command: Command, forks: Forks, clips_csv: Path, clip_folder: Path, tmp_path: Path) -> None:
    """The kernel refuses files beyond 30 kB: embeddings fit, condensed tokens of 32 clips only in part."""
    arguments = ("extract", f"{clips_csv}?split=val", "--backbone", clip_folder, "--store", tmp_path, "--workers", 0)
    assert command(*arguments, "--cut", "embedding", "--frames", 2)[0] == 0
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))"
    done = forks(limit + MAIN, *arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("kshot: cannot write to ") and done.stderr.count("\n") == 1
    assert "File too large" in done.stderr and "make room or name another place" in done.stderr
    assert verify(tmp_path).shards == 2 and verify(tmp_path).damaged == {}
    assert not list(tmp_path.rglob("*.tmp")) and len(list(tmp_path.rglob("*.npy"))) == 2
    code, out, _ = command(*arguments, "--json")
    assert code == 0 and 0 < json.loads(out)["stored_now"] < 32, "what fitted was kept; with room, the command goes on"


def test_a_read_only_disk(forks: Forks, clips_csv: Path, clip_folder: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    done = forks(OBEDIENT + MAIN, "extract", clips_csv, "--backbone", clip_folder, "--store", tmp_path / "store")
    tmp_path.chmod(0o755)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith(f"kshot: cannot write to {tmp_path}") and done.stderr.count("\n") == 1
    assert "Permission denied" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_places_where_nothing_can_be_written(
    refused: Refused, clips_csv: Path, clip_folder: Path, warm_store: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    place = ("--backbone", clip_folder, "--store", warm_store, "--way", 3, "--query", 2)
    below = tmp_path / "file" / "below"
    assert f"cannot write to {below}: Not a directory" in refused("train", clips_csv, "--out", below, *place)
    err = refused("evaluate", clips_csv, "--out", below, *place, "--episodes", 5)
    assert f"cannot write to {below}: " in err


def test_two_writers(command: Command, clips_csv: Path, clip_folder: Path, tmp_path: Path) -> None:
    arguments = ("extract", f"{clips_csv}?label=clap", "--backbone", clip_folder, "--store", tmp_path, "--workers", 0)
    command(*arguments, "--cut", "embedding")
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    key = json.loads((folder / "key.json").read_text())["key"]
    (shard,) = folder.glob("*.npy")
    shard.unlink()
    with Store(tmp_path, key).writing():
        code, out, err = command(*arguments, "--cut", "embedding")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "another kshot is writing to" in err and "wait for it to end or use another --store" in err


def test_ready_made_features_that_cannot_be_used(refused: Refused, tmp_path: Path) -> None:
    flat = tmp_path / "flat.npz"
    np.savez(flat, features=np.ones((4, 3)), label=np.array(list("aabb")))
    assert "expected features of shape (clips, frames, channels), found (4, 3)" in refused(
        "evaluate", "--features", flat
    )
    (tmp_path / "torn.npz").write_bytes(flat.read_bytes()[:50])
    assert "not a readable .npz file" in refused("evaluate", "--features", tmp_path / "torn.npz")
    assert "expected either data or features, found neither" in refused("evaluate")
