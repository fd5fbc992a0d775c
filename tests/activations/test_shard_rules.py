"""Shards and their manifests, rule by rule: rows bit by bit, what is refused, and in which words."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kshot.activations import shards
from kshot.activations.shards import Manifest, Shard, ShardWriter, fault, name_of, read_manifest
from kshot.errors import StoreError


def written(folder: Path, rows: dict[str, np.ndarray]) -> Path:
    """The manifest of one shard of these clips."""
    writer = ShardWriter(folder)
    for clip, values in rows.items():
        writer.add(clip, values)
    writer.flush()
    (manifest,) = folder.glob("shard-*.json")
    return manifest


def manifest(folder: Path, **about: Any) -> Path:
    """A manifest that says this, under the name that it asks for; None leaves a key out."""
    whole = {"sha256": "f" * 64, "bytes": 5, "clips": ["a", "b"], "chosen": "time"} | about
    text = json.dumps({name: value for name, value in whole.items() if value is not None}).encode()
    path = folder / f"{name_of(text)}.json"
    path.write_bytes(text)
    return path


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (1, 1), ()])
def test_rows_come_back_bit_by_bit_and_as_numpy_reads_them(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    rows = {f"clip-{n}": rng.integers(0, 200, shape).astype(dtype) for n in range(5)}
    path = written(tmp_path, rows).with_suffix(".npy")
    np.testing.assert_array_equal(np.load(path), np.stack(list(rows.values())))
    shard = Shard(path)
    assert (shard.clips, shard.shape, shard.dtype) == (5, shape, np.dtype(dtype))
    for number in (4, 0, 2, 2):
        out = np.empty(shape, dtype)
        assert shard.read(number, out)
        np.testing.assert_array_equal(out, rows[f"clip-{number}"])
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".npy"], "nothing of the writing stays"


def test_rows_that_are_not_in_order_in_memory_are_written_in_order(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6).T
    path = written(tmp_path, {"clip": values}).with_suffix(".npy")
    np.testing.assert_array_equal(np.load(path)[0], values)


def test_a_row_behind_the_end_of_the_file_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, {str(n): np.full(100, n, np.float32) for n in range(3)}).with_suffix(".npy")
    shard, out = Shard(path), np.empty(100, np.float32)
    os.truncate(path, os.path.getsize(path) - 1)
    assert shard.read(1, out) and not shard.read(2, out) and not shard.read(3, out)


@pytest.mark.parametrize("values", [np.zeros(4, np.float16), np.zeros(3, np.float32), np.zeros((3, 1), np.float16)])
def test_a_shard_has_clips_of_one_shape_and_type(tmp_path: Path, values: np.ndarray) -> None:
    writer = ShardWriter(tmp_path)
    writer.add("a", np.ones(3, np.float16))
    with pytest.raises(ValueError, match=r"a clip of \(.*\) float.* among ones of"):
        writer.add("b", values)
    writer.flush()
    (path,) = tmp_path.glob("shard-*.json")
    assert read_manifest(path).clips == ("a",) and fault(path) is None
    writer.add("b", values)
    writer.flush()
    assert len(list(tmp_path.glob("*.npy"))) == 2, "the next shard may have another"


def test_a_shard_is_closed_by_its_size_and_by_its_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(shards.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(shards, "SHARD_BYTES", 40)
    writer = ShardWriter(tmp_path)
    counts = []
    for number, moment in enumerate((0.0, 20.0, 20.001, 30.0, 40.0, 40.002, 41.0, 41.0, 41.0, 41.0)):
        now[0] = moment
        writer.add(str(number), np.full(10, number, np.uint8))
        counts.append(len(list(tmp_path.glob("*.npy"))))
    assert counts == [0, 0, 1, 1, 1, 2, 2, 2, 2, 3], "later than 20 seconds after the last, or at 40 bytes"


def test_what_is_dropped_leaves_nothing_and_an_empty_flush_writes_nothing(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path)
    writer.flush()
    writer.add("a", np.zeros(3, np.uint8))
    writer.close()
    writer.flush()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.zeros((2, 3), order="F"), "its clips do not lie one after the other"),
        (np.zeros(2, ">f4"), "its numbers are >f4"),
        (np.zeros(2, complex), "its numbers are complex128"),
        (np.zeros(2, bool), "its numbers are bool"),
        (np.zeros(2, np.longdouble), "its numbers are "),
        (np.zeros(2, "U1"), "its numbers are <U1"),
    ],
)
def test_an_array_of_another_kind_is_no_shard(tmp_path: Path, values: np.ndarray, told: str) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(ValueError, match=told):
        Shard(tmp_path / "a.npy")


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    for chosen in ("", shards.BY_TIME):
        one = Manifest("ab" * 32, 7, ("x", "y"), chosen)
        path = tmp_path / f"{name_of(one.text())}.json"
        path.write_bytes(one.text())
        assert read_manifest(path) == one and one.by_time == (chosen == "time")
    assert name_of(b"") == "shard-e3b0c44298fc1c14"
    path.write_bytes(one.text() + b" ")
    with pytest.raises(
        ValueError, match=r"^its manifest was altered: the name of a shard is the hash of its manifest$"
    ):
        read_manifest(path)


@pytest.mark.parametrize("value", [[], None, "text", 3])
def test_a_manifest_that_is_no_object_names_nothing(tmp_path: Path, value: object) -> None:
    text = json.dumps(value).encode()
    path = tmp_path / f"{name_of(text)}.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match="it does not name its clips, bytes and sha256"):
        read_manifest(path)


@pytest.mark.parametrize(
    "about",
    [
        {"clips": None}, {"clips": "ab"}, {"clips": ["a", 3]}, {"clips": ["a", "a"]}, {"bytes": None}, {"bytes": 5.0},
        {"bytes": True}, {"bytes": "5"}, {"sha256": None}, {"sha256": 5},
    ],
)  # fmt: skip
def test_a_manifest_names_its_clips_bytes_and_sha256(tmp_path: Path, about: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="it does not name its clips, bytes and sha256"):
        read_manifest(manifest(tmp_path, **about))
    assert read_manifest(manifest(tmp_path)).clips == ("a", "b")
    assert read_manifest(manifest(tmp_path, clips=[])).clips == ()


@pytest.mark.parametrize("chosen", [None, "", "number", "Time", 1])
def test_any_other_word_on_the_choice_is_by_number(tmp_path: Path, chosen: object) -> None:
    assert not read_manifest(manifest(tmp_path, chosen=chosen)).by_time
    assert read_manifest(manifest(tmp_path)).by_time


def test_a_fault_says_what_is_wrong_with_the_data(tmp_path: Path) -> None:
    path = written(tmp_path, {"a": np.zeros(8, np.uint8)})
    data = path.with_suffix(".npy")
    whole = data.read_bytes()
    assert fault(path) is None
    data.write_bytes(whole[:-1])
    assert fault(path) == f"has {len(whole) - 1} bytes, its manifest says {len(whole)}"
    data.write_bytes(whole[:-1] + b"\1")
    assert fault(path) == "its sha256 differs from its manifest"
    data.unlink()
    assert fault(path) == f"no such file: {data}"
    with pytest.raises(StoreError, match=r"is of format 2, this kshot reads format 1: update kshot"):
        fault(manifest(tmp_path, format=2))
