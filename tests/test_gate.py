"""The gate for files of users: what is no small regular text file is told in one line, and nothing hangs."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from kshot import gate
from kshot.errors import CheckpointError, DataError


def test_a_regular_file_passes_with_its_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("a")
    assert gate.regular(tmp_path / "a") == gate.regular(tmp_path / "link") == 5


def test_pipes_devices_sockets_folders_and_missing_files_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for path, told in {
            tmp_path / "pipe": "is a pipe: expected a regular file",
            tmp_path / "socket": "is a socket",
            Path("/dev/zero"): "is a device",
            tmp_path: "is a folder",
            tmp_path / "gone": "no such file",
            Path("a\0b"): "cannot be reached",
        }.items():
            with pytest.raises(DataError, match=told):
                gate.read_bytes(path)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file here that opens and cannot be read")
def test_a_regular_file_that_cannot_be_read_is_named() -> None:
    for read in (gate.beginning, gate.read_bytes):
        with pytest.raises(DataError, match=r"/proc/self/mem cannot be read \("):
            read("/proc/self/mem")


def test_what_is_larger_than_asked_is_not_opened(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match=r"1,099,511,627,776 bytes: expected at most"):
        gate.read_json(tmp_path / "large", error=CheckpointError)


def test_text_of_other_systems(tmp_path: Path) -> None:
    (tmp_path / "bom").write_bytes("\ufeffä = 1\r\n".encode())
    assert gate.read_text(tmp_path / "bom") == "ä = 1\r\n"
    (tmp_path / "utf16").write_bytes("a = 1".encode("utf-16"))
    assert gate.read_toml(tmp_path / "utf16") == {"a": 1}, "as Windows writes it"
    (tmp_path / "latin").write_bytes(b"a = '\xe4'")
    with pytest.raises(DataError, match="byte 5 is not"):
        gate.read_toml(tmp_path / "latin")


@pytest.mark.parametrize(("read", "deep"), [(gate.read_json, "[" * 200_000), (gate.read_toml, "a = " + "[" * 200_000)])
def test_deep_files_fail_in_one_line(tmp_path: Path, read, deep: str) -> None:
    (tmp_path / "deep").write_text(deep)
    with pytest.raises(DataError) as told:
        read(tmp_path / "deep")
    assert "\n" not in str(told.value)


def test_values_come_back(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1]}')
    (tmp_path / "a.toml").write_text("a = [1]")
    assert gate.read_json(tmp_path / "a.json") == gate.read_toml(tmp_path / "a.toml") == {"a": [1]}
