"""Seals: what was sealed is told from what was changed since, whatever it was."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from kshot import seals
from kshot.errors import CheckpointError, DataError

ABOUT: dict[str, Any] = {
    "kind": "a run",
    "accuracy": [0.5, 1, -3.25e-7],
    "nothing": None,
    "flag": True,
    "deep": {"label": "手を振る", "list": [1, [2, {"three": 3}]]},
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a value that holds no other."""
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        return [place for key, one in inner for place in places(one, (*path, key))]
    return [path]


def changed(about: dict[str, Any], place: tuple[Any, ...]) -> dict[str, Any]:
    made = copy.deepcopy(about)
    inner: Any = made
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = "something else"
    return made


def test_any_single_change_breaks_the_seal() -> None:
    sealed = seals.sealed(ABOUT)
    assert seals.whole(sealed) and not seals.whole(ABOUT)
    found = places(ABOUT)
    assert len(found) == 10
    for place in found:
        assert not seals.whole(changed(sealed, place)), place
    assert not seals.whole(sealed | {"more": 1})
    assert not seals.whole({key: value for key, value in sealed.items() if key != "flag"})
    assert not seals.whole(sealed | {"seal": "0" * 64})


def test_layout_and_order_of_keys_are_no_change(tmp_path: Path) -> None:
    sealed = seals.sealed(ABOUT)
    keys = list(sealed)
    random.Random(1).shuffle(keys)
    for number, text in enumerate(
        (
            json.dumps({key: sealed[key] for key in keys}),
            json.dumps(sealed, indent=4, ensure_ascii=False),
            json.dumps(sealed, separators=(",", ":")),
        )
    ):
        path = tmp_path / f"{number}.json"
        path.write_text(text, encoding="utf-8")
        assert seals.read_sealed(path) == sealed


def test_a_seal_is_not_part_of_itself() -> None:
    assert seals.mark(seals.sealed(ABOUT)) == seals.mark(ABOUT) == seals.sealed(seals.sealed(ABOUT))["seal"]


def test_files_that_are_there_are_sealed_and_checked(tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(name.encode() * 1000)
    about = seals.sealed(ABOUT, tmp_path, ("a.bin", "b.bin", "never-written.bin"))
    assert list(about["files"]) == ["a.bin", "b.bin"]
    assert seals.faults(tmp_path, about["files"]) == {}
    (tmp_path / "b.bin").write_bytes(b"another")
    (tmp_path / "a.bin").unlink()
    found = seals.faults(tmp_path, about["files"])
    assert list(found) == [str(tmp_path / "a.bin"), str(tmp_path / "b.bin")]
    assert "no such file" in found[str(tmp_path / "a.bin")] and "not the one that was sealed" in list(found.values())[1]


@pytest.mark.parametrize("name", ["../out.bin", "/etc/passwd", "", "a/../../b", "C:\\x", "nul\0"])
def test_a_sealed_file_names_nothing_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    (fault,) = seals.faults(tmp_path, {name: "0" * 64}).values()
    assert "outside of it" in fault or "expected the name of a file" in fault


@pytest.mark.parametrize("files", [None, [], "a.bin", 3])
def test_files_that_are_no_table(tmp_path: Path, files: Any) -> None:
    assert list(seals.faults(tmp_path, files)) == [str(tmp_path)]


def test_reading_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(ABOUT))
    assert seals.read_sealed(path) == ABOUT, "of an older version: no seal"
    path.write_text(json.dumps(changed(seals.sealed(ABOUT), ("flag",))))
    with pytest.raises(CheckpointError, match=r"config.json is damaged: its checksum is wrong; train again$"):
        seals.read_sealed(path, CheckpointError, "train again")
    path.write_text("[1]")
    with pytest.raises(DataError, match=r"expected a JSON object, found \[1\]; copy it again"):
        seals.read_sealed(path)


def test_a_large_file_is_hashed_in_pieces_as_a_whole(tmp_path: Path) -> None:
    import hashlib

    data = random.Random(0).randbytes(3_000_001)
    (tmp_path / "large").write_bytes(data)
    assert seals.sha256(tmp_path / "large") == hashlib.sha256(data).hexdigest()
    assert len(seals.sha256(tmp_path / "large")) == seals.HEX
