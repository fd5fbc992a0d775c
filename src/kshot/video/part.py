"""A part of a video as an open clip: the file is read from the keyframe before it to its end, and no further.

A film of an hour is neither scanned nor decoded for a few seconds of it. Frames are chosen by the moments at which they
are on show, counted from the video's first frame, which is the clock of timelines.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import av
import numpy as np

from kshot.errors import VideoError
from kshot.excerpts import Excerpt, seconds
from kshot.video import container
from kshot.video.clock import Clock, Scan
from kshot.video.container import FOLDER_FPS, File, Pick, too_long
from kshot.video.frame_folder import Folder

SLACK = 0.5
"""Seconds that a part may go on after the last frame: sound ends later than pictures, and players show its length."""

BEFORE = 1.0
"""Seconds before the part at which a keyframe is looked for: files are searched by the order of their packets, and a
keyframe is shown a little later than its packet's place says."""

INSTANT = 1e-6  # seconds that count as no time at all

_kept = threading.local()


def keep_open() -> None:
    """From now on this thread keeps the file of its last part open: a long film's index takes long to read.

    For child processes, which end soon: some systems let nobody remove a file that is open.
    """
    _kept.on = True


class Part(File):
    """A part of a video file.

    Args:
        excerpt: which part of which file; its path is absolute.

    Attributes:
        excerpt: as given.
        origin: time of the video's first frame, in units of the stream's timestamps; None before any packet was read.

    Raises:
        VideoError: as `File`.
        av.error.FFmpegError: it is no video.
    """

    origin: int | None = None

    def __init__(self, excerpt: Excerpt) -> None:
        super().__init__(excerpt.path)
        self.excerpt = excerpt
        self._whole = False  # whether the file is read from its start, because it cannot be searched
        self._reached = False  # whether a frame came that is shown when the part has ended

    def _start(self) -> None:
        about = os.stat(self.path)
        self._mark = (self.path, about.st_size, about.st_mtime_ns)
        kept, _kept.file = getattr(_kept, "file", None), None
        if kept and self.origin is None and kept[0] == self._mark:
            _, self.container, self.track, self.codec, self.origin = kept
            self.unread = False
            return
        if kept:
            kept[1].close()
        super()._start()

    def close(self) -> None:
        """Closes the file, or keeps it open for the next part of it, see `keep_open`."""
        self.held = None
        if getattr(_kept, "on", False) and not self.failure and not self._whole and self.origin is not None:
            _kept.file = (self._mark, self.container, self.track, self.codec, self.origin)
        else:
            self.container.close()

    def packets(self) -> Iterator[Any]:
        """The packets of the part in decoding order, from a keyframe that is shown before it."""
        if self._whole or self.held is not None:
            return super().packets()
        return self._packets()

    def _packets(self) -> Iterator[Any]:
        base = float(self._clock()[1])
        self.origin = self._first() if self.origin is None else self.origin
        self.unread = False
        begin = self.origin + math.floor(max(0.0, self.excerpt.begin - BEFORE) / base)
        stop = self.origin + self.excerpt.stop / base
        self.container.seek(begin, stream=self.track)
        for packet in self.container.demux(self.track):
            if packet.size:
                yield packet
                if packet.dts is not None and packet.dts >= stop:  # nothing is shown before it is decoded
                    return

    def _first(self) -> int:
        """Time of the first frame that is shown: what comes before a keyframe cannot be."""
        key, first = None, None
        for packet in self.container.demux(self.track):
            if packet.size and packet.pts is not None:
                key = packet.pts if key is None and packet.is_keyframe else key
                if key is not None and packet.pts >= key and not packet.is_discard:
                    first = packet.pts if first is None else min(first, packet.pts)
            if first is not None and packet.dts is not None and packet.dts >= first:
                break
        if first is None:
            raise VideoError("the file holds no video packet")
        return int(first)

    def scan(self) -> Scan:
        """Count and time the frames that are on show in the part.

        Raises:
            VideoError: the video ends before the part does, or it has too many frames.
        """
        scan = self._read()
        first, clock = shown(self.excerpt, self._begins(scan), scan.length * float(scan.time_base))
        assert clock.times is not None
        pts = scan.pts[first : first + clock.count]
        keys = scan.keyframes[(scan.keyframes >= first) & (scan.keyframes < first + clock.count)] - first
        return replace(scan, frames=clock.count, pts=pts, keyframes=keys, seconds=float(clock.times[-1]))

    def _read(self) -> Scan:
        """What the packets of the part say, from the keyframe on; held for the decoder where they are few."""
        held: list[Any] | None = []
        room = container.HELD_PACKETS
        times: list[int | None] = []
        shown: list[bool] = []
        keys: list[bool] = []
        length, key = 0, None
        try:
            for packet in self.packets():
                key = packet.pts if key is None and packet.is_keyframe else key
                times.append(packet.pts)
                shown.append(not packet.is_discard and (key is None or packet.pts is None or packet.pts >= key))
                keys.append(packet.is_keyframe)
                length = packet.duration or length
                if held is not None:
                    held.append(packet)
                    room -= packet.size + 1024
                    held = held if room > 0 else None
        except av.error.FFmpegError as error:  # what came before is still good
            self._fail(error)
        if not any(shown):
            raise VideoError(self.failure or "the file holds no video packet there")
        self.held = held
        return self._scanned(times, np.array(shown), np.array(keys), length)

    def _begins(self, scan: Scan) -> np.ndarray:
        """Seconds (n,) from the video's first frame at which frames appear."""
        begins: np.ndarray = (scan.pts - (self.origin or 0)) * float(scan.time_base)
        return begins

    def frames(self, pick: Pick) -> tuple[np.ndarray, dict[int, Any]]:
        """The picked indices, of the frames that are on show in the part, and their decoded frames."""
        with suppress(av.error.FFmpegError):  # a file that cannot be searched
            scan = self._read() if self._timed() else None
            if scan and scan.exact and (begins := self._begins(scan))[0] <= self.excerpt.begin + INSTANT:
                first, clock = shown(self.excerpt, begins, scan.length * float(scan.time_base))
                indices = pick(clock)
                self.promised = self.came = clock.count
                found = self._sparse(scan, np.unique(indices) + first)
                if found is not None:
                    return indices, {index - first: frame for index, frame in found.items()}
        return self._straight(pick)

    def _straight(self, pick: Pick) -> tuple[np.ndarray, dict[int, Any]]:
        """As `frames`, decoding the file from its start; twice where the part is too long to be held."""
        found: dict[int, Any] = {}
        room = container.HELD_FRAMES
        begins: list[float] = []
        self.corrupt = 0
        for count, (moment, frame) in enumerate(self.stream()):
            begins.append(moment)
            if room > 0:
                found[count] = frame
                room -= sum(plane.buffer_size for plane in frame.planes)
        if not begins:
            raise VideoError(self.failure or "no frame could be decoded")
        length = self.excerpt.stop - self.excerpt.begin if self._reached else float(1 / self._clock()[0])
        _, clock = shown(self.excerpt, np.array(begins) + self.excerpt.begin, length)
        self.promised = self.came = clock.count
        indices = pick(clock)
        wanted = set(indices.tolist())
        if not wanted <= found.keys():
            found = {index: frame for index, (_, frame) in enumerate(self.stream()) if index in wanted}
        return indices, {index: found[index] for index in wanted}

    def stream(self) -> Iterator[tuple[float, Any]]:
        """The frames that are on show in the part with their seconds from its start, the file decoded from its own."""
        self.held, self._whole, self._reached, self.failure = None, True, False, ""
        before: Any = None
        last, length = 0.0, float(1 / self._clock()[0])
        for moment, frame in super().stream():
            last = moment
            if moment <= self.excerpt.begin + INSTANT:
                before = frame
                continue
            if before is not None:
                yield 0.0, before
                before = None
            if moment >= self.excerpt.stop - INSTANT:
                self._reached = True
                return
            yield moment - self.excerpt.begin, frame
        if before is not None:  # nothing came after it
            shown(self.excerpt, np.array([last]), length)
            yield 0.0, before

    def announced(self) -> tuple[float, float]:
        """Seconds and frames a second, as header and part say; 0 seconds where they do not."""
        length, fps = super().announced()
        stop = min(self.excerpt.stop, length) if length else self.excerpt.stop
        return (max(0.0, stop - self.excerpt.begin) if math.isfinite(stop) else 0.0), fps

    def cut(self) -> None:
        """Nothing: what is missing behind the part is none of it, and what is missing in it shows."""


class FolderPart(Folder):
    """A part of a folder of frames.

    Args:
        excerpt: which part of which folder; its path is absolute.

    Raises:
        VideoError: as `Folder`, or the part goes on after the last frame.
    """

    def __init__(self, excerpt: Excerpt) -> None:
        super().__init__(excerpt.path)
        first, self._clock = shown(excerpt, np.arange(len(self.files)) / FOLDER_FPS, 1 / FOLDER_FPS)
        self.files = self.files[first : first + self._clock.count]

    def frames(self, pick: Pick) -> tuple[np.ndarray, dict[int, Any]]:
        """The picked indices, of the frames that are on show in the part, and their files."""
        indices = pick(self._clock)
        return indices, {index: self.files[index] for index in set(indices.tolist())}


def shown(excerpt: Excerpt, begins: np.ndarray, length: float) -> tuple[int, Clock]:
    """The first frame that is on show in a part, and the part's own clock.

    Args:
        excerpt: the part.
        begins: (n,) seconds at which frames appear, ascending, the first of them at or before the part.
        length: of the last of them, in seconds.

    Raises:
        VideoError: the video ends before the part does, or it has too many frames.
    """
    begin, stop, ends = excerpt.begin, excerpt.stop, float(begins[-1]) + length
    if begin >= ends - INSTANT or (math.isfinite(stop) and stop > ends + SLACK):
        until = "its end" if excerpt.end is None else f"{seconds(stop)} s"
        raise VideoError(
            f"the video lasts {seconds(round(ends, 3))} s, but the segment goes from {seconds(begin)} s to {until}"
        )
    stop = min(stop, ends)
    first = max(0, int(np.searchsorted(begins, begin + INSTANT, side="right")) - 1)
    last = max(first + 1, int(np.searchsorted(begins, stop - INSTANT, side="left")))
    if last - first > container.MAX_FRAMES:
        raise VideoError(too_long())
    times = np.append(begins[first:last], stop) - begin
    times[0] = 0.0
    return first, Clock(last - first, times)
