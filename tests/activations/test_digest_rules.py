"""Digests of clips and their rates, line by line, against what is written out by hand."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from kshot.activations import digests as digests_module
from kshot.activations.check import CheckedDigests
from kshot.activations.digests import Digests, Hashed, digest
from kshot.activations.rates import Rates


def test_the_digest_of_a_folder_is_that_of_its_names_sizes_and_bytes(tmp_path: Path) -> None:
    for name, data in (("b.png", b"22"), ("a.png", b"1"), ("c", b"")):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "sub").mkdir()
    whole = b"a.png\0" + b"1\0" + b"1" + b"b.png\0" + b"2\0" + b"22" + b"c\0" + b"0\0"
    assert digest(tmp_path) == hashlib.sha256(whole).hexdigest()
    (tmp_path / "large").write_bytes(b"x" * ((1 << 20) + 1))
    assert digest(tmp_path / "large") == hashlib.sha256(b"x" * ((1 << 20) + 1)).hexdigest()


def test_a_clip_is_unchanged_while_size_and_time_are_both_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    stat = path.stat()
    known = Hashed(str(path), 3, stat.st_mtime_ns, "f")
    assert known.unchanged(path)
    assert not replace(known, bytes=4).unchanged(path) and not replace(known, mtime_ns=1).unchanged(path)
    folder = tmp_path / "frames"
    folder.mkdir()
    assert Hashed(str(folder), 0, 0, "f").unchanged(folder), "an empty one has no time"
    for number, moment in enumerate((5, 9, 7)):
        (folder / str(number)).write_bytes(b"ab")
        os.utime(folder / str(number), ns=(moment, moment))
    assert Hashed(str(folder), 6, 9, "f").unchanged(folder), "all bytes, and the latest time"


@pytest.mark.parametrize(
    "line",
    [
        "", "{", "[]", "3", '{"path": "a"}', '{"path": "a", "bytes": 1.0, "mtime_ns": 1, "sha256": "f"}',
        '{"path": "a", "bytes": 1, "mtime_ns": true, "sha256": "f"}',
        '{"path": 3, "bytes": 1, "mtime_ns": 1, "sha256": "f"}', "[" * 100_000,
        '{"path": "a", "bytes": 1, "mtime_ns": 1, "sha256": null}',
    ],
)  # fmt: skip
def test_a_line_that_says_no_digest_is_passed_over(tmp_path: Path, line: str) -> None:
    file = tmp_path / "digests.jsonl"
    good = Hashed(str(tmp_path / "b"), 1, 2, "f00")
    file.write_text(f"{line}\n{good.line()}")
    known = CheckedDigests(file)
    assert known.of([tmp_path / "b", tmp_path / "a"], remembered=True) == ["f00", ""]
    assert (known.verify().lines, known.altered) == (1, set())


def test_digests_are_written_down_64_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests_module, "DIGESTS_AT_ONCE", 3)
    file, sizes = tmp_path / "store" / "digests.jsonl", []

    def hashed(clip: Path) -> str:
        sizes.append(len(file.read_text().split()) if file.exists() else 0)
        return clip.name

    monkeypatch.setattr(digests_module, "digest", hashed)
    clips = [tmp_path / f"{n}" for n in range(8)]
    for clip in clips:
        clip.write_bytes(b"")
    assert Digests(file).of([*clips, tmp_path / "gone"]) == [*"01234567", ""]
    words = len(json.loads(file.read_text().split("\n")[1])) * 2
    assert [size // words for size in sizes] == [0, 0, 0, 3, 3, 3, 6, 6]
    assert Digests(file).of(clips) == [*"01234567"] and len(sizes) == 8, "none is hashed again"
    os.utime(clips[5], ns=(7, 7))
    assert Digests(file).of(clips) == [*"01234567"] and len(sizes) == 9


def test_rates_are_kept_over_torn_lines_and_the_last_counts(tmp_path: Path) -> None:
    file = tmp_path / "rates.jsonl"
    Rates(file).add({"a": True, "b": False})
    Rates(file).add({})
    with file.open("a") as text:
        text.write('{"sha256": "c"}\n[]\nnull\n{"sha256": "d", "const')
    Rates(file).add({"b": True, "e": False})
    known = Rates(file)
    assert [known.get(clip) for clip in "abcde"] == [True, True, None, None, False]
    assert file.read_text().endswith('{"sha256": "b", "constant": true}\n{"sha256": "e", "constant": false}\n')
