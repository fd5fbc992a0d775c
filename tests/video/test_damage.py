"""What is lost of a clip is named with its share; a decoder error, or more than a tenth, makes it unreadable."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from test_video import FILES

from kshot import video
from kshot.errors import VideoError
from kshot.video import damage
from kshot.video.damage import ENOUGH, Damage
from scenes import COUNT, scene, write

MUTATED = {
    "faststart.mp4": {"g": "12"},
    "fragments.mp4": {"g": "12", "bf": "0"},
    **{
        name: FILES[name] for name in ("short-gop.mp4", "long-gop.mkv", "mpeg4.avi", "mjpeg.avi", "vp9.webm", "h264.ts")
    },
    **{name: FILES[name] for name in ("no-b-frames.flv", "wmv.asf", "animation.gif")},
}
MUXERS = {
    "faststart.mp4": {"movflags": "faststart"},
    "fragments.mp4": {"movflags": "frag_keyframe+empty_moov"},
}


def mutants(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The file cut at several shares, and with blocks of it set to zero."""
    size = len(data)
    for share in (0.15, 0.3, 0.5, 0.7, 0.85, 0.95):
        # An odd number, as a transport stream that is cut between its packets is a whole one, only shorter.
        yield f"cut at {share}", data[: int(size * share) | 1]
    for start in (0.1, 0.3, 0.5, 0.8):
        for width in (0.02, 0.1, 0.3):
            first, last = int(size * start), int(size * min(1, start + width))
            yield f"zeros from {start} for {width}", data[:first] + bytes(last - first) + data[last:]


def survivors(path: Path) -> int:
    """Frames that come out of a plain decode which goes on after errors, those that FFmpeg calls corrupt left out."""
    count = 0
    try:
        with av.open(str(path), metadata_errors="replace") as file:
            for packet in file.demux(video=0):
                try:
                    count += sum(not frame.is_corrupt for frame in packet.decode())
                except av.error.FFmpegError:
                    continue
    except av.error.FFmpegError:
        pass
    return count


@pytest.mark.parametrize("name", MUTATED)
def test_no_accepted_mutant_has_lost_a_tenth_of_its_frames_without_being_named(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, scene(COUNT, 96, 64), muxer=MUXERS.get(name), **MUTATED[name])
    data = path.read_bytes()
    assert video.take(path, 8).damage is None
    accepted = named = 0
    for what, content in mutants(data):
        path.write_bytes(content)
        try:
            found = video.take(path, 8).damage
        except VideoError:
            continue
        accepted += 1
        named += found is not None
        if survivors(path) < ENOUGH * COUNT:
            assert found, f"{what}: {survivors(path)} of {COUNT} frames, and not a word"
        assert found is None or (found.kept >= ENOUGH and not found.fatal and found.reason)
    assert accepted < 18, "nothing was refused"


def test_a_clip_cut_to_one_frame_is_no_clip(shared: Path) -> None:
    with pytest.raises(VideoError, match=r"the file has 9,000 of the 227,356 bytes that its headers promise"):
        video.read(shared.parent / "cases" / "cut-at-9kB.avi")
    left = video.take(shared.parent / "cases" / "cut-at-9kB.avi", allow_damaged=True)
    assert left.damage is not None and left.damage.kept < 0.05


@pytest.mark.slow
def test_headers_of_avi_that_count_too_many_are_no_damage(shared: Path) -> None:
    """All 570 real clips keep what they deserve, though the headers of J-HMDB promise 3 to 8 frames more."""
    with (shared / "clips" / "clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 570
    assert sum(int(row["header_frames"] or 0) > int(row["frames"]) for row in rows) >= 400
    for row in rows:
        assert video.take(shared / "clips" / row["path"], 8, size=16).damage is None, row["path"]


def test_of_a_cut_avi_the_bytes_tell_the_share_and_not_its_header(tmp_path: Path, shared: Path) -> None:
    """The header of this clip counts 48 frames, of which there are 40; without its index 39 can be read."""
    whole = shared / "clips" / "jhmdb" / "brush_hair" / "long_hair_Christa__brush_hair_u_nm_np1_le_goo_0.avi"
    data = whole.read_bytes()
    path = tmp_path / "cut.avi"
    path.write_bytes(data[: len(data) * 98 // 100])
    found = video.take(path).damage
    assert found is not None and 0.93 < found.kept < 0.99 and not found.fatal
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match="damaged, 50% of it is there"):
        video.take(path)


def test_damage_adds_up_and_says_what() -> None:
    one, other = Damage(0.97, "a packet"), Damage(0.5, "the end", fatal=True)
    assert Damage.worst([]) is None and Damage.worst([None, one]) == one
    both = Damage.worst([one, None, other])
    assert both == Damage(0.5, "the end; a packet", True) and both is not None and both.unreadable
    assert not one.unreadable and Damage(0.89, "").unreadable and Damage(1.0, "", fatal=True).unreadable
    assert one.plain() == {"kept": 0.97, "reason": "a packet"}
    assert str(one) == "damaged, 97% of it is there: a packet"


def test_a_single_empty_packet_is_no_loss_but_half_of_two_frames_is() -> None:
    """Packed B-frames leave one packet without a picture."""
    assert damage.short(83, 84, "frames") is None and damage.short(84, 83, "frames") is None
    assert damage.short(82, 84, "frames") == Damage(82 / 84, "82 of 84 frames")
    assert damage.short(1, 2, "frames") == Damage(0.5, "1 of 2 frames")


def test_what_lies_behind_a_whole_file_is_no_damage(tmp_path: Path) -> None:
    """Tags and rubbish at the end, which no header promises."""
    for name in ("faststart.mp4", "mpeg4.avi", "long-gop.mkv"):
        path = write(tmp_path / name, scene(24), muxer=MUXERS.get(name), **MUTATED[name])
        path.write_bytes(path.read_bytes() + b"TAG" + b"rubbish 123 " * 20)
        assert video.take(path, 8).damage is None, name


def test_a_pause_in_a_listing_container_is_a_rate_and_no_hole(tmp_path: Path) -> None:
    """An MP4 lists its frames; of a stream, equal intervals with one hole of a third look like a loss."""
    times = [*range(20), *range(30, 40)]
    held = write(tmp_path / "held.mp4", scene(30), times=times, bf="0")
    assert video.take(held, 8).damage is None
    with pytest.raises(
        VideoError, match=r"damaged, 75% of it is there: about 10 frames are missing, most of them after 0\.76"
    ):
        video.take(write(tmp_path / "hole.mkv", scene(30), times=times, bf="0"), 8)
    halting = write(tmp_path / "halting.mkv", scene(12), times=np.cumsum([0, *[1, 5, 2] * 3, 1, 5]).tolist(), bf="0")
    assert video.take(halting, 8).damage is None


def test_numbers_missing_from_a_frame_folder(tmp_path: Path) -> None:
    for index in range(20):
        Image.fromarray(scene(1)[0]).save(tmp_path / f"img_{index:03d}.png")
    assert video.take(tmp_path, 4).damage is None
    (tmp_path / "img_007.png").unlink()
    assert video.take(tmp_path, 4).damage == Damage(
        0.95, "1 of 20 numbered frames are missing, the first after img_006.png"
    )
    for index in (8, 9):
        (tmp_path / f"img_{index:03d}.png").unlink()
    with pytest.raises(VideoError, match="85% of it is there: 3 of 20 numbered frames are missing"):
        video.take(tmp_path, 4)
    for index in range(20):
        if index % 5:
            (tmp_path / f"img_{index:03d}.png").unlink(missing_ok=True)
    assert video.take(tmp_path, 4).damage is None, "every fifth frame is a choice, not a loss"


def test_the_timeline_tells_of_a_cut_that_no_duration_shows(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.avi", scene(COUNT, 96, 64), codec="mjpeg")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 97 // 100])
    samples = video.Samples(path, 0.2)
    assert len(list(samples)) >= 8 and "bytes that its headers promise" in samples.failure
