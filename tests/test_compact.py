"""Very many values out of memory: what comes back is what was put in, at any size, and little of it is held."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kshot import compact
from kshot.compact import Column, Paths, Texts, array, repeated
from kshot.datasets import Dataset, build
from kshot.system import forget_peak_memory, used_memory


@pytest.fixture(params=["memory", "file", "full disk"])
def spill(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes lie in memory, in a file, or in memory since the disk takes only some of them."""
    if request.param == "memory":
        return
    monkeypatch.setattr(compact, "SPILL", 64)
    monkeypatch.setattr(compact, "FEW", 8)
    monkeypatch.setattr(compact, "BLOCK", 16)
    if request.param == "full disk":
        write, room = compact.write_at, [200]

        def refuse(file: Any, data: memoryview, place: int) -> int:
            if place + len(data) > room[0]:
                raise OSError(28, "no space left")
            return write(file, data, place)

        monkeypatch.setattr(compact, "write_at", refuse)


@pytest.mark.usefixtures("spill")
def test_a_column_is_its_values() -> None:
    rng = np.random.default_rng(0)
    values, column = rng.integers(-5, 5, 300), Column(np.int64)
    for value in values[:50].tolist():
        column.add(value)
    column.append(values[50:290])
    assert len(column) == 290 and column[-1] == values[289]
    for value in values[290:].tolist():
        column.add(value)
    np.testing.assert_array_equal(np.asarray(column), values)
    for some in (slice(3, 200), slice(None, None, 7), slice(9, 4), np.array([299, 0, 31, -1]), np.arange(20, 180)):
        np.testing.assert_array_equal(column[some], values[some])
    chosen = np.sort(rng.integers(0, 300, 100))
    np.testing.assert_array_equal(column.chosen(chosen)[:], values[chosen])
    for place in (0, 299):
        column[place] = 77
        assert column[place] == 77
    with pytest.raises(IndexError):
        column[300]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(column)), column[:])


@pytest.mark.usefixtures("spill")
def test_texts_and_paths_are_what_they_were() -> None:
    own = [f"dir {n}/{'ä' * (n % 9)}\udcff{n}.mp4" for n in range(70)] + ["", "x\0y"]
    texts = Texts(own[:40])
    assert texts[39] == own[39]
    for text in own[40:]:
        texts.append(text)
    assert [*texts] == own and len(texts) == 72 and [texts[i] for i in (0, 71, -2)] == [own[i] for i in (0, 71, -2)]
    paths = Paths.of(map(Path, own[:70]))
    assert paths == [Path(text) for text in own[:70]] and os.fsencode(paths[8]) == os.fsencode(own[8])
    some = paths[np.array([5, 3, 69])]
    assert [*some] == [Path(own[i]) for i in (5, 3, 69)] == [*paths[5:2:-2], paths[69]]
    assert [*some[np.array([2, 0])]] == [Path(own[69]), Path(own[5])]
    assert copy.deepcopy(some) == (paths[5], paths[3], paths[69])
    with pytest.raises(IndexError):
        texts[72]


def test_marks_that_stand_there_more_than_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "BLOCK", 16)
    rng = np.random.default_rng(0)
    for size in (0, 1, 5, 200):
        marks = rng.integers(0, 150, size)
        expected = [i for i, mark in enumerate(marks) if mark and (marks == mark).sum() > 1]
        assert repeated(size, lambda start: marks[start : start + 16]).tolist() == expected  # noqa: B023


@pytest.mark.parametrize("many", [10, 1_000_000])
def test_texts_of_any_number_become_an_array(monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    monkeypatch.setattr(compact, "MANY", many)
    monkeypatch.setattr(compact, "BLOCK", 16)
    own = [f"group {n}" for n in range(50)]
    made = array(iter(own), len(own))
    assert made.tolist() == own and (made.dtype.kind == "U") == (many > 50)
    odd = [*own[:30], "\udcff", *own[31:]]
    assert array(iter(odd), len(odd)).tolist() == odd, "no text that can be kept otherwise"


def test_many_clips_say_the_same_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [Path(f"{n}.mp4") for n in range(60)]
    columns = ([f"c{n % 6}" for n in range(60)], [("base", "val")[n % 2] for n in range(60)])
    groups = ["" if n % 3 else f"g{n}" for n in range(60)]

    def said(data: Dataset) -> list[Any]:
        part = data.select("val")
        return [
            [*one.paths, *one.labels.tolist(), *one.classes, *one.splits.tolist(), *one.groups.tolist()]
            for one in (data, part, part.subset([4, 2]), pickle.loads(pickle.dumps(part)))
        ]

    few = said(build("d", paths, columns[0], columns[1], groups))
    monkeypatch.setattr(compact, "MANY", 10)
    assert said(build("d", paths, columns[0], columns[1], groups)) == few
    assert few[0][-60:][:3] == ["g0", "1:1.mp4", "2:2.mp4"]


def grown(code: str, *arguments: str) -> int:
    """The bytes that a program prints, in a process of its own: what others have left in this one comes and goes."""
    if used_memory() is None:
        pytest.skip("this system does not tell what a process uses")
    return int(subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=True).stdout)


def test_a_list_of_many_clips_is_not_held_in_memory() -> None:
    """200,000 paths of 100 bytes: as objects they take 50 MB."""
    code = """
from kshot.compact import Paths, Texts
from kshot.system import used_memory
path, texts = "x" * 92, Texts()
before = used_memory()
for number in range(200_000):
    texts.append(f"{path}{number:08d}")
paths = Paths(texts)
assert sum(len(one.name) for one in paths) == 20_000_000 and paths[123_456].name == f"{path}00123456"
print(used_memory() - before)
"""
    assert grown(code) < 6 << 20


@pytest.mark.slow
def test_a_table_is_read_without_holding_its_rows(tmp_path: Path) -> None:
    """60,000 rows of 130 bytes, which took 23 MB and more as objects."""
    place, table = "x" * 92, tmp_path / "clips.csv"
    rows = (f"{place}{n:08d},class {n % 50},{('base', 'val')[n % 2]},source {n // 3}\n" for n in range(60_000))
    table.write_text("path,label,split,group\n" + "".join(rows))
    if not forget_peak_memory():
        pytest.skip("this system does not tell what a process used")
    code = """
import sys
from pathlib import Path
from kshot.datasets.table import load_table
from kshot.system import forget_peak_memory, peak_memory, used_memory
table = Path(sys.argv[1])
load_table(table, check_files=False, where={"group": "source 7"})  # what is imported once
forget_peak_memory()
before = used_memory()
data = load_table(table, check_files=False)
print(peak_memory() - before)
assert len(data) == 60_000 and data.paths[777].name.endswith("x00000777") and data.groups[777] == "source 259"
"""
    assert grown(code, str(table)) < 10 << 20
