"""What is lost of a clip, in words and shares; boundaries of the rules, and headers byte by byte."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_headers import asf, boxes, gif, matroska, packets, riff

from kshot.video import damage
from kshot.video.damage import Damage, Packets, cut, short


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# ---- the finding itself --------------------------------------------------------------------------------------------


def test_a_finding_reads_as_a_sentence() -> None:
    assert str(Damage(0.756, "its end is missing")) == "damaged, 76% of it is there: its end is missing"


@pytest.mark.parametrize(
    "value",
    [
        None, 3, "kept", [], ["kept"], {}, {"kept": 0.5}, {"reason": "x"}, {"kept": "0.5", "reason": "x"},
        {"kept": -0.001, "reason": "x"}, {"kept": 1.001, "reason": "x"}, {"kept": float("nan"), "reason": "x"},
        {"kept": 0.5, "reason": None}, {"kept": None, "reason": "x"}, {"kept": 0.5, "reason": 3},
    ],
)  # fmt: skip
def test_what_is_no_finding_is_not_read_as_one(value: object) -> None:
    assert Damage.parse(value) is None


@pytest.mark.parametrize("kept", [0, 1, 0.0, 1.0, 0.25])
def test_shares_from_none_to_all_are_read(kept: float) -> None:
    assert Damage.parse({"kept": kept, "reason": "", "fatal": True}) == Damage(kept, "", fatal=False)


def test_plain_findings_round_to_a_thousandth() -> None:
    assert Damage(2 / 3, "x", fatal=True).plain() == {"kept": 0.667, "reason": "x"}


def test_findings_are_joined_from_the_worst_to_the_least() -> None:
    found = Damage.worst(iter([Damage(0.9, "b"), None, Damage(0.2, "a"), Damage(0.9, "c")]))
    assert found == Damage(0.2, "a; b; c") and not found.fatal


@pytest.mark.parametrize(
    ("found", "promised", "lost"),
    [(9, 10, False), (10, 11, False), (8, 9, True), (98, 100, True), (0, 0, False), (0, 1, True), (11, 10, False)],
)
def test_one_empty_frame_is_no_loss_where_there_are_ten(found: int, promised: int, lost: bool) -> None:
    assert (short(found, promised, "frames") is not None) == lost


def test_counts_are_told_with_their_thousands() -> None:
    lost = short(1200, 12_000, "pictures are there")
    assert lost == Damage(0.1, "1,200 of 12,000 pictures are there")


# ---- packets -------------------------------------------------------------------------------------------------------


def early(**changes: Any) -> float | None:
    found = packets(**changes)._early()
    return None if found is None else found.kept


def hole(pts: list[int] | np.ndarray, **changes: Any) -> Damage | None:
    return packets(pts=np.asarray(pts), **changes)._hole()


@pytest.mark.parametrize("changes", [{"end": 0}, {"promised": 50}, {"format": "avi"}])
def test_files_that_list_their_frames_or_say_nothing_do_not_end_early(changes: dict[str, Any]) -> None:
    assert early(seconds=20.0) == 0.25
    assert early(seconds=20.0, **changes) is None


def test_the_end_is_early_below_nine_tenths() -> None:
    assert early(end=9000, seconds=0.0) is None
    assert early(end=8999, seconds=0.0) == 0.8999
    assert early(seconds=5.0 / 0.9) is None
    assert early(seconds=5.7) == pytest.approx(5 / 5.7)
    assert early(seconds=1.0) is None, "more than was announced"


def test_the_time_shown_reaches_to_the_end_of_the_last_frame() -> None:
    assert early(seconds=10.0, pts=1000 + np.arange(50) * 100) == pytest.approx(0.5)
    assert early(seconds=10.0, length=2100) == pytest.approx(0.7)
    assert early(seconds=10.0, base=0.0005) == pytest.approx(0.25)


def test_without_an_announced_time_the_place_alone_tells() -> None:
    assert early(seconds=0.0, end=5000, alone=False) == 0.5
    assert early(seconds=0.0, end=5000, alone=True) == 0.5
    assert early(end=20_000) is None, "an end behind the file is its end"


@pytest.mark.parametrize(
    ("format", "block"), [("asf", 4096), ("mpeg", 4096), ("ogg", 65_307), ("matroska,webm", 0), ("mpegts", 0)]
)
def test_a_packet_stands_where_its_block_begins(format: str, block: int) -> None:
    size = 1_000_003
    assert early(format=format, size=size, end=400_000, seconds=0.0) == pytest.approx((400_000 + block) / size)


def test_streams_of_discs_are_padded_to_whole_units() -> None:
    unit = 32 * 192
    assert early(format="mpegts", size=100 * unit, end=50 * unit, seconds=0.0) == pytest.approx(0.51)
    assert early(format="mpegts", size=100 * unit + 192, end=50 * unit, seconds=0.0) == pytest.approx(0.5, abs=0.01)
    assert early(format="mpegts", size=100 * unit + 192, end=50 * unit, seconds=0.0) < 0.5  # type: ignore[operator]
    assert early(format="asf", size=100 * unit, end=50 * unit, seconds=0.0) == pytest.approx(0.5 + 4096 / (100 * unit))


def test_the_reason_of_an_early_end_says_how_much_was_read() -> None:
    found = packets(end=4040, seconds=0.0)._early()
    assert found is not None and found.reason == "nothing could be read after 40% of what its header announces"


def slow_hole(pts: list[int]) -> tuple[float, int] | None:
    """Share that is left and frames that are lost: intervals of more than one and a half, and rounding, count."""
    steps = [later - earlier for earlier, later in pairwise(pts)]
    if len(steps) < 9:
        return None
    usual = float(np.median(steps))
    wide = [step for step in steps if step > 1.5 * usual + 1]
    lost = sum(round(step / usual - 1) for step in wide)
    kept = len(pts) / (len(pts) + lost)
    return None if len(wide) > 0.1 * len(steps) or kept >= 0.9 else (kept, lost)


def test_holes_are_those_of_a_slow_search() -> None:
    rng = np.random.default_rng(5)
    seen = 0
    for _ in range(400):
        places = np.flatnonzero(rng.uniform(size=int(rng.integers(9, 80))) < rng.choice([0.5, 0.95, 1.0]))
        start, width = int(rng.integers(0, 60)), int(rng.integers(0, 30))
        places = places[(places < start) | (places >= start + width)]
        if len(places) < 2:
            continue
        found, slow = hole(places * 100), slow_hole((places * 100).tolist())
        assert (None if found is None else (found.kept, int(found.reason.split()[1]))) == slow
        seen += slow is not None
    assert seen > 10


def test_a_hole_is_a_tenth_of_the_intervals_at_most_and_a_list_of_frames_forbids_it() -> None:
    gap = [*range(5), *range(20, 26)]  # one of ten intervals
    assert hole(np.array(gap) * 100) is not None
    assert hole(np.array(gap[1:]) * 100) is None, "one of nine: that is how it was filmed"
    assert hole(np.array(gap) * 100, promised=10) is None
    for format in ("gif", "avi"):
        assert hole(np.array(gap) * 100, format=format) is None, f"{format} has its own ways"


def test_the_place_of_a_hole_is_seen_from_the_first_frame() -> None:
    found = hole(9000 + np.array([*range(5), *range(25, 40)]) * 100, base=0.01)
    assert found is not None and found.reason == "about 20 frames are missing, most of them after 4.00 seconds"
    assert found.kept == 0.5 and not found.fatal


def test_frames_at_one_moment_have_no_hole() -> None:
    assert hole([0] * 30) is None
    assert hole([0] * 29 + [500]) is None, "without a usual interval nothing can be counted"


def test_all_findings_of_a_file_are_joined(tmp_path: Path) -> None:
    path = written(tmp_path / "clip.mkv", b"x" * 100)
    about: Packets = packets(promised=100, corrupt=10)
    found = about.damage(path)
    assert found == Damage(0.5, "50 of 100 frames that the file lists are there; 10 of 50 packets are corrupt")
    assert packets().damage(path) is None


# ---- headers -------------------------------------------------------------------------------------------------------

BOXES = (
    *("ftyp", "styp", "moof", "moov", "mdat", "mfra", "meta", "free", "skip", "wide"),
    *("ssix", "sidx", "prft", "emsg", "uuid", "pnot", "udta"),
)


@pytest.mark.parametrize("name", BOXES)
def test_every_box_of_a_file_promises_its_length(tmp_path: Path, name: str) -> None:
    data = boxes((b"ftyp", 16), (name.encode(), 200))
    found = cut(written(tmp_path / "clip.mp4", data[:-100]), "mov,mp4,m4a")
    assert found is not None and found.kept == pytest.approx(1 - 100 / len(data))
    assert cut(tmp_path / "clip.mp4", "mov,m4a") is None, "headers are read by the name of the format"


@pytest.mark.parametrize("name", [b"junk", b"moox", b"smix", b"FTYP", b"MDAT"])
def test_what_bears_no_name_of_a_box_promises_nothing(tmp_path: Path, name: bytes) -> None:
    data = boxes((b"ftyp", 16), (name, 10_000))
    assert cut(written(tmp_path / "clip.mp4", data[:100]), "mp4") is None


def test_boxes_shorter_than_their_own_header_end_the_search(tmp_path: Path) -> None:
    tail = boxes((b"mdat", 10_000))[:200]
    for length, followed in ((7, False), (8, True)):
        data = struct.pack(">I4s", length, b"free") + tail
        found = cut(written(tmp_path / "clip.mp4", data), "mp4")
        assert (found is not None) == followed, length


def test_a_last_header_without_its_box_is_still_read(tmp_path: Path) -> None:
    data = boxes((b"ftyp", 16), (b"mdat", 5000))
    assert cut(written(tmp_path / "clip.mp4", data[: 24 + 16]), "mp4") is not None
    assert cut(written(tmp_path / "clip.mp4", data[: 24 + 15]), "mp4") is None, "half a header says nothing"


def test_chunks_of_odd_length_and_their_end(tmp_path: Path) -> None:
    path = written(tmp_path / "clip.avi", riff((b"LIST", b"abc"), (b"JUNK", b"12345"), (b"idx1", b"")))
    with path.open("rb") as file:
        found = list(damage._chunks(file, 12, path.stat().st_size))
    assert found == [(b"LIST", 12 + 8 + 3), (b"JUNK", 12 + 8 + 4 + 8 + 5), (b"idx1", 12 + 8 + 4 + 8 + 6 + 8)]


@pytest.mark.parametrize("bits", range(8))
def test_colour_tables_of_all_sizes(tmp_path: Path, bits: int) -> None:
    """Neither a table of 2 to 256 colours nor one that is only announced throws the search off its way."""
    whole = gif(colours=bits, local=bits)
    assert cut(written(tmp_path / "clip.gif", whole), "gif") is None
    unused = bytearray(gif())
    unused[10] |= bits  # a size without the bit that says there is a table
    assert cut(written(tmp_path / "clip.gif", bytes(unused)), "gif") is None


def test_a_gif_whose_blocks_break_off_says_where(tmp_path: Path) -> None:
    start = 13
    data = gif()[:start] + b"?" + b"x" * 86
    found = cut(written(tmp_path / "clip.gif", data), "gif")
    assert found == Damage(0.13, "its blocks end after 13 of 100 bytes")
    found = cut(written(tmp_path / "clip.gif", gif()[:-1]), "gif")
    assert found == Damage(1.0, "the file ends before its trailer")


@pytest.mark.parametrize(("size", "kept"), [(188 * 7 + 5, 1 - 5 / 1321), (192 * 9 + 3, 1 - 3 / 1731)])
def test_a_torn_transport_stream_has_lost_a_packet_at_least(tmp_path: Path, size: int, kept: float) -> None:
    found = cut(written(tmp_path / "clip.ts", b"G" * size), "mpegts")
    assert found is not None and found.kept == pytest.approx(kept)
    assert found.fatal and found.reason == "the file ends within a packet"


def test_a_short_file_says_what_it_has_and_what_was_promised(tmp_path: Path) -> None:
    found = cut(written(tmp_path / "clip.mp4", boxes((b"mdat", 99_992))[:50_000]), "mp4")
    assert found == Damage(0.5, "the file has 50,000 of the 100,000 bytes that its headers promise")


def test_headers_of_one_format_say_nothing_in_another(tmp_path: Path) -> None:
    files = {
        "mp4": boxes((b"ftyp", 16), (b"mdat", 5000)), "matroska": matroska(b"\x41\x00", 256), "asf": asf(9000, 0, 9000),
        "avi": riff((b"LIST", b"a" * 5000)),
    }  # fmt: skip
    for own, data in files.items():
        path = written(tmp_path / "clip", data[:200])
        assert {format for format in (*files, "flv", "ogg") if cut(path, format) is not None} == {own}


@pytest.mark.parametrize(("place", "seen"), [(0, True), (1, True), ((1 << 16) - 92, True), ((1 << 16) - 91, False)])
def test_the_properties_of_asf_are_looked_for_in_the_first_64_kibibytes(tmp_path: Path, place: int, seen: bool) -> None:
    properties = asf(1 << 30, 0, 0)[30:]
    path = written(tmp_path / "clip.wmv", b"h" * place + properties + b"d" * 100)
    assert (cut(path, "asf") is not None) == seen


@pytest.mark.parametrize("at", [0, 15])
def test_another_mark_where_a_matroska_element_should_be_promises_nothing(tmp_path: Path, at: int) -> None:
    data = bytearray(matroska(b"\x41\x00", 256)[:100])
    assert cut(written(tmp_path / "clip.mkv", bytes(data)), "matroska") is not None
    data[at] ^= 1
    assert cut(written(tmp_path / "clip.mkv", bytes(data)), "matroska") is None
