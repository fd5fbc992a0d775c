"""The gate for files of users, rule by rule: kinds of files, sizes, names that lead out, and values for messages."""

from __future__ import annotations

import os
import stat
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from kshot import gate
from kshot.errors import CheckpointError, DataError, KshotError, StoreError
from kshot.forms import Saved


@pytest.mark.parametrize(
    ("mode", "word"),
    [
        (stat.S_IFDIR, "a folder"), (stat.S_IFIFO, "a pipe"), (stat.S_IFSOCK, "a socket"), (stat.S_IFCHR, "a device"),
        (stat.S_IFBLK, "a device"), (stat.S_IFREG, "a regular file"), (0, "no regular file"),
    ],
)  # fmt: skip
def test_what_a_path_leads_to_in_words(mode: int, word: str) -> None:
    assert gate.kind(mode | 0o644) == word


def test_a_file_may_be_as_large_as_is_allowed_and_no_byte_larger(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1, 2]")
    assert gate.regular(path, most=6) == 6 and gate.read_bytes(path, most=6) == b"[1, 2]"
    assert gate.read_json(path, most=6) == [1, 2]
    for read in (gate.regular, gate.read_bytes, gate.read_text, gate.read_json):
        with pytest.raises(DataError) as told:
            read(path, most=5)  # type: ignore[operator]
        assert str(told.value) == f"{path} has 6 bytes: expected at most 5"
    (tmp_path / "a.toml").write_text("a = 12")
    with pytest.raises(StoreError, match="has 6 bytes: expected at most 5"):
        gate.read_toml(tmp_path / "a.toml", 5, StoreError)


def test_what_cannot_be_reached_or_is_no_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    for path, told in {
        tmp_path: f"{tmp_path} is a folder: expected a regular file",
        tmp_path / "a" / "b": f"{tmp_path / 'a' / 'b'} cannot be reached (Not a directory)",
        Path("a\0b"): "a\0b cannot be reached (embedded null byte)",
    }.items():
        with pytest.raises(DataError) as caught:
            gate.regular(path)
        assert str(caught.value) == told


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 11)
    monkeypatch.setattr(gate, "regular", lambda *_: 10)
    assert gate.read_bytes(path, most=11) == b"x" * 11
    with pytest.raises(DataError) as told:
        gate.read_bytes(path, most=10)
    assert str(told.value) == f"{path} has more than 10 bytes"


def test_a_file_that_may_not_be_opened_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a").write_bytes(b"")
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(CheckpointError) as told:
        gate.read_bytes(tmp_path / "a", error=CheckpointError)
    assert str(told.value) == f"{tmp_path / 'a'} cannot be read (Permission denied)"


@pytest.mark.parametrize("error", [DataError, StoreError, CheckpointError])
def test_every_reader_raises_the_error_that_was_named(tmp_path: Path, error: type[KshotError]) -> None:
    (tmp_path / "bad").write_bytes(b"{\xff")
    (tmp_path / "worse").write_text("{=")
    for read in (gate.regular, gate.read_bytes, gate.read_text, gate.read_json, gate.read_toml):
        with pytest.raises(error) as told:
            read(tmp_path / "gone", error=error)  # type: ignore[operator]
        assert str(told.value) == f"no such file: {tmp_path / 'gone'}" and type(told.value) is error
    for read in (gate.read_text, gate.read_json, gate.read_toml):
        with pytest.raises(error, match=r"bad is no UTF-8 text \(byte 1 is not\): save it as UTF-8"):
            read(tmp_path / "bad", error=error)
    with pytest.raises(error, match=r"worse is no JSON \(Expecting property name"):
        gate.read_json(tmp_path / "worse", error=error)
    with pytest.raises(error, match=r"worse is no TOML \(Invalid"):
        gate.read_toml(tmp_path / "worse", error=error)


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf_16_of_both_orders_is_read_and_half_a_character_is_named(tmp_path: Path, order: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes("\ufeff{}".encode(order))
    assert gate.read_json(path) == {}
    path.write_bytes("\ufeff{}".encode(order)[:-1])
    with pytest.raises(DataError, match=r"a\.json is no UTF-16 text \(byte 4 is not\): save it as UTF-8"):
        gate.read_json(path)


@pytest.mark.parametrize("form", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_line_by_line_is_all_of_the_text_and_a_wrong_byte_is_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(gate, "PIECE", 3)
    path = tmp_path / "a.csv"
    whole = "path,größe\r\n\U0001f600,b\rc\n\nlast".encode(form)
    path.write_bytes(whole)
    with gate.open_text(path) as text:
        lines = [*text]
        text.seek(0)
        assert [*text] == lines
    assert "".join(lines) == gate.read_text(path) and len(lines) == 5
    for place in range(3, len(whole)):
        path.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        said = []
        for read in (gate.read_text, lambda path: gate.open_text(path).__enter__()):
            try:
                read(path)
            except DataError as error:
                said.append(str(error))
        assert len(said) in (0, 2) and len({*said}) < 2
        assert said or form == "utf-16"


def test_text_line_by_line_is_refused_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 11)
    for most, said in ((10, "has 11 bytes: expected at most 10"), (11, None)):
        with pytest.raises(StoreError, match=said) if said else nullcontext(), gate.open_text(path, most, StoreError):
            pass
    monkeypatch.setattr(gate, "regular", lambda *_: 10)
    with pytest.raises(DataError, match="log has more than 10 bytes"), gate.open_text(path, 10):
        pass
    with pytest.raises(DataError, match="gone cannot be read"), gate.open_text(tmp_path / "gone"):
        pass


# ---- values for messages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [10, 60])
def test_long_values_are_cut_to_the_length_that_was_asked_for(most: int) -> None:
    for length in range(most - 6, most + 6):
        text = gate.shortened("x" * (length - 2), most)
        assert len(text) == min(length, most)
        assert text == repr("x" * (length - 2)) if length <= most else text == "'" + "x" * (most - 4) + "..."


def test_values_that_cannot_be_shown_are_named_by_their_kind() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert gate.shortened(deep) == "a list"
    assert gate.shortened(10**5000) == "a int"
    assert gate.shortened(None) == "None"


# ---- names of files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.bin", "sub/a.bin", "./a.bin", "..a.bin", "a..bin", "...", "a b.bin", "ä.bin"])
def test_names_within_a_folder_lead_there(tmp_path: Path, name: str) -> None:
    assert gate.inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../a", "a/../../b", "a\\..\\b", "C:a", "C:\\a", "\\a", "\\\\host\\share", "a:b", ".."]
)
def test_names_that_lead_out_are_refused_on_every_system(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError) as told:
        gate.inside(tmp_path, name, StoreError)
    assert str(told.value) == f"{tmp_path} names {name!r}, which is outside of it: nothing of it is read"


@pytest.mark.parametrize("name", [None, 3, "", "a\0b", ["a"], b"a"])
def test_what_is_no_name_of_a_file_is_refused(tmp_path: Path, name: object) -> None:
    with pytest.raises(DataError) as told:
        gate.inside(tmp_path, name)
    assert str(told.value) == f"{tmp_path} names a file by {name!r}: expected the name of a file in that folder"


def test_links_may_not_lead_out_but_for_those_of_the_hubs_cache(tmp_path: Path) -> None:
    model = tmp_path / "models--a" / "snapshots" / "0123"
    blobs = tmp_path / "models--a" / "blobs"
    other = tmp_path / "models--a" / "other" / "0123"
    for folder in (model, blobs, other):
        folder.mkdir(parents=True)
    (blobs / "f00").write_bytes(b"weights")
    for folder in (model, other):
        (folder / "weights").symlink_to(blobs / "f00")
        (folder / "outside").symlink_to(tmp_path)
        (folder / "within").symlink_to(folder / "real")
        assert gate.inside(folder, "within") == folder / "within"
    assert gate.inside(model, "weights") == model / "weights"
    for folder, name in ((other, "weights"), (other, "outside"), (model, "outside")):
        with pytest.raises(DataError) as told:
            gate.inside(folder, name)
        assert str(told.value) == f"{folder / name} is a link out of its folder: nothing of it is read"


def test_a_folder_that_is_itself_a_link_holds_its_files(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert gate.inside(tmp_path / "link", "a") == tmp_path / "link" / "a"
    assert gate.inside(os.fspath(tmp_path / "link"), "a") == tmp_path / "link" / "a"


# ---- forms ---------------------------------------------------------------------------------------------------------


class Record(Saved):
    """Attributes:
    name: of something.
    counts: some numbers.
    """

    FORMAT = 3

    name: str
    counts: dict[str, list[int]] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({}, "it lacks 'name'"),
        ({"name": 3}, "name: it should be a valid string, found 3"),
        ({"name": "a", "counts": {"b": [1, "2"]}}, "counts.b.1: it should be a valid integer, found '2'"),
        ({"name": "a", "counts": {"b": "x" * 80}}, f"counts.b: it should be a valid list, found '{'x' * 56}..."),
        ([], "it should be a valid dictionary or instance of record, found []"),
        ({"name": "a", "format": "3"}, "format: it should be a valid integer, found '3'"),
    ],
)
def test_a_damaged_file_says_where_and_what_was_expected(value: Any, told: str) -> None:
    for read in (Record.parse, lambda value, source, error: gate.parsed(value, Record, source, error),
                 lambda value, source, error: gate.typed(value, Record, source, error)):  # fmt: skip
        with pytest.raises(StoreError) as refused:
            read(value, "a.json", StoreError)
        assert str(refused.value) == f"a.json is damaged: {told}"


def test_a_file_of_this_or_an_older_version_is_read_and_a_later_one_refused() -> None:
    for found in (1, 2, 3):
        assert Record.parse({"format": found, "name": "a"}, "a.json").format == found
    assert Record.parse({"name": "a"}, "a.json").format == 1, "files before there were versions"
    with pytest.raises(CheckpointError) as told:
        Record.parse({"format": 4, "name": 3}, "a.json", CheckpointError)
    assert str(told.value) == ("a.json is of a later kshot (format 4, this one reads up to 3): update kshot to read it")


def test_what_is_saved_says_its_version_and_only_what_was_set() -> None:
    one = Record.parse({"name": "a", "further": 1}, "a.json")
    assert one.plain() == {"format": 3, "name": "a"}
    one.counts = {"b": [1]}
    assert one.plain() == {"format": 3, "name": "a", "counts": {"b": [1]}}
    assert one.plain(exclude={"name"}) == {"format": 3, "counts": {"b": [1]}}
    assert Record.parse(one.plain(), "a.json") == one


def test_a_checked_value_is_handed_on_as_it_is() -> None:
    value = {"name": "a", "further": [1]}
    assert gate.typed(value, Record, "a.json") is value
