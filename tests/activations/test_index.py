"""Indices of stores and digests: caches that hide a clip at worst, and never give another's."""

from __future__ import annotations

import hashlib
import mmap
import os
import random
from pathlib import Path

import numpy as np
import pytest

from kshot.activations import index
from kshot.activations.check import CheckedDigests, verify
from kshot.activations.digests import Digests
from kshot.activations.index import DigestList, Index, mark, marks, pick, values
from kshot.activations.store import Store
from kshot.compact import BLOCK
from kshot.system import used_memory

KEY = {"cut": 3}


def name(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def row(number: int) -> np.ndarray:
    return np.full((1, 2), number, np.float16)


def filled(root: Path, *sessions: range) -> Store:
    store = Store(root, KEY)
    for session in sessions:
        with store.writing() as writer:
            for number in session:
                writer.add(name(number), row(number))
    return store


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indices of any size are kept."""
    monkeypatch.setattr(index, "INDEXED", 1)


def test_places_of_a_mark_are_those_of_a_dictionary(tmp_path: Path) -> None:
    rng = random.Random(0)
    for size in (0, 1, 2, 50, 300):
        own, slow = [rng.randrange(60) << 58 for _ in range(size)], {}
        for place, one in enumerate(own):
            slow.setdefault(one, []).insert(0, place)
        made = Index(np.array(own, np.uint64), np.arange(size, dtype=np.uint64))
        asked = [number << 58 for number in range(64)]
        assert [made.places(one) for one in asked] == [slow.get(one, []) for one in asked]
        assert made.holds(np.array(asked, np.uint64)).tolist() == [one in slow for one in asked]
        assert (len(made), made.distinct) == (size, len(slow))
        parts = [
            (np.array(own[a:b], np.uint64), np.arange(a, b, dtype=np.uint64))
            for a, b in ((0, size // 3), (size // 3, size))
        ]
        for split in (Index.of(*parts), Index.keep(tmp_path, "index", str(size), *parts)):
            assert [split.places(one) for one in asked] == [made.places(one) for one in asked]
            assert split.holds(np.array(asked, np.uint64)).tolist() == [one in slow for one in asked]
    assert [path.name for path in tmp_path.iterdir()] == ["index-300.npy"]


def test_what_was_looked_at_of_a_kept_index_is_let_go(tmp_path: Path) -> None:
    """A map of two million clips counts as memory while it is read, and not after."""
    if not hasattr(mmap, "MADV_DONTNEED"):
        pytest.skip("this system takes no such advice")
    own = np.random.default_rng(0).integers(0, 1 << 64, 1 << 20, np.uint64)
    made = Index.keep(tmp_path, "index", "v", (own, np.arange(len(own), dtype=np.uint64)))
    before = used_memory() or 0
    assert int(made._marks.sum()) == int(own.sum()) and (used_memory() or 0) - before > 7 << 20
    assert made.holds(own[:BLOCK]).all() and (used_memory() or 0) - before < 4 << 20


def test_digests_take_32_bytes_and_say_the_same() -> None:
    texts = [name(number) for number in range(5000)]
    texts += ["00" * 32, "ab" * 31 + "00", "", "ff" * 32]
    small = DigestList.collected(len(texts), iter(texts))
    assert isinstance(small, DigestList) and small.values.nbytes == 32 * len(texts)
    assert list(small)[:-4] == texts[:-4] and [*small[-3:]] == texts[-3:]
    assert small == DigestList.of(texts) and small != texts[::-1]
    assert marks(small).tolist() == [mark(text) if text else 0 for text in texts] == marks(texts).tolist()
    assert pick(small, np.array([3, 1])) == [texts[3], texts[1]] and pick(texts, np.array([3])) == (texts[3],)
    assert len(np.unique(values(small))) == len(texts) - 1, "a digest of zeros counts as none"
    small[0] = texts[9]
    assert small[0] == texts[9]


@pytest.mark.parametrize("odd", ["clip", "g" * 64, "a" * 62 + "  ", "AB" * 32])
def test_other_names_stay_as_they_are(odd: str) -> None:
    texts = [name(0), odd, name(1)]
    assert list(DigestList.collected(3, iter(texts))) == texts or odd == "AB" * 32
    assert list(DigestList.of(texts)) == texts or odd == "AB" * 32
    assert len(set(marks(texts).tolist())) == 3


@pytest.mark.usefixtures("kept")
def test_a_kept_index_reads_no_manifest_and_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path, range(5), range(5, 9))
    (file,) = store.folder.glob("index-*.npy")
    assert file.stat().st_size == 128 + 16 * 9
    read = []
    real = Store.__init__.__globals__["ShardList"].manifest
    monkeypatch.setattr(Store.__init__.__globals__["ShardList"], "manifest",
                        lambda self, number: read.append(number) or real(self, number))  # fmt: skip
    again = Store(tmp_path, KEY)
    assert len(again) == 9 and name(4) in again and name(9) not in again and read == []
    assert again.holds([name(3), name(11)]).tolist() == [True, False]
    np.testing.assert_array_equal(again.gather([name(7), name(0)]), [row(7), row(0)])
    assert len(set(read)) == len(read) <= 2


@pytest.mark.usefixtures("kept")
def test_an_index_of_other_shards_is_not_looked_at(tmp_path: Path) -> None:
    store = filled(tmp_path, range(5))
    (old,) = store.folder.glob("index-*.npy")
    text = old.read_bytes()
    filled(tmp_path, range(5, 9))
    assert not old.exists()
    old.write_bytes(text)
    assert len(Store(tmp_path, KEY)) == 9
    store.drop(store.damaged() or [next(store.folder.glob("shard-*.json")).stem])
    left = Store(tmp_path, KEY)
    assert len(left) in (4, 5) and verify(tmp_path).damaged == {}


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("harm", ["swap", "cut", "text", "shape"])
def test_a_damaged_index_never_gives_another_clips_numbers(tmp_path: Path, harm: str) -> None:
    store = filled(tmp_path, range(6))
    (file,) = store.folder.glob("index-*.npy")
    both = np.load(file)
    if harm == "swap":
        both[1] = both[1][::-1]
        np.save(file, both)
    elif harm == "shape":
        np.save(file, both[0])
    else:
        file.write_bytes(file.read_bytes()[:-5] if harm == "cut" else b"nothing of NumPy's")
    again = Store(tmp_path, KEY)
    np.testing.assert_array_equal(again.gather([name(n) for n in range(6)]), [row(n) for n in range(6)])


@pytest.mark.usefixtures("kept")
def test_where_nothing_can_be_written_the_index_lives_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = filled(tmp_path, range(4)).folder
    for file in folder.glob("index-*.npy"):
        file.unlink()

    def refuse(*arguments: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(index, "whole", refuse)
    assert Store(tmp_path, KEY).gather([name(3)])[0].tolist() == row(3).tolist()
    assert not list(folder.glob("index-*"))


@pytest.mark.usefixtures("kept")
def test_a_damaged_index_that_cannot_be_replaced_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = filled(tmp_path, range(4)).folder.glob("index-*.npy")
    marks_of, places = np.load(file)
    np.save(file, np.stack([marks_of, places[::-1]]))

    def refuse(*arguments: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(index, "whole", refuse)
    np.testing.assert_array_equal(Store(tmp_path, KEY).gather([name(n) for n in range(4)]), [row(n) for n in range(4)])


def test_clips_of_one_mark_are_told_apart_by_their_manifests(tmp_path: Path) -> None:
    """Two digests with the same first 64 bits, which nobody has seen yet."""
    one, other = "ab" * 8 + "01" * 24, "ab" * 8 + "02" * 24
    store = Store(tmp_path, KEY)
    with store.writing() as writer:
        writer.add(one, row(1))
        writer.add(other, row(2))
    np.testing.assert_array_equal(store.gather([other, one]), [row(2), row(1)])
    with pytest.raises(KeyError):
        store.gather(["ab" * 8 + "03" * 24])


@pytest.mark.usefixtures("kept")
def test_digests_are_found_by_their_index_and_by_what_came_since(tmp_path: Path) -> None:
    file, clips = tmp_path / "digests.jsonl", [tmp_path / f"{n} \u00e4.mp4" for n in range(6)]
    for number, clip in enumerate(clips):
        clip.write_bytes(bytes([number]))
    right = Digests(file).of(clips[:4])
    (first,) = tmp_path.glob("digests-*.npy")
    assert first.name.startswith(f"digests-{file.stat().st_size}-")
    found = Digests(file)
    assert len(found._kept) == 4 and len(found._new) == 0
    assert found.of(clips[:4], remembered=True) == right
    everything = found.of(clips)
    assert everything[:4] == right and not first.exists()
    (second,) = tmp_path.glob("digests-*.npy")
    lines = file.read_text().splitlines()
    file.write_text("\n".join(reversed(lines)) + "\n")  # another file of the same length
    fresh = Digests(file)
    assert fresh.of(clips, remembered=True) == everything and not second.exists(), "it has an index of its own"
    clips[0].write_bytes(b"changed")
    os.utime(clips[0], ns=(5, 5))
    assert Digests(file).of(clips)[0] == hashlib.sha256(b"changed").hexdigest()
    assert verify_lines(file) == 6


def verify_lines(file: Path) -> int:
    report = CheckedDigests(file).verify()
    assert report.damaged == {} and report.gone == []
    return report.lines


def test_clips_that_are_not_read_have_no_digest_yet(tmp_path: Path) -> None:
    file, clips = tmp_path / "digests.jsonl", [tmp_path / f"{n}.mp4" for n in range(3)]
    for number, clip in enumerate(clips):
        clip.write_bytes(bytes([number]))
    (known,) = Digests(file).of(clips[:1])
    assert Digests(file).of(clips, reading=False) == [known, "", ""]
    clips[0].write_bytes(b"longer")
    assert Digests(file).of(clips, reading=False) == ["", "", ""]
