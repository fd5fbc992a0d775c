"""Work in a thread of its own: in order, bounded, with its errors, and finished whatever happens."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from kshot.activations import digests as digests_module
from kshot.activations import encoding, extraction
from kshot.activations.behind import WAITING, Behind
from kshot.activations.estimation import estimate
from kshot.activations.extraction import extract
from kshot.activations.shards import ShardWriter
from kshot.backbones.backbone import Backbone
from kshot.datasets import Dataset, build
from kshot.datasets import load as load_data
from kshot.errors import OptionError, StoreError


def test_things_come_in_order_and_few_wait() -> None:
    gate, begun, done = threading.Semaphore(0), threading.Event(), []

    def work(number: int) -> None:
        begun.set()
        gate.acquire()
        done.append(number)

    with Behind(work) as behind:
        behind.put(0)
        assert begun.wait(60)
        for number in range(1, WAITING + 1):
            behind.put(number)
        late = threading.Thread(target=behind.put, args=(WAITING + 1,))
        late.start()
        late.join(0.2)
        assert late.is_alive() and done == [], "no room, so it waits"
        for _ in range(WAITING + 2):
            gate.release()
        late.join(60)
    assert done == list(range(WAITING + 2))
    assert behind.waited > 0


def test_an_error_of_the_work_arrives_and_nothing_more_is_done() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 1:
            raise StoreError("the disk is full")
        done.append(number)

    with pytest.raises(StoreError, match="the disk is full"), Behind(work) as behind:
        for number in range(100):
            behind.put(number)
    assert done == [0]
    with pytest.raises(StoreError), Behind(work) as behind:
        behind.put(1)  # the last one: it is told when the block is left
    with pytest.raises(ValueError, match="first"), Behind(work) as behind:
        behind.put(1)
        raise ValueError("first")


def test_what_was_given_is_finished_before_an_interruption_goes_on() -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt), Behind(done.append) as behind:
        behind.put(1)
        behind.put(2)
        raise KeyboardInterrupt
    assert done == [1, 2]


@pytest.fixture(scope="module")
def few(clips_csv: Path) -> Dataset:
    data = load_data(clips_csv).select("val")
    return data.subset(np.concatenate([np.flatnonzero(data.labels == c)[:2] for c in range(4)]))


def test_shards_are_those_of_encoding_and_writing_in_turn(
    few: Dataset, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "FRAMES_PER_BATCH", 16)
    done = extract(few, backbone, store=tmp_path / "both", workers=0)
    assert done.store is not None and set(done.waits) == {"frames", "writer"}
    frames = extract(few, backbone, "frames", store=tmp_path / "frames", workers=0).gather(range(8))
    folder = tmp_path / "turn"
    folder.mkdir()
    writer = ShardWriter(folder)
    for start in range(0, 8, 2):
        values = encoding.encode(backbone, backbone.depth, frames[start : start + 2], "float16")
        for digest, value in zip(done.digests[start : start + 2], values, strict=True):
            writer.add(digest, value)
    writer.flush()
    (one,), (other,) = (list(place.glob("shard-*.npy")) for place in (done.store.folder, folder))
    assert one.name == other.name and one.read_bytes() == other.read_bytes()


def test_writing_goes_on_while_the_next_clips_are_encoded(
    few: Dataset, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer gives up its first clip only once the second batch was encoded."""
    monkeypatch.setattr(extraction, "FRAMES_PER_BATCH", 8)
    encoded, real, add = threading.Event(), encoding.launch, ShardWriter.add
    count: list[int] = []

    def launch(*arguments: object) -> object:
        count.append(1)
        if len(count) == 2:
            encoded.set()
        return real(*arguments)  # type: ignore[arg-type]

    def slow(self: ShardWriter, clip: str, values: np.ndarray) -> None:
        assert encoded.wait(120), "the encoder waits for the writer"
        add(self, clip, values)

    monkeypatch.setattr(extraction, "launch", launch)
    monkeypatch.setattr(ShardWriter, "add", slow)
    assert extract(few, backbone, store=tmp_path, workers=0).stored_now == 8


def test_a_full_disk_is_told_in_one_line_and_what_was_written_stays(
    few: Dataset, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "FRAMES_PER_BATCH", 8)
    add, added = ShardWriter.add, []

    def full(self: ShardWriter, clip: str, values: np.ndarray) -> None:
        if len(added) == 3:
            raise StoreError("cannot write to STORE: no space left")
        add(self, clip, values)
        added.append(clip)

    monkeypatch.setattr(ShardWriter, "add", full)
    with pytest.raises(StoreError, match="no space left"):
        extract(few, backbone, store=tmp_path, workers=0)
    monkeypatch.undo()
    assert extract(few, backbone, store=tmp_path, workers=0).stored_now == 5


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The clips that were hashed."""
    found: list[Path] = []
    real = digests_module.digest
    monkeypatch.setattr(digests_module, "digest", lambda clip: (found.append(clip), real(clip))[1])
    return found


def test_by_stat_clips_are_read_when_they_are_decoded_and_the_store_is_the_same(
    few: Dataset, backbone: Backbone, tmp_path: Path, reads: list[Path]
) -> None:
    for clip in few.paths[:4]:
        (shutil.copytree if clip.is_dir() else shutil.copy)(clip, tmp_path / clip.name)
    paths = [tmp_path / clip.name for clip in few.paths[:4]]
    (shutil.copytree if paths[0].is_dir() else shutil.copy)(paths[0], tmp_path / "copy")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    paths += [tmp_path / "copy", tmp_path / "broken.mp4"]
    data = build("toy", paths, ["a", "b"] * 3, [""] * 6, [""] * 6)
    by_content = extract(data, backbone, store=tmp_path / "content", workers=0)
    planned = estimate(data, backbone, store=tmp_path / "stat", identity="stat")
    reads.clear()
    assert estimate(data, backbone, store=tmp_path / "stat", identity="stat").stored == planned.stored == 0
    assert reads == []
    by_stat = extract(data, backbone, store=tmp_path / "stat", workers=0, identity="stat")
    assert sorted(reads) == sorted(paths), "each once"
    assert by_stat.digests == by_content.digests and by_stat.unreadable == by_content.unreadable
    assert (by_stat.stored_now, by_content.stored_now) == (4, 4)
    np.testing.assert_array_equal(by_stat.gather(range(5)), by_content.gather(range(5)))
    reads.clear()
    again = extract(data, backbone, store=tmp_path / "stat", workers=0, identity="stat")
    assert again.stored_now == 0 and reads == []
    assert extract(data, backbone, "frames", tmp_path / "stat", workers=0, identity="stat").stored_now == 4
    assert reads == [], "known by size and time of change"
    os.utime(tmp_path / "broken.mp4", ns=(1, 1))
    extract(data, backbone, store=tmp_path / "stat", workers=0, identity="stat")
    assert reads == [tmp_path / "broken.mp4"]


def test_an_unknown_identity_is_refused(few: Dataset, backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="unknown identity 'size'"):
        extract(few, backbone, store=tmp_path, identity="size")
