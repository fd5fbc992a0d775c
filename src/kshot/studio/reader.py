"""Reads videos in a child process: what a damaged or hostile file does to a decoder, it does there.

The child runs this module, see `kshot.video.children`; pictures and cuts it writes to files itself. This module imports
neither torch nor anything else that a child has no use for.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from kshot import video
from kshot.datasets.drawn import MARK, is_drawn
from kshot.errors import KshotError, VideoError
from kshot.files import whole, write_atomic
from kshot.studio.doubts import LONG, doubt
from kshot.video.children import CannotStart, Child, Message, Reply, serve
from kshot.video.container import File

SIDE = 112  # pixels of a frame in a strip
CUT_RATE = 25.0  # frames a second that a cut keeps, at most
CUT_FRAMES = 250  # of a cut, at most: a longer one keeps fewer a second
NEAR = 30.0  # seconds that moments lie apart in all, up to which each is shown to the frame
CUT_SIDE = 640  # pixels of the longer side of a cut, at most


@dataclass(frozen=True)
class VideoFacts:
    """What is known of a video that was read.

    Attributes:
        seconds: how long it is.
        width: pixels of a frame as it is stored.
        height: pixels of a frame as it is stored.
        frames: number of frames.
        late: seconds of sound before its first picture: browsers count from there, kshot from the first picture.
        doubt: what speaks against it as a clip of an action, see `doubts.doubt`; "" for nothing.
    """

    seconds: float
    width: int
    height: int
    frames: int
    late: float = 0.0
    doubt: str = ""

    @property
    def rate(self) -> float:
        """Frames a second, on average."""
        return round(self.frames / self.seconds, 4) if self.seconds > 0 else 0.0


class Reader:
    """Reads videos, one at a time. The child starts when first needed and is replaced when it crashes or hangs.

    Args:
        timeout: seconds for one task.
    """

    def __init__(self, timeout: float = 60.0) -> None:
        self._child = Child("kshot.studio.reader", timeout, starts=1)
        self._lock = threading.Lock()

    def strip(self, path: Path, out: Path, frames: int = 8) -> VideoFacts:
        """Writes a JPEG strip of the frames that a model is given.

        Args:
            path: the video.
            out: the JPEG.
            frames: how many.

        Raises:
            VideoError: the file cannot be read, with the reason.
        """
        return VideoFacts(**self._ask({"do": "strip", "path": str(path), "out": str(out), "frames": frames}))

    def moments(self, path: Path, times: Sequence[float], out: Path) -> None:
        """Writes a JPEG strip of what a film shows at some moments; near them, where they lie far apart.

        Args:
            path: the film.
            times: seconds, ascending.
            out: the JPEG.

        Raises:
            VideoError: the file cannot be read, with the reason.
        """
        self._ask({"do": "moments", "path": str(path), "out": str(out), "times": list(times)})

    def still(self, path: Path, time: float, out: Path) -> None:
        """Writes the frame that is on show at a moment as a JPEG, for browsers that do not play the film.

        Args:
            path: the film.
            time: seconds.
            out: the JPEG.

        Raises:
            VideoError: the file cannot be read, with the reason.
        """
        self._ask({"do": "still", "path": str(path), "out": str(out), "time": time})

    def cut(self, path: Path, start: float, end: float, out: Path) -> None:
        """Writes what a video shows from `start` to `end` seconds as a file of its own.

        Args:
            path: the video.
            start: first second.
            end: second at which it ends.
            out: the new file, H.264.

        Raises:
            VideoError: the file cannot be read, or shows nothing then.
        """
        self._ask({"do": "cut", "path": str(path), "out": str(out), "start": start, "end": end})

    def close(self) -> None:
        """Ends the child, for good."""
        self._child.stop()

    def _ask(self, task: Message) -> Message:
        with self._lock:
            if self._child.stopped:
                raise KshotError("the studio is closing")
            try:
                return self._child.request(task)[0]
            except CannotStart:
                raise KshotError("the process that reads videos cannot start: see `kshot doctor`") from None


def sheet(frames: np.ndarray) -> bytes:
    """Frames (T, S, S, 3) uint8 side by side, as JPEG."""
    file = io.BytesIO()
    Image.fromarray(np.concatenate(list(frames), axis=1)).save(file, "JPEG", quality=82, optimize=True)
    return file.getvalue()


def write_video(path: Path, frames: Iterable[np.ndarray], rate: float, mark: str = "") -> None:
    """Writes frames (H, W, 3) uint8, all of one size with even sides, as H.264; the file appears when complete.

    Args:
        path: of the file.
        frames: what it shows.
        rate: frames a second.
        mark: the file's comment; "" for none.
    """
    with whole(path) as part, av.open(str(part), "w", format="mp4") as file:
        if mark:
            file.metadata["comment"] = mark
        options = {"preset": "veryfast", "crf": "20", "g": "12"}
        stream = file.add_stream("libx264", rate=Fraction(max(rate, 0.1)).limit_denominator(1000), options=options)
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(frames):
            if number == 0:
                stream.height, stream.width = frame.shape[:2]
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())


def _strip(task: Message) -> Message:
    found = video.scan(task["path"])
    if found.seconds > LONG:  # its frames are looked at where it is quick: nothing is taught from all of it
        times = (np.arange(task["frames"]) + 0.5) * found.seconds / task["frames"]
        frames = np.concatenate([video.preprocess(one[None], SIDE) for one in _seen(task["path"], times, exact=False)])
    else:
        frames = video.read(task["path"], task["frames"], size=SIDE, allow_damaged=True)
    write_atomic(Path(task["out"]), sheet(frames))
    odd = doubt(found.seconds, found.frames, frames)
    return asdict(VideoFacts(found.seconds, found.width, found.height, found.frames, _late(task["path"]), odd))


def _late(path: str) -> float:
    """Seconds from the first sound, where there is one, to the first picture; 0 where pictures come first."""
    with av.open(path) as file:
        begins = [
            float(one.start_time * one.time_base)
            for one in (*file.streams.video[:1], *file.streams.audio)
            if one.start_time is not None and one.time_base
        ]
    return round(max(0.0, begins[0] - max(0.0, min(begins))), 4) if begins else 0.0


def _moments(task: Message) -> Message:
    times = task["times"]
    exact = len(times) < 2 or times[-1] - times[0] < NEAR
    frames = [video.preprocess(one[None], SIDE) for one in _seen(task["path"], times, exact)]
    write_atomic(Path(task["out"]), sheet(np.concatenate(frames)))
    return {}


def _still(task: Message) -> Message:
    file = io.BytesIO()
    picture = Image.fromarray(next(_seen(task["path"], [task["time"]], exact=True)))
    picture.thumbnail((CUT_SIDE, CUT_SIDE))
    picture.save(file, "JPEG", quality=85)
    write_atomic(Path(task["out"]), file.getvalue())
    return {}


def _seen(path: str, times: Iterable[float], exact: bool) -> Iterator[np.ndarray]:
    """What is on show at each of some times (H, W, 3), upright: the file is searched, and not read as a whole.

    Args:
        path: the film.
        times: seconds from its first frame.
        exact: whether to go on from the keyframe before to the very frame.
    """
    with closing(File(Path(path))) as file:
        stream = file.track
        if not exact:
            file.codec.skip_frame = "NONKEY"
        origin = float((stream.start_time or 0) * stream.time_base) if stream.time_base else 0.0
        last: np.ndarray | None = None
        for time in times:
            file.container.seek(round((time + origin) * av.time_base), backward=True)
            before = None
            for frame in file.container.decode(stream):
                if before is not None and (frame.time or 0.0) - origin > time + 1e-6:
                    break
                before = frame
                if not exact:
                    break
            if before is not None:
                last = file.image(before)
            if last is None:
                raise VideoError(f"{path}: nothing can be seen at {time:.1f} s")
            yield last


def _cut(task: Message) -> Message:
    found = video.scan(task["path"])
    start, end = float(task["start"]), float(task["end"])
    inside = np.flatnonzero((found.times >= start - 1e-6) & (found.times < end))
    if not len(inside):
        raise VideoError(f"expected a stretch within its {found.seconds:.1f} seconds, found {start:.1f} to {end:.1f}")
    length = min(end, found.seconds) - start
    keep = min(len(inside), CUT_FRAMES, max(1, round(length * CUT_RATE)))
    wanted = inside[video.choose(len(inside), keep)]
    # a few at a time, as they may be large
    parts = (video.frames_at(task["path"], wanted[first : first + 16]) for first in range(0, keep, 16))
    mark = MARK if is_drawn(Path(task["path"])) else ""  # a piece of a drawn film is drawn
    write_video(Path(task["out"]), (even(image) for part in parts for image in part), keep / length, mark)
    return {}


def even(image: np.ndarray) -> np.ndarray:
    """A picture of at most `CUT_SIDE` pixels a side, both even, as H.264 asks for."""
    height, width = image.shape[:2]
    factor = min(1.0, CUT_SIDE / max(height, width))
    size = (max(2, int(width * factor) // 2 * 2), max(2, int(height * factor) // 2 * 2))
    return (
        np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) if size != (width, height) else image
    )


def _work(task: Message) -> Iterator[Reply]:
    """The child: pictures and cuts go to files, and what is known of them is answered."""
    yield {"strip": _strip, "cut": _cut, "moments": _moments, "still": _still}[task["do"]](task), None


if __name__ == "__main__":
    serve(_work)
