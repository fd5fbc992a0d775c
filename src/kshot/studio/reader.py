"""Looks at videos in a child process: what a stranger's file does to a decoder, it does there.

The child is a plain interpreter running this module. It is fed one line of JSON for each task and answers with one;
pictures and cuts it writes to files itself, so nothing that it says has to be trusted. It ends when its standard
input does. This module imports neither torch nor anything else that a child has no use for.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from kshot import system, video
from kshot.errors import KshotError, VideoError
from kshot.files import whole, write_atomic

SIDE = 112  # pixels of a frame in a strip
CUT_RATE = 25.0  # frames a second that a cut keeps, at most
CUT_FRAMES = 250  # of a cut, at most: a longer one keeps fewer a second
CUT_SIDE = 640  # pixels of the longer side of a cut, at most
_START = 60.0  # seconds for an interpreter to start, on the slowest of disks


class Reader:
    """Looks at videos, one at a time. The child starts when first needed and is replaced when it crashes or hangs.

    timeout: seconds for one task.
    """

    def __init__(self, timeout: float = 60.0) -> None:
        self.timeout = timeout
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def look(self, path: Path, strip: Path, frames: int = 8) -> dict[str, Any]:
        """Writes a JPEG strip of the frames that a model is given; answers seconds, width, height and frames.

        Raises:
            VideoError: the file cannot be read, with the reason.
        """
        return self._ask({"do": "look", "path": str(path), "out": str(strip), "frames": frames})

    def cut(self, path: Path, start: float, end: float, out: Path) -> dict[str, Any]:
        """Writes what a video shows from `start` to `end` seconds as a file of its own.

        Raises:
            VideoError: the file cannot be read, or shows nothing then.
        """
        return self._ask({"do": "cut", "path": str(path), "out": str(out), "start": start, "end": end})

    def close(self) -> None:
        """Ends the child, for good."""
        self._closed = True
        child = self._child
        if child is not None:
            child.kill()

    def _ask(self, task: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            try:
                child = self._started()
                assert child.stdin is not None
                child.stdin.write(json.dumps(task).encode() + b"\n")
                child.stdin.flush()
                answer = _line(child, time.monotonic() + self.timeout)
            except TimeoutError:
                self._end()
                raise VideoError(f"{task['path']}: not decoded within {self.timeout:g} seconds, given up") from None
            except (OSError, EOFError):
                self._end()
                raise VideoError(f"{task['path']}: the decoder crashed") from None
        if "error" in answer:
            raise VideoError(str(answer["error"]))
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise KshotError("the studio is closing")
        if self._child is not None and self._child.poll() is None:
            return self._child
        paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._child = subprocess.Popen(
            # -P: no file of the folder the user is in may pass for a module
            [sys.executable, "-P", "-m", "kshot.studio.reader", str(self.timeout)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, **single, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )
        try:
            _line(self._child, time.monotonic() + _START)
        except (OSError, EOFError, TimeoutError):
            self._end()
            raise KshotError("the process that reads videos cannot start: see `kshot doctor`") from None
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with child:  # closes the pipes and waits
                pass


def _line(child: subprocess.Popen[bytes], deadline: float) -> dict[str, Any]:
    """The next line of a child as JSON; TimeoutError at the deadline, EOFError where the child ends."""
    assert child.stdout is not None
    line = b""
    part = memoryview(bytearray(1 << 16))
    while not line.endswith(b"\n"):
        count = system.read_some(child.stdout, part, deadline)
        if not count:
            raise EOFError
        line += part[:count]
    answer: dict[str, Any] = json.loads(line)
    return answer


def sheet(frames: np.ndarray) -> bytes:
    """Frames (T, S, S, 3) uint8 side by side, as JPEG."""
    file = io.BytesIO()
    Image.fromarray(np.concatenate(list(frames), axis=1)).save(file, "JPEG", quality=82, optimize=True)
    return file.getvalue()


def write_video(path: Path, frames: Iterable[np.ndarray], rate: float) -> None:
    """Writes frames (H, W, 3) uint8, all of one size with even sides, as H.264; the file appears when complete."""
    with whole(path) as part, av.open(str(part), "w", format="mp4") as file:
        options = {"preset": "veryfast", "crf": "20", "g": "12"}
        stream = file.add_stream("libx264", rate=Fraction(max(rate, 0.1)).limit_denominator(1000), options=options)
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(frames):
            if number == 0:
                stream.height, stream.width = frame.shape[:2]
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())


def _look(task: dict[str, Any]) -> dict[str, Any]:
    found = video.scan(task["path"])
    frames = video.read(task["path"], task["frames"], size=SIDE, allow_damaged=True)
    write_atomic(Path(task["out"]), sheet(frames))
    return {"seconds": found.seconds, "width": found.width, "height": found.height, "frames": found.frames}


def _cut(task: dict[str, Any]) -> dict[str, Any]:
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
    write_video(Path(task["out"]), (even(image) for part in parts for image in part), keep / length)
    return {"seconds": length, "frames": keep}


def even(image: np.ndarray) -> np.ndarray:
    """A picture of at most `CUT_SIDE` pixels a side, both even, as H.264 asks for."""
    height, width = image.shape[:2]
    factor = min(1.0, CUT_SIDE / max(height, width))
    size = (max(2, int(width * factor) // 2 * 2), max(2, int(height * factor) // 2 * 2))
    return (
        np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) if size != (width, height) else image
    )


def _serve(timeout: float) -> None:
    """The child: does what comes in on standard input until it ends."""
    system.leave_ctrl_c_to_the_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that a library prints may get between the answers
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        system.end_after(timeout + 2)  # a decoder that hangs after the parent is gone
        try:
            answer = {"look": _look, "cut": _cut}[task["do"]](task)
        except VideoError as error:
            answer = {"error": str(error)}
        except Exception as error:  # a fault of ours must cost one video, too
            answer = {"error": f"{task['path']}: {type(error).__name__}: {error}"}
        system.end_after(0)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _serve(float(sys.argv[1]))
