"""An open clip, a video file or a folder of frames: its packets scanned, the frames that are wanted decoded.

Media is data, not a program: only local regular files, only known containers, bounded size and length.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from kshot.errors import VideoError
from kshot.video import damage
from kshot.video.clock import Clock, Scan, clock
from kshot.video.damage import Damage
from kshot.video.looks import looks
from kshot.video.shots import SIDE

MAX_PIXELS = 7680 * 4320  # one 8K frame: more is a bomb, not an action clip
MAX_FRAMES = 500_000  # over four hours at 30 frames a second
FOLDER_FPS = 25.0  # frame folders do not say how fast they were filmed
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg,gif"
SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".3gpp", ".3gp2", ".mj2", ".f4v", ".insv"}  # QuickTime's family
    | {".avi", ".divx", ".xvid", ".mkv", ".mk3d", ".webm", ".wmv", ".asf", ".wm", ".flv"}
    | {".ogv", ".ogg", ".ogm", ".ogx"}
    | {".mpg", ".mpeg", ".mpe", ".m2p", ".vob", ".mod", ".evo", ".vro"}  # program streams: DVDs, camcorders
    | {".ts", ".m2ts", ".mts", ".m2t", ".tod", ".trp", ".tp", ".gif"}  # transport streams: AVCHD, broadcasts
)
"""Of what `CONTAINERS` holds. Left out on purpose: .lrv, a second, smaller copy that cameras put beside each clip."""

# Codecs whose packets hold exactly one shown frame each. Others (VP8 with hidden frames, ...) are decoded straight.
_ONE_FRAME_A_PACKET = frozenset(
    {"h264", "hevc", "vp9", "av1", "libdav1d", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "h263"}
)
HELD_PACKETS = 64 << 20  # bytes of compressed packets kept between scan and decode; a larger file is read twice
HELD_FRAMES = 64 << 20  # bytes of decoded frames kept while the real count is not known yet


Pick = Callable[[Clock], np.ndarray]  # when frames appear -> the indices wanted
ANY_TAGS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
"""Arguments of `av.open` that let tags be no UTF-8; PyAV 19 lets them by itself."""


class File:
    """An open video file: its packets, and the frames decoded from them.

    Args:
        path: of the file.

    Attributes:
        path: of the file.
        container: PyAV's open file.
        track: its video stream.
        codec: that decodes the stream.
        converter: of decoded frames to RGB.
        shrinker: of decoded frames to small grey ones; each keeps what it worked out for the frames before.
        failure: why decoding stopped, where it stopped early; "" otherwise.
        found: what the scan says of damage; None for none.
        promised: frames of a decode, by their packets.
        came: frames that came out of it.
        corrupt: of those, how many the decoder calls corrupt.
        woven: whether a frame was interlaced, so that fields may come in packets of their own.
        shape: (height, width) of the first frame, which later ones are scaled to; None before that.
        held: the packets of a short clip, kept from the scan for the decoder; None for a long one.
        unread: whether the file stands at its start.

    Raises:
        VideoError: no video stream, or frames that are too large.
        av.error.FFmpegError: it is no video.
    """

    failure = ""
    found: Damage | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.promised = self.came = self.corrupt = 0
        self.woven = False
        self.converter, self.shrinker = VideoReformatter(), VideoReformatter()
        self.shape: tuple[int, int] | None = None
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
        """Closes the file and lets go of its packets."""
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
        listed = self._listed()
        held: list[Any] | None = []
        room = HELD_PACKETS
        times: list[int | None] = []
        shown: list[bool] = []
        keys: list[bool] = []
        length = corrupt = end = 0
        try:
            for packet in self.packets():
                if len(times) >= MAX_FRAMES:
                    raise VideoError(too_long())
                times.append(packet.pts)
                shown.append(not packet.is_discard)  # an edit list cuts the others out
                keys.append(packet.is_keyframe)
                length = packet.duration or length
                corrupt += packet.is_corrupt
                end = max(end, packet.pos + packet.size) if packet.pos else end
                if held is not None:
                    held.append(packet)
                    room -= packet.size + 1024
                    held = held if room > 0 else None
        except av.error.FFmpegError as error:  # a cut file: what came before is still good
            self._fail(error)
        if not any(shown):
            raise VideoError(self.failure or "the file holds no video packet")
        self.held = held
        scan = self._scanned(times, np.array(shown), np.array(keys), length)
        self.promised = self.came = scan.frames
        count = len(times)
        packets = damage.Packets(
            format=self.container.format.name,
            size=self.container.size,
            count=count,
            corrupt=corrupt,
            promised=listed[0] if listed[0] >= count else listed[1],
            seconds=self.announced()[0],
            pts=scan.pts,
            base=float(scan.time_base),
            length=scan.length,
            end=end,
            alone=len(self.container.streams) == 1,
        )
        self.found = packets.damage(self.path)
        return scan

    def _listed(self) -> tuple[int, int]:
        """Frames that the file lists one by one, and what its header says; for before any packet is read, since
        reading adds to FFmpeg's list. Headers of AVI count too many, so of a file that was cut, and has no list for it,
        its bytes tell more; those of GIF count what is there."""
        name, counted = self.container.format.name, self.track.frames
        if name == "avi":
            listed = len(self.track.index_entries) if damage.indexed(self.path) else 0
            return listed, 0 if self.cut() else counted
        return (0, counted) if "mp4" in name else (0, 0)

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
            length=round(1 / rate / base),
        )

    def damage(self) -> Damage | None:
        """What is lost of the file, as far as scan and decoding went; for after `frames`."""
        parts: list[Damage | None] = [self.found]
        if self.failure:
            left = f"{self.came:,} of {self.promised:,} frames" if self.promised else f"{self.came:,} frames"
            kept = min(1.0, self.came / self.promised) if self.promised else 0.0
            parts.append(Damage(kept, f"decoding stopped after {left} ({self.failure})", fatal=True))
        elif self.codec.name in _ONE_FRAME_A_PACKET and not self.woven:
            parts.append(damage.short(self.came, self.promised, "frames could be decoded"))
        if self.corrupt:
            share = 1 - min(1.0, self.corrupt / max(1, self.came))
            parts.append(Damage(share, f"{self.corrupt} decoded frames are corrupt", fatal=True))
        return Damage.worst(parts)

    def looks(self) -> tuple[str, ...]:
        """What is unusual about the pictures, see `kshot.video.looks`; for after decoding."""
        return looks(self.woven, int(self.codec.color_trc or 0))

    def _clock(self) -> tuple[Fraction, Fraction]:
        """Frames a second, and seconds per unit of a timestamp."""
        rate = self.track.average_rate or self.track.guessed_rate or Fraction(25)
        return rate, self.track.time_base or 1 / rate

    def _timed(self) -> bool:
        """Whether timestamps are those of presentation; those of an AVI with B-frames, packed or not, are guesses."""
        return not (self.container.format.name == "avi" and self.codec.has_b_frames)

    def frames(self, pick: Pick) -> tuple[np.ndarray, dict[int, Any]]:
        """The picked indices and their decoded frames, decoding as little as the file allows."""
        scan, failure = self.scan(), self.failure
        indices = pick(scan.clock) if scan.exact else None
        if indices is not None:
            found = self._sparse(scan, np.unique(indices))
            if found is not None:
                return indices, found
        self.failure = failure
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
        so the keyframe is searched in the order of presentation.
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
        room = HELD_FRAMES
        times: list[int | None] = []
        self.corrupt = 0
        for count, frame in enumerate(self._decode([(0, sys.maxsize)])):
            times.append(frame.pts)
            if room > 0:
                found[count] = frame
                room -= sum(plane.buffer_size for plane in frame.planes)
        self.came = len(times)
        if not times:
            raise VideoError(self.failure or "no frame could be decoded")
        indices = pick(self._timing(times))
        wanted = set(indices.tolist())
        if not wanted <= found.keys():  # too long to hold: once more, now that the indices are known
            again = enumerate(self._decode([(0, sys.maxsize)]))
            found = {index: frame for index, frame in again if index in wanted}
        return indices, {index: found[index] for index in wanted}

    def _timing(self, times: list[int | None]) -> Clock:
        """The clock of frames as they came out; their number is all there is where times are missing or go back."""
        if not self._timed() or None in times:
            return Clock(len(times))
        pts, (rate, base) = np.array(times, dtype=np.int64), self._clock()
        return clock(pts, round(1 / rate / base), base) if (np.diff(pts) > 0).all() else Clock(len(times))

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
                        yield from self._marked(packet)
                    if position == last:
                        break
                yield from self._marked(None)
        except av.error.FFmpegError as error:
            self._fail(error)

    def _fail(self, error: av.error.FFmpegError) -> None:
        """Note the end of what can be read; want of memory is no fault of the file."""
        if isinstance(error, MemoryError):
            raise error
        self.failure = reason(error)

    def _marked(self, packet: Any) -> Iterator[Any]:
        """What the decoder makes of a packet; frames that it calls corrupt are counted."""
        for frame in self.codec.decode(packet):
            self.corrupt += frame.is_corrupt
            self.woven |= frame.interlaced_frame
            yield frame

    def announced(self) -> tuple[float, float]:
        """Seconds and frames a second, as the header says; 0 seconds where it does not."""
        track, base = self.track, self._clock()[1]
        length = track.duration * base if track.duration else (self.container.duration or 0) / av.time_base
        return float(length), float(self._clock()[0])

    def cut(self) -> Damage | None:
        """What is missing at the end of the file, by its own headers; nothing is read but those."""
        return damage.cut(self.path, self.container.format.name)

    def stream(self) -> Iterator[tuple[float, Any]]:
        """All frames with their seconds, straight from the file; nothing is scanned or held."""
        rate, base = self._clock()
        timed = self._timed()
        origin: int | None = None
        last = 0.0
        for index, frame in enumerate(self._decode([(0, sys.maxsize)])):
            origin = frame.pts if index == 0 else origin
            if timed and frame.pts is not None and origin is not None:  # whole numbers: fractions take their time
                seconds = (frame.pts - origin) * base.numerator / base.denominator
            else:
                seconds = index * rate.denominator / rate.numerator
            last = max(seconds, last)  # time never runs backwards, whatever the file says
            yield last, frame

    def image(self, frame: Any) -> np.ndarray:
        """One decoded frame as upright RGB (height, width, 3), of the size of the first one."""
        height, width = self.shape or (frame.height, frame.width)
        self.shape = (height, width)
        rgb = self.converter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        return np.ascontiguousarray(_upright(rgb.to_ndarray(), frame))

    def grey(self, frame: Any) -> np.ndarray:
        """One decoded frame as `kshot.video.shots` takes it."""
        small = self.shrinker.reformat(frame, SIDE, SIDE, "gray", interpolation="AREA", threads=1)
        return np.asarray(small.to_ndarray())


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


def reason(error: BaseException) -> str:
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
    """What is said of a clip with more than `MAX_FRAMES`."""
    return f"expected at most {MAX_FRAMES:,} frames (MAX_FRAMES): cut the clip into shorter ones"
