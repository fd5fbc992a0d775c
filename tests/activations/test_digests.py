"""Digests: a clip is hashed once, and no line stands for another clip."""

from __future__ import annotations

import hashlib
import json
import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kshot.activations import digests
from kshot.activations.check import CheckedDigests, verify
from kshot.activations.digests import Digests, Hashed, digest
from kshot.activations.store import Store


def a_store(folder: Path) -> None:
    """What makes a folder one that `verify` knows."""
    with Store(folder, {"cut": 3}).writing() as writer:
        writer.add("clip", np.zeros(3, np.float16))


def _clips(folder: Path, count: int = 3) -> list[Path]:
    paths = [folder / f"{i}.mp4" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]) * 100)  # of one size: only the hash tells them apart
    return paths


def _rotate(file: Path) -> None:
    """Gives every clip the next one's sha256."""
    rows = [json.loads(line) for line in file.read_text().split("\n") if line]
    for row, other in zip(rows, [row["sha256"] for row in rows[1:] + rows[:1]], strict=True):
        row["sha256"] = other
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_rotated_digests_are_hashed_anew_and_verify_names_them(tmp_path: Path) -> None:
    a_store(tmp_path)
    clips, file = _clips(tmp_path), tmp_path / "digests.jsonl"
    right = Digests(file).of(clips)
    _rotate(file)
    report = verify(tmp_path)
    assert len(report.damaged) == report.digests == 3 and report.unsealed == {}
    assert Digests(file).of(clips, remembered=True) == ["", "", ""], "an unknown clip, not another's"
    assert Digests(file).of(clips) == right
    assert verify(tmp_path).damaged == {}, "newer lines stand for those"
    _rotate(file)
    assert verify(tmp_path, heal=True).healed and verify(tmp_path).damaged == {}
    assert Digests(file).of(clips) == right


def test_digests_of_an_older_version_stay_valid_and_are_hashed_by_verify(tmp_path: Path) -> None:
    a_store(tmp_path)
    clips, file = _clips(tmp_path), tmp_path / "digests.jsonl"
    right = Digests(file).of(clips)
    bare = [json.loads(line) for line in file.read_text().split("\n") if line]
    file.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "seal"}) + "\n" for row in bare))
    assert Digests(file).of(clips, remembered=True) == right and verify(tmp_path).damaged == {}
    clips[2].unlink()
    report = verify(tmp_path)
    assert report.damaged == {} and "1 lines of an older version" in report.unsealed[str(file)]
    _rotate(file)
    assert [Path(path).name for path in verify(tmp_path).damaged] == ["0.mp4", "1.mp4"]
    assert verify(tmp_path, heal=True).healed
    assert Digests(file).of(clips[:2]) == right[:2]


def test_digests_hash_a_clip_once(tmp_path: Path) -> None:
    clip, memory = tmp_path / "clip.mp4", tmp_path / "digests.jsonl"
    clip.write_bytes(b"first")
    first = hashlib.sha256(b"first").hexdigest()
    assert Digests(memory).of([clip]) == [first]
    stamp = clip.stat().st_mtime_ns
    clip.write_bytes(b"other")
    os.utime(clip, ns=(stamp, stamp))
    assert Digests(memory).of([clip]) == [first], "same size and time: not read again"
    os.utime(clip, ns=(stamp, stamp + 1))
    assert Digests(memory).of([clip]) == [hashlib.sha256(b"other").hexdigest()]


def test_digests_survive_torn_lines_and_missing_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "DIGESTS_AT_ONCE", 2)
    memory, clips = tmp_path / "digests.jsonl", [tmp_path / f"{i}.mp4" for i in range(5)]
    for clip in clips:
        clip.write_bytes(clip.name.encode())
    missing = tmp_path / "missing.mp4"
    found = Digests(memory).of([*clips, missing])
    assert found == [*(hashlib.sha256(clip.name.encode()).hexdigest() for clip in clips), ""]
    memory.write_text(memory.read_text()[:-30])  # the last line is torn, as by a kill
    for clip in clips:
        clip.unlink()
    again = Digests(memory).of([*clips, missing], remembered=True)
    assert again == [*found[:4], "", ""]


def test_digest_of_a_frame_folder_sees_names_and_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"ab")
    (folder / "2.png").write_bytes(b"c")
    seen = {digest(folder)}
    (folder / "2.png").rename(folder / "3.png")
    seen.add(digest(folder))
    (folder / "3.png").write_bytes(b"d")
    seen.add(digest(folder))
    (folder / "1.png").write_bytes(b"a")
    (folder / "3.png").write_bytes(b"bd")
    seen.add(digest(folder))
    assert len(seen) == 4


def test_a_line_is_sealed_with_all_of_its_values() -> None:
    line = Hashed("/a.mp4", 3, 7, "ab")
    others = [replace(line, **{name: value}) for name, value in
              {"path": "/b.mp4", "bytes": 4, "mtime_ns": 8, "sha256": "ac"}.items()]  # fmt: skip
    assert len({line.seal, *(other.seal for other in others)}) == 5
    written = json.loads(line.line())
    assert written == {"path": "/a.mp4", "bytes": 3, "mtime_ns": 7, "sha256": "ab", "seal": line.seal}
    assert json.loads(line.line(sealed=False)) == {name: written[name] for name in written if name != "seal"}


def test_the_last_line_of_a_clip_counts_whatever_stands_between(tmp_path: Path) -> None:
    """Against a slow reading of the rule, over lines whole, torn, of another shape and with another clip's seal."""
    rng = random.Random(0)
    for _ in range(60):
        expected: dict[str, str] = {}
        altered: set[str] = set()
        lines = []
        for number in range(rng.randrange(12)):
            row = Hashed(f"/{rng.choice('abc')}.mp4", 3, number, f"{number:x}")
            kind = rng.choice(("whole", "old", "torn", "list", "kind", "seal"))
            text = row.line(sealed=kind != "old")
            if kind in ("whole", "old"):
                expected[row.path] = row.sha256
                altered.discard(row.path)
            elif kind == "seal":
                text = text.replace(row.seal, "0" * 16)
                altered.add(row.path)
            elif kind != "torn":
                text = "[]\n" if kind == "list" else text.replace('"bytes": 3', '"bytes": true')
            lines.append(text[: len(text) // 2] + "\n" if kind == "torn" else text)
        (tmp_path / "digests.jsonl").write_text("".join(lines))
        known = CheckedDigests(tmp_path / "digests.jsonl")
        clips = [Path(f"/{name}.mp4") for name in "abc"]
        assert known.of(clips, remembered=True) == [expected.get(str(clip), "") for clip in clips]
        assert known.altered == altered


def test_a_frame_folder_is_hashed_anew_when_a_frame_is_written_over(tmp_path: Path) -> None:
    """A folder's own time does not change then; that of its latest file does."""
    folder, memory = tmp_path / "frames", tmp_path / "digests.jsonl"
    folder.mkdir()
    for name in ("1.png", "2.png"):
        (folder / name).write_bytes(b"ab")
        os.utime(folder / name, ns=(1000, 1000))
    (first,) = Digests(memory).of([folder])
    (folder / "1.png").write_bytes(b"cd")
    os.utime(folder / "1.png", ns=(2000, 2000))
    (second,) = Digests(memory).of([folder])
    assert first != second == digest(folder)


def test_healing_drops_the_named_lines_and_seals_no_old_one(tmp_path: Path) -> None:
    file = tmp_path / "digests.jsonl"
    rows = [Hashed(f"/{name}.mp4", 1, 1, name) for name in "abc"]
    file.write_text(rows[0].line() + rows[1].line(sealed=False) + rows[2].line())
    CheckedDigests(file).heal(["/c.mp4"])
    assert file.read_text() == rows[0].line() + rows[1].line(sealed=False)
