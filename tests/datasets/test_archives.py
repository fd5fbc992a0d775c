"""Unpacking archives that came from elsewhere: what is wanted arrives, and nothing else is ever written."""

from __future__ import annotations

import gzip
import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest

from kshot.datasets import archives, rar_tools
from kshot.datasets.archives import ArchiveLimits, unpack
from kshot.errors import DataError
from rars import write_rar, write_tool

FILES = {"set/wave/a (1)!.avi": b"wave" * 500, "set/wave/b.avi": b"x", "set/notes.txt": b"no clip"}


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write(kind: str, folder: Path, files: dict[str, bytes]) -> Path:
    if kind == "rar":
        return write_rar(folder / "set.rar", files.items())
    if kind == "zip":
        return write_zip(folder / "set.zip", files)
    return write_tar(
        folder / f"set.{kind}", files, {"tar": "w", "tgz": "w:gz", "tar.xz": "w:xz", "tar.bz2": "w:bz2"}[kind]
    )


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool for rars, and no other."""
    monkeypatch.setenv("PATH", str(write_tool(tmp_path / "bin")))


@pytest.fixture
def taken(tmp_path: Path) -> Callable[..., dict[str, bytes]]:
    """Unpacks what ends in .avi; returns what was then on disk."""
    out = tmp_path / "work" / "out"

    def run(archive: Path, limits: ArchiveLimits | None = None) -> dict[str, bytes]:
        def take(name: PurePosixPath, size: int) -> Path | None:
            return out / name.name if name.suffix == ".avi" else None

        shutil.rmtree(out, ignore_errors=True)
        written = unpack(archive, take, tmp_path / "work" / "scratch", limits)
        found = {path.name: path.read_bytes() for path in out.iterdir()}
        assert {path.name for path in written} == found.keys()
        return found

    return run


def left(tmp_path: Path) -> list[Path]:
    """Files below the folder of the work, and files that were not there when a test began."""
    return [path for path in (tmp_path / "work").rglob("*") if not path.is_dir()]


@pytest.mark.parametrize("kind", ["tar", "tgz", "tar.xz", "tar.bz2", "zip", "rar"])
def test_what_is_wanted_arrives_byte_for_byte(
    kind: str, tmp_path: Path, tool: None, taken: Callable[..., dict[str, bytes]]
) -> None:
    assert taken(write(kind, tmp_path, FILES)) == {"a (1)!.avi": b"wave" * 500, "b.avi": b"x"}
    assert len(left(tmp_path)) == 2


@pytest.mark.parametrize("name", ["unar", "bsdtar"])
def test_real_tools_agree(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: Callable[..., dict[str, bytes]]
) -> None:
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    monkeypatch.setattr(rar_tools, "TOOLS", (name,))
    assert taken(write("rar", tmp_path, FILES)) == {"a (1)!.avi": b"wave" * 500, "b.avi": b"x"}
    with pytest.raises(DataError, match="would be written outside its folder"):
        taken(write("rar", tmp_path, {"../../b.avi": b"x"}))
    with pytest.raises(DataError, match="refused, nothing of it was kept: it holds links"):
        taken(write_rar(tmp_path / "links.rar", [("a.avi", b"/etc/passwd")], stat.S_IFLNK | 0o777))


@pytest.mark.parametrize("name", ["../b.avi", "set/../../b.avi", "/tmp/b.avi", "C:/b.avi", "set\\..\\..\\b.avi"])
@pytest.mark.parametrize("kind", ["tgz", "zip", "rar"])
def test_a_name_that_leads_outside_refuses_the_whole(
    kind: str, name: str, tmp_path: Path, tool: None, taken: Callable[..., dict[str, bytes]]
) -> None:
    before = set(tmp_path.rglob("*"))
    path = write(kind, tmp_path, {"set/a.avi": b"good", name: b"bad"})
    with pytest.raises(
        DataError, match=r"set\.\w+: refused, nothing of it was kept: member '.*' would be written outside"
    ):
        taken(path)
    assert not left(tmp_path) and {p for p in tmp_path.rglob("*") if p.is_file()} == {
        p for p in before if p.is_file()
    } | {path}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(
    kind: bytes, tmp_path: Path, taken: Callable[..., dict[str, bytes]]
) -> None:
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("first.avi"), io.BytesIO())
        member = tarfile.TarInfo("b.avi")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(DataError, match=r"links\.tar: refused, .*: member 'b.avi' is a link or a device"):
        taken(path)
    assert not left(tmp_path)


def test_links_in_a_zip_and_a_rar_are_refused(
    tmp_path: Path, tool: None, taken: Callable[..., dict[str, bytes]]
) -> None:
    member = zipfile.ZipInfo("b.avi")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    for path in (tmp_path / "links.zip", write_rar(tmp_path / "l.rar", [("b.avi", b"/etc")], stat.S_IFLNK | 0o777)):
        with pytest.raises(DataError, match="link"):
            taken(path)
        assert not left(tmp_path)


@pytest.mark.parametrize("kind", ["tar", "tgz", "zip", "rar"])
def test_one_cut_short_leaves_nothing(
    kind: str, tmp_path: Path, tool: None, taken: Callable[..., dict[str, bytes]]
) -> None:
    whole = write(kind, tmp_path, {f"{i}.avi": bytes(range(256)) * (20 + i) for i in range(20)})
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"{whole}: damaged.*"):
        taken(whole)
    assert not left(tmp_path)


def test_a_flipped_byte_is_noticed(tmp_path: Path, taken: Callable[..., dict[str, bytes]]) -> None:
    path = write("zip", tmp_path, {"a.avi": b"wave" * 5000})
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"set\.zip: damaged or cut short"):
        taken(path)
    assert not left(tmp_path)


@pytest.mark.parametrize(("data", "found"), [
    (b"", "nothing"), (b"<!DOCTYPE html><html>Sign in", "a web page"), (b"MZ\x90\0rest", "b'MZ"),
])  # fmt: skip
def test_what_is_no_archive_says_what_it_is(
    data: bytes, found: str, tmp_path: Path, taken: Callable[..., dict[str, bytes]]
) -> None:
    (tmp_path / "set.rar").write_bytes(data)
    with pytest.raises(DataError, match=rf"set\.rar: expected a rar, zip or tar archive, found {found}"):
        taken(tmp_path / "set.rar")


def test_a_rar_without_a_tool_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: Callable[..., dict[str, bytes]]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        DataError, match=r"set\.rar: a rar needs one of unar, bsdtar, .*apt install unar.*give the folder"
    ):
        taken(write("rar", tmp_path, FILES))


def test_a_tool_that_cannot_read_it_gives_way_to_the_next(
    tmp_path: Path, tool: None, taken: Callable[..., dict[str, bytes]]
) -> None:
    for name in ("7zz", "unrar"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\necho 'no rar codec' >&2\nexit 2\n")
        (tmp_path / "bin" / name).chmod(0o755)
    path = write("rar", tmp_path, FILES)
    (tmp_path / "bin" / "unar").rename(tmp_path / "bin" / "hidden")
    with pytest.raises(DataError, match=r"7zz and unrar cannot read \(7zz: no rar codec; unrar: no rar codec\)"):
        taken(path)
    (tmp_path / "bin" / "hidden").rename(tmp_path / "bin" / "unar")
    assert len(taken(path)) == 2


def test_what_a_tool_leaves_is_looked_through(
    tmp_path: Path, tool: None, taken: Callable[..., dict[str, bytes]]
) -> None:
    """A listing may lie: a link that appears among the files is refused all the same."""
    (tmp_path / "bin" / "unar").write_text(
        '#!/bin/sh\nln=/bin/ln; [ -x $ln ] || ln=/usr/bin/ln\n$ln -s /etc "$5/b.avi"\n'
    )
    with pytest.raises(DataError, match=r"member 'b\.avi' is a link or a device"):
        taken(write("rar", tmp_path, {"b.avi": b"x"}))
    assert not left(tmp_path)


@pytest.mark.parametrize("kind", ["tgz", "zip", "rar"])
def test_a_bomb_stops(kind: str, tmp_path: Path, tool: None, taken: Callable[..., dict[str, bytes]]) -> None:
    path = write(kind, tmp_path, {"a.avi": b"", "b.avi": bytes(3_000_000)})
    with pytest.raises(DataError, match=r"grows to more than 0 times its size and 0\.001 GB"):
        taken(path, ArchiveLimits(growth=0, floor=1_000_000))
    with pytest.raises(DataError, match="refused, nothing of it was kept: more than 1 members"):
        taken(path, ArchiveLimits(members=1))
    assert not left(tmp_path)


def test_parts_are_one_archive(tmp_path: Path, taken: Callable[..., dict[str, bytes]]) -> None:
    data = write("tgz", tmp_path, {f"{i}.avi": bytes([i]) * 999 for i in range(30)}).read_bytes()
    step = len(data) // 3 + 1
    parts = [tmp_path / f"20bn-v2-{number:02d}" for number in range(3)]
    for number, part in enumerate(parts):
        part.write_bytes(data[number * step : (number + 1) * step])
    assert len(taken(parts[1])) == 30, "any part stands for all"
    assert archives.whole(parts[2]) == parts
    parts[2].unlink()
    with pytest.raises(
        DataError, match=r"20bn-v2-00: damaged .* 2 parts, the last is 20bn-v2-01: is one missing after"
    ):
        taken(parts[0])
    parts[0].unlink()
    with pytest.raises(DataError, match=r"20bn-v2-01: the part 20bn-v2-00 before it is missing"):
        taken(parts[1])


def test_names_of_archives_and_parts() -> None:
    good = ["a.rar", "a.ZIP", "part_0.tar.gz", "a.tgz", "20bn-something-something-v2-07", "x.tar.gz.aa", "x.tar.001"]
    assert all(archives.is_archive(PurePosixPath(name)) for name in good)
    assert not any(archives.is_archive(PurePosixPath(name)) for name in ("a.avi", "a-01.avi", "notes.txt", "README"))
    parts = [name for name in good if archives.is_part(PurePosixPath(name))]
    assert parts == ["20bn-something-something-v2-07", "x.tar.gz.aa", "x.tar.001"]


def test_progress_adds_up(tmp_path: Path, tool: None) -> None:
    @contextmanager
    def progress(title: str, total: float, unit: str):  # type: ignore[no-untyped-def]
        shown.append(f"{title} {unit}")

        def step(done: float = 1, note: str = "") -> None:
            seen[0] += done

        yield step
        assert seen[0] <= total * 1.001

    for kind in ("tgz", "zip", "rar"):
        shown, seen = [], [0.0]
        path = write(kind, tmp_path, {f"{i}.avi": bytes(range(256)) * 50 for i in range(9)})
        unpack(path, lambda name, size: tmp_path / "out" / name, tmp_path / "scratch", progress=progress)
        assert shown == [f"unpacking {path.name} MB"] and seen[0] > 0.5 * path.stat().st_size / 1e6


def test_gzip_with_rubbish_inside(tmp_path: Path, taken: Callable[..., dict[str, bytes]]) -> None:
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(b"not a tar" * 999))
    with pytest.raises(DataError, match=r"a\.tar\.gz: damaged or cut short"):
        taken(tmp_path / "a.tar.gz")
