"""Child processes for what may crash or hang, and how they are spoken to: one protocol for all of them.

A child is a plain interpreter that runs a module of kshot, which calls `serve`. Nothing is forked, so the threads of
the caller are safe, and the caller's main module is not run again. A child ends when its standard input does, so none
outlives its parent, however that ended.

A task goes in as JSON, and each answer comes out as JSON, with a block of pixels behind it where it has any. Nothing
that a child says has to be trusted: a decoder that a file has taken over can answer words and numbers, no more. This
module imports neither torch nor anything else that a child has no use for.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from kshot import system
from kshot.errors import ClipLost, KshotError, VideoError

Message = dict[str, Any]
"""Plain JSON."""
Reply = tuple[Message, np.ndarray | None]
"""What a child replies: a message, and the pixels that belong to it, uint8."""

_START = 60.0  # seconds for an interpreter to start, on the slowest of disks
_LENGTH = struct.Struct("=I")


class CannotStart(KshotError):
    """No child came up, with what the last one said."""


class Child:
    """A child process as its parent sees it: started when first needed, replaced when it fails.

    Args:
        module: dotted name of what it runs; the module calls `serve`.
        timeout: seconds for an answer; then the process is given up.
        starts: attempts to start it: under memory pressure the system may kill one of them.

    Attributes:
        module: as given.
        timeout: as given.
        process: the process that runs; None before the first task, and after a failure.
        stopped: whether it was stopped for good.
    """

    def __init__(self, module: str, timeout: float, starts: int = 3) -> None:
        self.module, self.timeout = module, timeout
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped = False
        self._starts = starts

    def start(self) -> None:
        """Starts the process before there is a task. Where it does not come up, the first task says so."""
        with suppress(KshotError):
            self._start()

    def request(self, task: Message) -> Reply:
        """The one answer to a task about the file `task["path"]`.

        Raises:
            VideoError: what the child says is wrong with the file, or it crashed or hung over it.
            ClipLost: memory ran out.
            CannotStart: there is no child.
            KshotError: it was stopped before.
        """
        with self._watched(task["path"]):
            self._send(task)
            return self._receive()

    def replies(self, task: Message) -> Iterator[Reply]:
        """All answers to a task, as they come: those with pixels, and the first without. Raises as `request`."""
        with self._watched(task["path"]):
            self._send(task)
            while True:
                answer = self._receive()
                yield answer
                if answer[1] is None:
                    return

    def stop(self) -> None:
        """Kill the process, for good. Another thread may be waiting for it, and sees it end."""
        self.stopped = True
        process = self.process
        if process is not None:
            process.kill()

    def end(self, patience: float = 0.0) -> int:
        """Wait, kill what still runs, and forget the process.

        Args:
            patience: seconds to wait before it is killed.

        Returns:
            Its exit code, negative for a signal; 0 where there was no process.
        """
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

    @contextmanager
    def _watched(self, path: str) -> Iterator[None]:
        """Ends a process that crashes or hangs over a file, and says so."""
        try:
            yield
        except TimeoutError:
            self.end()
            raise VideoError(f"{path}: not decoded within {self.timeout:g} seconds, given up") from None
        except (OSError, EOFError):
            # A crashing process closes its pipes a moment before its exit code can be had.
            code = self.end(patience=5.0)
            if code == -9 and not self.stopped:  # SIGKILL by nobody here: what a system short of memory does
                raise ClipLost(f"{path}: the decoder was killed ({_cause(code)}), perhaps for want of memory") from None
            raise VideoError(f"{path}: the decoder crashed ({_cause(code)})") from None

    def _send(self, task: Message) -> None:
        if self.process is not None and self.process.poll() is not None:
            self.end()
        process = self.process or self._start()
        _write(process.stdin, task)

    def _receive(self) -> Reply:
        """The next answer. Raises what it says is wrong, TimeoutError after a while, EOFError where the child ends."""
        if self.process is None:
            raise EOFError
        pipe, deadline = self.process.stdout, time.monotonic() + self.timeout
        length = _LENGTH.unpack(_read(pipe, _LENGTH.size, deadline))[0]
        kind, message, shape = json.loads(_read(pipe, length, deadline))
        if kind != "answer":
            raise (ClipLost if kind == "lost" else VideoError)(str(message))
        if shape is None:
            return message, None
        pixels = np.empty(shape, dtype=np.uint8)  # read where they will stay
        _fill(pipe, pixels.data.cast("B"), deadline)
        return message, pixels

    def _start(self) -> subprocess.Popen[bytes]:
        """A process that has said it is ready; one that ends before is started again, a few times.

        Raises:
            CannotStart: none of them came up.
            KshotError: it was stopped.
        """
        reason = ""
        for _ in range(self._starts):
            process, reason = self._attempt()
            if process is not None:
                return process
        raise CannotStart(f"decoding workers cannot start: {reason}")

    def _attempt(self) -> tuple[subprocess.Popen[bytes] | None, str]:
        """A process that is ready, or None and what it said."""
        if self.stopped:
            raise KshotError("decoding was stopped")
        paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with tempfile.TemporaryFile() as complaints:
            try:
                self.process = process = subprocess.Popen(
                    # -P: no file of the folder the user is in may pass for a module
                    [sys.executable, "-P", "-m", self.module, str(self.timeout)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    bufsize=0,
                    pipesize=1 << 20,
                    env={**os.environ, **single, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                )
            except OSError as error:  # no memory for another process, or no interpreter
                return None, str(error)
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


def serve(work: Callable[[Message], Iterator[Reply]]) -> None:
    """The child: does what comes in on standard input until it ends.

    Args:
        work: yields the answers to a task: any number with pixels, and one without as the last; or one alone. What
            it raises becomes an error of this task in the parent.
    """
    timeout = float(sys.argv[1])
    system.leave_ctrl_c_to_the_parent()
    tasks = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    answers.write(b"+")
    answers.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for place in (1, 2):  # nothing that a library prints may get between the answers, or fill a disk
        os.dup2(nowhere, place)
    while header := tasks.read(_LENGTH.size):
        task = json.loads(tasks.read(_LENGTH.unpack(header)[0]))
        found = _answers(work, task)
        while True:
            system.end_after(timeout + 2)  # a decoder that hangs after the parent is gone
            answer = next(found, None)
            system.end_after(0)  # not while the parent takes its time
            if answer is None:
                break
            kind, message, pixels = answer
            _write(answers, [kind, message, None if pixels is None else pixels.shape])
            if pixels is not None:
                answers.write(np.ascontiguousarray(pixels).data.cast("B"))
            answers.flush()


def _answers(
    work: Callable[[Message], Iterator[Reply]], task: Message
) -> Iterator[tuple[str, Message | str, np.ndarray | None]]:
    """Kind of each answer ("answer", "error" or "lost"), what it says, and its pixels."""
    try:
        for message, pixels in work(task):
            yield "answer", message, pixels
    except VideoError as error:
        yield "lost" if isinstance(error, ClipLost) else "error", str(error), None
    except Exception as error:  # a fault of ours must cost one clip, too
        kind = "lost" if isinstance(error, MemoryError) else "error"
        yield kind, f"{task['path']}: {type(error).__name__}: {error}", None


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


def _write(pipe: Any, message: Any) -> None:
    data = json.dumps(message, default=lambda number: number.item()).encode()  # numbers may be numpy's
    pipe.write(_LENGTH.pack(len(data)) + data)


def _cause(code: int) -> str:
    """What an exit code says, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
