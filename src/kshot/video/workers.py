"""Decoding in child processes: in parallel, in order, and out of reach of a decoder that crashes or hangs.

The children are plain interpreters running this module, fed through pipes. Nothing is forked, so the threads of the
caller are safe, and the caller's main module is not run again. A child ends when its standard input does, so none
outlives its parent, however that ended. This module imports neither torch nor anything else a child has no use for.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from kshot import system, video
from kshot.errors import ClipLost, KshotError, OptionError, VideoError, unknown

AHEAD = 32  # clips decoded before they are asked for: as many as the encoder takes at once
_START = 60.0  # seconds for an interpreter to start, on the slowest of disks
_STARTS = 3  # attempts: under memory pressure the system may kill one of them
_LENGTH = struct.Struct("=I")


@dataclass(frozen=True)
class Job:
    """One clip to decode: the arguments of `video.take`, with a seed in place of a generator.

    Attributes:
        path: the clip.
        frames: how many frames.
        mode: "middle" or "random", see `video.choose`.
        seed: of the random choice; any tuple of whole numbers, such as (seed, epoch, clip).
        size: side of the preprocessed square frames; None for frames as they are.
        framing: how they are made square, see `video.preprocess`.
        allow_damaged: whether a clip counts of which much is lost.
    """

    path: str | os.PathLike[str]
    frames: int = 8
    mode: str = "middle"
    seed: tuple[int, ...] = (0,)
    size: int | None = None
    framing: video.Framing = video.FRAMINGS["short"]
    allow_damaged: bool = False

    def __post_init__(self) -> None:
        if self.mode not in ("middle", "random"):
            raise unknown("frame choice", self.mode, ["middle", "random"])
        if self.frames < 1:
            raise OptionError(f"expected at least 1 frame a clip, found {self.frames}")

    def run(self) -> video.Taken | VideoError:
        """Decode the clip here and now, or say why it cannot be read."""
        rng = np.random.default_rng(self.seed)
        try:
            return video.take(self.path, self.frames, self.mode, rng, self.size, self.framing, self.allow_damaged)
        except VideoError as error:
            return ClipLost(str(error)) if isinstance(error.__cause__, MemoryError) else error


def decode(
    jobs: Iterable[Job], workers: int, timeout: float = 60.0, ahead: int = AHEAD
) -> Generator[tuple[int, video.Taken | VideoError]]:
    """Decode clips, yielding (position, frames or the reason why not) in the order of the jobs.

    A clip that costs a worker its memory is tried once more, alone, before it is given up as `ClipLost`.

    Args:
        jobs: read as they are needed.
        workers: child processes; 0 decodes in this one, without its protection and without the timeout.
        timeout: seconds for one clip; its worker is then replaced and the clip counts as unreadable.
        ahead: clips that may wait decoded, besides the one in each worker's hands.

    Close it where it may be left early: the processes end then, however often Ctrl-C is pressed.

    Raises:
        OptionError: a negative number of workers.
        KshotError: the workers cannot be started.
    """
    if workers < 0:
        raise OptionError(f"expected 0 workers or more, found {workers}")
    if workers == 0:
        return ((position, job.run()) for position, job in enumerate(jobs))
    return _decode_in_children(jobs, workers, timeout, ahead)


def _decode_in_children(
    jobs: Iterable[Job], workers: int, timeout: float, ahead: int
) -> Generator[tuple[int, video.Taken | VideoError]]:
    children = [_Child(timeout) for _ in range(workers)]
    idle: SimpleQueue[_Child] = SimpleQueue()
    gathering = threading.Lock()
    for child in children:
        idle.put(child)

    def run(job: Job) -> video.Taken | VideoError:
        child = idle.get()
        try:
            result = child.run(job)
        finally:
            idle.put(child)
        return alone(job) if isinstance(result, ClipLost) else result

    def alone(job: Job) -> video.Taken | VideoError:
        """Once more, in a fresh process with none beside it."""
        with gathering:
            held = [idle.get() for _ in children]
            try:
                for child in held:
                    child.end()
                return held[0].run(job)
            finally:
                for child in held:
                    idle.put(child)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="kshot-decode")
    waiting: deque[Future[video.Taken | VideoError]] = deque()
    position = 0
    try:
        for job in jobs:
            waiting.append(pool.submit(run, job))
            if len(waiting) >= workers + ahead:
                yield position, waiting.popleft().result()
                position += 1
        while waiting:
            yield position, waiting.popleft().result()
            position += 1
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.stop()
        _surely(pool.shutdown)
        for child in children:
            _surely(child.end)


def _surely(work: Callable[[], Any]) -> None:
    """Does what takes a moment to its end; a Ctrl-C meanwhile comes after it. It must be safe to do again."""
    pressed = None
    while True:
        try:
            work()
            break
        except KeyboardInterrupt as error:
            pressed = error
    if pressed:
        raise pressed


class Stream:
    """`video.Samples` in a child process: the same frames and the same words about them, out of reach of a crash.

    The child is as far ahead as a pipe holds. Whatever ends it, the frames that came before are good.

    Args:
        path, interval, size, framing: as for `video.Samples`.
        timeout: seconds for the next frame; then decoding is given up.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        interval: float,
        size: int | None = None,
        timeout: float = 60.0,
        framing: video.Framing = video.FRAMINGS["short"],
    ) -> None:
        video.Grid(interval)  # checks it
        self.path, self._asked = os.fspath(path), (interval, size, framing)
        self.announced = self.fps = self.seconds = 0.0
        self.frames = 0
        self.failure = ""
        self._child = _Child(timeout)

    def samples(self) -> Generator[tuple[int, np.ndarray]]:
        """Yields (number of the interval, frame), once.

        Raises:
            VideoError: not even one frame can be read.
            KshotError: the child cannot be started.
        """
        try:
            for about, sample in self._child.stream(self.path, *self._asked):
                vars(self).update(about)
                if sample:
                    yield sample
        except VideoError as error:
            if self._child.stopped:
                return
            if not self.frames:
                raise
            self.failure = str(error)
        finally:
            self._child.stop()
            self._child.end()

    def stop(self) -> None:
        """Ends the iteration, also from another thread while one is waiting for a frame."""
        self._child.stop()


class _Child:
    """A worker process as its parent sees it: started when first needed, replaced when it fails."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped = False

    def run(self, job: Job) -> video.Taken | VideoError:
        """Have the job done; whatever happens to the process costs this clip only."""
        if self.process is not None and self.process.poll() is not None:
            self.end()
        process = self.process or self._start()
        deadline = time.monotonic() + self.timeout
        try:
            asked = (os.fspath(job.path), job.frames, job.mode, job.seed, job.size, job.framing, job.allow_damaged)
            _write(process.stdin, pickle.dumps(("clip", *asked)))
            return _receive(process.stdout, deadline)
        except (OSError, EOFError) as error:
            return self._lost(os.fspath(job.path), error)

    def stream(self, path: str, *asked: Any) -> Iterator[tuple[dict[str, Any], Any]]:
        """What `video.Samples` says of itself, and an (interval, frame) that it has just given, or None.

        Raises:
            VideoError: the file cannot be read, or the process crashed or hung.
        """
        process = self._start()
        try:
            _write(process.stdin, pickle.dumps(("stream", path, *asked)))
            while True:
                deadline = time.monotonic() + self.timeout
                answer = _message(process.stdout, deadline)
                if isinstance(answer, VideoError):
                    raise answer
                about, number, shape = answer
                yield about, None if shape is None else (number, _pixels(process.stdout, shape, deadline))
                if shape is None:
                    return
        except (OSError, EOFError) as error:
            raise self._lost(path, error) from None

    def _lost(self, path: str, error: OSError | EOFError) -> VideoError:
        if isinstance(error, TimeoutError):
            self.end()
            return VideoError(f"{path}: not decoded within {self.timeout:g} seconds, given up")
        # A crashing process closes its pipes a moment before its exit code can be had.
        code = self.end(patience=5.0)
        if code == -signal.SIGKILL and not self.stopped:  # by nobody here: what a system short of memory does
            return ClipLost(f"{path}: the decoder was killed ({_cause(code)}), perhaps for want of memory")
        return VideoError(f"{path}: the decoder crashed ({_cause(code)})")

    def stop(self) -> None:
        """Kill the process, for good. Another thread may be waiting for it, and sees it end."""
        self.stopped = True
        process = self.process
        if process is not None:
            process.kill()

    def end(self, patience: float = 0.0) -> int:
        """Wait, kill what still runs, and forget the process; returns its exit code (negative: a signal)."""
        process, self.process = self.process, None
        if process is None:
            return 0
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
        with process:  # closes the pipes and waits
            pass
        return process.returncode

    def _start(self) -> subprocess.Popen[bytes]:
        """A process that has said it is ready; one that ends before is started again, a few times.

        Raises:
            KshotError: none of them came up.
        """
        for _ in range(_STARTS):
            process, reason = self._attempt()
            if process is not None:
                return process
        raise KshotError(f"decoding workers cannot start: {reason}")

    def _attempt(self) -> tuple[subprocess.Popen[bytes] | None, str]:
        """A process that is ready, or None and what it said."""
        if self.stopped:
            raise KshotError("decoding was stopped")
        paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with tempfile.TemporaryFile() as complaints:
            self.process = process = subprocess.Popen(
                # -P: no file of the folder the user is in may pass for a module
                [sys.executable, "-P", "-m", "kshot.video.workers", str(self.timeout)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                bufsize=0,
                pipesize=1 << 20,
                env={**os.environ, **single, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            )
            if self.stopped:
                process.kill()
            try:
                _read(process.stdout, 1, time.monotonic() + _START)
            except (OSError, EOFError):
                cause = _cause(self.end(patience=5.0))
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip().splitlines()
                return None, said[-1] if said else cause
        return process, ""


def _receive(pipe: Any, deadline: float) -> video.Taken | VideoError:
    """The answer to one job: why not, or what is lost and a shape with the pixels behind it."""
    answer = _message(pipe, deadline)
    if isinstance(answer, VideoError):
        return answer
    damage, shape = answer
    return video.Taken(_pixels(pipe, shape, deadline), damage)


def _message(pipe: Any, deadline: float) -> Any:
    length = _LENGTH.unpack(_read(pipe, _LENGTH.size, deadline))[0]
    return pickle.loads(_read(pipe, length, deadline))


def _pixels(pipe: Any, shape: tuple[int, ...], deadline: float) -> np.ndarray:
    """Pixels that follow their shape, read where they will stay."""
    frames = np.empty(shape, dtype=np.uint8)
    _fill(pipe, frames.data.cast("B"), deadline)
    return frames


def _read(pipe: Any, length: int, deadline: float) -> bytearray:
    data = bytearray(length)
    _fill(pipe, memoryview(data), deadline)
    return data


def _fill(pipe: Any, view: memoryview, deadline: float) -> None:
    """Read until the buffer is full; TimeoutError at the deadline, EOFError where the pipe ends."""
    while view:
        count = system.read_some(pipe, view, deadline)
        if not count:
            raise EOFError
        view = view[count:]


def _cause(code: int) -> str:
    """What an exit code says, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _write(pipe: Any, message: bytes) -> None:
    pipe.write(_LENGTH.pack(len(message)) + message)


def _serve(timeout: float) -> None:
    """The child: decode what comes in on standard input until it ends."""
    system.leave_ctrl_c_to_the_parent()
    jobs = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints may get between the answers
    answers.write(b"+")
    answers.flush()
    while header := jobs.read(_LENGTH.size):
        work = _work(*pickle.loads(jobs.read(_LENGTH.unpack(header)[0])))
        while True:
            system.end_after(timeout + 2)  # a decoder that hangs after the parent is gone
            done = next(work, None)
            system.end_after(0)  # not while the parent takes its time
            if done is None:
                break
            message, pixels = done
            _write(answers, pickle.dumps(message))
            if pixels is not None:
                answers.write(np.ascontiguousarray(pixels).data.cast("B"))
            answers.flush()


def _work(task: str, *asked: Any) -> Iterator[tuple[Any, np.ndarray | None]]:
    """What the child answers to the fields of a "clip" job, or the arguments of a "stream": messages and pixels."""
    try:
        if task == "stream":
            yield from _stream(video.Samples(*asked))
            return
        result = Job(*asked).run()
    except VideoError as error:
        result = error
    except Exception as error:  # a fault of ours must cost one clip, too
        kind = ClipLost if isinstance(error, MemoryError) else VideoError
        result = kind(f"{asked[0]}: {type(error).__name__}: {error}")
    yield (result, None) if isinstance(result, VideoError) else ((result.damage, result.frames.shape), result.frames)


def _stream(samples: video.Samples) -> Iterator[tuple[Any, np.ndarray | None]]:
    def about() -> dict[str, Any]:
        return {name: getattr(samples, name) for name in ("announced", "fps", "seconds", "frames", "failure")}

    for interval, image in samples:
        yield (about(), interval, image.shape), image
    yield (about(), 0, None), None


if __name__ == "__main__":
    _serve(float(sys.argv[1]))
