"""Planned shards: a pure function of the list, written side by side, the same bytes whoever writes them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import write_table
from forks import Command
from kshot.activations import planned
from kshot.activations.check import CheckedDigests
from kshot.activations.estimation import estimate
from kshot.activations.extraction import extract
from kshot.activations.plan import BATCH, LEAST_SHARDS, MOST_CLIPS, Plan, clips_a_shard
from kshot.activations.shards import SHARD_BYTES
from kshot.activations.store import Store
from kshot.backbones.backbone import Backbone
from kshot.datasets import Dataset
from kshot.datasets import load as load_data
from kshot.errors import OptionError, StoreError
from kshot.files import locked
from kshot.processes import Share

KEY = {"cut": 0}


@pytest.fixture(scope="module")
def some(clips_csv: Path) -> Dataset:
    """Forty clips, five shards of eight."""
    data = load_data(clips_csv)
    return data.subset(np.arange(40))


@pytest.fixture(scope="module")
def undisturbed(some: Dataset, backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("undisturbed")
    extract(some, backbone, "embedding", store, workers=0, engine="local")
    return store


def share(data: Dataset, backbone: Backbone, store: Path, text: str, **options: Any) -> Any:
    return extract(data, backbone, "embedding", store, workers=0, shard=text, **options)


def content(store: Path) -> dict[str, str]:
    """Name -> sha256 of every file of the keys of a store."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(store.glob("*/*"))}


# The plan


@pytest.mark.parametrize(
    ("clips", "size", "expected"),
    [
        (1, 1000, 8), (40, 1000, 8), (512, 1000, 8), (513, 1000, 8), (1024, 1000, 16), (10**7, 8192, MOST_CLIPS),
        (10**7, 2_420_000, 24), (10**7, 6_290_000, 8), (100, SHARD_BYTES // 3, 3), (100, 10 * SHARD_BYTES, 1),
    ],
)  # fmt: skip
def test_how_many_clips_make_a_shard(clips: int, size: int, expected: int) -> None:
    each = clips_a_shard(clips, size)
    assert each == expected
    assert each * size <= SHARD_BYTES or each == 1
    assert each < BATCH or each % BATCH == 0
    assert each == MOST_CLIPS or -(-clips // each) >= min(LEAST_SHARDS, clips // BATCH)


@pytest.mark.parametrize("shares", [1, 2, 3, 7, 40])
def test_shares_cover_every_clip_once(shares: int) -> None:
    plan = Plan.of([Path(f"{i}.mp4") for i in range(53)], 1000)
    numbers = [number for i in range(shares) for number in plan.shards_of(Share(i, shares))]
    assert sorted(numbers) == list(range(len(plan)))
    assert [clip for number in range(len(plan)) for clip in plan.clips_of(number)] == list(range(53))


def test_a_plan_knows_names_and_their_order_but_no_place() -> None:
    paths = [Path(f"/here/{i}.mp4") for i in range(20)]
    plan = Plan.of(paths, 1000)
    assert Plan.of([Path("/there") / path.name for path in paths], 1000) == plan
    others = [Plan.of(paths[::-1], 1000), Plan.of(paths[1:], 1000), Plan.of(paths, SHARD_BYTES // 3)]
    assert len({plan.name, *(other.name for other in others)}) == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("4/4", "shard 4/4 is out of range: they are numbered 0/4 to 3/4"),
        ("0/0", "shard 0/0 is out of range: expected at least 1"),
        ("1", "shard '1' is not of the form i/n"),
        ("-1/4", "shard '-1/4' is not of the form i/n"),
        ("a/b", "shard 'a/b' is not of the form i/n"),
    ],
)
def test_a_share_that_there_is_not(text: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Share.parse(text)


# The same bytes


@pytest.mark.parametrize("shares", [1, 2, 5, 7])
def test_any_number_of_shares_writes_the_same_bytes(
    some: Dataset, backbone: Backbone, undisturbed: Path, tmp_path: Path, shares: int
) -> None:
    parts = [share(some, backbone, tmp_path, f"{i}/{shares}") for i in reversed(range(shares))]
    assert content(tmp_path) == content(undisturbed)
    assert len(list(tmp_path.glob("*/shard-*.npy"))) == 5
    assert sum(part.stored_now for part in parts) == 40
    assert sum(len(part.data) for part in parts) == 40
    empty = [part for part in parts if not len(part.data)]
    assert len(empty) == max(0, shares - 5)
    assert all("has nothing to do: 40 clips make 5 files of 8 clips" in part.notes[-1] for part in empty)


def test_what_is_written_is_what_a_plain_extraction_reads(
    some: Dataset, backbone: Backbone, undisturbed: Path, tmp_path: Path
) -> None:
    plain = extract(some, backbone, "embedding", tmp_path, workers=0)
    store = shutil.copytree(undisturbed, tmp_path / "copy")
    read = extract(some, backbone, "embedding", store, workers=0, check=True)
    assert read.stored_now == 0 and content(store) == content(undisturbed)
    np.testing.assert_allclose(read.gather(range(40)), plain.gather(range(40)), rtol=2e-3, atol=2e-3)


def test_a_store_of_before_keeps_what_it_has(some: Dataset, backbone: Backbone, tmp_path: Path) -> None:
    extract(some.subset(np.arange(0, 40, 3)), backbone, "embedding", tmp_path, workers=0)
    before = content(tmp_path)
    done = [share(some, backbone, tmp_path, f"{i}/2") for i in range(2)]
    assert sum(part.stored_now for part in done) == 40 - 14
    assert before.items() <= content(tmp_path).items()
    rows = [json.loads(path.read_text("utf-8")) for path in tmp_path.glob("*/shard-*.json")]
    assert sorted(len(row["clips"]) for row in rows if "plan" in row) == [5, 5, 5, 5, 6]
    assert len({clip for row in rows for clip in row["clips"]}) == sum(len(row["clips"]) for row in rows) == 40


def test_copies_in_two_shards_are_in_both_whatever_is_written_first(
    some: Dataset, backbone: Backbone, tmp_path: Path
) -> None:
    """Otherwise a file's content would hang on who was quicker."""
    rows = [(str(path), "a" if i % 2 else "b", "", "") for i, path in enumerate(some.paths[1:12])]
    copy = shutil.copy(some.paths[1], tmp_path / "copy.mp4")
    table = load_data(write_table(tmp_path / "clips.csv", [*rows, (str(copy), "b", "", "")]))
    one, other = tmp_path / "one", tmp_path / "other"
    for store, order in ((one, "01"), (other, "10")):
        for number in order:
            share(table, backbone, store, f"{number}/2")
    assert content(one) == content(other)
    assert sum(len(json.loads(path.read_text("utf-8"))["clips"]) for path in one.glob("*/shard-*.json")) == 12
    assert share(table, backbone, one, "1/2").stored_now == 0


def test_a_shard_that_is_gone_or_damaged_is_written_again_alone(
    some: Dataset, backbone: Backbone, undisturbed: Path, tmp_path: Path
) -> None:
    store = shutil.copytree(undisturbed, tmp_path / "store")
    first, second, *others = sorted(store.glob("*/shard-*.npy"))
    stamps = [path.stat().st_mtime_ns for path in others]
    first.with_suffix(".json").unlink()
    second.write_bytes(second.read_bytes()[:-1] + b"!")
    again = share(some, backbone, store, "0/1", check=True)
    assert again.stored_now == 8, "the damaged one counted as stored until it was looked at"
    assert content(store) == content(undisturbed)
    assert [path.stat().st_mtime_ns for path in others] == stamps


# What is wrong with clips


def test_notes_of_several_writers_are_read_as_one(
    some: Dataset, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [write_junk(tmp_path / f"bad-{i}.mp4", i) for i in range(2)]
    paths = (*some.paths[:6], bad[0], *some.paths[6:14], bad[1])
    rows = [(str(path), f"class {i % 2}", "", "") for i, path in enumerate(paths)]
    table = load_data(write_table(tmp_path / "clips.csv", rows))
    done = [share(table, backbone, tmp_path / "store", f"{i}/2") for i in range(2)]
    assert [list(part.unreadable) for part in done] == [[str(bad[0])], [str(bad[1])]]
    store = done[0].store
    assert store is not None and len(store.unreadable()) == 2
    assert len(list(store.folder.glob("unreadable-*.json"))) == 2
    kept = extract(table, backbone, "embedding", tmp_path / "store", workers=0, stored_only=True)
    assert sorted(kept.unreadable) == sorted(map(str, bad)) and len(kept.data) == 14


def write_junk(path: Path, number: int) -> Path:
    path.write_bytes(b"no video" + bytes([number]))
    return path


def test_a_shard_without_a_readable_clip_is_no_error(backbone: Backbone, tmp_path: Path) -> None:
    rows = [(str(write_junk(tmp_path / f"{i}.mp4", i)), f"class {i % 2}", "", "") for i in range(3)]
    done = share(load_data(write_table(tmp_path / "clips.csv", rows)), backbone, tmp_path / "store", "0/1")
    assert len(done.data) == 0 and len(done.unreadable) == 3


# Several writers


HOLD = """
import sys
from pathlib import Path
from kshot.activations import planned
from kshot.activations.store import Store
store = Store(Path(sys.argv[1]), {"cut": 0})
with store.writing() if sys.argv[2] == "plain" else planned.writing(store, sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(root: Path, what: str) -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, "-c", HOLD, str(root), what]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.kill()


def test_writers_of_shards_and_one_without_a_plan_keep_each_other_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planned, "SHORT", 0.1)
    store = Store(tmp_path, KEY)
    with held_elsewhere(tmp_path, "ab-0"):
        with planned.writing(store, "ab-1") as writer:
            assert writer is not None, "another shard"
            writer.add("clip", np.zeros(3, np.float16))
        with planned.writing(store, "ab-0") as writer:
            assert writer is None, "the same one"
        with pytest.raises(StoreError, match="another kshot is writing to"), store.writing():
            pass
    assert "clip" in Store(tmp_path, KEY)
    busy = pytest.raises(StoreError, match="another kshot is writing to")
    with held_elsewhere(tmp_path, "plain"), busy, planned.writing(store, "ab-0"):
        pass
    with planned.writing(store, "ab-0") as writer:
        assert writer is not None, "killed writers hold nothing up"


def test_waits_for_who_writes_the_same_shard_and_finds_it_done(
    some: Dataset, backbone: Backbone, undisturbed: Path, tmp_path: Path
) -> None:
    """The lock of one shard is held while its file appears, as when another process writes it."""
    shutil.copytree(undisturbed, tmp_path / "store")
    folder = next((tmp_path / "store").glob("*/key.json")).parent
    manifest = next(path for path in sorted(folder.glob("shard-*.json")))
    name, text = json.loads(manifest.read_text("utf-8"))["plan"], manifest.read_bytes()
    manifest.unlink()
    waiting = threading.Event()

    def write() -> None:
        with locked(folder, f"plan-{name}.lock"):
            waiting.set()
            done.wait(0.5)
            manifest.write_bytes(text)

    done = threading.Event()
    other = threading.Thread(target=write)
    other.start()
    waiting.wait()
    share(some, backbone, tmp_path / "store", "0/1")
    other.join()
    assert content(tmp_path / "store") == content(undisturbed)


def test_one_that_holds_a_shard_for_ever_is_named(
    some: Dataset, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planned, "LONG", 0.1)
    share(some, backbone, tmp_path, "1/5")
    store = Store(tmp_path, KEY)
    store.folder = next(tmp_path.glob("*/key.json")).parent
    plan = json.loads(next(store.folder.glob("shard-*.json")).read_text("utf-8"))["plan"].rpartition("-")[0]
    lock = f"plan-{plan}-2.lock"
    long = pytest.raises(StoreError, match=f"another kshot has been writing a shard for long.*{lock}")
    with locked(store.folder, lock), long:
        share(some, backbone, tmp_path, "0/1")
    assert len(list(store.folder.glob("shard-*.json"))) == 4, "what others do not hold is written first"


def test_an_error_in_the_middle_leaves_whole_shards(
    some: Dataset, backbone: Backbone, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = planned.ShardWriter.add, []

    def add(self: Any, clip: str, activations: Any) -> None:
        calls.append(clip)
        if len(calls) == 20:
            raise KeyboardInterrupt
        real(self, clip, activations)

    monkeypatch.setattr(planned.ShardWriter, "add", add)
    with pytest.raises(KeyboardInterrupt):
        share(some, backbone, tmp_path, "0/1")
    found = content(tmp_path)
    assert found.items() < content(undisturbed).items() and len(found) == 5, "key.json and two shards"
    assert share(some, backbone, tmp_path, "0/1").stored_now == 24
    assert content(tmp_path) == content(undisturbed)


def test_digests_of_several_processes_are_right_or_not_there(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from kshot.activations.digests import Digests, Hashed\n"
        "known = Digests(Path(sys.argv[1]))\n"
        "[known.add(Hashed(f'/{sys.argv[2]}/{i}' + 'x' * 200, 1, 2, 'ab' * 32)) for i in range(64 * 40)]"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "digests.jsonl")]
    writers = [subprocess.Popen([*command, str(number)]) for number in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    known = CheckedDigests(tmp_path / "digests.jsonl")
    paths = [Path(f"/{number}/{i}" + "x" * 200) for number in range(3) for i in range(64 * 40)]
    assert set(known.of(paths, remembered=True)) == {"ab" * 32}
    assert known.verify().damaged == {}


# The command


def test_bad_input_is_one_line(command: Command, clips_csv: Path, clip_folder: Path, tmp_path: Path) -> None:
    shared = ["extract", clips_csv, "--backbone", clip_folder, "--store", tmp_path / "store"]
    code, _, told = command(*shared, "--shard", "0/113")
    assert (code, told) == (2, "kshot: shard 0/113: there are only 112 clips, expected at most as many shards\n")
    assert not (tmp_path / "store").exists()


def test_a_dry_run_of_a_share_hashes_nothing(some: Dataset, backbone: Backbone, tmp_path: Path) -> None:
    whole = estimate(some, backbone, "embedding", store=tmp_path, workers=0, engine="local")
    half = estimate(some, backbone, "last", store=tmp_path, workers=0, shard="1/2")
    assert not tmp_path.exists() or not list(tmp_path.iterdir())
    assert (whole.clips, whole.shards, whole.clips_a_shard, whole.actors) == (40, 5, 8, 1)
    assert (half.clips, half.shards) == (16, 5)
    assert half.bytes_as_embeddings * 40 == whole.bytes * 16
    many = estimate(some, backbone, "embedding", store=tmp_path, workers=0, engine="ray", actors=4)
    assert many.actors == 4 and many.seconds == pytest.approx(many.machine_seconds / 4, abs=0.1)
    with pytest.raises(OptionError, match="unknown setting 'shards': did you mean 'shard'"):
        estimate(some, backbone, shards="1/2")
