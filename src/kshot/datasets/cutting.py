"""`kshot data cut`: the segments of a data set as files of their own, in class folders with a table beside them.

Segments are encoded anew, so that they begin and end at their very frames. A frame belongs to a segment where it
appears not before its start and before its end, both to half a frame: times of annotations are rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from kshot import datasets, names
from kshot.datasets.annotations import table
from kshot.datasets.annotations.forms import Annotations, Segment
from kshot.datasets.dataset import Dataset
from kshot.errors import OptionError, VideoError
from kshot.files import disk, locked, occupied, write_atomic
from kshot.progress import Progress, quiet
from kshot.video.fields import deinterlaced
from kshot.video.opening import in_one_line, opened

CLOCK = 90_000  # units a second of the files that are written, as MPEG has them
SHARP = {"preset": "veryfast", "crf": "16"}
"""Of H.264: what is cut is looked at again, and encoded a second time."""


@dataclass
class Piece:
    """A segment on its way into a file.

    Attributes:
        clip: its number in the data set.
        begin: seconds of its video at which it begins.
        end: at which it ends; infinite for the video's end.
        path: of its file, which is there once all of it is.
        first: seconds at which its first frame appears; None before that.
        last: seconds at which the frame on show appeared, and that frame.
        frames: how many were written.
        writer: the open file and its stream, from the first frame to the last.
    """

    clip: int
    begin: float
    end: float
    path: Path
    first: float | None = None
    last: tuple[float, np.ndarray] | None = field(default=None, repr=False)
    frames: int = 0
    writer: tuple[Any, Any] | None = field(default=None, repr=False)

    def write(self, seconds: float, picture: np.ndarray, rate: Fraction) -> None:
        """Takes the next frame (H, W, 3), which appears at that second of the video."""
        import av

        if self.writer is None:
            height, width = picture.shape[:2]
            file = av.open(str(self.unfinished), "w", format="mp4")
            stream = file.add_stream("libx264", rate=rate, options=SHARP)
            stream.height, stream.width, stream.thread_count = height, width, 1
            stream.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
            stream.codec_context.time_base = Fraction(1, CLOCK)
            self.writer, self.first = (file, stream), seconds
        file, stream = self.writer
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.time_base = Fraction(1, CLOCK)
        frame.pts = round((seconds - (self.first or 0.0)) * CLOCK)
        for packet in stream.encode(frame):
            file.mux(packet)
        self.last = seconds, picture
        self.frames += 1

    def hold(self, rate: Fraction) -> None:
        """Shows the last frame up to the end, where the next one comes later: players give it the time of one frame."""
        until = self.end - float(1 / rate)
        if self.last is not None and until > self.last[0] + float(0.5 / rate):
            self.write(until, self.last[1], rate)

    @property
    def unfinished(self) -> Path:
        """Where its file grows."""
        return self.path.with_name(f".kshot-{self.clip}.part")

    def close(self) -> None:
        """Ends the file."""
        if self.writer is not None:
            file, stream = self.writer
            for packet in stream.encode():
                file.mux(packet)
            file.close()
            self.writer = None
            self.unfinished.replace(self.path)

    def remove(self) -> None:
        """Takes back what was written, its folder too, where nothing else is in it."""
        if self.writer is not None:
            self.writer[0].close()
            self.writer = None
        for path in (self.unfinished, self.path):
            path.unlink(missing_ok=True)
        self.prune()

    def prune(self) -> None:
        """Removes its folder, where that is empty."""
        with suppress(OSError):
            self.path.parent.rmdir()


def cut(
    data: str | Path | Dataset,
    out: Path,
    before: float = 0.0,
    after: float = 0.0,
    deinterlace: bool = False,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Writes each segment of a data set as OUT/label/video-start-end.mp4, and OUT/clips.csv; sound is left out.

    What is stopped before its end leaves nothing.

    Args:
        data: as for `kshot.load_data`; its clips are parts of videos, or whole ones to be deinterlaced.
        out: folder to make.
        before: seconds of pre-roll: how much earlier than its segment a file begins.
        after: seconds of post-roll.
        deinterlace: whether to take the fields of interlaced video apart.
        progress: counts segments.

    Returns:
        out, table, clips, labels, unreadable (video -> reason) and notes.

    Raises:
        OptionError: impossible options, `out` is in use, or clips that are whole files.
        DataError: the data set cannot be read.
        VideoError: no segment could be written.
    """
    if not (0 <= before < math.inf and 0 <= after < math.inf):
        raise OptionError(f"expected 0 seconds or more before and after, found {before:g} and {after:g}")
    found = datasets.load(data)
    if found.features is not None or (found.spans is None and not deinterlace):
        kind = "ready-made features" if found.features is not None else "whole files"
        raise OptionError(f"{found.name} holds {kind}: there are no segments to cut")
    spans = np.full((len(found), 2), np.nan) if found.spans is None else found.spans

    def free() -> None:
        if occupied(out) or (out.exists() and not out.is_dir()):
            raise OptionError(f"--out {out} exists already; name another folder, or remove it first")

    free()
    notes = list(found.notes)
    with locked(out), disk(out), ExitStack() as stack:
        free()
        pieces = _planned(found, spans, out, before, after, notes)
        for piece in pieces:
            stack.callback(piece.remove)  # whatever ends this before all is there
        unreadable: dict[str, str] = {}
        sounding = 0
        with progress("cutting", len(found), "segments") as step:
            for path in dict.fromkeys(found.paths):
                mine = [piece for piece in pieces if found.paths[piece.clip] == path]
                try:
                    sound, failure = _cut(path, mine, deinterlace)
                    sounding += sound
                    if failure:
                        unreadable[str(path)] = f"{path}: {failure}; what came before is cut"
                except VideoError as error:
                    unreadable[str(path)] = str(error)
                step(len(mine))
        done = [piece for piece in pieces if piece.frames]
        if not done:
            raise VideoError(next(iter(unreadable.values()), f"{found.name}: no segment has a frame"))
        write_atomic(out / "clips.csv", _table(found, done, out).encode())
        stack.pop_all()
        for piece in pieces:
            piece.prune()
    if sounding:
        notes.append(f"{sounding:,} {'video has' if sounding == 1 else 'videos have'} sound, which is left out")
    if lost := sum(not piece.frames for piece in pieces if str(found.paths[piece.clip]) not in unreadable):
        what = "segment" if lost == 1 else "segments"
        notes.append(f"{lost:,} {what} without a frame not written: the video ends before")
    return {
        "out": str(out),
        "table": str(out / "clips.csv"),
        "clips": len(done),
        "labels": len({int(found.labels[piece.clip]) for piece in done}),
        "unreadable": unreadable,
        "notes": notes,
    }


def _planned(data: Dataset, spans: np.ndarray, out: Path, before: float, after: float, notes: list[str]) -> list[Piece]:
    """The files to write, with their folders made."""
    folders = {name: _folder(name) for name in data.classes}
    if other := [name for name, folder in folders.items() if folder != name]:
        notes.append(
            f"{len(other):,} {'action has' if len(other) == 1 else 'actions have'} another name as a folder, such as "
            f"'{folders[other[0]]}' for '{other[0]}': clips.csv has the labels"
        )
    pieces, taken = [], set()
    for clip, (start, end) in enumerate(spans.tolist()):
        begin = max(0.0, (0.0 if math.isnan(start) else start) - before)
        stop = math.inf if math.isnan(end) else end + after
        folder = out / folders[data.classes[int(data.labels[clip])]]
        folder.mkdir(exist_ok=True)
        times = f"{begin:.2f}-{'end' if stop == math.inf else f'{stop:.2f}'}"
        stem = f"{data.paths[clip].stem}-{times}"
        name, count = stem, 1
        while (folder, name.casefold()) in taken:
            count += 1
            name = f"{stem}-{count}"
        taken.add((folder, name.casefold()))
        pieces.append(Piece(clip, begin, stop, folder / f"{name}.mp4"))
    return pieces


def _folder(label: str) -> str:
    """A label as the name of a folder: itself, where every system takes it."""
    safe = not set(label) & set('<>:"/\\|?*') and not label.startswith((".", "~")) and not label.endswith((".", " "))
    return label if safe and label.casefold() not in names.RESERVED and len(label) < 100 else names.folder_name(label)


def _cut(path: Path, pieces: Sequence[Piece], deinterlace: bool) -> tuple[bool, str]:
    """Writes the segments of one video, decoded once; returns whether it has sound, and why decoding ended early.

    Raises:
        VideoError: it cannot be read.
    """
    with in_one_line(path), closing(opened(path)) as clip, ExitStack() as files:
        rate = Fraction(clip.announced()[1]).limit_denominator(1001)
        waiting = sorted(pieces, key=lambda piece: piece.begin)
        running: list[Piece] = []
        for piece in pieces:
            files.callback(piece.close)
        before: tuple[float, Any] | None = None
        frames: Iterator[tuple[float, Any]] = clip.stream()
        container = getattr(clip, "container", None)
        for seconds, frame in deinterlaced(frames) if deinterlace and container is not None else frames:
            if before is not None and 0 < (gap := seconds - before[0]) < float(0.75 / rate):  # faster than on average
                rate = Fraction(1 / gap).limit_denominator(1001)
            half = float(0.5 / rate)
            while waiting and waiting[0].begin - half <= seconds:
                running.append(waiting.pop(0))
                if before is not None and running[-1].begin < seconds - 1.5 * half:  # the one before is still on show
                    running[-1].write(running[-1].begin, clip.image(before[1]), rate)
            for piece in [piece for piece in running if seconds >= piece.end - half and piece.frames]:
                piece.hold(rate)
                piece.close()
                running.remove(piece)
            if running:
                picture = clip.image(frame)
                for piece in running:
                    piece.write(seconds, picture, rate)
            elif not waiting:
                break
            before = seconds, frame
        return container is not None and bool(container.streams.audio), getattr(clip, "failure", "")


def _table(data: Dataset, pieces: Sequence[Piece], out: Path) -> str:
    """clips.csv, with the groups of the data set: files of one video are still known to be."""
    rows = []
    for piece in pieces:
        number = piece.clip
        rows.append(
            Segment(
                piece.path.relative_to(out).as_posix(),
                None,
                None,
                data.classes[int(data.labels[number])],
                str(data.groups[number]),
                str(data.splits[number]),
            )
        )
    return table.write(Annotations(rows))
