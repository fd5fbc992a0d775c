"""Stores at addresses: what one machine has put there every other reads, and two that write lose nothing."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import write_table
from forks import Command
from kshot import remote
from kshot.activations import actors, digests, mirror, planned
from kshot.activations.check import verify
from kshot.activations.extraction import extract
from kshot.activations.recipe import Recipe
from kshot.activations.removal import known_digests, remove_from_store
from kshot.activations.shard_list import Folder
from kshot.activations.store import Store, holders, located
from kshot.backbones.backbone import Backbone
from kshot.datasets import Dataset
from kshot.datasets import load as load_data
from kshot.errors import DataError, StoreError
from kshot.video.damage import Damage

fsspec = pytest.importorskip("fsspec")

PLACE = "memory://b/store"
KEY = {"cut": 3, "backbone": "b", "frames": 2}


@pytest.fixture
def memory() -> Iterator[Any]:
    """An object store in this process's memory."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


@pytest.fixture
def machine(memory: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Makes this process work as on another machine: with a home of its own, and the same object store."""

    def work(name: str) -> None:
        monkeypatch.setenv("KSHOT_HOME", str(tmp_path / "home" / name))

    work("a")
    return work


@pytest.fixture(scope="module")
def some(clips_csv: Path) -> Dataset:
    """Twenty-four clips, three shards of eight."""
    return load_data(clips_csv).subset(np.arange(24))


def taken(data: Dataset, backbone: Backbone, **options: Any) -> Any:
    return extract(data, backbone, "embedding", PLACE, workers=0, **options)


def objects(memory: Any) -> dict[str, str]:
    """Name below the store -> sha256 of every object."""
    return {
        name.removeprefix("/b/store/"): hashlib.sha256(memory.cat_file(name)).hexdigest() for name in memory.find("/b")
    }


def shards(names: Any) -> dict[str, str]:
    return {name: value for name, value in names.items() if "/shard-" in name}


def activation(number: int) -> np.ndarray:
    """(2, 3, 4) float16, another for each number."""
    return (number + np.arange(24).reshape(2, 3, 4) / 32).astype(np.float16)


def fill(place: str | Path, *sessions: range) -> Store:
    """A store with one shard for each session."""
    store = Store(place, KEY, made_with="tiny")
    for session in sessions:
        with store.writing() as writer:
            for number in session:
                writer.add(f"clip-{number}", activation(number))
    return store


def read(store: Store, *numbers: int) -> None:
    values = store.gather([f"clip-{number}" for number in numbers])
    np.testing.assert_array_equal(values, np.stack([activation(number) for number in numbers]))


def cached() -> list[Path]:
    return [path for path in (remote.home() / "objects").iterdir() if path.is_file()]


# The same bytes, whoever writes


def test_shards_at_an_address_are_those_of_a_folder(
    some: Dataset, backbone: Backbone, memory: Any, machine: Callable[[str], None], tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    here = extract(some, backbone, "embedding", folder, workers=0, engine="local")
    for number in (1, 0):
        machine(f"share {number}")
        assert taken(some, backbone, shard=f"{number}/2").stored_now == (8, 16)[number == 0]
    key = folder.joinpath(here.store.folder.name)
    wanted = {
        f"{key.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in key.iterdir()
        if path.name.startswith(("shard-", "key"))
    }
    found = objects(memory)
    assert {name: value for name, value in found.items() if name.startswith(key.name)} == wanted
    assert all(name.startswith("digests-") for name in found.keys() - wanted.keys()), "no lock, nothing half-written"
    machine("reader")
    there = taken(some, backbone)
    assert there.stored_now == 0 and objects(memory) == found
    np.testing.assert_array_equal(there.gather(range(24)), here.gather(range(24)))
    assert there.report()["store"] == f"{PLACE}/{key.name}" and holders(PLACE) == [backbone.name]


def test_two_machines_that_write_one_shard_write_the_same(memory: Any, machine: Callable[[str], None]) -> None:
    """Neither sees the other's lock, and neither knows before it is done."""
    one = Store(PLACE, KEY)
    machine("b")
    other = Store(PLACE, KEY)
    puts = []
    real = remote.put
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "put", lambda file, place: (puts.append(place), real(file, place)))
        with (
            planned.writing(one, "0123456789abcdef-0") as first,
            planned.writing(other, "0123456789abcdef-0") as second,
        ):
            assert first is not None and second is not None
            for number in range(3):
                first.add(f"clip-{number}", activation(number))
                second.add(f"clip-{number}", activation(number))
    assert len(puts) == 6 and len(set(puts)) == 3, "key, data and manifest, each put twice"
    for store in (one, other):
        store.refresh()
        assert len(store) == 3
        read(store, 2, 0)


def test_two_machines_that_write_without_a_plan_lose_nothing(memory: Any, machine: Callable[[str], None]) -> None:
    one = Store(PLACE, KEY)
    machine("b")
    other = Store(PLACE, KEY)
    with one.writing() as first, other.writing() as second:
        for number in range(4):
            first.add(f"clip-{number}", activation(number))
            second.add(f"clip-{number + 2}", activation(number + 2))
        one.note_unreadable({"bad-1": "no video"})
        other.note_unreadable({"bad-2": "no picture"})
        other.note_losses({"clip-5": Damage(0.95, "cut off")})
    machine("c")
    third = Store(PLACE, KEY)
    assert len(third) == 6
    read(third, *range(6))
    assert third.unreadable() == {"bad-1": "no video", "bad-2": "no picture"} and list(third.losses()) == ["clip-5"]


def test_a_shard_that_another_has_completed_meanwhile_is_seen(
    memory: Any, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a look that is not older than half a minute on another machine; at once, and as whole, on the same one."""
    one, beside = Store(PLACE, KEY), Store(PLACE, KEY)
    machine("b")
    other = Store(PLACE, KEY)
    machine("a")
    name = "0123456789abcdef-0"
    with planned.writing(one, name) as writer:
        assert writer is not None
        writer.add("clip-0", activation(0))
    assert beside.planned(name) == one.planned(name) is not None and beside.damaged() == {}
    assert other.planned(name) is None
    monkeypatch.setattr("kshot.activations.store.LATELY", 0.0)
    assert other.planned(name) is not None and other.damaged() == {}


def test_a_shard_that_comes_while_the_address_is_listed_stays(
    memory: Any, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of one process does not know it, and another process of this machine reads it."""
    real = remote.listed

    def late(place: str) -> Any:
        found = real(place)
        monkeypatch.setattr(remote, "listed", real)
        fill(PLACE, range(2))
        return found

    monkeypatch.setattr(remote, "listed", late)
    store = Store(PLACE, KEY)
    assert len(store) == 2
    read(store, 1)


def test_on_one_machine_a_second_writer_is_one_line(memory: Any, machine: Callable[[str], None]) -> None:
    busy = pytest.raises(StoreError, match=f"another kshot is writing to {PLACE}/[0-9a-f]+; wait for it to end")
    with Store(PLACE, KEY).writing(), busy, Store(PLACE, KEY).writing():
        pass


# Kills


def test_notes_are_put_before_the_shard_and_its_manifest_last(
    memory: Any, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no clip is ever there without what is lost of it, and no manifest without its data."""
    puts, real = [], remote.put
    monkeypatch.setattr(remote, "put", lambda file, place: (puts.append(place.rpartition("/")[2]), real(file, place)))
    store = Store(PLACE, KEY)
    with store.writing() as writer:
        for number in range(2):
            store.note_losses({f"clip-{number}": Damage(0.95, "cut off")})
            writer.add(f"clip-{number}", activation(number))
            writer.flush()
        store.note_unreadable({"bad": "no video"})
    kinds = [re.sub("-[0-9a-f]{16}", "", name) for name in puts]
    assert kinds == ["key.json", *["damaged.json", "shard.npy", "shard.json"] * 2, "unreadable.json"]
    assert sorted(Store(PLACE, KEY).losses()) == ["clip-0", "clip-1"]


def test_what_was_put_before_a_kill_is_not_encoded_again(
    some: Dataset, backbone: Backbone, memory: Any, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between a shard's data and its manifest: that shard does not count, those before it do."""
    real = remote.put

    def until_the_second(file: Path, place: str) -> None:
        if place.endswith(".json") and "/shard-" in place and len(shards(objects(memory))) == 3:
            raise KeyboardInterrupt
        real(file, place)

    monkeypatch.setattr(remote, "put", until_the_second)
    with pytest.raises(KeyboardInterrupt):
        taken(some, backbone, engine="local")
    before = shards(objects(memory))
    assert [name.rpartition(".")[2] for name in sorted(before)].count("json") == 1 and len(before) == 3
    monkeypatch.setattr(remote, "put", real)
    machine("b")
    done = taken(some, backbone, engine="local")
    assert done.stored_now == 16 and before.items() <= objects(memory).items()
    assert len(shards(objects(memory))) == 6


def test_a_kill_loses_no_digest(
    some: Dataset, backbone: Backbone, memory: Any, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that one machine wrote down and had not told yet reach the others with its next extraction."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mirror.Mirror, "tell_digests", lambda self: None)
        taken(some, backbone)
    machine("b")
    with pytest.raises(StoreError, match=f"store {PLACE} lacks 24 of 24 clips.*it holds activations of: /"):
        taken(some, backbone, stored_only=True)
    machine("a")
    assert taken(some, backbone).stored_now == 0
    machine("b")
    monkeypatch.setattr(digests, "digest", lambda clip: pytest.fail("hashed again"))
    assert len(taken(some, backbone, stored_only=True).data) == 24
    assert taken(some, backbone).stored_now == 0, "nor are clips hashed that another machine has hashed"


# The cache


def test_shards_come_into_the_bounded_cache_and_stay_readable(
    memory: Any, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(PLACE, *(range(4 * n, 4 * n + 4) for n in range(4)))
    size = max(memory.size(name) for name in memory.find("/b") if name.endswith(".npy"))
    assert len(cached()) == 4, "what was put is not fetched again"
    machine("b")
    monkeypatch.setenv("KSHOT_CACHE_BYTES", str(2 * size + size // 2))
    store = Store(PLACE, KEY)
    assert store.base.open_shards == 1
    read(store, 0, 4, 8, 12, 1, 5)
    assert len(cached()) == 2 and list((remote.home() / "objects" / "in-use").iterdir()) == []
    for path in cached():  # evicted while a shard is open
        path.unlink()
    monkeypatch.setattr(remote, "_fetch", lambda *_: pytest.fail("fetched again"))
    read(store, 6, 7)


def test_a_shard_that_is_larger_than_the_cache_is_one_line(
    memory: Any, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(PLACE, range(4))
    machine("b")
    monkeypatch.setenv("KSHOT_CACHE_BYTES", "100")
    told = pytest.raises(
        StoreError, match=r"shard-\w+.npy has \d+ bytes, the cache of objects may have 100: set KSHOT_"
    )
    with told:
        read(Store(PLACE, KEY), 0)


# What an address can say


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError("Forbidden"), "key.json may not be written: Forbidden: are the right credentials set?"),
        (ConnectionError("nobody\nthere"), "key.json does not answer: nobody"),
        (FileNotFoundError("The specified bucket does not exist"), "no such bucket: memory://b: make it first"),
    ],
)
def test_an_address_that_takes_nothing_is_one_line_before_a_clip_is_decoded(
    some: Dataset, backbone: Backbone, memory: Any, machine: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str,
) -> None:  # fmt: skip
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(type(memory), "put_file", fail)
    monkeypatch.setattr(Recipe, "job", lambda *_: pytest.fail("decoded"))
    for options in ({}, {"engine": "local"}):
        with pytest.raises(DataError, match=said) as told:
            taken(some, backbone, **options)
        assert "\n" not in str(told.value) and objects(memory) == {}


def test_an_address_that_cannot_be_read_is_one_line(
    memory: Any, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, command: Command, clips_csv: Path
) -> None:
    code, _, told = command("extract", clips_csv, "--store", "nothing://b/store", "--cut", "embedding")
    assert (
        code == 2 and told.count("\n") == 1 and "nothing://b/store" in told and "no address that can be opened" in told
    )
    fill(PLACE, range(2))
    machine("b")
    store = Store(PLACE, KEY)

    def silent(*_: Any, **__: Any) -> None:
        raise ConnectionError("timed out")

    monkeypatch.setattr(type(memory), "get_file", silent)
    with pytest.raises(StoreError, match=r"shard-\w+.npy does not answer: timed out"):
        read(store, 0)
    monkeypatch.setattr(type(memory), "ls", silent)
    with pytest.raises(DataError, match=f"{PLACE}/[0-9a-f]+ does not answer: timed out"):
        Store(PLACE, KEY)


def test_a_package_that_is_not_installed_is_one_line(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(place: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", lacking)
    with pytest.raises(DataError, match=r"s3://b/store/\w+: Install s3fs to access S3 \(pip install 'kshot\[cloud\]'"):
        Store("s3://b/store", KEY)


def test_whoever_may_only_read_reads(
    some: Dataset, backbone: Backbone, memory: Any, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their own paths are new to the store: they are hashed, and nobody is told."""
    taken(some, backbone)
    before = objects(memory)
    machine("b")

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError("Forbidden")

    monkeypatch.setattr(type(memory), "put_file", refused)
    folder = Path(shutil.copytree(some.paths[0].parent, remote.home() / "clips"))
    assert taken(load_data(folder / "clips.csv").subset(np.arange(24)), backbone).stored_now == 0
    assert objects(memory) == before


# What is there, and what is not


def test_what_is_gone_at_the_address_is_gone_here(memory: Any, machine: Callable[[str], None]) -> None:
    """As after it was replaced by a copy from which somebody was forgotten."""
    store = fill(PLACE, range(2), range(2, 4))
    paths = [store.folder / f"{name}.json" for name in store._found.names]
    lost = next(path for path in paths if "clip-3" in path.read_text("utf-8"))
    machine("b")
    reader = Store(PLACE, KEY)
    for suffix in (".json", ".npy"):
        memory.rm(f"/b/store/{store.folder.name}/{lost.stem}{suffix}")
    with pytest.raises(StoreError, match=rf"{lost.stem}.npy is damaged \(it is gone\); run `kshot extract` again"):
        read(reader, 3)
    for path in (reader.folder / lost.name, lost):
        os.utime(path, (0, 0))  # not of this second
    reader.refresh()
    assert len(reader) == 2 and "clip-3" not in reader
    machine("a")
    assert len(Store(PLACE, KEY)) == 2


def test_digests_that_are_gone_at_the_address_are_gone_here(memory: Any, machine: Callable[[str], None]) -> None:
    for number in range(2):
        known = located(PLACE).digests()
        known.add(digests.Hashed(f"/clips/{number}.mp4", 5, 5, f"{number + 1}" * 64))
        known.flush()
        located(PLACE).tell_digests()
    assert len(objects(memory)) == 2
    clips = [Path(f"/clips/{number}.mp4") for number in range(2)]
    machine("b")
    assert list(located(PLACE).digests().of(clips, remembered=True)) == ["1" * 64, "2" * 64]
    lost = next(name for name in memory.find("/b") if b"/clips/1.mp4" in memory.cat_file(name))
    memory.rm(lost)
    here = located(PLACE).path
    for path in here.glob("digests-*.jsonl"):
        os.utime(path, (0, 0))
    assert list(located(PLACE).digests().of(clips, remembered=True)) == ["1" * 64, ""]
    assert "/clips/1.mp4" not in (here / "digests.jsonl").read_text("utf-8")


def test_an_object_that_is_not_whole_does_not_count(memory: Any, machine: Callable[[str], None]) -> None:
    """Object stores show an object once all of it has come; whatever else fsspec reaches may not."""
    store = fill(PLACE, range(2), range(2, 4))
    name = f"/b/store/{store.folder.name}/{store._found.names[0]}.json"
    whole = memory.cat_file(name)
    memory.pipe(name, whole[:20])
    machine("b")
    reader = Store(PLACE, KEY)
    assert len(reader) == 2
    assert verify(PLACE).damaged == {f"memory:/{name}": "is not what its name says"}
    memory.pipe(name, whole)
    reader.refresh()
    assert len(reader) == 4


def test_damage_is_found_and_healed(
    some: Dataset, backbone: Backbone, memory: Any, machine: Callable[[str], None]
) -> None:
    """What is cut off is seen by its size, without fetching; what is altered by `verify`."""
    taken(some, backbone, engine="local")
    before = objects(memory)
    data = sorted(name for name in memory.find("/b") if name.endswith(".npy"))
    whole = [memory.cat_file(name) for name in data]
    memory.pipe(data[0], whole[0][:-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "_fetch", lambda *_: pytest.fail("fetched"))
        assert len(taken(some, backbone, engine="local", check=True).data) == 24 and objects(memory) == before
    machine("b")
    memory.pipe(data[1], whole[1][:-1] + b"x")
    assert verify(PLACE).damaged == {f"memory:/{data[1]}": "its sha256 differs from its manifest"}
    healed = verify(PLACE, heal=True)
    assert healed.healed and healed.store == PLACE and len(shards(objects(memory))) == 4
    assert taken(some, backbone, engine="local").stored_now == 8 and objects(memory) == before
    assert verify(PLACE).damaged == {}
    with pytest.raises(DataError, match="memory://b/none is not a kshot store"):
        verify("memory://b/none")


# Copies


def test_a_store_that_was_copied_up_is_read_as_it_is(
    some: Dataset, backbone: Backbone, memory: Any, machine: Callable[[str], None], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    rows = [(str(path), "a", "", "") for path in some.paths[1:9]]
    data = load_data(write_table(tmp_path / "clips.csv", [*rows, (str(bad), "b", "", "")]))
    here = extract(data, backbone, "embedding", tmp_path / "store", workers=0)
    memory.put(str(tmp_path / "store"), "/b/", recursive=True)
    machine("b")
    there = taken(data, backbone, stored_only=True)
    assert list(there.unreadable) == [str(bad)] and there.stored_now == 0
    np.testing.assert_array_equal(there.gather(range(8)), here.gather(range(8)))


def test_a_store_that_was_copied_down_is_a_folder_from_which_clips_can_be_removed(
    some: Dataset, backbone: Backbone, memory: Any, machine: Callable[[str], None], tmp_path: Path
) -> None:
    taken(some, backbone, engine="local")
    there = Store(PLACE, taken(some, backbone).store.key)
    with there.writing():
        there.note_unreadable({"0" * 64: "no video", "1" * 64: "no picture"})
    folder = tmp_path / "store"
    memory.get("/b/store/", f"{folder}/", recursive=True)
    assert not (folder / "digests.jsonl").exists()
    clip = str(some.paths[3].absolute())
    (digest,) = known_digests(folder, [clip])
    removed = remove_from_store(folder, {digest, "1" * 64}, [clip])
    assert (removed.clips, removed.shards, removed.notes, removed.paths) == (1, 1, 1, 1)
    texts = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert not any(mark in text for text in texts for mark in (digest.encode(), b"1" * 64, clip.encode()))
    kept = extract(some.subset(np.delete(np.arange(24), 3)), backbone, "embedding", folder, stored_only=True)
    assert len(kept.data) == 23 and kept.store.unreadable() == {"0" * 64: "no video"}


def test_forgetting_at_an_address_is_refused(command: Command, clips_csv: Path) -> None:
    for arguments in (("--store", "s3://b/store"), ("s3://b/store",)):
        code, out, told = command("forget", clips_csv, "--subject", "group-1", *arguments)
        assert (code, out, told.count("\n")) == (2, "", 1)
        assert "s3://b/store is an address" in told and "copy the store into a folder" in told


def test_what_is_not_an_address_is_a_folder(tmp_path: Path) -> None:
    assert type(located(None)) is type(located(tmp_path)) is type(located(str(tmp_path))) is Folder
    assert located(None).path == remote.home() / "store"
    at = located(Path("s3://bucket/a b/"))
    assert isinstance(at, mirror.Mirror) and at.name == "s3://bucket/a b" and located(at) is at
    assert at.path.parent == remote.home() / "stores"
    assert actors._absolute("s3://bucket/store") == actors._absolute(Path("s3://bucket/store")) == "s3://bucket/store"
