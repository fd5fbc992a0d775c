"""Which frames of a clip, then only those: packet scan, choice, decoding, preprocessing.

A clip is a video file or a folder of JPEG/PNG frames. Index i always means the i-th frame in the order of
presentation. The packets of a file are read once without decoding (their count is the truth, a header's
count often is not), indices are chosen, and then only the stretches between a keyframe and a wanted frame
are decoded. Timestamps that cannot be trusted, or frames that do not come out as the packets promised, lead to
a straight decode of the file and a new choice on the frames that really exist.

Media is data, not a program: only local regular files, only known containers, bounded size and length.
"""

from __future__ import annotations

import math
import os
import re
import stat
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageOps

from kshot.errors import OptionError, VideoError, unknown

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

Pick = Callable[[int], np.ndarray]  # the number of frames -> the indices wanted


@dataclass(frozen=True)
class Framing:
    """How a frame becomes the square that a backbone sees; the same for every frame of a clip.

    Attributes:
        squash: resize both sides to one length, whatever the frame's shape; otherwise the short side alone.
        margin: that length over the side of the square that is cut out.
        place: (x, y) in [0, 1) of the square among the places it could take; None for the centre.
        flip: mirror left and right.
    """

    squash: bool = False
    margin: float = 1.0
    place: tuple[float, float] | None = None
    flip: bool = False


FRAMINGS = {  # the field resizes to 256 and crops 224; other backbones keep that ratio
    "short": Framing(),
    "short-256": Framing(margin=256 / 224),
    "squash-256": Framing(squash=True, margin=256 / 224),
}


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


def scan(path: str | os.PathLike[str]) -> Scan:
    """Count and time the frames of a clip without decoding any of them.

    Raises:
        VideoError: the file is missing, no known video, empty, or beyond a limit.
    """
    with _told(path), closing(_open(path)) as clip:
        return clip.scan()


def choose(count: int, frames: int, mode: str = "middle", rng: np.random.Generator | None = None) -> np.ndarray:
    """Indices (frames,) int64, ascending: one from each of `frames` equal segments of 0..count-1.

    "middle" takes the middle of each segment (testing), "random" a uniform place in it drawn from `rng`
    (training): the sampling of Wang et al., Temporal Segment Networks, ECCV 2016. A clip with fewer frames than
    segments gives some of its frames more than once.

    >>> choose(300, 8).tolist()
    [18, 56, 93, 131, 168, 206, 243, 281]
    >>> choose(3, 8).tolist()
    [0, 0, 0, 1, 1, 2, 2, 2]
    """
    return _segments(count, _places(frames, mode, rng))


def read(
    path: str | os.PathLike[str],
    frames: int = 8,
    mode: str = "middle",
    rng: np.random.Generator | None = None,
    size: int | None = None,
    framing: Framing = FRAMINGS["short"],
) -> np.ndarray:
    """Choose and decode `frames` frames of a clip: uint8 RGB (frames, height, width, 3), upright.

    With `size`, every frame is preprocessed as soon as it is decoded, see `preprocess`: (frames, size, size, 3).

    Raises:
        VideoError: the clip cannot be read, with the reason.
    """
    places = _places(frames, mode, rng)
    return _collect(path, lambda count: _segments(count, places), size, framing)


def frames_at(path: str | os.PathLike[str], indices: Sequence[int] | np.ndarray, size: int | None = None) -> np.ndarray:
    """The frames with the given indices, in the given order; see `read`.

    Raises:
        VideoError: the clip cannot be read or has no frame of that index.
    """
    wanted = np.asarray(indices, dtype=np.int64)
    if wanted.ndim != 1 or wanted.size == 0:
        raise OptionError(f"expected a list of frame indices, found an array of shape {wanted.shape}")

    def pick(count: int) -> np.ndarray:
        if wanted.min() < 0 or wanted.max() >= count:
            raise VideoError(f"expected frame indices from 0 to {count - 1}, found {_outside(wanted, count)}")
        return wanted

    return _collect(path, pick, size)


def iterate(path: str | os.PathLike[str], step: int = 1, size: int | None = None) -> Iterator[tuple[float, np.ndarray]]:
    """Every `step`-th frame as (seconds from the first frame, uint8 RGB (height, width, 3)).

    Each frame is decoded once and none is kept, so a file of any length needs the memory of a few frames.
    A damaged tail ends the iteration; a file without a single frame raises VideoError.
    """
    if step < 1:
        raise OptionError(f"expected a step of at least 1 frame, found {step}")
    with _told(path), closing(_open(path)) as clip:
        index = -1
        for index, (seconds, frame) in enumerate(clip.stream()):
            if index >= MAX_FRAMES:
                raise VideoError(_too_long())
            if index % step == 0:
                image = clip.image(frame)
                yield seconds, image if size is None else preprocess(image[None], size)[0]
        if index < 0:
            raise VideoError(clip.failure or "no frame could be decoded")


class Grid:
    """Which frames of a stream are on show in the middle of each interval of time: the choice of "middle", without end.

    Interval k lasts from k to k + 1 times `interval` seconds. A clip that is exactly `frames` intervals long gives the
    frames that `choose` takes from it.
    """

    def __init__(self, interval: float) -> None:
        if not 0 < interval < math.inf:
            raise OptionError(f"expected an interval above 0 seconds, found {interval:g}")
        self.interval = interval
        self.next = 0  # interval whose frame is looked for
        self._held: Any = None

    def add(self, seconds: float, frame: Any) -> tuple[int, Any] | None:
        """Takes the next frame and when it appears, in ascending order. What it replaces comes back as (interval,
        frame) if it was on show in the middle of an interval: the first of them, where there are several."""
        due = self.end(seconds)
        self._held = frame
        return due

    def end(self, seconds: float) -> tuple[int, Any] | None:
        """As `add`, where the stream ends."""
        due = None
        if self._held is not None and (self.next + 0.5) * self.interval < seconds - 1e-6:
            due = self.next, self._held
            self.next = self.count(seconds)
        return due

    def count(self, seconds: float) -> int:
        """How many intervals have their middle before that time."""
        return math.ceil(seconds / self.interval - 0.5 - 1e-6 / self.interval)


class Samples:
    """The frames of a clip at a steady rate, see `Grid`: iterating gives (number of the interval, frame).

    Every frame is decoded once and none is kept; only those that come out are turned into pictures. Damage ends the
    iteration and is told in `failure`, unless not a single frame was there before it.

    Attributes:
        announced: seconds, as the header says before anything is decoded; 0 if it does not.
        fps: frames a second, as the header says.
        seconds: from the start of the first frame to the end of the last one decoded.
        frames: number of frames decoded.
        failure: why not all of the file came out; "" if all did.

    Raises:
        VideoError: while iterating, if not even one frame can be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        interval: float,
        size: int | None = None,
        framing: Framing = FRAMINGS["short"],
    ) -> None:
        self.path, self.size, self.framing = path, size, framing
        self.grid = Grid(interval)
        self.announced = self.fps = self.seconds = 0.0
        self.frames = 0
        self.failure = ""

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        try:
            yield from self._frames()
        except VideoError as error:
            if not self.frames:
                raise
            self.failure = str(error)

    def _frames(self) -> Iterator[tuple[int, np.ndarray]]:
        with _told(self.path), closing(_open(self.path)) as clip:
            self.announced, self.fps = clip.announced()
            for seconds, frame in clip.stream():
                if self.frames >= MAX_FRAMES or self.grid.count(seconds) > MAX_FRAMES:
                    raise VideoError(_too_long())
                due = self.grid.add(seconds, frame)
                self.frames += 1
                self.seconds = seconds + 1 / self.fps
                if due:
                    yield due[0], self._image(clip, due[1])
            if not self.frames:
                raise VideoError(clip.failure or "no frame could be decoded")
            due = self.grid.end(self.seconds)
            if due:
                yield due[0], self._image(clip, due[1])
            if clip.failure:
                raise VideoError(clip.failure)
            if self.seconds < 0.9 * self.announced - 1:
                raise VideoError(f"the file ends early, its header announces {self.announced:.1f} seconds")

    def _image(self, clip: _File | _Folder, frame: Any) -> np.ndarray:
        image = clip.image(frame)
        return image if self.size is None else preprocess(image[None], self.size, self.framing)[0]


def preprocess(frames: np.ndarray, size: int, framing: Framing = FRAMINGS["short"]) -> np.ndarray:
    """A square of each frame, (T, H, W, 3) -> (T, size, size, 3), uint8 in and out, resized by PIL's bicubic filter.

    By default CLIP's own: short side to `size`, centre crop, bit for bit what the PIL image processor of CLIP in
    transformers does before it rescales and normalises. PIL resizes a wide image along x, rounds to 8 bits, then along
    y: the columns outside the crop can be dropped between the two passes without changing a bit.
    """
    height, width = frames.shape[1:3]
    side = round(size * framing.margin)
    long = side if framing.squash else int(side * max(height, width) / min(height, width))
    if side * long > MAX_PIXELS:
        raise VideoError(f"a frame of {width}x{height} is too narrow to be cropped to a square")
    new_width, new_height = (side, long) if width <= height else (long, side)
    left, top = _corner(new_width - size, new_height - size, framing.place)
    out = np.empty((len(frames), size, size, 3), dtype=np.uint8)
    for row, frame in zip(out, frames, strict=True):
        image = Image.fromarray(frame)
        if width > height:
            image = image.resize((new_width, height), Image.Resampling.BICUBIC)
            image = image.crop((left, 0, left + size, height)).resize((size, new_height), Image.Resampling.BICUBIC)
        else:
            image = image.resize((new_width, new_height), Image.Resampling.BICUBIC)
            image = image.crop((left, 0, left + size, new_height))
        square = np.asarray(image)[top : top + size]
        row[:] = square[:, ::-1] if framing.flip else square
    return out


def _corner(right: int, down: int, place: tuple[float, float] | None) -> tuple[int, int]:
    """Left and top of a square that may lie anywhere from (0, 0) to (right, down)."""
    if place is None:
        return right // 2, down // 2
    return int(place[0] * (right + 1)), int(place[1] * (down + 1))


def _places(frames: int, mode: str, rng: np.random.Generator | None) -> np.ndarray:
    """Where in its segment each frame is taken, in [0, 1): drawn once, so that a recount needs no new draw."""
    if frames < 1:
        raise OptionError(f"expected at least 1 frame a clip, found {frames}")
    if mode == "middle":
        return np.full(frames, 0.5)
    if mode != "random":
        raise unknown("frame choice", mode, ["middle", "random"])
    if rng is None:
        raise OptionError("random frames need a generator: pass rng=numpy.random.default_rng(seed)")
    return rng.random(frames)


def _segments(count: int, places: np.ndarray) -> np.ndarray:
    """Turn places in equal segments into indices 0..count-1."""
    if count < 1:
        raise VideoError("no frame could be decoded")
    indices: np.ndarray = ((np.arange(len(places)) + places) * count / len(places)).astype(np.int64)
    return indices.clip(max=count - 1)


def _collect(
    path: str | os.PathLike[str], pick: Pick, size: int | None, framing: Framing = FRAMINGS["short"]
) -> np.ndarray:
    """Decode the picked frames of a clip, as it is or preprocessed."""
    with _told(path), closing(_open(path)) as clip:
        indices, found = clip.frames(pick)
        images: dict[int, np.ndarray] = {}
        for index in sorted(found):
            image = clip.image(found.pop(index))
            images[index] = image if size is None else preprocess(image[None], size, framing)[0]
        return np.stack([images[index] for index in indices.tolist()])


class _File:
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
        self.container = av.open(f"file:{self.path}", mode="r", options={**guards, **limits}, metadata_errors="replace")
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
                    raise VideoError(_too_long())
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


class _Folder:
    """A folder of JPEG/PNG frames, in natural order of their names."""

    failure = ""

    def __init__(self, path: Path) -> None:
        names = [name for name in os.listdir(path) if is_image(name)]
        if not names:
            raise VideoError("expected JPEG or PNG frames in the folder, found none")
        if len(names) > MAX_FRAMES:
            raise VideoError(_too_long())
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
    data = next((data for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), None)
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


def _open(path: str | os.PathLike[str]) -> _File | _Folder:
    where = Path(os.path.abspath(path))
    if where.is_dir():
        return _Folder(where)
    _regular(where)
    return _File(where)


def _regular(path: Path) -> None:
    """Refuse what is no plain file: a pipe would block for ever, a device is not data."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise VideoError("expected a regular file or a folder of frames, found a pipe, socket or device")


@contextmanager
def _told(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn every failure into one VideoError line with the file's name and the reason."""
    try:
        yield
    except (VideoError, av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        name = os.fspath(path)
        name = name if name.isprintable() else ascii(name)
        raise VideoError(f"{name}: {_reason(error)}") from error


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


def _too_long() -> str:
    return f"expected at most {MAX_FRAMES:,} frames (MAX_FRAMES): cut the clip into shorter ones"


def _outside(wanted: np.ndarray, count: int) -> str:
    return ", ".join(str(index) for index in wanted[(wanted < 0) | (wanted >= count)][:5])
