"""Where a file's own headers say that it ends, for files made byte by byte: whole ones, cut ones, odd ones."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from kshot.video import damage
from kshot.video.damage import ENOUGH, Damage, Packets, cut, short


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """An AVI: the length of the RIFF chunk, then chunks padded to even lengths."""
    body = b"AVI " + b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def boxes(*parts: tuple[bytes, int]) -> bytes:
    """An MP4: boxes of so many bytes of content."""
    return b"".join(struct.pack(">I4s", 8 + size, name) + b"x" * size for name, size in parts)


def matroska(length: bytes, size: int) -> bytes:
    """An EBML header of 10 bytes and a segment whose length is written as given."""
    return b"\x1aE\xdf\xa3\x8a" + b"h" * 10 + b"\x18S\x80g" + length + b"s" * size


def asf(total: int, flags: int, size: int) -> bytes:
    """The file properties object, behind 30 bytes of another."""
    about = bytearray(104)
    about[:16] = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
    struct.pack_into("<Q", about, 40, total)
    struct.pack_into("<I", about, 88, flags)
    return (b"h" * 30 + bytes(about)).ljust(size, b"d")


def gif(trailer: bytes = b";", colours: int = 0, local: int = 0) -> bytes:
    """A picture of two data blocks behind an extension, with colour tables where asked for."""
    screen = b"GIF89a" + struct.pack("<HH", 4, 4) + bytes([128 | colours if colours else 0, 0, 0])
    table = b"c" * (3 << colours + 1) if colours else b""
    picture = b"," + struct.pack("<HHHH", 0, 0, 4, 4) + bytes([128 | local if local else 0])
    picture += (b"l" * (3 << local + 1) if local else b"") + b"\x08" + b"\x03abc" + b"\x02de" + b"\0"
    return screen + table + b"!\xf9\x04abcd\0" + picture + trailer


WHOLE = {
    "avi": riff((b"LIST", b"a" * 100), (b"idx1", b"i" * 33)),
    "mov,mp4,m4a,3gp,3g2,mj2": boxes((b"ftyp", 16), (b"moov", 200), (b"mdat", 400)),
    "matroska,webm": matroska(b"\x41\x00", 256),
    "asf": asf(1000, 0, 1000),
    "gif": gif(),
    "mpegts": b"G" * 188 * 5,
}


@pytest.mark.parametrize("format", WHOLE)
def test_a_whole_file_is_whole_and_a_cut_one_says_how_much_is_there(tmp_path: Path, format: str) -> None:
    path, data = tmp_path / "clip", WHOLE[format]
    path.write_bytes(data)
    assert cut(path, format) is None
    path.write_bytes(data[: len(data) * 6 // 10 | 1])
    found = cut(path, format)
    assert found is not None and 0 < found.kept <= 1 and found.reason
    assert format != "gif" or found == Damage(1.0, "the file ends before its trailer"), (
        "it does not say how long it was"
    )
    if format not in ("mpegts", "gif"):
        assert found.kept == pytest.approx(0.6, abs=0.01)
        assert f"{len(data) * 6 // 10 | 1:,} of the {len(data):,} bytes" in found.reason
        assert found.unreadable and not found.fatal
    assert format != "mpegts" or (found.fatal and found.unreadable)


def test_headers_may_be_wrong_by_a_few_bytes(tmp_path: Path) -> None:
    path, data = tmp_path / "clip.avi", WHOLE["avi"]
    for lost in range(40):
        path.write_bytes(data[: len(data) - lost])
        assert (cut(path, "avi") is None) == (lost <= 16), lost


def test_a_recording_of_several_riffs_ends_with_the_last(tmp_path: Path) -> None:
    path, one = tmp_path / "clip.avi", WHOLE["avi"]
    path.write_bytes(one + one)
    assert cut(path, "avi") is None and damage.indexed(path)
    path.write_bytes(one + one[:-60])
    found = cut(path, "avi")
    assert found is not None and found.kept == pytest.approx(1 - 60 / (2 * len(one)))
    path.write_bytes(one + b"\0" * 500)
    assert cut(path, "avi") is None, "padding is no chunk"


def test_an_index_is_seen_where_it_is_and_only_there(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    path.write_bytes(WHOLE["avi"])
    assert damage.indexed(path)
    path.write_bytes(riff((b"LIST", b"idx1" * 40)))
    assert not damage.indexed(path), "within another chunk it is data"
    path.write_bytes(riff((b"LIST", b"a" * 33), (b"idx1", b"i" * 8)))
    assert damage.indexed(path), "chunks of odd length are padded"


def test_boxes_of_large_files_and_strange_ones(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    large = boxes((b"ftyp", 16)) + struct.pack(">I4sQ", 1, b"mdat", 16 + 500) + b"x" * 500
    path.write_bytes(large)
    assert cut(path, "mp4") is None
    path.write_bytes(large[:-200])
    found = cut(path, "mp4")
    assert found is not None and f"of the {len(large):,} bytes" in found.reason
    path.write_bytes(boxes((b"ftyp", 16)) + struct.pack(">I4s", 0, b"mdat") + b"x" * 500)
    assert cut(path, "mp4") is None, "the last box may be as long as the file is"
    path.write_bytes(boxes((b"ftyp", 16), (b"mdat", 100)) + struct.pack(">I4s", 10**6, b"junk") + b"x" * 50)
    assert cut(path, "mp4") is None, "what is no box promises nothing"


@pytest.mark.parametrize("length", [b"\xff", b"\x7f\xff", b"\x01" + b"\xff" * 7])
def test_a_live_recording_promises_nothing(tmp_path: Path, length: bytes) -> None:
    (tmp_path / "clip.mkv").write_bytes(matroska(length, 300))
    assert cut(tmp_path / "clip.mkv", "matroska,webm") is None


@pytest.mark.parametrize("length", [b"\x41\x00", b"\x20\x01\x00", b"\x01" + b"\0" * 5 + b"\x01\x00"])
def test_lengths_of_any_width_are_read(tmp_path: Path, length: bytes) -> None:
    path, data = tmp_path / "clip.mkv", matroska(length, 256)
    path.write_bytes(data)
    assert cut(path, "matroska,webm") is None
    path.write_bytes(data[:-100])
    found = cut(path, "matroska,webm")
    assert found is not None and found.kept == pytest.approx(1 - 100 / len(data))


def test_a_broadcast_of_asf_has_no_length(tmp_path: Path) -> None:
    path = tmp_path / "clip.wmv"
    for flags, cut_off in ((0, True), (1, False), (2, True), (3, False)):
        path.write_bytes(asf(1000, flags, 500))
        assert (cut(path, "asf") is not None) == cut_off, flags
    path.write_bytes(b"no properties at all" * 50)
    assert cut(path, "asf") is None


@pytest.mark.parametrize("tables", [{}, {"colours": 2}, {"local": 1}, {"colours": 7, "local": 3}])
def test_blocks_of_a_gif_are_followed_over_its_colour_tables(tmp_path: Path, tables: dict[str, int]) -> None:
    path = tmp_path / "clip.gif"
    path.write_bytes(gif(**tables))
    assert cut(path, "gif") is None
    path.write_bytes(gif(b"\0\0;", **tables))
    assert cut(path, "gif") is None, "stray zeros are common"
    broken = gif(b"?", **tables)
    path.write_bytes(broken + b"!" * 50)
    found = cut(path, "gif")
    assert found is not None and f"end after {len(broken) - 1:,} of {len(broken) + 50:,} bytes" in found.reason


@pytest.mark.parametrize("packet", [188, 192, 204])
def test_transport_streams_of_all_packet_lengths(tmp_path: Path, packet: int) -> None:
    path = tmp_path / "clip.ts"
    path.write_bytes(b"G" * packet * 7)
    assert cut(path, "mpegts") is None
    path.write_bytes(b"G" * (packet * 7 + 5))
    assert (cut(path, "mpegts") is None) == ((packet * 7 + 5) % 188 == 0)


def test_files_too_short_for_a_header(tmp_path: Path) -> None:
    for format in WHOLE:
        for size in range(20):
            (tmp_path / "clip").write_bytes(WHOLE[format][:size] or b"x")
            cut(tmp_path / "clip", format)


def packets(**changes: object) -> Packets:
    about = {
        "format": "matroska,webm", "size": 10_000, "count": 50, "corrupt": 0, "promised": 0, "seconds": 5.0,
        "pts": np.arange(50) * 100, "base": 0.001, "length": 100, "end": 10_000, "alone": True,
    }  # fmt: skip
    return Packets(**{**about, **changes})  # type: ignore[arg-type]


def parts(about: Packets) -> list[Damage]:
    return [one for one in (about._missing(), about._early(), about._hole(), about._corrupt()) if one]


def test_whole_packets_show_no_damage() -> None:
    assert parts(packets()) == [] == parts(packets(promised=50))


def test_missing_corrupt_and_early() -> None:
    (missing,) = parts(packets(promised=100))
    assert missing.kept == 0.5 and "50 of 100 frames that the file lists" in missing.reason
    (corrupt,) = parts(packets(corrupt=10))
    assert corrupt.kept == 0.8 and not corrupt.fatal
    (early,) = parts(packets(seconds=10.0))
    assert early.kept == 0.5
    (early,) = parts(packets(end=4000))
    assert early.kept == pytest.approx(0.4)


def test_beside_other_streams_both_the_time_and_the_place_are_needed() -> None:
    """Sound may last longer than the pictures, and may lie behind them."""
    assert parts(packets(seconds=10.0, alone=False)) == [] == parts(packets(end=4000, alone=False))
    (early,) = parts(packets(seconds=10.0, end=4000, alone=False))
    assert early.kept == 0.5


def test_a_hole_is_told_from_a_rate() -> None:
    hole = np.concatenate([np.arange(20), np.arange(40, 60)]) * 100
    (found,) = parts(packets(pts=hole, seconds=6.0))
    assert (
        found.kept == pytest.approx(40 / 60) and "about 20 frames are missing, most of them after 1.90" in found.reason
    )
    assert parts(packets(pts=np.repeat(np.arange(20), 2) * 200 + np.tile([0, 30], 20), seconds=4.0)) == [], "a rate"
    small = np.delete(np.arange(50), 20) * 100
    assert parts(packets(pts=small)) == [], "less than a tenth"


def test_short_counts() -> None:
    for found, promised, kept in ((5, 5, None), (6, 5, None), (49, 50, None), (48, 50, 0.96), (1, 2, 0.5)):
        damage_found = short(found, promised, "frames")
        assert (None if damage_found is None else damage_found.kept) == kept


def test_the_worst_part_counts_with_all_reasons() -> None:
    assert Damage.worst([None, None]) is None
    found = Damage.worst([Damage(0.95, "a"), None, Damage(0.7, "b"), Damage(1.0, "c", fatal=True)])
    assert found == Damage(0.7, "b; a; c", fatal=True) and found.unreadable
    assert [Damage(kept, "").unreadable for kept in (ENOUGH, ENOUGH - 0.001)] == [False, True]
    assert Damage(0.99, "", fatal=True).unreadable


def test_plain_is_read_back() -> None:
    for one in (Damage(0.5, "half"), Damage(1.0, ""), Damage(0.0, "all")):
        assert Damage.parse(one.plain()) == one
    assert Damage.parse(Damage(0.123456, "x", fatal=True).plain()) == Damage(0.123, "x")
