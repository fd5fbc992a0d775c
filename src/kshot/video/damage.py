"""What is lost of a damaged clip: what its container promises against what is there.

Known traps are kept out: headers of AVI count frames that never were (all J-HMDB clips), so an index, where there is
one, is believed instead; those of Matroska, MPEG and GIF count none. There the length of the file, the time that the
header announces and holes between equally long frames tell.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

ENOUGH = 0.9  # share of a clip below which it counts as unreadable unless that is allowed
_BOXES = rb"ftyp|styp|moo[vf]|mdat|mfra|meta|free|skip|wide|s[si][id]x|prft|emsg|uuid|pnot|udta"
_SLACK = 16  # bytes that headers may be wrong by: some writers count their own


@dataclass(frozen=True)
class Damage:
    """What is lost of a clip.

    Attributes:
        kept: share (0 to 1) of what the container promises that is there.
        reason: what is lost, in words.
        fatal: whether a decoder met an error, so that nothing is known of what it did not reach.
    """

    kept: float
    reason: str
    fatal: bool = False

    def __str__(self) -> str:
        return f"damaged, {self.kept:.0%} of it is there: {self.reason}"

    @property
    def unreadable(self) -> bool:
        """Whether a clip is left out for it unless damaged clips are allowed."""
        return self.fatal or self.kept < ENOUGH

    def plain(self) -> dict[str, Any]:
        """kept and reason, as results list them."""
        return {"kept": round(self.kept, 3), "reason": self.reason}

    @classmethod
    def parse(cls, value: object) -> Damage | None:
        """What `plain` gave, read back; None for anything else."""
        kept, reason = (value.get("kept"), value.get("reason")) if isinstance(value, dict) else (None, None)
        if not isinstance(kept, int | float) or not 0 <= kept <= 1 or not isinstance(reason, str):
            return None
        return cls(kept, reason)

    @classmethod
    def worst(cls, found: Iterable[Damage | None]) -> Damage | None:
        """The one that leaves least, with the reasons of all."""
        damages = sorted((one for one in found if one), key=lambda one: one.kept)
        if not damages:
            return None
        return cls(damages[0].kept, "; ".join(one.reason for one in damages), any(one.fatal for one in damages))


@dataclass(frozen=True)
class Packets:
    """What the packets of a file's video stream say, all that is needed to tell what is missing.

    Attributes:
        format: FFmpeg's name of the container.
        size: bytes of the file.
        count: number of packets, those outside an edit list, too.
        corrupt: how many of them FFmpeg calls corrupt.
        promised: frames that the container counts; 0 if it does not.
        seconds: length that the container announces; 0 if it does not.
        pts: int64 (frames,), when each frame appears, ascending, in units of `base`.
        base: seconds a unit.
        length: of a frame, in units of `base`.
        end: position in the file after the last packet, in bytes; 0 if unknown.
        alone: whether the file has no other stream.
    """

    format: str
    size: int
    count: int
    corrupt: int
    promised: int
    seconds: float
    pts: np.ndarray
    base: float
    length: int
    end: int
    alone: bool

    def damage(self, path: Path) -> Damage | None:
        """All that these packets and the file's own length tell."""
        return Damage.worst((cut(path, self.format), self._missing(), self._early(), self._hole(), self._corrupt()))

    def _missing(self) -> Damage | None:
        return short(self.count, self.promised, "frames that the file lists are there")

    def _corrupt(self) -> Damage | None:
        if not self.corrupt:
            return None
        return Damage(1 - self.corrupt / self.count, f"{self.corrupt} of {self.count} packets are corrupt")

    def _early(self) -> Damage | None:
        """Where reading stopped long before the end of the file, or of the time announced. Beside other streams both
        are needed: sound may last longer, and may lie behind the pictures."""
        if not self.end or self.promised or self.format == "avi":
            return None
        # Packets are placed by the block or page that they begin in; Blu-ray's streams are padded to whole units.
        block = {"asf": 4096, "mpeg": 4096, "ogg": 65_307}.get(self.format, 0)
        if self.format == "mpegts" and self.size % (32 * 192) == 0:
            block = 32 * 192
        read = min(1.0, (self.end + block) / self.size)
        shown = float(self.pts[-1] - self.pts[0] + self.length) * self.base / self.seconds if self.seconds else read
        kept = min(read, shown) if self.alone else max(read, shown)
        if kept >= ENOUGH:
            return None
        return Damage(kept, f"nothing could be read after {kept:.0%} of what its header announces")

    def _hole(self) -> Damage | None:
        """Gaps in a series of otherwise equal intervals, in containers that do not list their frames."""
        steps = np.diff(self.pts)
        if self.promised or len(steps) < 9 or self.format in ("gif", "avi"):
            return None
        usual = float(np.median(steps))
        gaps = steps > 1.5 * usual + 1
        lost = int(np.rint(steps[gaps] / usual - 1).sum()) if usual else 0
        kept = len(self.pts) / (len(self.pts) + lost)
        if gaps.mean() > 0.1 or kept >= ENOUGH:  # a variable rate, or dropped at the camera
            return None
        at = float(self.pts[np.argmax(steps)] - self.pts[0]) * self.base
        return Damage(kept, f"about {lost} frames are missing, most of them after {at:.2f} seconds")


def short(found: int, promised: int, what: str) -> Damage | None:
    """Fewer frames than promised. One may be an empty one, such as packed B-frames leave behind.

    Args:
        found: frames that are there.
        promised: frames that should be.
        what: they are, as the end of a sentence.
    """
    if found >= promised or (promised - found == 1 and found >= ENOUGH * promised):
        return None
    return Damage(found / promised, f"{found:,} of {promised:,} {what}")


def cut(path: Path, format: str) -> Damage | None:
    """Whether a file is shorter than its own headers say.

    Args:
        path: of the file.
        format: FFmpeg's name of its container, which chooses the headers.
    """
    size = os.path.getsize(path)
    with path.open("rb") as file:
        if format == "mpegts":
            rest = [size % packet for packet in (188, 192, 204)]
            return None if 0 in rest else Damage(1 - min(rest) / size, "the file ends within a packet", fatal=True)
        if format == "gif":
            place = _gif(file)
            if place is None:
                return None
            if place >= size:  # lengths of blocks lead behind its end
                return Damage(1.0, "the file ends before its trailer")
            return Damage(place / size, f"its blocks end after {place:,} of {size:,} bytes")
        promised = max(_ends(file, size, format), default=0)
    if size + _SLACK >= promised:
        return None
    return Damage(size / promised, f"the file has {size:,} of the {promised:,} bytes that its headers promise")


def indexed(path: Path) -> bool:
    """Whether an AVI file has its index: it comes last, so a file that was cut has none."""
    with path.open("rb") as file:
        return any(name == b"idx1" for name, _ in _chunks(file, 12, os.path.getsize(path)))


def _ends(file: BinaryIO, size: int, format: str) -> Iterator[int]:
    """Where the parts of a file end, as their headers say."""
    if format == "avi":
        yield from (end for name, end in takewhile(lambda chunk: chunk[0] == b"RIFF", _chunks(file, 0, size)))
    elif "mp4" in format.split(","):
        yield from _boxes(file, size)
    elif "matroska" in format.split(","):
        yield from _segment(file)
    elif format == "asf":
        yield _asf(file)


def _chunks(file: BinaryIO, place: int, size: int) -> Iterator[tuple[bytes, int]]:
    """Names of RIFF chunks from a place on, and where each ends."""
    while place + 8 <= size:
        file.seek(place)
        name, length = struct.unpack("<4sI", file.read(8))
        if not name.strip(b"\0"):
            return  # padding, or what is left of something
        yield name, place + 8 + length
        place += 8 + length + length % 2


def _boxes(file: BinaryIO, size: int) -> Iterator[int]:
    """Ends of the boxes of an ISO base media file (ISO/IEC 14496-12); the last one may be as long as the file is."""
    place = 0
    while place + 16 <= size:
        file.seek(place)
        length, name, large = struct.unpack(">I4sQ", file.read(16))
        length = large if length == 1 else length
        if length < 8 or not re.fullmatch(_BOXES, name):
            return
        place += length
        yield place


def _segment(file: BinaryIO) -> Iterator[int]:
    """End of the segment of a Matroska file (RFC 8794, RFC 9559), where its length is known."""
    place = 0
    for _ in range(2):  # the EBML header, then the segment
        file.seek(place)
        head = file.read(12)
        bytes_of = 9 - head[4].bit_length() if len(head) == 12 and head[4] else 9
        if head[:4] not in (b"\x1aE\xdf\xa3", b"\x18S\x80g") or bytes_of > 8:
            return
        length = int.from_bytes(head[4 : 4 + bytes_of]) & ((1 << 7 * bytes_of) - 1)
        if length == (1 << 7 * bytes_of) - 1:
            return  # unknown: it was written live
        place += 4 + bytes_of + length
    yield place


def _asf(file: BinaryIO) -> int:
    """Bytes of an ASF file, from its file properties; 0 for a stream."""
    head = file.read(1 << 16)
    place = head.find(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    if place < 0 or len(head) < place + 92:
        return 0
    size, flags = struct.unpack_from("<Q", head, place + 40)[0], struct.unpack_from("<I", head, place + 88)[0]
    return 0 if flags & 1 else int(size)  # bit 0: broadcast, nothing else is true then


def _gif(file: BinaryIO) -> int | None:
    """Where the blocks of a GIF file stop being blocks, or should go on; None if they lead to its trailer."""
    head = file.read(13)
    colours = 3 << (head[10] & 7) + 1 if len(head) == 13 and head[10] & 128 else 0
    file.seek(13 + colours)
    while True:
        place = file.tell()
        kind = file.read(1)
        if kind == b"\0":
            continue  # stray ones are common
        if kind == b";":
            return None
        if kind == b",":
            about = file.read(9)
            local = 3 << (about[8] & 7) + 1 if len(about) == 9 and about[8] & 128 else 0
            file.seek(local + 1, os.SEEK_CUR)
        elif kind == b"!":
            file.seek(1, os.SEEK_CUR)
        else:
            return place
        while length := file.read(1):
            if length == b"\0":
                break
            file.seek(length[0], os.SEEK_CUR)
