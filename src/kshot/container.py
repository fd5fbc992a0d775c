"""An open clip, a video file or a folder of frames: its packets scanned, the frames that are wanted decoded.

Media is data, not a program: only local regular files, only known containers, bounded size and length.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageOps

from kshot.errors import VideoError

MAX_PIXELS = 7680 * 4320  # one 8K frame: more is a bomb, not an action clip
MAX_FRAMES = 500_000  # over four hours at 30 frames a second
FOLDER_FPS = 25.0  # frame folders do not say how fast they were taken
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg,gif"
SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".3gp", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".m2ts"}
    | {".wmv", ".asf", ".flv", ".ogv", ".ogg", ".gif"}
)
IMAGES = frozenset({".jpg", ".jpeg", ".png"})

# Codecs whose packets hold exactly one shown frame each. Others (VP8 with hidden frames, ...) are decoded straight.
_ONE_FRAME_A_PACKET = frozenset(
    {"h264", "hevc", "vp9", "av1", "libdav1d", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "h263"}
)
_HELD_PACKETS = 64 << 20  # bytes of compressed packets kept between scan and decode; a larger file is read twice
_HELD_FRAMES = 64 << 20  # bytes of decoded frames kept while the real count is not known yet

ANY_TAGS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
"""Arguments of `av.open` that let tags be no UTF-8; PyAV 19 lets them by itself."""

Pick = Callable[[int], np.ndarray]  # the number of frames -> the indices wanted


@dataclass(frozen=True)
class Scan:
    """What is known of a clip before any frame is decoded.

    Attributes:
        frames: number of frames, counted in packets (or image files).
        exact: one frame per packet with timestamps that order them; otherwise the true count may differ a little.
        pts: int64 (frames,), presentation times in ascending order, in units of `time_base`.
        keyframes: int64, presentation indices of the frames where decoding can start.
        time_base: seconds per unit of `pts`.
        width: as coded, before a rotation tag is applied.
        height: as coded, before a rotation tag is applied.
        seconds: from the start of the first frame to the end of the last.
    """

    frames: int
    exact: bool
    pts: np.ndarray
    keyframes: np.ndarray
    time_base: Fraction
    width: int
    height: int
    seconds: float

    @property
    def fps(self) -> float:
        """Mean frames per second."""
        return self.frames / self.seconds

    @property
    def times(self) -> np.ndarray:
        """Seconds (frames,) of each frame from the first one."""
        seconds: np.ndarray = (self.pts - self.pts[:1]) * float(self.time_base)
        return seconds


def opened(path: str | os.PathLike[str]) -> File | Folder:
    where = Path(os.path.abspath(path))
    if where.is_dir():
        return Folder(where)
    _regular(where)
    return File(where)


@contextmanager
def told(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn every failure into one VideoError line with the file's name and the reason."""
    try:
        yield
    except (VideoError, av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        name = os.fspath(path)
        name = name if name.isprintable() else ascii(name)
        raise VideoError(f"{name}: {_reason(error)}") from error


class File:
    """An open video file: its packets, and the frames decoded from them."""

    failure = ""  # why decoding stopped, where it stopped early

    def __init__(self, path: Path) -> None:
        self.path = path
        self.converter = VideoReformatter()
        self.shape: tuple[int, int] | None = None  # of the first frame: later ones are scaled to it
        self.held: list[Any] | None = None
        self._start()

    def _start(self) -> None:
        """Open the file, or open it again to read it from the start."""
        limits = {"max_pixels": str(MAX_PIXELS)}
        guards = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
        # "file:" keeps names with a colon, a leading dash or a scheme from being read as anything but a name;
        # some AVI tags are not UTF-8.
        self.container = av.open(f"file:{self.path}", mode="r", options={**guards, **limits}, **ANY_TAGS)
        stream = self.container.streams.best("video")
        if stream is None or stream.codec_context is None:
            self.container.close()
            raise VideoError("no video stream that can be decoded")
        self.track = stream
        self.codec = stream.codec_context
        pixels = self.codec.width * self.codec.height
        if not 0 < pixels <= MAX_PIXELS:
            self.container.close()
            found = f"{self.codec.width}x{self.codec.height}" if pixels else "larger ones, or none"
            raise VideoError(f"expected frames of at most {MAX_PIXELS:,} pixels (MAX_PIXELS), found {found}")
        self.codec.options = limits
        self.codec.thread_count = 1  # clips are decoded side by side in worker processes
        self.unread = True

    def close(self) -> None:
        self.held = None
        self.container.close()

    def packets(self) -> Iterator[Any]:
        """All packets of the video stream in decoding order: from memory where they fit, else from the file."""
        if self.held is not None:
            return iter(self.held)
        if not self.unread:
            self.container.close()
            self._start()
        self.unread = False
        # An empty packet would tell the decoder that the stream has ended.
        return (packet for packet in self.container.demux(self.track) if packet.size)

    def scan(self) -> Scan:
        """Read all packets; hold those of a short clip for the decoder."""
        held: list[Any] | None = []
        room = _HELD_PACKETS
        times: list[int | None] = []
        shown: list[bool] = []
        keys: list[bool] = []
        length = 0
        try:
            for packet in self.packets():
                if len(times) >= MAX_FRAMES:
                    raise VideoError(too_long())
                times.append(packet.pts)
                shown.append(not packet.is_discard)  # an edit list cuts the others out
                keys.append(packet.is_keyframe)
                length = packet.duration or length
                if held is not None:
                    held.append(packet)
                    room -= packet.size + 1024
                    held = held if room > 0 else None
        except av.error.FFmpegError as error:  # a cut file: what came before is still good
            self.failure = _reason(error)
        if not any(shown):
            raise VideoError(self.failure or "the file holds no video packet")
        self.held = held
        return self._scanned(times, np.array(shown), np.array(keys), length)

    def _scanned(self, times: list[int | None], shown: np.ndarray, keys: np.ndarray, length: int) -> Scan:
        """Put what the packets say, in order of decoding, into the order of presentation."""
        rate, base = self._clock()
        timed = self._timed() and None not in times and len(set(times)) == len(times)
        if not timed:
            times, base, length = list(range(len(times))), 1 / rate, 1
        pts = np.array(times, dtype=np.int64)
        frames, starts = np.flatnonzero(shown), np.flatnonzero(keys)
        self._positions = frames[np.argsort(pts[frames], kind="stable")]
        self._keys = starts[np.argsort(pts[starts], kind="stable")]
        self._key_pts = pts[self._keys]
        ordered = pts[self._positions]
        span = float((ordered[-1] - ordered[0] + length) * base)
        return Scan(
            frames=len(ordered),
            exact=timed
            and self.codec.name in _ONE_FRAME_A_PACKET
            and len(starts) > 0
            and bool(self._key_pts[0] <= ordered[0])
            # Without B-frames a time that goes back is a fault; with them, MPEG-4 may pack two into a packet.
            and (bool((np.diff(pts) > 0).all()) or (self.codec.has_b_frames and self.codec.name != "mpeg4")),
            pts=ordered,
            keyframes=np.flatnonzero(keys[self._positions]),
            time_base=base,
            width=self.codec.width,
            height=self.codec.height,
            seconds=span if span > 0 else float(len(ordered) / rate),
        )

    def _clock(self) -> tuple[Fraction, Fraction]:
        """Frames a second, and seconds per unit of a timestamp."""
        rate = self.track.average_rate or self.track.guessed_rate or Fraction(25)
        return rate, self.track.time_base or 1 / rate

    def _timed(self) -> bool:
        """Whether timestamps are those of presentation; those of an AVI with B-frames, packed or not, are guesses."""
        return not (self.container.format.name == "avi" and self.codec.has_b_frames)

    def frames(self, pick: Pick) -> tuple[np.ndarray, dict[int, Any]]:
        """The picked indices and their decoded frames, decoding as little as the file allows."""
        scan = self.scan()
        indices = pick(scan.frames) if scan.exact else None
        if indices is not None:
            found = self._sparse(scan, np.unique(indices))
            if found is not None:
                return indices, found
        return self._straight(pick)

    def _sparse(self, scan: Scan, wanted: np.ndarray) -> dict[int, Any] | None:
        """Decode only from keyframes to wanted frames; None where the frames are not what the packets promised."""
        index_at = {int(scan.pts[index]): int(index) for index in wanted}
        found: dict[int, Any] = {}
        for frame in self._decode(self._runs(scan, wanted)):
            if frame.pts in index_at:
                found[index_at[frame.pts]] = frame
        return found if len(found) == len(wanted) else None

    def _runs(self, scan: Scan, wanted: np.ndarray) -> list[tuple[int, int]]:
        """Stretches of packets (first, last) to decode: from the keyframe at or before each wanted frame to it.

        Frames shown before a keyframe may depend on what lies before it, even when they are stored after it,
        so the keyframe is looked for in the order of presentation.
        """
        runs: list[tuple[int, int]] = []
        for index in wanted:
            key = np.searchsorted(self._key_pts, scan.pts[index], side="right") - 1
            first, last = int(self._keys[key]), int(self._positions[index])
            if runs and first <= runs[-1][1] + 1:
                runs[-1] = (runs[-1][0], max(runs[-1][1], last))
            else:
                runs.append((first, last))
        return runs

    def _straight(self, pick: Pick) -> tuple[np.ndarray, dict[int, Any]]:
        """Decode the file from start to end; choose among the frames that came out."""
        found: dict[int, Any] = {}
        room = _HELD_FRAMES
        count = 0
        for count, frame in enumerate(self._decode([(0, sys.maxsize)]), start=1):
            if room > 0:
                found[count - 1] = frame
                room -= sum(plane.buffer_size for plane in frame.planes)
        if not count:
            raise VideoError(self.failure or "no frame could be decoded")
        indices = pick(count)
        wanted = set(indices.tolist())
        if not wanted <= found.keys():  # too long to hold: once more, now that the indices are known
            again = enumerate(self._decode([(0, sys.maxsize)]))
            found = {index: frame for index, frame in again if index in wanted}
        return indices, {index: found[index] for index in wanted}

    def _decode(self, runs: Iterable[tuple[int, int]]) -> Iterator[Any]:
        """Frames of the given stretches of packets, in order of presentation; ends early at the first damage.

        At the end of a stretch the decoder is drained rather than fed the packets that follow, which
        saves the frames it would otherwise hold back for reordering.
        """
        packets = enumerate(self.packets())
        try:
            for first, last in runs:
                self.codec.flush_buffers()
                for position, packet in packets:
                    if position >= first:
                        yield from self.codec.decode(packet)
                    if position == last:
                        break
                yield from self.codec.decode(None)
        except av.error.FFmpegError as error:
            self.failure = _reason(error)

    def announced(self) -> tuple[float, float]:
        """Seconds and frames a second, as the header says; 0 seconds where it does not."""
        track, base = self.track, self._clock()[1]
        length = track.duration * base if track.duration else (self.container.duration or 0) / av.time_base
        return float(length), float(self._clock()[0])

    def stream(self) -> Iterator[tuple[float, Any]]:
        """All frames with their seconds, straight from the file; nothing is scanned or held."""
        rate, base = self._clock()
        timed = self._timed()
        origin: int | None = None
        last = 0.0
        for index, frame in enumerate(self._decode([(0, sys.maxsize)])):
            origin = frame.pts if index == 0 else origin
            seconds = float(index / rate)
            if timed and frame.pts is not None and origin is not None:
                seconds = float((frame.pts - origin) * base)
            last = max(seconds, last)  # time never runs backwards, whatever the file says
            yield last, frame

    def image(self, frame: Any) -> np.ndarray:
        """One decoded frame as upright RGB (height, width, 3), of the size of the first one."""
        height, width = self.shape or (frame.height, frame.width)
        self.shape = (height, width)
        rgb = self.converter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        return np.ascontiguousarray(_upright(rgb.to_ndarray(), frame))


class Folder:
    """A folder of JPEG/PNG frames, in natural order of their names."""

    failure = ""

    def __init__(self, path: Path) -> None:
        names = [name for name in os.listdir(path) if is_image(name)]
        if not names:
            raise VideoError("expected JPEG or PNG frames in the folder, found none")
        if len(names) > MAX_FRAMES:
            raise VideoError(too_long())
        self.files = [path / name for name in sorted(names, key=natural)]
        self.shape: tuple[int, int] | None = None

    def close(self) -> None:
        """Nothing is held open."""

    def scan(self) -> Scan:
        _regular(self.files[0])
        with Image.open(self.files[0], formats=("JPEG", "PNG")) as image:
            width, height = image.size
        count = len(self.files)
        return Scan(
            frames=count,
            exact=True,
            pts=np.arange(count, dtype=np.int64),
            keyframes=np.arange(count, dtype=np.int64),
            time_base=1 / Fraction(FOLDER_FPS),
            width=width,
            height=height,
            seconds=count / FOLDER_FPS,
        )

    def frames(self, pick: Pick) -> tuple[np.ndarray, dict[int, Any]]:
        indices = pick(len(self.files))
        return indices, {index: self.files[index] for index in set(indices.tolist())}

    def announced(self) -> tuple[float, float]:
        return len(self.files) / FOLDER_FPS, FOLDER_FPS

    def stream(self) -> Iterator[tuple[float, Any]]:
        for index, file in enumerate(self.files):
            yield index / FOLDER_FPS, file

    def image(self, file: Path) -> np.ndarray:
        """One image file as upright RGB (height, width, 3), of the size of the first one."""
        _regular(file)
        try:
            with Image.open(file, formats=("JPEG", "PNG")) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise VideoError(f"{file.name} has more than {MAX_PIXELS:,} pixels (MAX_PIXELS)")
                rgb = ImageOps.exif_transpose(image).convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise VideoError(f"{file.name} is not a readable JPEG or PNG ({error})") from None
        self.shape = self.shape or (rgb.height, rgb.width)
        if (rgb.height, rgb.width) != self.shape:
            rgb = rgb.resize(self.shape[::-1], Image.Resampling.BICUBIC)
        return np.asarray(rgb)


def is_image(name: str) -> bool:
    """Whether a file name is that of a frame in a frame folder."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGES


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that reads runs of digits as numbers: frame2 before frame10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def _upright(image: np.ndarray, frame: Any) -> np.ndarray:
    """Apply the display matrix of a decoded frame: quarter turns and mirrors; anything else is left alone.

    The matrix sends column p and row q to (a p + c q, b p + d q) (ISO/IEC 14496-12, track header, 16.16 fixed point).
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return image
    a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.swapaxes(0, 1), c, b
    if a < 0:
        image = image[:, ::-1]
    if d < 0:
        image = image[::-1]
    return image


def _regular(path: Path) -> None:
    """Refuse what is no plain file: a pipe would block for ever, a device is not data."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise VideoError("expected a regular file or a folder of frames, found a pipe, socket or device")


def _reason(error: BaseException) -> str:
    """Why, in words; FFmpeg's numbers and the path, which the message has already, are left out."""
    if isinstance(error, VideoError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "no such file or folder"
    if isinstance(error, av.error.ArgumentError):
        return "not a kind of video that kshot reads, or damaged"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def too_long() -> str:
    return f"expected at most {MAX_FRAMES:,} frames (MAX_FRAMES): cut the clip into shorter ones"
