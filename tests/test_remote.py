"""Clips at addresses: fetched into a bounded cache, known by what the store says of them, else one line."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import write_table
from forks import Command
from kshot import addresses, remote
from kshot.activations import digests
from kshot.activations.extraction import extract
from kshot.backbones.backbone import Backbone
from kshot.datasets import load as load_data
from kshot.errors import DataError, OptionError, StoreError, VideoError

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A store in this process's memory, and a home of its own."""
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path / "home"))
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://bucket/a.mp4", "s3://bucket/a.mp4"), (Path("s3://bucket/a b/c.mp4"), "s3://bucket/a b/c.mp4"),
        (Path("gs://bucket/x"), "gs://bucket/x"), ("/local/a.mp4", None), ("a.mp4", None), ("C:/clips/a.mp4", None),
        ("motion:16", None), ("file:///tmp/a.mp4", None), ("clips:new/a.mp4", None),
    ],
)  # fmt: skip
def test_what_is_an_address(path: str | Path, expected: str | None) -> None:
    assert addresses.of(path) == expected
    assert addresses.name(path) == (expected or os.path.abspath(path))


def in_use() -> list[Path]:
    return list((remote.home() / "objects" / "in-use").iterdir())


def cached() -> list[Path]:
    return [path for path in (remote.home() / "objects").iterdir() if path.is_file()]


def test_an_object_is_fetched_once_and_again_when_it_changed(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe("/b/a.mp4", b"one")
    with remote.local("memory://b/a.mp4") as path:
        assert path.read_bytes() == b"one" and path.suffix == ".mp4"
    real = type(memory).get_file
    monkeypatch.setattr(type(memory), "get_file", lambda *_: pytest.fail("fetched again"))
    with remote.local("memory://b/a.mp4") as path:
        assert path.read_bytes() == b"one"
    monkeypatch.setattr(type(memory), "get_file", real)
    memory.pipe("/b/a.mp4", b"other")
    with remote.local("memory://b/a.mp4") as path:
        assert path.read_bytes() == b"other"
    assert in_use() == [] and len(cached()) == 2


def test_the_cache_is_bounded_and_what_is_in_use_stays(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSHOT_CACHE_BYTES", "250")
    for i in range(4):
        memory.pipe(f"/b/{i}", bytes([i]) * 100)
    with remote.local("memory://b/0") as first:
        for i in (1, 2, 1, 3):
            with remote.local(f"memory://b/{i}"):
                time.sleep(0.01)  # times of use differ
            assert sum(path.stat().st_size for path in cached()) <= 250
        assert first.read_bytes() == bytes(100)
    assert {path.read_bytes()[0] for path in cached()} == {1, 3}, "0 and 2 were used longest ago"
    memory.pipe("/b/large", bytes(300))
    told = pytest.raises(StoreError, match="300 bytes, the cache of objects may have 250: set KSHOT_CACHE_BYTES higher")
    with told, remote.local("memory://b/large"):
        pass
    monkeypatch.setenv("KSHOT_CACHE_BYTES", "10 GB")
    with pytest.raises(OptionError, match="KSHOT_CACHE_BYTES is a number of bytes"):
        remote.bound()


def test_a_full_disk_and_an_object_that_is_cut_off(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe("/b/a.mp4", b"whole")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(memory), "get_file", full)
    told = pytest.raises(StoreError, match=r"cannot write to .*objects: No space left on device")
    with told, remote.local("memory://b/a.mp4"):
        pass
    monkeypatch.setattr(type(memory), "get_file", lambda self, key, target: Path(target).write_bytes(b"who"))
    told = pytest.raises(DataError, match=r"memory://b/a.mp4 was cut off: 3 of 5 bytes came")
    with told, remote.local("memory://b/a.mp4"):
        pass
    assert cached() == [] and in_use() == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("nobody\nthere"), "memory://b/a.mp4 does not answer: nobody"),
        (PermissionError("Forbidden"), "memory://b/a.mp4 may not be read: Forbidden"),
        (RuntimeError("Unable to locate credentials"), "memory://b/a.mp4 wants credentials: Unable to locate"),
        (ImportError("Install s3fs to access S3"), "Install s3fs to access S3 .pip install 'kshot.cloud.'"),
    ],
)
def test_what_a_store_says_is_one_line(
    memory: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(type(memory), "info", fail)
    with pytest.raises(DataError, match=said) as told:
        remote.expect(["memory://b/a.mp4"])
    assert "\n" not in str(told.value)


def test_addresses_of_no_kind(command: Command) -> None:
    code, _, told = command("extract", "nothing://b/clips.csv")
    assert code == 2 and told.count("\n") == 1 and "nothing://b/clips.csv is no address that can be opened" in told
    code, _, told = command("extract", "memory://b/clips")
    assert code == 2 and "of an object store a .csv is read" in told


def test_extracts_from_a_table_of_addresses(
    memory: Any, clips_csv: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clip has the digest of its bytes, so that what was stored of the same file elsewhere counts."""
    some = load_data(clips_csv).subset(np.arange(1, 8))
    for path in some.paths:
        memory.pipe(f"/b/{path.name}", path.read_bytes())
    memory.pipe("/b/bad.mp4", b"no video")
    rows = [(f"memory://b/{path.name}", "a", "", "") for path in some.paths] + [("memory://b/bad.mp4", "b", "", "")]
    memory.pipe("/b/clips.csv", write_table(tmp_path / "clips.csv", rows).read_bytes())
    store = tmp_path / "store"
    first = extract("memory://b/clips.csv", backbone, "embedding", store, workers=1)
    assert first.stored_now == 7 and list(first.unreadable) == ["memory:/b/bad.mp4"]
    assert first.unreadable["memory:/b/bad.mp4"].startswith("memory://b/bad.mp4")
    here = extract(some, backbone, "embedding", store, workers=0)
    assert here.stored_now == 0, "the same bytes"
    monkeypatch.setattr(digests, "digest", lambda clip: pytest.fail("hashed again"))
    again = extract("memory://b/clips.csv", backbone, "embedding", store, workers=0)
    assert again.stored_now == 0 and in_use() == []
    np.testing.assert_array_equal(again.gather(range(7)), first.gather(range(7)))


def test_an_object_that_is_gone_is_an_unreadable_clip(memory: Any, clips_csv: Path, tmp_path: Path) -> None:
    clip = load_data(clips_csv).paths[1]
    memory.pipe("/b/a.mp4", clip.read_bytes())
    table = write_table(tmp_path / "clips.csv", [("memory://b/a.mp4", "a", "", ""), ("memory://b/b.mp4", "b", "", "")])
    data = load_data(table)
    assert digests.Digests(tmp_path / "digests.jsonl").of(data.paths)[1] == ""
    with pytest.raises(VideoError, match=r"memory://b/b.mp4: no such object"), remote.local(data.paths[1]):
        pass


# S3


def test_extracts_from_s3(
    bucket: str, clips_csv: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path / "home"))
    system = fsspec.filesystem("s3")
    some = load_data(clips_csv).subset(np.arange(1, 8))
    for path in some.paths:
        system.pipe(f"{bucket}/{path.name}", path.read_bytes())
    rows = [(f"s3://{bucket}/{path.name}", f"class {i % 2}", "", "") for i, path in enumerate(some.paths)]
    table = write_table(tmp_path / "clips.csv", rows)
    done = [extract(table, backbone, "embedding", tmp_path / "store", workers=1, shard=f"{i}/1") for i in range(1)]
    assert done[0].stored_now == 7 and done[0].unreadable == {}
    before = remote.size_and_version(rows[0][0].replace("s3:/c", "s3://c"))
    system.pipe(f"{bucket}/{some.paths[0].name}", some.paths[1].read_bytes())
    system.invalidate_cache()
    assert remote.size_and_version(f"s3://{bucket}/{some.paths[0].name}") != before


def test_an_s3_that_does_not_answer_is_one_line(
    bucket: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    table = write_table(tmp_path / "clips.csv", [(f"s3://{bucket}/none.mp4", "a", "", "")])
    assert command("extract", table) == (2, "", f"kshot: no such object: s3://{bucket}/none.mp4\n")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    code, _, told = command("extract", table)
    assert code == 2 and told.count("\n") == 1 and f"s3://{bucket}/none.mp4 does not answer" in told
    s3fs.S3FileSystem.clear_instance_cache()
